"""Thick slices on real data: every interpolation, every method, two profiles, three factors.

    python Testing/benchmarks/thick_slices.py DATA OUT [--ratios 2,4,6] [--profiles told,untold]
        [--methods smore_small] [--volumes vxm,spine] [--minutes M | --steps N] [--size 128]
        [--jobs 2] [--eclare PROGRAM] [--cpu-time] [--json FILE]

DATA is the folder of real volumes. Each is cropped to its middle (--size voxels at most along an
axis), made thick by 2, 4 and 6 and refined again:

* ``told``: Gaussian, full width at half maximum = slice spacing, and the method is told so;
* ``untold``: a box as wide as the slices are apart, and the method is told nothing: it has to
  find out (``--profile estimate``).

``--methods ...,sinc`` compares with a windowed sinc (Lanczos) across the slices. --json writes
ratios of NRMSE and time, means over volumes, of the first method to every other.

Nothing is trained on any other volume: every run learns from its own thick slices alone. --minutes
is the budget of each run (default: the recipe's); --steps makes runs independent of how busy the
machine is. --jobs runs several side by side, each on its share of the processors.

--methods ...,eclare compares with the package ``eclare`` (GPL-3.0), installed in an environment of
its own; --eclare names its program. It is run as it is and never imported. --eclare-patches sets
how long it trains (the package's default is a million patches, a day on a CPU).

Writes OUT/thick_slices.json and OUT/thick_slices.md after every run, and goes on from there when it
is started again; prints the Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from measuring import Ratio, add_clock, clock_of, write_ratios
from scipy.stats import ttest_rel, wilcoxon

VOLUMES: dict[str, tuple[str, str, int, str]] = {
    "studyforrest": ("brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz", "T1w head", 2, "A"),
    "memprage": ("brain3d/adi_T1w_memprage_1.1mm.nii.gz", "T1w head", 1, "B"),
    "vxm": ("brain3d/vxm_test_T1w_1mm_brain.nii.gz", "T1w brain", 2, "C"),
    "norm": ("brain3d/niivue_norm_T1w_1mm_brain.mgz", "T1w brain", 2, "D"),
    "t1c": ("brain3d/BraTS-MET-00110-000-t1c.nii.gz", "T1w+Gd brain", 2, "E"),
    "t2w": ("brain3d/BraTS-MET-00110-000-t2w.nii.gz", "T2w brain, sagittal stack", 0, "E"),
    "flair": ("brain3d/BraTS-MET-00110-000-t2f.nii.gz", "FLAIR brain, coronal stack", 1, "E"),
    "spine": ("aniso/sct_errsm30_T2w_spine_1mm.nii.gz", "T2w spine", 2, "F"),
    "neck": ("aniso/TPTBox_sub-mri_label-6_T2w.nii.gz", "T2w spine 1.5 mm", 2, "G"),
}
"""Name to (file, what it is, stored axis that is made thick, subject).

The T2w and FLAIR volumes of subject E were themselves made from thick axial slices, so they are
thickened along a direction in which they are sharp."""

REFERENCE = """
name = "reference"
task = "interslice"
network = {name = "smore_small", options = {pieces = 0}}
input = {percentile = 99.5}
slices = {slices = 16, columns = 24}
loss = {l1 = 1.0}
optimiser = {lr = 1e-3}
patches = {batch = 32}
schedule = {name = "onecycle"}
training = {steps = 1500, mixed_precision = false}
"""
"""``--methods reference``: six blocks of 32 channels on the interpolated image instead of the thick
rows, 1500 steps of 32 patches of 64 x 24 at a factor of 4: where the default started from."""

ECLARE_FEWEST = 1000
"""With fewer patches it has been far below interpolation; its default is a million."""

PROFILES = {"told": "gaussian", "untold": "box"}
HEADS = ("volume", "ratio", "profile", "method")


def cropped(path: Path, axis: int, size: int):
    """The middle of a volume, float32, its thick axis a multiple of 12 long."""
    from mriforge.io import read
    from mriforge.volume import Volume

    volume = read(path)
    array, first = volume.array.astype(np.float32), [0, 0, 0]
    centre = [int(c) for c in np.argwhere(array > 0.2 * np.percentile(array, 99)).mean(axis=0)]
    slices = []
    for a, n in enumerate(array.shape):
        length = min(n, size)
        if 2 - a == axis:
            length -= length % 12
        start = min(max(0, centre[a] - length // 2), n - length)
        first[2 - a] = start
        slices.append(slice(start, start + length))
    array = np.clip(array[tuple(slices)], 0, None)
    grid = volume.grid.resampled(array.shape[::-1], volume.grid.spacing, tuple(first))
    return Volume(np.ascontiguousarray(array), grid)


def thick(truth, axis: int, ratio: float, profile: str):
    """The stack that thick slices would have given."""
    from mriforge.degrade import DegradeOptions, degrade

    thickness = ratio * truth.grid.spacing[axis]
    return degrade(truth, DegradeOptions(slice_thickness=thickness, axis=axis, profile=profile))


def scores(image, truth) -> dict[str, float]:
    """PSNR (range: the truth's maximum), SSIM and NRMSE over the volume."""
    from mriforge.metrics.evaluate import evaluate

    found = evaluate(image, truth)
    return {"psnr": found.psnr, "ssim": found.ssim, "nrmse": found.nrmse}


def one(arguments: argparse.Namespace) -> dict:
    """One run in this process: a volume, a ratio, a profile, a method."""
    import torch

    from mriforge import allocator
    from mriforge.interslice.job import SliceOptions, sharpen_slices

    allocator.tune()
    torch.set_num_threads(arguments.threads)
    name, ratio, profile, method = arguments.one.split(",")
    path, _, axis, _ = VOLUMES[name]
    truth = cropped(arguments.data / path, axis, arguments.size)
    low = thick(truth, axis, float(ratio), PROFILES[profile])
    if method == "eclare":
        return eclare(low, truth, float(ratio), arguments)
    if method == "sinc":
        return sinc(low, truth, arguments)
    told = profile == "told"
    recipe = None
    if method == "reference":
        method, recipe = "smore_small", arguments.out / "reference.toml"
        recipe.write_text(REFERENCE)
    clock = clock_of(arguments)
    started, used = clock(), time.process_time()
    result = sharpen_slices(
        low,
        SliceOptions(
            method=method,
            recipe=recipe,
            axis=axis,
            like=truth.grid,
            profile="gaussian" if told else "estimate",
            thickness=float(ratio) * truth.grid.spacing[axis] if told else None,
            max_minutes=arguments.minutes,
            steps=None if recipe else arguments.steps,
            device="cpu",
        ),
    )
    seconds, used = clock() - started, time.process_time() - used
    figures = result.figures
    return {
        **scores(result.image, truth),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(used, 1),
        "shape": list(truth.array.shape),
        "true_profile": f"{PROFILES[profile]} {float(ratio) * truth.grid.spacing[axis]:.3g} mm",
        "assumed_profile": figures["profile"],
        "steps": figures.get("learning", {}).get("steps"),
        "gate": figures.get("gate", {}),
        "check": figures["check"],
        "consistency": figures["consistency"],
    }


def eclare(low, truth, ratio: float, arguments: argparse.Namespace) -> dict:
    """The public package on the same stack, told the same profile, for --eclare-patches patches."""
    from mriforge.io import read, write
    from mriforge.physics.interpolation import resample

    clock = clock_of(arguments)
    started = clock()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "low.nii.gz"
        write(low, source)
        command = [arguments.eclare, "--in-fpath", str(source), "--out-dir", f"{folder}/out"]
        command += ["--n-patches", str(arguments.eclare_patches), "--batch-size", "16"]
        command += ["--relative-slice-thickness", f"{ratio:g}", "--gpu-id", "-1"]
        environ = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        made = sorted(Path(folder, "out").rglob("*.nii.gz"))
        if done.returncode or not made:
            raise SystemExit(f"eclare failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        image = resample(read(made[0]), truth.grid, order=3, outside="nearest")
    seconds = round(clock() - started, 3)
    return {
        **scores(image, truth),
        "seconds": seconds,
        "patches": arguments.eclare_patches,
    }


def sinc(low, truth, arguments: argparse.Namespace) -> dict:
    """ITK's windowed sinc (Lanczos, five samples on each side) where the truth's voxels are."""
    import SimpleITK as sitk

    from mriforge.physics.interpolation import to_itk
    from mriforge.volume import Volume

    clock = clock_of(arguments)
    started = clock()
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(to_itk(truth))
    resampler.SetInterpolator(sitk.sitkLanczosWindowedSinc)
    resampler.UseNearestNeighborExtrapolatorOn()
    resampler.SetNumberOfThreads(arguments.threads)
    image = Volume(sitk.GetArrayFromImage(resampler.Execute(to_itk(low))), truth.grid)
    seconds = round(clock() - started, 3)
    return {**scores(image, truth), "seconds": seconds}


def ratios(found: dict[str, dict], arguments: argparse.Namespace) -> list[Ratio]:
    """The first method beside all others, means over volumes."""
    first = arguments.methods[0]
    others = [m for m in (*arguments.methods[1:], "cubic", "linear") if m != first]
    quantities = (("error", "", "nrmse"), ("time", "s", "seconds"))
    cases = itertools.product(arguments.profiles, arguments.ratios, dict.fromkeys(others))
    rows = []
    for (profile, ratio, other), (quantity, unit, key) in itertools.product(cases, quantities):
        keys = [[f"{n},{ratio},{profile},{m}" for n in arguments.volumes] for m in (first, other)]
        what = f"Thick slices, {ratio} times, profile {profile}, {first}: {quantity}"
        pair = [float(np.mean([found[k][key] for k in side])) for side in keys]
        peer = f"ECLARE, {arguments.eclare_patches} patches" if other == "eclare" else other
        note = ""
        if other == "eclare" and key == "seconds":
            note = "starting its program and its files count for it"
        elif other == "eclare" and arguments.eclare_patches < ECLARE_FEWEST:
            note = "too few patches to judge its quality, which is made for a graphics card"
        rows.append(Ratio(what, peer, unit, *pair, note=note))
    return rows


def runs(arguments: argparse.Namespace) -> Iterator[tuple[str, str, str, str]]:
    """Everything that was asked for."""
    for profile in arguments.profiles:
        for ratio in arguments.ratios:
            for name in arguments.volumes:
                for method in ("linear", "cubic", *arguments.methods):
                    yield name, ratio, profile, method


def spawn(arguments: argparse.Namespace, key: tuple[str, ...]) -> dict:
    """A run in a process of its own, so that memory and threads are its own."""
    command = [sys.executable, __file__, str(arguments.data), str(arguments.out)]
    command += ["--one", ",".join(key), "--size", str(arguments.size)]
    ours = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    command += ["--threads", str(arguments.threads or max(1, len(ours) // arguments.jobs))]
    command += ["--cpu-time"] if arguments.cpu_time else []
    for option in ("minutes", "steps", "eclare", "eclare_patches"):
        value = getattr(arguments, option)
        if value is not None:
            command += ["--" + option.replace("_", "-"), str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{key} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def markdown(found: dict[str, dict]) -> str:
    """Means over volumes, gains over cubic with paired tests, then every run."""
    table = {tuple(key.split(",")): value for key, value in found.items()}
    groups = sorted({key[1:] for key in table}, key=lambda k: (k[1], float(k[0]), k[2]))
    lines = [
        "| profile | ratio | method | n | PSNR dB | SSIM | NRMSE | over cubic, dB (least) "
        "| over linear, dB | paired t, Wilcoxon (PSNR against cubic) | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for ratio, profile, method in groups:
        names = [n for n in VOLUMES if (n, ratio, profile, method) in table]
        rows = [table[n, ratio, profile, method] for n in names]
        gains = {
            base: np.array(
                [
                    row["psnr"] - table[n, ratio, profile, base]["psnr"]
                    for n, row in zip(names, rows, strict=True)
                ]
            )
            for base in ("cubic", "linear")
        }
        over = gains["cubic"]
        tests = "-"
        if len(over) > 2 and np.any(over):
            tests = f"p = {ttest_rel(over, 0 * over).pvalue:.2g}, {wilcoxon(over).pvalue:.2g}"
        means = {f: np.mean([row[f] for row in rows]) for f in ("psnr", "ssim", "nrmse", "seconds")}
        lines.append(
            f"| {profile} | {ratio} | {method} | {len(rows)} | {means['psnr']:.2f} "
            f"| {means['ssim']:.4f} | {means['nrmse']:.4f} "
            f"| {over.mean():+.2f} ({over.min():+.2f}) "
            f"| {gains['linear'].mean():+.2f} | {tests} | {means['seconds']:.0f} |"
        )
    lines += ["", "| volume | what | " + " | ".join(HEADS[1:]) + " | PSNR | SSIM | NRMSE | gain |"]
    lines.append("|---" * 9 + "|")
    for (name, ratio, profile, method), row in sorted(table.items()):
        gain = row["psnr"] - table[name, ratio, profile, "cubic"]["psnr"]
        lines.append(
            f"| {name} | {VOLUMES[name][1]} | {ratio} | {profile} | {method} | {row['psnr']:.2f} "
            f"| {row['ssim']:.4f} | {row['nrmse']:.4f} | {gain:+.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ratios", default="2,4,6")
    parser.add_argument("--profiles", default="told,untold")
    parser.add_argument("--methods", default="smore_small")
    parser.add_argument("--volumes", default=",".join(VOLUMES))
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of a run; default: its share of all")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--eclare", help="program run-eclare of the package, for --methods eclare")
    parser.add_argument("--eclare-patches", type=int, default=2000)
    add_clock(parser)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    for name in ("ratios", "profiles", "methods", "volumes"):
        setattr(arguments, name, [part for part in getattr(arguments, name).split(",") if part])
    if arguments.one:
        print(json.dumps(one(arguments)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = arguments.out / "thick_slices.json"
    found = json.loads(kept.read_text()) if kept.is_file() else {}
    wanted = [key for key in runs(arguments) if ",".join(key) not in found]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for key, row in zip(wanted, pool.map(lambda k: spawn(arguments, k), wanted), strict=True):
            found[",".join(key)] = row
            kept.write_text(json.dumps(found, indent=1))
            print(",".join(key), f"{row['psnr']:.2f} dB, {row['seconds']} s", flush=True)
    text = markdown(found)
    (arguments.out / "thick_slices.md").write_text(text)
    print(text)
    keys = ("volumes", "size", "minutes", "steps", "eclare_patches", "cpu_time")
    setting = {key: getattr(arguments, key) for key in keys}
    write_ratios(arguments.json, ratios(found, arguments), setting)


if __name__ == "__main__":
    main()
