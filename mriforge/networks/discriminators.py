"""Discriminators and critics: how real a patch looks, as one number without limits.

None ends in a sigmoid: what is given are logits for the vanilla GAN, values of a critic for the
Wasserstein GAN. They end in fully connected layers, so each judges patches of one size.

``SrganD3d``: the discriminator of SRGAN (Ledig et al. 2017) in 3-D, with layer normalisation in
the place of batch normalisation, as gradient penalties need it (Chen 2021, dissertation, section
4.3.2): 3^3 convolutions of 64, 64, 128, 128, 256, 256, 512, 512 maps, every second one with stride
2, leaky ReLU of slope 0.2, normalised but for the first; fully connected 1024 and 1.
By hand (40^3): convolutions 14,048,832; scales and shifts 2 * 1,856 = 3,712; 512 * 3^3 * 1024 +
1024 = 14,156,800; 1,025. Sum 28,210,369.

``DraganD3d``: the same with a second end, the feature discriminator F "after the 2nd conv-stride
block, which shares the same layer layout as the image discriminator" (figure 5.1). Normalisation
is not stated for the vanilla GAN of chapter 5; layer normalisation as in chapter 4, since batches
hold one patch. By hand (64x80x80, where 4x5x5 is left): trunk 776,256 + 640; each end 13,272,576 +
3,072 + 512 * 100 * 1024 + 1024 + 1,025 = 65,706,497. Sum 132,189,890.

``CpceD``: GAN-CPCE (Shan et al. 2018; Lyu et al. 2018, section II.2): 3x3 convolutions of 64, 64,
128, 128, 256, 256 maps, stride 2 for the even ones, leaky ReLU (0.2 in the public code), 1024, 1.
By hand (64^2): 1,144,256 + 256 * 64 * 1024 + 1024 + 1,025 = 17,923,521.

``CircleD``: GAN-CIRCLE (You et al. 2020; Lyu et al. 2018, figure 3): four 4x4 convolutions of 64,
128, 256, 512 maps, strides 2, 2, 2, 1 and normalisation of each instance but for the first (public
code), leaky ReLU of 0.2, then "two fully-connected layers", 1024 and 1 as in GAN-CPCE. By hand
(64^2): 1,088 + 131,200 + 524,544 + 2,097,664 + 2 * 896 + 512 * 64 * 1024 + 1024 + 1,025 =
36,312,769.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain

from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.networks.by_slice import to_slices
from mriforge.networks.normalisation import normaliser

_SLOPE = 0.2

Stage = tuple[int, int]
"""Maps and stride of a convolution."""


def _stages(
    channels: int,
    stages: Sequence[Stage],
    kernel: int,
    normalisation: str,
    dimensions: int,
    first: bool,
) -> nn.Sequential:
    """Convolutions, each normalised and followed by leaky ReLU.

    Args:
        channels: of the input.
        stages: maps and stride of each.
        kernel: 3 (odd sizes are halved upwards) or, in 2-D, 4 (downwards).
        normalisation: one of :data:`mriforge.networks.normalisation.NORMALISATIONS`.
        dimensions: 2 or 3.
        first: they are the first of all: the first one is not normalised.
    """
    convolution = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
    found = nn.Sequential()
    for number, (maps, stride) in enumerate(stages):
        padding = 1
        if kernel == 4 and stride == 1:  # keeps the size, with one more line behind
            found.append(nn.ZeroPad2d((1, 2, 1, 2)))
            padding = 0
        found.append(convolution(channels, maps, kernel, stride=stride, padding=padding))
        if number or not first:
            found.append(normaliser(normalisation, maps, dimensions))
        found.append(nn.LeakyReLU(_SLOPE))
        channels = maps
    return found


def _left(patch: Sequence[int], strides: Sequence[int], kernel: int) -> int:
    """Voxels of a patch that are left behind the convolutions."""
    sizes = list(patch)
    for stride in strides:
        if stride == 2:
            sizes = [(n + 1) // 2 if kernel == 3 else n // 2 for n in sizes]
    return math.prod(sizes)


def _judge(inputs: int, dense: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, dense), nn.LeakyReLU(_SLOPE), nn.Linear(dense, 1)
    )


class _OfOneSize(nn.Module):
    """What judges patches of one size."""

    def __init__(self, patch: int | Sequence[int], dimensions: int) -> None:
        super().__init__()
        sizes = (patch,) * dimensions if isinstance(patch, int) else tuple(patch)
        if len(sizes) == dimensions + 1 == 3:  # one slice of a volume: (1, h, w)
            sizes = sizes[1:]
        if len(sizes) != dimensions or min(sizes) < 8:
            raise BadInput(
                f"A discriminator cannot judge patches of the size {patch}.",
                f"Give {dimensions} numbers of at least 8, or one for all.",
            )
        self.patch = sizes

    def _check(self, image: Tensor) -> None:
        size = tuple(image.shape[-len(self.patch) :])
        if image.ndim != 5 or image.shape[1] != 1 or size != self.patch:
            wanted, given = ("x".join(map(str, n)) for n in (self.patch, image.shape))
            raise BadInput(
                f"This discriminator judges patches of {wanted} voxels, not {given}.",
                "Give it the size of the patches as 'patch'.",
            )


class SrganD3d(_OfOneSize):
    """SRGAN's discriminator in 3-D.

    Args:
        patch: size of the patches (published: 40), one number or ``(d, h, w)``.
        width: maps of the first convolution (64).
        dense: outputs of the first fully connected layer (1024).
        normalisation: one of :data:`mriforge.networks.normalisation.NORMALISATIONS`; with a
            gradient penalty none that mixes patches of a batch.

    Shapes:
        ``(b, 1, d, h, w)`` to ``(b, 1)``.

    Raises:
        BadInput: the size of a patch is another, or is none; there is no such normalisation.
    """

    def __init__(
        self,
        patch: int | Sequence[int] = 40,
        width: int = 64,
        dense: int = 1024,
        normalisation: str = "layer",
    ) -> None:
        super().__init__(patch, 3)
        stages = _doubling(width, 4)
        self.body = _stages(1, stages, 3, normalisation, 3, first=True)
        self.end = _judge(8 * width * _left(self.patch, [s for _, s in stages], 3), dense)

    def forward(self, image: Tensor) -> Tensor:
        self._check(image)
        return self.end(self.body(image))


def _doubling(width: int, blocks: int) -> list[Stage]:
    """Pairs of convolutions, the second of each with stride 2; every pair has twice the maps."""
    return [(width * 2**number, stride) for number in range(blocks) for stride in (1, 2)]


class DraganD3d(_OfOneSize):
    """Discriminator of DRAGAN: real or made, and from which domain.

    Args:
        patch: size of the patches (published: 64x80x80), one number or ``(d, h, w)``.
        width, dense, normalisation: see :class:`SrganD3d`.

    Shapes:
        ``(b, 1, d, h, w)`` to ``(b, 1)``.

    Raises:
        BadInput: as :class:`SrganD3d`.
    """

    def __init__(
        self,
        patch: int | Sequence[int] = (64, 80, 80),
        width: int = 64,
        dense: int = 1024,
        normalisation: str = "layer",
    ) -> None:
        super().__init__(patch, 3)
        stages = _doubling(width, 4)
        trunk, rest = stages[:4], stages[4:]
        inputs = 8 * width * _left(self.patch, [s for _, s in stages], 3)
        self.trunk = _stages(1, trunk, 3, normalisation, 3, first=True)
        self.image_end, self.domain_end = (
            nn.Sequential(
                _stages(trunk[-1][0], rest, 3, normalisation, 3, first=False),
                _judge(inputs, dense),
            )
            for _ in range(2)
        )

    def features(self, image: Tensor) -> Tensor:
        """Maps behind the second convolution with stride, ``(b, 2 width, d / 4, h / 4, w / 4)``."""
        self._check(image)
        return self.trunk(image)

    def judge(self, maps: Tensor) -> Tensor:
        """Whether maps are of a real patch, ``(b, 1)``."""
        return self.image_end(maps)

    def domain(self, maps: Tensor) -> Tensor:
        """The feature discriminator F: from which domain maps are, ``(b, 1)``."""
        return self.domain_end(maps)

    def image_parameters(self) -> Iterator[nn.Parameter]:
        """Of the image discriminator: everything but F."""
        return chain(self.trunk.parameters(), self.image_end.parameters())

    def domain_parameters(self) -> Iterator[nn.Parameter]:
        """Of the feature discriminator F."""
        return self.domain_end.parameters()

    def forward(self, image: Tensor) -> Tensor:
        return self.judge(self.features(image))


class CpceD(_OfOneSize):
    """Critic of GAN-CPCE, slice by slice.

    Args:
        patch: size of the patches (published: 64), one number, ``(h, w)`` or ``(1, h, w)``.
        width: maps of the first convolution (64).
        dense: outputs of the first fully connected layer (1024).
        normalisation: one of :data:`mriforge.networks.normalisation.NORMALISATIONS` (published:
            none).

    Shapes:
        ``(b, 1, d, h, w)`` to ``(b * d, 1)``, one number for each slice.

    Raises:
        BadInput: as :class:`SrganD3d`.
    """

    def __init__(
        self,
        patch: int | Sequence[int] = 64,
        width: int = 64,
        dense: int = 1024,
        normalisation: str = "none",
    ) -> None:
        super().__init__(patch, 2)
        stages = _doubling(width, 3)
        self.body = _stages(1, stages, 3, normalisation, 2, first=True)
        self.end = _judge(4 * width * _left(self.patch, [s for _, s in stages], 3), dense)

    def forward(self, image: Tensor) -> Tensor:
        self._check(image)
        return self.end(self.body(to_slices(image)))


class CircleD(_OfOneSize):
    """Critic of GAN-CIRCLE, slice by slice.

    Args:
        patch: size of the patches (published: 64), one number, ``(h, w)`` or ``(1, h, w)``.
        width: maps of the first convolution (64).
        dense: outputs of the first fully connected layer (1024).
        normalisation: one of :data:`mriforge.networks.normalisation.NORMALISATIONS` (published:
            instance).

    Shapes:
        ``(b, 1, d, h, w)`` to ``(b * d, 1)``, one number for each slice.

    Raises:
        BadInput: as :class:`SrganD3d`.
    """

    def __init__(
        self,
        patch: int | Sequence[int] = 64,
        width: int = 64,
        dense: int = 1024,
        normalisation: str = "instance",
    ) -> None:
        super().__init__(patch, 2)
        stages = [(width, 2), (2 * width, 2), (4 * width, 2), (8 * width, 1)]
        self.body = _stages(1, stages, 4, normalisation, 2, first=True)
        self.end = _judge(8 * width * _left(self.patch, [s for _, s in stages], 4), dense)

    def forward(self, image: Tensor) -> Tensor:
        self._check(image)
        return self.end(self.body(to_slices(image)))
