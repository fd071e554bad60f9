"""What a method gets of the scan: frames with the slices first, and stacks made of its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mriforge.interslice.rows import Rows, along_first, in_samples
from mriforge.interslice.wish import SlicePlan
from mriforge.physics.profiles import Profile
from mriforge.physics.stack import slice_centres
from mriforge.volume import Series, some_of

HELD_OUT = 0.12
"""Part of the slices that is kept away from learning, for the gate."""


class Refiner(Protocol):
    """What a method has learned: makes stacks fine."""

    def __call__(self, stack: Tensor, rows: Rows, fine: tuple[bool, bool] = (True, True)) -> Tensor:
        """``(low, b, c)`` to ``(high, b, c)``.

        Args:
            stack: slices first; scaled so that bright tissue is about 1.
            rows: its geometry across the slices.
            fine: whether the axes b and c are made of pixels; in a stack that was made of pixels
                for training or testing, one of them runs across the scan's real, thick slices.
        """
        ...


@dataclass(frozen=True)
class Pseudo:
    """A stack made of the scan's own pixels, with the truth known.

    Attributes:
        stack: ``(low, b, k)``; b is the other in-plane axis, k runs across real slices.
        truth: ``(high, b, k)``.
        rows: geometry.
    """

    stack: Tensor
    truth: Tensor
    rows: Rows

    fine: tuple[bool, bool] = (True, False)


@dataclass(frozen=True)
class Scan:
    """A thick-slice scan as methods see it.

    Attributes:
        frames: ``(t, low, b, c)``, float32, scaled; axis 1 runs across the slices.
        rows: geometry across the slices.
        scale: what the stored values were divided by.
        permutation: array axes (z, y, x) of a volume in the order slices, b, c.
    """

    frames: Tensor
    rows: Rows
    scale: float
    permutation: tuple[int, int, int]

    @classmethod
    def of(cls, series: Series, plan: SlicePlan, profile: Profile, scale: float) -> Scan:
        """The frames of ``series`` on ``plan.low``; ``profile`` in mm."""
        first = 2 - plan.axis
        permutation = (first, *(a for a in range(3) if a != first))
        array = np.transpose(series.array, (0, *(1 + a for a in permutation)))
        frames = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) / scale
        fine_mm = plan.working.spacing[plan.axis]
        rows = Rows(
            slice_centres(plan.working, plan.low, plan.axis),
            plan.working.stored_shape[plan.axis],
            in_samples(profile, fine_mm),
        )
        return cls(frames, rows, scale, permutation)

    def held(self) -> slice:
        """The slices that are kept away from learning: a block near the middle."""
        size = self.frames.shape[1]
        length = max(1, round(HELD_OUT * size))
        start = max(0, round(0.42 * size) - length // 2)
        return slice(start, start + length)

    def learning(self) -> list[slice]:
        """The blocks of slices to learn from."""
        held, size = self.held(), self.frames.shape[1]
        blocks = [slice(0, held.start), slice(held.stop, size)]
        return [block for block in blocks if block.stop > block.start]

    def pseudo(self, frame: int, block: slice, axis: int, offset: float | None = None) -> Pseudo:
        """Real slices ``block`` of a frame made thick along in-plane axis ``axis`` (1 = b, 2 = c).

        Args:
            offset: sub-voxel offset of the thick slices, see :meth:`Rows.made_thick`.
        """
        image = self.frames[frame, block]
        truth = image.permute(1, 2, 0) if axis == 1 else image.permute(2, 1, 0)
        truth = truth.contiguous()
        rows = self.rows.made_thick(truth.shape[0], offset)
        return Pseudo(along_first(rows.acquire(), truth), truth, rows)

    def held_out(self) -> Iterator[Pseudo]:
        """Held-out slices of every frame (at most eight), made thick along either axis."""
        for frame in some_of(len(self.frames), 8):
            for axis in (1, 2):
                yield self.pseudo(frame, self.held(), axis)

    def volume(self, refined: Tensor) -> np.ndarray:
        """``(high, b, c)`` back in array order (z, y, x) and in stored units."""
        order = tuple(int(i) for i in np.argsort(self.permutation))
        return (refined * self.scale).permute(order).contiguous().numpy()
