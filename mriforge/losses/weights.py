"""Regularisation of a network's weights, as a term of the loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mriforge.recipes.schema import LossSpec


class WeightPenalty(nn.Module):
    """A loss plus ``l1 * sum |w| + l2 * sum w^2 / 2`` of a network's weights.

    Biases are left alone. The sums are averaged over the layers or added up.

    Args:
        loss: ``(output, target, input) -> scalar``.
        model: whose weights count.
        spec: ``weight_l1``, ``weight_l2`` and ``weight_sum``.
    """

    def __init__(self, loss: Callable[..., Tensor], model: nn.Module, spec: LossSpec) -> None:
        super().__init__()
        self.loss = loss
        self._spec = spec
        # A list in a tuple: the weights are the network's, not the loss's.
        self._weights = ([p for p in model.parameters() if p.dim() > 1 and p.requires_grad],)

    def forward(self, output: Tensor, target: Tensor, given: Tensor | None = None) -> Tensor:
        return self.loss(output, target, given) + self.penalty()

    def penalty(self) -> Tensor:
        """The term of the weights alone."""
        weights, spec = self._weights[0], self._spec
        terms = [
            spec.weight_l1 * w.abs().sum() + 0.5 * spec.weight_l2 * w.square().sum()
            for w in weights
        ]
        total = torch.stack(terms)
        return total.mean() if spec.weight_sum == "layers" else total.sum()
