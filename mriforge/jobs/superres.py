"""Sharpen a low-resolution volume or time series.

With a sharp PRIOR of the same subject and --finetune the model is adapted to the subject first.
The acquired k-space is restored in the result (switch off with --no-consistency).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput
from mriforge.events import Events, to_json
from mriforge.jobs.device import chosen_device
from mriforge.jobs.images import about, read_image, read_volume, write_image, write_text
from mriforge.jobs.options import option


@dataclass(frozen=True, kw_only=True)
class Options:
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
        "number", "time budget of the fine-tuning", default=None, above=0, metavar="MIN"
    )
    epochs: int | None = option(
        "integer", "fine-tune for whole epochs, as published", default=None, at_least=1
    )
    steps: int | None = option(
        "integer", "fine-tune for exactly so many steps (reproducible)", default=None, at_least=1
    )
    scale: float | None = option(
        "number", "how many times finer, in plane", default=None, above=1, at_most=16
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
    json: str | None = option(
        "output", "write settings and figures here", default=None, suffixes=(".json",)
    )


def check(options: Options) -> None:
    """Combinations that cannot be meant."""
    grids = [f"--{n}" for n in ("scale", "spacing", "like") if getattr(options, n) is not None]
    if len(grids) > 1:
        raise BadInput(f"{grids[0]} and {grids[1]} both say how fine.", "Give one of them.")
    for name in ("finetune", "register", "prior_frame"):
        if options.prior is None and getattr(options, name) not in (None, False):
            flag = "--" + name.replace("_", "-")
            raise BadInput(f"{flag} needs a sharp scan.", "Give one with --prior FILE.")
    if not options.finetune:
        for name in ("max_minutes", "epochs", "steps", "save_model", "checkpoint"):
            if getattr(options, name) is not None:
                flag = "--" + name.replace("_", "-")
                raise BadInput(f"{flag} is about fine-tuning.", "Add --finetune, or leave it out.")
    if options.epochs is not None and options.steps is not None:
        raise BadInput("--epochs and --steps both say how long.", "Give one of them.")
    if options.resume and options.checkpoint is None:
        raise BadInput("--resume needs a checkpoint.", "Give one with --checkpoint FILE.")


def run(options: Options, events: Events) -> dict[str, Any]:
    """Reads, sharpens, writes; returns ``output``, ``settings`` and figures."""
    image = read_image(options.input, events, series=options.series, time=options.time)
    prior = None
    if options.prior is not None:
        prior = read_volume(options.prior, events, what="prior", frame=options.prior_frame)
    like = None
    if options.like is not None:
        from mriforge.io import read

        like = read(options.like).grid

    from mriforge.superres.job import SuperresOptions, superres

    settings = SuperresOptions(
        model=options.model,
        prior=prior,
        finetune=options.finetune,
        max_minutes=options.max_minutes,
        epochs=options.epochs,
        steps=options.steps,
        scale=options.scale,
        spacing=options.spacing,
        like=like,
        axes=options.axes,
        frames=options.frames,
        save_model=None if options.save_model is None else Path(options.save_model),
        checkpoint=None if options.checkpoint is None else Path(options.checkpoint),
        resume=options.resume,
        consistency=options.consistency,
        gate=options.gate,
        register=options.register,
        device=str(chosen_device(options.device) or "auto"),
        memory_limit_gib=options.memory,
        stride=options.stride,
    )
    files = [path for path in (options.input, options.prior, options.like, options.model) if path]
    with about(options.input, files):
        result = superres(image, settings, events.part(0.02, 0.97))
    events.check_cancelled()
    events.progress(0.97, f"writing {options.output}")
    written = {"output": write_image(result.image, options.output, options.input)}
    summary = {**written, **result.figures}
    if options.json is not None:
        summary["json"] = write_text(to_json(summary, indent=2), options.json)
    events.progress(1.0, "done")
    return summary
