"""The downsampling GAN of Huang et al. 2021 (Phys. Med. Biol., 10.1088/1361-6560/ac232e).

``Downsampler``: the generator, a chain of convolutions 7, 5, 3, 1, 1, 1 of 64 maps without bias or
activation; the last one steps by 2, none pads: 64 x 64 pixels become 26 x 26. All of it is one
linear filter of 13 x 13 pixels, which is what is wanted: many layers only make it easier to learn
(Bell-Kligler et al. 2019). Weights by hand: 49*64 = 3,136; 25*64^2 = 102,400; 9*64^2 = 36,864;
twice 64^2 = 8,192; 64. Sum 150,656. In one dimension 448 + 20,480 + 12,288 + 8,192 + 64 = 41,472.

``SeparableDownsampler``: what the paper leaves to the future, a generator in 3-D. It is a
two-dimensional one in plane times a one-dimensional one across: 192,128 weights for 13^3 taps. Not
a full 3-D chain (652,800 weights, and two thousand taps to find): what a slice-selective pulse does
across a slice and what the encoding does within it are different things that follow each other, so
that the true kernel of an acquisition is such a product. ``Downsampler(dimensions=3)`` is the full
chain, for comparison.

``PatchJudge``: a 7 x 7 convolution of 64 maps and six of 1 x 1, so that every answer is about 7 x 7
places of its input, which has three channels: the image and what Sobel's operators make of it.
Spectral norm everywhere, batch norm and ReLU behind the five inner layers, a sigmoid at the end
(as in the public code of KernelGAN). By hand: 147*64 + 64 = 9,472; 5 * (64^2 + 64 + 128) = 21,440;
65. Sum 30,977.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mriforge.errors import BadInput

SIZES = (7, 5, 3, 1, 1, 1)
"""Of the convolutions of a generator (published)."""

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_LAYER = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def _dimensions(given: int, known: Sequence[int]) -> int:
    if given not in known:
        raise BadInput(
            f"There is no such network of {given} dimensions.",
            f"It has {' or '.join(map(str, known))}.",
        )
    return given


class Downsampler(nn.Module):
    """Deep linear generator: an image blurred by a learned kernel, every ``ratio``-th sample kept.

    Args:
        width: maps between the layers (64).
        sizes: of the convolutions, odd (7, 5, 3, 1, 1, 1).
        ratio: distance of the samples that are kept, of each axis or of all (2).
        dimensions: 1, 2 or 3.

    Shapes:
        ``(b, 1, *n)`` to ``(b, 1, *m)`` with ``m = (n - taps) // ratio + 1``.

    Raises:
        BadInput: an even size, or another number of dimensions.
    """

    def __init__(
        self,
        width: int = 64,
        sizes: Sequence[int] = SIZES,
        ratio: int | Sequence[int] = 2,
        dimensions: int = 2,
    ) -> None:
        super().__init__()
        self.dimensions = _dimensions(dimensions, (1, 2, 3))
        if len(sizes) < 2 or any(size % 2 == 0 or size < 1 for size in sizes):
            raise BadInput(
                f"Convolutions of the sizes {tuple(sizes)} have no middle.",
                "Give at least two odd numbers.",
            )
        self.ratio = (ratio,) * dimensions if isinstance(ratio, int) else tuple(ratio)
        if len(self.ratio) != dimensions:
            raise BadInput(f"{dimensions} ratios are needed, not {len(self.ratio)}.")
        self.taps = 1 + sum(size - 1 for size in sizes)
        widths = [1, *[width] * (len(sizes) - 1), 1]
        layers = [
            _LAYER[dimensions](inside, outside, size, bias=False)
            for (inside, outside), size in zip(pairwise(widths), sizes, strict=True)
        ]
        for layer in layers:
            nn.init.xavier_normal_(layer.weight)
        self.layers = nn.Sequential(*layers)

    def weights(self) -> Tensor:
        """What a sample is made of: ``(taps, ...)``, the weight of each pixel around it.

        From the last layer to the first, which is cheap: it starts with a single pixel.
        """
        found = self.layers[-1].weight.new_ones(1, 1, *[1] * self.dimensions)
        for layer in reversed(self.layers):
            found = _TRANSPOSE[self.dimensions](found, layer.weight)
        return found[0, 0]

    def kernel(self) -> Tensor:
        """The response to an impulse, ``(taps, ...)``: :meth:`weights` mirrored."""
        return self.weights().flip(tuple(range(self.dimensions)))

    def layered(self, image: Tensor) -> Tensor:
        """As :meth:`forward`, layer by layer: three hundred times the arithmetic."""
        *inner, last = self.layers
        for layer in inner:
            image = layer(image)
        return _CONVOLVE[self.dimensions](image, last.weight, stride=self.ratio)

    def forward(self, image: Tensor) -> Tensor:
        return _CONVOLVE[self.dimensions](image, self.weights()[None, None], stride=self.ratio)


class SeparableDownsampler(nn.Module):
    """Generator in 3-D: a linear filter in plane, and another across the slices.

    Args:
        width, sizes: see :class:`Downsampler`.
        ratio: distance of the samples that are kept, ``(z, y, x)`` or of all.

    Shapes:
        ``(b, 1, d, h, w)``, each axis as of :class:`Downsampler`.
    """

    dimensions = 3

    def __init__(
        self,
        width: int = 64,
        sizes: Sequence[int] = SIZES,
        ratio: int | Sequence[int] = 2,
    ) -> None:
        super().__init__()
        self.ratio = (ratio,) * 3 if isinstance(ratio, int) else tuple(ratio)
        if len(self.ratio) != 3:
            raise BadInput(f"3 ratios are needed, not {len(self.ratio)}.")
        self.across = Downsampler(width, sizes, self.ratio[:1], dimensions=1)
        self.plane = Downsampler(width, sizes, self.ratio[1:], dimensions=2)
        self.taps = self.plane.taps

    def kernel(self) -> Tensor:
        """The response to an impulse, ``(taps, taps, taps)``."""
        return self.across.kernel()[:, None, None] * self.plane.kernel()

    def forward(self, volume: Tensor) -> Tensor:
        across = self.across.weights()[None, None, :, None, None]
        thick = F.conv3d(volume, across, stride=(self.ratio[0], 1, 1))
        plane = self.plane.weights()[None, None, None]
        return F.conv3d(thick, plane, stride=(1, *self.ratio[1:]))


class PatchJudge(nn.Module):
    """How real each neighbourhood of an image looks.

    Args:
        width: maps (64).
        inner: layers of one pixel between the first and the last (5).
        reach: size of the first convolution (7).
        dimensions: 2 or 3.

    Shapes:
        ``(b, 1, *n)`` to ``(b, 1, *m)`` in (0, 1), with ``m = n - 2 - (reach - 1)``: the outermost
        pixels have no edges that could be computed without inventing what is beyond.

    Raises:
        BadInput: another number of dimensions.
    """

    def __init__(
        self, width: int = 64, inner: int = 5, reach: int = 7, dimensions: int = 2
    ) -> None:
        super().__init__()
        self.dimensions = _dimensions(dimensions, (2, 3))
        layer = _LAYER[dimensions]
        parts: list[nn.Module] = [spectral_norm(layer(1 + dimensions, width, reach))]
        for _ in range(inner):
            parts += [
                spectral_norm(layer(width, width, 1)),
                _BATCH_NORM[dimensions](width),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*parts, spectral_norm(layer(width, 1, 1)), nn.Sigmoid())
        self.register_buffer("sobel", sobel(dimensions), persistent=False)

    def channels(self, image: Tensor) -> Tensor:
        """Image and edges along x, y (and z): ``(b, 1 + dimensions, *(n - 2))``."""
        edges = _CONVOLVE[self.dimensions](image, self.sobel.to(image))
        inside = image[(..., *[slice(1, -1)] * self.dimensions)]
        return torch.cat([inside, edges], 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(self.channels(image))


def sobel(dimensions: int) -> Tensor:
    """Sobel's operators along x, y (and z), ``(dimensions, 1, 3, ...)`` (equation 1)."""
    slope, smooth = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])
    found = []
    for axis in reversed(range(dimensions)):
        mask = torch.ones([1] * dimensions)
        for other in range(dimensions):
            line = slope if other == axis else smooth
            mask = mask * line.reshape([-1 if a == other else 1 for a in range(dimensions)])
        found.append(mask)
    return torch.stack(found)[:, None]
