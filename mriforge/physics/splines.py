"""Cubic B-splines as weights: an image between its voxels."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor


def bspline(t: np.ndarray) -> np.ndarray:
    """The cubic B-spline at distances ``t`` in samples."""
    t = np.abs(t)
    near = 2 / 3 - t**2 + t**3 / 2
    far = np.maximum(2 - t, 0) ** 3 / 6
    return np.where(t < 1, near, far)


def bspline_below(t: np.ndarray) -> np.ndarray:
    """Integral of the cubic B-spline up to ``t``."""
    s = np.minimum(np.abs(t), 2)
    near = 2 / 3 * s - s**3 / 3 + s**4 / 8
    far = 0.5 - (2 - s) ** 4 / 24
    return 0.5 + np.sign(t) * np.where(s < 1, near, far)


def mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Indices reflected at the first and the last sample."""
    period = max(1, 2 * size - 2)
    folded = np.mod(index, period)
    return np.minimum(folded, period - folded)


def spline_coefficients(size: int) -> Tensor:
    """``(size, size)``: coefficients of the interpolating spline from samples, mirrored ends."""
    if size == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    matrix = ndimage.spline_filter1d(np.eye(size), order=3, axis=0, mode="mirror")
    return torch.from_numpy(matrix)


def spline_taps(at: np.ndarray, size: int, width: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Weights and indices of coefficients, ``(*at.shape, taps)``, for the spline at ``at``.

    Args:
        at: positions in samples; those outside count as at the nearest end.
        size: number of samples.
        width: of the box over which the spline is averaged; 0 takes its value.
    """
    at = np.clip(at, -0.5, size - 0.5)
    taps = 4 + math.ceil(width)
    first = np.ceil(at - 2 - width / 2).astype(np.int64)
    index = first[..., None] + np.arange(taps)
    distance = index - at[..., None]
    if width > 0:
        high, low = bspline_below(distance + width / 2), bspline_below(distance - width / 2)
        weight = (high - low) / width
    else:
        weight = bspline(distance)
    weight = weight / weight.sum(axis=-1, keepdims=True)
    return weight.astype(np.float32), mirrored(index, size)
