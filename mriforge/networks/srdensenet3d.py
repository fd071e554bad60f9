"""SRDenseNet of Tong et al. 2017 (ICCV), in 3-D and at one scale, as Chen 2021 compares with it.

Chen 2021 (dissertation), section 4.4.2 and figures 4.4b and 4.5b: "as similar as possible to
mDCSRN b8u4": 8 blocks of 4 units, growth 12, ELU. Dense connections from a block's input are
missing: its first unit reads the input, every other unit only what units of the same block gave.
Convolution, then activation. The outputs of the stem and of all blocks meet in a 1^3 bottleneck of
8 k maps, followed by batch normalisation and a convolution; there are no transposed convolutions,
since the size stays.

Parameters by hand (k = 12): stem 27*24 + 24 = 672; first block 27*12 * (24 + 12 + 24 + 36) + 48 =
31,152, seven of 27*12 * (48 + 12 + 24 + 36) + 48 = 38,928; bottleneck (24 + 8*48) * 96 + 96 =
39,264; normalisation 192; last 27*96 + 1 = 2,593. Sum 346,369, near mDCSRN b6u4 (353,761): "both
SRDenseNet and mDCSRN b6u4 are similar in model size".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mriforge.networks.mdcn import start_at_zero
from mriforge.networks.normalisation import normaliser, sees_a_whole_image


class ClosedDenseBlock(nn.Module):
    """Dense units that do not see the block's input, but for the first.

    Shapes:
        ``(b, channels, d, h, w)`` to ``(b, growth * units, d, h, w)``.
    """

    def __init__(self, channels: int, growth: int, units: int) -> None:
        super().__init__()
        given = [channels, *(growth * number for number in range(1, units))]
        self.units = nn.ModuleList(nn.Conv3d(n, growth, 3, padding=1) for n in given)

    def forward(self, features: Tensor) -> Tensor:
        added: list[Tensor] = []
        for unit in self.units:
            given = torch.cat(added, dim=1) if added else features
            added.append(functional.elu(unit(given)))
        return torch.cat(added, dim=1)


class SrDensenet3d(nn.Module):
    """SRDenseNet in 3-D that keeps the size.

    Args:
        growth: maps that a unit adds, ``k`` (published: 12).
        blocks: dense blocks (8).
        units: of a block (4).
        normalisation: before the last convolution; one of
            :data:`mriforge.networks.normalisation.NORMALISATIONS`.
        residual: add the input to the output (published: no). The network then starts as its
            input.

    Shapes:
        ``(b, 1, d, h, w)`` to the same.

    Raises:
        BadInput: there is no such normalisation.
    """

    def __init__(
        self,
        growth: int = 12,
        blocks: int = 8,
        units: int = 4,
        normalisation: str = "batch",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.normalisation, self.residual, self.reach = normalisation, residual, blocks * units + 2
        width, added = 2 * growth, units * growth
        self.stem = nn.Conv3d(1, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            ClosedDenseBlock(n, growth, units) for n in [width, *[added] * (blocks - 1)]
        )
        self.bottleneck = nn.Conv3d(width + blocks * added, 8 * growth, 1)
        self.norm = normaliser(normalisation, 8 * growth, 3)
        self.head = nn.Conv3d(8 * growth, 1, 3, padding=1)
        if residual:
            start_at_zero(self.head)

    @property
    def halo(self) -> int | None:
        """How far, in voxels, an output voxel sees; None: everything."""
        return None if sees_a_whole_image(self.normalisation) else self.reach

    def forward(self, image: Tensor) -> Tensor:
        levels = [functional.elu(self.stem(image))]
        for block in self.blocks:
            levels.append(block(levels[-1]))
        fused = self.norm(self.bottleneck(torch.cat(levels, dim=1)))
        found = self.head(functional.elu(fused))
        return image + found if self.residual else found
