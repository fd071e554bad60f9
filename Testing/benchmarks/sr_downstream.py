"""Does a segmentation notice that its image was super-resolved? (Chen 2021, 4.4.1 and table 4-3.)

    python Testing/benchmarks/sr_downstream.py DATA OUT [--keep 0.0625]

OUT is that of sr_networks.py. The dissertation compares 159 structures that a network finds in the
super-resolved and in the high-resolution image (HCP). Here a random forest learns the structures of
one labelled brain (DATA/brain3d/vxm_test) from intensities, their neighbourhood at four scales and
position, in the right half of the head; it then labels the left half of the sharp image, of each
interpolation and of what each system makes of the truncated image. Dice and Jaccard are the
agreement with the labels of the sharp image, means over structures, as in the dissertation; the
last column is the Dice with the labels that experts' software gave. One subject, another
segmenter: only orders can be compared. Needs scikit-learn. Writes OUT/sr_downstream.json and .md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from sr_networks import PLAIN, SYSTEMS, recipe_of

from mriforge.io import read
from mriforge.models.store import load_model
from mriforge.physics.interpolation import BASELINES
from mriforge.physics.kspace import KspaceCrop
from mriforge.superres.inference import Predictor
from mriforge.training.patches import low_matrix
from mriforge.volume import Grid, as_series

IMAGE = "brain3d/vxm_test_T1w_1mm_brain.nii.gz"
"""No system of ``sr_networks.py`` is trained on it."""
LABELS = "brain3d/vxm_test_seg_1mm.nii.gz"
SIDES = {41: 2, 42: 3, 43: 4, 44: 5, 46: 7, 47: 8, 49: 10, 50: 11, 51: 12, 52: 13, 53: 17, 54: 18,
         58: 26, 60: 28, 62: 30, 63: 31}  # fmt: skip
"""Structures of the right half to those of the left (FreeSurfer's table)."""
SMALLEST = 150
"""Voxels in each half that a structure has at least."""
SAMPLES = 120_000


def features(image: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Of the voxels in ``half``: intensity, smoothed, edges and curvature at scales, position."""
    maps = [image]
    for sigma in (0.7, 1.5, 3.0):
        maps.append(ndimage.gaussian_filter(image, sigma))
        maps.append(ndimage.gaussian_gradient_magnitude(image, sigma))
        maps.append(ndimage.gaussian_laplace(image, sigma))
    middle = (image.shape[2] - 1) / 2
    where = np.argwhere(half).astype(np.float32)
    where[:, 2] = np.abs(where[:, 2] - middle)  # left and right look alike
    return np.column_stack([*(m[half] for m in maps), where]).astype(np.float32)


def overlap(a: np.ndarray, b: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean Dice and Jaccard over structures."""
    dice, jaccard = [], []
    for label in labels:
        x, y = a == label, b == label
        both, either = (x & y).sum(), (x | y).sum()
        if either:
            dice.append(2 * both / (x.sum() + y.sum()))
            jaccard.append(both / either)
    return float(np.mean(dice)), float(np.mean(jaccard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--keep", type=float, default=0.0625, help="as sr_networks.py was told")
    chosen = parser.parse_args()
    image = as_series(read(chosen.data / IMAGE)).array[0].astype(np.float32)
    image = image / np.percentile(image, 99.5)
    truth = as_series(read(chosen.data / LABELS)).array[0].astype(int)
    for right, left in SIDES.items():
        truth[truth == right] = left
    # Stored from left to right along the first stored axis, the last of the array.
    inside = ndimage.binary_dilation(truth > 0, iterations=2)
    halves = np.zeros((2, *image.shape), bool)
    middle = image.shape[2] // 2
    halves[0, :, :, :middle], halves[1, :, :, middle:] = (
        inside[:, :, :middle],
        inside[:, :, middle:],
    )
    counts = [np.bincount(truth[half], minlength=truth.max() + 1) for half in halves]
    labels = np.flatnonzero((np.minimum(*counts) >= SMALLEST) & (np.arange(truth.max() + 1) > 0))
    rows, wanted = features(image, halves[0]), truth[halves[0]]
    take = np.random.default_rng(0).choice(len(rows), min(SAMPLES, len(rows)), replace=False)
    forest = RandomForestClassifier(
        60, max_depth=22, min_samples_leaf=3, class_weight="balanced_subsample", n_jobs=-1,
        random_state=0,
    ).fit(rows[take], wanted[take])  # fmt: skip
    answers = {"sharp": forest.predict(features(image, halves[1]))}
    sharp = torch.from_numpy(image)
    for name, system in SYSTEMS.items():
        folder = chosen.out / name.replace(" ", "_").replace(",", "") / "model"
        keep = recipe_of(system, chosen.keep).degradation.keep[0]
        if not folder.is_dir():
            continue
        height, width = low_matrix(tuple(image.shape[1:]), keep)
        operator = KspaceCrop(Grid(image.shape), (width, height, image.shape[0]))
        low = operator.A_complex(sharp).abs()
        for title, plain in PLAIN.items():
            if title not in answers:
                made = (
                    operator.zero_fill(low) if plain == "sinc" else BASELINES[plain](low, operator)
                )
                answers[title] = forest.predict(features(made.numpy(), halves[1]))
        made = Predictor(load_model(folder)[0], device="cpu")(operator.zero_fill(low)[None, None])
        answers[name] = forest.predict(features(made[0, 0].numpy(), halves[1]))
    given, results = truth[halves[1]], {}
    for name, found in answers.items():
        dice, jaccard = overlap(found, answers["sharp"], labels)
        results[name] = {
            "dice": dice, "jaccard": jaccard, "dice_given": overlap(found, given, labels)[0]
        }  # fmt: skip
    lines = [f"{len(labels)} structures.\n", "| image | Dice | Jaccard | Dice, given labels |"]
    lines += ["|---" * 4 + "|"] + [
        f"| {name} | {r['dice']:.4f} | {r['jaccard']:.4f} | {r['dice_given']:.4f} |"
        for name, r in results.items()
    ]
    (chosen.out / "sr_downstream.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    (chosen.out / "sr_downstream.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
