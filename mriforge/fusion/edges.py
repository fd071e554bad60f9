"""The edge-preserving prior: Huber's function of the gradient, alone or guided by another image.

* Total variation, rounded off below ``delta``: ``sum h(|grad x|)`` with ``h(t) = t^2 / (2 delta)``
  up to ``delta`` and ``t - delta / 2`` beyond (Huber 1973; Rudin, Osher and Fatemi 1992).
* Directional total variation (Ehrhardt and Betcke 2016, "Multicontrast MRI reconstruction with
  structure-guided total variation"): the part of the gradient along the guide's own gradient costs
  nothing, ``grad x - xi <xi, grad x>`` with ``xi = grad v / sqrt(|grad v|^2 + eta^2)``. Where the
  guide has an edge the image may have one; where it has none nothing is carried over.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def gradient(image: Tensor) -> Tensor:
    """Forward differences ``(3, z, y, x)``; 0 behind the last voxel."""
    result = torch.zeros(3, *image.shape, dtype=image.dtype)
    for axis in range(3):
        size = image.shape[axis] - 1
        torch.sub(
            image.narrow(axis, 1, size),
            image.narrow(axis, 0, size),
            out=result[axis].narrow(axis, 0, size),
        )
    return result


def gradient_adjoint(field: Tensor) -> Tensor:
    """Transpose of :func:`gradient` (minus the divergence)."""
    result = torch.zeros_like(field[0])
    for axis in range(3):
        size = field.shape[1 + axis] - 1
        part = field[axis].narrow(axis, 0, size)
        result.narrow(axis, 1, size).add_(part)
        result.narrow(axis, 0, size).sub_(part)
    return result


@dataclass(frozen=True)
class EdgePrior:
    """``weight * sum h_delta(|D x|)``.

    Attributes:
        weight: of the prior against half the squared residual.
        delta: gradients below it count as noise and are smoothed quadratically.
        guide: ``(3, z, y, x)``, the field ``xi`` of another contrast, or None.
    """

    weight: float
    delta: float
    guide: Tensor | None = None

    @property
    def lipschitz(self) -> float:
        """Upper bound of the curvature; the squared norm of the gradient is at most 12."""
        return 12 * self.weight / self.delta

    def slope(self, image: Tensor) -> Tensor:
        """Gradient of the prior, ``(z, y, x)``."""
        field = gradient(image)
        if self.guide is not None:
            field -= self.guide * (self.guide * field).sum(dim=0)
        field *= self.weight / field.square().sum(dim=0).sqrt_().clamp_(min=self.delta)
        if self.guide is not None:
            field -= self.guide * (self.guide * field).sum(dim=0)
        return gradient_adjoint(field)

    def value(self, image: Tensor) -> float:
        """The prior's cost."""
        field = gradient(image)
        if self.guide is not None:
            field -= self.guide * (self.guide * field).sum(dim=0)
        size = field.square().sum(dim=0).sqrt_()
        small = size.square() / (2 * self.delta)
        return self.weight * float(
            torch.where(size < self.delta, small, size - self.delta / 2).double().sum()
        )


def guide_of(image: Tensor, eta: float) -> Tensor:
    """The field ``xi`` of a guiding image, ``(3, z, y, x)``, lengths below 1.

    Args:
        eta: gradients well below it do not guide.
    """
    field = gradient(image)
    return field / (field.square().sum(dim=0) + eta**2).sqrt()
