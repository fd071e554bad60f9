"""Eightfold undersampled Cartesian brain beside BART: figure, time, error on held-out samples.

Run: ``python Testing/benchmarks/cartesian_brain.py K_SPACE.npy [--output FILE.png] [--splits 3]
[--cpu-time] [--json FILE]``, with ``(coil, ny, nx)`` k-space and ``bart`` on the path (without it
ours is measured alone). There is no full k-space to compare with. Instead a random tenth
of the acquired samples outside of the calibration region is taken away from both sides, and the
error of predicting them is ``||predicted - measured|| / ||measured||``. Most of
it is noise, which no method predicts; its share is estimated from the corners of k-space.
BART (``ecalib -m1``, ``pics -l1``) runs at the regularisation that is best for it among
several, chosen on the same held-out samples; ours at its default, and at the best too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measuring import Ratio, add_clock, clock_of, write_ratios
from peers import how_to_install

from mriforge.io.bart import read_cfl, write_cfl
from mriforge.recon.cartesian import (
    centre_region,
    predict,
    reconstruct_cartesian,
    sampling_mask,
)
from mriforge.report.figures import figure_class, to_png

OURS = (0.001, 0.002, 0.004)
BART = ("-r0.002", "-r0.005", "-r0.01", "-r0.005 -i100", "-r0.01 -i100")
Images = tuple[torch.Tensor, torch.Tensor, float, float]
Clock = Callable[[], float]


def bart(folder: Path, threads: int, clock: Clock, *words: str) -> float:
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}
    start = clock()
    subprocess.run(["bart", *words], cwd=folder, env=environment, check=True, capture_output=True)
    return clock() - start


def with_bart(
    kspace: torch.Tensor, options: str, threads: int, folder: Path, clock: Clock
) -> Images:
    """Image, maps, and seconds for each; the image scaled to fit the data it was made from."""
    write_cfl(folder / "k", kspace.numpy()[:, None])
    maps_s = bart(folder, threads, clock, "ecalib", "-m1", "-r24", "k", "m")
    image_s = bart(folder, threads, clock, "pics", "-l1", *options.split(), "k", "m", "o")
    maps = torch.from_numpy(np.array(read_cfl(folder / "m")).reshape(kspace.shape))
    image = torch.from_numpy(np.array(read_cfl(folder / "o")).reshape(kspace.shape[1:]))
    acquired = kspace != 0
    found = predict(image, maps)[acquired]
    return image * (torch.vdot(found, kspace[acquired]) / found.norm() ** 2), maps, maps_s, image_s


def ours(kspace: torch.Tensor, regularisation: float, clock: Clock) -> Images:
    """As ``with_bart``; the whole, and of it the share of the maps."""
    start = clock()
    image, maps, info = reconstruct_cartesian(kspace, regularisation=regularisation)
    seconds = clock() - start
    share = info["maps_s"] / (info["maps_s"] + info["iterations_s"])
    return image, maps, share * seconds, (1 - share) * seconds


def held_out(mask: torch.Tensor, seed: int) -> torch.Tensor:
    held = (torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed)) < 0.1) & mask
    held[centre_region(mask)] = False
    return held


def noise_level(kspace: torch.Tensor, mask: torch.Tensor) -> float:
    """Root mean square of a complex sample in the corners, where there is little but noise."""
    away = [(torch.arange(n) - n // 2) / (n / 2) for n in mask.shape]
    corner = mask & (torch.hypot(away[0][:, None], away[1]) > 0.95)
    return float(kspace[:, corner].abs().square().mean().sqrt())


def draw(pictures: dict[str, torch.Tensor], path: Path) -> None:
    """Magnitudes on one scale, and the middle again at twice the size."""
    top = float(torch.quantile(next(iter(pictures.values())).abs().flatten(), 0.998))
    figure = figure_class()(4.0 * len(pictures), 8.2)
    for place, (title, picture) in enumerate(pictures.items()):
        ny, nx = picture.shape
        middle = picture[ny // 4 : -(ny // 4), nx // 4 : -(nx // 4)]
        for row, part in enumerate((picture, middle)):
            axes = figure.add_subplot(2, len(pictures), 1 + place + row * len(pictures))
            axes.imshow(part.abs().numpy(), cmap="gray", vmin=0, vmax=top)
            axes.set_axis_off()
            if row == 0:
                axes.set_title(title, fontsize=9)
    figure.tight_layout()
    path.write_bytes(to_png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kspace", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    add_clock(parser)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    clock = clock_of(options)
    torch.set_num_threads(options.threads)
    kspace = torch.from_numpy(np.load(options.kspace)).to(torch.complex64)
    mask = sampling_mask(kspace)
    noise = noise_level(kspace, mask)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        makers = {f"ours {r}": lambda k, r=r: ours(k, r, clock) for r in OURS}
        if shutil.which("bart") is None:
            print(f"BART is not there: {how_to_install('bart')}")
        for words in BART if shutil.which("bart") else ():
            makers[f"bart {words}"] = lambda k, w=words: with_bart(
                k, w, options.threads, folder, clock
            )
        errors, seconds = {m: [] for m in makers}, {m: [] for m in makers}
        floor = []
        for seed in range(options.splits):
            held = held_out(mask, seed)
            size = float(kspace[:, held].norm())
            floor.append(noise * (len(kspace) * int(held.sum())) ** 0.5 / size)
            for method, make in makers.items():
                image, maps, maps_s, image_s = make(kspace * ~held)
                wrong = (predict(image, maps) - kspace)[:, held]
                errors[method].append(float(wrong.norm()) / size)
                seconds[method].append((maps_s, image_s))
        print(f"acquired {mask.float().mean():.3f}, noise alone {np.mean(floor):.3f}")
        for method, values in errors.items():
            maps_s, image_s = np.median(seconds[method], 0)
            listed = " ".join(f"{value:.4f}" for value in values)
            print(
                f"{method:20} error {np.mean(values):.4f} ({listed})  "
                f"maps {maps_s:.2f} s, image {image_s:.2f} s"
            )
        best = min(makers, key=lambda m: (not m.startswith("bart"), np.mean(errors[m])))
        setting = {"splits": options.splits, "threads": options.threads, "best of BART": best}
        setting |= {"cpu_time": options.cpu_time, "noise alone": float(np.mean(floor))}
        write_ratios(options.json, ratios(errors, seconds, best), setting)
        if options.output:
            zeros = torch.fft.ifftshift(kspace, dim=(-2, -1))
            zeros = torch.fft.fftshift(torch.fft.ifft2(zeros, norm="ortho"), dim=(-2, -1))
            pictures = {
                "ESPIRiT + wavelets, FISTA (default)": makers["ours 0.002"](kspace)[0],
                f"best: {best}": makers[best](kspace)[0],
                "zero-filled, root sum of squares": zeros.abs().square().sum(0).sqrt(),
            }
            draw(pictures, options.output)


def ratios(errors: dict[str, list], seconds: dict[str, list], best: str) -> list[Ratio]:
    """Our default beside the setting of BART that is best on these samples."""
    if not best.startswith("bart"):
        return []
    what, peer = "Cartesian brain, ESPIRiT and wavelets", "BART ecalib and pics -l1"
    taken = [float(np.median(np.sum(seconds[m], 1))) for m in ("ours 0.002", best)]
    wrong = [float(np.mean(errors[m])) for m in ("ours 0.002", best)]
    note = "most of it is noise that nobody predicts; BART at the best of several settings"
    return [
        Ratio(f"{what}: time", peer, "s", *taken),
        Ratio(f"{what}: error on samples held out", peer, "", *wrong, note=note),
    ]


if __name__ == "__main__":
    main()
