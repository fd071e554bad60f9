"""Distances between class scores ``(b, c, ...)`` and labels ``(b, 1, ...)`` (integers)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over voxels."""
    return functional.cross_entropy(scores, labels[:, 0].long())


def soft_dice(scores: Tensor, labels: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the soft Dice overlap, averaged over the classes."""
    share = scores.softmax(dim=1)
    truth = torch.zeros_like(share).scatter_(1, labels.long(), 1.0)
    axes = (0, *range(2, scores.ndim))
    overlap = (share * truth).sum(axes)
    total = share.sum(axes) + truth.sum(axes)
    return 1.0 - ((2.0 * overlap + smooth) / (total + smooth)).mean()
