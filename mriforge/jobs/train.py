"""Train a model by a RECIPE (a shipped name or a .toml file) on the images of a manifest.

The training ends at the time budget or at the recipe's own end with the best state so far. It
can be stopped at any moment and continued exactly with --resume.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.jobs.device import chosen_device
from mriforge.jobs.options import option

if TYPE_CHECKING:
    from mriforge.recipes import Recipe


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``train``."""

    recipe: str = option("text", "recipe name or .toml file", positional="RECIPE")
    data: str = option(
        "input", "manifest of images (.csv or .json), or folder of pairs", metavar="DATA"
    )
    out: str = option("folder", "where checkpoints and the model are put")
    kernel: str | None = option(
        "input", "a scanner's kernel, for recipes that learn from one", default=None
    )
    fold: str | None = option(
        "text", "hold out group K of N groups of subjects", default=None, metavar="K/N"
    )
    max_minutes: float | None = option(
        "number", "time budget", default=None, above=0, metavar="MIN"
    )
    start: str | None = option(
        "text", "trained model to begin from", default=None, metavar="NAME|DIR"
    )
    resume: bool = option("flag", "go on from the checkpoint in --out", default=False)
    device: str = option("device", "auto, cpu, cuda, cuda:N or mps", default="auto")


def check(options: Options) -> None:
    """A recipe or manifest that cannot be used is refused before torch is imported."""
    from mriforge.recipes import load_recipe

    recipe = load_recipe(options.recipe)
    if recipe.task == "kernel":
        raise BadInput(
            f"The recipe '{options.recipe}' learns a kernel.",
            "Use 'mriforge kernel LOW HIGH OUT.json'.",
        )
    wants = recipe.degradation.operator == "kernel"
    if options.kernel is not None and not wants:
        raise BadInput(
            f"The recipe '{options.recipe}' does not make its images by a kernel.",
            "Leave out --kernel, or choose another recipe.",
        )
    if options.kernel is None and wants and not recipe.degradation.kernel:
        raise BadInput(
            f"The recipe '{options.recipe}' makes its images by a scanner's kernel.",
            "Learn one with 'mriforge kernel' and give it with --kernel FILE.",
        )
    _fold(options.fold)


def _fold(text: str | None) -> tuple[int, int] | None:
    """``K/N`` as two numbers."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]) or int(match[2]) < 2:
        raise BadInput(f"--fold is K/N, for example 2/5, not '{text}'.")
    return int(match[1]), int(match[2])


def _recipe(options: Options) -> Recipe:
    """The recipe with what the options add."""
    from mriforge.recipes import load_recipe

    recipe = load_recipe(options.recipe)
    if options.kernel is not None:
        from mriforge.physics.downsampling import read_kernel

        tree = json.loads(read_kernel(options.kernel).to_json())
        degradation = dataclasses.replace(recipe.degradation, kernel=tree)
        recipe = dataclasses.replace(recipe, degradation=degradation)
    fold = _fold(options.fold)
    if fold is not None:
        validation = dataclasses.replace(recipe.validation, fold=fold[0], folds=fold[1])
        recipe = dataclasses.replace(recipe, validation=validation)
    return recipe


def run(options: Options, events: Events) -> dict[str, Any]:
    """Trains; returns the model's folder and how the run went."""
    from mriforge.training.job import train

    outcome = train(
        _recipe(options),
        options.data,
        options.out,
        max_minutes=options.max_minutes,
        resume=options.resume,
        start=options.start,
        device=chosen_device(options.device),
        events=events,
    )
    result = outcome.result
    return {
        "output": outcome.model.path,
        "steps": result.steps,
        "seconds": result.seconds,
        "stopped": result.stopped,
        "figures": result.best,
    }
