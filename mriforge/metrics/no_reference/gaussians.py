"""Generalised Gaussian distributions fitted by their moments.

The generalised Gaussian (GGD) of shape ``a`` and scale ``b``::

    f(x) = a / (2 b Gamma(1/a)) exp(-(|x| / b)^a)

is the Laplace distribution for ``a = 1`` and the normal one for ``a = 2``. Its shape follows from
``E|x|^2 / E x^2 = Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a))`` (Sharifi and Leon-Garcia 1995). The
asymmetric one (AGGD) has a scale for each side (Lasmar, Stitou, Berthoumieu 2009; equations 7 to 12
of Mittal et al. 2012). Samples lie along the last axis, so that many sets are fitted at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import gammaln

LOWEST, HIGHEST = 0.2, 10.0
"""Shapes beyond these are given as these; the range of the authors' program."""


@dataclass(frozen=True)
class Ggd:
    """A generalised Gaussian.

    Attributes:
        shape: ``a`` above; not a number where all samples are zero.
        sigma: standard deviation.
        scale: ``b``.
    """

    shape: np.ndarray
    sigma: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Aggd:
    """An asymmetric generalised Gaussian.

    Attributes:
        shape: of both sides; not a number where all samples are zero.
        left, right: root mean square of the samples below zero, and of the others.
        left_scale, right_scale: ``b`` of each side.
        mean: ``(right_scale - left_scale) Gamma(2/a) / Gamma(1/a)``.
    """

    shape: np.ndarray
    left: np.ndarray
    right: np.ndarray
    left_scale: np.ndarray
    right_scale: np.ndarray
    mean: np.ndarray


def fit_ggd(samples: np.ndarray) -> Ggd:
    """The GGD of mean zero with the samples' ``E|x|`` and ``E x^2``.

    Args:
        samples: ``(..., n)``.
    """
    samples = np.asarray(samples, np.float64)
    square = np.mean(samples**2, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = _shape_of(np.mean(np.abs(samples), axis=-1) ** 2 / square)
    sigma = np.sqrt(square)
    return Ggd(shape, sigma, sigma * _scale_per_sigma(shape))


def fit_aggd(samples: np.ndarray) -> Aggd:
    """The AGGD with the samples' root mean squares on both sides of zero, and their ``E|x|``.

    Args:
        samples: ``(..., n)``.
    """
    samples = np.asarray(samples, np.float64)
    below = samples < 0
    squares = samples**2
    with np.errstate(divide="ignore", invalid="ignore"):
        counts = below.sum(axis=-1)
        total = squares.sum(axis=-1)
        under = np.where(below, squares, 0).sum(axis=-1)
        left = np.sqrt(under / np.maximum(counts, 1))
        right = np.sqrt((total - under).clip(0) / np.maximum(samples.shape[-1] - counts, 1))
        # gamma of the paper is left / right; as an angle it is finite on one side alone, too.
        size = np.hypot(left, right)
        l, r = left / size, right / size  # noqa: E741
        ratio = np.mean(np.abs(samples), axis=-1) ** 2 / (total / samples.shape[-1])
        shape = _shape_of(ratio * (l**3 + r**3) * (l + r))
    per_sigma = _scale_per_sigma(shape)
    left_scale, right_scale = left * per_sigma, right * per_sigma
    mean = (right_scale - left_scale) * np.exp(gammaln(2 / shape) - gammaln(1 / shape))
    return Aggd(shape, left, right, left_scale, right_scale, mean)


def moment_ratio(shape: np.ndarray) -> np.ndarray:
    """``Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a))``, growing with the shape ``a``."""
    return np.exp(2 * gammaln(2 / shape) - gammaln(1 / shape) - gammaln(3 / shape))


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    shapes = np.geomspace(LOWEST, HIGHEST, 8000)
    return moment_ratio(shapes), shapes


def _shape_of(ratio: np.ndarray) -> np.ndarray:
    """The shape with this ratio of moments, by interpolation in a table."""
    return np.interp(ratio, *_table()) + 0 * ratio  # not a number stays so


def _scale_per_sigma(shape: np.ndarray) -> np.ndarray:
    return np.exp((gammaln(1 / shape) - gammaln(3 / shape)) / 2)
