"""Stacks of one contrast brought to one intensity: a gain, and a smooth field where it is needed.

Coil sensitivities and gains differ from scan to scan. The ratio of two stacks, both blurred to the
same few millimetres, is smooth; what it varies by decides whether it is divided out.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from scipy import ndimage

from mriforge.fusion.geometry import coarser, moved_grid
from mriforge.fusion.stack import Stack
from mriforge.physics.interpolation import resample
from mriforge.volume import Grid, Volume

_GRID_MM = 4.0
_DEGREE = 3
"""Of the polynomial that the logarithm of the ratio is fitted by: coils vary slowly. [?]"""
_WORTH = 0.015
"""Relative variation below which one gain for the whole stack is enough. [?]"""
_LIMITS = (0.2, 5.0)


def matched(stack: Stack, reference: Stack) -> tuple[Stack, dict[str, float]]:
    """``stack`` with the intensities of ``reference``; both placed already.

    Returns:
        the stack, and figures: ``gain`` that it was divided by (its median, if it is a field),
        ``variation`` of the field (0 if it was not worth it), and ``similarity``: correlation of
        the two, both blurred to a few mm, where both have signal.
    """
    grid = coarser(moved_grid(reference.grid, reference.transform), _GRID_MM)
    own, other = _smooth(stack, grid), _smooth(reference, grid)
    both = (own > 0.15) & (other > 0.15)
    if both.sum() < 200:
        return stack, {"gain": 1.0, "variation": 0.0, "similarity": 0.0}
    # At outlines different slice directions average different amounts of air.
    inner = ndimage.binary_erosion(both)
    both = inner if inner.sum() >= 200 else both
    similarity = _similarity(own, other, both)
    ratio = np.log(np.clip(own[both] / other[both], *_LIMITS))
    gain = float(np.exp(np.median(ratio)))
    # Edges that are not quite aligned are outliers of the ratio.
    spread = 1.4826 * float(np.median(np.abs(ratio - np.log(gain)))) + 1e-6
    good = both.copy()
    good[both] = np.abs(ratio - np.log(gain)) < 3 * spread
    field = _field(np.where(good, np.log(np.maximum(own, 1e-6) / np.maximum(other, 1e-6)), 0), good)
    variation = float(field[good].std())
    if variation < _WORTH:
        return stack.divided(gain), {
            "gain": gain,
            "variation": 0.0,
            "similarity": similarity,
        }
    at_stack = resample(
        Volume(np.exp(field).astype(np.float32), grid),
        moved_grid(stack.grid, stack.transform),
        order=1,
        outside="nearest",
    )
    divisor = torch.from_numpy(np.maximum(at_stack.array, _LIMITS[0]).astype(np.float32))
    return stack.divided(divisor), {
        "gain": gain,
        "variation": variation,
        "similarity": similarity,
    }


def _similarity(own: np.ndarray, other: np.ndarray, inner: np.ndarray) -> float:
    weight = ndimage.gaussian_filter(inner.astype(np.float32), 2.0) + 1e-6
    detail = [
        image - ndimage.gaussian_filter(np.where(inner, image, 0.0), 2.0) / weight
        for image in (own, other)
    ]
    return float(np.corrcoef(detail[0][inner], detail[1][inner])[0, 1])


def _smooth(stack: Stack, grid: Grid) -> np.ndarray:
    """About as blurred in every direction, on ``grid``."""
    sigma = [
        np.sqrt(max(0.0, _GRID_MM**2 - s**2)) / s if a != stack.axis else 0.0
        for a, s in enumerate(stack.grid.spacing)
    ]
    array = ndimage.gaussian_filter(stack.data.numpy(), sigma[::-1])
    return resample(Volume(array, moved_grid(stack.grid, stack.transform)), grid, order=1).array


def _field(values: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Least-squares polynomial of the ``good`` values; nowhere beyond its range there."""
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in values.shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    powers = [p for p in product(range(_DEGREE + 1), repeat=3) if sum(p) <= _DEGREE]
    terms = np.stack([x**i * y**j * z**k for i, j, k in powers], axis=-1)
    inner = terms[good]
    ridge = 1e-4 * len(inner) * np.eye(len(powers))
    ridge[0, 0] = 0.0
    factors = np.linalg.solve(inner.T @ inner + ridge, inner.T @ values[good])
    field = terms @ factors
    return np.clip(field, field[good].min(), field[good].max())
