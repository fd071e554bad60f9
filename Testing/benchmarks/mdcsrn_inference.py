"""Time and memory of a dense network on a whole volume beside its bare convolutions.

    python Testing/benchmarks/mdcsrn_inference.py --shape 320 320 256 --threads 2 --json result.json

Prints a markdown table. "Bare convolutions" are all ``Conv3d`` of the network, each alone on
preallocated inputs, nothing between them, in the same process with the same allocator. What they
read of the whole volume does not fit in memory together (312 maps for the head of b4u4), so each
runs in slabs of as many planes as ``--slab`` MiB hold, as often as the volume has them; with
``--slabs N`` only N of them are run and the time is extrapolated. Each counts with the faster of
three ways: contiguous, channels-last, and channels-last with oneDNN named, which torch does not
choose for few planes on one thread.

All ways are interleaved and their medians given, because machines are shared; ``--cpu-time`` is
less sensitive to what else runs. Published tiles are 70^3 with a margin of 3, not averaged (Chen
2021, 4.4.1); they repeat less than exact ones and differ from one whole pass near their seams.
Peak memory is what a fresh process takes beyond its input (Linux).
"""

from __future__ import annotations

import argparse
import collections
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mriforge import allocator

# Before torch is loaded, as the program's own processes do: it settles how idle threads wait.
TUNED = "--default-malloc" not in sys.argv and allocator.tune()

import torch  # noqa: E402
from measuring import Ratio, write_ratios  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from mriforge.networks.registry import build  # noqa: E402
from mriforge.superres.inference import Predictor  # noqa: E402

Clock = Callable[[], float]
Kind = tuple[int, int, int]
"""A convolution: maps it reads, maps it gives, edge of its kernel."""

LAYOUT = torch.channels_last_3d
WAYS = ("contiguous", "channels-last", "oneDNN, channels-last")


def convolutions(net: nn.Module) -> dict[Kind, int]:
    """How many convolutions of each kind a network has; all keep the size."""
    found = [m for m in net.modules() if isinstance(m, nn.Conv3d)]
    return collections.Counter((m.in_channels, m.out_channels, m.kernel_size[0]) for m in found)


def once(kind: Kind, shape: tuple[int, ...], way: str) -> Callable[[], Tensor]:
    """One convolution of a slab, its input ready in memory."""
    before, after, edge = kind
    image, weight = torch.rand(1, before, *shape), torch.rand(after, before, edge, edge, edge)
    bias, margin = torch.rand(after), edge // 2
    if way == "contiguous":
        return lambda: functional.conv3d(image, weight, bias, padding=margin)
    image, weight = (t.contiguous(memory_format=LAYOUT) for t in (image, weight))
    if way == "channels-last":
        return lambda: functional.conv3d(image, weight, bias, padding=margin)
    ones = (1, 1, 1)
    return lambda: torch.mkldnn_convolution(image, weight, bias, (margin,) * 3, ones, ones, 1)


class BareConvolutions:
    """Times every kind of convolution in every way.

    Args:
        kinds: how many of each there are.
        shape: of the volume.
        slab_bytes: of what one call reads.
        slabs: calls to time; 0: as many as the volume has.
    """

    def __init__(
        self, kinds: dict[Kind, int], shape: tuple[int, ...], slab_bytes: int, slabs: int
    ) -> None:
        self._kinds, self._shape, self._slabs = kinds, shape, slabs
        self._slab_bytes = slab_bytes
        self._seconds = {(kind, way): [] for kind in kinds for way in WAYS}

    def run(self, clock: Clock, count_it: bool) -> None:
        """One round."""
        length, area = self._shape[0], self._shape[1] * self._shape[2]
        for (kind, way), seconds in self._seconds.items():
            planes = min(length, max(1, self._slab_bytes // (4 * kind[0] * area)))
            call, parts = once(kind, (planes, *self._shape[1:]), way), length / planes
            call()
            calls = min(self._slabs or parts, parts)
            start, done = clock(), 0
            while done < calls:
                call()
                done += 1
            if count_it:
                seconds.append((clock() - start) * parts / done)

    def seconds(self) -> dict[Kind, dict[str, float]]:
        """Of one convolution of each kind on the whole volume, by way."""
        return {
            kind: {way: statistics.median(self._seconds[kind, way]) for way in WAYS}
            for kind in self._kinds
        }

    def fastest(self) -> float:
        """Of all convolutions, each in its fastest way."""
        found = self.seconds()
        return sum(count * min(found[kind].values()) for kind, count in self._kinds.items())


def predictors(arguments: argparse.Namespace) -> dict[str, Predictor]:
    """The ways of computing the volume."""
    options = {"normalisation": arguments.normalisation}
    net = build(arguments.network, **options).eval()
    limit = {"device": "cpu", "memory_limit_gib": arguments.memory}
    found = {"plane by plane": Predictor(net, **limit)}
    if not arguments.only_planes:
        found["published tiles (70, margin 3)"] = Predictor(net, tile=70, margin=3, **limit)
    if arguments.exact_tiles:
        found["exact tiles"] = Predictor(net, stream=False, **limit)
    return found


def peak_memory(arguments: argparse.Namespace, way: str) -> list[float]:
    """Estimated and measured GiB of one prediction in a fresh process."""
    command = [sys.executable, __file__, "--measure", way, "--network", arguments.network]
    command += ["--normalisation", arguments.normalisation, "--exact-tiles"]
    command += ["--memory", str(arguments.memory), "--threads", str(torch.get_num_threads())]
    command += ["--shape", *map(str, arguments.shape)]
    command += ["--default-malloc"] if arguments.default_malloc else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_memory(arguments: argparse.Namespace) -> None:
    """Run once and print estimated and measured GiB."""
    predictor = predictors(arguments)[arguments.measure]
    image, shape = torch.rand(1, 1, *arguments.shape), tuple(arguments.shape)
    plan = predictor.plan(shape)
    predictor(torch.rand(1, 1, 4, 8, 8))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before = _status("VmRSS")
    predictor(image)
    print(json.dumps([plan.memory_bytes / 2**30, (_status("VmHWM") - before) / 2**30]))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="mdcsrn_b4u4")
    parser.add_argument("--normalisation", default="batch", choices=("none", "batch"))
    parser.add_argument("--shape", type=int, nargs=3, default=[320, 320, 256], metavar="N")
    parser.add_argument("--memory", type=float, default=4.0, help="limit in GiB")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--slab", type=int, default=256, help="MiB that a bare convolution reads")
    parser.add_argument("--slabs", type=int, default=0, help="slabs to time; 0: all")
    parser.add_argument("--only-planes", action="store_true", help="no published tiles")
    parser.add_argument("--exact-tiles", action="store_true", help="time exact tiles as well")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time, not wall time")
    parser.add_argument("--default-malloc", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    arguments = options()
    torch.set_num_threads(arguments.threads)
    if arguments.measure is not None:
        measure_memory(arguments)
        return
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    shape, image = tuple(arguments.shape), torch.rand(1, 1, *arguments.shape)
    ways = predictors(arguments)
    kinds = convolutions(next(iter(ways.values()))._model)
    bare = BareConvolutions(kinds, shape, arguments.slab * 2**20, arguments.slabs)
    plans = {name: predictor.plan(shape) for name, predictor in ways.items()}
    for name, plan in plans.items():
        print(f"- {name}: {plan.describe()}")
    print(f"- {torch.get_num_threads()} threads; malloc tuned: {TUNED}\n")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.repeats):  # of every plan the first slabs are its warm-up
        bare.run(clock, True)
        for name, predictor in ways.items():
            start = clock()
            predictor(image)
            times[name].append(clock() - start)
    report(arguments, bare, kinds, {n: statistics.median(t) for n, t in times.items()}, plans)


def report(
    arguments: argparse.Namespace,
    bare: BareConvolutions,
    kinds: dict[Kind, int],
    seconds: dict[str, float],
    plans: dict[str, object],
) -> None:
    """Tables, and figures as JSON."""
    fastest = bare.fastest()
    print("| way | seconds | x bare | x arithmetic |\n|---|---|---|---|")
    print(f"| bare convolutions, each in its fastest way | {fastest:.4g} | 1 | 1 |")
    for name, value in seconds.items():
        redundancy = plans[name].redundancy
        print(f"| {name} | {value:.4g} | {value / fastest:.3g} | {redundancy:.4g} |")
    head = " | ".join(WAYS)
    print(f"\n| convolution | number | {head} |\n|---|---|---|---|---|")
    for (before, after, edge), found in bare.seconds().items():
        row = " | ".join(f"{found[way]:.4g}" for way in WAYS)
        print(f"| {before} to {after}, {edge}^3 | {kinds[before, after, edge]} | {row} |")
    figures = {"network": arguments.network, "normalisation": arguments.normalisation}
    figures |= {"shape": arguments.shape, "threads": torch.get_num_threads()}
    figures |= {"bare_seconds": fastest, "seconds": seconds, "cpu_time": arguments.cpu_time}
    figures |= {"ratio_to_bare": {name: value / fastest for name, value in seconds.items()}}
    figures |= {"redundancy": {name: plan.redundancy for name, plan in plans.items()}}
    figures |= {"memory_limit_gib": arguments.memory, "slabs_timed": arguments.slabs or "all"}
    if sys.platform == "linux":
        figures["memory_gib"] = {}
        print()
        for name in seconds:
            estimate, measured = peak_memory(arguments, name)
            figures["memory_gib"][name] = {"estimated": estimate, "measured": measured}
            print(f"- peak memory, {name}: {measured:.2f} GiB taken, {estimate:.2f} estimated")
    if arguments.json:
        write_ratios(arguments.json, ratios(arguments, kinds, figures), figures)


def ratios(arguments: argparse.Namespace, kinds: dict[Kind, int], figures: dict) -> list[Ratio]:
    """Plane by plane beside the convolutions alone, and beside tiles as published."""
    size = " x ".join(map(str, arguments.shape))
    voxels = arguments.shape[0] * arguments.shape[1] * arguments.shape[2]
    per_voxel = sum(count * b * a * edge**3 for (b, a, edge), count in kinds.items())
    floor = f"its convolutions alone, {2 * per_voxel * voxels / 1e12:.3g} TFLOP"
    what = f"{arguments.network} on {size}"
    ours = figures["seconds"]["plane by plane"]
    rows = [Ratio(f"{what}: time", floor, "s", ours, figures["bare_seconds"], "floor")]
    tiles = next((name for name in figures["seconds"] if name.startswith("published")), None)
    if tiles is not None:
        peer = "tiles of 70 with a margin of 3, as published"
        rows.append(Ratio(f"{what}: time", peer, "s", ours, figures["seconds"][tiles]))
        if "memory_gib" in figures:
            taken = [figures["memory_gib"][n]["measured"] for n in ("plane by plane", tiles)]
            rows.append(Ratio(f"{what}: peak memory", peer, "GiB", *taken))
    return rows


if __name__ == "__main__":
    main()
