"""PIQE: how much of an image's active blocks is distorted, without any training.

Venkatanath, Praneeth, Chandrasekhar, Channappayya, Medasani 2015 ("Blind image quality evaluation
using perception based features", NCC). The MSCN coefficients of the image are cut into blocks of 16
x 16. A block is *active* when their variance ``v`` is more than 0.1. An active block is distorted

* noticeably, when one of the eleven runs of 6 pixels along one of its four edges has a standard
  deviation of less than 0.1: there the image is flat, as after blur or beside block borders;
* by noise, when ``sigma > 2 beta`` with ``sigma = sqrt(v)`` and ``beta = |sigma - q| / max(sigma,
  q)``, ``q`` the standard deviation of the two middle columns over that of all others.

It adds ``1 - v`` to the distortion in the first case, ``v`` in the second, 1 in both. With ``N``
active blocks::

    PIQE = 100 (sum of distortions + 1) / (N + 1)

0 is best, 100 worst. Conventions: bright tissue is 255; the image is continued by its mirror image
to whole blocks; variances divide by n - 1; given a mask, only blocks of which more than half lies
inside count (air around a head is pure noise and would decide the score). An image without active
blocks has a score of 100 by the formula, one without any structure has none.

Weak noise, of the order of what the scanner adds anyway, lowers the score: it breaks up runs that
were flat. Only beyond that does the score grow with noise.
"""

from __future__ import annotations

import numpy as np

from mriforge.errors import BadInput
from mriforge.metrics.no_reference.mscn import as_images, mscn

BLOCK, RUN = 16, 6
ACTIVE, FLAT = 0.1, 0.1


def piqe(image: np.ndarray, mask: np.ndarray | None = None, *, constant: float = 1.0) -> float:
    """The score of a slice, or of all blocks of a stack together.

    Args:
        image: ``(rows, columns)`` or ``(slices, rows, columns)``, bright tissue 255.
        mask: of its shape, see the module.
        constant: ``C`` of the coefficients.

    Returns:
        0 to 100; not a number where the image is constant or no block lies inside the mask.

    Raises:
        BadInput: slices smaller than a block, pixels that are no numbers.
    """
    images = as_images(image, smallest=BLOCK)
    blocks = _blocks(mscn(images, constant=constant))
    if mask is not None:
        inside = np.asarray(mask, bool)
        if inside.size != images.size:
            raise BadInput(f"The mask has shape {inside.shape} but the image {np.shape(image)}.")
        inside = _blocks(inside.reshape(images.shape).astype(np.float32))
        blocks = blocks[inside.mean(axis=(1, 2)) > 0.5]
    if len(blocks) == 0 or not blocks.any():
        return float("nan")
    variance = blocks.var(axis=(1, 2), ddof=1)
    active = variance > ACTIVE
    variance, blocks = variance[active], blocks[active]
    noticeable, noisy = _flat_edges(blocks), _noisy(blocks, np.sqrt(variance))
    distortion = noticeable * (1 - variance) + noisy * variance
    return float(100 * (distortion.sum() + 1) / (len(blocks) + 1))


def _blocks(images: np.ndarray) -> np.ndarray:
    """``(blocks, 16, 16)`` of all slices, each continued by its mirror image to whole blocks."""
    missing = [-n % BLOCK for n in images.shape[1:]]
    images = np.pad(images, [(0, 0), *((0, n) for n in missing)], mode="symmetric")
    count, rows, columns = images.shape
    shape = count, rows // BLOCK, BLOCK, columns // BLOCK, BLOCK
    return images.reshape(shape).transpose(0, 1, 3, 2, 4).reshape(-1, BLOCK, BLOCK)


def _flat_edges(blocks: np.ndarray) -> np.ndarray:
    edges = np.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], axis=1)
    runs = np.lib.stride_tricks.sliding_window_view(edges, RUN, axis=-1)
    return (runs.std(axis=-1, ddof=1) < FLAT).any(axis=(1, 2))


def _noisy(blocks: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    middle = BLOCK // 2
    centre = blocks[:, :, middle - 1 : middle + 1]
    around = np.delete(blocks, (middle - 1, middle), axis=2)
    spread = around.std(axis=(1, 2), ddof=1)
    ratio = centre.std(axis=(1, 2), ddof=1) / np.where(spread > 0, spread, np.inf)
    return sigma > 2 * np.abs(sigma - ratio) / np.maximum(sigma, ratio)
