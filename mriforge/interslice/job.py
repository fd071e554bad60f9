"""The job: a stack of thick slices in, a volume of thin ones out, with what is known about it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mriforge.device import choose_device
from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.interslice.gate import held_out_gate, sentence
from mriforge.interslice.learned import Limits
from mriforge.interslice.methods import DEFAULT_METHOD, method_named
from mriforge.interslice.profile import KnownProfile, find_profile
from mriforge.interslice.recognise import HINT, REFUSAL, looks_like_labels
from mriforge.interslice.scan import Refiner, Scan
from mriforge.interslice.trials import SliceSharpener, SliceTrials
from mriforge.interslice.wish import THICK, SlicePlan, anisotropy, plan_slices
from mriforge.metrics.isotropy import displacement, isotropy, stripes
from mriforge.physics.stack import SliceStack
from mriforge.recipes import Recipe, load_recipe
from mriforge.superres.frames import chosen_frames
from mriforge.superres.gate import Gate
from mriforge.superres.intensity import intensity_scale
from mriforge.superres.job import SuperresResult, delivered
from mriforge.volume import Grid, Image, Series, Volume, as_series

_PERCENTILE = 99.5
RESTORED = "cubic_restored"
_COARSE = 1.5
"""Slices this many times farther apart than the pixels look different from what was learned."""
_LEARNING = 0.88
"""Fraction of the progress at which learning ends."""


@dataclass(frozen=True)
class SliceOptions:
    """What to do.

    Attributes:
        method: a name of :data:`mriforge.interslice.methods.METHODS`; default: learned from the
            scan itself.
        recipe: another recipe for the method than its own: a name or a ``.toml`` file.
        start: model folder that the method begins from, where it can.
        axis, scale, spacing, like: see :func:`mriforge.interslice.wish.plan_slices`.
        profile, thickness: what is known of the slice profile, see
            :func:`mriforge.interslice.profile.find_profile`.
        max_minutes, steps: how long to learn; default as the recipe says.
        merge: how the orientations are merged; default as the recipe says.
        consistency: what the slices saw is in the result.
        gate: never follow the method farther than held-out pixels of the scan justify.
        frames: which frames of a series; default all.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        checkpoint, resume: of the learning.
    """

    method: str | None = None
    recipe: str | Path | None = None
    start: Path | None = None
    axis: int | None = None
    scale: float | None = None
    spacing: tuple[float, float, float] | None = None
    like: Grid | None = None
    profile: str = "auto"
    thickness: float | None = None
    max_minutes: float | None = None
    steps: int | None = None
    merge: str | None = None
    consistency: bool = True
    gate: bool = True
    frames: tuple[int, ...] | None = None
    device: str = "auto"
    checkpoint: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class _Learnt:
    """A method ready to be applied: None for cubic interpolation."""

    refiner: Refiner | None
    gate: Gate | None = None
    figures: dict[str, Any] = field(default_factory=dict)


def sharpen_slices(
    image: Image, options: SliceOptions, events: Events | None = None
) -> SuperresResult:
    """Through-plane super-resolution of a stack, or of every frame of a series of stacks.

    Args:
        image: magnitude image; not modified.
        options: see :class:`SliceOptions`.

    Returns:
        float32 voxels on the wanted grid, and figures: target, profile, learning, gate, residual
        against the acquired slices, isotropy before and after, device, seconds.

    Raises:
        BadInput: contradictory options or unusable images, a label map.
        Cancelled: the caller asked to stop.
    """
    events = events or Events()
    started = time.monotonic()
    trials, figures = prepare(image, options, events.part(0.0, _LEARNING))
    grid = trials.operator.high
    array, residuals = _all_frames(trials, events.part(_LEARNING, 1))
    figures["consistency"] = residuals
    figures["check"] = _check(trials.series, array, grid, trials.operator.axis)
    figures["seconds"] = round(time.monotonic() - started, 2)
    if trials.final is not None:
        events.log("The wanted pixels are not the image's: the result is resampled to them.")
    return delivered(image, array, grid, trials, figures)


def prepare(
    image: Image, options: SliceOptions, events: Events | None = None
) -> tuple[SliceTrials, dict[str, Any]]:
    """All that comes before the first frame is made fine, learning included.

    Args:
        image, options: as of :func:`sharpen_slices`.

    Returns:
        what makes frames fine, and figures so far: method, target, profile, warnings, learning,
        gate, device.

    Raises:
        As :func:`sharpen_slices`.
    """
    events = events or Events()
    series = chosen_frames(as_series(image), options.frames)
    if looks_like_labels(series.array[len(series) // 2]):
        raise BadInput(REFUSAL, HINT)
    plan = plan_slices(
        series.grid,
        axis=options.axis,
        scale=options.scale,
        spacing=options.spacing,
        like=options.like,
    )
    name = options.method or DEFAULT_METHOD
    method = method_named(name)
    device = choose_device(options.device)
    known = _profile(series, plan, options, events.part(0.0, 0.05))
    profile = known.cautious
    operator = SliceStack(plan.working, plan.low, plan.axis, profile)
    scan = Scan.of(series, plan, profile, intensity_scale(series.array, _PERCENTILE))
    warnings = _warnings(plan)
    figures: dict[str, Any] = {
        "method": {"name": name, "kind": "slices" if method.module else "interpolation"},
        "target": _describe(plan),
        "profile": {**known.describe(), "sentence": known.sentence()},
        "warnings": warnings,
    }
    for warning in warnings:
        events.log(warning)
    learnt = _learn(scan, options, device, events.part(0.05, 1.0))
    figures |= {**learnt.figures, "device": str(device)}
    sharpener = SliceSharpener(
        learnt.refiner,
        learnt.gate,
        linear=name == "linear",
        restores=options.consistency and (learnt.refiner is not None or name == RESTORED),
    )
    return SliceTrials(sharpener, operator, series, scan, plan.final), figures


def _profile(
    series: Series, plan: SlicePlan, options: SliceOptions, events: Events
) -> KnownProfile:
    middle = series[len(series) // 2]
    return find_profile(
        middle, plan.axis, wish=options.profile, thickness_mm=options.thickness, events=events
    )


def _warnings(plan: SlicePlan) -> list[str]:
    found = []
    ratio = anisotropy(plan.low)
    if ratio <= THICK:
        found.append(
            f"The slices are only {ratio:.2g} times as far apart as the pixels: there is little "
            "to gain."
        )
    axis, fine = plan.axis, plan.working.spacing
    pixel = min(fine[a] for a in range(3) if a != axis)
    if fine[axis] > _COARSE * pixel:
        found.append(
            f"Slices {fine[axis]:.3g} mm apart are asked for, the pixels are {pixel:.3g} mm: what "
            "is learned from the pixels is finer than what is asked for. Without a spacing the "
            "slices become as fine as the pixels; that can be averaged afterwards."
        )
    if plan.factor > 8:
        found.append(
            f"The slices become {plan.factor:.2g} times as many: what is between them is mostly "
            "guessed."
        )
    return found


def _describe(plan: SlicePlan) -> dict[str, Any]:
    return {
        "matrix": list(plan.grid.stored_shape),
        "spacing_mm": [round(s, 6) for s in plan.grid.spacing],
        "slice_axis": plan.axis,
        "factor": plan.factor,
        "acquisition": "thick slices",
    }


def _learn(scan: Scan, options: SliceOptions, device: torch.device, events: Events) -> _Learnt:
    method = method_named(options.method)
    if not method.module:
        return _Learnt(None)
    recipe = _recipe(options, method.recipe)
    limits = Limits(
        options.max_minutes, options.steps, device, options.start, options.checkpoint,
        options.resume,
    )  # fmt: skip
    learned = method.learn()(scan, recipe, limits, events)
    figures: dict[str, Any] = {"learning": {"recipe": recipe.name, **learned.figures}}
    events.progress(1.0, "testing on held-out pixels")
    gate = held_out_gate(scan, learned.refiner)
    figures["gate"] = {
        "step": gate.step,
        "held_out_gain_db": gate.gain_db,
        "full_gain_db": gate.full_gain_db,
        "used": options.gate,
        "sentence": sentence(gate),
    }
    events.log(sentence(gate))
    return _Learnt(learned.refiner, gate if options.gate else None, figures)


def _recipe(options: SliceOptions, name: str) -> Recipe:
    recipe = load_recipe(options.recipe or name)
    if recipe.task != "interslice":
        raise BadInput(
            f"The recipe '{recipe.name}' is not for thick slices.", "Choose another recipe."
        )
    if options.merge:
        recipe = replace(recipe, slices=replace(recipe.slices, merge=options.merge))
    return recipe


def _all_frames(trials: SliceTrials, events: Events) -> tuple[np.ndarray, dict[str, Any]]:
    """Every frame on the working grid, and the mean residuals against the acquired slices."""
    scan, sharpener = trials.scan, trials.sharpener
    count = len(scan.frames)
    result = np.empty((count, *trials.operator.high.shape), dtype=np.float32)
    before, after = [], []
    for number, frame in enumerate(scan.frames):
        events.check_cancelled()
        events.progress(number / count, f"frame {number + 1} of {count}")
        fine = sharpener.propose(frame, scan.rows, (True, True))
        fine = torch.from_numpy(scan.volume(fine)) / scan.scale
        acquired = torch.from_numpy(scan.volume(frame)) / scan.scale
        fine, first, last = sharpener.finish(fine, trials.operator, acquired)
        before.append(first)
        after.append(last)
        result[number] = (fine * scan.scale).numpy()
    events.progress(1.0)
    return result, {
        "restored": sharpener.restores,
        "residual_before": float(np.mean(before)),
        "residual_after": float(np.mean(after)),
    }


def _check(series: Series, array: np.ndarray, grid: Grid, axis: int) -> dict[str, Any]:
    """What the result looks like from outside: detail across the slices, stripes, shifts."""
    frame = len(series) // 2
    sharp, low = Volume(array[frame], grid), series[frame]
    factor = low.grid.spacing[axis] / grid.spacing[axis]
    return {
        "isotropy": isotropy(sharp, axis, factor),
        "stripes": stripes(sharp, axis, factor),
        "displacement_voxels": displacement(low, sharp, axis),
    }
