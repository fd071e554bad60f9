"""Write one line through a reconstruction as a series: a cine, a breath, or a recovery.

Of the three times one runs (--axis), the others stay (--cardiac, --respiratory, --inversion,
counted from 0; negative from the end). Magnitude images, in the units of the reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.jobs.images import write_image
from mriforge.jobs.options import option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``frames``."""

    input: str = option("input", "factors.npz of a reconstruction", positional="FACTORS")
    output: str = option("output", "series (sequence NRRD, NIfTI or DICOM)", positional="OUT")
    axis: str = option(
        "text",
        "the time that runs",
        default="cardiac",
        choices=("cardiac", "respiratory", "inversion"),
    )
    cardiac: int = option("integer", "cardiac phase of the others", default=0)
    respiratory: int = option("integer", "respiratory phase of the others", default=0)
    inversion: int = option("integer", "inversion time of the others", default=-1)
    step: int = option("integer", "take every n-th frame", default=1, at_least=1)
    part: str = option(
        "text", "what of the complex images", default="magnitude", choices=("magnitude", "phase")
    )


def run(options: Options, events: Events) -> dict[str, Any]:
    """Reads factors, computes the frames, writes; returns ``output`` and how many there are."""
    import numpy as np

    from mriforge.factors import AXES, Factors
    from mriforge.volume import Series

    events.progress(0.0, f"reading {options.input}")
    factors = Factors.load(options.input)
    chosen = {name: getattr(options, name) for name in AXES}
    for name, count in zip(AXES, factors.bins, strict=True):
        if name != options.axis and not -count <= chosen[name] < count:
            raise BadInput(
                f"{options.input} has no {name} {chosen[name]}; it has {count}.",
                "They are counted from 0.",
            )
    events.check_cancelled()
    frames = factors.line(options.axis, **chosen, step=options.step)
    voxels = np.abs(frames) if options.part == "magnitude" else np.angle(frames)
    if options.axis == "inversion":
        times, unit = factors.inversion_times_s[:: options.step] * 1000.0, "ms"
    else:
        times, unit = np.arange(0.0, factors.bins[AXES.index(options.axis)], options.step), ""
    names = {
        "cardiac": "cardiac phase",
        "respiratory": "respiratory phase",
        "inversion": "inversion time",
    }
    about = {"factors": options.input, **{k: v for k, v in chosen.items() if k != options.axis}}
    series = Series(
        voxels.astype(np.float32), factors.grid, times, names[options.axis], unit, about
    )
    events.check_cancelled()
    events.progress(0.5, f"writing {options.output}")
    output = write_image(series, options.output)
    events.progress(1.0, "done")
    return {"output": output, "frames": len(series)}
