"""EDSR trained on images made by a learned kernel, by the usual guesses, and by pixels.

    python Testing/benchmarks/blind_edsr.py DATA OUT [--kernel motion] [--minutes 5]
        [--folds 1 2 3 4 5] [--only learnt,gaussian,...] [--learn-minutes 4] [--noise 0.01]
        [--device cpu]

DATA is the folder of real volumes: five subjects, five folds by subjects. A hidden kernel (see
``blind_kernels.py``) makes the low-resolution images that are to be sharpened, with noise. Nobody
is told but ``truth``:

    learnt          the downsampling GAN, from a low-resolution scan of one subject and a sharp one
                    of another
    gaussian        sigma 1.5, every second pixel (Huang et al. 2021)
    fermi           central quarter of k-space with a Fermi window (Huang et al. 2021)
    dsn_matched     a network trained by pixels on pairs that lie on each other exactly
    dsn_moved       the same on pairs between which the subject moved and deformed
    truth           the hidden kernel itself: the best that can be hoped for

and cubic splines and zero-filling without any training. Per slice of the held-out subjects: PSNR,
SSIM, NIQE, PIQE; of the low-resolution images that were made for training: the distance of their
MSCN statistics from those of real ones (figure 5 of the paper). Paired tests against ``learnt``.
The last state of each training is taken: a choice by held-out images would tell the kernel.

Trainings and kernels that are in OUT are not repeated. Writes OUT/edsr-KERNEL.json and .md, and a
picture of one slice by all. Different data from the paper's, minutes in place of days.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from blind_kernels import NORM, VXM, hidden, low_resolution
from scipy import ndimage

from mriforge.blind.learn import learn_kernel
from mriforge.blind.pixelwise import learn_pixelwise, save_pixelwise
from mriforge.blind.scans import prepare
from mriforge.io import read
from mriforge.metrics.no_reference.mscn import mscn_distance
from mriforge.metrics.no_reference.niqe import niqe
from mriforge.metrics.no_reference.piqe import piqe
from mriforge.metrics.no_reference.pristine import load_niqe
from mriforge.metrics.ssim import ssim
from mriforge.metrics.statistics import paired_tests
from mriforge.models.store import load_model
from mriforge.physics.downsampling import DownsamplingKernel, read_kernel
from mriforge.physics.kspace import KspaceCrop
from mriforge.recipes import Recipe, load_recipe
from mriforge.superres.enlarge import Enlarger
from mriforge.training.enlarge import Halving, cubic
from mriforge.training.folds import groups
from mriforge.training.job import train
from mriforge.volume import Grid, Volume, as_series

SUBJECTS = {
    "vxm": (VXM, "Apache-2.0"),
    "niivue": (NORM, "BSD-2-Clause"),
    "brats": ("brain3d/BraTS-MET-00110-000-t1c.nii.gz", "Apache-2.0"),
    "adi": ("brain3d/adi_T1w_memprage_1.1mm.nii.gz", "Apache-2.0"),
    "sf02": ("brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz", "PDDL-1.0"),
}
METHODS = ("learnt", "gaussian", "fermi", "dsn_matched", "dsn_moved", "truth")
PLAIN = ("cubic", "zero-filled")
SEED = 2021
SLICES = 16
FIGURES = ("psnr", "ssim", "niqe", "piqe")


def sharp_slices(data: Path, subject: str, count: int = SLICES) -> Volume:
    """Slices spread over the tissue, of a size that can be halved, bright tissue 1."""
    volume = as_series(read(data / SUBJECTS[subject][0]))[0]
    array = volume.array.astype(np.float32)
    array /= np.percentile(array, 99.5)
    tissue = (array > 0.1).mean((1, 2))
    rich = np.flatnonzero(tissue > 0.25 * tissue.max())
    chosen = rich[np.linspace(0, len(rich) - 1, count).round().astype(int)]
    height, width = (n - n % 4 for n in array.shape[1:])
    array = np.ascontiguousarray(array[chosen, :height, :width])
    return Volume(array, Grid(array.shape, volume.grid.spacing))


def real_low(sharp: Volume, options: argparse.Namespace) -> Volume:
    return low_resolution(sharp, hidden(options.kernel, sharp.grid)[0], options.noise)


def learnt_kernel(options: argparse.Namespace) -> Path:
    """Of a low-resolution scan of one subject and a sharp one of another."""
    path = options.out / f"kernel-{options.kernel}.json"
    if not path.is_file():
        low = real_low(sharp_slices(options.data, "vxm", 32), options)
        high = sharp_slices(options.data, "niivue", 32)
        recipe = load_recipe("downsampling_gan:small")
        limits = dataclasses.replace(recipe.training, max_minutes=options.learn_minutes)
        ready = prepare([low], [high], ratio=(2, 2), denoise=recipe.kernel.denoise)
        recipe = dataclasses.replace(recipe, training=limits)
        found = learn_kernel(ready.low, ready.high, recipe, raw=ready.raw, noise=ready.noise)
        path.write_text(DownsamplingKernel(found.taps).to_json(), encoding="utf-8")
    return path


def moved(low: Volume, seed: int) -> Volume:
    """The subject a moment later: shifted and smoothly deformed, by two or three pixels."""
    rng = np.random.default_rng(seed)
    found = np.empty_like(low.array)
    for number, image in enumerate(low.array):
        bend = [ndimage.gaussian_filter(rng.standard_normal(image.shape), 10) for _ in range(2)]
        bend = [1.5 * part / np.abs(part).max() + rng.uniform(-1.5, 1.5) for part in bend]
        at = np.indices(image.shape) + np.stack(bend)
        found[number] = ndimage.map_coordinates(image, at, order=3, mode="nearest")
    return Volume(found, low.grid)


def pixelwise(options: argparse.Namespace, fold: int, kind: str) -> Path:
    """The comparator, trained on pairs of the fold's training subjects."""
    folder = options.out / f"{options.kernel}-{fold}-{kind}-network"
    if not (folder / "card.json").is_file():
        high, low = [], []
        for number, subject in enumerate(training_subjects(fold)):
            sharp = sharp_slices(options.data, subject)
            small = real_low(sharp, options)
            high += list(sharp.array)
            low += list((moved(small, number) if kind == "dsn_moved" else small).array)
        save_pixelwise(folder, learn_pixelwise(high, low, steps=options.dsn_steps), "the folds")
    return folder


def training_subjects(fold: int) -> list[str]:
    held = set(groups(list(SUBJECTS), 5, SEED)[fold - 1])
    return [subject for subject in SUBJECTS if subject not in held]


def recipe_of(method: str, fold: int, options: argparse.Namespace) -> Recipe:
    recipe = load_recipe("edsr:small")
    changes: dict = {"operator": method}
    if method in ("learnt", "truth"):
        kernel = read_kernel(learnt_kernel(options)) if method == "learnt" else None
        kernel = kernel or DownsamplingKernel(hidden(options.kernel, Grid((1, 64, 64)))[1])
        changes = {"operator": "kernel", "kernel": json.loads(kernel.to_json())}
    elif method.startswith("dsn"):
        changes = {"operator": "network", "network": str(pixelwise(options, fold, method))}
    noise = {"noise": (0.0, 2 * options.noise), "noise_probability": 0.8 * (options.noise > 0)}
    degradation = dataclasses.replace(recipe.degradation, **changes, **noise)
    validation = dataclasses.replace(recipe.validation, patches=0, fold=fold, folds=5)
    return dataclasses.replace(
        recipe, degradation=degradation, validation=validation, seed=SEED, name=method
    )


def trained(method: str, fold: int, options: argparse.Namespace) -> torch.nn.Module:
    folder = options.out / f"{options.kernel}-{fold}-{method}"
    if not (folder / "model" / "card.json").is_file():
        rows = [
            {"path": str((options.data / path).resolve()), "subject": subject, "split": "train",
             "licence": licence}
            for subject, (path, licence) in SUBJECTS.items()
        ]  # fmt: skip
        listed = options.out / "manifest.json"
        listed.write_text(json.dumps(rows), encoding="utf-8")
        outcome = train(
            recipe_of(method, fold, options), listed, folder, max_minutes=options.minutes,
            resume=True, device=options.device,
        )  # fmt: skip
        print(f"{method}, fold {fold}: {outcome.result.steps} steps", flush=True)
    return load_model(folder / "model")[0]


def sharpened(name: str, low: Volume, sharp: Volume, fold: int, options) -> np.ndarray:
    image = torch.from_numpy(low.array)
    if name == "cubic":
        return cubic(image.double()).float().numpy()
    if name == "zero-filled":
        target = KspaceCrop(sharp.grid, (low.array.shape[2], low.array.shape[1], len(low.array)))
        return target.zero_fill(image).numpy()
    device = torch.device(options.device)
    run = Enlarger(trained(name, fold, options), device, cancel=lambda: None, log=print)
    return run(image[None, None])[0, 0].numpy()


def scores(image: np.ndarray, sharp: np.ndarray) -> dict[str, list[float]]:
    model, rows = load_niqe(), {name: [] for name in FIGURES}
    for a, b in zip(image, sharp, strict=True):
        rows["psnr"].append(-10 * float(np.log10(np.square(a - b).mean())))
        rows["ssim"].append(float(ssim(a, b)[0]))
        rows["niqe"].append(float(niqe(255 * a, model)))
        rows["piqe"].append(float(piqe(255 * a)))
    return rows


def fold_scores(fold: int, names: list[str], options: argparse.Namespace) -> dict[str, dict]:
    """Figures of every method on the fold's held-out subject, and of its training images."""
    (subject,) = groups(list(SUBJECTS), 5, SEED)[fold - 1]
    sharp = sharp_slices(options.data, subject)
    low = real_low(sharp, options)
    found = {}
    for name in names:
        image = sharpened(name, low, sharp, fold, options)
        found[name] = {"subject": subject, **scores(image, sharp.array)}
        if name not in PLAIN:
            make = Halving(recipe_of(name, fold, options).degradation)
            other = sharp_slices(options.data, training_subjects(fold)[0])
            made = make(torch.from_numpy(other.array), options.noise, np.random.default_rng(0))
            apart = mscn_distance(255 * made.numpy(), 255 * real_low(other, options).array)
            found[name]["mscn_distance"] = apart
        if fold == options.folds[0]:
            np.save(options.out / f"{options.kernel}-{name}.npy", image[SLICES // 2])
    if fold == options.folds[0]:
        np.save(options.out / f"{options.kernel}-sharp.npy", sharp.array[SLICES // 2])
        np.save(options.out / f"{options.kernel}-low.npy", low.array[SLICES // 2])
    return found


def markdown(results: dict[str, dict[str, dict]], names: list[str]) -> str:
    """One table over all folds, with paired tests over slices against ``learnt``."""

    def every(name: str, figure: str) -> list[float]:
        return [value for fold in results.values() for value in fold[name][figure]]

    lines = [
        "| trained on | PSNR dB | SSIM | NIQE | PIQE | MSCN distance of the training images | "
        "PSNR against learnt (p) |",
        "|---" * 7 + "|",
    ]
    for name in names:
        apart = [fold[name].get("mscn_distance", np.nan) for fold in results.values()]
        cells = []
        for figure in FIGURES:
            digits, values = 3 if figure == "ssim" else 2, every(name, figure)
            cells.append(f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}")
        cells.append("–" if name in PLAIN else f"{np.mean(apart):.3f}")
        test = "–"
        if name != "learnt" and "learnt" in names:
            pair = paired_tests(every(name, "psnr"), every("learnt", "psnr"))
            test = f"{pair.mean_difference:+.2f} ({pair.wilcoxon_p:.2g})"
        lines.append("| " + " | ".join([name, *cells, test]) + " |")
    return "\n".join(lines) + "\n"


def picture(names: list[str], options: argparse.Namespace) -> None:
    """One slice by all, and its middle enlarged."""
    from mriforge.report.figures import figure_class, to_png

    shown = ["low", *names, "sharp"]
    figure = figure_class()(2.1 * len(shown), 4.4)
    for place, name in enumerate(shown, 1):
        image = np.load(options.out / f"{options.kernel}-{name}.npy")
        h, w = image.shape
        for row, part in enumerate((image, image[h // 3 : h // 2, w // 3 : w // 2])):
            axes = figure.add_subplot(2, len(shown), place + row * len(shown))
            axes.imshow(part, cmap="gray", vmin=0, vmax=1)
            axes.set_axis_off()
            if row == 0:
                axes.set_title(name, fontsize=9)
    figure.tight_layout()
    (options.out / f"edsr-{options.kernel}.png").write_bytes(to_png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kernel", default="motion", choices=["gaussian", "fermi", "motion"])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--learn-minutes", type=float, default=4.0)
    parser.add_argument("--dsn-steps", type=int, default=2000)
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--only", default=",".join((*PLAIN, *METHODS)))
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    names = options.only.split(",")
    results = {str(fold): fold_scores(fold, names, options) for fold in options.folds}
    stem = options.out / f"edsr-{options.kernel}"
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    table = markdown(results, names)
    stem.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)
    picture(names, options)


if __name__ == "__main__":
    main()
