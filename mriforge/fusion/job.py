"""The job: two or three stacks of thick slices in, one isotropic volume out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mriforge import __version__
from mriforge.device import choose_device
from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.fusion.checks import check_stacks, doubts
from mriforge.fusion.edges import EdgePrior, guide_of
from mriforge.fusion.geometry import angle_and_shift, padded, target_grid
from mriforge.fusion.intensity import matched
from mriforge.fusion.registration import Wish, placed, refined, register_stacks
from mriforge.fusion.solve import coverage, solve
from mriforge.fusion.stack import Stack
from mriforge.physics.interpolation import resample
from mriforge.physics.moved_stack import MovedStack
from mriforge.volume import Grid, Volume

METHODS = ("variational", "implicit")
EXTENTS = ("first", "union", "intersection")

_PERCENTILE = 99.5
_PRIOR_PER_NOISE = 0.12
"""Weight of the prior for a noise of 1, see Docs/fusion.md. [M]"""
_DELTA_PER_NOISE = 3.0
"""Gradients below this many standard deviations of the noise are smoothed quadratically. [M]"""
_LEAST_NOISE = 0.003
_GUIDE_ETA = 0.02
_SEEN = 0.02
_POOR_SIMILARITY = 0.6
"""Correlation of two blurred stacks below which they may not show the same. [M]"""


@dataclass(frozen=True)
class FuseOptions:
    """What to do.

    Attributes:
        spacing: voxel size of the result in mm; default the finest pixel of the stacks.
        like: grid of the result, instead.
        extent: ``first``, ``union`` or ``intersection`` of the stacks' boxes.
        target: number of the stack (from 0) whose contrast is wanted: it alone gives the data, the
            others, of other contrasts, only say where edges are. None: one contrast, all give data.
        method: ``variational`` (edge-preserving least squares) or ``implicit`` (a network that
            maps coordinates to intensity, fitted to the same data).
        thickness: mm, of the slices; default their spacing.
        profile: ``gaussian``, ``box`` or a file.
        register: align the stacks; otherwise the positions in their headers count.
        rounds: how often to reconstruct and align in turn after the first alignment.
        slice_motion: align every slice by itself as well.
        intensity: bring the stacks to one intensity.
        weight: factor on the automatic weight of the prior.
        iterations, tolerance: of the variational method, see :func:`mriforge.fusion.solve.solve`.
        max_minutes: time budget of the implicit method.
        device: for the implicit method.
        seed: of the implicit method.
    """

    spacing: float | None = None
    like: Grid | None = None
    extent: str = "first"
    target: int | None = None
    method: str = "variational"
    thickness: float | None = None
    profile: str = "gaussian"
    register: bool = True
    rounds: int = 3
    slice_motion: bool = False
    intensity: bool = True
    weight: float = 1.0
    iterations: int = 80
    tolerance: float = 1e-3
    max_minutes: float = 5.0
    device: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class FuseResult:
    """What came out.

    Attributes:
        image: float32 on the target grid, in the intensities of the first (or the target) stack;
            0 where no stack saw anything.
        residuals: for each stack that gave data ``|A x - y|`` on its own grid, same intensities.
        transforms: for each stack ``(slices, 4, 4)``, LPS points from where the header puts them
            to where they are in the result.
        figures: everything that was measured on the way (JSON types only).
    """

    image: Volume
    residuals: list[Volume]
    transforms: list[np.ndarray]
    figures: dict[str, Any] = field(default_factory=dict)


def fuse(
    volumes: Sequence[Volume], options: FuseOptions | None = None, events: Events | None = None
) -> FuseResult:
    """One isotropic volume from two or three stacks of thick slices of one subject.

    Args:
        volumes: magnitude images with slices thicker than their pixels, in any orientation; not
            modified. The first one is where the result lies.

    Raises:
        BadInput: unusable stacks or contradictory options.
        Cancelled: the caller asked to stop.
    """
    options, events = options or FuseOptions(), events or Events()
    started = time.monotonic()
    warnings = check_stacks(volumes)
    _check(options, len(volumes))
    lead = 0 if options.target is None else options.target
    target = options.like or target_grid([v.grid for v in volumes], options.spacing, options.extent)
    scales = [_scale(v) for v in volumes]
    if options.target is None:
        scales = [scales[0]] * len(volumes)
    stacks = [
        Stack.of(v, s, options.thickness, options.profile)
        for v, s in zip(volumes, scales, strict=True)
    ]
    for warning in warnings:
        events.log(warning)
    stacks, figures = _aligned(stacks, target, options, events.part(0.0, 0.4))
    data = stacks if options.target is None else [stacks[options.target]]
    margin = int(np.ceil(max(max(s.grid.spacing) for s in stacks) / min(target.spacing)))
    work = padded(target, min(margin, 8))
    events.progress(0.4, "preparing the slices")
    operators = [stack.operator(work) for stack in data]
    image, how = _reconstructed(stacks, data, operators, work, options, events.part(0.45, 0.97))
    figures |= how
    events.progress(0.97, "residuals")
    seen = coverage(operators, [1.0] * len(data)) > _SEEN / max(
        s.grid.spacing[s.axis] for s in data
    )
    image = torch.where(seen, image, 0.0)
    residuals, agreement = _residuals(operators, data, image, scales[lead])
    inner = tuple(
        slice((b - a) // 2, (b - a) // 2 + a) for a, b in zip(target.shape, work.shape, strict=True)
    )
    known = figures["stacks"] if options.target is None else [figures["stacks"][lead]]
    for entry, found in zip(known, agreement, strict=True):
        entry |= found
    figures["unseen_voxels"] = int((~seen[inner]).sum())
    figures["target"] = {
        "matrix": list(target.stored_shape),
        "spacing_mm": [round(s, 6) for s in target.spacing],
    }
    warnings += doubts(figures, _POOR_SIMILARITY)
    figures = {"method": options.method, **figures, "warnings": warnings}
    figures["seconds"] = round(time.monotonic() - started, 1)
    array = (image[inner] * scales[lead]).numpy().astype(np.float32)
    metadata = {**volumes[lead].metadata, "provenance": _provenance(figures)}
    events.progress(1.0)
    return FuseResult(
        Volume(array, target, metadata), residuals, [s.transforms for s in stacks], figures
    )


def _check(options: FuseOptions, count: int) -> None:
    if options.method not in METHODS:
        raise BadInput(f"The method is {' or '.join(METHODS)}, not '{options.method}'.")
    if options.extent not in EXTENTS:
        raise BadInput(f"The extent is {', '.join(EXTENTS)}, not '{options.extent}'.")
    if options.target is not None and not 0 <= options.target < count:
        raise BadInput(
            f"There is no stack {options.target + 1} to be the target; there are {count}.",
            "Stacks are counted from 1 in the order they are given.",
        )
    if options.target is not None and options.method == "implicit":
        raise BadInput(
            "The implicit method does not take edges from other contrasts.",
            "Leave out the target, or use the variational method.",
        )
    if options.slice_motion and (options.target is not None or not options.register):
        raise BadInput(
            "Motion of single slices is found against the other stacks of the same contrast.",
            "Leave it out with a target contrast or without registration.",
        )


def _scale(volume: Volume) -> float:
    scale = float(np.percentile(np.abs(volume.array.astype(np.float32)), _PERCENTILE))
    if not np.isfinite(scale) or scale <= 0:
        raise BadInput("A stack holds no signal: nearly every voxel is zero.")
    return scale


def _aligned(
    stacks: list[Stack], target: Grid, options: FuseOptions, events: Events
) -> tuple[list[Stack], dict[str, Any]]:
    """Stacks in one world and one intensity, and what was found."""
    same = options.target is None
    if options.register:
        # Correlation does not mind gains, the volume made of several stacks does.
        stacks = register_stacks(stacks, target, Wish(same, rounds=0), events.part(0.0, 0.4))
    unmatched = stacks
    if same and options.intensity:
        stacks = [stacks[0], *(matched(stack, stacks[0])[0] for stack in stacks[1:])]
    if options.register and same:
        turns = options.rounds + (2 if options.slice_motion else 0)
        for turn in range(turns):
            each_slice = options.slice_motion and turn >= options.rounds
            part = events.part(0.4 + 0.6 * turn / turns, 0.4 + 0.6 * (turn + 1) / turns)
            stacks = refined(stacks, target, each_slice, part)
    gains: list[dict[str, float]] = [{} for _ in stacks]
    if same:
        # Once more from the start: half a voxel of misplacement looks like shading.
        placed_well = [
            replace(u, transforms=s.transforms) for u, s in zip(unmatched, stacks, strict=True)
        ]
        pairs = [matched(stack, placed_well[0]) for stack in placed_well[1:]]
        gains = [{}, *(found for _, found in pairs)]
        if options.intensity:
            stacks = [placed_well[0], *(stack for stack, _ in pairs)]
    return stacks, {"stacks": _described(stacks, gains, options)}


def _described(
    stacks: list[Stack], gains: list[dict[str, float]], options: FuseOptions
) -> list[dict[str, float]]:
    """Motion, intensity and noise of every stack, for the report."""
    figures = []
    for number, stack in enumerate(stacks):
        angle, shift = angle_and_shift(stack.transform, stack.centre)
        entry = {
            "rotation_deg": round(angle, 3),
            "shift_mm": round(shift, 3),
            "noise": round(stack.noise, 5),
        }
        if gains[number]:
            entry["similarity"] = round(gains[number]["similarity"], 4)
            if options.intensity:
                entry["intensity_gain"] = round(gains[number]["gain"], 4)
                entry["intensity_variation"] = round(gains[number]["variation"], 4)
        if options.slice_motion:
            own = [
                angle_and_shift(t, stack.centre)
                for t in np.linalg.inv(stack.transform) @ stack.transforms
            ]
            entry["slice_rotation_deg"] = round(float(np.mean([a for a, _ in own])), 3)
            entry["slice_shift_mm"] = round(float(np.mean([s for _, s in own])), 3)
        figures.append(entry)
    return figures


def _reconstructed(
    stacks: list[Stack],
    data: list[Stack],
    operators: list[MovedStack],
    work: Grid,
    options: FuseOptions,
    events: Events,
) -> tuple[Tensor, dict[str, Any]]:
    """The image on the working grid, and how it came about."""
    noise = [max(stack.noise, _LEAST_NOISE) for stack in data]
    least = min(noise)
    weights = [(least / n) ** 2 for n in noise]
    prior = EdgePrior(
        _PRIOR_PER_NOISE * options.weight * least,
        _DELTA_PER_NOISE * least,
        None if options.target is None else _guide(stacks, options.target, work),
    )
    values = [stack.data for stack in data]
    if options.method == "implicit":
        from mriforge.fusion.implicit import fit

        fitted = fit(
            data,
            weights,
            work,
            prior,
            max_minutes=options.max_minutes,
            device=choose_device(options.device),
            seed=options.seed,
            events=events,
        )
        return fitted.image, {"implicit": fitted.figures}
    solution = solve(
        operators,
        values,
        weights,
        prior,
        iterations=options.iterations,
        tolerance=options.tolerance,
        events=events,
    )
    return solution.image, {
        "prior_weight": prior.weight,
        "prior_delta": prior.delta,
        "iterations": solution.iterations,
        "relative_change": solution.change,
        "converged": solution.converged,
    }


def _guide(stacks: list[Stack], target: int, work: Grid) -> Tensor:
    """Edges of the other contrasts; where several have one, the strongest."""
    fields = []
    for number, stack in enumerate(stacks):
        if number != target:
            image = resample(placed(stack), work, order=3, outside="nearest").array
            fields.append(guide_of(torch.from_numpy(np.ascontiguousarray(image)), _GUIDE_ETA))
    strongest = torch.stack([f.square().sum(dim=0) for f in fields]).argmax(dim=0)
    return sum(torch.where(strongest == n, f, 0.0) for n, f in enumerate(fields))


def _residuals(
    operators: list[MovedStack], data: list[Stack], image: Tensor, scale: float
) -> tuple[list[Volume], list[dict[str, float]]]:
    maps, figures = [], []
    for op, stack in zip(operators, data, strict=True):
        predicted = op.A(image)
        inside = op.seen
        gap = torch.where(inside, (predicted - stack.data).abs(), 0.0)
        bright = inside & stack.foreground
        norm = float(stack.data[inside].norm())
        both = torch.stack([predicted[bright], stack.data[bright]])
        correlation = float(torch.corrcoef(both)[0, 1]) if both.shape[1] > 2 else 0.0
        maps.append(Volume((gap * scale).numpy(), stack.grid))
        figures.append(
            {
                "relative_residual": round(float(gap.norm()) / max(norm, 1e-30), 5),
                "correlation": round(correlation, 4),
                "seen": round(float(inside.float().mean()), 4),
            }
        )
    return maps, figures


def _provenance(figures: dict[str, Any]) -> dict[str, Any]:
    known = {k: v for k, v in figures.items() if k != "seconds"}
    return {
        "software": f"MRIForge {__version__}",
        "use": "research use only",
        "job": "fuse",
        **known,
    }
