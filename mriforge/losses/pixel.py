"""Distances between images, voxel by voxel. Inputs of one shape, result a scalar."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error."""
    return functional.l1_loss(output, target)


def l2(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error."""
    return functional.mse_loss(output, target)


def charbonnier(output: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of ``sqrt(error**2 + epsilon**2) - epsilon``: L1 with a round bottom."""
    return ((output - target).square() + epsilon**2).sqrt().mean() - epsilon
