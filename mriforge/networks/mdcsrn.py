"""mDCSRN: several densely connected blocks, densely connected among each other.

Chen 2021 (dissertation), section 4.3.2 and figures 4.3 to 4.5 (Chen 2018, MICCAI): a stem of one
3^3 convolution to ``2 k`` maps; blocks of four units (:mod:`mriforge.networks.dense3d`); before
each block but the first a compressor, a 1^3 convolution to ``2 k`` of the outputs of all before
it, where the output of a block holds its input too (figure 4.4a); and "direct feature
combination", a 1^3 convolution of all outputs to the image. No sum with the input is stated.
``b4u4`` means 4 blocks of 4 units. Published growth: 12 in the dissertation, 16 in Chen 2018.

Ablations of table 4-1:

- ``b4u4-r`` (``reconstruction``): instead of the direct combination a 1^3 bottleneck to ``8 k``,
  batch normalisation and a 3^3 convolution (figure 4.5b); ELU stands between, as everywhere.
- ``b1u12-r``, ``b1u16-r`` (``compressor=False`` with one block): "the original DenseNet design".
  Without compressors every unit reads all maps before it, so that several blocks would be one.

Parameters by hand (k = 12): stem 27*24 + 24 = 672. A block: units that read 24, 36, 48 maps
27*12*n + 12 + 2*n, sum 35,244; one that reads 60, with its bottleneck, 2*60 + 60*48 + 48 + 2*48 +
27*48*12 + 12 = 18,708; block 53,952. Compressors (24 + 72 i) * 24 + 24: sum for i = 1..3 12,168,
1..5 28,920, 1..7 52,584. Head 24 + 72 * blocks + 1. Sums: b4u4 228,961, b6u4 353,761, b8u4
485,473. k = 16: b4u4 405,633, b8u4 860,545. With ``-r``: b4u4 261,481 (the text says that the
direct combination saves 15 %: it is 12.4 %), b1u12 244,897, b1u16 349,537.

Without gradients and in evaluation mode a leaner way of computing the same is taken
(:mod:`mriforge.networks.dense_inference`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mriforge.networks.dense3d import DenseBlock3d
from mriforge.networks.dense_inference import Workspace
from mriforge.networks.mdcn import start_at_zero
from mriforge.networks.normalisation import normaliser, sees_a_whole_image


class Mdcsrn(nn.Module):
    """mDCSRN and its ablations.

    Args:
        growth: maps that a unit adds, ``k`` (published: 12; 16 in Chen 2018).
        blocks: dense blocks (4, 6, 8).
        units: of a block (4).
        compressor: put a 1^3 convolution to ``2 k`` maps before each block; without it all units
            are one block.
        reconstruction: bottleneck, normalisation and 3^3 convolution instead of the direct
            combination.
        bottleneck: a 1^3 convolution to ``4 k`` maps before units that read more.
        normalisation: one of :data:`mriforge.networks.normalisation.NORMALISATIONS`. Section
            4.4.1: "we set the batch normalization layers in the model to 'train' mode instead of
            'test' mode", hence ``batch_train``; results then depend on how an image is cut.
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
        blocks: int = 4,
        units: int = 4,
        compressor: bool = True,
        reconstruction: bool = False,
        bottleneck: bool = True,
        normalisation: str = "batch_train",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.normalisation, self.residual, self.compressor = normalisation, residual, compressor
        if not compressor:
            blocks, units = 1, blocks * units
        width = 2 * growth
        self.stem = nn.Conv3d(1, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            DenseBlock3d(width, growth, units, normalisation, bottleneck) for _ in range(blocks)
        )
        # With compressors the stem's maps count twice: as its output, and in the first block's.
        before = width if compressor else 0
        given = [before + self.blocks[0].width * number for number in range(blocks + 1)]
        self.compressors = nn.ModuleList(nn.Conv3d(n, width, 1) for n in given[1:-1])
        self.head = nn.Conv3d(given[-1], 8 * growth if reconstruction else 1, 1)
        self.tail = nn.Sequential()
        if reconstruction:
            self.tail.append(normaliser(normalisation, 8 * growth, 3))
            self.tail.append(nn.ELU())
            self.tail.append(nn.Conv3d(8 * growth, 1, 3, padding=1))
        if residual:
            start_at_zero(self.tail[-1] if reconstruction else self.head)

    @property
    def halo(self) -> int | None:
        """How far, in voxels, an output voxel sees; None: everything."""
        if sees_a_whole_image(self.normalisation):
            return None
        return 1 + sum(len(block.units) for block in self.blocks) + bool(len(self.tail))

    def forward(self, image: Tensor) -> Tensor:
        if self.training or torch.is_grad_enabled():
            found = self.tail(self._combined(image))
        else:
            found = self.tail(self._combined_without_gradient(image))
        return image + found if self.residual else found

    def _combined(self, image: Tensor) -> Tensor:
        """What the head gives."""
        features = self.stem(image)
        levels = [features] if self.compressor else []
        for number, block in enumerate(self.blocks):
            if number:
                features = self.compressors[number - 1](torch.cat(levels, dim=1))
            levels += [features, block(features)]
        return self.head(torch.cat(levels, dim=1))

    def _combined_without_gradient(self, image: Tensor) -> Tensor:
        """As :meth:`_combined`, with compressors and head as sums that grow block by block."""
        width, whole = self.blocks[0].channels, self.blocks[0].width
        work = Workspace(image, max(self.blocks[0].widest, width))
        readers = [*self.compressors, self.head]
        sums = work.sums(torch.cat([reader.bias for reader in readers]))
        maps = work.maps(whole)
        maps[:, :width] = self.stem(image)
        for number, block in enumerate(self.blocks):
            if number:
                maps[:, :width] = sums[:, (number - 1) * width : number * width]
            block.fill(maps, work)
            weights = [self.share(reader, number) for reader in readers[number:]]
            work.mix(sums[:, number * width :], torch.cat(weights), maps)
        start = len(self.compressors) * width
        return sums[:, start : start + self.head.out_channels].contiguous()

    def share(self, reader: nn.Conv3d, number: int) -> Tensor:
        """What a compressor or the head makes of the maps of a block, ``(m, n)``."""
        width, whole = self.blocks[number].channels, self.blocks[number].width
        weight = reader.weight.flatten(1)
        before = width if self.compressor else 0
        found = weight[:, before + whole * number : before + whole * (number + 1)]
        if number == 0 and self.compressor:  # the stem's maps, for their second count
            found = found + functional.pad(weight[:, :width], (0, whole - width))
        return found
