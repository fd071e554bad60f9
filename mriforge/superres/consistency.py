"""Measurement consistency: the acquired data is in the result, exactly.

The network only proposes what the scan did not measure. Restoring the acquired k-space centre,
``x + A^+ (y - A x)``, splits the error by Parseval's theorem into the error of zero-filling inside
the acquired window and the network's error outside of it: a consistent result is worse than
zero-filling only where the network's high frequencies are worse than none.

Scanners hand out magnitudes. Truncation rings below zero in the air beside bright tissue, and the
magnitude folds that up; taken literally it would put the folded ringing back into the result. So
the sign of dark voxels is taken from the image itself, ``y sign(A x)``: the truncated result has
the acquired magnitude everywhere, which is all that was measured.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mriforge.physics.operator import LinearOperator

_DARK = 0.2
"""Magnitudes below this part of the brightest tissue may be folded ringing (at most 9 % of an
edge by Gibbs' phenomenon, and as much again where two edges meet)."""


def measured(operator: LinearOperator, image: Tensor, data: Tensor) -> Tensor:
    """The acquired data with the sign that ``image`` gives its dark voxels."""
    if float(data.min()) < 0:
        return data  # signed data: nothing was folded
    dark = data < _DARK * float(
        torch.quantile(data.flatten()[:: max(1, data.numel() // 10**6)], 0.995)
    )
    return torch.where(dark & (operator.A(image) < 0), -data, data)


def relative_residual(operator: LinearOperator, image: Tensor, data: Tensor) -> float:
    """``|| |A x| - y || / || y ||``: how far the image is from explaining the measurement."""
    norm = float(data.norm())
    found = operator.A(image)
    found = found.abs() if float(data.min()) >= 0 else found
    return float((found - data).norm()) / norm if norm > 0 else 0.0


def make_consistent(
    operator: LinearOperator, image: Tensor, data: Tensor
) -> tuple[Tensor, float, float]:
    """Restore the acquired data in ``image``.

    Args:
        operator: the acquisition.
        image: ``(..., z, y, x)`` on ``operator.high``.
        data: the acquired image, ``(..., z, y, x)`` on ``operator.low``; magnitude if nowhere
            negative.

    Returns:
        the consistent image, and the relative residual before and after.
    """
    before = relative_residual(operator, image, data)
    restored = operator.restore(image, measured(operator, image, data))
    return restored, before, relative_residual(operator, restored, data)
