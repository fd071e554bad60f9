"""How noisy an image is and what its intensities are like, to compare it with a model's card."""

from __future__ import annotations

import numpy as np

_SIGNAL = 0.1
_FEWEST = 500
_SLICES = 12
"""Slices that are looked at: an image is much the same all along."""


def noise_level(image: np.ndarray) -> float:
    """Standard deviation of the noise, from differences that smooth structures do not have.

    The mask of Immerkaer 1996, ``[1, -2, 1]`` along both axes, has norm 6; the median of its
    magnitude over the tissue is not moved by the edges. Air is left out: there magnitudes have
    another distribution, or are zero.

    Args:
        image: ``(..., rows, columns)``, one noise level for all.
    """
    from scipy import ndimage

    array = np.asarray(image, dtype=np.float64)
    found = array
    for axis in (-2, -1):
        found = ndimage.correlate1d(found, [1.0, -2.0, 1.0], axis=axis, mode="reflect")
    inside = array > _SIGNAL * np.percentile(array, 99.5)
    values = np.abs(found[inside]) if inside.sum() >= _FEWEST else np.abs(found)
    return float(np.median(values)) / (6.0 * 0.6744897501960817)


def appearance(image: np.ndarray) -> dict[str, float]:
    """Figures of an image that do not depend on its units.

    Args:
        image: ``(z, y, x)``, magnitude; the slices in the middle are looked at.

    Returns:
        ``noise``: :func:`noise_level` over bright tissue (the 99.5th percentile); ``variation``:
        standard deviation over mean of the tissue, which is contrast; ``brightness``: median of
        the tissue over bright tissue. Empty for an image without signal.
    """
    first = max(0, (len(image) - _SLICES) // 2)
    array = np.abs(np.asarray(image[first : first + _SLICES], dtype=np.float32))
    bright = float(np.percentile(array, 99.5)) or float(array.max())
    if not bright > 0:
        return {}
    tissue = array[array > _SIGNAL * bright].astype(np.float64)
    return {
        "noise": noise_level(array) / bright,
        "variation": float(tissue.std() / tissue.mean()),
        "brightness": float(np.median(tissue) / bright),
    }
