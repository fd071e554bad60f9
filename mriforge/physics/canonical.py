"""Volumes of any orientation on isotropic grids along the axes of the patient, and back.

A voxel of a grid is read as the mean over its box: going to larger voxels the image is smoothed by
the Gaussian whose variance is what the target's box has more than the source's (a box of side
``s`` has the variance ``s^2 / 12``), then interpolated linearly. Going to smaller voxels nothing is
smoothed. Works for any angle between the two grids.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from mriforge.errors import BadInput
from mriforge.physics.interpolation import to_itk
from mriforge.volume import Grid, Volume

_SLACK = 1e-4
"""Of a voxel: positions that are computed through mm are exact to rounding only."""


def canonical_grid(grid: Grid, spacing: float) -> Grid:
    """The smallest isotropic grid along LPS whose voxel centres enclose those of ``grid``.

    Both have the same middle; a grid that is one already is given back (with its axes flipped or
    permuted to LPS). The direction of the result is the identity: x to Left, y to Posterior, z to
    Superior.

    Args:
        grid: oblique, flipped, permuted, anything.
        spacing: voxel size in mm.

    Raises:
        BadInput: a voxel size that is not positive and finite.
    """
    if not (math.isfinite(spacing) and spacing > 0):
        raise BadInput(f"The voxel size {spacing} mm is not positive.")
    ends = ((0, n - 1) for n in grid.stored_shape)
    world = grid.index_to_world(np.array(list(itertools.product(*ends)), dtype=float))
    low, high = world.min(axis=0), world.max(axis=0)
    size = [math.ceil(n - _SLACK) + 1 for n in (high - low) / spacing]
    origin = (low + high) / 2 - (np.array(size) - 1) / 2 * spacing
    return Grid(tuple(size[::-1]), (spacing,) * 3, tuple(origin))


def inside(source: Grid, grid: Grid) -> np.ndarray:
    """Which voxels of ``grid`` overlap what ``source`` covers, ``(z, y, x)``, bool.

    A grid covers the boxes of its voxels; a voxel counts when its centre is no farther outside
    than half of it.
    """
    matrix = np.linalg.inv(source.affine()) @ grid.affine()
    # Half a voxel of the source, or half of the target's where that is larger.
    reach = np.maximum(0.5, _extent(source, grid) / 2) + _SLACK
    result = np.empty(grid.shape, dtype=bool)
    j, i = np.ogrid[: grid.shape[1], : grid.shape[2]]
    for k in range(grid.shape[0]):
        within = np.True_
        for axis, n in enumerate(source.stored_shape):
            row = matrix[axis]
            # Zeros make the whole cheap for aligned grids: sums of rows and columns stay small.
            where = row[2] * k + row[3]
            where = where + (row[0] * i if row[0] else 0.0)
            where = where + (row[1] * j if row[1] else 0.0)
            within = within & (where >= -reach[axis]) & (where <= n - 1 + reach[axis])
        result[k] = within
    return result


def on_grid(
    volume: Volume, grid: Grid, *, labels: bool = False, fill: float | None = None
) -> Volume:
    """``volume`` at the voxels of another grid.

    Args:
        volume: any real dtype; finite.
        grid: where it is wanted, at any angle.
        labels: whole numbers are shared out as an image of each label and the label with the
            largest share wins (of equal ones the lowest); nothing is averaged. The dtype is kept.
        fill: value of voxels that are outside (see :func:`inside`); None: 0 for labels, else the
            volume's minimum.

    Returns:
        float32 voxels, or labels, with the volume's metadata.
    """
    if fill is None:
        fill = 0 if labels else float(volume.array.min())
    if volume.grid.matches(grid):
        array = volume.array.copy() if labels else volume.array.astype(np.float32)
        return Volume(array, grid, dict(volume.metadata))
    array = _labels(volume, grid) if labels else sampled(volume, grid)
    array[~inside(volume.grid, grid)] = fill
    return Volume(array, grid, dict(volume.metadata))


def sampled(volume: Volume, grid: Grid) -> np.ndarray:
    """Smoothed and interpolated voxels ``(z, y, x)``, float32; outside the border goes on.

    The border goes on for as far as :func:`inside` reaches, linearly interpolated along it;
    farther out the nearest voxel.
    """
    array = np.asarray(volume.array, dtype=np.float32)
    for axis, sigma in enumerate(antialias(volume.grid, grid)):
        if sigma > 0.01:
            array = ndimage.gaussian_filter1d(
                array, sigma, axis=2 - axis, mode="nearest", truncate=3.0
            )
    extent = _extent(volume.grid, grid)
    pad = [max(1, math.ceil(e / 2)) for e in extent]
    array = np.pad(array, [(p, p) for p in pad[::-1]], mode="edge")
    origin = volume.grid.index_to_world(-np.array(pad, dtype=float))
    padded = dataclasses.replace(volume.grid, shape=array.shape, origin=tuple(origin))
    job = sitk.ResampleImageFilter()
    job.SetSize(grid.stored_shape)
    job.SetOutputSpacing(grid.spacing)
    job.SetOutputOrigin(grid.origin)
    job.SetOutputDirection(grid.direction)
    job.SetInterpolator(sitk.sitkLinear)
    job.SetUseNearestNeighborExtrapolator(True)
    return sitk.GetArrayFromImage(job.Execute(to_itk(Volume(array, padded))))


def antialias(source: Grid, grid: Grid) -> list[float]:
    """Standard deviations of the smoothing along stored axes i, j, k, in voxels of ``source``."""
    return [math.sqrt(max(0.0, e**2 - 1) / 12) for e in _extent(source, grid)]


def _extent(source: Grid, grid: Grid) -> np.ndarray:
    """How far a voxel of ``grid`` reaches along the axes of ``source``, in voxels of it.

    The root of the box's variance in that direction, as the side of a box: exact for parallel
    axes, and the voxel's size at any angle where that is isotropic.
    """
    turn = source.direction_matrix.T @ grid.direction_matrix
    return np.sqrt((turn**2) @ np.square(grid.spacing)) / np.asarray(source.spacing)


def _labels(volume: Volume, grid: Grid) -> np.ndarray:
    """The label with the largest share at every voxel."""
    result = np.zeros(grid.shape, dtype=volume.array.dtype)
    best = np.zeros(grid.shape, dtype=np.float32)
    for value in np.unique(volume.array):
        share = sampled(volume.with_array(volume.array == value), grid)
        # Rounding must not decide between equal shares.
        wins = share > best + 1e-5
        result[wins] = value
        best[wins] = share[wins]
    return result
