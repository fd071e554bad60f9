"""Rigid motions as 4x4 matrices, and the grid that a fused volume is on.

A stack's transform carries LPS points (mm) from where its header puts them to the common world:
that of the first stack.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.spatial.transform import Rotation

from mriforge.errors import BadInput
from mriforge.volume import Grid

_MAX_VOXELS = 400_000_000
_OFF_AXIS = 1e-4


def rigid(rotation: np.ndarray, translation: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The 4x4 matrices that rotate about ``centre`` and then shift.

    Args:
        rotation: rotation vectors ``(..., 3)``, radians.
        translation: mm, ``(..., 3)``.
        centre: mm, ``(3,)``.
    """
    rotation = np.asarray(rotation, dtype=float)
    turn = Rotation.from_rotvec(rotation.reshape(-1, 3)).as_matrix()
    matrix = np.zeros((*rotation.shape[:-1], 4, 4))
    matrix[..., :3, :3] = turn.reshape(*rotation.shape[:-1], 3, 3)
    shift = centre + np.asarray(translation) - matrix[..., :3, :3] @ np.asarray(centre)
    matrix[..., :3, 3], matrix[..., 3, 3] = shift, 1.0
    return matrix


def moved_points(transforms: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``points`` ``(..., 3)`` through 4x4 matrices that broadcast with them."""
    return (transforms[..., :3, :3] @ points[..., None])[..., 0] + transforms[..., :3, 3]


def moved_grid(grid: Grid, transform: np.ndarray) -> Grid:
    """The grid, carried by a rigid 4x4 matrix."""
    u, _, v = np.linalg.svd(transform[:3, :3] @ grid.direction_matrix)
    origin = moved_points(transform, np.asarray(grid.origin))
    return Grid(grid.shape, grid.spacing, tuple(origin), tuple((u @ v).ravel()))


def angle_and_shift(transform: np.ndarray, centre: np.ndarray) -> tuple[float, float]:
    """Rotation in degrees, and how far ``centre`` is moved in mm."""
    turn = Rotation.from_matrix(transform[:3, :3]).magnitude()
    return math.degrees(turn), float(np.linalg.norm(moved_points(transform, centre) - centre))


def centre_of(grid: Grid) -> np.ndarray:
    """LPS mm of the middle of the grid."""
    return grid.index_to_world((np.array(grid.stored_shape) - 1) / 2)


def corners_of(grid: Grid) -> np.ndarray:
    """LPS mm of the eight outer corners, ``(8, 3)``."""
    ends = [(-0.5, n - 0.5) for n in grid.stored_shape]
    return grid.index_to_world(np.array(list(itertools.product(*ends))))


def box_of(grid: Grid, reference: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner of ``grid`` along the axes of ``reference``, mm from its origin."""
    relative = (corners_of(grid) - np.asarray(reference.origin)) @ reference.direction_matrix
    return relative.min(axis=0), relative.max(axis=0)


def target_grid(grids: list[Grid], spacing: float | None = None, extent: str = "first") -> Grid:
    """An isotropic grid along the axes of the first stack.

    Args:
        grids: of the stacks.
        spacing: mm; default the finest spacing of any stack.
        extent: ``"first"``: the first stack's box; ``"union"``: all of them;
            ``"intersection"``: what all of them cover.

    Raises:
        BadInput: nothing in common, or too many voxels.
    """
    first = grids[0]
    step = min(min(grid.spacing) for grid in grids) if spacing is None else spacing
    boxes = [box_of(grid, first) for grid in grids]
    low, high = boxes[0]
    if extent == "union":
        low = np.min([box[0] for box in boxes], axis=0)
        high = np.max([box[1] for box in boxes], axis=0)
    if extent == "intersection":
        low = np.max([box[0] for box in boxes], axis=0)
        high = np.min([box[1] for box in boxes], axis=0)
        if np.any(high - low < step):
            raise BadInput(
                "The stacks have no part in common.",
                "Check that all scans are of the same session and body region.",
            )
    size = np.maximum(1, np.round((high - low) / step + _OFF_AXIS).astype(int))
    if np.prod(size.astype(float)) > _MAX_VOXELS:
        raise BadInput(
            f"The result would have {'x'.join(map(str, size))} voxels.",
            "Ask for a coarser spacing.",
        )
    start = (low + high - (size - 1) * step) / 2
    origin = np.asarray(first.origin) + first.direction_matrix @ start
    return Grid(tuple(size[::-1]), (step,) * 3, tuple(origin), first.direction)


def padded(grid: Grid, margin: int) -> Grid:
    """The grid with ``margin`` voxels more on every side."""
    shape = tuple(n + 2 * margin for n in grid.stored_shape)
    return grid.resampled(shape, grid.spacing, (-margin,) * 3)


def coarser(grid: Grid, spacing: float) -> Grid:
    """A grid of about ``spacing`` mm over the same box; the grid itself where it is as coarse."""
    factor = [max(1.0, spacing / s) for s in grid.spacing]
    shape = [max(1, math.ceil(n / f)) for n, f in zip(grid.stored_shape, factor, strict=True)]
    first = [
        (n - 1 - (m - 1) * f) / 2 for n, m, f in zip(grid.stored_shape, shape, factor, strict=True)
    ]
    steps = tuple(s * f for s, f in zip(grid.spacing, factor, strict=True))
    return grid.resampled(tuple(shape), steps, tuple(first))
