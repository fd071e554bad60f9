"""The main job on a real series that every installation has, from degradation to report.

Frame 1 of nibabel's example series is the truth. It is degraded to three fractions of its
k-space, sharpened by the model as shipped and after fine-tuning on a prior scan of the same head
(:mod:`mriforge.demo_data`), and compared with every interpolation.
"""

from __future__ import annotations

import csv
import shlex
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mriforge.degrade import DegradeOptions, degrade
from mriforge.demo_data import ROTATION_DEG, TRANSLATION_MM, example_series, make_prior
from mriforge.events import Events, to_json
from mriforge.io import write
from mriforge.io.atomic import atomic_path
from mriforge.metrics.compare import Comparison, compare
from mriforge.physics.interpolation import BASELINES
from mriforge.physics.kspace import KspaceCrop
from mriforge.report.html import Report
from mriforge.superres.job import SuperresOptions, superres
from mriforge.superres.method import load_method
from mriforge.volume import Volume

KEPT = (0.25, 0.1, 0.0625)
"""Fractions of k-space, those of Sarasaen et al. 2021."""
IN_PLANE = (0, 1)
TUNING_SHARE = 0.8
"""Part of the demo's time that fine-tuning gets; the rest is for reading, sharpening, scoring."""
TITLES = {
    "nearest": "nearest",
    "area": "area",
    "linear_halfpixel": "linear, half-pixel",
    "linear_aligned": "linear, aligned",
    "cubic_bspline": "cubic B-spline",
    "sinc": "zero-filled",
    "main": "network",
    "finetuned": "network, fine-tuned",
}
METHODS = (
    "Area and half-pixel linear interpolation are baselines of Sarasaen et al. 2021; they look for "
    "the voxels of a truncated k-space up to a voxel and a half beside where they are. The aligned "
    "ones and zero-filling do not. Network: as shipped, it never saw this head; fine-tuned: after "
    "minutes on the prior. Both have the acquired k-space restored."
)
FIGURES = ("ssim", "psnr", "nrmse")


@dataclass(frozen=True)
class Level:
    """One fraction of k-space: the coarse image and what every method made of it."""

    keep: float
    low: Volume
    images: dict[str, Volume]
    comparison: Comparison

    @property
    def percent(self) -> str:
        """``6.25`` for 0.0625, as in file names and headings."""
        return f"{100 * self.keep:g}"

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """``{method: {figure: value}}``."""
        return {
            name: {figure: self.comparison.evaluations[title].mean(figure) for figure in FIGURES}
            for name, title in TITLES.items()
        }


def run_demo(out: str | Path, events: Events, minutes: float = 8.0) -> dict[str, Any]:
    """Degrade, sharpen before and after fine-tuning, compare, report.

    Args:
        out: folder for images, figures and the report; made where it is not there.
        events: progress and cancel.
        minutes: about how long it may take on two cores.

    Returns:
        ``table`` and ``next`` (text), ``report``, ``json``, ``csv`` (paths), ``levels`` (figures).
    """
    started = time.monotonic()
    report = Report("MRIForge demo", "Prior-guided super-resolution of a real MR series")
    load_method(None)  # a missing model is said before anything is written
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    series = example_series()
    truth = _float(series[1])
    prior = make_prior(series[0])
    about = about_the_data(series.grid.stored_shape)
    events.log(about)
    write(truth, out / "truth.nii.gz")
    write(prior, out / "prior.nii.gz")
    levels = []
    for index, keep in enumerate(KEPT):
        part = events.part(0.02 + 0.3 * index, 0.02 + 0.3 * (index + 1))
        budget = TUNING_SHARE * minutes / len(KEPT)
        levels.append(_run_level(keep, truth, prior, budget, part))
        _write_level(levels[-1], out)
    events.check_cancelled()
    events.progress(0.93, "writing the report")
    seconds = time.monotonic() - started
    paths = _write_figures(levels, out, seconds)
    _fill_report(report, levels, about)
    paths["report"] = str(report.write(out / "report.html"))
    events.progress(1.0, "done")
    return {
        "table": text_table(levels),
        "next": next_steps(out, paths["report"], seconds),
        "levels": {level.percent: level.figures for level in levels},
        "seconds": round(seconds, 1),
        **paths,
    }


def about_the_data(shape: tuple[int, int, int]) -> str:
    """What the demo's images are, said plainly."""
    turns = ", ".join(f"{angle:g}" for angle in ROTATION_DEG)
    shifts = ", ".join(f"{shift:g}" for shift in TRANSLATION_MM)
    return (
        f"Data: two frames ({'x'.join(map(str, shape))}) of an echo-planar series of a head that "
        "come with nibabel. They are nearly the same image, so the prior is frame 0 after a "
        f"rotation by {turns} degrees and a shift by {shifts} mm (x, y, z), another receive "
        "sensitivity and new noise; frame 1 is degraded and sharpened. One head, one frame: this "
        "shows that everything works, not how well it works on other scans."
    )


def _float(volume: Volume) -> Volume:
    return volume.with_array(volume.array.astype(np.float32))


def _run_level(keep: float, truth: Volume, prior: Volume, minutes: float, events: Events) -> Level:
    """All methods at one fraction of k-space; ``minutes`` is the budget of the fine-tuning."""
    heading = f"{100 * keep:g} % of k-space"
    low = degrade(truth, DegradeOptions(keep=keep, axes=IN_PLANE))
    operator = KspaceCrop.from_fraction(truth.grid, keep, IN_PLANE)
    data = torch.from_numpy(low.array)
    images = {
        name: truth.with_array(interpolate(data, operator).numpy().astype(np.float32))
        for name, interpolate in BASELINES.items()
    }
    events.progress(0.05, f"{heading}: network as shipped")
    shipped = SuperresOptions(like=truth.grid)
    images["main"] = superres(low, shipped, events.part(0.05, 0.15)).image
    events.check_cancelled()
    events.progress(0.15, f"{heading}: fine-tuning on the prior")
    tuned = SuperresOptions(like=truth.grid, prior=prior, finetune=True, max_minutes=minutes)
    images["finetuned"] = superres(low, tuned, events.part(0.15, 0.95)).image
    titled = {title: images[name] for name, title in TITLES.items()}
    comparison = compare(titled, truth, baseline=TITLES["sinc"], input=low)
    level = Level(keep, low, images, comparison)
    gain = level.figures["finetuned"]["psnr"] - level.figures["sinc"]["psnr"]
    events.log(f"{heading}: fine-tuned {gain:+.2f} dB over zero-filling.")
    events.check_cancelled()
    return level


def _write_level(level: Level, out: Path) -> None:
    write(level.low, out / f"coarse_{level.percent}.nii.gz")
    for name in ("sinc", "main", "finetuned"):
        write(level.images[name], out / f"{name}_{level.percent}.nii.gz")


def text_table(levels: list[Level]) -> str:
    """SSIM, PSNR and NRMSE of every method at every level, as aligned text."""
    width = max(map(len, TITLES.values()))
    head = [f"{level.percent} % of k-space".center(24) for level in levels]
    units = ["   SSIM  PSNR dB   NRMSE" for _ in levels]
    lines = ["  ".join([" " * width, *head]).rstrip(), "  ".join([" " * width, *units])]
    for name, title in TITLES.items():
        cells = [title.ljust(width)]
        for level in levels:
            scores = level.figures[name]
            cells.append(f"{scores['ssim']:7.4f}{scores['psnr']:9.2f}{scores['nrmse']:8.4f}")
        lines.append("  ".join(cells))
    return "\n".join(lines)


def _fill_report(report: Report, levels: list[Level], about: str) -> None:
    report.text(about, METHODS)
    comparisons = {f"{level.percent} % of k-space": level.comparison for level in levels}
    report.levels(comparisons)
    # Zero-filling at the coarsest level sets the scale: the shifted baselines would wash it out.
    coarsest = levels[-1]
    gap = coarsest.images["sinc"].array - coarsest.comparison.reference.array[0]
    limit = float(np.percentile(np.abs(gap), 99.8)) / coarsest.comparison.scale
    limit = max(0.05, round(20 * limit) / 20)
    for heading, comparison in comparisons.items():
        report.comparison(comparison, heading, difference_limit=limit)
    report.provenance({"Images": "nibabel, tests/data/example4d.nii.gz", "Truth": "frame 1"})


def _write_figures(levels: list[Level], out: Path, seconds: float) -> dict[str, str]:
    """``demo.json`` and ``demo.csv``; returns their paths."""
    whole = {"seconds": seconds, "levels": {level.percent: level.figures for level in levels}}
    with atomic_path(out / "demo.json") as partial:
        partial.write_text(to_json(whole, indent=2), encoding="utf-8")
    with (
        atomic_path(out / "demo.csv") as partial,
        partial.open("w", newline="", encoding="utf-8") as stream,
    ):
        table = csv.writer(stream)
        table.writerow(["kept_percent", "method", *FIGURES])
        for level in levels:
            for name, scores in level.figures.items():
                table.writerow([level.percent, name, *(scores[figure] for figure in FIGURES)])
    return {"json": str(out / "demo.json"), "csv": str(out / "demo.csv")}


def next_steps(out: Path, report: str, seconds: float) -> str:
    """What to open and what to run next on one's own files."""
    program = "mriforge"
    if shutil.which(program) is None:
        program = shlex.join([sys.executable, "-m", "mriforge"])
    return f"""
Done in {seconds / 60:.1f} minutes. Open {Path(report).resolve()}
Images for a viewer: {out.resolve()} (truth, prior; per level coarse, sinc, main, finetuned)

Now your own files, a coarse volume or series and a sharp scan of the same subject:
  {program} superres SERIES.nii.gz SHARP.nii.gz --prior SCAN.nii.gz --finetune
How well it does where you have a sharp reference:
  {program} degrade REFERENCE.nii.gz COARSE.nii.gz --keep 0.0625 --axes 0,1
  {program} superres COARSE.nii.gz SHARP.nii.gz --prior SCAN.nii.gz --finetune \\
    --like REFERENCE.nii.gz
  {program} evaluate SHARP.nii.gz --reference REFERENCE.nii.gz --report REPORT.html"""
