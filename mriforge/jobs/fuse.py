"""Make one isotropic volume of two or three stacks of thick slices of one subject.

Stacks in different orientations each lack what the others have. They are aligned, brought to one
intensity and solved for the sharp volume that explains all of them. With --target N the stacks are
of different contrasts: stack N alone gives the data, the others say where edges are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from mriforge.errors import BadInput
from mriforge.events import Events, to_json
from mriforge.jobs.device import chosen_device
from mriforge.jobs.images import about, read_image, write_image, write_text
from mriforge.jobs.options import option
from mriforge.volume import Volume, as_series


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``fuse``."""

    inputs: tuple[str, ...] = option(
        "files",
        "stacks of thick slices; the result lies where the first one does",
        positional="IN1 IN2 [IN3]",
        at_least=2,
        at_most=3,
    )
    output: str = option("output", "fused volume", positional="OUT")
    target: int | None = option(
        "integer",
        "the stack whose contrast is wanted, when contrasts differ",
        default=None,
        at_least=1,
        at_most=3,
    )
    method: str = option(
        "text",
        "how to solve for the volume",
        default="variational",
        choices=("variational", "implicit"),
    )
    spacing: float | None = option(
        "number", "voxel size (default: the finest pixel)", default=None, above=0, metavar="MM"
    )
    like: str | None = option("input", "image whose voxel grid is wanted", default=None)
    extent: str = option(
        "text",
        "what the result covers",
        default="first",
        choices=("first", "union", "intersection"),
    )
    slice_thickness: float | None = option(
        "number", "slice thickness (default: slice spacing)", default=None, above=0, metavar="MM"
    )
    profile: str = option("text", "slice profile", default="gaussian", metavar="gaussian|box|FILE")
    register: bool = option("flag", "align the stacks", default=True)
    slice_motion: bool = option("flag", "align every slice by itself as well", default=False)
    intensity: bool = option("flag", "bring the stacks to one intensity", default=True)
    weight: float = option(
        "number", "factor on the weight of the prior (default 1)", default=1.0, at_least=0
    )
    iterations: int = option("integer", "at most so many (default 80)", default=80, at_least=1)
    max_minutes: float = option(
        "number", "time budget of --method implicit (default 5)", default=5.0, above=0,
        metavar="MIN",
    )  # fmt: skip
    frame: int | None = option(
        "integer", "frame of inputs that are series", default=None, at_least=0
    )
    residuals: str | None = option("folder", "write |A x - y| of each stack here", default=None)
    device: str = option("device", "auto, cpu, cuda, cuda:N or mps", default="auto")
    json: str | None = option(
        "output", "write settings and figures here", default=None, suffixes=(".json",)
    )


def check(options: Options) -> None:
    """Combinations that cannot be meant."""
    if options.target is not None and options.target > len(options.inputs):
        raise BadInput(
            f"--target {options.target} is none of the {len(options.inputs)} stacks.",
            "Stacks are counted from 1 in the order they are given.",
        )
    if options.like is not None and options.spacing is not None:
        raise BadInput("--like and --spacing both say how fine.", "Give one of them.")
    if options.profile not in ("gaussian", "box") and not os.path.isfile(options.profile):
        raise BadInput(
            f"There is no slice profile {options.profile} (--profile).",
            "Give gaussian, box or a file.",
        )
    if options.slice_motion and not options.register:
        raise BadInput("--slice-motion needs alignment.", "Leave out --no-register.")
    if options.slice_motion and options.target is not None:
        raise BadInput(
            "--slice-motion needs stacks of one contrast.", "Leave it out, or leave out --target."
        )
    if options.method == "implicit" and options.target is not None:
        raise BadInput(
            "--method implicit takes no edges from other contrasts.",
            "Leave out --target, or the method.",
        )
    for n, path in enumerate(options.inputs):
        if any(os.path.realpath(path) == os.path.realpath(p) for p in options.inputs[:n]):
            raise BadInput(f"{path} is given twice.", "Give different stacks.")


def run(options: Options, events: Events) -> dict[str, Any]:
    """Reads, fuses, writes; returns ``output``, the files of the residuals and figures."""
    stacks = [_read(path, options.frame, events) for path in options.inputs]
    like = None
    if options.like is not None:
        from mriforge.io import read

        like = read(options.like).grid

    from mriforge.fusion.job import FuseOptions, fuse

    settings = FuseOptions(
        spacing=options.spacing,
        like=like,
        extent=options.extent,
        target=None if options.target is None else options.target - 1,
        method=options.method,
        thickness=options.slice_thickness,
        profile=options.profile,
        register=options.register,
        slice_motion=options.slice_motion,
        intensity=options.intensity,
        weight=options.weight,
        iterations=options.iterations,
        max_minutes=options.max_minutes,
        device=str(chosen_device(options.device) or "auto"),
    )
    with about(", ".join(options.inputs), options.inputs):
        result = fuse(stacks, settings, events.part(0.02, 0.97))
    events.check_cancelled()
    events.progress(0.97, f"writing {options.output}")
    lead = options.inputs[(options.target or 1) - 1]
    summary: dict[str, Any] = {"output": write_image(result.image, options.output, lead)}
    if options.residuals is not None:
        numbers = range(1, len(stacks) + 1) if options.target is None else [options.target]
        summary["residuals"] = [
            write_image(image, os.path.join(options.residuals, f"residual_{number}.nii.gz"))
            for number, image in zip(numbers, result.residuals, strict=True)
        ]
    summary |= result.figures
    if options.json is not None:
        summary["json"] = write_text(to_json(summary, indent=2), options.json)
    events.progress(1.0, "done")
    return summary


def _read(path: str, frame: int | None, events: Events) -> Volume:
    """One volume; of a series the frame that is asked for."""
    series = as_series(read_image(path, events, what="stack"))
    if len(series) == 1:
        return Volume(series.array[0], series.grid, series.metadata)
    if frame is None:
        raise BadInput(
            f"{path} is a series of {len(series)} frames; volumes are fused.",
            "Choose one frame with --frame N, counted from 0.",
        )
    if frame >= len(series):
        raise BadInput(f"{path} has no frame {frame}; it has {len(series)} frames.")
    return series[frame]
