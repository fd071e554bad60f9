"""Adapt a model to one subject's sharp scan and save it as a model of its own.

How coarse the subject's fast images are is taken from one of them (--like), or said by --keep.
The checkpoint beside the model lets --resume continue exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.jobs.device import chosen_device
from mriforge.jobs.images import about, read_image, read_volume
from mriforge.jobs.options import option

DEFAULT_KEEP = 0.0625
"""The coarsest level of Sarasaen et al. 2021: where a model has most to learn."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``finetune``."""

    model: str | None = option("text", "model name or folder", default=None, metavar="NAME|DIR")
    prior: str = option("input", "sharp scan of the subject")
    prior_frame: int | None = option(
        "integer", "frame of a prior that is a series", default=None, at_least=0
    )
    out: str = option("folder", "the adapted model is put into DIR/model")
    like: str | None = option(
        "input", "low-resolution image that the model will be used on", default=None
    )
    keep: float | None = option(
        "number", "or: fraction of k-space that such images hold (default 0.0625)",
        default=None, above=0, at_most=1,
    )  # fmt: skip
    axes: tuple[int, ...] = option(
        "integers", "axes that such images are coarser along (default 0,1)",
        default=(0, 1), metavar="A,B",
    )  # fmt: skip
    max_minutes: float | None = option(
        "number", "time budget", default=None, above=0, metavar="MIN"
    )
    epochs: int | None = option(
        "integer", "whole epochs at stride 1, as published", default=None, at_least=1
    )
    steps: int | None = option(
        "integer", "exactly so many steps (reproducible)", default=None, at_least=1
    )
    resume: bool = option("flag", "go on from the checkpoint in --out", default=False)
    device: str = option("device", "auto, cpu, cuda, cuda:N or mps", default="auto")


def check(options: Options) -> None:
    """One way of saying how coarse the images are, and how long."""
    if options.like is not None and options.keep is not None:
        raise BadInput("--like and --keep both say how coarse.", "Give one of them.")
    if options.epochs is not None and options.steps is not None:
        raise BadInput("--epochs and --steps both say how long.", "Give one of them.")
    if len(set(options.axes)) != len(options.axes) or not set(options.axes) <= {0, 1, 2}:
        axes = ",".join(map(str, options.axes))
        raise BadInput(f"--axes are some of 0, 1 and 2, each once, not {axes}.")


def run(options: Options, events: Events) -> dict[str, Any]:
    """Fine-tunes; returns the folder of the new model as ``output``, and figures."""
    prior = read_volume(options.prior, events, what="prior", frame=options.prior_frame)
    like, keep = None, options.keep
    if options.like is not None:
        like = read_image(options.like, events).grid
    elif keep is None:
        keep = DEFAULT_KEEP
        events.log(f"The images are taken to hold {100 * keep:g} % of k-space (--keep, --like).")

    from mriforge.superres.subject import finetune_model

    device = str(chosen_device(options.device) or "auto")
    files = [path for path in (options.prior, options.like, options.model, options.out) if path]
    with about(options.prior, files):
        figures = finetune_model(
            prior,
            Path(options.out),
            model=options.model,
            like=like,
            keep=keep,
            axes=options.axes,
            max_minutes=options.max_minutes,
            epochs=options.epochs,
            steps=options.steps,
            resume=options.resume,
            device=device,
            events=events,
        )
    return {"output": figures.pop("model"), **figures}
