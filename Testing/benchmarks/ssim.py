"""Time and peak memory of SSIM with its full map, beside scikit-image, in fresh processes.

Run: ``python Testing/benchmarks/ssim.py [--threads 2] [--repeats 5]``. Both sides get the same
float32 volume of 192x192x160 voxels; the rounds alternate, and medians are compared. Peak memory
is the process' high-water mark minus what it held with the images loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

SHAPE = (160, 192, 192)
WINDOWS = {"uniform7": {}, "gaussian": {"gaussian_weights": True, "sigma": 1.5}}
ROOT = Path(__file__).resolve().parents[2]


def images() -> tuple[np.ndarray, np.ndarray]:
    """A smooth phantom with noise in [0, 1], and a blurred, noisier copy of it."""
    random = np.random.default_rng(1)
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in SHAPE)
    radius = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    sharp = (0.5 + 0.4 * np.cos(25 * radius)).astype(np.float32)
    noise = random.standard_normal(SHAPE, dtype=np.float32)
    return np.clip(sharp + 0.02 * noise, 0, 1), np.clip(0.9 * sharp + 0.05, 0, 1)


def start_peak() -> float:
    """Forget the high-water mark of memory where the system can (Linux); MiB held now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()


def peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(t for t in status.read_text().splitlines() if t.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


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
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        side, window, folder = options.one
        print(json.dumps(measure(side, window, options.threads, Path(folder))))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, image in zip(("x.npy", "y.npy"), images(), strict=True):
            np.save(Path(folder) / name, image)
        compare(folder, options.threads, options.repeats)


def compare(folder: str, threads: int, repeats: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for window in WINDOWS:
        rounds: dict[str, list[dict]] = {"own": [], "scikit-image": []}
        for _ in range(repeats):
            for side, results in rounds.items():
                command = [sys.executable, __file__, "--threads", str(threads)]
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


if __name__ == "__main__":
    main()
