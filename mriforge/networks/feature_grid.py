"""An image as a function of position: feature grids of several resolutions and a small network.

The multi-resolution encoding of Mueller et al. 2022 ("Instant neural graphics primitives", ACM
TOG 41:102), as NeSVoR (Xu et al. 2023, IEEE TMI 42:1707) uses it to reconstruct volumes from
slices, with dense grids instead of hash tables: a brain at 1 mm fits into memory, and no two places
share a feature. [D]
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class FeatureGrid(nn.Module):
    """Position to intensity.

    Args:
        shapes: number of features ``(z, y, x)`` of each level, coarse to fine.
        channels: features per place and level.
        width: of the two hidden layers.

    Shapes:
        input ``(n, 3)``: x, y, z in [-1, 1], where the ends are the first and the last voxel;
        output ``(n,)``.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, int, int]], channels: int = 2, width: int = 32
    ) -> None:
        super().__init__()
        self.levels = nn.ParameterList(
            nn.Parameter(1e-2 * torch.randn(1, channels, *shape)) for shape in shapes
        )
        self.head = nn.Sequential(
            nn.Linear(channels * len(shapes), width),
            nn.ReLU(inplace=True),
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, 1),
        )

    def forward(self, position: Tensor) -> Tensor:
        """Intensities at positions."""
        place = position[None, None, None]
        features = [
            functional.grid_sample(level, place, padding_mode="border", align_corners=True)
            for level in self.levels
        ]
        return self.head(torch.cat(features, dim=1)[0, :, 0, 0].T)[:, 0]
