"""Patch averaging, the published inference of Sarasaen et al. 2021: slow, kept for comparison.

Every patch of 24^3 voxels at a stride is computed on its own, with zeros around it; where
patches overlap their results are averaged. Stride 1 costs thousands of whole-volume passes.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mriforge.device import GIB, choose_device, free_memory, is_out_of_memory, lay_out, release
from mriforge.errors import BadInput, Cancelled, OutOfMemory
from mriforge.superres.plan import Planner
from mriforge.superres.tiling import coverage, pad, starts

PATCH = 24
"""Edge of the published patches."""
_LARGEST_BATCH = 96


def patch_count(shape: Sequence[int], patch: int = PATCH, stride: int = 1) -> int:
    """Number of patches that an image ``(d, h, w)`` takes."""
    total = 1
    for size in shape:
        total *= len(starts(max(int(size), patch), patch, stride))
    return total


@torch.inference_mode()
def predict_strided(
    model: nn.Module,
    image: Tensor,
    *,
    patch: int = PATCH,
    stride: int | Sequence[int] = 3,
    batch: int | None = None,
    device: str | torch.device = "auto",
    memory_limit_gib: float | None = None,
    progress: Callable[[float], None] | None = None,
    cancel: Callable[[], object] | None = None,
    log: Callable[[str], None] | None = None,
) -> Tensor:
    """Average of overlapping patches of ``image`` ``(b, 1, d, h, w)``, on the CPU.

    Args:
        model: maps ``(n, 1, patch, patch, patch)`` to the same shape.
        image: smaller ones than a patch are padded by repeating their border.
        patch: edge of the patches (published: 24).
        stride: between patches, one number or ``(d, h, w)`` (published: 1; the authors' code: 3).
        batch: patches at once; None: as many as fit.
        device, memory_limit_gib, progress, cancel, log: as in ``predict``.

    Raises:
        BadInput: a stride that leaves voxels uncovered.
        OutOfMemory: not even one patch fits.
    """
    steps = (stride,) * 3 if isinstance(stride, int) else tuple(stride)
    if patch < 1 or len(steps) != 3 or not all(1 <= s <= patch for s in steps):
        raise BadInput(
            f"A stride of {stride} does not cover the image with patches of {patch}.",
            f"Use 1 to {patch}.",
        )
    place = choose_device(device)
    net = copy.deepcopy(model).eval().requires_grad_(False).to(place)
    lay_out(net, place)
    if batch is None:
        batch = _batch_that_fits(net, patch, place, memory_limit_gib)
    runner = _Runner(net, place, batch, log or (lambda text: None))
    image = image.detach().to("cpu", torch.float32)
    results = []
    for number, frame in enumerate(image[:, 0]):

        def watch(fraction: float, number: int = number) -> None:
            if cancel is not None and cancel():
                raise Cancelled("The job was cancelled.")
            if progress is not None:
                progress((number + fraction) / len(image))

        results.append(_average(runner, frame, patch, steps, watch))
    return torch.stack(results)[:, None]


def _batch_that_fits(
    net: nn.Module, patch: int, device: torch.device, limit_gib: float | None
) -> int:
    limit = 0.6 * free_memory(device) if limit_gib is None else limit_gib * GIB
    one = max(1, Planner(net, device).block_bytes((patch, patch, patch)))
    return max(1, min(_LARGEST_BATCH, int(limit // one)))


class _Runner:
    """Runs batches of patches; halves them, then moves to the CPU, when memory runs out."""

    def __init__(
        self, net: nn.Module, device: torch.device, batch: int, log: Callable[[str], None]
    ) -> None:
        self.net, self.device, self.batch, self.log = net, device, batch, log

    def __call__(self, patches: Tensor) -> Tensor:
        while True:
            try:
                parts = patches.split(self.batch)
                return torch.cat([self.net(part.to(self.device)).float().cpu() for part in parts])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self._step_down()

    def _step_down(self) -> None:
        release(self.device)
        if self.batch > 1:
            self.batch //= 2
            self.log(f"Memory ran out on {self.device}; {self.batch} patches at once.")
        elif self.device.type != "cpu":
            self.device = torch.device("cpu")
            self.net.to(self.device)
            self.log("Memory ran out on the device; using the CPU.")
        else:
            raise OutOfMemory(
                "Memory ran out with a single patch.", "Close other programs, or use predict."
            )


def _average(
    run: _Runner,
    frame: Tensor,
    patch: int,
    steps: tuple[int, ...],
    watch: Callable[[float], None],
) -> Tensor:
    shape = frame.shape
    image = pad(frame, [max(n, patch) for n in shape])
    total = torch.zeros_like(image)
    axes = [starts(n, patch, s) for n, s in zip(image.shape, steps, strict=True)]
    corners = list(itertools.product(*axes))
    watch(0.0)
    # Corner by corner into the sum: all patches together would not fit into any memory.
    done = 0
    while done < len(corners):
        some = corners[done : done + run.batch]
        cut = [tuple(slice(c, c + patch) for c in corner) for corner in some]
        results = run(torch.stack([image[where] for where in cut])[:, None])
        for where, result in zip(cut, results[:, 0], strict=True):
            total[where] += result
        done += len(some)
        watch(done / len(corners))
    for axis, step in enumerate(steps):
        count = coverage(image.shape[axis], patch, step)
        total /= count.reshape([-1 if a == axis else 1 for a in range(3)])
    depth, height, width = shape
    return total[:depth, :height, :width].contiguous()
