"""Prior-guided super-resolution on real data: every baseline, the shipped model, the tuned one.

    python Testing/benchmarks/prior_guided.py DATA OUT [--case spine|brain|cine]
        [--minutes M | --steps N] [--keep 0.0625,...] [--cpu-time] [--json FILE]

DATA is the folder of real volumes. Cases, none of whose subjects the shipped model was trained on:

* ``spine``: cervical spine EPI series, 68 x 68 x 6, 30 frames. Frame 0 is the prior; the other 29
  are degraded, sharpened and scored.
* ``brain``: 40 axial slices of a defaced T1w head, 0.7 mm. There is one scan only, so the prior is
  that head after a rigid motion of several voxels and degrees, with another coil sensitivity and
  new noise, on a grid of its own (``mriforge.demo_data.make_prior``): close to the best case.
* ``cine``: cardiac short axis, two phases of the heart, 4 slices. The prior is the first one.

Writes OUT/CASE.json, OUT/CASE.md and OUT/CASE.html; prints the Markdown. --json writes ratios of
NRMSE and of time to sinc and cubic interpolation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measuring import Ratio, add_clock, clock_of, write_ratios

from mriforge import allocator
from mriforge.degrade import DegradeOptions, degrade
from mriforge.demo_data import make_prior
from mriforge.events import Events
from mriforge.io import read
from mriforge.metrics.compare import compare
from mriforge.physics.interpolation import BASELINES
from mriforge.report.html import Report
from mriforge.superres.job import SuperresOptions, superres
from mriforge.volume import Image, Series, Volume

KEPT = (0.25, 0.1, 0.0625)


def slab(volume: Volume, first: int, count: int) -> Volume:
    """Slices ``first .. first + count`` of a volume as float32."""
    shape = (*volume.grid.stored_shape[:2], count)
    grid = volume.grid.resampled(shape, volume.grid.spacing, (0, 0, first))
    return Volume(volume.array[first : first + count].astype(np.float32), grid)


def case(name: str, data: Path) -> tuple[Image, Volume]:
    """Truth and prior."""
    if name == "brain":
        head = read(data / "brain3d" / "studyforrest02_T1w_0.67mm_defaced.nii.gz")
        # The motion needs some slices more than are scored.
        prior = make_prior(slab(head, 195, 70))
        return slab(head, 210, 40), slab(prior, 12, 40)
    path = "sct_cspine_fmri_4D.nii.gz" if name == "spine" else "sunnybrook_SAX_ED_ES_dicom"
    series = read(data / "dynamic" / path)
    later = Series(
        series.array[1:].astype(np.float32), series.grid, series.times[1:], series.time_name,
        series.time_unit,
    )  # fmt: skip
    return later, Volume(series.array[0].astype(np.float32), series.grid)


def one_level(
    truth: Image, prior: Volume, keep: float, tuning: dict, clock: Callable[[], float]
) -> tuple[dict, dict]:
    """Images by method, and what the jobs said of themselves."""
    low = degrade(truth, DegradeOptions(keep=keep, axes=(0, 1)))
    images, notes = {}, {"matrix": list(low.grid.stored_shape)}
    for name in BASELINES:
        options = SuperresOptions(model=name, like=truth.grid, consistency=False)
        started = clock()
        images[name] = superres(low, options).image
        notes[f"{name}_seconds"] = round(clock() - started, 3)
    started = clock()
    images["main"] = superres(low, SuperresOptions(like=truth.grid)).image
    notes["main_seconds"] = round(clock() - started, 3)
    started = clock()
    tuned = superres(
        low,
        SuperresOptions(like=truth.grid, prior=prior, finetune=True, **tuning),
        Events(),
    )
    notes["tuned_seconds"] = round(clock() - started, 3)
    notes |= {k: tuned.figures[k] for k in ("gate", "consistency")}
    notes["steps"] = tuned.figures["finetune"]["steps"]
    images["tuned"] = tuned.image
    return images, notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--case", choices=("spine", "brain", "cine"), default="spine")
    parser.add_argument("--minutes", type=float, default=3.0, help="fine-tuning, per level")
    parser.add_argument("--steps", type=int, help="exactly so many steps instead of minutes")
    parser.add_argument("--keep", default=",".join(map(str, KEPT)), help="shares of k-space")
    add_clock(parser)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    clock = clock_of(arguments)
    allocator.tune()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tuning = {"steps": arguments.steps} if arguments.steps else {"max_minutes": arguments.minutes}
    truth, prior = case(arguments.case, arguments.data)
    levels, figures = {}, {}
    for keep in map(float, arguments.keep.split(",")):
        images, notes = one_level(truth, prior, keep, tuning, clock)
        label = f"{100 * keep:g} %"
        levels[label] = compare(images, truth, baseline="main")
        figures[label] = {**levels[label].to_json(), "notes": notes}
        print(label, notes, flush=True)
    text = markdown(arguments, levels)
    stem = arguments.out / arguments.case
    stem.with_suffix(".json").write_text(json.dumps(figures, indent=1, default=str))
    stem.with_suffix(".md").write_text(text)
    report = Report("Prior-guided super-resolution", f"{arguments.case}, real data")
    report.levels(levels)
    for label, comparison in levels.items():
        report.comparison(comparison, f"{label} of k-space")
    report.write(stem.with_suffix(".html"))
    print(text)
    setting = {
        key: getattr(arguments, key) for key in ("case", "minutes", "steps", "keep", "cpu_time")
    }
    write_ratios(arguments.json, ratios(levels, figures), setting)


def ratios(levels: dict, figures: dict) -> list[Ratio]:
    """The shipped and the tuned model beside sinc and cubic interpolation."""
    rows = []
    for label, level in levels.items():
        wrong, notes = level.evaluations, figures[label]["notes"]
        for name, said in (("main", "shipped U-Net"), ("tuned", "U-Net fine-tuned on the prior")):
            for peer in ("sinc", "cubic_bspline"):
                what = f"Super-resolution of {label} of k-space, {said}"
                pair = wrong[name].nrmse, wrong[peer].nrmse
                rows.append(Ratio(f"{what}: error", peer, "", *pair))
                pair = notes[f"{name}_seconds"], notes[f"{peer}_seconds"]
                rows.append(Ratio(f"{what}: time", peer, "s", *pair))
    return rows


def markdown(arguments: argparse.Namespace, levels: dict) -> str:
    """The table, with gains over three baselines and the tests of tuned against main."""
    amount = f"{arguments.steps} steps" if arguments.steps else f"{arguments.minutes:g} min"
    lines = [
        f"### {arguments.case}, {amount} of fine-tuning per level",
        "",
        "| k-space | method | PSNR dB | SSIM | NRMSE | over zero-fill | over aligned linear |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, comparison in levels.items():
        scored = comparison.evaluations
        zero, linear = scored["sinc"].psnr, scored["linear_aligned"].psnr
        for name, found in scored.items():
            lines.append(
                f"| {label} | {name} | {found.psnr:.2f} | {found.ssim:.4f} | {found.nrmse:.4f} "
                f"| {found.psnr - zero:+.2f} | {found.psnr - linear:+.2f} |"
            )
    lines.append("")
    for label, comparison in levels.items():
        for figure, test in comparison.tests["tuned"].items():
            lines.append(f"- {label}, tuned against main, {figure}: {test.statement}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
