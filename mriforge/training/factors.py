"""Training a network in the feature space of a temporal basis (Chen 2021, chapter 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.networks.feature_maps import Scaling, to_maps
from mriforge.recipes.schema import FactorSpec, Recipe
from mriforge.training.factor_pairs import LABELS, Pair, PairSet, load_pairs
from mriforge.training.patches import Batch
from mriforge.volume import some_of

_NOT_FOR_FACTORS = ("perceptual", "cross_entropy", "dice")


class Label(NamedTuple):
    """Normalised feature maps ``(b, 2 L, h, w)``, and how much each counts ``(b, ..., 1, 1)``."""

    maps: Tensor
    weight: Tensor


class FactorLoss(nn.Module):
    """A pixel loss on weighted feature maps."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, output: Tensor, target: Label, given: Tensor | None = None) -> Tensor:
        return self.loss(output * target.weight, target.maps * target.weight)


def load_factors(recipe: Recipe, source: str) -> PairSet:
    """The pairs of a recipe.

    Raises:
        BadInput: a loss that factors do not have, or see :func:`load_pairs`.
    """
    for name in _NOT_FOR_FACTORS:
        if getattr(recipe.loss, name) > 0:
            raise BadInput(
                f"The recipe '{recipe.name}' asks for the loss '{name}', which is for images.",
                "Use l1, l2 or charbonnier.",
            )
    if recipe.loss.balance:
        raise BadInput(f"The recipe '{recipe.name}' balances the loss, which is for images.")
    rank = int(recipe.network.options.get("rank", 32))
    return load_pairs(source, recipe.factors.labels, rank)


@dataclass(frozen=True)
class Instance:
    """One normalised pair: network input, label, and the scaling that brings outputs back."""

    maps: Tensor
    label: Tensor
    weight: Tensor
    scaling: Scaling


def normalised(factors: Tensor, label: Tensor, spec: FactorSpec) -> Instance:
    """Both ``(b, L, h, w)`` complex as the network sees them.

    Instances are normalised whole, before anything is cut from them.
    """
    maps, wanted = to_maps(factors), to_maps(label)
    own = Scaling.of(maps, spec.normalise)
    theirs = own if spec.label_scale == "input" else Scaling.of(wanted, spec.normalise)
    relative = theirs.scale / theirs.scale.square().mean(dim=1, keepdim=True).sqrt()
    weight = relative**spec.component_weight
    return Instance(own.normalise(maps), theirs.normalise(wanted), weight, own)


def denormalised(output: Tensor, given: Tensor, spec: FactorSpec) -> Tensor:
    """Feature maps in the units of ``given``, the network's input before normalisation.

    A label's own scale is not known of a new scan; there the least-squares fit to ``given``
    takes its place.
    """
    if spec.label_scale == "input":
        return Scaling.of(given, spec.normalise).restore(output)
    return Scaling.fitted(output, given, spec.normalise).restore(output)


class FactorSampler:
    """Batches of pairs; every pair once in an epoch.

    Args:
        pairs: what to draw from.
        recipe: its ``factors``, ``seed``.
        rank: of this process.
        device: where batches end up.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        recipe: Recipe,
        *,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.pairs, self.spec = list(pairs)[rank::world] or list(pairs), recipe.factors
        self.seed, self.rank, self.device = recipe.seed, rank, torch.device(device)
        self.epoch_steps = math.ceil(len(self.pairs) / self.spec.batch)

    def batch(self, step: int) -> Batch:
        """Batch number ``step``."""
        epoch, place = divmod(step, self.epoch_steps)
        order = np.random.default_rng([self.seed, self.rank, epoch]).permutation(len(self.pairs))
        rng = np.random.default_rng([self.seed, self.rank, epoch, place])
        numbers = [(place * self.spec.batch + n) % len(order) for n in range(self.spec.batch)]
        found = [self._one(self.pairs[order[number]], rng) for number in numbers]
        maps, label, weight = (torch.cat(part).to(self.device) for part in zip(*found, strict=True))
        return Batch(maps, Label(label, weight))

    def _one(self, pair: Pair, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        both = torch.stack(pair.arrays("input", LABELS[self.spec.labels]))
        both = varied(both, self.spec, rng)
        one = normalised(both[:1], both[1:], self.spec)
        maps, label = one.maps, one.label
        side = self.spec.crop
        if side:
            height, width = maps.shape[2:]
            top = int(rng.integers(max(1, height - side + 1)))
            left = int(rng.integers(max(1, width - side + 1)))
            window = (..., slice(top, top + side), slice(left, left + side))
            maps, label = maps[window], label[window]
        return maps, label, one.weight


def varied(factors: Tensor, spec: FactorSpec, rng: np.random.Generator) -> Tensor:
    """Factors ``(n, L, h, w)`` of the same scan, changed at random and alike.

    The acquisition knows neither left from right nor, with golden angles, any direction; and the
    signs of a basis and the phase of the receiver are arbitrary.
    """
    if spec.flip:
        turns = int(rng.integers(4)) if factors.shape[2] == factors.shape[3] else 0
        factors = factors.rot90(turns, (2, 3))
        if rng.random() < 0.5:
            factors = factors.flip(3)
    if spec.phase:
        turn = 2 * math.pi * rng.random()
        factors = factors * complex(math.cos(turn), math.sin(turn))
    if spec.signs:
        signs = torch.from_numpy(rng.integers(0, 2, factors.shape[1]) * 2 - 1).to(factors.dtype)
        factors = factors * signs[:, None, None]
    return factors.contiguous()


class HeldOutFactors:
    """Figures of a network on pairs of held-out subjects.

    Args:
        pairs: of subjects that training does not see.
        recipe: its ``factors``, ``validation.patches`` (pairs at most) and ``loss``.
        loss: what training minimises, without the regularisation of weights.
        device: of the network.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        recipe: Recipe,
        loss: Callable[..., Tensor],
        device: torch.device | str,
    ) -> None:
        self.pairs = [pairs[n] for n in some_of(len(pairs), recipe.validation.patches)]
        self.spec, self.loss, self.device = recipe.factors, loss, torch.device(device)

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Figures, means over the pairs.

        ``agreement_db`` is the validation loss in dB, larger is better; ``nrmse`` of the factors
        after the scale was brought back, ``gain_db`` how much less that is than the input's with
        its best complex factor.
        """
        losses, errors, before = [], [], []
        for pair in self.pairs:
            given, label = (
                part[None].to(self.device)
                for part in pair.arrays("input", LABELS[self.spec.labels])
            )
            one = normalised(given, label, self.spec)
            output = model(one.maps).float()
            losses.append(float(self.loss(output, Label(one.label, one.weight))))
            wanted = to_maps(label)
            errors.append(nrmse(denormalised(output, to_maps(given), self.spec), wanted))
            factor = torch.vdot(given.flatten(), label.flatten()) / given.abs().square().sum()
            before.append(nrmse(to_maps(given * factor), wanted))
        loss, error, start = (math.fsum(part) / len(part) for part in (losses, errors, before))
        return {
            "agreement_db": -20 * math.log10(max(loss, 1e-12)),
            "nrmse": error,
            "nrmse_input": start,
            "gain_db": 20 * math.log10(start / max(error, 1e-12)),
        }


def nrmse(found: Tensor, wanted: Tensor) -> float:
    """Norm of the difference relative to the norm of what was wanted."""
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-30))
