"""Spatial factors by iteration: ``min 1/2 ||d - E U||^2 + lambda ||Psi U||_1`` (Chen 2021, eq. 1).

Everything happens in coefficient space: the data enter once, as ``E^H d``, and each iteration
applies the normal operator. Factors are ``(z, y, x, L)`` complex64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mriforge.physics.toeplitz import ToeplitzNormal
from mriforge.recon.sparsity import Sparsity

Apply = Callable[[Tensor], Tensor]


@dataclass
class Progress:
    """What the iterations did.

    Attributes:
        changes: relative change of the factors, one for each outer iteration.
        costs: data term ``||d - E U||^2`` relative to ``||d||^2``, where the data's norm is known.
        applications: of the normal operator.
    """

    changes: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    applications: int = 0


@dataclass(frozen=True)
class Problem:
    """The least-squares part.

    Attributes:
        normal: ``E^H E``.
        target: ``E^H d`` ``(z, y, x, L)``.
        data_energy: ``||d||^2``, or 0 when it is not known.
        watch: called after each outer iteration with the estimate and the progress; may raise.
        breathe: called before each application of the operator; raises to cancel.
    """

    normal: ToeplitzNormal
    target: Tensor
    data_energy: float = 0.0
    watch: Callable[[Tensor, Progress], None] = lambda estimate, progress: None
    breathe: Callable[[], None] = lambda: None

    def relative_cost(self, estimate: Tensor, applied: Tensor) -> float:
        """``||d - E U||^2 / ||d||^2`` of ``estimate`` and ``E^H E`` of it."""
        inner = torch.vdot(estimate.flatten(), (applied - 2 * self.target).flatten()).real
        return float(1 + inner / self.data_energy) if self.data_energy else float("nan")


def conjugate_gradients(
    apply: Apply,
    target: Tensor,
    start: Tensor,
    iterations: int,
    precondition: Apply = lambda values: values,
    residual: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Preconditioned conjugate gradients for ``apply(x) = target``.

    Args:
        apply: a positive semidefinite operator.
        target: right-hand side.
        start: first estimate.
        iterations: number of applications of the operator.
        precondition: an approximate inverse.
        residual: ``target - apply(start)``, when it is known; it saves one application.

    Returns:
        the estimate, and its residual.
    """
    estimate = start.clone()
    residual = target - apply(start) if residual is None else residual.clone()
    # A preconditioner may give back what it got, and the residual changes in place.
    direction = precondition(residual).clone()
    product = _inner(residual, direction)
    for _ in range(iterations):
        if product <= 0:
            break
        image = apply(direction)
        curvature = _inner(direction, image)
        if curvature <= 0:
            break
        step = product / curvature
        estimate += step * direction
        residual -= step * image
        better = precondition(residual)
        following = _inner(residual, better)
        direction = better + (following / product) * direction
        product = following
    return estimate, residual


def _inner(one: Tensor, other: Tensor) -> float:
    return float(torch.vdot(one.flatten(), other.flatten()).real)


def admm(
    problem: Problem,
    sparsity: Sparsity | None,
    threshold: float,
    *,
    outer: int = 8,
    inner: int = 3,
    coupling: float = 0.01,
    tolerance: float = 1e-3,
    start: Tensor | None = None,
    preconditioned: bool = True,
) -> tuple[Tensor, Progress]:
    """Alternating directions with inner conjugate gradients (Chen 2021, section 2.3.2).

    Args:
        problem: the least-squares part.
        sparsity: ``Psi``, or None for least squares alone.
        threshold: ``lambda / rho``, in units of the factors.
        outer: iterations, 20 in the paper.
        inner: conjugate-gradient steps in each, 20 in the paper.
        coupling: ``rho`` relative to the largest eigenvalue of the normal operator.
        tolerance: stop when the factors change less, relatively.
        start: first estimate, zero by default.
        preconditioned: by the nearest circulant; otherwise as published.

    Returns:
        factors and progress.
    """
    rho = coupling * problem.normal.lipschitz
    progress = Progress()
    estimate = torch.zeros_like(problem.target) if start is None else start.clone()
    precondition = _preconditioner(problem, sparsity, rho) if preconditioned else _same
    if sparsity is not None:
        split = sparsity.forward(estimate)
        dual = torch.zeros_like(split)

    def apply(values: Tensor) -> Tensor:
        problem.breathe()
        progress.applications += 1
        result = problem.normal(values)
        if sparsity is not None:
            result += rho * sparsity.adjoint(sparsity.forward(values))
        return result

    for _ in range(outer):
        target = problem.target
        if sparsity is not None:
            target = target + rho * sparsity.adjoint(split - dual)
        before = estimate
        known = None if before.any() else target
        estimate, residual = conjugate_gradients(apply, target, before, inner, precondition, known)
        applied = target - residual
        if sparsity is not None:
            coefficients = sparsity.forward(estimate)
            applied = applied - rho * sparsity.adjoint(coefficients)
            split = sparsity.shrink(coefficients + dual, threshold)
            dual = dual + coefficients - split
        if _finished(problem, progress, before, estimate, applied, tolerance):
            break
    return estimate, progress


def _same(values: Tensor) -> Tensor:
    return values


def _preconditioner(problem: Problem, sparsity: Sparsity | None, rho: float) -> Apply:
    weight: float | Tensor = rho
    if sparsity is not None:
        # A floor: where the transform sees nothing the circulant alone may be singular.
        weight = rho * sparsity.energy(problem.target).clamp(min=1e-3)
    return problem.normal.preconditioner(weight)


def _finished(
    problem: Problem,
    progress: Progress,
    before: Tensor,
    after: Tensor,
    applied: Tensor,
    tolerance: float,
) -> bool:
    change = float((after - before).norm() / after.norm().clamp(min=1e-30))
    progress.changes.append(change)
    progress.costs.append(problem.relative_cost(after, applied))
    problem.watch(after, progress)
    return change < tolerance


def fista(
    problem: Problem,
    sparsity: Sparsity,
    threshold: float,
    *,
    iterations: int = 60,
    tolerance: float = 1e-4,
    start: Tensor | None = None,
) -> tuple[Tensor, Progress]:
    """Accelerated proximal gradients (Beck 2009) with adaptive restart (O'Donoghue 2015).

    Args:
        problem: the least-squares part.
        sparsity: orthonormal, or its own proximal map (wavelets, locally low rank).
        threshold: ``lambda`` over the largest eigenvalue, in units of the factors.
        iterations: at most.
        tolerance: stop when the factors change less, relatively.
        start: first estimate, zero by default.

    Returns:
        factors and progress. The data term in ``costs`` is that of the extrapolated point, the
        only one to which the operator was applied.
    """
    progress = Progress()
    step = 1 / problem.normal.lipschitz
    estimate = torch.zeros_like(problem.target) if start is None else start.clone()
    ahead, momentum = estimate, 1.0
    for _ in range(iterations):
        problem.breathe()
        applied = problem.normal(ahead)
        progress.applications += 1
        before, previous_ahead = estimate, ahead
        stepped = ahead - step * (applied - problem.target)
        shrunk = sparsity.shrink(sparsity.forward(stepped), threshold)
        estimate = sparsity.adjoint(shrunk)
        moved = estimate - before
        if _inner(previous_ahead - estimate, moved) > 0:
            momentum = 1.0
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = estimate + (momentum - 1) / following * moved
        momentum = following
        change = float(moved.norm() / estimate.norm().clamp(min=1e-30))
        progress.changes.append(change)
        progress.costs.append(problem.relative_cost(previous_ahead, applied))
        problem.watch(estimate, progress)
        if change < tolerance:
            break
    return estimate, progress
