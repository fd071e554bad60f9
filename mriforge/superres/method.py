"""What sharpens an image: a trained model or a baseline interpolation, found by its name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.models.card import ModelCard
from mriforge.models.store import ModelFolder, find_model, load_model, save_model
from mriforge.physics.interpolation import BASELINES
from mriforge.physics.kspace import KspaceCrop
from mriforge.recipes import Recipe, load_recipe, recipe_from
from mriforge.superres.choices import DEFAULT_MODEL
from mriforge.superres.finetune import Tuned
from mriforge.superres.gate import Gate
from mriforge.training.patches import upsampled


@dataclass(frozen=True)
class Method:
    """How a scaled low-resolution frame becomes a proposal on the target grid.

    Attributes:
        name: as the user gave it.
        upsample: interpolation to the target grid, before the network if there is one; ``none``
            for a network that enlarges the image itself.
        percentile: of the input's intensities, the value that becomes 1.
        model, card: the network; None for an interpolation.
        gate: how far to follow the network; None: all the way.
    """

    name: str
    upsample: str
    percentile: float
    model: nn.Module | None = None
    card: ModelCard | None = None
    gate: Gate | None = None

    @property
    def enlarges(self) -> bool:
        """Whether the network takes the low-resolution image as it is."""
        return self.upsample == "none"

    def describe(self) -> dict[str, Any]:
        """Provenance of the method."""
        if self.card is None:
            return {"name": self.name, "kind": "interpolation"}
        card = self.card
        return {
            "name": card.name,
            "kind": card.kind,
            "network": card.network,
            "sha256": card.sha256,
        }

    def interpolate(self, low: Tensor, operator: KspaceCrop) -> Tensor:
        """``low`` on the target grid, as the network expects it."""
        return upsampled(low, operator, self.upsample)

    def network(self) -> tuple[nn.Module, ModelCard]:
        """The trained network.

        Raises:
            BadInput: the method is an interpolation.
        """
        if self.model is None or self.card is None:
            raise BadInput(
                f"'{self.name}' is an interpolation: there is nothing to fine-tune.",
                "Choose a trained model (mriforge models list).",
            )
        return self.model, self.card

    def tuned(self, tuned: Tuned, gate: bool) -> Method:
        """The same with a fine-tuned network."""
        return dataclasses.replace(self, model=tuned.model, gate=tuned.gate if gate else None)


def load_method(name: str | Path | None, gate: bool = True) -> Method:
    """The method called ``name``: a baseline interpolation, or a trained model's name or folder.

    Args:
        gate: honour the gate that is stored with a fine-tuned model.

    Raises:
        MissingModel: nothing of that name, or damaged.
        BadInput: the model is for something else.
    """
    name = name or DEFAULT_MODEL
    if str(name) in BASELINES:
        return Method(str(name), str(name), 100.0)
    model, card = load_model(find_model(name))
    if card.task != "superresolution":
        raise BadInput(
            f"The model '{name}' is for {card.task}, not for super-resolution.",
            "Choose another one (mriforge models list).",
        )
    percentile = card.input.get("percentile", 100.0)
    if card.input.get("scale") == "maximum":
        percentile = 100.0
    stored = card.figures.get("gate") if gate else None
    return Method(
        str(name),
        card.input.get("upsample", "sinc"),
        percentile,
        model,
        card,
        Gate(**stored) if stored else None,
    )


def finetuning_recipe(card: ModelCard) -> Recipe:
    """The recipe that says how to fine-tune the model of ``card``."""
    recipe = recipe_from(card.settings, card.name) if card.settings else load_recipe(card.recipe)
    if not recipe.finetune:
        raise BadInput(
            f"The recipe '{card.recipe}' of the model says nothing about fine-tuning.",
            "Run without it, or choose another model.",
        )
    return recipe


def save_tuned(folder: Path, tuned: Tuned, card: ModelCard) -> ModelFolder:
    """The tuned network as a model of its own, whose card names where it came from."""
    new = dataclasses.replace(
        card,
        name=folder.name,
        title=f"{card.title or card.name}, fine-tuned on one subject's prior scan",
        figures={
            "finetune": tuned.figures,
            "gate": dataclasses.asdict(tuned.gate),
            "before": card.figures,
        },
        training={**card.training, "tuned_from": card.sha256},
    )
    return save_model(folder, tuned.model.state_dict(), new)
