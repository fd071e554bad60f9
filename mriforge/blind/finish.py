"""From what a generator learned to a kernel that can be used: fewer taps, centred, of sum one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mriforge.errors import Failed

_ROUNDS = 5
_CENTRED = 1e-3


def finished(taps: np.ndarray, keep: int = 40) -> np.ndarray:
    """A learned kernel made ready (Huang et al. 2021, after KernelGAN).

    The ``keep`` largest taps stay, the others become zero; the centre of mass is moved to the
    middle tap by cubic interpolation; the sum is one. By magnitude, so that the negative lobes of
    truncated k-space may stay.

    Args:
        taps: of any number of axes, odd lengths.
        keep: of a kernel of two axes; of three as many as fill the same share.

    Raises:
        Failed: the kernel does not add up to a positive number.
    """
    found = np.array(taps, dtype=float)
    count = keep if found.ndim == 2 else round(keep * found.size / found.shape[-1] ** 2)
    if count < found.size:
        threshold = np.partition(np.abs(found).ravel(), -count)[-count]
        found[np.abs(found) < threshold] = 0.0
    for _ in range(_ROUNDS):
        total = found.sum()
        if not total > 1e-3 * np.abs(found).sum() > 0:
            raise Failed(
                "The kernel that was learned does not add up to a positive number.",
                "Learn for longer, or from images with more detail.",
            )
        found = found / total
        middle = (np.array(found.shape) - 1) / 2
        shift = middle - np.array(ndimage.center_of_mass(found))
        if np.abs(shift).max() < _CENTRED:
            break
        found = ndimage.shift(found, shift, order=3, mode="constant")
    return found / found.sum()


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of the taps of two kernels of one size."""
    a, b = np.ravel(one) - np.mean(one), np.ravel(other) - np.mean(other)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
