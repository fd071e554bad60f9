"""Perceptual loss of Sarasaen et al. 2021, section 2.3.1.

The features of the first three contraction levels of a frozen network, of the output and of the
sharp image, are compared by their mean absolute difference; the levels are added with equal
weight and there is no pixel term. The paper's network was trained for vessel segmentation; its
weights cannot be had, so ours is trained by the recipe ``pln``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PerceptualLoss(nn.Module):
    """Sum over levels of the mean L1 distance of features.

    Args:
        network: gives its features level by level from ``network.features(image)``.
        levels: how many of them are compared (published: 3).

    Images are ``(b, 1, d, h, w)``; gradients flow into ``output`` only. Where they have fewer
    slices than the levels halve away, as 2-D patches do, slices are repeated for the network.
    """

    def __init__(self, network: nn.Module, levels: int = 3) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.levels = levels

    def train(self, mode: bool = True) -> PerceptualLoss:
        # Batch statistics of the frozen network must not follow the training.
        return super().train(False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        least = 2 ** (self.levels - 1)
        if output.shape[2] < least:
            times = -(-least // output.shape[2])
            output, target = (part.repeat(1, 1, times, 1, 1) for part in (output, target))
        with torch.no_grad():
            wanted = self.network.features(target)[: self.levels]
        have = self.network.features(output)[: self.levels]
        return sum((a - b).abs().mean() for a, b in zip(have, wanted, strict=True))
