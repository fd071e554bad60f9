"""Truly thick slices, where there is no reference: pages to look at and what can be measured.

    python Testing/benchmarks/thick_series.py DATA OUT [--minutes M | --steps N] [--series fla,t2]

DATA is the folder of real volumes. Every series becomes isotropic at its pixel size (those of TCGA
at 0.9 mm, resampled in plane as well), as with ``superres --self-supervised --report``. Writes
OUT/NAME.nii.gz, OUT/NAME.html and OUT/thick_series.md; prints the Markdown:

* held-out gain: over cubic interpolation, on pixels of the scan that were not learned from;
* detail: amplitude across the slices over that in plane, beyond half a cycle per slice, for cubic
  interpolation and for the result (1 = the same in all directions);
* stripes: power at a cycle per slice over what its neighbours let expect (1 = none);
* displacement of the result against the acquired slices, in voxels of the result (i, j, k).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mriforge.interslice.wish import thickest_axis
from mriforge.io import read
from mriforge.jobs import Request, run_request
from mriforge.metrics.isotropy import isotropy
from mriforge.physics.interpolation import resample

SERIES: dict[str, tuple[str, list[float] | None]] = {
    "fla": ("aniso/TCGA-FG-6692_fla_5.5mm.nii.gz", [0.9, 0.9, 0.9]),
    "t2": ("aniso/TCGA-FG-6692_t2_5.5mm.nii.gz", [0.9, 0.9, 0.9]),
    "t1": ("aniso/TCGA-FG-6692_t1_5.5mm.nii.gz", [0.9, 0.9, 0.9]),
    "t1c": ("aniso/TCGA-FG-6692_t1c_5.5mm.nii.gz", [0.9, 0.9, 0.9]),
    "fernando": ("aniso/torchio_fernando_T2FLAIR_5.5mm.nii.gz", None),
    "t2star": ("aniso/sct_T2star_cspine_7.5mm.nii.gz", None),
    "fse": ("brain3d/adi_T2w_FSE_ax_2.5mm.nii.gz", None),
}


def one(name: str, arguments: argparse.Namespace) -> str:
    """Runs a series; a line of the table."""
    path, spacing = SERIES[name]
    source, target = arguments.data / path, arguments.out / f"{name}.nii.gz"
    options = {
        "input": str(source),
        "output": str(target),
        "self_supervised": True,
        "spacing": spacing,
        "max_minutes": arguments.minutes,
        "steps": arguments.steps,
        "report": str(target.parent / f"{name}.html"),
    }
    found = run_request(Request("superres", {k: v for k, v in options.items() if v is not None}))
    found["learning"].pop("history")
    (arguments.out / f"{name}.json").write_text(json.dumps(found, indent=1))
    low, high = read(source), read(target)
    axis = thickest_axis(low.grid)
    cubic = resample(low, high.grid, order=3, outside="nearest")
    factor = low.grid.spacing[axis] / high.grid.spacing[axis]
    detail = [isotropy(volume, axis, factor) for volume in (cubic, high)]
    sizes = [" x ".join(f"{s:.3g}" for s in grid.spacing) for grid in (low.grid, high.grid)]
    profile, check = found["profile"], found["check"]
    moved = ", ".join(f"{s:+.3f}" for s in check["displacement_voxels"] or [])
    stripes = "-" if check["stripes"] is None else f"{check['stripes']:.2f}"
    return (
        f"| {name} | {sizes[0]} | {sizes[1]} | {profile['fwhm_mm']:.2f} mm ({profile['source']}) "
        f"| {found['gate']['full_gain_db']:+.2f} dB | {detail[0]:.2f} | {detail[1]:.2f} "
        f"| {stripes} | {moved} | {found['learning']['steps']} | {found['seconds']:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--series", default=",".join(SERIES))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    lines = [
        "| series | mm | becomes | profile | held-out gain | detail, cubic | detail, result "
        "| stripes | displacement | steps | seconds |",
        "|" + "---|" * 11,
    ]
    for name in arguments.series.split(","):
        lines.append(one(name, arguments))
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    (arguments.out / "thick_series.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
