"""3-D U-Net of Sarasaen et al. 2021 (Artif. Intell. Med. 121:102196), section 2.2 and figure 1.

The paper gives "three contracting and three expanding blocks, two convolutions and ReLU each";
the authors' public code resolves this to three encoder levels and two decoder levels: width 64,
128, 256, 3x3x3 convolutions, no normalisation, average pooling, 2x2x2 transposed convolution up,
a linear 1x1x1 head. Published width: 5,418,177 parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvBlock(nn.Sequential):
    """Two 3x3x3 convolutions with ReLU, padding 1."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv3d(channels_in, channels_out, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels_out, channels_out, 3, padding=1),
            nn.ReLU(inplace=True),
        )


class UNet3d(nn.Module):
    """Low-resolution image on the target grid in, sharper image out.

    Args:
        width: channels of the first level; they double at each level (published: 64).
        depth: number of encoder levels (published: 3).
        residual: add the input to the output. Published: False. With True the head starts at
            zero, so that an untrained network returns its input.
        up_mode: ``transposed`` convolution, as published, or ``upsample``, the variant in the
            authors' code: trilinear, with a 1x1x1 convolution to half the channels.

    Shapes:
        input ``(batch, 1, depth, height, width)``, any sizes of at least ``2**(depth - 1)``;
        output the same.
    """

    def __init__(
        self,
        width: int = 64,
        depth: int = 3,
        residual: bool = False,
        up_mode: str = "transposed",
    ) -> None:
        super().__init__()
        if up_mode not in ("transposed", "upsample"):
            raise ValueError(f"up_mode is 'transposed' or 'upsample', not {up_mode!r}")
        self.residual = residual
        self.up_mode = up_mode
        widths = [width * 2**level for level in range(depth)]
        self.down = nn.ModuleList(
            ConvBlock(before, after) for before, after in zip([1, *widths], widths, strict=False)
        )
        self.lift = nn.ModuleList(
            nn.ConvTranspose3d(w, w // 2, 2, stride=2)
            if up_mode == "transposed"
            else nn.Conv3d(w, w // 2, 1)
            for w in reversed(widths[1:])
        )
        self.up = nn.ModuleList(ConvBlock(w, w // 2) for w in reversed(widths[1:]))
        self.head = nn.Conv3d(width, 1, 1)
        if residual:
            self._start_as_identity()

    def _start_as_identity(self) -> None:
        """Zero head; He initialisation elsewhere, so that the first gradients are not tiny."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def multiple(self) -> int:
        """Sizes that are a multiple of this need no resize between the levels."""
        return 2 ** (len(self.down) - 1)

    @property
    def halo(self) -> int:
        """How far, in voxels, an output voxel sees; rounded up to :attr:`multiple`.

        A tile that has this margin on every side that is not a border of the image, and starts at
        a multiple of :attr:`multiple`, gives in its interior what the whole image gives.
        """
        reach = 2
        for _ in self.lift:
            reach = (reach + 1) // 2 + (self.up_mode == "upsample") + 2
        for _ in self.lift:
            reach = 2 * reach + 2
        return -(-reach // self.multiple) * self.multiple

    def forward(self, image: Tensor) -> Tensor:
        features, bridges = image, []
        for level, block in enumerate(self.down):
            features = block(features)
            if level < len(self.down) - 1:
                bridges.append(features)
                features = functional.avg_pool3d(features, 2)
        for lift, block in zip(self.lift, self.up, strict=True):
            bridge = bridges.pop()
            # The 1x1x1 convolution before the interpolation: the same, at an eighth of the cost.
            features = lift(features)
            if features.shape[2:] != bridge.shape[2:]:
                features = functional.interpolate(
                    features, size=bridge.shape[2:], mode="trilinear", align_corners=False
                )
            features = block(torch.cat([features, bridge], dim=1))
        result = self.head(features)
        return result + image if self.residual else result
