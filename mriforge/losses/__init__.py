"""What is minimised: pixel terms, perceptual terms, segmentation terms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.losses.pixel import charbonnier, l1, l2
from mriforge.losses.segmentation import cross_entropy, soft_dice
from mriforge.recipes.schema import LossSpec

Term = Callable[[Tensor, Tensor], Tensor]
_TERMS: dict[str, Term] = {
    "l1": l1,
    "l2": l2,
    "charbonnier": charbonnier,
    "cross_entropy": cross_entropy,
    "dice": soft_dice,
}
_NOISE = 3e-3
"""Errors below this share of the intensity scale are noise: patches of air must not count."""


class WeightedLoss(nn.Module):
    """Weighted sum of named terms ``(output, target) -> scalar``.

    Args:
        balance: divide every patch by the error that its input has. Without it a few bright,
            strongly truncated patches decide everything; the mean gain in dB weighs all alike.
    """

    def __init__(self, terms: list[tuple[float, Term]], balance: bool = False) -> None:
        super().__init__()
        self.balance = balance
        self._weights = [weight for weight, _ in terms]
        self._terms = [term for _, term in terms]
        self.networks = nn.ModuleList(t for t in self._terms if isinstance(t, nn.Module))

    def forward(self, output: Tensor, target: Tensor, given: Tensor | None = None) -> Tensor:
        """The loss of ``output``; ``given`` is the network's input, needed to balance."""
        if self.balance and given is not None:
            gain = 1.0 / input_error(given, target)
            output, target = output * gain, target * gain
        total = output.new_zeros((), dtype=torch.float32)
        for weight, term in zip(self._weights, self._terms, strict=True):
            total = total + weight * term(output, target)
        return total


def input_error(given: Tensor, target: Tensor) -> Tensor:
    """Root mean square error of each patch's input, ``(b, 1, 1, 1, 1)``, not less than noise."""
    error = (given - target).square().mean(dim=(1, 2, 3, 4), keepdim=True)
    return (error + _NOISE**2).sqrt()


def has_terms(spec: LossSpec) -> bool:
    """Whether a recipe compares images at all, besides what judges say."""
    return spec.perceptual > 0 or any(getattr(spec, name) > 0 for name in _TERMS)


def build_loss(spec: LossSpec, perceptual: nn.Module | None = None) -> WeightedLoss:
    """The loss a recipe asks for.

    Args:
        perceptual: the frozen network of the perceptual term; loaded by name when missing
            (``vgg19``: torchvision's).

    Raises:
        BadInput: every weight is zero.
        MissingModel: the perceptual network is not installed.
    """
    terms: list[tuple[float, Term]] = [
        (getattr(spec, name), term) for name, term in _TERMS.items() if getattr(spec, name) > 0
    ]
    if spec.perceptual > 0:
        from mriforge.losses.perceptual import PerceptualLoss

        if perceptual is None and spec.perceptual_network == "vgg19":
            from mriforge.losses.vgg import VggLoss

            terms.append((spec.perceptual, VggLoss()))
        else:
            if perceptual is None:
                from mriforge.models.store import load_model

                perceptual = load_model(spec.perceptual_network)[0]
            terms.append((spec.perceptual, PerceptualLoss(perceptual)))
    if not terms:
        raise BadInput("Every weight of the loss is zero.", "Set one of them in the recipe.")
    return WeightedLoss(terms, spec.balance)
