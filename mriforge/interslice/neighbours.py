"""Images next to each other: what lies between slices is learned from them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mriforge.interslice.scan import Scan
from mriforge.training.patches import Batch

_CANDIDATES = 4


class NeighbourSampler:
    """Some images next to each other, cut from the scan; batch ``step`` is always the same one.

    Args:
        scan: learns from ``scan.learning()`` of every frame.
        axes: axis of ``(slices, b, c)`` along which they are neighbours: 1 and 2 in plane, 0 across
            the slices.
        count: how many.
        size: ``(h, w)`` of a patch; images that are smaller are taken whole.
        flip: mirror at random.
    """

    epoch_steps: int | None = None

    def __init__(
        self,
        scan: Scan,
        axes: tuple[int, ...],
        count: int,
        size: tuple[int, int],
        *,
        batch: int,
        seed: int,
        flip: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.count, self.size = count, size
        self.batch_size, self.seed = batch, seed
        self.flip, self.device = flip, torch.device(device)
        # One view for each axis and block of slices: (t, along, h, w).
        self.views = [
            scan.frames[:, block].movedim(1 + axis, 1) for axis in axes for block in scan.learning()
        ]
        self.views = [view for view in self.views if view.shape[1] >= count]
        counts = np.array([view.numel() for view in self.views], dtype=float)
        self.chance = counts / counts.sum() if self.views else counts

    def neighbours(self, step: int) -> Tensor:
        """``(batch, count, h, w)`` of batch number ``step``."""
        rng = np.random.default_rng([self.seed, step])
        view = self.views[int(rng.choice(len(self.views), p=self.chance))]
        chosen = torch.stack([self._cut(rng, view) for _ in range(self.batch_size)])
        if self.flip:
            axes = [axis for axis in (1, 2, 3) if rng.random() < 0.5]
            chosen = chosen.flip(axes) if axes else chosen
        return chosen.to(self.device)

    def batch(self, step: int) -> Batch:
        """The same as input and target."""
        neighbours = self.neighbours(step)
        return Batch(neighbours, neighbours)

    def _cut(self, rng: np.random.Generator, view: Tensor) -> Tensor:
        """One patch, rather of tissue than of air."""
        extent = (
            1,
            self.count,
            *(min(p, n) for p, n in zip(self.size, view.shape[2:], strict=True)),
        )
        patches = []
        for _ in range(_CANDIDATES):
            start = [
                int(rng.integers(0, n - e + 1)) for n, e in zip(view.shape, extent, strict=True)
            ]
            window = tuple(slice(s, s + e) for s, e in zip(start, extent, strict=True))
            patches.append(view[window][0])
        heat = np.array([float(patch.abs().mean()) for patch in patches]) + 1e-4
        return patches[int(rng.choice(_CANDIDATES, p=heat / heat.sum()))]
