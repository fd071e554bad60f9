"""Images with mean 0 and standard deviation 1, over what was acquired (Chen 2021, 7.2.2)."""

from __future__ import annotations

import numpy as np

from mriforge.errors import BadInput
from mriforge.physics.canonical import canonical_grid, inside, on_grid
from mriforge.volume import Volume

_FLAT = 1e-6
"""Deviations smaller than this part of the mean are rounding."""


def zscore(array: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """An image with mean 0 and standard deviation 1.

    Args:
        array: ``(z, y, x)``.
        seen: which voxels were acquired, bool; None: all. Others do not count, and get the lowest
            value of those that do.

    Returns:
        a new array, float32; all 0 where the image has one value.

    Raises:
        BadInput: voxels that are not numbers.
    """
    array = np.asarray(array, dtype=np.float32)
    part = seen is not None and not seen.all()
    values = array[seen] if part else array
    mean, deviation = _moments(values)
    if deviation <= _FLAT * abs(mean) or deviation == 0:
        return np.zeros_like(array)
    result = array - mean
    result /= np.float32(deviation)
    if part:
        result[~seen] = result[seen].min()
    return result


def _moments(values: np.ndarray) -> tuple[np.float32, np.floating]:
    """Mean and standard deviation of float32 values.

    Raises:
        BadInput: they are not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = values.mean(), values.std()
        if not (np.isfinite(mean) and np.isfinite(deviation)):
            # Squares of 1e20 are beyond float32.
            mean = values.mean(dtype=np.float64).astype(np.float32)
            deviation = values.std(dtype=np.float64)
    if not (np.isfinite(mean) and np.isfinite(deviation)):
        raise BadInput("The image has voxels that are not numbers (NaN or infinite).")
    return mean, deviation


def standardised(volume: Volume, spacing: float) -> Volume:
    """A volume on its :func:`mriforge.physics.canonical.canonical_grid`, by :func:`zscore`.

    The corners that an oblique volume leaves empty there do not count.

    Args:
        volume: any grid.
        spacing: voxel size of the result in mm.

    Raises:
        BadInput: voxels that are not numbers, a voxel size that is not positive.
    """
    grid = canonical_grid(volume.grid, spacing)
    seen = inside(volume.grid, grid)
    moved = on_grid(volume, grid)
    return moved.with_array(zscore(moved.array, seen))
