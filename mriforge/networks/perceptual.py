"""The network that judges images in the perceptual loss of Sarasaen et al. 2021, section 2.3.1.

The paper compares features of the first three contraction levels of a U-Net trained for vessel
segmentation (DS6, Chatterjee et al. 2022): per level twice 3x3x3 convolution, batch
normalisation, ReLU; maximum pooling between; 1 -> 64 -> 128 -> 256 channels, 3,432,768
parameters. Only this contracting path exists here. To be trained, it gets the lightest head that
uses every level: one 1x1x1 convolution each, brought to full size and added.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class NormBlock(nn.Sequential):
    """Twice: 3x3x3 convolution with padding 1, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv3d(channels_in, channels_out, 3, padding=1),
            nn.BatchNorm3d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels_out, channels_out, 3, padding=1),
            nn.BatchNorm3d(channels_out),
            nn.ReLU(inplace=True),
        )


class PerceptualNet(nn.Module):
    """Contracting path, and optionally a head to train it.

    Args:
        width: channels of the first level; they double at each level (published: 64).
        levels: number of levels (published: 3).
        classes: output channels of the head; 0: no head.

    Shapes:
        input ``(b, 1, d, h, w)``; :meth:`features` gives one ``(b, width * 2**l, d / 2**l, ...)``
        per level ``l``. Sizes below ``2**(levels - 1)`` are not pooled any further. ``forward``
        gives the head's ``(b, classes, d, h, w)``, or the last features where there is none.
    """

    def __init__(self, width: int = 64, levels: int = 3, classes: int = 0) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(
            NormBlock(before, after) for before, after in zip([1, *widths], widths, strict=False)
        )
        self.heads = nn.ModuleList(nn.Conv3d(w, classes, 1) for w in widths if classes)

    @property
    def multiple(self) -> int:
        """Sizes that are a multiple of this are pooled without a remainder."""
        return 2 ** (len(self.down) - 1)

    def features(self, image: Tensor) -> list[Tensor]:
        """Output of each level, finest first."""
        found = [self.down[0](image)]
        for block in self.down[1:]:
            size = [min(2, n) for n in found[-1].shape[2:]]
            found.append(block(functional.max_pool3d(found[-1], size)))
        return found

    def forward(self, image: Tensor) -> Tensor:
        found = self.features(image)
        if not self.heads:
            return found[-1]
        result = self.heads[0](found[0])
        for head, level in zip(self.heads[1:], found[1:], strict=True):
            result = result + functional.interpolate(
                head(level), size=image.shape[2:], mode="trilinear", align_corners=False
            )
        return result

    @torch.no_grad()
    def without_head(self) -> PerceptualNet:
        """A copy of the contracting path alone, as the loss needs it."""
        first = self.down[0][0]
        copy = PerceptualNet(first.out_channels, len(self.down))
        own = {name: t for name, t in self.state_dict().items() if name.startswith("down.")}
        copy.load_state_dict(own)
        return copy.to(first.weight.device).train(self.training)
