"""Densely connected 3-D blocks of Chen 2021 (dissertation, chapters 3 and 4): DCSRN and mDCSRN.

A unit is normalisation, ELU and a 3x3x3 convolution that adds ``k`` maps (section 3.2.2), and
reads the block's input too (figure 4.4a). "We also put a 1 x 1 x 1 bottleneck layer with 4k width
before each 3 x 3 x 3 convolutions when needed" (section 4.3.2): needed is taken to mean that a
unit reads more than 4 k maps. With this reading mDCSRN b4u4-r and b1u12-r are about the same size,
as table 4-1's text says; without it they are not. Normalisation and ELU stand before the
bottleneck and again behind it, as in DenseNet-BC.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mriforge.networks.dense_inference import Moments, Workspace, joined, scale_and_shift
from mriforge.networks.normalisation import normaliser


class DenseUnit3d(nn.Module):
    """What adds ``growth`` maps to ``channels`` maps.

    Args:
        channels: of the input.
        growth: maps that are added, ``k``.
        normalisation: one of :data:`mriforge.networks.normalisation.NORMALISATIONS`.
        bottleneck: put a 1x1x1 convolution to ``4 k`` maps before the convolution if there are
            more.
    """

    def __init__(self, channels: int, growth: int, normalisation: str, bottleneck: bool) -> None:
        super().__init__()
        self.normalisation = normalisation
        narrow = 4 * growth
        self.squeezes = bottleneck and channels > narrow
        self.norm = normaliser(normalisation, channels, 3)
        if self.squeezes:
            self.squeeze = nn.Conv3d(channels, narrow, 1)
            self.squeezed_norm = normaliser(normalisation, narrow, 3)
        self.conv = nn.Conv3d(narrow if self.squeezes else channels, growth, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        active = functional.elu(self.norm(maps))
        if self.squeezes:
            active = functional.elu(self.squeezed_norm(self.squeeze(active)))
        return self.conv(active)

    def without_gradient(self, maps: Tensor, known: Moments | None, work: Workspace) -> Tensor:
        """As :meth:`forward` in evaluation mode, in the memory of ``work``."""
        kind = self.normalisation
        scale, shift = scale_and_shift(kind, self.norm, known, maps)
        active = work.activated(maps, scale, shift, None)
        if self.squeezes:
            narrow = work.sums(self.squeeze.bias)[:, : len(self.squeeze.bias)]
            work.mix(narrow, self.squeeze.weight.flatten(1) / work.gain, active)
            scale, shift = scale_and_shift(
                kind, self.squeezed_norm, work.moments(kind, narrow), narrow
            )
            active = work.activated(narrow, scale, shift, narrow)
        return functional.conv3d(active, self.conv.weight / work.gain, self.conv.bias, padding=1)


class DenseBlock3d(nn.Module):
    """Densely connected units; each reads the block's input and all units before it.

    Args:
        channels: of the input.
        growth: maps that a unit adds.
        units: how many.
        normalisation, bottleneck: see :class:`DenseUnit3d`.

    Shapes:
        ``(b, channels, d, h, w)`` to ``(b, growth * units, d, h, w)``, only what was added.

    Raises:
        BadInput: there is no such normalisation.
    """

    def __init__(
        self, channels: int, growth: int, units: int, normalisation: str, bottleneck: bool = False
    ) -> None:
        super().__init__()
        self.channels, self.growth, self.normalisation = channels, growth, normalisation
        self.units = nn.ModuleList(
            DenseUnit3d(channels + growth * number, growth, normalisation, bottleneck)
            for number in range(units)
        )

    @property
    def width(self) -> int:
        """Maps of the input and of what is added to it."""
        return self.channels + self.growth * len(self.units)

    @property
    def widest(self) -> int:
        """Most maps that a unit reads."""
        return self.width - self.growth

    def forward(self, features: Tensor) -> Tensor:
        maps = [features]
        for unit in self.units:
            maps.append(unit(torch.cat(maps, dim=1)))
        return torch.cat(maps[1:], dim=1)

    def fill(self, maps: Tensor, work: Workspace) -> None:
        """Completes maps of which the first ``channels`` are the block's input.

        For evaluation mode without gradients.

        Args:
            maps: ``(b, width, d, h, w)``, changed.
            work: of at least :attr:`widest` maps.
        """
        filled = self.channels
        known = work.moments(self.normalisation, maps[:, :filled])
        for unit in self.units:
            added = maps[:, filled : filled + self.growth]
            added.copy_(unit.without_gradient(maps[:, :filled], known, work))
            known = joined(known, work.moments(self.normalisation, added))
            filled += self.growth
