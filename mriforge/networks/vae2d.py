"""Variational auto-encoder of slices, for slices that lie between two others.

Xuan et al. 2021 (Pattern Recognition 120:108103; arXiv 2003.12627) synthesise thin slices from
thick ones with a variational auto-encoder (Kingma and Welling 2014). Only the abstract is public;
every size here is a proposal: one level of stride 2, as minutes on a CPU teach no more, and latents
that stay an image, so that a slice may have any size and what lies between two slices can be
decoded from a mixture of both.

Parameters by hand, at width 16, one level and 4 latent channels. Encoder: 1->16 and 16->16: 160 +
2,320; 16->32 (stride 2) and 32->32: 4,640 + 9,248; 1x1 to mean and logarithm of variance, 32->8:
264; sum 16,632. Decoder: 4->32 and 32->32: 1,184 + 9,248; 32->16 (after doubling) and 16->16: 4,624
+ 2,320; 16->1: 145; sum 17,521. Together 34,153.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_LOG_VARIANCE = (-12.0, 6.0)
"""Logarithms of the variance are kept between these, so that their exponential is finite."""
_FIRST_LOG_VARIANCE = -4.0


def _pair(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.ReLU(),
    )


class Vae2d(nn.Module):
    """Slices to latent images and back.

    Args:
        width: channels of the first level; they double at each level.
        levels: how often the size is halved.
        latent: channels of the latent image.

    Shapes:
        slices ``(batch, 1, h, w)`` of any size; latents ``(batch, latent, ceil(h / 2**levels),
        ceil(w / 2**levels))``.
    """

    def __init__(self, width: int = 16, levels: int = 1, latent: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.down = nn.Sequential(
            _pair(1, width),
            *(_pair(a, b, stride=2) for a, b in pairwise(widths)),
        )
        self.moments = nn.Conv2d(widths[-1], 2 * latent, 1)
        self.lift = _pair(latent, widths[-1])
        self.up = nn.ModuleList(
            _pair(b, a) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.head = nn.Conv2d(width, 1, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        # Latents that begin as noise teach the decoder nothing for hundreds of steps.
        nn.init.constant_(self.moments.bias[latent:], _FIRST_LOG_VARIANCE)

    def encode(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the latents."""
        mean, log_variance = self.moments(self.down(slices)).chunk(2, dim=1)
        return mean, log_variance.clamp(*_LOG_VARIANCE)

    def decode(self, latents: Tensor, size: tuple[int, int]) -> Tensor:
        """Slices ``(batch, 1, *size)``; ``size`` is that of the slices that were encoded."""
        features = self.lift(latents)
        sizes = [size]
        for _ in self.up:
            sizes.append(tuple((n + 1) // 2 for n in sizes[-1]))
        for block, wanted in zip(self.up, sizes[-2::-1], strict=True):
            features = block(functional.interpolate(features, size=wanted, mode="nearest"))
        return self.head(features)

    def between(self, first: Tensor, second: Tensor, position: Tensor | float) -> Tensor:
        """What lies between two slices: decoded from the mixture of their mean latents.

        Args:
            first, second: ``(batch, 1, h, w)``.
            position: 0 at the first and 1 at the second; broadcast over the batch.
        """
        start, stop = self.encode(first)[0], self.encode(second)[0]
        return self.decode(torch.lerp(start, stop, _column(position, start)), first.shape[2:])

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """Slices again, through latents drawn at random, and the divergence of the latents.

        The divergence (Kullback-Leibler, from a standard normal distribution) is a scalar, in nats
        for each pixel.
        """
        mean, log_variance = self.encode(slices)
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum()
        return self.decode(latents, slices.shape[2:]), divergence / slices.numel()


def _column(position: Tensor | float, like: Tensor) -> Tensor:
    weight = torch.as_tensor(position, dtype=like.dtype, device=like.device)
    return weight.reshape(-1, 1, 1, 1) if weight.dim() else weight
