"""Residual dense networks of Zhang et al. 2018 (CVPR), as TSCNet interpolates slices with them.

TSCNet (Lu et al. 2021, MICCAI; arXiv 2106.15395): a network for each of two slices extracts
features, a third one makes the slice between them. Sizes are those of a public, unofficial
implementation: 64 channels, growth 64, 3 blocks of 5 layers, the two encoders do not share
weights.

Parameters by hand, at these sizes: the layers of a block sum((64 + 64 i) * 64 * 9 + 64, i = 0..4)
= 553,280, its 1x1 fusion 384 * 64 + 64 = 24,640, three blocks 1,733,760; second convolution
36,928; global fusion 12,352 + 36,928 = 49,280. An encoder adds 640 in front and 36,928 behind:
1,857,536. The reconstruction adds 128 * 9 * 64 + 64 = 73,792 and 577: 1,894,337. Sum
2 * 1,857,536 + 1,894,337 = 5,609,409.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


class DenseBlock(nn.Module):
    """Layers that each see the outputs of all before them, fused by 1x1, and the input added."""

    def __init__(self, width: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _convolution(width + growth * number, growth) for number in range(layers)
        )
        self.fusion = nn.Conv2d(width + growth * layers, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        seen = features
        for layer in self.layers:
            seen = torch.cat([seen, torch.relu(layer(seen))], dim=1)
        return features + self.fusion(seen)


class Rdn(nn.Module):
    """Residual dense network that keeps the size of the image.

    Args:
        channels_in, channels_out: of the input and of the output.
        width: channels between the blocks (published: 64).
        growth: channels that a layer adds (published: 64).
        blocks, layers: dense blocks, and layers of each.

    Shapes:
        input ``(batch, channels_in, h, w)``, output ``(batch, channels_out, h, w)``.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        width: int = 64,
        growth: int = 64,
        blocks: int = 3,
        layers: int = 5,
    ) -> None:
        super().__init__()
        self.first = _convolution(channels_in, width)
        self.second = _convolution(width, width)
        self.blocks = nn.ModuleList(DenseBlock(width, growth, layers) for _ in range(blocks))
        self.fusion = nn.Sequential(nn.Conv2d(width * blocks, width, 1), _convolution(width, width))
        self.last = _convolution(width, channels_out)

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.first(image)
        features, local = self.second(shallow), []
        for block in self.blocks:
            features = block(features)
            local.append(features)
        return self.last(shallow + self.fusion(torch.cat(local, dim=1)))


class TscNet(nn.Module):
    """Two slices in, the slice in the middle between them out.

    Args:
        width, growth, blocks, layers: of all three networks, see :class:`Rdn`.
        residual: add the mean of both slices to the output (published: no). With it the last
            convolution starts at zero, so that an untrained network interpolates linearly.

    Shapes:
        pair ``(batch, 2, h, w)``: one slice in each channel; output ``(batch, 1, h, w)``.
    """

    def __init__(
        self,
        width: int = 64,
        growth: int = 64,
        blocks: int = 3,
        layers: int = 5,
        residual: bool = False,
    ) -> None:
        super().__init__()
        sizes = (width, growth, blocks, layers)
        self.before, self.after = Rdn(1, width, *sizes), Rdn(1, width, *sizes)
        self.between = Rdn(2 * width, 1, *sizes)
        self.width, self.residual = width, residual
        self.halo = 2 * (blocks * layers + 4)
        """How far, in pixels, an output pixel sees: 3x3 convolutions one after the other."""
        if residual:
            nn.init.zeros_(self.between.last.weight)
            nn.init.zeros_(self.between.last.bias)

    def forward(self, pair: Tensor) -> Tensor:
        features = [self.before(pair[:, :1]), self.after(pair[:, 1:])]
        found = self.between(torch.cat(features, dim=1))
        return found + pair.mean(dim=1, keepdim=True) if self.residual else found


class SliceDiscriminator(nn.Module):
    """Judges whether a slice is real: the layout of SRGAN's discriminator, as in the VGG networks.

    Convolutions 64, 64 (stride 2), 128, 128 (2), 256, 256 (2), 512, 512 (2) with batch
    normalisation (not after the first) and leaky ReLU, then dense layers to 1024 and to 1.
    Read in the public implementation, which takes 256x256 slices: 4,686,080 parameters in the
    convolutions and 134,219,777 in the dense layers.

    Args:
        size: ``(h, w)`` of the slices.
        width: channels of the first convolution; the dense layer has 16 times as many.

    Shapes:
        input ``(batch, 1, h, w)``, output ``(batch, 1)``: a logit, large for real.
    """

    def __init__(self, size: tuple[int, int], width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(1, width), nn.LeakyReLU(0.2)]
        before = width
        for number in range(1, 8):
            after, stride = width * 2 ** (number // 2), 1 + number % 2
            layers += [
                nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2),
            ]
            before = after
        self.features = nn.Sequential(*layers)
        height, columns = (-(-n // 16) for n in size)
        self.judge = nn.Sequential(
            nn.Flatten(),
            nn.Linear(before * height * columns, 16 * width),
            nn.LeakyReLU(0.2),
            nn.Linear(16 * width, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.judge(self.features(image))
