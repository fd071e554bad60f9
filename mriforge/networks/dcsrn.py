"""DCSRN: one densely connected block on the volume.

Chen 2021 (dissertation), section 3.2.2 and figure 3.1 (Chen 2018, ISBI): a 3^3 convolution to
``2 k`` maps, four units of batch normalisation, ELU and a 3^3 convolution to ``k = 24`` maps, all
connected, and "a conv layer [...] to provide the final SR output". Its size is not stated; 3^3 as
all others are in figure 3.1's network ("the densely connected block has four 3x3x3 convolutional
layers", and 1^3 is first introduced in chapter 4 as something new, "replaced conventional spatial
convolutional layers with a 1x1x1 convolutional layer").

Parameters by hand (k = 24): first 27*48 + 48 = 1,344; units 27*24 * (48 + 72 + 96 + 120) + 4*24 =
217,824; their normalisations 2 * 336 = 672; last 27*144 + 1 = 3,889. Sum 223,729 (with a 1^3 last
layer of 145: 219,985).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mriforge.networks.dense3d import DenseBlock3d
from mriforge.networks.dense_inference import Workspace
from mriforge.networks.mdcn import start_at_zero
from mriforge.networks.normalisation import sees_a_whole_image


class Dcsrn(nn.Module):
    """DCSRN.

    Args:
        growth: maps that a unit adds, ``k`` (published: 24).
        units: of the block (4).
        head: size of the last convolution, 3 or 1.
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
        growth: int = 24,
        units: int = 4,
        head: int = 3,
        normalisation: str = "batch",
        residual: bool = False,
    ) -> None:
        super().__init__()
        if head not in (1, 3):
            raise ValueError(f"head is 1 or 3, not {head}")
        self.normalisation, self.residual = normalisation, residual
        self.stem = nn.Conv3d(1, 2 * growth, 3, padding=1)
        self.block = DenseBlock3d(2 * growth, growth, units, normalisation)
        self.head = nn.Conv3d(self.block.width, 1, head, padding=head // 2)
        if residual:
            start_at_zero(self.head)

    @property
    def halo(self) -> int | None:
        """How far, in voxels, an output voxel sees; None: everything."""
        if sees_a_whole_image(self.normalisation):
            return None
        return 1 + len(self.block.units) + self.head.padding[0]

    def forward(self, image: Tensor) -> Tensor:
        features = self.stem(image)
        if self.training or torch.is_grad_enabled():
            maps = torch.cat([features, self.block(features)], dim=1)
        else:
            work = Workspace(image, self.block.widest)
            maps = work.maps(self.block.width)
            maps[:, : self.block.channels] = features
            del features
            self.block.fill(maps, work)
        found = self.head(maps)
        return image + found if self.residual else found
