"""EDSR of Lim et al. 2017 (CVPR workshops), for images of one channel, and as SMORE uses it.

Baseline size ("r16f64"): 16 residual blocks of 64 channels, no normalisation. Parameters by hand:
head 9*64 + 64 = 640; a block 2 * (64*64*9 + 64) = 73,856, sixteen of them 1,181,696; the
convolution that closes the body 36,928; for a factor of 2 a convolution to 4*64 channels, 147,712;
tail 64*9 + 1 = 577. Sum 1,367,553 with the factor of 2, 1,219,841 without.

SMORE (Zhao et al. 2021, IEEE TMI 40:805) gives an EDSR the image interpolated to the fine grid,
where there is nothing to enlarge. Its code is not public, and neither is the size of its network
known to us: the baseline size is our choice. A public reproduction by others has the same size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mriforge.networks.by_slice import to_slices, to_volume


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, times ``scale``, and the input added."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.scale * self.second(torch.relu(self.first(features)))


class Edsr(nn.Module):
    """Low-resolution image in, image enlarged by ``factor`` along both axes out.

    Args:
        width: channels (published baseline: 64).
        blocks: residual blocks (published baseline: 16).
        res_scale: what a block's finding is multiplied by (published baseline: 1; 0.1 at width
            256).
        factor: 1 (nothing is enlarged), a power of two (pixel shuffles by 2), or 3.

    Shapes:
        input ``(batch, 1, h, w)``, output ``(batch, 1, factor * h, factor * w)``; or volumes of
        slices, ``(batch, 1, d, h, w)`` to ``(batch, 1, d, factor * h, factor * w)``.
    """

    def __init__(
        self, width: int = 64, blocks: int = 16, res_scale: float = 1.0, factor: int = 2
    ) -> None:
        super().__init__()
        if factor < 1 or (factor != 3 and factor & (factor - 1)):
            raise ValueError(f"factor is a power of two or 3, not {factor}")
        self.factor = factor
        steps = [3] if factor == 3 else [2] * (factor.bit_length() - 1)
        self.head = nn.Conv2d(1, width, 3, padding=1)
        self.body = nn.Sequential(
            *(ResidualBlock(width, res_scale) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.up = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(width, width * s**2, 3, padding=1), nn.PixelShuffle(s))
                for s in steps
            )
        )
        self.tail = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        if image.ndim == 5:
            return to_volume(self.forward(to_slices(image)), image.shape[2])
        features = self.head(image)
        return self.tail(self.up(features + self.body(features)))


class SmoreEdsr(Edsr):
    """EDSR on interpolated rows, SMORE's network.

    Args:
        width, blocks, res_scale: see :class:`Edsr`.
        residual: add the interpolated image to the output. EDSR has no such path; with it the
            tail starts at zero, so that an untrained network returns its input.

    Shapes:
        cubic ``(batch, 1, N, w)``: rows interpolated to the fine grid; output the same. ``low``
        and ``to_fine``, which networks on thick rows use, are not looked at.
    """

    pieces = 0

    def __init__(
        self,
        width: int = 64,
        blocks: int = 16,
        res_scale: float = 1.0,
        residual: bool = False,
    ) -> None:
        super().__init__(width, blocks, res_scale, factor=1)
        self.residual = residual
        if residual:
            nn.init.zeros_(self.tail.weight)
            nn.init.zeros_(self.tail.bias)

    def forward(self, low: Tensor | None, cubic: Tensor, to_fine: Tensor | None = None) -> Tensor:
        result = super().forward(cubic)
        return result + cubic if self.residual else result
