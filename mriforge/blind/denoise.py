"""Non-local means: noise is averaged away among pixels whose surroundings look alike.

Buades, Coll, Morel 2011 (Image Processing On Line 1:208), pixelwise. Weights are
``exp(-max(d^2 - 2 sigma^2, 0) / h^2)`` with ``d^2`` the mean squared difference of the patches
around two pixels and ``h`` the strength times ``sigma``. Patches of 5 x 5 pixels and a window of
13 x 13 are usual for MR slices. Magnitude images have Rician noise; where there is signal that is
nearly Gaussian, and the air is not what a kernel is learned from.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from mriforge.errors import BadInput

PATCH, WINDOW = 5, 13
STRENGTH = 0.8
"""``h / sigma``."""


def nonlocal_means(
    image: np.ndarray,
    sigma: float,
    *,
    strength: float = STRENGTH,
    patch: int = PATCH,
    window: int = WINDOW,
    cancel: Callable[[], object] | None = None,
) -> np.ndarray:
    """A slice, or a stack of slices each on its own, without noise.

    Args:
        image: ``(rows, columns)`` or ``(slices, rows, columns)``; real.
        sigma: standard deviation of the noise; 0: nothing is changed.
        strength: ``h / sigma``.
        patch, window: odd sizes in pixels.
        cancel: called now and then.

    Returns:
        float32, of the same shape.

    Raises:
        BadInput: sizes or numbers that make no sense.
    """
    array = np.asarray(image, dtype=np.float32)
    if array.ndim not in (2, 3) or patch % 2 == 0 or window % 2 == 0 or window < 3:
        raise BadInput(
            f"Non-local means of {array.ndim} axes, patches of {patch} and windows of {window} "
            "pixels are not possible.",
            "Give slices, and odd sizes.",
        )
    if not (math.isfinite(sigma) and sigma >= 0 and strength > 0):
        raise BadInput(f"A noise of {sigma:g} cannot be averaged away.", "It is 0 or more.")
    if sigma == 0:
        return array.copy()
    found = np.empty_like(array)
    for number, one in enumerate(array.reshape(-1, *array.shape[-2:])):
        if cancel is not None:
            cancel()
        found.reshape(-1, *array.shape[-2:])[number] = _slice(one, sigma, strength, patch, window)
    return found


def _slice(image: np.ndarray, sigma: float, strength: float, patch: int, window: int) -> np.ndarray:
    """One slice: every displacement of the window is one pass over the whole of it."""
    reach, half = window // 2, patch // 2
    rows, columns = image.shape
    padded = np.pad(image, reach + half, mode="symmetric")
    total, weights = image.astype(np.float64), np.ones(image.shape)
    scale = -1.0 / (strength * sigma) ** 2
    inner = padded[reach:-reach, reach:-reach]
    for down, right in itertools.product(range(-reach, reach + 1), repeat=2):
        if (down, right) == (0, 0):
            continue
        top, left = reach + down, reach + right
        moved = padded[top : top + inner.shape[0], left : left + inner.shape[1]]
        distance = ndimage.uniform_filter((inner - moved) ** 2, patch, mode="constant")
        distance = distance[half : half + rows, half : half + columns]
        weight = np.exp(scale * np.maximum(distance - 2 * sigma**2, 0.0))
        total += weight * moved[half : half + rows, half : half + columns]
        weights += weight
    return (total / weights).astype(np.float32)
