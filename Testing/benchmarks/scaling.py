"""How time and memory grow: with the volume, with the frames, and rows of a cohort over processes.

    python Testing/benchmarks/scaling.py [--edges 32,64,96,128,160] [--frames 1,2,4,8,16]
        [--rows 4] [--processes 1,2] [--repeats 3] [--json FILE]

* volume: super-resolution in plane (``superres``, shipped model, factor 2) to edge^3 voxels, time
  and peak memory (in a fresh process, beyond image and network);
* frames: the same for a series of volumes of 48^3;
* rows: ``mriforge batch`` with that job on each row; workers' start included. Time on the wall says
  something on an idle machine only, time of the processors says what sharing costs.

All sizes take turns and medians are given. Growth from one size to the next is compared with that
of the voxels, or of the frames; N processes with an Nth of the time of one.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from measuring import (
    ROOT,
    Ratio,
    add_clock,
    clock_of,
    cpu_seconds,
    in_fresh_process,
    interleaved,
    memory_of,
    write_ratios,
)

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program's own processes do
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from mriforge import allocator
from mriforge.io import write
from mriforge.jobs import Request, run_request
from mriforge.superres.job import SuperresOptions, superres
from mriforge.volume import Grid, Image, Series, Volume

FRAME_EDGE = 48


def low_image(edge: int, frames: int = 0) -> Image:
    """Rings with noise, half the pixels in plane of ``edge``; a series if there are frames."""
    random = np.random.default_rng(0)
    shape = (edge, edge // 2, edge // 2)
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    rings = 500 + 400 * np.cos(12 * np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2))
    grid = Grid(shape, (2.0, 2.0, 1.0))
    noise = 10 * random.standard_normal((max(1, frames), *shape), dtype=np.float32)
    array = np.clip(rings + noise, 0, None).astype(np.float32)
    return Series(array, grid, np.arange(frames)) if frames else Volume(array[0], grid)


def job(image: Image) -> Callable[[], object]:
    """Super-resolution by 2 in plane, on the processor."""
    return lambda: superres(image, SuperresOptions(scale=2.0, device="cpu"))


def measure(edge: int) -> float:
    """MiB that one volume takes in this process beyond what is there already."""
    job(low_image(16))()
    return memory_of(job(low_image(edge)), "cpu")


def batch_seconds(rows: int, processes: int) -> tuple[float, float]:
    """Seconds of ``mriforge batch`` on as many volumes: on the wall, and of the processors."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = ["id,input,output"]
        for number in range(rows):
            write(low_image(FRAME_EDGE), folder / f"in{number}.nii.gz")
            lines.append(f"r{number},in{number}.nii.gz,out{number}.nii.gz")
        (folder / "table.csv").write_text("\n".join(lines) + "\n")
        options = {"manifest": str(folder / "table.csv"), "out": str(folder / "batch")}
        options |= {"job": "superres", "processes": processes}
        options["set"] = {"scale": "2", "device": "cpu"}
        start, used = time.perf_counter(), cpu_seconds()
        run_request(Request("batch", options))
        seconds, used = time.perf_counter() - start, cpu_seconds() - used
        missing = [n for n in range(rows) if not (folder / f"out{n}.nii.gz").is_file()]
        if missing:
            raise RuntimeError(f"rows {missing} gave nothing")
    return seconds, used


def growth(what: str, unit: str, sizes: list[int], work: list[float], values: list[float]):
    """From each size to the next: how much more it takes, beside how much more there is."""
    pairs = zip(
        itertools.pairwise(sizes),
        itertools.pairwise(work),
        itertools.pairwise(values),
        strict=True,
    )
    for (size, larger), (least, most), (before, after) in pairs:
        note = f"{before:.3g} {unit}, then {after:.3g} {unit}"
        yield Ratio(
            f"{what} from {size} to {larger}",
            "growth in proportion",
            "times",
            after / before,
            most / least,
            "growth",
            note,
        )


def by_volume(arguments: argparse.Namespace) -> list[Ratio]:
    """Time and memory by the edge of the result."""
    edges = arguments.edges
    ways = {str(edge): job(low_image(edge)) for edge in edges}
    seconds = list(interleaved(ways, arguments.repeats, clock_of(arguments)).values())
    words = ("--threads", str(arguments.threads), "--one")
    memory = [in_fresh_process(__file__, *words, str(edge)) for edge in edges]
    print("| edge | voxels | s | MiB | s per million voxels |\n|---|---|---|---|---|")
    for edge, taken, mib in zip(edges, seconds, memory, strict=True):
        rate = taken / edge**3 * 1e6
        print(f"| {edge} | {edge**3 / 1e6:.3g} M | {taken:.3g} | {mib:.0f} | {rate:.3g} |")
    work = [float(edge**3) for edge in edges]
    rows = list(growth("Super-resolution, time, edge", "s", edges, work, seconds))
    return rows + list(growth("Super-resolution, memory, edge", "MiB", edges, work, memory))


def by_frames(arguments: argparse.Namespace) -> list[Ratio]:
    """Time by the number of frames."""
    counts = arguments.frames
    ways = {str(count): job(low_image(FRAME_EDGE, count)) for count in counts}
    seconds = list(interleaved(ways, arguments.repeats, clock_of(arguments)).values())
    print("\n| frames | s | s per frame |\n|---|---|---|")
    for count, taken in zip(counts, seconds, strict=True):
        print(f"| {count} | {taken:.3g} | {taken / count:.3g} |")
    work = [float(count) for count in counts]
    return list(growth("Super-resolution of a series, time, frames", "s", counts, work, seconds))


def by_processes(arguments: argparse.Namespace) -> list[Ratio]:
    """Wall and processor time of a cohort by the number of processes."""
    if not importlib.util.find_spec("mriforge.cohort") or not arguments.rows:
        return []
    taken: dict[int, list[tuple[float, float]]] = {count: [] for count in arguments.processes}
    for _ in range(max(2, arguments.repeats)):
        for count, found in taken.items():
            found.append(batch_seconds(arguments.rows, count))
    middle = {count: [median(one) for one in zip(*t, strict=True)] for count, t in taken.items()}
    print(f"\n| processes | wall s of {arguments.rows} rows | processor s |\n|---|---|---|")
    for count, (wall, used) in middle.items():
        print(f"| {count} | {wall:.3g} | {used:.3g} |")
    first, *others = arguments.processes
    alone, note = middle[first], f"{os.cpu_count()} logical cores, other work included"
    rows = []
    for count in others:
        what, (wall, used) = f"Cohort of {arguments.rows} rows, {count} processes", middle[count]
        peer = f"{first}/{count} of the time with {first}"
        pair = wall, alone[0] * first / count
        rows.append(Ratio(f"{what}: wall time", peer, "s", *pair, "growth", note))
        pair = used, alone[1]
        rows.append(Ratio(f"{what}: processor time", f"with {first}", "s", *pair, "growth"))
    return rows


def whole(text: str) -> list[int]:
    """Numbers separated by commas."""
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edges", type=whole, default=[32, 64, 96, 128, 160])
    parser.add_argument("--frames", type=whole, default=[1, 2, 4, 8, 16])
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--processes", type=whole, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    add_clock(parser)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    allocator.tune()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    rows = by_volume(arguments) + by_frames(arguments) + by_processes(arguments)
    keys = ("edges", "frames", "rows", "processes", "repeats", "threads", "cpu_time")
    write_ratios(arguments.json, rows, {key: getattr(arguments, key) for key in keys})


if __name__ == "__main__":
    main()
