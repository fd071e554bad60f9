"""Perceptual loss by VGG-19, for those who have its weights (GAN-CPCE, paper 004, II.2).

The weights are torchvision's (BSD-3 code; trained on ImageNet, whose terms are for research). They
are never fetched here: who wants them lets torchvision download them once.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mriforge.errors import MissingDependency, MissingModel

_FILE = "vgg19-dcbb9e9d.pth"
_LAYERS = 35
"""Up to and with the 16th convolution ("conv5_4"), before its ReLU."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VggLoss(nn.Module):
    """Mean squared difference of the features of VGG-19's 16th convolution, slice by slice.

    The published scale, the sum of squares over 8192, is the mean for patches of 64x64. Input is
    normalised as torchvision's weights want it; the authors' have another (255 x, minus means).

    Args:
        features: the layers; from torchvision's weights when missing.

    Raises:
        MissingDependency: torchvision is not installed.
        MissingModel: its weights are not on this machine.
    """

    def __init__(self, features: nn.Module | None = None) -> None:
        super().__init__()
        self.network = (features or _from_torchvision()).eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1))

    def train(self, mode: bool = True) -> VggLoss:
        return super().train(False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of images ``(b, 1, d, h, w)`` in [0, 1]; gradients flow into ``output``."""
        with torch.no_grad():
            wanted = self._features(target)
        return (self._features(output) - wanted).square().mean()

    def _features(self, image: Tensor) -> Tensor:
        slices = image.transpose(1, 2).flatten(0, 1)
        return self.network((slices.expand(-1, 3, -1, -1) - self.mean) / self.deviation)


def _from_torchvision() -> nn.Module:
    try:
        from torchvision.models import vgg19
    except ImportError as error:
        raise MissingDependency(
            "The perceptual loss by VGG-19 needs torchvision.",
            "Install it: pip install torchvision.",
        ) from error
    path = Path(torch.hub.get_dir()) / "checkpoints" / _FILE
    if not path.is_file():
        raise MissingModel(
            "The weights of VGG-19 are not on this machine.",
            f"Put torchvision's {_FILE} into {path.parent}, or use a perceptual network of ours: "
            'loss.perceptual_network = "pln_small".',
        )
    network = vgg19(weights=None)
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return network.features[:_LAYERS]
