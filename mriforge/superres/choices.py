"""What a user can choose to sharpen an image with: trained models, recipes, interpolations.

Read from the cards, recipes and names alone, without torch, so that a panel can list them at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mriforge.models.card import ModelCard
from mriforge.models.store import installed_models
from mriforge.physics.baselines import TITLES
from mriforge.recipes import Recipe, load_recipe, recipe_names

DEFAULT_MODEL = "unet3d_small"
TASK = "superresolution"


@dataclass(frozen=True)
class Choice:
    """One entry of the list.

    Attributes:
        name: what ``superres --model`` is given.
        title: a few words.
        sentence: what it does and what it was made from.
        needs: what has to be there before it can be used; empty when it is ready.
        learned: whether it is a network (and can be fine-tuned).
        card: of a trained model.
        subject_tuned: whether it was fine-tuned on one subject's scan.
    """

    name: str
    title: str
    sentence: str
    needs: str = ""
    learned: bool = False
    card: ModelCard | None = None
    subject_tuned: bool = False
    path: Path | None = None

    @property
    def ready(self) -> bool:
        """Whether it can be used now."""
        return not self.needs


def choices() -> list[Choice]:
    """Trained models (the default first), then interpolations, then recipes without a model."""
    models = [
        _model(model.path, model.card) for model in installed_models() if model.card.task == TASK
    ]
    models.sort(
        key=lambda choice: (choice.name != DEFAULT_MODEL, choice.subject_tuned, choice.name)
    )
    plain = [Choice(name, title, text) for name, (title, text) in TITLES.items()]
    return [*models, *plain, *_untrained({choice.card.recipe for choice in models if choice.card})]


def choice_named(name: str) -> Choice | None:
    """The choice of that name, or None."""
    return next((choice for choice in choices() if choice.name == name), None)


def _model(path: Path, card: ModelCard) -> Choice:
    tuned = "tuned_from" in card.training
    seen = sorted({entry.get("contrast", "") for entry in card.trained_on} - {""})
    subjects = len({entry.get("subject") for entry in card.trained_on})
    sentence = f"Network of {card.parameters:,} parameters; learned from {subjects} subjects"
    sentence += f" ({', '.join(seen)})." if seen else "."
    if tuned:
        sentence = f"Adapted to one subject's prior scan: for that subject only. {sentence}"
    return Choice(path.name, card.title or card.name, sentence, "", True, card, tuned, path)


@cache
def _shipped_recipes() -> tuple[tuple[str, Recipe], ...]:
    """Read once: a panel lists the choices at every change of a widget."""
    return tuple((name, load_recipe(name)) for name in recipe_names())


def _untrained(have: set[str]) -> list[Choice]:
    """Recipes of this task that no installed model comes from."""
    found = []
    for name, recipe in _shipped_recipes():
        if recipe.task != TASK or name in have:
            continue
        found.append(
            Choice(
                name,
                recipe.title,
                f"{recipe.source}.",
                f"No trained weights are installed: run 'mriforge train {name}', or add a model.",
                True,
            )
        )
    return found
