"""Volumes of any orientation on isotropic grids along the axes of the patient."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from scipy import ndimage

from mriforge.synthesis.deform import pulled
from mriforge.volume import Grid, Volume


def canonical_grid(grid: Grid, spacing: float) -> Grid:
    """The isotropic grid along LPS, voxels of ``spacing`` mm, that covers all voxels of ``grid``.

    Both have the same middle.
    """
    corners = np.array(list(itertools.product(*((-0.5, n - 0.5) for n in grid.stored_shape))))
    world = grid.index_to_world(corners)
    low, high = world.min(axis=0), world.max(axis=0)
    size = [max(1, math.ceil((b - a) / spacing - 1e-6)) for a, b in zip(low, high, strict=True)]
    origin = (low + high) / 2 - (np.array(size) - 1) / 2 * spacing
    return Grid(tuple(size[::-1]), (spacing,) * 3, tuple(origin))


def on_grid(
    volume: Volume, grid: Grid, *, labels: bool = False, fill: float | None = None
) -> Volume:
    """The volume at the voxels of another grid.

    Args:
        volume: any volume.
        grid: where it is wanted.
        labels: interpolate by the vote of the eight voxels around; otherwise linearly, float32.
        fill: value outside of the volume; None: 0 for labels, else the darkest value.
    """
    matrix = np.linalg.inv(volume.grid.affine()) @ grid.affine()
    k, j, i = np.ogrid[tuple(slice(n) for n in grid.shape)]
    where = np.stack([m[0] * i + m[1] * j + m[2] * k + m[3] for m in matrix[2::-1]])
    size = np.array(volume.array.shape)[:, None, None, None]
    outside = ((where < -0.501) | (where > size - 0.499)).any(axis=0)
    if labels:
        array = pulled(volume.array, torch.from_numpy(where.astype(np.float32)))
        empty = 0.0
    else:
        array = ndimage.map_coordinates(
            volume.array.astype(np.float32), where, order=1, mode="nearest"
        )
        empty = float(volume.array.min())
    array[outside] = empty if fill is None else fill
    return Volume(array, grid, volume.metadata)
