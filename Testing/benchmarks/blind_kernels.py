"""How well a hidden kernel is found: real sharp volumes, made low-resolution by one nobody is told.

    python Testing/benchmarks/blind_kernels.py DATA [OUT.json] [--kernels gaussian fermi motion]
        [--pairs strangers slices heads] [--recipe downsampling_gan:small] [--minutes 4]
        [--noise 0.01] [--seeds 0] [--threads 2] [--picture FILE.png]

DATA is the folder of real volumes. Low- and high-resolution images never show the same: of two
subjects of one scan type (``strangers``: two skull-stripped 1 mm T1w volumes; ``heads``: two whole
heads of two scanners, the finer one brought to the other's pixels), or of separate slices of one
volume (``slices``). Hidden kernels: a turned Gaussian of 0.8 by 2.2 pixels, the central quarter of
k-space with a Fermi window, and a curved smear such as a motion leaves.

Reported for each: correlation of the taps with the truth, distance of the centre of mass of what is
delivered from that of the truth (pixels), seconds, and beside it the correlation of what one would
assume without learning: bicubic downsampling and the Gaussian of 1.5 pixels. Wanted: correlation
above 0.9, centre within 0.3 pixel, under 5 minutes on two cores.

Prints Markdown; OUT.json gets every case.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mriforge.blind.finish import correlation
from mriforge.blind.learn import learn_kernel
from mriforge.blind.scans import prepare
from mriforge.io import read
from mriforge.losses.kernels import bicubic_kernel
from mriforge.physics.downsampling import DownsamplingKernel, KernelDownsampling, gaussian_kernel
from mriforge.physics.fermi import FermiCrop
from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.noise import add_complex_noise, generator
from mriforge.physics.operator import LinearOperator
from mriforge.recipes import load_recipe
from mriforge.volume import Grid, Volume, as_series

VXM = "brain3d/vxm_test_T1w_1mm_brain.nii.gz"
NORM = "brain3d/niivue_norm_T1w_1mm_brain.mgz"
ADI = "brain3d/adi_T1w_memprage_1.1mm.nii.gz"
FOREST = "brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz"
SIZE = 13


def motion_kernel() -> DownsamplingKernel:
    """A subject that drifts along a shallow curve while it is scanned, over a small Gaussian."""
    where = np.linspace(-1, 1, 41)
    curve = np.stack([1.6 * where + 1.2 * (where**2 - 1 / 3), 2.6 * where - 0.5 * where**3], 1)
    curve -= curve.mean(0)
    at = np.stack(np.indices((SIZE, SIZE)), -1) - SIZE // 2
    square = ((at[:, :, None] - curve) ** 2).sum(-1)
    return DownsamplingKernel(np.exp(-0.5 * square / 0.8**2).sum(-1))


def fermi_taps() -> np.ndarray:
    """Response of the central quarter of k-space with a Fermi window, its middle 13 x 13."""
    size = 96
    grid = Grid((1, size, size))
    full = FermiCrop(grid, (size // 2, size // 2, 1))
    # The response at a high-resolution place is what an impulse there gives to one fixed sample.
    sample = torch.zeros(full.low.shape, dtype=torch.float64)
    sample[0, size // 4, size // 4] = 1
    seen = full.A_adjoint(sample)[0].numpy()[::-1, ::-1]
    middle = np.unravel_index(np.argmax(seen), seen.shape)
    cut = tuple(slice(m - SIZE // 2, m + SIZE // 2 + 1) for m in middle)
    return seen[cut] / seen[cut].sum()


def hidden(name: str, grid: Grid) -> tuple[LinearOperator, np.ndarray]:
    """The operator of a hidden kernel, and its taps."""
    if name == "fermi":
        half = tuple(n // 2 if a < 2 else n for a, n in enumerate(grid.stored_shape))
        return FermiCrop(grid, half), fermi_taps()
    kernel = motion_kernel() if name == "motion" else gaussian_kernel((0.8, 2.2), angle=0.5)
    return KernelDownsampling(grid, kernel), kernel.taps


def volume(data: Path, name: str) -> Volume:
    return as_series(read(data / name))[0]


def even(scan: Volume) -> Volume:
    """Without a last row or column that has no partner."""
    shape = [n - n % 4 for n in scan.grid.stored_shape[:2]]
    array = scan.array[:, : shape[1], : shape[0]]
    grid = scan.grid.resampled((*shape, scan.grid.stored_shape[2]), scan.grid.spacing, (0, 0, 0))
    return Volume(np.ascontiguousarray(array, np.float32), grid)


def part(scan: Volume, first: float, last: float) -> Volume:
    """A range of slices, as shares of all."""
    start, stop = (round(share * scan.grid.shape[0]) for share in (first, last))
    n = scan.grid.stored_shape
    grid = scan.grid.resampled((n[0], n[1], stop - start), scan.grid.spacing, (0, 0, start))
    return Volume(scan.array[start:stop], grid)


def pair(data: Path, name: str) -> tuple[Volume, Volume]:
    """What stays sharp, and what is made low-resolution."""
    if name == "slices":
        scan = even(volume(data, VXM))
        return part(scan, 0.55, 0.8), part(scan, 0.25, 0.5)
    if name == "strangers":
        return part(even(volume(data, NORM)), 0.3, 0.7), part(even(volume(data, VXM)), 0.3, 0.7)
    target = even(volume(data, ADI))
    other = volume(data, FOREST)
    sizes = zip(other.grid.stored_shape, other.grid.spacing, target.grid.spacing, strict=True)
    n = [round(count * fine / coarse) for count, fine, coarse in sizes]
    crop = KspaceCrop(other.grid, (n[0], n[1], other.grid.stored_shape[2]))
    array = crop.A_complex(torch.from_numpy(other.array.astype(np.float32))).abs().numpy()
    same = Volume(array, dataclasses.replace(crop.low, spacing=target.grid.spacing))
    return part(even(same), 0.3, 0.7), part(target, 0.3, 0.7)


def low_resolution(scan: Volume, operator: LinearOperator, noise: float) -> Volume:
    sharp = torch.from_numpy(scan.array)
    low = operator.A_complex(sharp)
    if noise > 0:
        sd = noise * float(np.percentile(scan.array, 99.5))
        low = add_complex_noise(low, sd, generator(0, 0))
    return Volume(low.abs().numpy(), operator.low)


def one(data: Path, kernel: str, which: str, seed: int, options: Any) -> dict[str, Any]:
    """A case."""
    sharp, other = pair(data, which)
    operator, truth = hidden(kernel, other.grid)
    low = low_resolution(other, operator, options.noise)
    recipe = load_recipe(options.recipe)
    limits = {"max_minutes": options.minutes, **({"steps": options.steps} if options.steps else {})}
    recipe = dataclasses.replace(
        recipe, seed=recipe.seed + seed, training=dataclasses.replace(recipe.training, **limits)
    )
    started = time.monotonic()
    denoise = recipe.kernel.denoise if options.noise > 0 else 0.0
    ready = prepare([low], [sharp], ratio=(2, 2), denoise=denoise)
    found = learn_kernel(ready.low, ready.high, recipe, raw=ready.raw, noise=ready.noise)
    seconds = time.monotonic() - started
    row = {"pair": which, "kernel": kernel, "seed": seed, "steps": found.steps}
    row |= {"seconds": round(seconds, 1), "best_step": found.best.get("step", found.steps)}
    row |= figures(found.taps, truth)
    row["raw_correlation"] = round(correlation(found.raw, truth), 4)
    row["bicubic_correlation"] = round(correlation(bicubic_kernel(SIZE, 2).numpy(), truth), 4)
    row["gaussian_correlation"] = round(correlation(gaussian_kernel(1.5).taps, truth), 4)
    row["likeness"] = [round(entry["likeness"], 3) for entry in found.history]
    row["taps"] = np.round(found.taps, 5).tolist()
    return row


def figures(taps: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    apart = DownsamplingKernel(taps).centre_of_mass - DownsamplingKernel(truth).centre_of_mass
    return {
        "correlation": round(correlation(taps, truth), 4),
        "centre_apart": round(float(np.hypot(*apart)), 4),
    }


def sheet(rows: list[dict[str, Any]], path: Path) -> None:
    """Hidden and found kernel of each case: a line for a pair, two columns for a kernel."""
    from mriforge.report.figures import figure_class, to_png

    pairs = list(dict.fromkeys(row["pair"] for row in rows))
    kernels = list(dict.fromkeys(row["kernel"] for row in rows))
    size = (3.0 * len(kernels), 1.75 * len(pairs))
    panels = figure_class()(*size).subplots(len(pairs), 2 * len(kernels), squeeze=False)
    for row in rows:
        truth = hidden(row["kernel"], Grid((1, 64, 64)))[1]
        limit = float(np.abs(truth).max())
        line, column = pairs.index(row["pair"]), 2 * kernels.index(row["kernel"])
        titles = (f"{row['pair']}, {row['kernel']}", f"found: {row['correlation']:.2f}")
        for axes, taps, title in zip(
            panels[line, column : column + 2], (truth, np.array(row["taps"])), titles, strict=True
        ):
            axes.imshow(taps, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set_title(title, fontsize=7)
            axes.set_axis_off()
    figure = panels[0, 0].figure
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--kernels", nargs="+", default=["gaussian", "fermi", "motion"])
    parser.add_argument("--pairs", nargs="+", default=["strangers", "slices", "heads"])
    parser.add_argument("--recipe", default="downsampling_gan:small")
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    columns = ["pair", "kernel", "seed", "correlation", "centre_apart", "bicubic_correlation",
               "gaussian_correlation", "steps", "seconds"]  # fmt: skip
    print("| " + " | ".join(name.replace("_", " ") for name in columns) + " |")
    print("|---" * len(columns) + "|")
    rows = []
    for which in options.pairs:
        for kernel in options.kernels:
            for seed in options.seeds:
                rows.append(one(options.data, kernel, which, seed, options))
                print("| " + " | ".join(str(rows[-1][name]) for name in columns) + " |", flush=True)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if options.picture:
        sheet(rows, options.picture)


if __name__ == "__main__":
    main()
