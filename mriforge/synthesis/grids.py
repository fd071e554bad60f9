"""Canonical grids, by the eight voxels around."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage

from mriforge.synthesis.deform import pulled
from mriforge.volume import Grid, Volume


def canonical_grid(grid: Grid, spacing: float) -> Grid:
    """Isotropic, along LPS."""
    corners = np.array(
        [
            [a, b, c]
            for a in (-0.5, grid.stored_shape[0] - 0.5)
            for b in (-0.5, grid.stored_shape[1] - 0.5)
            for c in (-0.5, grid.stored_shape[2] - 0.5)
        ]
    )
    world = grid.index_to_world(corners)
    low, high = world.min(axis=0), world.max(axis=0)
    size = [max(1, math.ceil((b - a) / spacing - 1e-6)) for a, b in zip(low, high, strict=True)]
    origin = (low + high) / 2 - (np.array(size) - 1) / 2 * spacing
    return Grid(tuple(size[::-1]), (spacing,) * 3, tuple(origin))


def on_grid(
    volume: Volume, grid: Grid, *, labels: bool = False, fill: float | None = None
) -> Volume:
    """Resampled."""
    matrix = np.linalg.inv(volume.grid.affine()) @ grid.affine()
    index = [np.arange(n, dtype=np.float64) for n in grid.stored_shape]
    i, j, k = np.meshgrid(*index[::-1], indexing="ij")[::-1]
    where = np.stack(
        [matrix[a, 0] * i + matrix[a, 1] * j + matrix[a, 2] * k + matrix[a, 3] for a in (2, 1, 0)]
    )
    size = np.array(volume.array.shape)[:, None, None, None]
    outside = ((where < -0.501) | (where > size - 0.499)).any(axis=0)
    if labels:
        array = pulled(volume.array, torch.from_numpy(where.astype(np.float32)))
    else:
        array = ndimage.map_coordinates(
            volume.array.astype(np.float32), where, order=1, mode="nearest"
        )
    array[outside] = (0 if labels else volume.array.min()) if fill is None else fill
    return Volume(array, grid, volume.metadata)
