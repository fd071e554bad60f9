"""What inversion recovery under a train of small flips can look like: a dictionary and its basis.

Numpy only. Christodoulou 2018 calls it the training dictionary of the relaxation subspace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mriforge.relaxometry.signals import ir_flash

T1_RANGE_S = (0.1, 4.0)
EFFICIENCIES = (-1.0, -0.95, -0.9, -0.8, -0.7, -0.5)
FLIP_SCALES = (0.6, 0.8, 1.0, 1.2)


@dataclass(frozen=True)
class RelaxationBasis:
    """The few curves that all recoveries of a dictionary are made of.

    Attributes:
        vectors: ``(K, T)`` float64, orthonormal rows.
        singular_values: of the dictionary of unit curves, relative to the first.
        atoms: number of curves in the dictionary.
    """

    vectors: np.ndarray
    singular_values: np.ndarray
    atoms: int

    @property
    def rank(self) -> int:
        """Number of vectors ``K``."""
        return len(self.vectors)

    def numerical_rank(self, tolerance: float = 1e-3) -> int:
        """How many singular values are above ``tolerance`` of the first."""
        return int((self.singular_values > tolerance).sum())


def relaxation_basis(
    pulses: np.ndarray,
    repetition_s: float,
    flip_deg: float,
    rank: int | None = 6,
    tolerance: float = 3e-4,
    t1_range_s: tuple[float, float] = T1_RANGE_S,
    efficiencies: Sequence[float] = EFFICIENCIES,
    flip_scales: Sequence[float] = FLIP_SCALES,
    t1_values: int = 96,
) -> RelaxationBasis:
    """SVD of recoveries for a range of T1, inversion efficiency and flip angle.

    Args:
        pulses: ``(T,)`` pulse number of every inversion time.
        repetition_s: time between pulses in seconds.
        flip_deg: nominal flip angle in degrees.
        rank: number of vectors; None takes those above ``tolerance``.
        tolerance: relative singular value, see ``rank``.
        t1_range_s: smallest and largest T1 in seconds.
        efficiencies: of the inversion.
        flip_scales: of the flip angle, for the transmit field.
        t1_values: how many T1, spaced logarithmically.
    """
    t1_s = np.geomspace(*t1_range_s, t1_values)
    grid = np.meshgrid(t1_s, flip_deg * np.asarray(flip_scales), efficiencies, indexing="ij")
    curves = ir_flash(grid[0], pulses, repetition_s, grid[1], grid[2]).reshape(-1, len(pulses))
    curves /= np.linalg.norm(curves, axis=1, keepdims=True)
    _, values, vectors = np.linalg.svd(curves, full_matrices=False)
    relative = values / values[0]
    if rank is None:
        rank = int((relative > tolerance).sum())
    return RelaxationBasis(vectors[: min(rank, len(vectors))], relative, len(curves))
