"""What a method is told and what it gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mriforge.events import Events
from mriforge.interslice.scan import Refiner, Scan
from mriforge.recipes import Recipe
from mriforge.recipes.schema import TrainingSpec


@dataclass(frozen=True)
class Limits:
    """How long to learn and where; without the first two as the recipe says.

    Attributes:
        max_minutes: time budget of everything that is learned.
        steps: exactly this many optimiser steps (reproducible, unlike a time budget).
        device: where to compute.
        start: weights to begin from (a model folder), for methods that can be pre-trained.
        checkpoint, resume: file to save to and, with ``resume``, to continue from.
        published: the published number of patches and epochs, where a recipe has them beside a
            default for a CPU.
    """

    max_minutes: float | None = None
    steps: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    start: Path | None = None
    checkpoint: Path | None = None
    resume: bool = False
    published: bool = False

    def training(self, base: TrainingSpec) -> TrainingSpec:
        """``base`` with these limits."""
        if self.steps is not None:
            return dataclasses.replace(base, steps=self.steps, max_minutes=self.max_minutes or 0.0)
        return dataclasses.replace(base, max_minutes=self.max_minutes or base.max_minutes)


@dataclass(frozen=True)
class Learned:
    """A method that has learned from a scan.

    Attributes:
        refiner: makes stacks of the scan's geometry and contrast fine.
        figures: what to report: steps, seconds, how it ended, losses (JSON types only).
        network: the trained network, where it can be kept.
    """

    refiner: Refiner
    figures: dict[str, Any] = field(default_factory=dict)
    network: nn.Module | None = None


Learn = Callable[[Scan, Recipe, Limits, Events], Learned]
"""``learn(scan, recipe, limits, events)``: learns from ``scan.learning()`` only; the held-out
slices are for the gate."""
