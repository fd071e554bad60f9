"""How well the slice profile is found: real sharp volumes, made thick by a known one.

    python Testing/benchmarks/slice_profile.py DATA [OUT.json] [--method estimate|learnt]
        [--axes 2 0] [--ratios 2 4 6] [--noise 0.03] [--minutes 2]

DATA is the folder of real volumes. Each is cut to whole slices and made thick along a stored axis
2, 4 and 6 times by a Gaussian as wide as the slices are apart, a box of that width, and a Gaussian
of 0.6 of it (a gap). Errors are of the FWHM; a box that is described by a Gaussian is compared by
its second moment (0.68 of its width). The volumes are not equally sharp along all axes themselves:
what is found is the blur relative to the pixels, and that shows up as error here.

Prints Markdown; OUT.json gets every case.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from mriforge.interslice.profile import find_profile, profile_width
from mriforge.interslice.profile_learnt import LearntSettings
from mriforge.io import read
from mriforge.physics.profiles import FWHM_PER_SIGMA, Profile, box, gaussian
from mriforge.physics.slices import SliceProfile
from mriforge.volume import Volume

VOLUMES = {
    "vxm": "brain3d/vxm_test_T1w_1mm_brain.nii.gz",
    "niivue": "brain3d/niivue_norm_T1w_1mm_brain.mgz",
    "studyforrest": "brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz",
    "adi": "brain3d/adi_T1w_memprage_1.1mm.nii.gz",
    "spine": "aniso/sct_errsm30_T2w_spine_1mm.nii.gz",
    "brats": "brain3d/BraTS-MET-00110-000-t1c.nii.gz",
}


def profiles(spacing: float) -> dict[str, Profile]:
    """The kinds of slices, by name."""
    return {
        "gaussian": gaussian(spacing / FWHM_PER_SIGMA),
        "box": box(spacing),
        "gap": gaussian(0.6 * spacing / FWHM_PER_SIGMA),
    }


def whole(image: Volume, axis: int, ratio: int) -> Volume:
    """Without the last voxels that fill no slice: slices then lie as in a grid that is planned."""
    shape = list(image.grid.stored_shape)
    shape[axis] -= shape[axis] % ratio
    grid = image.grid.resampled(tuple(shape), image.grid.spacing, (0, 0, 0))
    cut = tuple(slice(0, n) for n in reversed(shape))
    return Volume(image.array[cut].astype(np.float32), grid)


def thick(image: Volume, axis: int, spacing: float, profile: Profile, noise: float) -> Volume:
    """Slices of ``profile``; Rician noise of ``noise`` times the brightest tissue."""
    acquire = SliceProfile(image.grid, spacing, 0.0, axis, profile)
    array = acquire.A(torch.from_numpy(image.array)).float().numpy()
    if noise:
        random = np.random.default_rng(0)
        sd = noise * np.percentile(array, 99)
        real, imaginary = random.normal(0, sd, (2, *array.shape))
        array = np.hypot(array + real, imaginary).astype(np.float32)
    return Volume(array, acquire.low)


def cases(data: Path, options: argparse.Namespace) -> Iterator[tuple[dict, Volume, Profile]]:
    """What is known of a case, its thick stack, its profile."""
    for name, path in VOLUMES.items():
        image = read(data / path)
        for axis in options.axes:
            for ratio in options.ratios:
                sharp = whole(image, axis, ratio)
                spacing = ratio * sharp.grid.spacing[axis]
                for kind, profile in profiles(spacing).items():
                    known = {"volume": name, "axis": axis, "ratio": ratio, "kind": kind}
                    yield known, thick(sharp, axis, spacing, profile, options.noise), profile


def run(data: Path, options: argparse.Namespace) -> list[dict]:
    """One row for each case."""
    rows = []
    for known, image, truth in cases(data, options):
        settings = LearntSettings(minutes=options.minutes)
        began, processor = time.perf_counter(), time.process_time()
        found = find_profile(image, known["axis"], wish=options.method, learnt=settings)
        row = {**known, **found.describe()}
        row["seconds"] = time.perf_counter() - began
        row["processor_seconds"] = time.process_time() - processor
        row["true_mm"] = profile_width(truth)
        row["error"] = profile_width(found.profile) / row["true_mm"] - 1
        rows.append(row)
        print(
            f"| {known['volume']} | {known['axis']} | x{known['ratio']} | {known['kind']} "
            f"| {row['true_mm']:.2f} | {profile_width(found.profile):.2f} | {row['error']:+.0%} "
            f"| {found.relative_sd or float('nan'):.2f} | {found.source} | {row['seconds']:.1f} |",
            flush=True,
        )
    return rows


def summary(rows: list[dict]) -> str:
    """Median errors by kind and ratio, in Markdown."""
    lines = ["| profile | ratio | cases | median error | bias | within 15 % |", "|---" * 6 + "|"]
    for kind in ("gaussian", "box", "gap", "all"):
        for ratio in (*sorted({row["ratio"] for row in rows}), "all"):
            error = np.array(
                [
                    row["error"]
                    for row in rows
                    if kind in ("all", row["kind"]) and ratio in ("all", row["ratio"])
                ]
            )
            if len(error):
                lines.append(
                    f"| {kind} | {ratio} | {len(error)} | {np.median(abs(error)):.1%} "
                    f"| {np.median(error):+.1%} | {np.mean(abs(error) < 0.15):.0%} |"
                )
    seconds = np.array([row["seconds"] for row in rows])
    lines.append(
        f"\nTime: median {np.median(seconds):.1f} s, longest {seconds.max():.1f} s; refused: "
        f"{sum(row['source'] == 'assumed' for row in rows)} of {len(rows)}."
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--method", default="estimate", choices=["estimate", "learnt"])
    parser.add_argument("--axes", type=int, nargs="+", default=[2, 0])
    parser.add_argument("--ratios", type=int, nargs="+", default=[2, 4, 6])
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--minutes", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| volume | axis | ratio | profile | true mm | found mm | error | sd | source | s |")
    print("|---" * 10 + "|")
    rows = run(options.data, options)
    print("\n" + summary(rows))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
