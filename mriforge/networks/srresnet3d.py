"""SRResNet of Ledig et al. 2017 (CVPR), in 3-D and at one scale.

Chen 2021 (dissertation), section 4.4.2, extends it to 3-D and puts "same scale convolutional
layers" in the place of the sub-pixel layers; here one 3^3 convolution of as many maps for each of
the two. 16 blocks of 64 maps, batch normalisation, PReLU with a slope for each map, 9^3
convolutions at both ends.

Parameters by hand: first 729*64 + 64 + 64 slopes = 46,784; a block 2 * (27*64*64 + 64 + 128) + 64
= 221,632, sixteen 3,546,112; the convolution that closes them 110,656 + 128 = 110,784; two in the
place of the pixel shuffles 2 * (110,656 + 64) = 221,440; last 729*64 + 1 = 46,657. Sum 3,971,777.
"""

from __future__ import annotations

from torch import Tensor, nn

from mriforge.networks.mdcn import start_at_zero
from mriforge.networks.normalisation import normaliser, sees_a_whole_image


def _convolution(width: int) -> nn.Conv3d:
    return nn.Conv3d(width, width, 3, padding=1)


class ResidualBlock3d(nn.Module):
    """Convolution, normalisation, PReLU, convolution, normalisation, and the input added."""

    def __init__(self, width: int, normalisation: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(width),
            normaliser(normalisation, width, 3),
            nn.PReLU(width),
            _convolution(width),
            normaliser(normalisation, width, 3),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.body(features)


class SrResnet3d(nn.Module):
    """SRResNet in 3-D that keeps the size.

    Args:
        width: maps of every layer (published: 64).
        blocks: residual blocks (16).
        shuffles: convolutions in the place of pixel shuffles (2; 0 leaves 3.75 million
            parameters).
        normalisation: one of :data:`mriforge.networks.normalisation.NORMALISATIONS`.
        residual: add the input to the output (published: no). The network then starts as its
            input.

    Shapes:
        ``(b, 1, d, h, w)`` to the same.

    Raises:
        BadInput: there is no such normalisation.
    """

    def __init__(
        self,
        width: int = 64,
        blocks: int = 16,
        shuffles: int = 2,
        normalisation: str = "batch",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.normalisation, self.residual = normalisation, residual
        self.first = nn.Sequential(nn.Conv3d(1, width, 9, padding=4), nn.PReLU(width))
        self.blocks = nn.Sequential(*(ResidualBlock3d(width, normalisation) for _ in range(blocks)))
        self.close = nn.Sequential(_convolution(width), normaliser(normalisation, width, 3))
        self.last = nn.Sequential()
        for _ in range(shuffles):
            self.last.extend([_convolution(width), nn.PReLU(width)])
        self.head = nn.Conv3d(width, 1, 9, padding=4)
        if residual:
            start_at_zero(self.head)

    @property
    def halo(self) -> int | None:
        """How far, in voxels, an output voxel sees; None: everything."""
        if sees_a_whole_image(self.normalisation):
            return None
        return 4 + 2 * len(self.blocks) + 1 + len(self.last) // 2 + 4

    def forward(self, image: Tensor) -> Tensor:
        features = self.first(image)
        features = features + self.close(self.blocks(features))
        found = self.head(self.last(features))
        return image + found if self.residual else found
