"""Which grid is wanted for a stack of thick slices, and which axis runs across them.

Arithmetic on grids alone, without torch: the panels use it to say what will come out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mriforge.errors import BadInput
from mriforge.superres.wish import closest_axes
from mriforge.volume import Grid

THICK = 2.0
"""Slices this many times farther apart than the pixels call for through-plane super-resolution."""

FEWEST_SLICES = 4
_FINER_THAN_PIXELS = 0.9
_SAME_SIZE = 1e-3
_SAME_PLACE = 0.05
_MAX_VOXELS = 1_000_000_000


@dataclass(frozen=True)
class SlicePlan:
    """What was wished for.

    Attributes:
        axis: stored axis across the slices.
        working: as the input in plane, finer across the slices.
        final: grid to resample to afterwards; None when ``working`` already is the wanted grid.
    """

    axis: int
    low: Grid
    working: Grid
    final: Grid | None = None

    @property
    def grid(self) -> Grid:
        """Grid of the result."""
        return self.working if self.final is None else self.final

    @property
    def factor(self) -> float:
        """How many times closer together the slices of ``working`` are; need not be whole."""
        return self.low.spacing[self.axis] / self.working.spacing[self.axis]


def thickest_axis(grid: Grid) -> int:
    """Stored axis of the largest voxel size; of equal ones the last."""
    return max(range(3), key=lambda axis: (grid.spacing[axis], axis))


def anisotropy(grid: Grid) -> float:
    """Distance of the slices over the larger of the pixel sizes."""
    axis = thickest_axis(grid)
    return grid.spacing[axis] / max(grid.spacing[a] for a in range(3) if a != axis)


def is_thick(grid: Grid) -> bool:
    """Whether the grid is that of a stack of thick slices (and not of a single slice)."""
    slices = grid.stored_shape[thickest_axis(grid)]
    return anisotropy(grid) > THICK and slices >= FEWEST_SLICES


def plan_slices(
    low: Grid,
    *,
    axis: int | None = None,
    scale: float | None = None,
    spacing: tuple[float, float, float] | None = None,
    like: Grid | None = None,
) -> SlicePlan:
    """The grid that is wanted for a stack on ``low``.

    At most one of ``scale`` (factor across the slices, need not be whole), ``spacing`` (mm along
    the stored axes i, j, k) and ``like`` (a grid) is given; without them the slices become as fine
    as the pixels.

    Args:
        axis: stored axis across the slices; default the one of the largest voxel size.

    Raises:
        BadInput: contradictory or impossible wishes, too few slices.
    """
    axis = thickest_axis(low) if axis is None else axis
    if axis not in (0, 1, 2):
        raise BadInput(f"The slice axis is 0, 1 or 2 (i, j, k as stored), not {axis}.")
    if low.stored_shape[axis] < FEWEST_SLICES:
        raise BadInput(
            f"The image has {low.stored_shape[axis]} slices along axis {axis}; "
            f"at least {FEWEST_SLICES} are needed.",
            "Choose a stack of slices, or another slice axis.",
        )
    if sum(wish is not None for wish in (scale, spacing, like)) > 1:
        raise BadInput(
            "The target is given more than once.",
            "Choose one of the factor, the spacing and the grid to be like.",
        )
    final = None
    if like is not None:
        if _lies_on(low, like, axis):
            _check_finer(low, like.spacing[axis], axis)
            return _checked(SlicePlan(axis, low, like))
        along, _ = closest_axes(low, like)
        distance, final = like.spacing[along[axis]], like
    elif spacing is not None:
        distance = spacing[axis]
        final = _resized(low, spacing, axis)
    elif scale is not None:
        if not np.isfinite(scale) or scale <= 1:
            raise BadInput(f"The scale is a factor above 1, not {scale:g}.")
        distance = low.spacing[axis] / scale
    else:
        distance = min(low.spacing[a] for a in range(3) if a != axis)
    _check_finer(low, distance, axis)
    return _checked(SlicePlan(axis, low, _refined(low, {axis: distance}), final))


def _check_finer(low: Grid, distance: float, axis: int) -> None:
    pixel = min(low.spacing[a] for a in range(3) if a != axis)
    if not distance < low.spacing[axis] * (1 - _SAME_SIZE):
        raise BadInput(
            f"Slices {distance:g} mm apart are no finer than the image's "
            f"{low.spacing[axis]:g} mm along axis {axis}.",
            "Give a smaller spacing, a scale above 1, or another slice axis.",
        )
    if distance < _FINER_THAN_PIXELS * pixel:
        raise BadInput(
            f"Slices {distance:g} mm apart would be finer than the pixels of {pixel:g} mm.",
            "What is between the slices is learned from the pixels: ask for their size at most.",
        )


def _checked(plan: SlicePlan) -> SlicePlan:
    if np.prod(np.asarray(plan.grid.shape, dtype=float)) > _MAX_VOXELS:
        raise BadInput(
            f"The result would have {'x'.join(map(str, plan.grid.stored_shape))} voxels.",
            "Ask for a smaller factor or a coarser spacing.",
        )
    return plan


def _refined(low: Grid, distances: dict[int, float]) -> Grid:
    """``low`` with other voxel sizes along some axes, about the same middle."""
    shape, spacing, first = list(low.stored_shape), list(low.spacing), [0.0, 0.0, 0.0]
    for axis, distance in distances.items():
        n, step = shape[axis], distance / spacing[axis]
        shape[axis] = max(1, round(n / step))
        first[axis] = (n - 1) / 2 - (shape[axis] - 1) / 2 * step
        spacing[axis] = distance
    return low.resampled(tuple(shape), tuple(spacing), tuple(first))


def _resized(low: Grid, spacing: tuple[float, float, float], axis: int) -> Grid | None:
    """The grid of all three voxel sizes, or None where those in plane are the image's own."""
    others = [a for a in range(3) if a != axis]
    if any(not (np.isfinite(s) and s > 0) for s in spacing):
        raise BadInput(f"The voxel size {spacing} mm is not positive.")
    if all(abs(spacing[a] / low.spacing[a] - 1) <= _SAME_SIZE for a in others):
        return None
    return _refined(low, dict(enumerate(spacing)))


def _lies_on(low: Grid, like: Grid, axis: int) -> bool:
    """Whether ``like`` differs from ``low`` only across the slices, and holds all of them."""
    along, signs = closest_axes(low, like)
    if along != (0, 1, 2) or signs != (1, 1, 1):
        return False
    others = [a for a in range(3) if a != axis]
    if any(low.stored_shape[a] != like.stored_shape[a] for a in others):
        return False
    ends = np.zeros((2, 3))
    ends[1] = [low.stored_shape[a] - 1 for a in range(3)]
    seen = like.world_to_index(low.index_to_world(ends))
    inside = seen[0, axis] >= -0.5 and seen[1, axis] <= like.stored_shape[axis] - 0.5
    return bool(inside) and bool(np.abs((seen - ends)[:, others]).max() <= _SAME_PLACE)
