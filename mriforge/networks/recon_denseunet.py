"""DenseUnet on the spatial factor: what Chen 2021 (dissertation, chapter 6) compares mDCN with.

Four resolution levels of the same dense block as mDCN's (four 3x3 convolutions, growth 128, ELU),
dilation 1. What figure 6.1 leaves open follows the DenseUnet of chapter 7 of the dissertation,
whose table of parameters is met to 0.6 % by this layout: a first 3x3 convolution to ``2 k``; the
output of a block is its ``4 k`` new maps; 2x2 average pooling; transposed convolutions 4 k -> 2 k;
the maps of the same level on the way down joined; a 1x1 convolution at the end.

Parameters by hand (L = 32, k = 128): first convolution 147,712; blocks down 2,064,896 + 3 *
3,244,544; three times up 524,544 + 4,424,192; last 512 * 64 + 64 = 32,832. Sum 26,825,280: more
than mDCN's 23,042,112, as the dissertation says ("smaller").
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mriforge.networks.mdcn import start_at_zero
from mriforge.networks.unet2d import Unet2d, dense_unet


class ReconDenseUnet(Unet2d):
    """DenseUnet: the spatial factor from its gridded estimate.

    Args:
        rank: components ``L`` of the subspace (published: 32).
        growth: channels a convolution adds, ``k`` (published: 128).
        levels: resolutions (published: 4).
        layers: convolutions of a block (published: 4).
        residual: add the input to the output (published: no).

    Shapes:
        ``(b, 2 L, h, w)`` to the same; real parts first, then imaginary parts. Sizes that are not
        a multiple of ``2 ** (levels - 1)`` are filled up with zeros meanwhile.
    """

    def __init__(
        self,
        rank: int = 32,
        growth: int = 128,
        levels: int = 4,
        layers: int = 4,
        residual: bool = False,
    ) -> None:
        super().__init__(*dense_unet(2 * rank, growth, levels, layers))
        self.rank, self.residual = rank, residual
        self.head = nn.Conv2d(growth * layers, 2 * rank, 1)
        if residual:
            start_at_zero(self.head)

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[2:]
        rest = [-n % self.multiple for n in (width, height)]
        filled = functional.pad(maps, (0, rest[0], 0, rest[1]))
        found = self.head(self.levels(filled)[0])[..., :height, :width]
        return maps + found if self.residual else found
