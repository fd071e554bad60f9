"""What a user can choose to sharpen an image with: trained models, recipes, interpolations, methods
for thick slices, and the fusion of several stacks.

Read from the cards, recipes and names alone, without torch, so that a panel can list them at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mriforge.interslice.methods import DEFAULT_METHOD, METHODS
from mriforge.models.card import ModelCard
from mriforge.models.store import installed_models
from mriforge.physics.baselines import TITLES
from mriforge.recipes import Recipe, load_recipe, recipe_names

DEFAULT_MODEL = "unet3d_small"
TASK = "superresolution"

INPLANE, SLICES, FUSION = "inplane", "slices", "fusion"
"""Kinds of choices: finer pixels, finer slices, one volume from several stacks."""

DEFAULT_SLICES = DEFAULT_METHOD
DEFAULT_FUSION = "fuse"
FUSIONS = {
    "fuse": (
        "One volume from 2 or 3 stacks",
        "Fuses stacks of thick slices of different orientation into the one volume with small "
        "voxels that explains them all. Seconds to minutes.",
        "variational",
    ),
    "fuse_implicit": (
        "One volume from stacks: implicit network",
        "A small network that represents the volume is fitted to all stacks; minutes, slow "
        "without a graphics card.",
        "implicit",
    ),
}
"""Ways to fuse stacks: ``{name: (title, sentence, method of the command fuse)}``."""


@dataclass(frozen=True)
class Choice:
    """One entry of the list.

    Attributes:
        name: what ``superres --model`` is given; of a fusion a key of :data:`FUSIONS`.
        title: a few words.
        sentence: what it does and what it was made from.
        needs: what has to be there before it can be used; empty when it is ready.
        learned: whether it is a network (in plane: one that can be fine-tuned; otherwise: one
            that learns from the images themselves, which takes time).
        card: of a trained model.
        subject_tuned: whether it was fine-tuned on one subject's scan.
        path: folder of a trained model.
        kind: :data:`INPLANE`, :data:`SLICES` or :data:`FUSION`.
        main: whether it is one to work with, not one to compare with.
    """

    name: str
    title: str
    sentence: str
    needs: str = ""
    learned: bool = False
    card: ModelCard | None = None
    subject_tuned: bool = False
    path: Path | None = None
    kind: str = INPLANE
    main: bool = False

    @property
    def ready(self) -> bool:
        """Whether it can be used now."""
        return not self.needs


def choices() -> list[Choice]:
    """All choices: those to work with first, then those to compare with.

    To work with are the shipped model, the default method for thick slices, the fusion of stacks,
    and other trained models. To compare with are interpolations, other methods for thick slices,
    and recipes without a model.
    """
    models = [
        _model(model.path, model.card) for model in installed_models() if model.card.task == TASK
    ]
    models.sort(
        key=lambda choice: (choice.name != DEFAULT_MODEL, choice.subject_tuned, choice.name)
    )
    shipped = [choice for choice in models if choice.name == DEFAULT_MODEL]
    own = [choice for choice in models if choice.name != DEFAULT_MODEL]
    plain = [Choice(name, title, text) for name, (title, text) in TITLES.items()]
    untrained = _untrained({choice.card.recipe for choice in models if choice.card})
    others = [*_slices(), *_fusions()]
    first = [choice for choice in others if choice.main]
    last = [choice for choice in others if not choice.main]
    return [*shipped, *first, *own, *plain, *last, *untrained]


def choice_named(name: str) -> Choice | None:
    """The choice of that name, or None."""
    return next((choice for choice in choices() if choice.name == name), None)


def _model(path: Path, card: ModelCard) -> Choice:
    tuned = "tuned_from" in card.training
    seen = sorted({entry.get("contrast", "") for entry in card.trained_on} - {""})
    subjects = len({entry.get("subject") for entry in card.trained_on})
    about, arithmetic = (card.settings.get(key) for key in ("about", "arithmetic"))
    sentence = f"{about} " if about else ""
    sentence += f"Network of {card.parameters:,} parameters; learned from {subjects} subjects"
    sentence += f" ({', '.join(seen)})." if seen else "."
    sentence += cost_sentence(int(arithmetic or 0))
    if tuned:
        sentence = f"Adapted to one subject's prior scan: for that subject only. {sentence}"
    return Choice(
        path.name, card.title or card.name, sentence, "", True, card, tuned, path, main=True
    )


def cost_sentence(arithmetic: int) -> str:
    """What a network costs beside the default one, from multiply-adds for a voxel; "" for that."""
    usual = dict(_shipped_recipes())[DEFAULT_MODEL].arithmetic
    if not arithmetic or arithmetic == usual:
        return ""
    times = arithmetic / usual
    if 0.5 < times < 1.5:
        return " About the arithmetic of the default network."
    return f" {times:.2g} times the arithmetic of the default network."


def _slices() -> list[Choice]:
    return [
        Choice(
            name,
            method.title,
            method.sentence,
            learned=bool(method.module),
            kind=SLICES,
            main=name == DEFAULT_SLICES,
        )
        for name, method in METHODS.items()
    ]


def _fusions() -> list[Choice]:
    return [
        Choice(
            name,
            title,
            sentence,
            learned=method == "implicit",
            kind=FUSION,
            main=name == DEFAULT_FUSION,
        )
        for name, (title, sentence, method) in FUSIONS.items()
    ]


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
                f"{recipe.about} {recipe.source}.{cost_sentence(recipe.arithmetic)}".strip(),
                f"No trained weights are installed: run 'mriforge train {name}', or add a model.",
                True,
            )
        )
    return found
