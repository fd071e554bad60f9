"""Train a model by a RECIPE (a shipped name or a .toml file) on the images of a manifest.

The training ends at the time budget or at the recipe's own end with the best state so far. It
can be stopped at any moment and continued exactly with --resume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mriforge.events import Events
from mriforge.jobs.device import chosen_device
from mriforge.jobs.options import option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``train``."""

    recipe: str = option("text", "recipe name or .toml file", positional="RECIPE")
    data: str = option(
        "input", "manifest of images (.csv or .json), or folder of pairs", metavar="DATA"
    )
    out: str = option("folder", "where checkpoints and the model are put")
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

    load_recipe(options.recipe)


def run(options: Options, events: Events) -> dict[str, Any]:
    """Trains; returns the model's folder and how the run went."""
    from mriforge.training.job import train

    outcome = train(
        options.recipe,
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
