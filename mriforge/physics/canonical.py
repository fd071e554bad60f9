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
from collections.abc import Callable, Sequence

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from mriforge.errors import BadInput
from mriforge.physics.interpolation import to_itk
from mriforge.volume import Grid, Volume

_SLACK = 1e-4
"""Of a voxel: positions that are computed through mm are exact to rounding only."""
_TURN_SLACK = 1e-3
_NO_SIGMA = 0.01
TRUNCATE = 3.0
"""Standard deviations at which the Gaussian ends."""


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


def turned(source: Grid, grid: Grid) -> Callable[[np.ndarray], np.ndarray] | None:
    """How arrays on ``source`` become arrays on ``grid`` by swapping and mirroring axes alone.

    Returns:
        a function of ``(..., z, y, x)`` that gives a view; None when the voxels of the two grids
        are not at the same places (within a thousandth of a voxel).
    """
    matrix = np.linalg.inv(source.affine()) @ grid.affine()
    whole = np.rint(matrix[:3, :3])
    off = np.abs(matrix[:3, :3] - whole).max() * max(grid.stored_shape)
    if off > _TURN_SLACK or (np.abs(whole).sum(0) != 1).any() or (np.abs(whole).sum(1) != 1).any():
        return None
    goes = np.abs(whole).argmax(1)  # stored axis of the grid for each of the source
    back = whole.sum(1) < 0
    first = np.where(back, np.array(source.stored_shape) - 1, 0)
    size = np.array(grid.stored_shape)[goes]
    if (size != source.stored_shape).any() or np.abs(matrix[:3, 3] - first).max() > _TURN_SLACK:
        return None
    mirror = tuple(slice(None, None, -1 if back[axis] else 1) for axis in (2, 1, 0))
    order = [2 - int(np.flatnonzero(goes == axis)[0]) for axis in (2, 1, 0)]

    def turn(array: np.ndarray) -> np.ndarray:
        lead = array.ndim - 3
        return array[(..., *mirror)].transpose(*range(lead), *(lead + axis for axis in order))

    return turn


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
    turn = turned(volume.grid, grid)
    if turn is not None:
        dtype = volume.array.dtype if labels else np.float32
        return Volume(np.array(turn(volume.array), dtype, order="C"), grid, dict(volume.metadata))
    array = _labels(volume, grid) if labels else sampled(volume, grid)
    array[~inside(volume.grid, grid)] = fill
    return Volume(array, grid, dict(volume.metadata))


def sampled(volume: Volume, grid: Grid) -> np.ndarray:
    """Smoothed and interpolated voxels ``(z, y, x)``, float32; outside the border goes on."""
    array = smoothed(np.asarray(volume.array, dtype=np.float32), antialias(volume.grid, grid))
    return Interpolator(array, volume.grid, grid)(grid)


def smoothed(array: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """``(z, y, x)`` after a Gaussian along each stored axis i, j, k, in voxels; the border goes on.

    The array itself where there is nothing to smooth.
    """
    for axis, sigma in enumerate(sigmas):
        if sigma > _NO_SIGMA:
            array = ndimage.gaussian_filter1d(
                array, sigma, axis=2 - axis, mode="nearest", truncate=TRUNCATE
            )
    return array


class Interpolator:
    """Linear interpolation of one array at the voxels of any grid with the axes of ``target``.

    The border goes on for as far as :func:`inside` reaches, linearly interpolated along it;
    farther out the nearest voxel.

    Args:
        array: ``(z, y, x)``, smoothed where voxels become larger; float32 inside.
        source: its grid.
        target: spacing and direction of the grids that will be asked for.
    """

    def __init__(self, array: np.ndarray, source: Grid, target: Grid) -> None:
        pad = [max(1, math.ceil(e / 2)) for e in _extent(source, target)]
        array = np.pad(np.asarray(array, np.float32), [(p, p) for p in pad[::-1]], mode="edge")
        origin = source.index_to_world(-np.array(pad, dtype=float))
        padded = dataclasses.replace(source, shape=array.shape, origin=tuple(origin))
        self._image = to_itk(Volume(array, padded))

    def __call__(self, grid: Grid) -> np.ndarray:
        """Values at the voxels of ``grid``, ``(z, y, x)``, float32."""
        job = sitk.ResampleImageFilter()
        job.SetSize(grid.stored_shape)
        job.SetOutputSpacing(grid.spacing)
        job.SetOutputOrigin(grid.origin)
        job.SetOutputDirection(grid.direction)
        job.SetInterpolator(sitk.sitkLinear)
        job.SetUseNearestNeighborExtrapolator(True)
        return sitk.GetArrayFromImage(job.Execute(self._image))


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
