"""The part of an image that its acquisition cannot have measured: ``(I - A^+ A) x``."""

from __future__ import annotations

from torch import Tensor

from mriforge.physics.operator import LinearOperator


def unmeasured(operator: LinearOperator, image: Tensor) -> Tensor:
    """What of ``image`` the acquisition does not see.

    Args:
        operator: the acquisition; directions that its pseudo-inverse leaves alone count as unseen.
        image: ``(..., z, y, x)`` on ``operator.high``.

    Returns:
        signed, of the same shape and units; the rest of ``image`` is what was measured.
    """
    return image - operator.A_dagger(operator.A(image))


def unmeasured_share(operator: LinearOperator, image: Tensor) -> float:
    """``||(I - A^+ A) x|| / ||x||``, 0 (all measured) to about 1; 0 for an empty image."""
    return share_of(unmeasured(operator, image), image)


def share_of(part: Tensor, image: Tensor) -> float:
    """``||part|| / ||image||``; 0 for an empty image."""
    norm = float(image.double().norm())
    return float(part.double().norm()) / norm if norm > 0 else 0.0
