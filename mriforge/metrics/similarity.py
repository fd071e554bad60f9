"""How far an image is from its reference, in one number each.

``x`` is the image, ``y`` the reference: arrays of one shape and any real dtype. Sums are float64.
A mask limits the figure to the voxels where it is true.
"""

from __future__ import annotations

import math

import numpy as np

from mriforge.errors import BadInput


def _pair(x: np.ndarray, y: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The voxels to compare."""
    if x.shape != y.shape or x.size == 0:
        raise BadInput(f"Two images of one size are needed, not {x.shape} and {y.shape}.")
    if mask is None:
        return x, y
    if mask.shape != x.shape:
        raise BadInput(f"The mask has shape {mask.shape} but the images {x.shape}.")
    inside = mask.astype(bool)
    if not inside.any():
        raise BadInput("The mask is empty.", "Give a mask with at least one voxel inside.")
    return x[inside], y[inside]


def difference(x: np.ndarray, y: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """``x - y`` in float64, over the mask if there is one."""
    x, y = _pair(x, y, mask)
    return np.subtract(x, y, dtype=np.float64)


def mse(x: np.ndarray, y: np.ndarray, *, mask: np.ndarray | None = None) -> float:
    """Mean squared error."""
    gap = difference(x, y, mask).ravel()
    return float(gap @ gap) / gap.size


def rmse(x: np.ndarray, y: np.ndarray, *, mask: np.ndarray | None = None) -> float:
    """Root of the mean squared error."""
    return math.sqrt(mse(x, y, mask=mask))


def mae(x: np.ndarray, y: np.ndarray, *, mask: np.ndarray | None = None) -> float:
    """Mean absolute error."""
    return float(np.abs(difference(x, y, mask)).mean())


def diff_sd(x: np.ndarray, y: np.ndarray, *, mask: np.ndarray | None = None) -> float:
    """Standard deviation of the difference image (divided by N, as in Sarasaen et al. 2021)."""
    return float(difference(x, y, mask).std())


def psnr_of(mean_squared_error: float, data_range: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB; infinite for a mean squared error of 0."""
    if mean_squared_error <= 0:
        return math.inf
    return 10 * math.log10(data_range**2 / mean_squared_error)


def psnr(
    x: np.ndarray, y: np.ndarray, *, data_range: float = 1.0, mask: np.ndarray | None = None
) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(R^2 / MSE)``; infinite for equal images."""
    return psnr_of(mse(x, y, mask=mask), data_range)


def nrmse(x: np.ndarray, y: np.ndarray, *, mask: np.ndarray | None = None) -> float:
    """``||x - y||_2 / ||y||_2``, the definition of Chen 2021 (scikit-image's "euclidean").

    Not a number where the reference is zero everywhere.
    """
    x, y = _pair(x, y, mask)
    reference = y.astype(np.float64).ravel()
    gap = np.subtract(x, y, dtype=np.float64).ravel()
    norm = math.sqrt(reference @ reference)
    return math.sqrt(gap @ gap) / norm if norm > 0 else math.nan
