"""ALAMO's networks: DenseUnet and PlainUnet on slabs of slices.

Chen 2021 (dissertation), chapter 7, figure 7.1: 20 contiguous slices are the channels of a 2-D
U-Net; a first 3x3 convolution, blocks of 3x3 convolutions with ELU, 2x2 average pooling,
transposed 2x2 convolutions, and 1x1 convolutions at the end, at full resolution and, for deeply
supervised training, at every other resolution on the way up.

Not stated are the number of levels, the layers of a block and what a block passes on. Six levels
(256x160 can be halved five times), four layers, and only the ``4 k`` new maps passed on give the
numbers of table 7-1. Nor is it stated whether all 20 slices of a slab are answered or the one in
its middle; here all are, so that each slice is seen by several slabs.

DenseUnet by hand (k = 48, 11 classes, 20 slices): first convolution 17,376; blocks down 290,496 +
5 * 456,384; five times up 73,824 + 622,272; last 192 * 220 + 220 = 42,460. Sum 6,112,732 (table
7-1: 6.12M); with batch normalisation 6,139,036.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from mriforge.networks.unet2d import PlainBlock, Unet2d, dense_unet, growth_of_levels

_ELU_POWER = 0.645
"""Mean square of ELU of a standard normal variable: 1/2 above zero, the rest below."""


class SlabUnet(Unet2d):
    """A 2-D U-Net with heads that answer for every slice of a slab.

    Args:
        parts: first, down, up and merge of :class:`Unet2d`.
        widths: maps of the blocks on the way up, full resolution first.
        slices: slices of a slab.
        classes: of each voxel.
        deep_supervision: heads at the coarser resolutions too, for training only.
    """

    def __init__(
        self,
        parts: tuple[nn.Module, Iterable[nn.Module], Iterable[nn.Module], Iterable[nn.Module]],
        widths: Sequence[int],
        slices: int,
        classes: int,
        deep_supervision: bool,
    ) -> None:
        super().__init__(*parts)
        answered = widths if deep_supervision else widths[:1]
        self.heads = nn.ModuleList(nn.Conv2d(n, classes * slices, 1) for n in answered)
        for module in self.modules():
            _start(module)
        for head in (self.first, *self.heads):  # no ELU before them
            _start(head, power=1.0)

    def without_auxiliary(self) -> SlabUnet:
        """A copy without the heads that only training needs; its answers are the same."""
        bare = copy.deepcopy(self)
        bare.heads = bare.heads[:1]
        return bare

    def forward(self, slab: Tensor) -> Tensor | list[Tensor]:
        """Scores of each class before the softmax.

        Args:
            slab: ``(b, slices, h, w)``, mean 0 and standard deviation 1 in its volume; any size:
                edges are repeated meanwhile to where it can be halved.

        Returns:
            ``(b, classes * slices, h, w)``, to be viewed as ``(b, classes, slices, h, w)``; in
            training a list of these, from full resolution to ``1 / 2 ** (levels - 2)`` (sizes
            rounded up), or of the first alone without deep supervision.
        """
        height, width = slab.shape[2:]
        # Twice the multiple at least: the coarsest level needs pixels to normalise over.
        missing = [max(2 * self.multiple, n + -n % self.multiple) - n for n in (width, height)]
        if any(missing):
            slab = functional.pad(slab, (0, missing[0], 0, missing[1]), mode="replicate")
        risen = self.levels(slab)
        if not self.training:
            return self.heads[0](risen[0])[..., :height, :width]
        return [
            head(maps)[..., : math.ceil(height / 2**level), : math.ceil(width / 2**level)]
            for level, (head, maps) in enumerate(zip(self.heads, risen, strict=False))
        ]


def _start(module: nn.Module, power: float = _ELU_POWER) -> None:
    """Random weights that keep the mean square of the maps, given that of their input."""
    if isinstance(module, nn.ConvTranspose2d):  # a pixel gets one weight of each map; no ELU
        fan, power = module.in_channels // module.groups, 1.0
    elif isinstance(module, nn.Conv2d):
        fan = module.in_channels // module.groups * math.prod(module.kernel_size)
    else:
        return
    nn.init.normal_(module.weight, std=1 / math.sqrt(fan * power))
    nn.init.zeros_(module.bias)


class DenseUnet(SlabUnet):
    """DenseUnet of ALAMO.

    Args:
        slices: slices of a slab, input and output (published: 20; table 7-4: 1, 20, 40).
        classes: background and organs (published: 11).
        growth: maps that a convolution adds, ``k`` (published: 24, 32, 48, 64); one number, or one
            of each level, finest first. Most of the arithmetic is at the finest level, most of
            what tells organs apart at the coarse ones.
        levels: resolutions.
        layers: convolutions of a block.
        normalisation: ``none`` (the best of table 7-2), ``batch``, ``batch_train``, ``instance``
            or ``layer``.
        deep_supervision: heads at every resolution for training.
    """

    def __init__(
        self,
        slices: int = 20,
        classes: int = 11,
        growth: int | Sequence[int] = 48,
        levels: int = 6,
        layers: int = 4,
        normalisation: str = "none",
        deep_supervision: bool = False,
    ) -> None:
        parts = dense_unet(slices, growth, levels, layers, normalisation)
        widths = [k * layers for k in growth_of_levels(growth, levels)[:-1]]
        super().__init__(parts, widths, slices, classes, deep_supervision)


class PlainUnet(SlabUnet):
    """PlainUnet, what ALAMO compares DenseUnet with.

    Maps double at each level. The way up is a 1x1 convolution to half the maps and a transposed
    2x2 convolution of each map, then three convolutions where the way down has four: the layout
    that was found to give the 229, 358 and 515 million parameters of table 7-1, which does not
    follow from what is stated.

    Args:
        slices, classes, levels, normalisation, deep_supervision: as of :class:`DenseUnet`.
        width: maps of the first level, ``f`` (published: 64, 80, 96).
        layers: convolutions of a block on the way down; one fewer on the way up.
    """

    def __init__(
        self,
        slices: int = 20,
        classes: int = 11,
        width: int = 64,
        levels: int = 6,
        layers: int = 4,
        normalisation: str = "none",
        deep_supervision: bool = False,
    ) -> None:
        widths = [width * 2**level for level in range(levels)]
        rising = widths[-2::-1]
        parts = (
            nn.Conv2d(slices, width, 3, padding=1),
            [
                PlainBlock(before, after, layers, normalisation)
                for before, after in zip([width, *widths], widths, strict=False)
            ],
            [
                nn.Sequential(
                    nn.Conv2d(2 * n, n, 1), nn.ConvTranspose2d(n, n, 2, stride=2, groups=n)
                )
                for n in rising
            ],
            [PlainBlock(2 * n, n, layers - 1, normalisation) for n in rising],
        )
        super().__init__(parts, widths[:-1], slices, classes, deep_supervision)
