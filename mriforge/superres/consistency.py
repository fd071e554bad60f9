"""Measurement consistency: the acquired data is in the result, exactly.

The network only proposes what the scan did not measure. Restoring the acquired k-space centre,
``x + A^+ (y - A x)``, splits the error by Parseval's theorem into the error of zero-filling inside
the acquired window and the network's error outside of it: a consistent result is worse than
zero-filling only where the network's high frequencies are worse than none.
"""

from __future__ import annotations

from torch import Tensor

from mriforge.physics.operator import LinearOperator


def relative_residual(operator: LinearOperator, image: Tensor, data: Tensor) -> float:
    """``||A x - y|| / ||y||``: how far the image is from explaining the measurement."""
    norm = float(data.norm())
    return float((operator.A(image) - data).norm()) / norm if norm > 0 else 0.0


def make_consistent(
    operator: LinearOperator, image: Tensor, data: Tensor
) -> tuple[Tensor, float, float]:
    """Restore the acquired data in ``image``.

    Args:
        operator: the acquisition.
        image: ``(..., z, y, x)`` on ``operator.high``.
        data: the acquired image, ``(..., z, y, x)`` on ``operator.low``.

    Returns:
        the consistent image, and the relative residual before and after.
    """
    before = relative_residual(operator, image, data)
    restored = operator.restore(image, data)
    return restored, before, relative_residual(operator, restored, data)
