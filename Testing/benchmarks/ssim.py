"""Time and peak memory of SSIM with its full map, beside scikit-image, in fresh processes.

Run: ``python Testing/benchmarks/ssim.py [--threads 2] [--repeats 5] [--shape 160 192 192]
[--cpu-time] [--json FILE]``. Both sides get the same float32 volume; the rounds alternate, and
medians are compared. Peak memory is the process' high-water mark minus what it held with the
images loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from measuring import ROOT, Ratio, add_clock, peak_mib, start_peak, write_ratios

WINDOWS = {"uniform7": {}, "gaussian": {"gaussian_weights": True, "sigma": 1.5}}


def images(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A smooth phantom with noise in [0, 1], and a blurred, noisier copy of it."""
    random = np.random.default_rng(1)
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    radius = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    sharp = (0.5 + 0.4 * np.cos(25 * radius)).astype(np.float32)
    noise = random.standard_normal(shape, dtype=np.float32)
    return np.clip(sharp + 0.02 * noise, 0, 1), np.clip(0.9 * sharp + 0.05, 0, 1)


def measure(side: str, window: str, threads: int, folder: Path) -> dict:
    """One round in this process: warm-up on a corner, baseline memory, one timed call."""
    x, y = (np.load(folder / name) for name in ("x.npy", "y.npy"))
    if side == "own":
        from mriforge.metrics.ssim import ssim

        def call(a, b):
            return ssim(a, b, window=window, threads=threads)
    else:
        from skimage.metrics import structural_similarity

        def call(a, b):
            return structural_similarity(a, b, data_range=1.0, full=True, **WINDOWS[window])

    call(x[:16, :16, :16], y[:16, :16, :16])
    before = start_peak()
    start, cpu = time.perf_counter(), time.process_time()
    mean, _ = call(x, y)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"mean": float(mean), "wall_s": wall, "cpu_s": cpu, "extra_mib": peak_mib() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, default=[160, 192, 192], metavar="N")
    add_clock(parser)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        side, window, folder = options.one
        print(json.dumps(measure(side, window, options.threads, Path(folder))))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, image in zip(("x.npy", "y.npy"), images(tuple(options.shape)), strict=True):
            np.save(Path(folder) / name, image)
        ratios = compare(folder, options)
    setting = {"shape": options.shape, "threads": options.threads, "repeats": options.repeats}
    write_ratios(options.json, ratios, {**setting, "cpu_time": options.cpu_time})


def compare(folder: str, options: argparse.Namespace) -> list[Ratio]:
    """Medians of both sides for either window."""
    found = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for window in WINDOWS:
        rounds: dict[str, list[dict]] = {"own": [], "scikit-image": []}
        for _ in range(options.repeats):
            for side, results in rounds.items():
                command = [sys.executable, __file__, "--threads", str(options.threads)]
                command += ["--one", side, window, folder]
                output = subprocess.check_output(command, env=environment, text=True)
                results.append(json.loads(output))
        figures = {
            side: {key: median(r[key] for r in results) for key in results[0]}
            for side, results in rounds.items()
        }
        for side, row in figures.items():
            print(
                f"{window:9s} {side:13s} {row['wall_s']:.3f} s wall, {row['cpu_s']:.3f} s CPU, "
                f"+{row['extra_mib']:.0f} MiB, mean SSIM {row['mean']:.6f}"
            )
        own, other = figures["own"], figures["scikit-image"]
        wall, cpu, memory = (other[key] / own[key] for key in ("wall_s", "cpu_s", "extra_mib"))
        print(f"{window:9s} {wall:.1f}x faster (CPU time {cpu:.1f}x), memory 1/{memory:.1f}")
        clock = "cpu_s" if options.cpu_time else "wall_s"
        for quantity, unit, key in (("time", "s", clock), ("peak memory", "MiB", "extra_mib")):
            what = f"SSIM map, {window} window: {quantity}"
            found.append(Ratio(what, "scikit-image", unit, own[key], other[key]))
    return found


if __name__ == "__main__":
    main()
