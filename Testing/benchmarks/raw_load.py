"""ISMRMRD raw data: time to load, beside plain h5py and the reference package's loop.

    python Testing/benchmarks/raw_load.py [--readouts 4000] [--rounds 5] [--loop-rounds 1]

One file of golden-angle readouts (8 coils, 320 samples, trajectory) is loaded in turn by

- ``read_ismrmrd``: the file understood and checked, k-space and trajectory as arrays;
- h5py: the whole table in one read, no array made of it (the floor);
- h5py, with k-space and trajectory joined to arrays (what a reader has to do at least);
- ``ismrmrd.Dataset.read_acquisition`` in a loop.

Rounds alternate; medians and ratios are printed. The file is in the cache of the system.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import h5py
import ismrmrd
import numpy as np

from mriforge.io.ismrmrd import read_ismrmrd, write_ismrmrd
from mriforge.physics.trajectory import golden_angles, radial
from mriforge.rawdata import RawData
from mriforge.volume import Grid

COILS, SAMPLES, PULSES = 8, 320, 688
LIMITS = {"h5py": 1.5, "loop": 50.0}


def make(path: Path, readouts: int) -> None:
    """Noise along spokes, every other readout a navigator."""
    rng = np.random.default_rng(0)
    pulse = np.arange(readouts) % PULSES
    navigator = pulse % 2 == 0
    angles = np.where(navigator, 0.0, golden_angles(readouts))
    parts = rng.standard_normal((readouts, COILS, SAMPLES, 2), np.float32)
    raw = RawData(
        kspace=parts.view(np.complex64)[..., 0],
        trajectory=radial(angles, SAMPLES),
        navigator=navigator,
        since_inversion=pulse.astype(np.int32),
        time_s=np.arange(readouts) * 0.0036,
        grid=Grid((1, SAMPLES // 2, SAMPLES // 2), (1.6875, 1.6875, 8.0)),
        repetition_s=0.0036,
        flip_deg=5.0,
    )
    write_ismrmrd(path, raw)


def ours(path: Path) -> np.ndarray:
    """This package."""
    return read_ismrmrd(path).kspace


def bulk(path: Path) -> np.ndarray:
    """The table of the file, in one read."""
    with h5py.File(path, "r") as file:
        return file["dataset/data"][:]


def joined(path: Path) -> np.ndarray:
    """The table in one read, and arrays of it."""
    rows = bulk(path)
    trajectory = np.concatenate(rows["traj"]).reshape(len(rows), SAMPLES, 2)
    assert trajectory.shape[0] == len(rows)
    flat = np.concatenate(rows["data"]).view(np.complex64)
    return flat.reshape(len(rows), COILS, SAMPLES)


def loop(path: Path) -> np.ndarray:
    """The reference package, readout by readout."""
    with ismrmrd.Dataset(str(path), mode="r") as data:
        count = data.number_of_acquisitions()
        return np.stack([data.read_acquisition(n).data for n in range(count)])


def timed(load: Callable[[Path], np.ndarray], path: Path) -> tuple[float, np.ndarray]:
    """Seconds, and what was loaded."""
    start = time.perf_counter()
    found = load(path)
    return time.perf_counter() - start, found


def main() -> None:
    """Measures and prints a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readouts", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loop-rounds", type=int, default=1)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {"ours": [], "h5py": [], "joined": [], "loop": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        make(path, options.readouts)
        sides = {"ours": ours, "h5py": bulk, "joined": joined, "loop": loop}
        ours(path)
        for turn in range(max(options.rounds, options.loop_rounds)):
            found = {}
            for side, load in sides.items():
                if turn < (options.loop_rounds if side == "loop" else options.rounds):
                    taken, found[side] = timed(load, path)
                    seconds[side].append(taken)
            for side in ("joined", "loop"):
                if side in found:
                    assert np.array_equal(found["ours"], found[side]), side
        size = path.stat().st_size / 2**20
    medians = {side: median(values) for side, values in seconds.items()}
    print(f"{options.readouts} readouts, {COILS} coils, {SAMPLES} samples, {size:.0f} MiB")
    for side, value in medians.items():
        print(f"{side:8s} {value:8.3f} s   {value / medians['ours']:7.2f} x ours")
    figures = {
        "readouts": options.readouts,
        "seconds": medians,
        "ours_over_h5py": medians["ours"] / medians["h5py"],
        "ours_over_joined": medians["ours"] / medians["joined"],
        "loop_over_ours": medians["loop"] / medians["ours"],
        "limits": LIMITS,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
