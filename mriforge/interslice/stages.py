"""What methods that learn in two stages share: one budget for both, and where they resume."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from torch import nn

from mriforge.interslice.learned import Limits
from mriforge.recipes import Recipe
from mriforge.recipes.schema import TrainingSpec
from mriforge.training.loop import TrainResult

_SHORTEST_MINUTES = 1e-4
"""A budget that is used up; zero would be no limit."""


def first_budget(recipe: Recipe, limits: Limits) -> TrainingSpec:
    """What the first stage may use."""
    whole, share = limits.training(recipe.training), recipe.stages.first
    return dataclasses.replace(
        whole, steps=math.ceil(whole.steps * share), max_minutes=whole.max_minutes * share
    )


def second_budget(recipe: Recipe, limits: Limits, used_seconds: float) -> TrainingSpec | None:
    """What is left over after the first stage; None when that is no step."""
    whole = limits.training(recipe.training)
    steps, minutes = whole.steps, whole.max_minutes
    if steps:
        steps -= math.ceil(steps * recipe.stages.first)
        if steps <= 0:
            return None
    if minutes > 0:
        minutes = max(_SHORTEST_MINUTES, minutes - used_seconds / 60.0)
    return dataclasses.replace(whole, steps=steps, max_minutes=minutes)


def checkpoint_of(limits: Limits, stage: int) -> Path | None:
    """The file of one of the stages, beside the name that was given."""
    path = limits.checkpoint
    return None if path is None else path.with_name(f"{path.stem}-stage{stage}{path.suffix}")


def figures_of(
    network: nn.Module, first: TrainResult, second: TrainResult | None
) -> dict[str, Any]:
    """What to report of both stages of ``network``, as the row-wise methods do."""
    stages = [first] if second is None else [first, second]
    return {
        "steps": sum(stage.steps for stage in stages),
        "seconds": round(sum(stage.seconds for stage in stages), 1),
        "stopped": stages[-1].stopped,
        "parameters": sum(p.numel() for p in network.parameters()),
        "history": stages[-1].history,
        "stages": [
            {
                **stage.best,
                "steps": stage.steps,
                "seconds": round(stage.seconds, 1),
                "stopped": stage.stopped,
            }
            for stage in stages
        ],
    }
