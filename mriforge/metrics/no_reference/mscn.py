"""Mean-subtracted contrast-normalised coefficients: what is left of an image without its content.

Mittal, Moorthy, Bovik 2012 (BRISQUE, IEEE TIP 21:4695, equations 1 to 3)::

    I^(m, n) = (I(m, n) - mu(m, n)) / (sigma(m, n) + C)

with ``mu`` and ``sigma`` the mean and the standard deviation under a Gaussian window of 7 x 7
pixels and unit sum. Of sharp natural images these coefficients are nearly Gaussian; blur makes
their distribution narrow and peaked, noise makes neighbours independent. The window's standard
deviation is 7/6 pixels in the authors' program, and 1 pixel in Huang et al. 2021 (downsampling
GAN; equations 4 to 6), who compare histograms of ``I^`` and of the product of diagonal neighbours
``D(m, n) = I^(m, n) I^(m - 1, n - 1)`` between real and made low-resolution images.

Images are ``(rows, columns)`` or stacks ``(slices, rows, columns)``, each slice on its own; ``C``
is 1 where bright tissue is 255. Borders are continued by their last pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from mriforge.errors import BadInput

RADIUS = 3
SIGMA = 7 / 6
"""Of the window, in pixels; the authors' program."""
SIGMA_HUANG2021 = 1.0
DIRECTIONS = {"horizontal": (0, 1), "vertical": (1, 0), "diagonal": (1, 1), "antidiagonal": (1, -1)}
"""Neighbours whose products are looked at: steps in rows and columns."""
LIMIT, BINS = 3.0, 120
"""Histograms go from ``-LIMIT`` to ``LIMIT``; what lies beyond counts in the outermost bins."""


def as_images(image: np.ndarray, smallest: int = 2 * RADIUS + 1) -> np.ndarray:
    """``(slices, rows, columns)`` float64 of a slice or a stack.

    Raises:
        BadInput: complex or not finite pixels, another number of dimensions, slices too small.
    """
    array = np.asarray(image)
    if array.dtype.kind not in "biuf":
        raise BadInput("The pixels are not real numbers.", "Use the magnitude image.")
    if array.ndim not in (2, 3) or array.size == 0:
        raise BadInput(f"A slice or a stack of slices is needed, not an array {array.shape}.")
    if min(array.shape[-2:]) < smallest:
        rows, columns = array.shape[-2:]
        raise BadInput(
            f"Slices of {rows} x {columns} pixels are too small to be judged: at least "
            f"{smallest} x {smallest} are needed.",
            "Choose another plane.",
        )
    array = array.reshape(-1, *array.shape[-2:]).astype(np.float64)
    if not np.isfinite(array).all():
        raise BadInput(
            "There are pixels that are not numbers (NaN or infinite).", "Replace them, e.g. by 0."
        )
    return array


def local_statistics(image: np.ndarray, sigma: float = SIGMA) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation under the window, of the shape of ``image``.

    Args:
        image: ``(rows, columns)`` or ``(slices, rows, columns)``.
        sigma: of the window in pixels.
    """
    image = np.asarray(image, np.float64)
    steps = np.arange(-RADIUS, RADIUS + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()

    def smooth(array: np.ndarray) -> np.ndarray:
        for axis in (-2, -1):
            array = ndimage.correlate1d(array, weights, axis=axis, mode="nearest")
        return array

    # Squares of what is left of the slice's mean: large offsets then cost no digits.
    centred = image - image.mean(axis=(-2, -1), keepdims=True)
    mean = smooth(centred)
    variance = smooth(centred**2) - mean**2
    return mean + (image - centred), np.sqrt(np.maximum(variance, 0))


def mscn(image: np.ndarray, *, sigma: float = SIGMA, constant: float = 1.0) -> np.ndarray:
    """The coefficients ``I^``, float64, of the shape of ``image``.

    Args:
        image: a slice, or a stack of slices.
        sigma: of the window in pixels (:data:`SIGMA` or :data:`SIGMA_HUANG2021`).
        constant: ``C``, in the image's units.

    Raises:
        BadInput: see :func:`as_images`.
    """
    images = as_images(image)
    mean, deviation = local_statistics(images, sigma)
    return ((images - mean) / (deviation + constant)).reshape(np.shape(image))


def neighbour_products(coefficients: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """Products of coefficients ``step`` (rows, columns) apart, within the slice: no wrapping.

    Args:
        coefficients: ``(..., rows, columns)``.
        step: a value of :data:`DIRECTIONS`.
    """
    down, right = step
    rows, columns = coefficients.shape[-2:]
    first = coefficients[..., : rows - down, max(0, -right) : columns - max(0, right)]
    second = coefficients[..., down:, max(0, right) : columns - max(0, -right)]
    return first * second


def mscn_histograms(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    sigma: float = SIGMA_HUANG2021,
    constant: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Histograms of the coefficients and of the products of diagonal neighbours (Huang 2021).

    Args:
        image: a slice or a stack; all slices count in one histogram.
        mask: of its shape; only pixels inside are counted (of products: both).
        sigma, constant: as of :func:`mscn`; here of Huang et al. 2021.

    Returns:
        two vectors of :data:`BINS` relative frequencies; zeros where there is no pixel.
    """
    coefficients = mscn(image, sigma=sigma, constant=constant)
    step = DIRECTIONS["diagonal"]
    both = neighbour_products(coefficients, step)
    if mask is not None:
        inside = np.asarray(mask, bool)
        coefficients = coefficients[inside]
        both = both[neighbour_products(inside, step)]
    return _histogram(coefficients), _histogram(both)


def _histogram(values: np.ndarray) -> np.ndarray:
    edge = LIMIT * (1 - 1e-12)
    counts, _ = np.histogram(np.clip(values, -edge, edge), BINS, (-LIMIT, LIMIT))
    return counts / max(1, counts.sum())


def histogram_distance(first: Sequence[float], second: Sequence[float]) -> float:
    """Jensen-Shannon distance of two histograms: 0 for equal ones, 1 where none overlaps.

    The root of the divergence with logarithms to base 2 (Lin 1991), a metric. Not a number where
    one of the histograms is empty.
    """
    p, q = np.asarray(first, float), np.asarray(second, float)
    if not (p.sum() > 0 and q.sum() > 0):
        return float("nan")
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2

    def part(one: np.ndarray) -> float:
        there = one > 0
        return float(one[there] @ np.log2(one[there] / middle[there]))

    return float(np.sqrt(max(0.0, (part(p) + part(q)) / 2)))


def mscn_distance(
    image: np.ndarray,
    reference: np.ndarray,
    mask: np.ndarray | None = None,
    reference_mask: np.ndarray | None = None,
    *,
    sigma: float = SIGMA_HUANG2021,
    constant: float = 1.0,
) -> float:
    """How differently the MSCN coefficients of two images are distributed, 0 to 1.

    The mean of the Jensen-Shannon distances of the two histograms that Huang et al. 2021 show (the
    paper compares them by eye and gives no number; the distance is our choice). The images need
    not show the same anatomy or be of one size.

    Args:
        image, reference: slices or stacks.
        mask, reference_mask: which pixels of each count.
        sigma, constant: as of :func:`mscn`.
    """
    one = mscn_histograms(image, mask, sigma=sigma, constant=constant)
    other = mscn_histograms(reference, reference_mask, sigma=sigma, constant=constant)
    return float(np.mean([histogram_distance(a, b) for a, b in zip(one, other, strict=True)]))
