"""Sharpen a low-resolution volume or time series.

With a sharp PRIOR of the same subject and --finetune the model is adapted to the subject first.
The acquired k-space is restored in the result (switch off with --no-consistency).

With --self-supervised the image is a stack of thick slices: a network learns from its own pixels
what thick slices lose, and what is between them is filled in. Nothing else is needed.

With --uncertainty intervals are calibrated: half their width, for every voxel, is written as a map.

With --labels a label map is resampled by the shapes of its labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriforge.errors import BadInput
from mriforge.events import Events, to_json
from mriforge.jobs.device import chosen_device
from mriforge.jobs.images import about, read_image, read_volume, write_image, write_text
from mriforge.jobs.options import option
from mriforge.jobs.uncertainty import (
    UncertaintyOptions,
    add_maps,
    asked,
    check_size,
    check_uncertainty,
    models,
    write_maps,
)
from mriforge.volume import Grid, Image, Series

if TYPE_CHECKING:
    from mriforge.superres.job import SuperresResult
    from mriforge.uncertainty.job import Measured


@dataclass(frozen=True, kw_only=True)
class Options(UncertaintyOptions):
    """Options of ``superres``."""

    input: str = option("input", "low-resolution volume or series", positional="IN")
    output: str = option("output", "sharpened image", positional="OUT")
    model: str | None = option("text", "model name or folder", default=None, metavar="NAME|DIR")
    prior: str | None = option("input", "sharp scan of the same subject", default=None)
    prior_frame: int | None = option(
        "integer", "frame of a prior that is a series", default=None, at_least=0
    )
    finetune: bool = option("flag", "adapt the model to the prior first", default=False)
    max_minutes: float | None = option(
        "number", "time budget of the fine-tuning or learning", default=None, above=0, metavar="MIN"
    )
    epochs: int | None = option(
        "integer", "fine-tune for whole epochs, as published", default=None, at_least=1
    )
    steps: int | None = option(
        "integer", "fine-tune for exactly so many steps (reproducible)", default=None, at_least=1
    )
    self_supervised: bool = option(
        "flag", "thick slices: learn from the scan itself what is between them", default=False
    )
    labels: bool = option(
        "flag", "the image is a label map: resample it across its slices", default=False
    )
    slice_axis: int | None = option(
        "integer", "axis across the slices (default: the coarsest)", default=None, at_least=0
    )
    profile: str | None = option(
        "text",
        "slice profile: auto, gaussian, box, estimate, learnt, or a file",
        default=None,
        metavar="NAME|FILE",
    )
    slice_thickness: float | None = option(
        "number",
        "of the thick slices, where the file does not say",
        default=None,
        above=0,
        metavar="MM",
    )
    merge: str | None = option(
        "text", "how the two orientations become one", default=None, choices=("mean", "fba")
    )
    recipe: str | None = option(
        "text", "another recipe for the thick-slice method", default=None, metavar="NAME|FILE"
    )
    scale: float | None = option(
        "number",
        "how many times finer: in plane, or across thick slices",
        default=None,
        above=1,
        at_most=16,
    )
    spacing: tuple[float, ...] | None = option(
        "numbers", "wanted voxel size in mm", default=None, count=3, above=0, metavar="X,Y,Z"
    )
    like: str | None = option("input", "image whose voxel grid is wanted", default=None)
    axes: tuple[int, ...] = option(
        "integers",
        "axes made finer by --scale or --prior (default 0,1)",
        default=(0, 1),
        metavar="A,B",
    )
    frames: tuple[int, ...] | None = option(
        "integers", "only these frames, counted from 0", default=None, metavar="N,..."
    )
    consistency: bool = option("flag", "restore the acquired k-space exactly", default=True)
    gate: bool = option(
        "flag", "keep the result no worse than zero-filling on the prior", default=True
    )
    register: bool = option("flag", "align the prior rigidly first", default=False)
    stride: int | None = option(
        "integer", "average 24^3 patches at this stride, as published", default=None, at_least=1
    )
    tile: int | None = option(
        "integer", "compute in tiles of this many voxels at most", default=None, at_least=8
    )
    margin: int | None = option(
        "integer",
        "voxels read around each tile (default: as far as the network sees)",
        default=None,
        at_least=0,
    )
    device: str = option("device", "auto, cpu, cuda, cuda:N or mps", default="auto")
    memory: float | None = option(
        "number", "upper bound of the memory for tiles", default=None, above=0, metavar="GIB"
    )
    series: str | None = option("text", "series of a DICOM folder", default=None)
    time: str | None = option("text", "what the time axis of a DICOM series is", default=None)
    save_model: str | None = option("folder", "keep the fine-tuned model here", default=None)
    checkpoint: str | None = option(
        "output",
        "keep the state of the fine-tuning here",
        default=None,
        suffixes=(".safetensors",),
    )
    resume: bool = option("flag", "go on from --checkpoint", default=False)
    report: str | None = option(
        "output",
        "a page with pictures and what is known of the result",
        default=None,
        suffixes=(".html",),
    )
    json: str | None = option(
        "output", "write settings and figures here", default=None, suffixes=(".json",)
    )


def check(options: Options) -> None:
    """Combinations that cannot be meant."""
    grids = [f"--{n}" for n in ("scale", "spacing", "like") if getattr(options, n) is not None]
    if len(grids) > 1:
        raise BadInput(f"{grids[0]} and {grids[1]} both say how fine.", "Give one of them.")
    across = options.self_supervised or options.labels
    _check_kind(options, across)
    check_uncertainty(options)
    for name in ("finetune", "register", "prior_frame"):
        if options.prior is None and getattr(options, name) not in (None, False):
            raise BadInput(f"{_flag(name)} needs a sharp scan.", "Give one with --prior FILE.")
    if not options.finetune:
        for name in ("save_model", "epochs", "max_minutes", "steps", "checkpoint"):
            learns = options.self_supervised and name in ("max_minutes", "steps", "checkpoint")
            if getattr(options, name) is not None and not learns:
                raise BadInput(
                    f"{_flag(name)} is about fine-tuning.", "Add --finetune, or leave it out."
                )
    if options.epochs is not None and options.steps is not None:
        raise BadInput("--epochs and --steps both say how long.", "Give one of them.")
    if options.stride is not None and (options.tile, options.margin) != (None, None):
        raise BadInput("--stride averages patches of 24.", "Leave out --tile and --margin.")
    if options.resume and options.checkpoint is None:
        raise BadInput("--resume needs a checkpoint.", "Give one with --checkpoint FILE.")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _check_kind(options: Options, across: bool) -> None:
    """In-plane and through-plane options do not mix."""
    if options.self_supervised and options.labels:
        raise BadInput("--self-supervised sharpens, --labels resamples.", "Give one of them.")
    if not across:
        for name in ("slice_axis", "profile", "slice_thickness", "merge", "recipe"):
            if getattr(options, name) is not None:
                raise BadInput(
                    f"{_flag(name)} is about thick slices.", "Add --self-supervised as well."
                )
        return
    for name in ("prior", "finetune", "register", "stride", "tile", "margin", "memory"):
        if getattr(options, name) not in (None, False):
            raise BadInput(
                f"{_flag(name)} is about sharpening in plane.",
                "Leave it out for thick slices, or leave out --self-supervised.",
            )
    if options.labels and options.report is not None:
        raise BadInput("There is no page about labels.", "Leave out --report.")
    if options.slice_axis is not None and options.slice_axis > 2:
        raise BadInput(f"--slice-axis is 0, 1 or 2, not {options.slice_axis}.")


def run(options: Options, events: Events) -> dict[str, Any]:
    """Reads, sharpens, writes; returns ``output``, ``settings`` and figures."""
    if options.report is not None:
        from mriforge.report.figures import figure_class

        figure_class()  # a missing matplotlib is said before any work
    image = read_image(options.input, events, series=options.series, time=options.time)
    files = [path for path in (options.input, options.prior, options.like, options.model) if path]
    files += options.calibrate_on or ()
    how = _sharpen
    if options.self_supervised or options.labels:
        how = _resample_labels if options.labels else _sharpen_slices
    with about(options.input, files):
        check_size(image, options)
        result = how(image, options, events.part(0.02, 0.6 if asked(options) else 0.97))
        result, maps = add_maps(result, options, events.part(0.6, 0.97))
    events.check_cancelled()
    events.progress(0.97, f"writing {options.output}")
    written = {"output": write_image(result.image, options.output, options.input)}
    written |= write_maps(maps, image, options)
    summary = {**written, **result.figures}
    if options.report is not None:
        summary["report"] = _report(options, image, result, maps, summary)
    if options.json is not None:
        summary["json"] = write_text(to_json(summary, indent=2), options.json)
    events.progress(1.0, "done")
    return summary


def _report(
    options: Options,
    image: Image,
    result: SuperresResult,
    maps: Measured | None,
    summary: dict[str, Any],
) -> str:
    from mriforge.report.sharpened import sharpened_report
    from mriforge.report.slices import slices_report

    page = slices_report if options.self_supervised else sharpened_report
    known = {} if maps is None else maps.maps
    name = Path(options.input).name
    return str(page(options.report, image, result.image, summary, name, known))


def _like(options: Options) -> Grid | None:
    if options.like is None:
        return None
    from mriforge.io import read

    return read(options.like).grid


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _sharpen(image: Image, options: Options, events: Events) -> SuperresResult:
    """In plane, with a prior or without."""
    from mriforge.superres.job import SuperresOptions, superres

    prior = None
    if options.prior is not None:
        prior = read_volume(options.prior, events, what="prior", frame=options.prior_frame)
    settings = SuperresOptions(
        model=options.model,
        prior=prior,
        finetune=options.finetune,
        max_minutes=options.max_minutes,
        epochs=options.epochs,
        steps=options.steps,
        scale=options.scale,
        spacing=options.spacing,
        like=_like(options),
        axes=options.axes,
        frames=options.frames,
        ensemble_models=models(options),
        save_model=_path(options.save_model),
        checkpoint=_path(options.checkpoint),
        resume=options.resume,
        consistency=options.consistency,
        gate=options.gate,
        register=options.register,
        device=str(chosen_device(options.device) or "auto"),
        memory_limit_gib=options.memory,
        stride=options.stride,
        tile=None if options.tile is None else (options.tile,) * 3,
        margin=options.margin,
    )
    return superres(image, settings, events)


def _sharpen_slices(image: Image, options: Options, events: Events) -> SuperresResult:
    """Across thick slices, learned from the scan itself."""
    from mriforge.interslice.job import SliceOptions, sharpen_slices
    from mriforge.interslice.methods import METHODS

    folder = options.model is not None and options.model not in METHODS
    settings = SliceOptions(
        method="sa_inr" if folder else options.model,
        recipe=options.recipe,
        start=_path(options.model) if folder else None,
        axis=options.slice_axis,
        scale=options.scale,
        spacing=options.spacing,
        like=_like(options),
        profile=options.profile or "auto",
        thickness=options.slice_thickness,
        max_minutes=options.max_minutes,
        steps=options.steps,
        merge=options.merge,
        consistency=options.consistency,
        gate=options.gate,
        frames=options.frames,
        device=str(chosen_device(options.device) or "auto"),
        checkpoint=_path(options.checkpoint),
        resume=options.resume,
    )
    return sharpen_slices(image, settings, events)


def _resample_labels(image: Image, options: Options, events: Events) -> SuperresResult:
    """A label map by the shapes of its labels."""
    from mriforge.interslice.labels import resample_labels
    from mriforge.interslice.wish import plan_slices
    from mriforge.superres.job import SuperresResult

    if isinstance(image, Series):
        raise BadInput("The label map is a series.", "Resample its frames one by one.")
    plan = plan_slices(
        image.grid,
        axis=options.slice_axis,
        scale=options.scale,
        spacing=options.spacing,
        like=_like(options),
    )
    made = resample_labels(image, plan, events)
    target = {"matrix": list(made.grid.stored_shape), "spacing_mm": list(made.grid.spacing)}
    return SuperresResult(
        made, {"method": {"name": "shape-based", "kind": "labels"}, "target": target}
    )
