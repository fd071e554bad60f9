"""Generator of GAN-CIRCLE, slice by slice.

Lyu et al. 2018 (super-resolution MRI), section II.2 and figure 2, after You et al. 2020 (IEEE TMI
39:188): 12 feature blocks of 3x3 convolution, leaky ReLU and dropout, one after the other; the
outputs of all of them go to two branches, one 1x1 convolution, and 1x1 followed by 3x3; what both
give goes through a last convolution, and the input is added.

Read in the public code of You et al.: filters fall from 64 to 16 as ``int((64 - 16) (1 - (i /
11)**(1 / 1.5)) + 16)``; slopes 0.1; branch A 64 maps, leaky ReLU; branch B 32 maps, leaky ReLU,
then 8 maps; last 3x3 convolution without bias. There the first convolution has stride 2 and
filters start at 128, and a 3x3 convolution and a 4x4 transposed one of half the maps bring the
size back (``stride=2``); its dropout is never switched on, hence 0 here. The paper on MRI keeps
the size and says nothing of strides: ``stride=1`` is the default, and has no such pair of layers.

Parameters by hand, stride 1: filters 64, 54, 48, 43, 39, 35, 31, 28, 25, 22, 18, 16 (sum 423):
feature blocks 9 * (64 + 64*54 + 54*48 + ... + 18*16) + 423 = 136,368; branch A 423*64 + 64 =
27,136; branch B 423*32 + 32 + 9*32*8 + 8 = 15,880; last 9*72 = 648. Sum 180,032. Stride 2: filters
from 128 (sum 739): feature blocks 449,506; A 47,360; B 25,992; 9*72*72 + 72 + 16*72*36 + 36 =
88,236 to bring the size back; last 9*36. Sum 611,418.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mriforge.networks.by_slice import to_slices, to_volume

_SLOPE = 0.1


def filters(first: int, last: int, blocks: int, gamma: float = 1.5) -> list[int]:
    """Filters of each feature block, from ``first`` down to ``last``."""
    shares = [1.0 - (number / (blocks - 1)) ** (1.0 / gamma) for number in range(blocks)]
    return [int((first - last) * share + last) for share in shares]


class CircleGenerator(nn.Module):
    """Feature blocks that narrow, two branches, and the input added.

    Args:
        width: filters of the first feature block (64; with stride 2 the public code has 128).
        narrowest: filters of the last one (16).
        blocks: feature blocks (published: 12).
        stride: 1, or 2 for half the size inside.
        dropout: share of maps' pixels that are dropped while training (published: stated without
            a number; inert in the public code).

    Shapes:
        ``(b, 1, d, h, w)`` to the same.
    """

    def __init__(
        self,
        width: int = 64,
        narrowest: int = 16,
        blocks: int = 12,
        stride: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride is 1 or 2, not {stride}")
        if blocks < 2:
            raise ValueError(f"blocks is at least 2, not {blocks}")
        self.stride, self.dropout = stride, dropout
        sizes = filters(width, narrowest, blocks)
        self.blocks = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, stride=1 if number else stride)
            for number, (before, after) in enumerate(zip([1, *sizes], sizes, strict=False))
        )
        self.branch_a = nn.Conv2d(sum(sizes), 64, 1)
        self.branch_b = nn.ModuleList(
            [nn.Conv2d(sum(sizes), 32, 1), nn.Conv2d(32, 8, 3, padding=1)]
        )
        self.enlarge = nn.Sequential()
        if stride == 2:
            self.enlarge.append(nn.Conv2d(72, 72, 3, padding=1))
            self.enlarge.append(nn.ConvTranspose2d(72, 36, 4, stride=2, padding=1))
            self.enlarge.append(nn.LeakyReLU(_SLOPE))
        self.head = nn.Conv2d(72 // stride, 1, 3, padding=1, bias=False)

    @property
    def multiple(self) -> int:
        """What sizes of an image are brought to a multiple of."""
        return self.stride

    @property
    def halo(self) -> int:
        """How far, in pixels, an output pixel sees; rounded up to :attr:`multiple`."""
        if self.stride == 1:
            return len(self.blocks) + 2
        # Head 1, transposed convolution to a neighbour; 1 + 1 + blocks - 1 at half the size; 1.
        return 2 * (len(self.blocks) + 3)

    def _active(self, maps: Tensor) -> Tensor:
        return functional.dropout(
            functional.leaky_relu(maps, _SLOPE), self.dropout, self.training and self.dropout > 0
        )

    def forward(self, image: Tensor) -> Tensor:
        slices = to_slices(image)
        height, width = slices.shape[2:]
        odd = (0, width % self.stride, 0, height % self.stride)
        features = functional.pad(slices, odd, mode="replicate") if any(odd) else slices
        levels = []
        for block in self.blocks:
            features = self._active(block(features))
            levels.append(features)
        joined = torch.cat(levels, dim=1)
        beside = self.branch_b[1](self._active(self.branch_b[0](joined)))
        found = torch.cat([self._active(self.branch_a(joined)), beside], dim=1)
        found = self.head(self.enlarge(found))[..., :height, :width]
        return to_volume(slices + found, image.shape[2])
