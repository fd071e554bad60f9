"""The baselines: what a scanner console or a viewer shows without any learning.

Two families, because a k-space crop puts low-resolution sample ``j`` at the high-resolution
coordinate ``(j - n // 2) * N / n + N // 2`` and not where half-pixel interpolation looks for it:

* *aligned* (``nearest``, ``linear_aligned``, ``cubic_bspline``, ``sinc``) sample where the
  acquisition put the samples;
* *half-pixel*, as published (``linear_halfpixel``, ``area``), are shifted by a fraction of a
  voxel; on heads the shift alone costs linear interpolation about 2.3 dB. They exist because the
  figures of Sarasaen et al. 2021 are relative to them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage
from torch import Tensor

from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.separable import apply_all
from mriforge.volume import Grid, Volume

Baseline = Callable[[Tensor, KspaceCrop], Tensor]


def aligned_positions(low: int, high: int) -> np.ndarray:
    """Low-resolution index of every high-resolution voxel, k-space centred at ``n // 2``."""
    return low // 2 + (np.arange(high) - high // 2) * (low / high)


def halfpixel_positions(low: int, high: int) -> np.ndarray:
    """The same when outer voxel edges are made to coincide (``align_corners=False``)."""
    return (np.arange(high) + 0.5) * (low / high) - 0.5


def nearest_matrix(positions: np.ndarray, size: int) -> Tensor:
    """``(len(positions), size)`` matrix that takes the nearest sample, edges replicated."""
    index = np.clip(np.floor(positions + 0.5).astype(int), 0, size - 1)
    return torch.eye(size, dtype=torch.float64)[torch.from_numpy(index)]


def linear_matrix(positions: np.ndarray, size: int) -> Tensor:
    """``(len(positions), size)`` matrix of linear interpolation, edges replicated."""
    clamped = np.clip(positions, 0, size - 1)
    left = np.minimum(np.floor(clamped).astype(int), max(size - 2, 0))
    right = np.minimum(left + 1, size - 1)
    matrix = np.zeros((len(positions), size))
    rows = np.arange(len(positions))
    np.add.at(matrix, (rows, left), 1 - (clamped - left))
    np.add.at(matrix, (rows, right), clamped - left)
    return torch.from_numpy(matrix)


def cubic_matrix(positions: np.ndarray, size: int) -> Tensor:
    """``(len(positions), size)`` matrix of the interpolating cubic B-spline, edges replicated."""
    if size == 1:
        return torch.ones(len(positions), 1, dtype=torch.float64)
    clamped = np.clip(positions, 0, size - 1)
    base = np.floor(clamped).astype(int)
    u = clamped - base
    weights = np.stack(
        [(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3]
    )
    period = 2 * size - 2
    sampling = np.zeros((len(positions), size))
    rows = np.arange(len(positions))
    for offset, weight in zip((-1, 0, 1, 2), weights / 6, strict=True):
        folded = np.mod(base + offset, period)
        np.add.at(sampling, (rows, np.minimum(folded, period - folded)), weight)
    coefficients = ndimage.spline_filter1d(np.eye(size), order=3, axis=0, mode="mirror")
    return torch.from_numpy(sampling @ coefficients)


def area_matrix(low: int, high: int) -> Tensor:
    """``(high, low)`` matrix of adaptive average pooling, the published "area" interpolation."""
    matrix = np.zeros((high, low))
    for row in range(high):
        start, stop = row * low // high, -(-(row + 1) * low // high)
        matrix[row, start:stop] = 1 / (stop - start)
    return torch.from_numpy(matrix)


def _matrices(op: KspaceCrop, make: Callable[[int, int], Tensor]) -> dict[int, Tensor]:
    return {axis: make(op.low.shape[axis], op.high.shape[axis]) for axis in op.axes}


def nearest(data: Tensor, op: KspaceCrop) -> Tensor:
    """Nearest acquired sample, aligned. ``(..., *op.low.shape)`` to ``(..., *op.high.shape)``."""
    rule = lambda low, high: nearest_matrix(aligned_positions(low, high), low)  # noqa: E731
    return apply_all(_matrices(op, rule), data)


def area(data: Tensor, op: KspaceCrop) -> Tensor:
    """Adaptive average pooling as published by Sarasaen et al. 2021 (half-pixel)."""
    return apply_all(_matrices(op, area_matrix), data)


def linear_aligned(data: Tensor, op: KspaceCrop) -> Tensor:
    """Trilinear interpolation at the true sample positions."""
    rule = lambda low, high: linear_matrix(aligned_positions(low, high), low)  # noqa: E731
    return apply_all(_matrices(op, rule), data)


def linear_halfpixel(data: Tensor, op: KspaceCrop) -> Tensor:
    """Trilinear interpolation as published: ``align_corners=False``, sub-voxel shift included."""
    rule = lambda low, high: linear_matrix(halfpixel_positions(low, high), low)  # noqa: E731
    return apply_all(_matrices(op, rule), data)


def cubic_bspline(data: Tensor, op: KspaceCrop) -> Tensor:
    """Interpolating cubic B-spline at the true sample positions."""
    rule = lambda low, high: cubic_matrix(aligned_positions(low, high), low)  # noqa: E731
    return apply_all(_matrices(op, rule), data)


def sinc(data: Tensor, op: KspaceCrop) -> Tensor:
    """Zero-filled k-space, the scanner's own interpolation."""
    return op.zero_fill(data)


BASELINES: dict[str, Baseline] = {
    "nearest": nearest,
    "area": area,
    "linear_halfpixel": linear_halfpixel,
    "linear_aligned": linear_aligned,
    "cubic_bspline": cubic_bspline,
    "sinc": sinc,
}
"""Name to function, in ascending order of what they usually reach."""


def to_itk(volume: Volume, dtype: np.dtype | type = np.float32) -> sitk.Image:
    """The volume with its geometry as SimpleITK's image."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array, dtype=dtype))
    image.SetSpacing(volume.grid.spacing)
    image.SetOrigin(volume.grid.origin)
    image.SetDirection(volume.grid.direction)
    return image


def resample(volume: Volume, grid: Grid, order: int = 1, *, outside: str = "zero") -> Volume:
    """``volume`` seen on another grid, by position in mm.

    Args:
        volume: any real dtype.
        grid: where to sample; may be rotated against the volume's.
        order: 0 nearest, 1 linear, 3 interpolating cubic B-spline.
        outside: ``"zero"``, or ``"nearest"`` to continue the outermost voxels. A volume reaches
            half a voxel beyond its outermost voxel centres.

    Returns:
        float32 voxels (the input's dtype for order 0).
    """
    if order not in (0, 1, 3) or outside not in ("zero", "nearest"):
        raise ValueError(
            f"order is 0, 1 or 3 and outside 'zero' or 'nearest': {order}, {outside!r}"
        )
    if order == 3:
        array = _resample_cubic(volume, grid, outside)
        return Volume(array, grid, dict(volume.metadata))
    dtype = volume.array.dtype.newbyteorder("=")
    if order == 1 or dtype.kind not in "iuf" or dtype == np.float16:
        dtype = np.dtype(np.float32)
    image = to_itk(volume, dtype)
    job = sitk.ResampleImageFilter()
    job.SetSize(grid.stored_shape)
    job.SetOutputSpacing(grid.spacing)
    job.SetOutputOrigin(grid.origin)
    job.SetOutputDirection(grid.direction)
    job.SetInterpolator(sitk.sitkLinear if order == 1 else sitk.sitkNearestNeighbor)
    job.SetUseNearestNeighborExtrapolator(outside == "nearest")
    return Volume(sitk.GetArrayFromImage(job.Execute(image)), grid, dict(volume.metadata))


def _resample_cubic(volume: Volume, grid: Grid, outside: str) -> np.ndarray:
    """Slice by slice, so that the coordinates never need a whole volume of their own."""
    # ITK's B-spline refuses axes of fewer than four voxels; SciPy's does not.
    coefficients = volume.array.astype(np.float32)
    long_axes = [axis for axis in range(3) if coefficients.shape[axis] > 1]
    for axis in long_axes:
        coefficients = ndimage.spline_filter1d(
            coefficients, order=3, axis=axis, mode="mirror", output=np.float32
        )
    last = np.array(volume.grid.stored_shape) - 1
    j, i = np.mgrid[: grid.shape[1], : grid.shape[2]]
    result = np.empty(grid.shape, dtype=np.float32)
    for k in range(grid.shape[0]):
        index = np.stack([i, j, np.full_like(i, k)], axis=-1)
        position = volume.grid.world_to_index(grid.index_to_world(index))
        clamped = np.clip(position, 0, last)
        result[k] = ndimage.map_coordinates(
            coefficients,
            np.moveaxis(clamped[..., ::-1], -1, 0),
            order=3,
            mode="mirror",
            prefilter=False,
        )
        if outside == "zero":
            # The small allowance: positions computed through mm are exact to rounding only.
            result[k][np.any(np.abs(position - clamped) > 0.5 + 1e-6, axis=-1)] = 0
    return result
