"""A small head-like phantom and stacks of it, made without the operator that fusion inverts."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mriforge.fusion.geometry import moved_points
from mriforge.volume import Grid, Volume

SIZE = 40


def phantom(size: int = SIZE, seed: int = 0, folds_mm: float = 1.6) -> Volume:
    """Two tissues folded like a cortex in an ellipsoid; 1 mm, bright tissue is 1."""
    random = np.random.default_rng(seed)
    folds = ndimage.gaussian_filter(random.standard_normal((size,) * 3), folds_mm)
    z, y, x = np.mgrid[:size, :size, :size] - (size - 1) / 2
    inside = (x / 0.4) ** 2 + (y / 0.36) ** 2 + (z / 0.38) ** 2 < size**2
    image = np.where(inside, np.where(folds > 0.3 * folds.std(), 1.0, 0.5), 0.0)
    return Volume(ndimage.gaussian_filter(image, 0.6).astype(np.float32), Grid((size,) * 3))


def motion(degrees, mm, centre=((SIZE - 1) / 2,) * 3) -> np.ndarray:
    """4x4: rotate about ``centre``, then shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees)).as_matrix()
    matrix[:3, 3] = np.asarray(centre) + mm - matrix[:3, :3] @ np.asarray(centre)
    return matrix


def stack_of(
    truth: Volume,
    axis: int,
    moved: np.ndarray | None = None,
    noise: float = 0.01,
    wobble: np.ndarray | None = None,
    thickness: int = 4,
) -> Volume:
    """Thick Gaussian slices across stored axis ``axis``: splines at fine points and a mean."""
    shape, spacing, first = list(truth.grid.stored_shape), [1.0] * 3, [0.0] * 3
    shape[axis] //= thickness
    spacing[axis], first[axis] = float(thickness), (thickness - 1) / 2
    grid = truth.grid.resampled(tuple(shape), tuple(spacing), tuple(first))
    offset = np.arange(-8, 9) / 6
    weight = np.exp(-0.5 * (offset * 2.3548) ** 2)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    index = index[..., ::-1].astype(float)
    total = np.zeros(grid.shape)
    for at, w in zip(offset, weight / weight.sum(), strict=True):
        shifted = index.copy()
        shifted[..., axis] += at
        world = grid.index_to_world(shifted)
        if wobble is not None:
            world = moved_points(wobble[index[..., axis].astype(int)], world)
        if moved is not None:
            world = moved_points(moved, world)
        place = np.moveaxis(truth.grid.world_to_index(world)[..., ::-1], -1, 0)
        total += w * ndimage.map_coordinates(truth.array, place, order=3)
    random = np.random.default_rng(axis)
    real, imaginary = random.standard_normal((2, *grid.shape)) * noise
    return Volume(np.hypot(total + real, imaginary).astype(np.float32), grid)


def decibel(image: np.ndarray, truth: Volume) -> float:
    """PSNR for a range of 1."""
    return float(-10 * np.log10(np.mean((image - truth.array) ** 2)))
