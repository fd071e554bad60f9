"""MALIBU's network in the feature space of a temporal basis: mDCN.

Chen 2021 (dissertation), chapter 6, figure 6.1: a multi-level densely connected network on the
spatial factor of a low-rank image sequence. Real and imaginary parts of the ``L`` components are
``2 L`` real feature maps. Eight blocks of four densely connected 3x3 convolutions (growth 128,
ELU, dilations 1, 4, 8, 1), connected as in mDCSRN (Chen 2018): the input of a block is a 1x1
compression to ``2 k`` of the outputs of all before it, and the output of a block holds its input
too. Whether ELU stands before or after a convolution is not stated; before it, as in mDCSRN.

Parameters by hand (L = 32, k = 128): first convolution 64 * 256 * 9 + 256 = 147,712; a block
9 * 128 * (256 + 384 + 512 + 640) + 4 * 128 = 2,064,896, eight 16,519,168; compressors
sum((256 + 768 i) * 256 + 256, i = 1..7) = 5,965,568; last 6400 * 64 + 64 = 409,664. Sum
23,042,112.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mriforge.networks.unet2d import DenseBlock


def start_at_zero(head: nn.Conv2d | nn.Conv3d) -> None:
    """Makes a convolution give zero, so that a residual network begins as its input."""
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)


class Mdcn(nn.Module):
    """mDCN: the spatial factor from its gridded estimate.

    Args:
        rank: components ``L`` of the subspace (published: 32).
        growth: channels a convolution adds, ``k`` (published: 128).
        blocks: dense blocks (published: 8).
        dilations: of the convolutions of a block (published: 1, 4, 8, 1).
        residual: add the input to the output (published: no).

    Shapes:
        ``(b, 2 L, h, w)`` to the same; real parts first, then imaginary parts.
    """

    def __init__(
        self,
        rank: int = 32,
        growth: int = 128,
        blocks: int = 8,
        dilations: Sequence[int] = (1, 4, 8, 1),
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.rank, self.residual = rank, residual
        width, added = 2 * growth, growth * len(dilations)
        given = [width + (width + added) * number for number in range(blocks + 1)]
        self.first = nn.Conv2d(2 * rank, width, 3, padding=1)
        self.compressors = nn.ModuleList(nn.Conv2d(n, width, 1) for n in given[1:-1])
        self.blocks = nn.ModuleList(DenseBlock(width, growth, dilations) for _ in range(blocks))
        self.head = nn.Conv2d(given[-1], 2 * rank, 1)
        if residual:
            start_at_zero(self.head)

    def forward(self, maps: Tensor) -> Tensor:
        features = self.first(maps)
        levels = [features]
        for number, block in enumerate(self.blocks):
            if number:
                features = self.compressors[number - 1](torch.cat(levels, dim=1))
            levels += [features, block(features)]
        found = self.head(torch.cat(levels, dim=1))
        return maps + found if self.residual else found
