"""The sharp image that explains every stack: least squares, edges kept, nothing negative.

    minimise  sum_s w_s / 2 ||A_s x - y_s||^2 + prior(x)   subject to x >= 0

The prior is smooth (:mod:`mriforge.fusion.edges`), so accelerated projected gradients find the
constrained minimum itself: FISTA (Beck and Teboulle 2009) with the gradient restart of O'Donoghue
and Candes 2015. Steps are as long as each voxel allows, by the separable bound of the curvature
``sum_s w_s A_s^T A_s 1`` (De Pierro 1995), which stacks that end inside the image make very uneven.
Each step costs one A and one A^T per stack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mriforge.events import Events
from mriforge.fusion.edges import EdgePrior
from mriforge.physics.operator import LinearOperator

_LOBES = 1.15
"""Interpolating splines have small negative lobes; the bound for non-negative weights is raised."""


_WELL_SEEN = 0.3


@dataclass(frozen=True)
class Solution:
    """Attributes:
    image: ``(z, y, x)``.
    iterations: how many were done.
    change: last relative change.
    converged: whether it fell below the tolerance.
    """

    image: Tensor
    iterations: int
    change: float
    converged: bool


def coverage(operators: Sequence[LinearOperator], weights: Sequence[float]) -> Tensor:
    """``sum_s w_s A_s^T A_s 1``: how much every voxel was seen."""
    one = torch.ones(operators[0].high.shape)
    total = torch.zeros_like(one)
    for op, weight in zip(operators, weights, strict=True):
        total += weight * op.A_adjoint(op.A(one))
    return total


def back_projected(
    operators: Sequence[LinearOperator],
    data: Sequence[Tensor],
    weights: Sequence[float],
    seen: Tensor,
) -> Tensor:
    """Mean of what the stacks say of each voxel; a start."""
    total = torch.zeros(operators[0].high.shape)
    for op, values, weight in zip(operators, data, weights, strict=True):
        total += weight * op.A_adjoint(values)
    # Voxels that only the tail of a slice profile reaches start low, not at a ratio of tails.
    return (total / seen.clamp(min=_WELL_SEEN * float(seen.max()))).clamp(min=0)


def solve(
    operators: Sequence[LinearOperator],
    data: Sequence[Tensor],
    weights: Sequence[float],
    prior: EdgePrior,
    *,
    start: Tensor | None = None,
    iterations: int = 80,
    tolerance: float = 5e-4,
    events: Events | None = None,
) -> Solution:
    """The fused image.

    Args:
        operators: one for a stack, all with the same ``high``.
        data: what each stack measured, on its ``low``.
        weights: of the stacks; inverse noise variances up to a common factor.
        start: default the back-projection of the data.
        iterations: at most so many.
        tolerance: ends when ``||x' - x|| / ||x'||`` stays below it.
        events: progress and cancel.

    Raises:
        Cancelled: the caller asked to stop.
    """
    events = events or Events()
    seen = coverage(operators, weights)
    curvature = _LOBES * seen + prior.lipschitz
    curvature.clamp_(min=1e-3 * float(curvature.max()))
    if start is None:
        start = back_projected(operators, data, weights, seen)
    image = start.clone()
    ahead, momentum, change, calm = image, 1.0, math.inf, 0
    for number in range(iterations):
        events.check_cancelled()
        slope = prior.slope(ahead)
        for op, values, weight in zip(operators, data, weights, strict=True):
            slope += weight * op.A_adjoint(op.A(ahead) - values)
        new = (ahead - slope / curvature).clamp_(min=0)
        step = new - image
        if float((curvature * (ahead - new) * step).sum()) > 0:
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + ((momentum - 1) / following) * step
        change = float(step.norm()) / max(float(new.norm()), 1e-30)
        image, momentum = new, following
        events.progress((number + 1) / iterations, f"iteration {number + 1}")
        calm = calm + 1 if change < tolerance else 0
        if calm == 2:
            return Solution(image, number + 1, change, True)
    return Solution(image, iterations, change, False)
