"""What the 2-D networks of Chen 2021 (dissertation, chapters 6 and 7) are built of.

Normalisation stands before the activation, "Exponential Linear Units" (figure 7.1). Whether both
stand before or after a convolution is not stated; before it, as in mDCSRN (Chen 2018) and in the
dense networks that the dissertation cites.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mriforge.errors import BadInput
from mriforge.networks.normalisation import NORMALISATIONS, normaliser

__all__ = [
    "NORMALISATIONS",
    "DenseBlock",
    "PlainBlock",
    "Unet2d",
    "dense_unet",
    "growth_of_levels",
    "normaliser",
]


class DenseBlock(nn.Module):
    """Densely connected 3x3 convolutions; normalisation and ELU before each.

    Args:
        channels: of the input.
        growth: channels that a convolution adds.
        dilations: of each convolution; as many as there are.
        normalisation: one of :data:`NORMALISATIONS`.

    Shapes:
        input ``(b, channels, h, w)``; output ``(b, growth * len(dilations), h, w)``, only what
        was added.
    """

    def __init__(
        self, channels: int, growth: int, dilations: Sequence[int], normalisation: str = "none"
    ) -> None:
        super().__init__()
        given = [channels + growth * number for number in range(len(dilations))]
        self.layers = nn.ModuleList(
            nn.Conv2d(n, growth, 3, padding=step, dilation=step)
            for n, step in zip(given, dilations, strict=True)
        )
        self.norms = nn.ModuleList(normaliser(normalisation, n) for n in given)
        self.normalised = normalisation != "none"

    def forward(self, features: Tensor) -> Tensor:
        if self.normalised:
            maps = [features]
            for norm, layer in zip(self.norms, self.layers, strict=True):
                maps.append(layer(functional.elu(norm(torch.cat(maps, dim=1)))))
            return torch.cat(maps[1:], dim=1)
        # Without normalisation between, each map passes ELU once for all that read it.
        active, added = [functional.elu(features)], []
        for layer in self.layers:
            if added:
                active.append(functional.elu(added[-1]))
            added.append(layer(torch.cat(active, dim=1)))
        return torch.cat(added, dim=1)


class PlainBlock(nn.Sequential):
    """3x3 convolutions one after the other; normalisation and ELU before each.

    Shapes:
        input ``(b, channels, h, w)``; output ``(b, width, h, w)``.
    """

    def __init__(self, channels: int, width: int, layers: int, normalisation: str) -> None:
        parts: list[nn.Module] = []
        for given in [channels, *[width] * (layers - 1)]:
            convolution = nn.Conv2d(given, width, 3, padding=1)
            parts += [normaliser(normalisation, given), nn.ELU(), convolution]
        super().__init__(*parts)


class Unet2d(nn.Module):
    """Blocks down and up through resolutions, joined level by level.

    Between the levels 2x2 average pooling down and ``up`` layers (a transposed convolution) up.

    Args:
        first: before everything.
        down: a block for each level, finest first.
        up: layers that double the size, coarsest first.
        merge: blocks on what came up and what the same level had on the way down.
    """

    def __init__(
        self,
        first: nn.Module,
        down: Iterable[nn.Module],
        up: Iterable[nn.Module],
        merge: Iterable[nn.Module],
    ) -> None:
        super().__init__()
        self.first = first
        self.down = nn.ModuleList(down)
        self.up = nn.ModuleList(up)
        self.merge = nn.ModuleList(merge)

    @property
    def multiple(self) -> int:
        """What sizes of the input have to be a multiple of."""
        return 2 ** (len(self.down) - 1)

    def levels(self, image: Tensor) -> list[Tensor]:
        """What the blocks on the way up give, full resolution first.

        Args:
            image: ``(b, channels, h, w)``; sizes are a multiple of :attr:`multiple`.
        """
        features = self.first(image)
        joined: list[Tensor] = []
        for block in self.down:
            features = block(functional.avg_pool2d(features, 2) if joined else features)
            joined.append(features)
        risen: list[Tensor] = []
        for up, block, level in zip(self.up, self.merge, joined[-2::-1], strict=True):
            features = block(torch.cat([up(features), level], dim=1))
            risen.insert(0, features)
        return risen


def dense_unet(
    channels: int,
    growth: int | Sequence[int],
    levels: int,
    layers: int,
    normalisation: str = "none",
) -> tuple[nn.Module, list[nn.Module], list[nn.Module], list[nn.Module]]:
    """Parts of a :class:`Unet2d` of dense blocks.

    A first 3x3 convolution to ``2 k`` maps; blocks of ``layers`` convolutions with growth ``k``;
    transposed 2x2 convolutions to ``2 k`` maps.

    Args:
        growth: ``k``, of all levels or of each, finest first.

    Raises:
        BadInput: growths of another number of levels.
    """
    growths = growth_of_levels(growth, levels)
    widths, plain = [2 * k for k in growths], (1,) * layers
    added = [k * layers for k in growths]
    inner = range(levels - 1)
    return (
        nn.Conv2d(channels, widths[0], 3, padding=1),
        [
            DenseBlock(before, k, plain, normalisation)
            for before, k in zip([widths[0], *added], growths, strict=False)
        ],
        [nn.ConvTranspose2d(added[n + 1], widths[n], 2, stride=2) for n in reversed(inner)],
        [
            DenseBlock(widths[n] + added[n], growths[n], plain, normalisation)
            for n in reversed(inner)
        ],
    )


def growth_of_levels(growth: int | Sequence[int], levels: int) -> list[int]:
    """Growth of each level, finest first."""
    found = [growth] * levels if isinstance(growth, int) else list(growth)
    if len(found) != levels or min(found, default=0) < 1:
        raise BadInput(
            f"The growth of {levels} levels is given as {growth}.",
            "Give one number, or one for each level.",
        )
    return found
