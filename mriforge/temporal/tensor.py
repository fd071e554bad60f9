"""Low-rank tensors: unfoldings, higher-order SVD, completion from the entries that were measured.

Numpy only. References: De Lathauwer 2000 (HOSVD); Liu 2013 (completion by nuclear norms of the
unfoldings); Christodoulou 2018 (both for MR Multitasking).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


def unfold(tensor: np.ndarray, mode: int) -> np.ndarray:
    """Mode-``mode`` unfolding ``(n_mode, product of the others)``; the others keep their order."""
    return np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)


def fold(matrix: np.ndarray, mode: int, shape: Sequence[int]) -> np.ndarray:
    """Inverse of :func:`unfold` for a tensor of ``shape``."""
    rest = [n for axis, n in enumerate(shape) if axis != mode]
    return np.moveaxis(matrix.reshape(shape[mode], *rest), 0, mode)


def mode_product(tensor: np.ndarray, matrix: np.ndarray, mode: int) -> np.ndarray:
    """``tensor x_mode matrix``: ``matrix (m, n_mode)`` applied along one axis."""
    return np.moveaxis(np.tensordot(matrix, tensor, axes=(1, mode)), 0, mode)


def left_vectors(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left singular vectors (columns) and singular values of a wide matrix, largest first.

    By the eigenvectors of its small Gram matrix in double precision, which for wide unfoldings is
    many times faster than an SVD; values below about 1e-7 of the largest are rounding.
    """
    wide = matrix.astype(np.float64, copy=False)
    values, vectors = np.linalg.eigh(wide @ wide.T)
    return vectors[:, ::-1], np.sqrt(np.clip(values[::-1], 0.0, None))


@dataclass(frozen=True)
class Tucker:
    """A tensor as core and one factor matrix for each axis.

    Attributes:
        core: ``(r_0, r_1, ...)``.
        factors: matrices ``(n_i, r_i)`` with orthonormal columns.
        singular_values: of every unfolding of the tensor, untruncated.
    """

    core: np.ndarray
    factors: tuple[np.ndarray, ...]
    singular_values: tuple[np.ndarray, ...]

    @property
    def ranks(self) -> tuple[int, ...]:
        """Multilinear rank ``(r_0, r_1, ...)``."""
        return self.core.shape

    def full(self) -> np.ndarray:
        """The tensor itself ``(n_0, n_1, ...)``."""
        tensor = self.core
        for mode, factor in enumerate(self.factors):
            tensor = mode_product(tensor, factor, mode)
        return tensor


def hosvd(tensor: np.ndarray, ranks: Sequence[int | None] | None = None) -> Tucker:
    """Truncated higher-order SVD (De Lathauwer 2000).

    Args:
        tensor: real ``(n_0, n_1, ...)``.
        ranks: largest rank for every axis; None for all of it.

    Returns:
        Core and factors. The error of :meth:`Tucker.full` is at most the root of the sum of the
        squares of the singular values that were cut off.
    """
    ranks = [None] * tensor.ndim if ranks is None else list(ranks)
    if len(ranks) != tensor.ndim:
        raise ValueError(f"{len(ranks)} ranks for a tensor of {tensor.ndim} axes")
    core = tensor.astype(np.float64, copy=False)
    factors, spectra = [], []
    for mode, rank in enumerate(ranks):
        unfolded = unfold(tensor, mode)
        if unfolded.shape[0] <= unfolded.shape[1]:
            vectors, values = left_vectors(unfolded)
        else:
            vectors, values, _ = np.linalg.svd(
                unfolded.astype(np.float64, copy=False), full_matrices=False
            )
        factors.append(vectors[:, :rank])
        spectra.append(values)
        core = mode_product(core, factors[-1].T, mode)
    return Tucker(core, tuple(factors), tuple(spectra))


def shrink_unfolding(tensor: np.ndarray, mode: int, threshold: float) -> np.ndarray:
    """Singular values of one unfolding less ``threshold``: the proximal map of a nuclear norm."""
    unfolded = unfold(tensor, mode)
    if unfolded.shape[0] > unfolded.shape[1]:
        return fold(_shrink(unfolded.T, threshold).T, mode, tensor.shape)
    return fold(_shrink(unfolded, threshold), mode, tensor.shape)


def _shrink(wide: np.ndarray, threshold: float) -> np.ndarray:
    vectors, values = left_vectors(wide)
    keep = values > threshold
    vectors, values = vectors[:, keep], values[keep]
    return (vectors * (1.0 - threshold / values)) @ (vectors.T @ wide)


@dataclass(frozen=True)
class Completion:
    """Outcome of :func:`complete`.

    Attributes:
        tensor: the completed tensor.
        iterations: how many were made.
        change: relative change of the last one.
    """

    tensor: np.ndarray
    iterations: int
    change: float


def complete(
    solve: Callable[[np.ndarray, float], np.ndarray],
    start: np.ndarray,
    thresholds: Sequence[float],
    penalty: float,
    iterations: int = 100,
    tolerance: float = 1e-4,
    check: Callable[[], None] = lambda: None,
) -> Completion:
    """Fills a tensor: ``min_X data(X) + sum_n lambda_n ||X_(n)||_*`` by ADMM (Liu 2013, HaLRTC).

    Args:
        solve: gives ``argmin_X data(X) + weight / 2 ||X - target||^2`` for ``(target, weight)``.
        start: first guess, of the tensor's shape.
        thresholds: ``lambda_n`` for every axis; 0 leaves that unfolding free.
        penalty: ``rho`` of the splitting, in the units of the curvature of ``data``.
        iterations: at most.
        tolerance: stop when an iteration changes the tensor by less than this, relatively.
        check: called in every iteration, for instance to cancel.
    """
    modes = [mode for mode, value in enumerate(thresholds) if value > 0]
    tensor = start.astype(np.float64)
    if not modes:
        return Completion(solve(tensor, 0.0), 1, 0.0)
    duals = {mode: np.zeros_like(tensor) for mode in modes}
    change = np.inf
    done = 0
    for done in range(1, iterations + 1):  # noqa: B007
        check()
        target = np.zeros_like(tensor)
        for mode in modes:
            low_rank = shrink_unfolding(tensor + duals[mode], mode, thresholds[mode] / penalty)
            duals[mode] += tensor - low_rank
            target += low_rank - duals[mode]
        before = tensor
        tensor = solve(target / len(modes), penalty * len(modes))
        change = float(np.linalg.norm(tensor - before) / max(np.linalg.norm(before), 1e-30))
        if change < tolerance:
            break
    return Completion(tensor, done, change)
