"""Pseudo-inverse of an operator that has no closed form: conjugate gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from mriforge.physics.operator import LinearOperator


def cgls(
    operator: LinearOperator, data: Tensor, tolerance: float = 1e-6, max_iterations: int = 500
) -> Tensor:
    """Minimum-norm least-squares image of ``data`` (CGLS started from zero).

    Args:
        operator: any linear operator.
        data: ``(..., z, y, x)`` on ``operator.low``; leading axes are solved together.
        tolerance: stops when the gradient ``A^T (y - A x)`` has shrunk by this factor.
        max_iterations: stops in any case.
    """
    residual = data.clone()
    gradient = operator.A_adjoint(residual)
    image = torch.zeros_like(gradient)
    direction = gradient
    square = first = float(gradient.square().sum())
    for _ in range(max_iterations):
        if square <= tolerance**2 * first or square == 0.0:
            break
        forward = operator.A(direction)
        step = square / float(forward.square().sum())
        image = image + step * direction
        residual = residual - step * forward
        gradient = operator.A_adjoint(residual)
        previous, square = square, float(gradient.square().sum())
        direction = gradient + (square / previous) * direction
    return image


class Chain(LinearOperator):
    """``second`` after ``first``, for instance thick slices and then truncated k-space.

    On different axes the two commute and ``(B A)^+ = A^+ B^+``; otherwise :meth:`A_dagger`
    iterates.

    Args:
        first: acts on the sharp image.
        second: its ``high`` is ``first.low``.
    """

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        if first.low.shape != second.high.shape:
            raise ValueError(f"{first.low.shape} does not fit into {second.high.shape}")
        self.first, self.second = first, second
        self.high, self.low = first.high, second.low
        axes = [set(getattr(op, "axes", (-1, -2, -3))) for op in (first, second)]
        self.axes = tuple(sorted(axes[0] | axes[1], reverse=True))
        self._disjoint = not axes[0] & axes[1]

    def A_complex(self, image: Tensor) -> Tensor:
        """As :meth:`A`, before ``second`` takes the real part or the magnitude."""
        return self.second.A_complex(self.first.A(image))

    def A(self, image: Tensor) -> Tensor:
        return self.second.A(self.first.A(image))

    def A_adjoint(self, data: Tensor) -> Tensor:
        return self.first.A_adjoint(self.second.A_adjoint(data))

    def A_dagger(self, data: Tensor) -> Tensor:
        if self._disjoint:
            return self.first.A_dagger(self.second.A_dagger(data))
        return cgls(self, data)
