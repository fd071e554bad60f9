"""Time and memory of whole-volume inference beside its bare convolutions and patch averaging.

    python Testing/benchmarks/unet_inference.py --shape 40 192 256 --json figures.json

Prints a markdown table. "Bare convolutions" are the network's own ``conv3d`` and
``conv_transpose3d`` calls on preallocated inputs of the same shapes, nothing between them, in
the same process with the same allocator; both memory layouts are timed, since oneDNN prefers
channels-last. All ways are interleaved and their medians given, because machines are shared;
``--cpu-time`` is less sensitive to what else runs.

Stride-1 averaging of 24^3 patches, as published, is timed on a crop and extrapolated.
Peak memory is what a fresh process takes beyond its input (Linux).
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
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program's own processes do

import torch
from measuring import Ratio, write_ratios
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mriforge import allocator
from mriforge.networks.registry import build
from mriforge.superres.inference import Predictor, arithmetic
from mriforge.superres.strided import PATCH, patch_count, predict_strided

LAYOUT = torch.channels_last_3d


def bare_convolutions(width: int, shape: tuple[int, ...], layout: str) -> Callable[[], None]:
    """The convolutions of the published U-Net alone, inputs ready in memory."""
    arrange = (
        (lambda t: t.contiguous(memory_format=LAYOUT)) if layout == "channels-last" else lambda t: t
    )
    calls = []

    def at(level: int) -> list[int]:
        return [size >> level for size in shape]

    def convolution(before: int, after: int, level: int, edge: int = 3) -> None:
        image = arrange(torch.rand(1, before, *at(level)))
        weight = arrange(torch.rand(after, before, edge, edge, edge))
        calls.append((functional.conv3d, image, weight, {"padding": edge // 2}))

    def transposed(before: int, after: int, level: int) -> None:
        image = arrange(torch.rand(1, before, *at(level)))
        weight = arrange(torch.rand(before, after, 2, 2, 2))
        calls.append((functional.conv_transpose3d, image, weight, {"stride": 2}))

    for level in range(3):
        convolution(1 if level == 0 else width << (level - 1), width << level, level)
        convolution(width << level, width << level, level)
    for level in (1, 0):
        transposed(width << (level + 1), width << level, level + 1)
        convolution(width << (level + 1), width << level, level)
        convolution(width << level, width << level, level)
    convolution(width, 1, 0, edge=1)

    def run() -> None:
        for function, image, weight, options in calls:
            function(image, weight, None, **options)

    return run


def interleaved(
    ways: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of every way; one warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(repeats + 1):
        for name, run in ways.items():
            start = clock()
            run()
            if round_number:
                times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def seconds_per_patch(net: nn.Module, clock: Callable[[], float]) -> float:
    """Seconds of one 24^3 patch when a crop of 26^3 voxels is averaged at stride 1; of three runs
    the median."""
    crop = torch.rand(1, 1, *(PATCH + 2,) * 3)
    run = lambda: predict_strided(net, crop, stride=1, device="cpu")  # noqa: E731
    return interleaved({"crop": run}, 3, clock)["crop"] / patch_count(crop.shape[2:])


def peak_memory(width: int, shape: tuple[int, ...], limit: float, stream: bool) -> list[float]:
    """Estimated and measured GiB of one prediction in a fresh process."""
    command = [sys.executable, __file__, "--measure", str(int(stream)), "--width", str(width)]
    command += ["--memory", str(limit), "--threads", str(torch.get_num_threads())]
    command += ["--shape", *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_memory(arguments: argparse.Namespace) -> None:
    """Run once and print estimated and measured GiB."""
    net = build("unet3d", width=arguments.width)
    predictor = Predictor(
        net,
        device="cpu",
        memory_limit_gib=arguments.memory,
        stream=bool(arguments.measure),
    )
    image = torch.rand(1, 1, *arguments.shape)
    plan = predictor.plan(tuple(arguments.shape))
    Predictor(net, device="cpu")(torch.rand(1, 1, 8, 8, 8))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before = _status("VmRSS")
    predictor(image)
    print(json.dumps([plan.memory_bytes / 2**30, (_status("VmHWM") - before) / 2**30]))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=[40, 192, 256], metavar="N")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--memory", type=float, default=2.0, help="limit in GiB")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time, not wall time")
    parser.add_argument("--module", action="store_true", help="time the plain module as well")
    parser.add_argument("--default-malloc", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", type=int, choices=(0, 1), help=argparse.SUPPRESS)
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    arguments = options()
    torch.set_num_threads(arguments.threads)
    if arguments.measure is not None:
        measure_memory(arguments)
        return
    tuned = not arguments.default_malloc and allocator.tune()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    shape, width = tuple(arguments.shape), arguments.width
    net = build("unet3d", width=width).eval()
    predictor = Predictor(net, device="cpu", memory_limit_gib=arguments.memory)
    plan, image = predictor.plan(shape), torch.rand(1, 1, *shape)
    print(f"{plan.describe()}; {torch.get_num_threads()} threads; malloc tuned: {tuned}\n")
    ways: dict[str, Callable[[], object]] = {
        f"bare convolutions, {layout}": bare_convolutions(width, shape, layout)
        for layout in ("contiguous", "channels-last")
    }
    ways["predict"] = lambda: predictor(image)
    if arguments.module:
        ways["the plain module at once"] = lambda: net(image)
    seconds = interleaved(ways, arguments.repeats, clock)
    patches = patch_count(shape)
    name = f"{PATCH}^3 patches at stride 1 ({patches}, extrapolated)"
    seconds[name] = patches * seconds_per_patch(build("unet3d", width=width).eval(), clock)
    bare = min(s for name, s in seconds.items() if name.startswith("bare"))
    cost = arithmetic(net, shape, plan)
    macs = dict.fromkeys(seconds, 1.0)
    macs["predict"] = cost.ratio
    macs[name] = patches * arithmetic(net, (PATCH,) * 3).whole / cost.whole
    print("| way | seconds | x fastest bare | x arithmetic |\n|---|---|---|---|")
    for way, value in seconds.items():
        print(f"| {way} | {value:.4g} | {value / bare:.3g} | {macs[way]:.4g} |")
    figures = {"shape": shape, "width": width, "threads": torch.get_num_threads()}
    figures |= {"malloc_tuned": tuned, "clock": clock.__name__, "seconds": seconds}
    figures |= {"ratio_to_bare": seconds["predict"] / bare, "arithmetic_ratio": cost.ratio}
    figures |= {"teramacs": cost.macs / 1e12, "memory_limit_gib": arguments.memory}
    if sys.platform == "linux":
        estimate, measured = peak_memory(width, shape, arguments.memory, True)
        figures["memory_gib"] = {"estimated": estimate, "measured": measured}
        print(f"\npeak memory: {measured:.2f} GiB measured, {estimate:.2f} GiB estimated")
    if arguments.json:
        write_ratios(arguments.json, ratios(figures, bare), figures)


def ratios(figures: dict, bare: float) -> list[Ratio]:
    """Whole-volume inference beside its convolutions, and beside averaged patches."""
    size = " x ".join(map(str, figures["shape"]))
    what = f"U-Net of width {figures['width']} on {size}: time"
    seconds = figures["seconds"]["predict"]
    patches = next(name for name in figures["seconds"] if "patches" in name)
    floor = (
        f"its convolutions alone, {2 * figures['teramacs'] * figures['arithmetic_ratio']:.3g} TFLOP"
    )
    averaged = f"{PATCH}^3 patches averaged at stride 1"
    note = "as published; a sample timed and multiplied"
    return [
        Ratio(what, floor, "s", seconds, bare, "floor"),
        Ratio(what, averaged, "s", seconds, figures["seconds"][patches], note=note),
    ]


if __name__ == "__main__":
    main()
