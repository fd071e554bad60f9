"""Readouts that repeat one k-space line, as a small real matrix: what the basis is learnt from.

Numpy only. Real and imaginary parts of all coils and samples are stacked as rows of "space", so
the temporal basis comes out real (its spatial factor stays complex). Space is then compressed to
a few components by a randomised SVD (Halko 2011), which keeps all that rises above the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mriforge.errors import BadInput
from mriforge.rawdata import RawData


@dataclass(frozen=True)
class Line:
    """One repeated k-space line over time.

    Attributes:
        readouts: ``(s,)`` indices into the raw data.
        data: ``(s, p)`` float64, components of space.
        energy: share of the energy of the line that the components hold.
    """

    readouts: np.ndarray
    data: np.ndarray
    energy: float


def compress(samples: np.ndarray, components: int, seed: int = 0) -> tuple[np.ndarray, float]:
    """Scores on the leading right singular vectors of a real matrix, and their share of energy.

    Args:
        samples: ``(s, d)`` real.
        components: how many; fewer when the matrix is smaller.
        seed: of the random start.
    """
    size = min(components, *samples.shape)
    if samples.shape[1] <= 2 * size:
        matrix = samples
        vectors = np.linalg.eigh((matrix.T @ matrix).astype(np.float64))[1][:, ::-1][:, :size]
    else:
        width = min(size + 16, *samples.shape)
        start = np.random.default_rng(seed).standard_normal((samples.shape[1], width))
        vectors = start.astype(samples.dtype)
        for _ in range(3):
            vectors = np.linalg.qr(samples.T @ (samples @ vectors))[0]
        inner = np.linalg.eigh(_gram(samples @ vectors))[1][:, ::-1][:, :size]
        vectors = vectors @ inner.astype(samples.dtype)
    scores = (samples @ vectors.astype(samples.dtype)).astype(np.float64)
    total = float(np.square(samples, dtype=np.float64).sum())
    return scores, float(np.square(scores).sum()) / max(total, 1e-30)


def _gram(matrix: np.ndarray) -> np.ndarray:
    wide = matrix.astype(np.float64, copy=False)
    return wide.T @ wide


def directions(raw: RawData, readouts: np.ndarray) -> np.ndarray:
    """``(s,)`` number of the k-space line that each of ``readouts`` runs along."""
    ends = raw.trajectory[readouts, -1] - raw.trajectory[readouts, 0]
    where = np.column_stack([np.round(ends, 3), raw.partition[readouts]])
    return np.unique(where, axis=0, return_inverse=True)[1].reshape(-1)


def stacked(
    kspace: np.ndarray, weights: np.ndarray | None = None, samples: slice = slice(None)
) -> np.ndarray:
    """Real and imaginary parts of ``(s, c, n)`` as ``(s, c * n * 2)`` float32.

    Args:
        kspace: complex64.
        weights: ``(c, n)`` or ``(n,)`` of the samples that are taken.
        samples: which ones to take.
    """
    taken = kspace[:, :, samples]
    if weights is not None:
        taken = taken * np.asarray(weights, np.float32)
    taken = np.ascontiguousarray(taken, np.complex64)
    return taken.view(np.float32).reshape(len(taken), -1)


def navigator_lines(
    raw: RawData,
    components: int = 64,
    weights: np.ndarray | None = None,
    fewest: int = 32,
) -> list[Line]:
    """The navigators of raw data, one line for each of their directions.

    Args:
        raw: raw data with navigators.
        components: of space, shared out evenly between directions.
        weights: ``(c, n)`` or ``(n,)``, for instance :func:`density_weights`.
        fewest: directions that were repeated less often than this are left out.

    Raises:
        BadInput: there are no navigators that repeat a line.
    """
    readouts = np.flatnonzero(raw.navigator)
    if not len(readouts):
        raise BadInput(
            "The raw data have no navigator readouts.",
            "Mark readouts that repeat one line as navigators (ISMRMRD: ACQ_IS_NAVIGATION_DATA).",
        )
    which = directions(raw, readouts)
    kept = [n for n, count in enumerate(np.bincount(which)) if count >= fewest]
    if not kept:
        raise BadInput(f"None of the {which.max() + 1} navigator lines is repeated {fewest} times.")
    found = []
    for number in kept:
        own = readouts[which == number]
        scores, energy = compress(
            stacked(raw.kspace[own], weights), max(components // len(kept), 8)
        )
        found.append(Line(own, scores, energy))
    return found


def density_weights(raw: RawData, readout: int, power: float = 0.5) -> np.ndarray:
    """``(n,)`` weights ``(|k| / k_max) ** power`` along one line, at least half a sample's.

    A line through the centre stands for a disc, on which a sample at ``|k|`` has an area that
    grows with ``|k|``. Energy with that weight (``power`` 0.5 in amplitude) is energy of the
    image, by Parseval's theorem, so that components are sorted by what they do to the image.
    """
    radius = np.linalg.norm(raw.trajectory[readout], axis=-1).astype(np.float64)
    step = np.abs(np.diff(radius)).max() if len(radius) > 1 else 1.0
    return (np.maximum(radius, step / 2) / radius.max()) ** power


def spread(lines: Sequence[Line]) -> int:
    """How many components of space the lines have together."""
    return sum(line.data.shape[1] for line in lines)
