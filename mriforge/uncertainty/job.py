"""Maps of what is known about a result: not measured, spread of answers, calibrated intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mriforge.events import Events
from mriforge.superres.frames import resampled, with_provenance
from mriforge.superres.problem import Problem, Trials
from mriforge.uncertainty.conformal import CLASSES, Calibration, Coverage, Sample, calibrate
from mriforge.uncertainty.ensemble import spread
from mriforge.uncertainty.nullspace import share_of, unmeasured
from mriforge.uncertainty.voxels import air, difficulty, draw, ratios
from mriforge.volume import Series, Volume, some_of

MEMBERS = 4
CONFIDENCE = 0.9
SHRINKING = 0.28
"""Errors of an image that was made coarser once more are larger beside its detail than those of the
image itself, by this power of the factor in voxel size: measured on eleven scans at the factors 2
and 4 (Docs/uncertainty.md), 0.25 to 0.29 whichever scan is left out."""
_FRAMES = 3
"""Frames of a series that are calibrated on."""

SOURCES = {
    "sharp": "sharp scans of other subjects, made coarse",
    "prior": "the subject's prior scan, made coarse",
    "own": "the scan itself, made coarser once more",
    "pixels": "the scan's own pixels, made thick",
}


@dataclass(frozen=True)
class Wanted:
    """Which maps, and how.

    Attributes:
        interval, spread, unmeasured: which maps are wanted.
        confidence: share of voxels that the intervals are to hold, 0 to 1.
        members: turns that every method is asked for, see :func:`mriforge.uncertainty.ensemble`.
        calibrate_on: sharp scans of anybody; without them the prior, without that the scan itself.
    """

    interval: bool = True
    spread: bool = False
    unmeasured: bool = False
    confidence: float = CONFIDENCE
    members: int = MEMBERS
    calibrate_on: tuple[Volume, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Maps on the grid of the result, in its units, and figures (JSON types only).

    Attributes:
        maps: ``half_width``, ``spread`` and ``unmeasured``, those that were wanted; float32.
    """

    maps: dict[str, Series]
    figures: dict[str, Any] = field(default_factory=dict)


def measure(
    trials: Trials, working: Series, wanted: Wanted, events: Events | None = None
) -> Measured:
    """Maps and figures of a result.

    Args:
        trials: how the result was made.
        working: the result, before it was resampled to any other grid.

    Raises:
        BadInput: too little of the subject is known to calibrate intervals.
        Cancelled: the caller asked to stop.
    """
    events = events or Events()
    figures: dict[str, Any] = {}
    calibration = None
    if wanted.interval:
        calibration, found = _calibrated(trials, wanted, events.part(0.0, 0.45))
        figures["interval"] = found
        events.log(found["sentence"])
    part = events.part(0.45, 1.0)
    arrays = _maps(trials, working, wanted, calibration, figures, part)
    maps = {}
    for name, array in arrays.items():
        made = with_provenance(array, working.grid, working, "superres", {"map": name, **figures})
        maps[name] = made if trials.final is None else resampled(made, trials.final)
    return Measured(maps, figures)


def _maps(
    trials: Trials,
    working: Series,
    wanted: Wanted,
    calibration: Calibration | None,
    figures: dict[str, Any],
    events: Events,
) -> dict[str, np.ndarray]:
    """The wanted maps of every frame, ``(t, z, y, x)`` in stored units."""
    asked = {
        "half_width": wanted.interval,
        "spread": wanted.spread,
        "unmeasured": wanted.unmeasured,
    }
    names = [name for name, ask in asked.items() if ask]
    maps = {name: np.empty(working.array.shape, np.float32) for name in names}
    spreads, shares, count = [], [], 0
    for frame in range(len(working)):
        events.check_cancelled()
        part = events.part(frame / len(working), (frame + 1) / len(working))
        problem = trials.problem(frame)
        answer = torch.from_numpy(working.array[frame]) / trials.scale
        if wanted.unmeasured:
            hidden = unmeasured(problem.operator, answer)
            maps["unmeasured"][frame] = (hidden.abs() * trials.scale).numpy()
            shares.append(share_of(hidden, answer))
        if not (wanted.interval or wanted.spread):
            continue
        _, deviation, count = spread(
            problem,
            wanted.members,
            first=answer,
            cancel=part.check_cancelled,
            progress=lambda done, part=part: part.progress(done, "spread of answers"),
        )
        spreads.append(float(deviation.mean()))
        if wanted.spread:
            maps["spread"][frame] = (deviation * trials.scale).numpy()
        if calibration is not None:
            half = calibration.half_width(
                difficulty(problem, answer, deviation), air(problem, answer)
            )
            maps["half_width"][frame] = half * np.float32(trials.scale)
    if shares:
        figures["unmeasured"] = {"share": float(np.mean(shares))}
    if spreads:
        figures["spread"] = {"answers": count, "mean": float(np.mean(spreads))}
    return maps


def _calibrated(
    trials: Trials, wanted: Wanted, events: Events
) -> tuple[Calibration, dict[str, Any]]:
    """The calibration, and what to report of it: measured on patches that it did not see."""
    source, problems = _source(trials, wanted)
    learned, held = [], []
    for number, problem in enumerate(problems):
        events.check_cancelled()
        events.progress(min(0.9, 0.2 * number), f"calibrating on {SOURCES[source]}")
        first, second = known_voxels(problem, wanted.members, seed=number, events=events)
        learned.append(first)
        held.append(second)
    # Difficulties of coarser voxels are larger: their classes are not those of the result.
    classes = 1 if source == "own" else CLASSES
    calibration = calibrate(Sample.joined(learned), wanted.confidence, classes)
    coverage = calibration.coverage(Sample.joined(held))
    correction = 1.0
    if source == "own":
        coarse = [r for r in ratios(trials.problem(0)) if r > 1.01]
        correction = float(np.prod(coarse) ** (-SHRINKING / max(1, len(coarse))))
    calibration = calibration.scaled(correction)
    figures = {
        "confidence": wanted.confidence,
        "source": source,
        "calibrated_on": SOURCES[source],
        "calibration": calibration.to_json(),
        "scale_correction": correction,
        "measured_coverage": coverage.to_json(),
        "sentence": sentence(calibration, coverage, source),
    }
    return calibration, figures


def known_voxels(
    problem: Problem, members: int, *, seed: int = 0, events: Events | None = None
) -> tuple[Sample, Sample]:
    """Sharpens an image whose truth is known; voxels to calibrate on, and voxels to check with."""
    events = events or Events()
    answer, deviation, _ = spread(problem, members, cancel=events.check_cancelled)
    expected = difficulty(problem, answer, deviation)
    return draw(problem, answer, expected, air(problem, answer), seed)


def _source(trials: Trials, wanted: Wanted) -> tuple[str, Iterator[Problem]]:
    """What to calibrate on: the nearest to the truth that there is."""
    if wanted.calibrate_on:
        return "sharp", (p for volume in wanted.calibrate_on for p in trials.sharp(volume))
    first = next(trials.prior(), None)
    if first is not None:
        return "prior", iter([first])
    problems = (p for frame in some_of(trials.frames, _FRAMES) for p in trials.own(frame))
    return ("pixels" if trials.same_scale else "own"), problems


def sentence(calibration: Calibration, coverage: Coverage, source: str) -> str:
    """What was calibrated and what was measured, for the log and the report."""
    text = (
        f"Intervals of {100 * calibration.confidence:g} %, calibrated on {SOURCES[source]} "
        f"({calibration.patches} patches)"
    )
    if coverage.patches >= 2:
        text += (
            f": on {coverage.patches} other patches they held {100 * coverage.share:.1f} % "
            f"(± {196 * coverage.error:.1f}) of the voxels of tissue"
        )
    if source == "own":
        text += "; made narrower by what is known of smaller voxels"
    return text + "."
