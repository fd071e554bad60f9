"""Learning rate as a function of how much of the run, or how many steps, are done."""

from __future__ import annotations

import math

from mriforge.recipes.schema import ScheduleSpec


def rate(progress: float, spec: ScheduleSpec, step: int = 0) -> float:
    """Factor of the base learning rate at ``progress`` in [0, 1] of the run.

    ``progress`` is the larger of the shares of steps and of time that are used up, so a run that
    is limited by time still ends at the final rate. ``staircase`` alone goes by ``step``, the
    number of steps done.
    """
    if spec.name == "staircase":
        return spec.factor ** (step // max(1, spec.every))
    progress = min(1.0, max(0.0, progress))
    if spec.name == "halving":
        return 0.5 ** min(int(progress * spec.pieces), spec.pieces - 1)
    if spec.name == "plateau_linear":
        return 1.0 - (1.0 - spec.final) * max(0.0, 2.0 * progress - 1.0)
    if spec.name == "constant":
        return min(1.0, (progress + 1e-6) / spec.warmup) if spec.warmup > 0 else 1.0
    warmup = spec.warmup if spec.name == "cosine" else max(spec.warmup, 0.3)
    if progress < warmup:
        lowest = 0.0 if spec.name == "cosine" else 0.04
        return lowest + (1.0 - lowest) * max(progress, 1e-3 * warmup) / warmup
    phase = (progress - warmup) / max(1e-9, 1.0 - warmup)
    return spec.final + (1.0 - spec.final) * 0.5 * (1.0 + math.cos(math.pi * phase))
