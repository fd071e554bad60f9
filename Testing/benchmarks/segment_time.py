"""Time and memory of outlining organs in three views beside the bare network on the same slabs.

    python Testing/benchmarks/segment_time.py --networks denseunet_small,denseunet_k48 \
        --json figures.json

Prints a markdown table. The image is smooth noise of 320 x 260 x 80 voxels of 1.2 mm, the voxel
size that the network works at; weights are random, so that classes are hardly told apart: what
rounding can change, it changes here. "Bare network" is the network on slabs that lie ready in
memory, as many of the same sizes in the same batches, and nothing else. Everything from the image
to labels on its grid counts as outlining (files do not). Both are interleaved and their medians
given, because machines are shared. Peak memory is what a fresh process takes beyond image and
network (Linux).

Labels for several batches of slabs and for two numbers of overlapping slabs are compared with those
of one slab at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program's own processes do

import numpy as np
import torch
from measuring import Ratio, write_ratios
from scipy import ndimage
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mriforge import allocator
from mriforge.anatomy import VIEWS
from mriforge.networks.registry import build
from mriforge.segment.outline import Outliner, Settings
from mriforge.segment.slabs import slab_starts
from mriforge.volume import Grid, Volume

SPACING = 1.2


def image_of(shape: tuple[int, int, int]) -> Volume:
    """Smooth noise ``(z, y, x)``."""
    rng = np.random.default_rng(0)
    array = ndimage.gaussian_filter(rng.normal(0, 1, shape).astype(np.float32), 3)
    return Volume(array, Grid(shape, (SPACING,) * 3))


def network_of(name: str) -> nn.Module:
    """A network with random weights, always the same."""
    torch.manual_seed(0)
    return build(name).eval()


def bare(outliner: Outliner, shape: tuple[int, int, int], half: bool) -> Callable[[], None]:
    """The network on slabs of the same number, size and batch as outlining takes."""
    settings, device = outliner.settings, outliner.devices[0]
    predictor = outliner.predictor(device)
    work = []
    for name in settings.views:
        count = shape[VIEWS[name]]
        size = tuple(n for axis, n in enumerate(shape) if axis != VIEWS[name])
        slabs = len(slab_starts(count, settings.slices, settings.overlap))
        batch = predictor.batch(size)
        ready = torch.randn(batch, settings.slices, *size, device=device)
        ready = ready.contiguous(memory_format=torch.channels_last)
        work += [(ready[: min(batch, slabs - first)]) for first in range(0, slabs, batch)]

    @torch.inference_mode()
    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            for slabs in work:
                predictor._model(slabs)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def interleaved(ways: dict[str, Callable[[], object]], repeats: int, clock) -> dict[str, float]:
    """Median seconds of every way; one warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, run in ways.items():
            start = clock()
            run()
            if number:
                times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def settings_of(arguments: argparse.Namespace, **changes) -> Settings:
    half = {"single": False, "half": True, "auto": None}[arguments.precision]
    return Settings(
        **{
            "spacing": SPACING,
            "device": arguments.device,
            "overlap": arguments.overlap,
            "disagreement": arguments.disagreement,
            "half": half,
            "memory_gib": arguments.memory,
            **changes,
        }
    )


def measure_memory(arguments: argparse.Namespace) -> None:
    """Outlines once in this process and prints GiB at the peak beyond image and network."""
    volume, name = image_of(tuple(arguments.shape)), arguments.networks
    outliner = Outliner(network_of(name), settings_of(arguments))
    small = Volume(volume.array[:24, :64, :64], Grid((24, 64, 64), (SPACING,) * 3))
    outliner(small)  # what is loaded and made once
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    outliner(volume)
    print(json.dumps((_status("VmHWM") - before) / 2**30))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def peak_memory(name: str, arguments: argparse.Namespace) -> float | None:
    """GiB of one outlining in a fresh process; None where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    command = [sys.executable, __file__, "--measure", "--networks", name]
    command += ["--shape", *map(str, arguments.shape), "--threads", str(torch.get_num_threads())]
    command += ["--precision", arguments.precision, "--overlap", str(arguments.overlap)]
    command += ["--device", arguments.device]
    command += ["--disagreement"] if arguments.disagreement else []
    command += [] if arguments.memory is None else ["--memory", str(arguments.memory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def agreements(network: nn.Module, volume: Volume, arguments: argparse.Namespace) -> dict:
    """Share of voxels with the label that one slab at a time gives."""
    ways = {"3 slabs at a time": {"batch": 3}, "half the overlap": {"overlap": 1}}
    first = Outliner(network, settings_of(arguments, batch=1))(volume).labels
    return {
        way: float(
            (Outliner(network, settings_of(arguments, **one))(volume).labels == first).mean()
        )
        for way, one in ways.items()
    }


def figures_of(name: str, arguments: argparse.Namespace) -> dict:
    """Everything that is measured of one network."""
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    volume, network = image_of(tuple(arguments.shape)), network_of(name)
    outliner = Outliner(network, settings_of(arguments))
    made = outliner(volume)
    half = made.figures["precision"] == "half"
    ways = {
        "bare": bare(outliner, volume.array.shape, half),
        "outline": lambda: outliner(volume),
    }
    seconds = interleaved(ways, arguments.repeats, clock)
    return {
        "seconds": seconds["outline"],
        "bare_seconds": seconds["bare"],
        "ratio": seconds["outline"] / seconds["bare"],
        "peak_gib": peak_memory(name, arguments),
        "slabs": made.figures["slabs"],
        "device": made.figures["device"],
        "precision": made.figures["precision"],
        "agreement": agreements(network, volume, arguments) if arguments.agreement else {},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="denseunet_small,denseunet_k48")
    parser.add_argument("--shape", type=int, nargs=3, default=[80, 260, 320], help="z y x")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--overlap", type=int, default=2)
    parser.add_argument("--precision", choices=("auto", "single", "half"), default="auto")
    parser.add_argument("--memory", type=float, help="GiB at most")
    parser.add_argument("--disagreement", action="store_true", help="with the map of entropies")
    parser.add_argument("--agreement", action="store_true", help="compare labels, too")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time, not wall time")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tuned = allocator.tune()
    if arguments.measure:
        measure_memory(arguments)
        return
    z, y, x = arguments.shape
    print(f"{x} x {y} x {z} voxels of {SPACING} mm, three views, overlap {arguments.overlap}, "
          f"{torch.get_num_threads()} threads, malloc tuned: {tuned}\n")  # fmt: skip
    print("| network | precision | s | bare network, s | ratio | peak GiB | same labels |")
    print("|---|---|---|---|---|---|---|")
    found = {}
    for name in arguments.networks.split(","):
        one = found[name] = figures_of(name, arguments)
        peak = "–" if one["peak_gib"] is None else f"{one['peak_gib']:.2f}"
        same = ", ".join(f"{way}: {100 * s:.3f} %" for way, s in one["agreement"].items()) or "–"
        print(
            f"| {name} | {one['precision']} | {one['seconds']:.1f} | {one['bare_seconds']:.1f} | "
            f"{one['ratio']:.2f} | {peak} | {same} |",
            flush=True,
        )
    if arguments.json:
        about = {key: getattr(arguments, key) for key in ("shape", "overlap", "memory", "repeats")}
        about |= {"threads": torch.get_num_threads(), "disagreement": arguments.disagreement}
        about |= {"cpu_time": arguments.cpu_time, "networks": found}
        size = " x ".join(map(str, arguments.shape))
        bare, rows = "the bare network on the same slabs", []
        for name, one in found.items():
            what, pair = f"Organs of {size}, {name}: time", (one["seconds"], one["bare_seconds"])
            rows.append(Ratio(what, bare, "s", *pair, "floor"))
        write_ratios(arguments.json, rows, about)


if __name__ == "__main__":
    main()
