"""One view of a volume through the network: slab by slab, averaged where slabs overlap.

Probabilities are kept as whole numbers: sums then depend neither on the order of the slabs nor on
how many are computed at once, and take half the memory. What each slab adds is rounded to
1 / FULL, one part in ten thousand.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from mriforge.device import GIB, is_out_of_memory, release
from mriforge.errors import Failed, OutOfMemory
from mriforge.segment.footprint import bytes_per_pixel
from mriforge.segment.slabs import cut, kept, slab_starts, times_seen

FULL = 10_000
"""Probability 1 of one view; three views together are below the largest 16-bit number."""
AGREE = 0.999
"""Voxels of a slab whose label half precision must not change for it to be used on a CPU."""

_CHUNK = 1 << 18
"""Scores that are worked on at a time on a CPU, so that they stay in its cache."""
_WINDOW = 96
"""Pixels of the side of a slab in which half precision is compared with single."""
_PIXELS = {"cpu": 1 << 16, "cuda": 1 << 20, "mps": 1 << 18}
"""Pixels in a batch beyond which larger ones are no faster."""
_MOST = 16


class SlabPredictor:
    """A network on one device, ready for the views of many volumes.

    Args:
        model: ``(b, slices, h, w)`` to scores ``(b, classes * slices, h, w)``; copied.
        slices: of a slab.
        device: where it computes.
        batch: slabs at a time; None: as many as are of use.
        log: hears of what went wrong.
    """

    def __init__(
        self,
        model: nn.Module,
        slices: int,
        device: torch.device | str,
        *,
        batch: int | None = None,
        log: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.device, self.slices = torch.device(device), slices
        self._model = copy.deepcopy(model).eval().requires_grad_(False)
        self._model.to(self.device, memory_format=torch.channels_last)
        self._asked, self._log = batch, log
        self._each: float | None = None
        self._most: dict[tuple[int, ...], int] = {}

    @torch.inference_mode()
    def __call__(
        self,
        image: np.ndarray,
        overlap: int,
        *,
        limit: int | None = None,
        half: bool = False,
        after: Callable[[int, int], object] = lambda done, count: None,
    ) -> np.ndarray:
        """Probabilities of every class.

        Args:
            image: ``(n, h, w)``, slices of the view one after the other, float32.
            overlap: slabs that see a slice.
            limit: bytes that the network's feature maps may take; None: no limit is known.
            half: multiply in half precision.
            after: called after every batch with the finished and all slabs; may raise.

        Returns:
            ``(classes, n, h, w)``, int16; :data:`FULL` is one.

        Raises:
            OutOfMemory: not even one slab at a time fits.
            Failed: the network's scores are no numbers.
        """
        size = image.shape[1:]
        while True:
            batch = self.batch(size, limit)
            try:
                store = self._run(image, overlap, batch, half, after)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                return store
            # Not in the except clause: the traceback would keep the feature maps alive.
            release(self.device)
            if batch == 1:
                raise OutOfMemory(
                    f"Memory ran out on {self.device} even with one slab at a time.",
                    "Close other programs, or use a smaller network.",
                )
            self._most[size] = batch // 2
            self._log(f"Memory ran out on {self.device}; {batch // 2} slabs at a time.")

    def batch(self, size: tuple[int, ...], limit: int | None = None) -> int:
        """How many slabs of ``(h, w)`` pixels are computed at a time.

        Raises:
            OutOfMemory: the limit does not allow even one.
        """
        useful = _PIXELS[self.device.type] // (size[0] * size[1])
        batch = self._asked or max(1, min(_MOST, useful))
        batch = min(batch, self._most.get(size, batch))
        while limit is not None and (need := self.need(batch, size)) > limit:
            if batch == 1:
                raise OutOfMemory(
                    f"Slices of {size[1]} x {size[0]} voxels take {need / GIB:.2f} GiB in this "
                    f"network; {max(0, limit) / GIB:.2f} GiB are left for it.",
                    "Allow more memory (--memory), or use a smaller network.",
                )
            batch //= 2
        return batch

    def need(self, batch: int, size: tuple[int, ...]) -> int:
        """Bytes of the network's feature maps for ``batch`` slabs of ``(h, w)`` pixels."""
        if self._each is None:
            self._each = bytes_per_pixel(self._model, self.slices, self.device)
        multiple = int(getattr(self._model, "multiple", 1))
        return int(batch * math.prod(n + -n % multiple for n in size) * self._each)

    @torch.inference_mode()
    def agrees(self, image: np.ndarray) -> bool:
        """Whether half precision gives the same labels in the middle of a view.

        Args:
            image: as of the call; the middle slab's middle is computed both ways.
        """
        starts = slab_starts(len(image), self.slices, 1)
        middle = tuple(
            slice(max(0, n - _WINDOW) // 2, max(0, n - _WINDOW) // 2 + _WINDOW)
            for n in image.shape[1:]
        )
        slab = self._slabs(image[(slice(None), *middle)], [starts[len(starts) // 2]])
        exact, fast = (
            self._scores(slab, half)[0].unflatten(0, (-1, self.slices)).contiguous().argmax(0)
            for half in (False, True)
        )
        return bool((exact == fast).float().mean() >= AGREE)

    def _slabs(self, image: np.ndarray, starts: list[int]) -> Tensor:
        stack = torch.from_numpy(np.stack([cut(image, start, self.slices) for start in starts]))
        return stack.to(self.device).contiguous(memory_format=torch.channels_last)

    def _scores(self, slabs: Tensor, half: bool) -> Tensor:
        kind = torch.bfloat16 if self.device.type == "cpu" else torch.float16
        with torch.autocast(self.device.type, kind) if half else nullcontext():
            return self._model(slabs)

    def _run(
        self,
        image: np.ndarray,
        overlap: int,
        batch: int,
        half: bool,
        after: Callable[[int, int], object],
    ) -> np.ndarray:
        starts = slab_starts(len(image), self.slices, overlap)
        seen = times_seen(starts, self.slices, len(image))
        share = torch.from_numpy((FULL / seen).astype(np.float32)).to(self.device)
        keep, store = kept(len(image), self.slices), None
        for first in range(0, len(starts), batch):
            chosen = starts[first : first + batch]
            after(first, len(starts))
            scores = self._scores(self._slabs(image, chosen), half)
            if store is None:
                shape = (scores.shape[1] // self.slices, *image.shape)
                store = torch.zeros(shape, dtype=torch.int16, device=self.device)
            for start, one in zip(chosen, scores, strict=True):
                slices = one.unflatten(0, (-1, self.slices))[:, keep]
                place = slice(start, start + slices.shape[1])
                _add(store[:, place], slices, share[place])
            del scores, slices, one
        after(len(starts), len(starts))
        whole = store[0].clone()
        for one in store[1:]:  # a sum over the first axis of all is several times slower
            whole += one
        if (whole - FULL).abs().max() > len(store) * overlap:
            raise Failed("The network's answers are no numbers.", "Use another model.")
        return store.cpu().numpy()


def _add(store: Tensor, scores: Tensor, share: Tensor) -> None:
    """Adds a slab's probabilities, from scores ``(classes, slices, h, w)``.

    Args:
        store: of the same shape; changed.
        share: what probability 1 adds in each slice, ``(slices,)``.
    """
    rows = scores.shape[2]
    if store.device.type == "cpu":
        rows = max(1, _CHUNK // (scores.shape[0] * scores.shape[1] * scores.shape[3]))
    weight = share[None, :, None, None]
    for first in range(0, scores.shape[2], rows):
        part = scores[:, :, first : first + rows].float().contiguous()
        found = torch.softmax(part, 0).mul_(weight).round_().to(torch.int16)
        store[:, :, first : first + rows].add_(found)
