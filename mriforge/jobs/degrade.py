"""Make the low-resolution image that a shorter scan would have given.

--keep truncates k-space, --slice-thickness makes thick slices, --noise adds noise; they combine.
--kernel blurs and samples as a scanner does whose kernel was learned (mriforge kernel).
Axes are numbered as stored: i, j, k = 0, 1, 2.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.jobs.images import about, read_image, write_image
from mriforge.jobs.options import option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``degrade``; those after ``output`` and before ``series`` are DegradeOptions."""

    input: str = option("input", "image or series to degrade", positional="IN")
    output: str = option("output", "degraded image", positional="OUT")
    keep: float | None = option(
        "number", "fraction of k-space to keep", default=None, above=0, at_most=1
    )
    kernel: str | None = option(
        "input", "downsampling kernel, in place of --keep", default=None, metavar="FILE"
    )
    axes: tuple[int, ...] = option(
        "integers", "axes that are truncated (default 0,1)", default=(0, 1), metavar="A,B"
    )
    mode: str = option(
        "text", "fewer voxels, or the same matrix", default="crop", choices=("crop", "zerofill")
    )
    fermi: bool = option("flag", "window the kept k-space", default=False)
    slice_thickness: float | None = option(
        "number", "slice thickness", default=None, above=0, metavar="MM"
    )
    slice_gap: float = option(
        "number", "gap between slices, negative for overlap", default=0.0, metavar="MM"
    )
    axis: int = option("integer", "axis across the slices (default 2)", default=2, metavar="A")
    profile: str = option("text", "slice profile", default="gaussian", metavar="gaussian|box|FILE")
    noise: float = option(
        "number", "noise, as a fraction of the signal", default=0.0, at_least=0, at_most=10
    )
    noise_kind: str = option(
        "text", "magnitude or real noise", default="rician", choices=("rician", "complex")
    )
    seed: int = option("integer", "of the noise", default=0, at_least=0)
    series: str | None = option("text", "series of a DICOM folder", default=None)
    time: str | None = option("text", "what the time axis of a DICOM series is", default=None)


_NOT_PASSED_ON = ("input", "output", "series", "time")


def check(options: Options) -> None:
    """A slice profile in a file has to be there, and is not to be overwritten."""
    if options.profile in ("gaussian", "box"):
        return
    if not os.path.isfile(options.profile):
        raise BadInput(
            f"There is no slice profile {options.profile} (--profile).",
            "Give gaussian, box or a file.",
        )
    if os.path.exists(options.output) and os.path.samefile(options.profile, options.output):
        raise BadInput(f"{options.output} is also the slice profile.", "Choose another name.")


def run(options: Options, events: Events) -> dict[str, Any]:
    """Reads, degrades, writes; returns ``output`` and what was done."""
    image = read_image(options.input, events, series=options.series, time=options.time)

    from mriforge.degrade import DegradeOptions, degrade

    chosen = {k: v for k, v in vars(options).items() if k not in _NOT_PASSED_ON}
    settings = DegradeOptions(**chosen)
    with about(options.input):
        result = degrade(image, settings, events.part(0.05, 0.9))
    events.check_cancelled()
    events.progress(0.9, f"writing {options.output}")
    output = write_image(result, options.output, options.input)
    events.progress(1.0, "done")
    return {
        "output": output,
        "matrix": list(result.grid.stored_shape),
        "voxel_mm": list(result.grid.spacing),
    }
