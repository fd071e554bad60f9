"""How long a move of a slider takes in the MTMRIRecon panel, from the widget to the drawn view.

    python Testing/benchmarks/slider.py [--matrix 160] [--rank 32] [--partitions 1] [--moves 200]

41,280 images (20 x 6 x 344) that are never in memory. "image" is computing one and writing it into
the voxels of the node in place; "view" is the same with the slice views drawn by VTK afterwards, on
this machine in software. The bar is 30 ms for the image on two cores.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

BINS = (20, 6, 344)


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--matrix", type=int, default=160)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--moves", type=int, default=200)
    arguments = parser.parse_args()
    import host

    host.start()
    host.load_module(HERE.parents[1] / "MTMRIRecon" / "MTMRIRecon.py")
    panel = host.open_module("MTMRIRecon").self()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study" / "factors.npz"
        path.parent.mkdir()
        write(path, arguments.matrix, arguments.rank, arguments.partitions)
        started = time.perf_counter()
        nodes = panel.logic.open(path)
        print(f"opened in {time.perf_counter() - started:.2f} s")
        panel.logic.getParameterNode().framesNode = nodes["frames"]
        host.process_events(0.3)
        measure(panel, arguments.moves)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process {peak:.2f} GiB")


def write(path: Path, matrix: int, rank: int, partitions: int) -> None:
    """Random factors of the size in question."""
    from mriforge.factors import Factors
    from mriforge.volume import Grid

    rng = np.random.default_rng(0)
    shape = (rank, partitions, matrix, matrix)
    spatial = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    temporal = rng.normal(size=(rank, *BINS)).astype(np.float32)
    times = 0.0072 * np.arange(BINS[2])
    Factors(spatial, temporal, Grid(shape[1:]), times).save(path)


def measure(panel, moves: int) -> None:
    """Random positions: the image alone, then by the sliders with the views drawn."""
    import host

    from MRIForgeLib.recon.frames import Position

    frames, ui = panel.framesSection.frames, panel.ui
    sliders = (ui.cardiacSlider, ui.respiratorySlider, ui.inversionSlider)
    rng = np.random.default_rng(1)
    positions = rng.integers(0, frames.factors.bins, (moves, 3))
    images, views = [], []
    for numbers in positions:
        started = time.perf_counter()
        frames.show(Position(*(int(n) for n in numbers)))
        images.append(time.perf_counter() - started)
    for numbers in positions:
        started = time.perf_counter()
        for slider, number in zip(sliders, numbers, strict=True):
            slider.value = int(number) + 1
        host.process_events(0)
        views.append(time.perf_counter() - started)
    factors = frames.factors
    print(f"{factors.frames:,} images of {factors.grid.shape}, L = {factors.rank}")
    for name, seconds in (("image", images), ("view", views)):
        low, median, high = 1000 * np.percentile(seconds, (5, 50, 95))
        print(f"{name:6} median {median:6.2f} ms   5-95 % {low:.2f}-{high:.2f} ms")


if __name__ == "__main__":
    main()
