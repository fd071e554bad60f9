"""Which stage of SA-INR is worth what: Table 2 of Wang et al. 2024 on other data.

    python Testing/benchmarks/sa_inr_ablation.py DATA OUT [--minutes M] [--recipe sa_inr_small]
                                                 [--video FILE ...] [--volumes N]

DATA is the folder of real volumes. Trained from nothing: video pre-training (VP: two MR time series
and the given videos), supervised fine-tuning on thin slices (SF), self-supervised fine-tuning on
the scan itself (SSF); each stage of each row has M minutes. Scored on a centre crop of held-out
subjects whose slices were made 4 times as thick (Gaussian, sigma 0.75 thick slices, as published):
PSNR and SSIM (3-D) after the truth is scaled to 0..1, as in the public code. One row more than
published: SSF alone.

Training subjects and scored ones are disjoint. Writes OUT/ablation.json and OUT/ablation.md;
prints the Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import torch

from mriforge import allocator
from mriforge.events import Events
from mriforge.interslice.learned import Limits
from mriforge.interslice.sa_inr import StackRefiner, learn
from mriforge.interslice.scan import Scan
from mriforge.interslice.wish import plan_slices
from mriforge.io import read
from mriforge.metrics.similarity import psnr
from mriforge.metrics.ssim import ssim
from mriforge.models.store import load_model
from mriforge.physics.blur import SYNTHSR_SIGMA, SYNTHSR_TRUNCATE, GaussianBlur
from mriforge.physics.profiles import gaussian
from mriforge.recipes import Recipe, load_recipe
from mriforge.superres.intensity import intensity_scale
from mriforge.training.job import train
from mriforge.volume import Volume, as_series

RATIO = 4
CROP = (128, 144, 144)
ANY_PLANE = [[0, 1], [0, 2], [1, 2]]
VIDEOS = {
    "dynamic/sct_cspine_fmri_4D.nii.gz": "MIT",
    "dynamic/niivue_multiPLD_ASL_4D.nii.gz": "BSD-2",
}
THIN = {
    "brain3d/adi_T1w_memprage_1.1mm.nii.gz": "Apache-2.0",
    "brain3d/vxm_test_T1w_1mm_brain.nii.gz": "Apache-2.0",
    "brain3d/niivue_norm_T1w_1mm_brain.mgz": "BSD-2",
    "brain3d/BraTS-MET-00110-000-t1c.nii.gz": "Apache-2.0",
}
SCORED = {
    "brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz": 2,
    "aniso/sct_errsm30_T2w_spine_1mm.nii.gz": 0,
}
"""Held-out volumes and the stored axis that is made thick."""

PUBLISHED = {
    "Trilinear": (28.26, 0.8108),
    "SF": (30.19, 0.8216),
    "VP+SF": (30.40, 0.8342),
    "SF+SSF": (30.73, 0.8404),
    "VP+SF+SSF": (30.88, 0.8517),
}


class Case:
    """A held-out volume: its truth, and what is left of it when slices are thick."""

    def __init__(self, path: Path, axis: int) -> None:
        self.name = path.name.split(".")[0]
        self.truth, self.axis = centre(read(path), CROP), axis
        blur = GaussianBlur(self.truth.grid, {axis: RATIO})
        low = blur.A(torch.from_numpy(self.truth.array)).numpy()
        distance = self.truth.grid.spacing[axis] * RATIO
        profile = gaussian(SYNTHSR_SIGMA * distance, SYNTHSR_TRUNCATE)
        plan = plan_slices(blur.low, axis=axis, like=self.truth.grid)
        scale = intensity_scale(low, 99.5)
        self.scan = Scan.of(as_series(Volume(low, blur.low)), plan, profile, scale)

    def interpolated(self, kind: str) -> torch.Tensor:
        """By the matrix of that name."""
        matrix = getattr(self.scan.rows, kind)().float()
        return torch.einsum("hl,lbc->hbc", matrix, self.scan.frames[0])

    def score(self, fine: torch.Tensor) -> tuple[float, float]:
        """PSNR and SSIM of ``(high, b, c)``."""
        low, high = float(self.truth.array.min()), float(self.truth.array.max())
        scaled = [
            np.clip((array - low) / (high - low), 0, 1).astype(np.float32)
            for array in (self.truth.array, self.scan.volume(fine))
        ]
        return float(psnr(*scaled)), float(ssim(*scaled, threads=1)[0])


def centre(volume: Volume, shape: tuple[int, int, int]) -> Volume:
    """The middle of a volume, as float32."""
    size = [min(n, wanted) for n, wanted in zip(volume.array.shape, shape, strict=True)]
    size = [n - n % RATIO for n in size]
    first = [(n - s) // 2 for n, s in zip(volume.array.shape, size, strict=True)]
    window = tuple(slice(f, f + s) for f, s in zip(first, size, strict=True))
    grid = volume.grid.resampled(tuple(size[::-1]), volume.grid.spacing, tuple(first[::-1]))
    return Volume(np.ascontiguousarray(volume.array[window], dtype=np.float32), grid)


def manifest(path: Path, files: dict[Path, str], axes: list[list[int]]) -> Path:
    """All files as training data, each of its own subject."""
    entries = [
        {"path": str(file.resolve()), "subject": file.stem, "split": "train", "licence": terms}
        for file, terms in files.items()
    ]
    path.write_text(json.dumps([{**entry, "axes": axes} for entry in entries]), encoding="utf-8")
    return path


def stage_one(recipe: Recipe) -> Recipe:
    """Frames of video for the network of ``recipe``, at its rate."""
    video = load_recipe("sa_inr_video")
    if recipe.network == video.network:
        return video
    same = {"network": recipe.network, "optimiser": recipe.optimiser, "schedule": recipe.schedule}
    patches = dataclasses.replace(video.patches, batch=recipe.patches.batch)
    training = dataclasses.replace(video.training, epochs=0)
    return dataclasses.replace(video, **same, patches=patches, training=training)


def table(rows: dict[str, dict[str, tuple[float, float]]], cases: list[str], note: str) -> str:
    """Markdown: means over the cases beside the published figures, then every case."""
    head = "| row | PSNR | SSIM | " + " | ".join(cases) + " | published (different data) |"
    lines = [note, "", head, "|---" * (4 + len(cases)) + "|"]
    for name, scores in rows.items():
        means = [np.mean([scores[case][k] for case in cases]) for k in (0, 1)]
        each = " | ".join(f"{scores[case][0]:.2f} / {scores[case][1]:.4f}" for case in cases)
        paper = "{:.2f} / {:.4f}".format(*PUBLISHED[name]) if name in PUBLISHED else "-"
        lines.append(f"| {name} | {means[0]:.2f} | {means[1]:.4f} | {each} | {paper} |")
    lines += ["", "The ticks of the paper's rows 2 and 3 are lost; they are assigned by its text."]
    return "\n".join(lines)


def main() -> None:
    """Trains all rows and scores them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=1.5, help="of every stage")
    parser.add_argument("--recipe", default="sa_inr_small")
    parser.add_argument("--video", type=Path, action="append", default=[], help="for stage 1")
    parser.add_argument("--volumes", type=int, default=len(SCORED), help="how many are scored")
    chosen = parser.parse_args()
    allocator.tune()
    began = time.monotonic()
    chosen.out.mkdir(parents=True, exist_ok=True)
    recipe = load_recipe(chosen.recipe)
    videos = {chosen.data / name: terms for name, terms in VIDEOS.items()}
    videos |= dict.fromkeys(chosen.video, "given by the user")
    thin = {chosen.data / name: terms for name, terms in THIN.items()}
    first = manifest(chosen.out / "videos.json", videos, [[0, 1]])
    second = manifest(chosen.out / "thin.json", thin, ANY_PLANE)
    steps: dict[str, int] = {}

    def stage(name: str, what: Recipe, data: Path, start: Path | None = None) -> Path:
        folder = chosen.out / name
        outcome = train(what, data, folder, max_minutes=chosen.minutes, device="cpu", start=start)
        steps[name] = outcome.result.steps
        print(f"{name}: {outcome.result.steps} steps", flush=True)
        return outcome.model.path

    models = {"SF": stage("SF", recipe, second)}
    video = stage("VP", stage_one(recipe), first)
    models["VP+SF"] = stage("VP+SF", recipe, second, video)
    cases = [Case(chosen.data / n, a) for n, a in list(SCORED.items())[: chosen.volumes]]
    rows: dict[str, dict[str, tuple[float, float]]] = {}
    for case in cases:
        for name, kind in (("Trilinear", "linear"), ("Cubic", "cubic")):
            rows.setdefault(name, {})[case.name] = case.score(case.interpolated(kind))
        for name, folder in models.items():
            refiner = StackRefiner(load_model(folder)[0])
            fine = refiner(case.scan.frames[0], case.scan.rows)
            rows.setdefault(name, {})[case.name] = case.score(fine)
        for name, start in ({"SSF alone": None} | models).items():
            limits = Limits(max_minutes=chosen.minutes, start=start)
            learned = learn(case.scan, recipe, limits, Events())
            row = name if start is None else f"{name}+SSF"
            steps[f"{row} {case.name}"] = learned.figures["steps"]
            fine = learned.refiner(case.scan.frames[0], case.scan.rows)
            rows.setdefault(row, {})[case.name] = case.score(fine)
            print(row, case.name, rows[row][case.name], flush=True)
    note = (
        f"{recipe.name}, {chosen.minutes:g} min per stage, {torch.get_num_threads()} thread(s), "
        f"{(time.monotonic() - began) / 60:.1f} min in all; x{RATIO} across the slices."
    )
    result = {"note": note, "rows": rows, "steps": steps, "published": PUBLISHED}
    (chosen.out / "ablation.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    text = table(rows, [case.name for case in cases], note)
    (chosen.out / "ablation.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
