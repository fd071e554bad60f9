"""A network's output for a whole image, within a memory limit, on whatever device works.

The result is that of one whole-volume pass: exactly (to rounding) for networks that say how far
they see (``halo``), blended at the seams for others. Sizes that the network's pooling cannot
halve are padded by repeating the border and cropped afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mriforge.device import GIB, choose_device, free_memory, is_out_of_memory, lay_out, release
from mriforge.errors import BadInput, Cancelled, OutOfMemory
from mriforge.superres.cost import Cost
from mriforge.superres.plan import Plan, Planner
from mriforge.superres.streams import Streamed
from mriforge.superres.strided import predict_strided
from mriforge.superres.tiling import Shape, Tile, pad, padded_shape, ramp

__all__ = ["Arithmetic", "Predictor", "arithmetic", "predict", "predict_strided"]

Progress = Callable[[float], None]
Cancel = Callable[[], object]
Log = Callable[[str], None]

_SHARE_OF_FREE = 0.6


@dataclass(frozen=True)
class Arithmetic:
    """Multiply-adds of a plan beside those of one whole-volume pass."""

    macs: int
    whole: int

    @property
    def ratio(self) -> float:
        """How many whole-volume passes the plan costs."""
        return self.macs / self.whole


class Predictor:
    """A network ready to be applied to many images; plans and buffers are kept between them.

    Args:
        model: maps ``(1, 1, d, h, w)`` to the same shape; it is copied.
        device: ``auto``, ``cpu``, ``cuda``, ``mps`` or a device.
        memory_limit_gib: most memory to take, the network and its output included, the input not;
            None: 60 % of what is free.
        tile: longest block to compute at once, one number or ``(d, h, w)``; None: what fits.
        overlap: None computes tiles with the margin that makes them exact; a fraction blends
            tiles that share that much.
        log: hears what was chosen and what went wrong.
        dtype: of the feature maps. ``torch.bfloat16`` is about twice as fast on CPUs that have it
            and changes the result by about 0.3 % (relative norm); off by default.
        stream: False never runs plane by plane (for comparisons).
        margin: voxels read around each tile and thrown away, whatever the network sees, without
            averaging; published for mDCSRN: 3 around tiles of 70. None: as far as it sees.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str | torch.device = "auto",
        memory_limit_gib: float | None = None,
        tile: int | Sequence[int] | None = None,
        overlap: float | None = None,
        log: Log | None = None,
        dtype: torch.dtype = torch.float32,
        stream: bool = True,
        margin: int | None = None,
    ) -> None:
        self.device = choose_device(device)
        self._model = copy.deepcopy(model).eval().requires_grad_(False)
        self._tile = None if tile is None else _triple(tile)
        self._overlap, self._dtype, self._stream, self._margin = overlap, dtype, stream, margin
        self._log = log or (lambda text: None)
        self._asked = None if memory_limit_gib is None else int(memory_limit_gib * GIB)
        if self._asked is not None and self._asked <= 0:
            raise BadInput(f"The memory limit is positive, not {memory_limit_gib:g} GiB.")
        self._streamed: dict[tuple[int, ...], Streamed] = {}
        self._plans: dict[Shape, Plan] = {}
        self._move(self.device)

    def _move(self, device: torch.device) -> None:
        self.device = device
        self._model.to(device=device)
        lay_out(self._model, device)
        self._planner = Planner(self._model, device, self._dtype, self._stream, self._margin)
        self._limit = self._asked or int(_SHARE_OF_FREE * free_memory(device))
        self._block_limit: int | None = None
        self._forget()

    def _forget(self) -> None:
        self._plans.clear()
        self._streamed.clear()

    def plan(self, shape: Sequence[int]) -> Plan:
        """How an image ``(d, h, w)`` would be computed now."""
        shape = tuple(shape)
        if shape not in self._plans:
            made = self._planner.plan(
                shape, self._limit, self._tile, self._overlap, self._block_limit
            )
            self._plans[shape] = made
        return self._plans[shape]

    @torch.inference_mode()
    def __call__(
        self, image: Tensor, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> Tensor:
        """Apply the network to ``image`` ``(b, 1, d, h, w)``, on the CPU; float32 likewise.

        Args:
            image: one or more images; they are computed one after the other.
            progress: hears the finished fraction.
            cancel: raises, or returns True, when the job has to stop; asked between blocks.

        Raises:
            Cancelled: ``cancel`` said so.
            OutOfMemory: not even the smallest blocks fit, neither on the device nor on the CPU.
        """
        if image.ndim != 5 or image.shape[1] != 1:
            raise ValueError(f"expected (b, 1, d, h, w), not {tuple(image.shape)}")
        image = image.detach().to("cpu", torch.float32)
        results = torch.empty_like(image, memory_format=torch.contiguous_format)
        for number, frame in enumerate(image[:, 0]):
            watch = _Watch(progress, cancel, number / len(image), 1 / len(image))
            results[number, 0] = self._frame(frame, watch)
        return results

    def _frame(self, frame: Tensor, watch: _Watch) -> Tensor:
        while True:
            try:
                return self._compute(frame, self.plan(frame.shape), watch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = error
            except OutOfMemory as error:  # nothing fits in what the device has left
                if self.device.type == "cpu":
                    raise
                reason = error
            self._step_down(tuple(frame.shape), reason)

    def _step_down(self, shape: Shape, reason: BaseException) -> None:
        """Smaller tiles after memory ran out; then the CPU; then give up."""
        del reason  # its traceback would keep the feature maps alive
        had = self._plans.get(shape)
        self._forget()
        release(self.device)
        if had is not None:
            self._block_limit = had.block_bytes // 2
            try:
                new = self.plan(shape)
            except OutOfMemory:
                pass  # there are no smaller blocks
            else:
                self._log(f"Memory ran out on {self.device}; smaller tiles: {new.describe()}.")
                return
        if self.device.type == "cpu":
            raise OutOfMemory(
                "Memory ran out even with the smallest tiles.",
                "Close other programs, or use a smaller network.",
            )
        self._log(f"Memory ran out on {self.device} even with the smallest tiles; using the CPU.")
        self._move(torch.device("cpu"))

    def _compute(self, frame: Tensor, plan: Plan, watch: _Watch) -> Tensor:
        watch(0.0)
        image = pad(frame.permute(plan.order), plan.shape).contiguous()
        blocks = plan.tiles
        if plan.blend and len(blocks) > 1:
            output = self._blended(image, plan, blocks, watch)
        elif len(blocks) == 1:
            output = self._block(image, plan, watch.part(0.0, 1.0))
        else:
            output = torch.empty_like(image)
            total, done = sum(b.voxels for b in blocks), 0
            for block in blocks:
                part = watch.part(done / total, block.voxels / total)
                result = self._block(image[block.read].contiguous(), plan, part)
                output[block.write] = result[block.keep]
                done += block.voxels
                watch(done / total)
        inverse = [plan.order.index(axis) for axis in range(3)]
        depth, height, width = frame.shape
        watch(1.0)
        return output.permute(inverse)[:depth, :height, :width]

    def _block(self, image: Tensor, plan: Plan, watch: _Watch) -> Tensor:
        if not plan.planes:
            batch = image.to(self.device)[None, None]
            if self._dtype == torch.float32:
                return self._model(batch)[0, 0].float().cpu()
            with torch.autocast(self.device.type, dtype=self._dtype):
                return self._model(batch)[0, 0].float().cpu()
        # With a shorter tile nothing else fits: buffers of one cross-section at a time.
        key = (*image.shape[1:], plan.planes, *plan.order)
        if key not in self._streamed:
            self._streamed.clear()
            self._streamed[key] = self._planner.streaming.ready(
                *image.shape[1:], plan.planes, plan.order, self._dtype
            )
        return self._streamed[key](image, lambda done: watch(done / image.shape[0]))

    def _blended(self, image: Tensor, plan: Plan, blocks: list[Tile], watch: _Watch) -> Tensor:
        total, weights = torch.zeros_like(image), torch.zeros_like(image)
        for number, block in enumerate(blocks):
            result = self._block(image[block.read].contiguous(), plan, watch.part(0.0, 0.0))
            weight = torch.ones(())
            for axis, span in enumerate(block.read):
                along = ramp(span.stop - span.start, 2 * plan.halo)
                # No seam at the border of the image: full weight up to there.
                middle = len(along) // 2
                if span.start == 0:
                    along[:middle] = 1.0
                if span.stop == plan.shape[axis]:
                    along[middle:] = 1.0
                weight = weight[..., None] * along
            total[block.read] += result.mul_(weight)
            weights[block.read] += weight
            watch((number + 1) / len(blocks))
        return total.div_(weights)


class _Watch:
    """Progress and cancel of one stretch of the work."""

    def __init__(
        self, progress: Progress | None, cancel: Cancel | None, start: float, length: float
    ) -> None:
        self._progress, self._cancel = progress, cancel
        self._start, self._length = start, length

    def part(self, start: float, length: float) -> _Watch:
        """A view whose 0..1 is ``start``..``start + length`` of this one."""
        return _Watch(
            self._progress,
            self._cancel,
            self._start + self._length * start,
            self._length * length,
        )

    def __call__(self, fraction: float) -> None:
        if self._cancel is not None and self._cancel():
            raise Cancelled("The job was cancelled.")
        if self._progress is not None:
            self._progress(min(1.0, self._start + self._length * fraction))


def predict(
    model: nn.Module,
    image: Tensor,
    *,
    tile: int | Sequence[int] | None = None,
    overlap: float | None = None,
    device: str | torch.device = "auto",
    memory_limit_gib: float | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    log: Log | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Apply ``model`` to ``image`` ``(b, 1, d, h, w)``; arguments of :class:`Predictor`.

    For several calls with one network keep a :class:`Predictor`: it reuses its buffers.
    """
    predictor = Predictor(
        model,
        device=device,
        memory_limit_gib=memory_limit_gib,
        tile=tile,
        overlap=overlap,
        log=log,
        dtype=dtype,
    )
    return predictor(image, progress, cancel)


def arithmetic(model: nn.Module, shape: Sequence[int], plan: Plan | None = None) -> Arithmetic:
    """Multiply-adds for an image ``(d, h, w)``: of ``plan``, and of one whole-volume pass."""
    cost = Cost(model)
    whole = cost.macs(padded_shape(shape, int(getattr(model, "multiple", 1))))
    if plan is None:
        return Arithmetic(whole, whole)
    return Arithmetic(sum(cost.macs(block.shape) for block in plan.tiles), whole)


def _triple(value: int | Sequence[int]) -> tuple[int, int, int]:
    numbers = (value,) * 3 if isinstance(value, int) else tuple(int(v) for v in value)
    if len(numbers) != 3 or min(numbers) < 1:
        raise BadInput(f"A tile has one or three sizes of at least one voxel, not {value}.")
    return numbers
