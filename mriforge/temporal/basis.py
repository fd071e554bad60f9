"""From binned lines to the temporal basis: fill what was not measured, then factorise.

Numpy only. Along inversion time a component of space is ``K`` numbers, because recoveries come
from a dictionary (:mod:`mriforge.temporal.dictionary`). So the tensor that has to be found is
``(space, cardiac, respiratory, K)``: small, and measured in almost every motion state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mriforge.errors import BadInput
from mriforge.temporal.binning import Bins
from mriforge.temporal.lines import Line
from mriforge.temporal.tensor import Completion, complete, hosvd, mode_product, unfold


@dataclass(frozen=True)
class Normal:
    """Least squares of lines against relaxation, for every motion state on its own.

    ``curvature[m]`` is ``sum_s d_s d_s^T`` over the readouts of state ``m``, with ``d_s`` the
    dictionary vectors at the inversion time of ``s``; kept as eigenvalues and vectors.

    Attributes:
        values: ``(lines, states, K)``.
        vectors: ``(lines, states, K, K)``.
        right: ``(states, K, p)``, ``sum_s d_s y_s^T``.
        line: ``(p,)`` to which line a component of space belongs.
        energy: sum of squares of the data.
        samples: number of data.
        shape: ``(p, cardiac, respiratory, K)``.
    """

    values: np.ndarray
    vectors: np.ndarray
    right: np.ndarray
    line: np.ndarray
    energy: float
    samples: int
    shape: tuple[int, int, int, int]

    @property
    def scale(self) -> float:
        """Mean curvature: what a penalty has to be compared with."""
        return float(self.values.mean())

    def solve(self, target: np.ndarray, weight: float) -> np.ndarray:
        """``argmin_X sum |y - d X|^2 / 2 + weight / 2 ||X - target||^2``, of ``shape``."""
        goal = self._states(target)
        out = np.empty_like(goal)
        for number in range(len(self.values)):
            own = self.line == number
            vectors = self.vectors[number]
            inner = np.swapaxes(vectors, 1, 2) @ (self.right[..., own] + weight * goal[..., own])
            damped = np.maximum(self.values[number] + weight, 1e-9 * self.scale)
            out[..., own] = vectors @ (inner / damped[..., None])
        return self._tensor(out)

    def residual(self, tensor: np.ndarray) -> float:
        """Sum of squares of what ``tensor`` leaves of the data."""
        states = self._states(tensor)
        explained = -2.0 * float((states * self.right).sum())
        for number in range(len(self.values)):
            own = self.line == number
            inner = np.swapaxes(self.vectors[number], 1, 2) @ states[..., own]
            explained += float((self.values[number][..., None] * inner**2).sum())
        return max(self.energy + explained, 0.0)

    def _states(self, tensor: np.ndarray) -> np.ndarray:
        components, cardiac, respiratory, rank = self.shape
        return np.moveaxis(tensor.reshape(components, cardiac * respiratory, rank), 0, 2)

    def _tensor(self, states: np.ndarray) -> np.ndarray:
        return np.moveaxis(states, 2, 0).reshape(self.shape)


def normal_equations(
    lines: Sequence[Line],
    bins: Bins,
    relaxation: np.ndarray,
    readouts: np.ndarray | None = None,
) -> Normal:
    """Sorts lines into motion states.

    Args:
        lines: data.
        bins: of all readouts of the raw data.
        relaxation: ``(K, T)`` orthonormal rows.
        readouts: ``(s,)`` bool, the ones that may be used; None for the valid ones.
    """
    from scipy.sparse import csr_matrix

    allowed = bins.valid if readouts is None else readouts
    states, rank = bins.shape[0] * bins.shape[1], len(relaxation)
    values, vectors, right, owner = [], [], [], []
    energy, samples = 0.0, 0
    if not any(allowed[line.readouts].any() for line in lines):
        raise BadInput("No navigator is left to find the temporal basis from.")
    for number, line in enumerate(lines):
        kept = allowed[line.readouts]
        own, data = line.readouts[kept], line.data[kept]
        curves = relaxation[:, bins.inversion[own]].T
        sorting = csr_matrix(
            (np.ones(len(own)), (bins.motion[own], np.arange(len(own)))), (states, len(own))
        )
        squares = (curves[:, :, None] * curves[:, None, :]).reshape(len(own), rank**2)
        eigen = np.linalg.eigh((sorting @ squares).reshape(states, rank, rank))
        values.append(np.clip(eigen[0], 0.0, None))
        vectors.append(eigen[1])
        mixed = (curves[:, :, None] * data[:, None, :]).reshape(len(own), rank * data.shape[1])
        right.append((sorting @ mixed).reshape(states, rank, data.shape[1]))
        owner.append(np.full(data.shape[1], number))
        energy += float(np.square(data).sum())
        samples += data.size
    line_of = np.concatenate(owner)
    shape = (len(line_of), bins.shape[0], bins.shape[1], rank)
    return Normal(
        np.array(values),
        np.array(vectors),
        np.concatenate(right, axis=2),
        line_of,
        energy,
        samples,
        shape,
    )


def fill_by_mean(normal: Normal, strength: float = 0.05) -> np.ndarray:
    """Every motion state on its own, held weakly to the mean over all states.

    Args:
        normal: the data.
        strength: of the hold, relative to the mean curvature.
    """
    components, rank = normal.shape[0], normal.shape[3]
    mean = np.empty((components, rank))
    for number in range(len(normal.values)):
        own = normal.line == number
        vectors = normal.vectors[number]
        total = (vectors * normal.values[number][:, None, :] @ np.swapaxes(vectors, 1, 2)).sum(0)
        total += 1e-6 * np.trace(total) / rank * np.eye(rank)
        mean[own] = np.linalg.solve(total, normal.right[..., own].sum(0)).T
    target = np.broadcast_to(mean[:, None, None, :], normal.shape)
    return normal.solve(target, strength * normal.scale)


def noise_level(normal: Normal, tensor: np.ndarray) -> float:
    """Standard deviation of the data about a fit, degrees of freedom taken off."""
    free = int((normal.values > 0.05 * normal.scale).sum()) / len(normal.values)
    freedom = max(normal.samples - free * normal.shape[0], 0.1 * normal.samples)
    return float(np.sqrt(normal.residual(tensor) / freedom))


def fill_by_rank(
    normal: Normal,
    strength: float = 1.0,
    iterations: int = 100,
    tolerance: float = 1e-3,
    check: Callable[[], None] = lambda: None,
) -> Completion:
    """Low-rank tensor completion of the navigator data (Christodoulou 2018).

    ``min ||d - Omega(A)||^2 / 2 + sum_n lambda_n ||A_(n)||_*``, ``A`` confined to the relaxation
    dictionary. ``lambda_n`` is ``strength`` times the largest singular value that noise alone
    gives that unfolding (Gavish & Donoho 2014), shared between the unfoldings.

    Args:
        normal: the data.
        strength: 0 fits every state on its own.
        iterations: of ADMM at most.
        tolerance: relative change at which it stops.
        check: called in every iteration.
    """
    start = fill_by_mean(normal)
    sigma = noise_level(normal, start) * np.sqrt(normal.scale)
    sizes = [normal.shape[mode] for mode in range(4)]
    total = int(np.prod(sizes))
    thresholds = [strength / 4 * sigma * (np.sqrt(n) + np.sqrt(total / n)) for n in sizes]
    return complete(normal.solve, start, thresholds, normal.scale / 4, iterations, tolerance, check)


@dataclass(frozen=True)
class Basis:
    """A temporal basis and what it was made from.

    Attributes:
        vectors: ``(L, C, R, T)`` float32, orthonormal rows.
        coefficients: ``(L, C, R, K)`` float64, the same in dictionary vectors.
        singular_values: of the space unfolding, as far as known.
    """

    vectors: np.ndarray
    coefficients: np.ndarray
    singular_values: np.ndarray


def factorise(
    tensor: np.ndarray,
    relaxation: np.ndarray,
    rank: int,
    ranks: tuple[int | None, int | None, int | None] = (None, None, None),
) -> Basis:
    """``Phi = G_(1) (U_tau x U_r x U_c)^T`` by HOSVD, rows made orthonormal.

    Args:
        tensor: ``(p, C, R, K)`` filled.
        relaxation: ``(K, T)`` orthonormal rows.
        rank: ``L``.
        ranks: of the cardiac, respiratory and inversion axes; None for all of it.

    Raises:
        BadInput: the tensor does not hold that many components.
    """
    tucker = hosvd(tensor, (rank, *ranks))
    core = tucker.core
    _check_rank(rank, min(core.shape[0], int(np.prod(core.shape[1:]))))
    # Truncation of the other axes leaves the rows of the core only nearly orthogonal.
    rows = np.linalg.svd(unfold(core, 0), full_matrices=False)[2]
    coefficients = rows.reshape(core.shape)
    for mode in (1, 2, 3):
        coefficients = mode_product(coefficients, tucker.factors[mode], mode)
    return _basis(coefficients, relaxation, tucker.singular_values[0])


@dataclass(frozen=True)
class Products:
    """Products of cardiac, respiratory and relaxation factors, and how much each is expected.

    Attributes:
        vectors: ``(n, C, R, K)`` float64, orthonormal.
        variances: ``(n,)`` descending, relative to the first.
        moving_share: of the image's energy.
    """

    vectors: np.ndarray
    variances: np.ndarray
    moving_share: float


def products(tensor: np.ndarray, count: int) -> Products:
    """Spans the motion that a line shows badly or not at all by products of what it does show.

    The axes' own factors (HOSVD) are found well even from one line: *when* the heart contracts and
    the chest rises. How strongly a product of them occurs in the image is not, since motion across
    the line is hidden. Independence gives an estimate: variances of the axes multiply. Only a
    share ``h`` of the image moves, though, and what moves with the heart also moves with the chest;
    within that share the two are independent, so ``v_ij = v_i v_j / h``, never more than ``v_i``
    or ``v_j``. The share comes from the core: it is where the sum of ``v_ij`` is that of the core.

    Args:
        tensor: ``(p, C, R, K)`` filled.
        count: number of products; fewer when there are fewer.
    """
    tucker = hosvd(tensor)
    variances = [_above_noise(values) for values in tucker.singular_values[1:]]
    heart, chest, relaxing = variances
    motion = np.outer(heart, chest)
    core = np.square(tucker.core).sum((0, 3))
    both = float(core[1:, 1:].sum() / core[0, 0])
    share = float(np.clip(motion[1:, 1:].sum() / both, 1e-4, 1.0)) if both > 0 else 1.0
    least = np.minimum(heart[1:, None], chest[None, 1:])
    motion[1:, 1:] = np.minimum(motion[1:, 1:] / share, least)
    expected = (motion[:, :, None] * relaxing).ravel()
    order = np.argsort(-expected, kind="stable")[:count]
    c, r, k = np.unravel_index(order, tensor.shape[1:])
    factors = tucker.factors[1:]
    vectors = np.einsum(
        "cl,rl,kl->lcrk", factors[0][:, c], factors[1][:, r], factors[2][:, k], optimize=True
    )
    return Products(vectors, expected[order] / expected[order[0]], share)


def _above_noise(values: np.ndarray) -> np.ndarray:
    """Energies relative to the first; where the axis is long enough to show it, less the noise."""
    energies = np.square(values)
    if len(energies) > 8:
        tail = energies[len(energies) // 2 :]
        energies = np.clip(energies - np.median(tail), 1e-2 * tail.mean(), None)
    return energies / max(energies[0], 1e-30)


def leading(found: Products, covariance: np.ndarray, relaxation: np.ndarray, rank: int) -> Basis:
    """The basis of the strongest components of a covariance of products.

    Args:
        found: the products.
        covariance: ``(n, n)``.
        relaxation: ``(K, T)`` orthonormal rows.
        rank: ``L``.

    Raises:
        BadInput: there are fewer products.
    """
    _check_rank(rank, len(found.vectors))
    values, axes = np.linalg.eigh(covariance)
    coefficients = np.tensordot(axes[:, ::-1][:, :rank].T, found.vectors, 1)
    return _basis(coefficients, relaxation, np.sqrt(np.clip(values[::-1], 0, None)))


def _basis(coefficients: np.ndarray, relaxation: np.ndarray, values: np.ndarray) -> Basis:
    vectors = mode_product(coefficients, relaxation.T, 3).astype(np.float32)
    return Basis(np.ascontiguousarray(vectors), coefficients, values)


def _check_rank(rank: int, possible: int) -> None:
    if possible < rank:
        raise BadInput(
            f"A basis of {rank} components was asked for; the navigators hold {possible}.",
            "Ask for a smaller rank, or for more bins.",
        )
