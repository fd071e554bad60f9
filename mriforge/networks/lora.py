"""Low-rank adaptation of Hu et al. 2021 (arXiv:2106.09685), for convolutions and linear layers.

A trained weight stays as it is; what is learned is a product of two thin matrices that is added
to it. The second one starts at zero, so that an adapted network begins as the one it was made of.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ADAPTED = (nn.Linear, nn.Conv2d, nn.Conv3d)


class LowRank(nn.Module):
    """Adds ``alpha / rank * up @ down`` to a weight, seen as a matrix of its outputs by the rest.

    Args:
        weight: of the layer.
        rank: of what is added; at most the smaller side of the weight.
        alpha: its scale; default ``rank``, that is 1.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float | None = None) -> None:
        super().__init__()
        outputs, rest = weight.shape[0], weight[0].numel()
        rank = max(1, min(rank, outputs, rest))
        self.scale = (rank if alpha is None else alpha) / rank
        self.down = nn.Parameter(torch.empty(rank, rest, device=weight.device, dtype=weight.dtype))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.up @ self.down).view_as(weight)


def add_lora(model: nn.Module, rank: int, alpha: float | None = None) -> int:
    """Freezes ``model`` and gives all its convolutions and linear layers a :class:`LowRank`.

    Returns:
        The number of parameters that are left to train.
    """
    model.requires_grad_(False)
    layers = [module for module in model.modules() if isinstance(module, ADAPTED)]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, alpha))
        layer.parametrizations["weight"].original.requires_grad_(False)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def merge_lora(model: nn.Module) -> None:
    """Puts what was learned into the weights; the network is an ordinary one again."""
    with torch.no_grad():
        for layer in list(model.modules()):
            if isinstance(layer, ADAPTED) and parametrize.is_parametrized(layer, "weight"):
                parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    model.requires_grad_(True)
