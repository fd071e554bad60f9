"""Operators that act on each axis by its own small matrix (a Kronecker product)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mriforge.physics.operator import LinearOperator
from mriforge.volume import Grid

_CONDITION = 1e-6
"""Singular values below this part of the largest one count as not measured."""


def apply_along(matrix: Tensor, tensor: Tensor, axis: int) -> Tensor:
    """``matrix`` ``(m, n)`` times ``tensor`` ``(..., z, y, x)`` along ``axis`` -1, -2 or -3."""
    matrix = matrix.to(tensor)
    if axis == -1:
        return tensor @ matrix.T
    if axis == -2:
        return matrix @ tensor
    # Rows of a slice are contiguous: one product instead of a transposed copy.
    *lead, _, height, width = tensor.shape
    return (matrix @ tensor.flatten(-2)).reshape(*lead, matrix.shape[0], height, width)


def apply_all(matrices: Mapping[int, Tensor], tensor: Tensor) -> Tensor:
    """Every matrix along its axis; the axes that shrink the tensor most come first."""
    for axis in sorted(matrices, key=lambda a: matrices[a].shape[0] / matrices[a].shape[1]):
        tensor = apply_along(matrices[axis], tensor, axis)
    return tensor


class SeparableOperator(LinearOperator):
    """``A = A_z (x) A_y (x) A_x``; its pseudo-inverse is that of the factors, computed once.

    Args:
        high: grid of the sharp image.
        low: grid of the acquired image.
        matrices: tensor axis (-1 = x, -2 = y, -3 = z) to a ``(low, high)`` matrix, float64;
            absent axes are left alone.
        condition: directions measured weaker than this part of the strongest one are treated as
            not measured by :meth:`A_dagger`, so that rounding and noise are not blown up.
    """

    def __init__(
        self, high: Grid, low: Grid, matrices: Mapping[int, Tensor], condition: float = _CONDITION
    ) -> None:
        self.high = high
        self.low = low
        self.axes = tuple(matrices)
        self._forward = dict(matrices)
        self._transposed = {axis: m.T.contiguous() for axis, m in matrices.items()}
        self._condition = condition
        self._inverse: dict[int, Tensor] | None = None

    def A(self, image: Tensor) -> Tensor:
        return apply_all(self._forward, image)

    def A_adjoint(self, data: Tensor) -> Tensor:
        return apply_all(self._transposed, data)

    def A_dagger(self, data: Tensor) -> Tensor:
        if self._inverse is None:
            self._inverse = {
                axis: torch.linalg.pinv(m, rtol=self._condition)
                for axis, m in self._forward.items()
            }
        return apply_all(self._inverse, data)
