"""Whose turn it is in a game of two networks: a function of the number of the step alone."""

from __future__ import annotations

from typing import Literal

from mriforge.recipes.adversarial import AdversarialSpec

Side = Literal["judge", "generator"]


def whose_turn(step: int, spec: AdversarialSpec) -> Side:
    """Who takes step number ``step``.

    First the judge alone, ``spec.first`` steps; then rounds of ``critic`` steps of the judge and
    one of the generator; after every ``every`` rounds ``extra`` steps of the judge.
    """
    step -= spec.first
    if step < 0:
        return "judge"
    whole = spec.critic + 1
    if spec.every > 0 and spec.extra > 0:
        step %= spec.every * whole + spec.extra
        if step >= spec.every * whole:
            return "judge"
    return "generator" if step % whole == spec.critic else "judge"


def steps_for(generator_steps: int, spec: AdversarialSpec) -> int:
    """All steps of a training in which the generator takes ``generator_steps``."""
    rounds = generator_steps * (spec.critic + 1)
    breaks = max(0, generator_steps - 1) // spec.every if spec.every > 0 else 0
    return spec.first + rounds + breaks * spec.extra
