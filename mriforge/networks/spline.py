"""Interpolating cubic B-splines along one axis, for networks that add what interpolation gives."""

from __future__ import annotations

import torch
from torch import Tensor


def cubic_weights(positions: Tensor, size: int) -> Tensor:
    """``(n, size)`` weights of the samples for values at ``positions`` in ``[0, size - 1]``.

    Beyond the ends samples are mirrored. In single precision on the device of ``positions``.
    """
    if size == 1:
        return torch.ones(len(positions), 1, device=positions.device)
    place = positions.detach().double().cpu()
    base = place.floor().long()
    u = place - base
    weights = torch.stack(
        [(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3]
    )
    sampling = torch.zeros(len(place), size, dtype=torch.float64)
    period = 2 * size - 2
    for offset, weight in zip((-1, 0, 1, 2), weights / 6, strict=True):
        folded = (base + offset) % period
        index = torch.minimum(folded, period - folded)
        sampling.scatter_add_(1, index[:, None], weight[:, None])
    # Samples are this matrix times the coefficients of the spline.
    spline = torch.diag(torch.full((size,), 4.0, dtype=torch.float64))
    ones = torch.ones(size - 1, dtype=torch.float64)
    spline += torch.diag(ones, 1) + torch.diag(ones, -1)
    spline[0, 1] = spline[-1, -2] = 2.0
    coefficients = torch.linalg.solve(spline / 6, torch.eye(size, dtype=torch.float64))
    return (sampling @ coefficients).float().to(positions.device)
