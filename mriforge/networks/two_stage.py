"""Two mDCSRNs one after the other: the two-stage scheme of Chen 2021 (dissertation), section 5.2.1.

"In the first stage, the input low-resolution images pass through a well-trained non-GAN model to
recover major structures. The intermediate images go through a second GAN-optimized
super-resolution network to restore fine details." The first network is never trained here.

Parameters: twice those of mDCSRN b8u4 (485,473), 970,946.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mriforge.networks.mdcsrn import Mdcsrn


class TwoStageMdcsrn(nn.Module):
    """A finished mDCSRN and one that is trained on what it gives.

    Args:
        blocks: of each (published: 8).
        options: further arguments of :class:`mriforge.networks.mdcsrn.Mdcsrn`.

    Shapes:
        ``(b, 1, d, h, w)`` to the same.
    """

    def __init__(
        self,
        blocks: int = 8,
        growth: int = 12,
        units: int = 4,
        normalisation: str = "batch_train",
        residual: bool = False,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {
            "blocks": blocks,
            "growth": growth,
            "units": units,
            "normalisation": normalisation,
            "residual": residual,
        }
        self.options = options
        self.first = Mdcsrn(**options).requires_grad_(False).eval()
        self.second = Mdcsrn(**options)

    @property
    def halo(self) -> int | None:
        """How far, in voxels, an output voxel sees; None: everything."""
        one = self.first.halo
        return None if one is None else 2 * one

    def begin_with(self, state: Mapping[str, Tensor]) -> None:
        """Puts the weights of one trained mDCSRN into both stages."""
        self.first.load_state_dict(state)
        self.second.load_state_dict(state)

    def train(self, mode: bool = True) -> TwoStageMdcsrn:
        super().train(mode)
        self.first.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            image = self.first(image)
        return self.second(image)
