"""Generator of GAN-CPCE: a conveying-path convolutional encoder-decoder, slice by slice.

Lyu et al. 2018 (super-resolution MRI), section II.2, after Shan et al. 2018 (IEEE TMI 37:1522):
four 3x3 convolutions of 32 filters, three 3x3 transposed convolutions of 32 and one of one filter,
stride 1, and paths that convey early maps to later layers. Read in the public code of Shan et al.:
no padding and no bias; behind each of the first three transposed convolutions the maps of the
mirrored convolution beside its own, ReLU, a 1x1 convolution to 32, ReLU; ReLU at the very end;
Xavier initialisation. The same code has a variant that adds the input before the last ReLU.

Parameters by hand: 9*32 = 288; three convolutions and three transposed ones of 9*32*32 = 9,216,
together 55,296; three 64*32 = 6,144; last 288. Sum 62,016.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.networks.by_slice import to_slices, to_volume


class CpceGenerator(nn.Module):
    """Encoder-decoder with conveying paths.

    Args:
        width: filters of every layer (published: 32).
        layers: convolutions, and as many transposed ones (published: 4).
        positive: end with ReLU, as published: for images in [0, 1]. Not for images that are
            normalised to mean zero.
        residual: add the input before the last ReLU (published: no; a variant in the code, that
            "may speed up training").

    Shapes:
        ``(b, 1, d, h, w)`` to the same; ``h`` and ``w`` of more than ``2 * layers``.

    Raises:
        BadInput: an image is too small.
    """

    def __init__(
        self, width: int = 32, layers: int = 4, positive: bool = True, residual: bool = False
    ) -> None:
        super().__init__()
        self.positive, self.residual = positive, residual
        given = [1, *[width] * (layers - 1)]
        self.down = nn.ModuleList(nn.Conv2d(n, width, 3, bias=False) for n in given)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(width, n, 3, bias=False) for n in [*[width] * (layers - 1), 1]
        )
        self.join = nn.ModuleList(
            nn.Conv2d(2 * width, width, 1, bias=False) for _ in range(layers - 1)
        )
        for parameter in self.parameters():
            nn.init.xavier_uniform_(parameter)

    @property
    def halo(self) -> int:
        """How far, in pixels, an output pixel sees."""
        return len(self.down) + len(self.up)

    def forward(self, image: Tensor) -> Tensor:
        slices = to_slices(image)
        if min(slices.shape[2:]) <= 2 * len(self.down):
            size = "x".join(str(n) for n in slices.shape[2:])
            raise BadInput(
                f"Slices of {size} pixels are too small for GAN-CPCE.",
                f"It needs more than {2 * len(self.down)} pixels along both axes.",
            )
        features, conveyed = slices, []
        for layer in self.down:
            features = torch.relu(layer(features))
            conveyed.append(features)
        conveyed.pop()
        for layer, join in zip(self.up, self.join, strict=False):
            found = torch.cat([conveyed.pop(), layer(features)], dim=1)
            features = torch.relu(join(torch.relu(found)))
        found = self.up[-1](features)
        found = slices + found if self.residual else found
        return to_volume(torch.relu(found) if self.positive else found, image.shape[2])
