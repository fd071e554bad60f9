"""The job: a low-resolution volume or series in, a sharper one out, with what is known about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mriforge.device import choose_device
from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.metrics.noise import appearance
from mriforge.physics.kspace import KspaceCrop
from mriforge.superres.enlarge import Enlarger, check_doubling
from mriforge.superres.finetune import Apply, Tuned, TuneSettings, degrade_prior, tune
from mriforge.superres.frames import chosen_frames, resampled, with_provenance
from mriforge.superres.inference import Predictor
from mriforge.superres.intensity import intensity_scale
from mriforge.superres.method import Method, finetuning_recipe, load_method, save_tuned
from mriforge.superres.prior import match_prior
from mriforge.superres.problem import Trials
from mriforge.superres.scope import doubtful_range, outside_scope, unlike_training
from mriforge.superres.sharpener import Sharpener
from mriforge.superres.strided import predict_strided
from mriforge.superres.target import plan_acquisition
from mriforge.superres.trials import InPlaneTrials
from mriforge.superres.wish import Target
from mriforge.volume import Grid, Image, Series, Volume, as_series, like_input


@dataclass(frozen=True)
class SuperresOptions:
    """What to do.

    Attributes:
        model: name or folder of a trained model, or the name of a baseline interpolation
            (``mriforge.physics.interpolation.BASELINES``). Default: the shipped model.
        prior: sharp scan of the same subject; any grid.
        finetune: adapt the model to ``prior`` first.
        max_minutes: time budget of the fine-tuning; default: the recipe's.
        epochs: fine-tune for whole epochs over all patches, as published, instead.
        steps: fine-tune for exactly so many steps instead (reproducible).
        scale, spacing, like: the target, see :func:`mriforge.superres.target.plan_acquisition`.
        axes: stored axes that ``scale`` and ``prior`` apply to.
        consistency: restore the acquired data exactly.
        gate: never go beyond what held-out parts of the prior justify (needs ``prior``).
        register: align the prior rigidly to the first frame first.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        memory_limit_gib: upper bound of the network's working memory; default: from what is free.
        tile: tile size ``(z, y, x)``; default: as large as the memory allows.
        margin: voxels read around tiles; default: as far as the network sees.
        stride: average 24^3 patches at this stride instead of tiling, as published.
        frames: which frames of a series; default all.
        ensemble_models: further models whose answers are compared with the result.
        save_model: folder for the tuned model.
        checkpoint, resume: of the fine-tuning.
    """

    model: str | Path | None = None
    prior: Volume | None = None
    finetune: bool = False
    max_minutes: float | None = None
    epochs: int | None = None
    steps: int | None = None
    scale: float | None = None
    spacing: tuple[float, float, float] | None = None
    like: Grid | None = None
    axes: tuple[int, ...] = (0, 1)
    consistency: bool = True
    gate: bool = True
    register: bool = False
    device: str = "auto"
    memory_limit_gib: float | None = None
    tile: tuple[int, int, int] | None = None
    margin: int | None = None
    stride: int | None = None
    frames: tuple[int, ...] | None = None
    ensemble_models: tuple[str | Path, ...] = ()
    save_model: Path | None = None
    checkpoint: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class SuperresResult:
    """The image, and everything that was measured on the way (JSON types only).

    Attributes:
        trials: how to do the same to other images; None for what sharpens nothing.
        working: the result before it was resampled to a grid that the acquisition does not know.
    """

    image: Image
    figures: dict[str, Any] = field(default_factory=dict)
    trials: Trials | None = None
    working: Series | None = None


def superres(
    image: Image, options: SuperresOptions, events: Events | None = None
) -> SuperresResult:
    """Super-resolution of a volume or a time series.

    Args:
        image: magnitude image, whose grid says where its voxels really are; not modified.
        options: see :class:`SuperresOptions`.

    Returns:
        float32 voxels on the target grid, and figures: target, residual against the acquired data
        before and after restoring it, gate, fine-tuning, device, seconds.

    Raises:
        BadInput: contradictory options or unusable images.
        MissingModel: the model is not there or damaged.
        OutOfMemory: not even the smallest tile fits.
        Cancelled: the caller asked to stop.
    """
    events = events or Events()
    started = time.monotonic()
    share = 0.8 if options.finetune else 0.0
    trials, figures = prepare(image, options, events.part(0.0, share))
    array, residuals = _all_frames(trials, events.part(share, 1.0))
    restored = trials.sharpener.restores and trials.acquired is not None
    figures["consistency"] = {"restored": restored, **residuals}
    figures["seconds"] = round(time.monotonic() - started, 2)
    if trials.final is not None:
        events.log("The wanted grid is not aligned with the image: the result is resampled to it.")
    return delivered(image, array, trials.target.high, trials, figures)


def delivered(
    image: Image, array: np.ndarray, grid: Grid, trials: Trials, figures: dict[str, Any]
) -> SuperresResult:
    """The result of a job in plane or across slices, on the wanted grid, with its provenance.

    Args:
        image: the input.
        array: ``(t, z, y, x)`` on ``grid``, the one that the acquisition knows.
    """
    working = sharp = with_provenance(array, grid, trials.series, "superres", figures)
    if trials.final is not None:
        sharp = resampled(working, trials.final)
    single = isinstance(image, Volume)
    return SuperresResult(like_input(sharp, image) if single else sharp, figures, trials, working)


def prepare(
    image: Image, options: SuperresOptions, events: Events | None = None
) -> tuple[InPlaneTrials, dict[str, Any]]:
    """All that comes before the first frame is sharpened, fine-tuning included.

    Args:
        image, options: as of :func:`superres`.

    Returns:
        what sharpens frames, and figures so far: method, target, warnings, gate, fine-tuning,
        device.

    Raises:
        As :func:`superres`.
    """
    events = events or Events()
    series = chosen_frames(as_series(image), options.frames)
    operator, final = plan_acquisition(
        series.grid,
        scale=options.scale,
        spacing=options.spacing,
        like=options.like,
        prior=options.prior.grid if options.prior else None,
        axes=options.axes,
    )
    method = load_method(options.model, options.gate)
    others = [_other(name, method) for name in options.ensemble_models]
    if method.enlarges:
        check_doubling(method.name, operator)
    figures: dict[str, Any] = {"method": method.describe(), "target": _describe_target(operator)}
    figures["warnings"] = _warnings(method, series, operator, final)
    device = choose_device(options.device)
    run = _runner(options, method, device, events)
    prior = options.prior
    if options.finetune:
        method, tuned, prior = _finetuned(method, series, operator, options, run, device, events)
        figures["finetune"] = tuned.figures
        if options.save_model is not None:
            figures["model"] = str(save_tuned(options.save_model, tuned, method.network()[1]).path)
    # Not earlier: an input that is refused gets one line that says why, and no advice before it.
    for warning in figures["warnings"]:
        events.log(f"Outside what the model was made for: {warning}")
    if method.gate is not None:
        figures["gate"] = {"step": method.gate.step, "held_out_gain_db": method.gate.gain_db}
    figures["device"] = str(device)
    sharpener, *rest = (_sharpener(one, options, run) for one in (method, *others))
    trials = InPlaneTrials(
        sharpener,
        tuple(rest),
        operator,
        sharpener.acquisition(operator),
        series,
        intensity_scale(series.array, method.percentile),
        final,
        prior,
        tuned=options.finetune,
    )
    return trials, figures


def _other(name: str | Path, method: Method) -> Method:
    """A further model for the ensemble, which has to take the same images.

    Raises:
        BadInput: one of the two doubles rows and columns itself, the other does not.
    """
    other = load_method(name)
    if other.enlarges != method.enlarges:
        raise BadInput(
            f"The models '{method.name}' and '{name}' do not take the same images: their answers "
            "cannot be compared.",
            "Leave it out of the ensemble.",
        )
    return other


def _sharpener(method: Method, options: SuperresOptions, run: Apply) -> Sharpener:
    return Sharpener(
        method, None if method.model is None else run(method.model), options.consistency
    )


def _describe_target(operator: KspaceCrop) -> dict[str, Any]:
    low, high = operator.low, operator.high
    return {
        "matrix": list(high.stored_shape),
        "spacing_mm": [round(s, 6) for s in high.spacing],
        "factor": [a / b for a, b in zip(high.stored_shape, low.stored_shape, strict=True)],
        "kspace_fraction": float(np.prod(low.shape) / np.prod(high.shape)),
        "acquisition": "centre of k-space",
    }


def _warnings(
    method: Method, series: Series, operator: KspaceCrop, final: Grid | None
) -> list[str]:
    if method.card is None:
        return []
    target = Target(operator.high.stored_shape, operator.high, final)
    modality = series.metadata.get("modality")
    low, high = float(series.array[0].min()), float(series.array[0].max())
    found = outside_scope(method.card, series.grid, target)
    found += unlike_training(method.card, appearance(series.array[len(series) // 2]))
    return found + doubtful_range(low, high, modality if isinstance(modality, str) else None)


def _runner(
    options: SuperresOptions, method: Method, device: torch.device, events: Events
) -> Apply:
    """Makes a network applicable as the options say: tiled, or by averaging patches at a stride."""
    if method.enlarges:
        return lambda model: Enlarger(model, device, cancel=events.check_cancelled, log=events.log)
    if options.stride is not None:
        return lambda model: partial(
            predict_strided,
            model,
            stride=options.stride,
            device=device,
            memory_limit_gib=options.memory_limit_gib,
            cancel=events.check_cancelled,
            log=events.log,
        )

    def apply(model: nn.Module) -> Callable[[Tensor], Tensor]:
        predictor = Predictor(
            model,
            device=device,
            memory_limit_gib=options.memory_limit_gib,
            tile=options.tile,
            margin=options.margin,
            log=events.log,
        )
        return partial(predictor, cancel=events.check_cancelled)

    return apply


def _finetuned(
    method: Method,
    series: Series,
    operator: KspaceCrop,
    options: SuperresOptions,
    run: Apply,
    device: torch.device,
    events: Events,
) -> tuple[Method, Tuned, Volume]:
    """The method after the subject-specific step, with its gate, and what it learned from."""
    if options.prior is None:
        raise BadInput("Fine-tuning needs a sharp scan of the subject.", "Give one as the prior.")
    model, card = method.network()
    recipe = finetuning_recipe(card)
    prior = options.prior
    if options.register:
        from mriforge.superres.register import register_rigid

        prior = register_rigid(prior, series[0], events)
    matched = match_prior(prior, operator.high)
    pair = degrade_prior(matched, operator, method.upsample, method.percentile)
    tuned = tune(
        model,
        recipe,
        pair,
        run,
        TuneSettings(
            options.max_minutes, options.epochs, options.steps, options.checkpoint, options.resume
        ),
        device=device,
        events=events,
    )
    if options.gate:
        events.log(tuned.gate.sentence())
    return method.tuned(tuned, options.gate), tuned, matched


def _all_frames(trials: InPlaneTrials, events: Events) -> tuple[np.ndarray, dict[str, float]]:
    """Every frame on the target grid, and the mean residuals against the acquired data."""
    count = trials.frames
    result = np.empty((count, *trials.target.high.shape), dtype=np.float32)
    before, after = [], []
    for number in range(count):
        events.check_cancelled()
        events.progress(number / count, f"frame {number + 1} of {count}")
        low = trials.frame(number)
        image, first, last = trials.sharpener(low, trials.target, trials.acquired)
        before.append(first)
        after.append(last)
        result[number] = (image * trials.scale).numpy()
    events.progress(1.0)
    if trials.acquired is None:
        return result, {}
    return result, {
        "residual_before": float(np.mean(before)),
        "residual_after": float(np.mean(after)),
    }
