"""Small images and networks for the tests of training."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mriforge.training.data import TrainingVolume, volume_from_image
from mriforge.volume import Grid, Volume


def phantom(shape: tuple[int, int, int] = (12, 40, 48), seed: int = 0) -> np.ndarray:
    """Boxes of several intensities, in (0, 1], with air around them."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.float32)
    for _ in range(12):
        low = [int(rng.integers(0, max(1, n // 2))) for n in shape]
        high = [int(rng.integers(a + 1, n + 1)) for a, n in zip(low, shape, strict=True)]
        image[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = rng.uniform(0.2, 1.0)
    return image


def training_volume(
    shape: tuple[int, int, int] = (12, 40, 48), seed: int = 0, **options: object
) -> TrainingVolume:
    """A phantom as a training volume."""
    image = Volume(phantom(shape, seed), Grid(shape))
    return volume_from_image(image, scale=1.0, **options)


class Tiny(nn.Module):
    """Two convolutions on a residual path."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(1, width, 3, padding=1), nn.ReLU(), nn.Conv3d(width, 1, 3, padding=1)
        )
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.layers(image)
