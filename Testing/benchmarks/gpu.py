"""Inference, fine-tuning and training on a graphics card: time, memory, share of what it can do.

    python Testing/benchmarks/gpu.py [--quick] [--repeats 3] [--json FILE]

The card's peak is measured in the same run, by the fastest of some matrix products and some 3-D
convolutions, in single precision and in the half precision that mixed training uses. For each job
the floating-point operations are counted by torch in a first run; the time that they would take at
that peak is the floor. Copies to and from the card count for the job, not for the peak. Bandwidth
is that of a copy on the card.

Prints "no GPU here" and ends without a fault where CUDA finds none; ``--device cpu`` runs the same
on a processor, to see that it works.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from measuring import ROOT, Ratio, memory_of, write_ratios

sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from mriforge import allocator
from mriforge.degrade import DegradeOptions, degrade
from mriforge.losses import build_loss
from mriforge.networks.registry import build
from mriforge.recipes import load_recipe
from mriforge.recipes.schema import TrainingSpec
from mriforge.superres.inference import Predictor
from mriforge.superres.job import SuperresOptions, superres
from mriforge.training.data import volume_from_image
from mriforge.training.loop import Trainer
from mriforge.training.patches import SlabSampler
from mriforge.volume import Grid, Volume

NO_GPU = "no GPU here"
HALF = {"cuda": torch.float16, "cpu": torch.bfloat16}
RECIPE = "unet3d_small"


def wait(device: str) -> None:
    """Until the card has done what it was asked."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(run: Callable[[], object], device: str, repeats: int) -> float:
    """Median seconds; one run before that does not count."""
    seconds = []
    for number in range(repeats + 1):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        if number:
            seconds.append(time.perf_counter() - start)
    return median(seconds)


def peaks(device: str, quick: bool, repeats: int) -> dict[str, float]:
    """Operations per second by kind and precision, and bytes per second of a copy."""
    edge, width, shape = (512, 16, (16, 32, 32)) if quick else (8192, 64, (64, 128, 128))
    found = {}
    for name, dtype in (("single", torch.float32), ("half", HALF[device])):
        left, right = (torch.randn(edge, edge, device=device, dtype=dtype) for _ in range(2))
        seconds = timed(partial(torch.matmul, left, right), device, repeats)
        found[f"product, {name}"] = 2 * edge**3 / seconds
        image = torch.randn(1, width, *shape, device=device, dtype=dtype)
        kernel = torch.randn(width, width, 3, 3, 3, device=device, dtype=dtype)
        operations = 2 * 27 * width**2 * int(np.prod(shape))
        ways = []
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            pair = (tensor.contiguous(memory_format=layout) for tensor in (image, kernel))
            ways.append(partial(functional.conv3d, *pair, padding=1))
        seconds = min(timed(way, device, repeats) for way in ways)
        found[f"convolution, {name}"] = operations / seconds
    source = torch.empty(2**22 if quick else 2**28, device=device)
    target = torch.empty_like(source)
    found["copy, bytes"] = 8 * source.numel() / timed(lambda: target.copy_(source), device, repeats)
    return found


def image_of(shape: tuple[int, int, int]) -> Volume:
    """Rings with noise, 1 mm."""
    random = np.random.default_rng(0)
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    radius = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    noise = 0.02 * random.standard_normal(shape, dtype=np.float32)
    return Volume(np.clip(500 + 400 * np.cos(40 * radius) + 1000 * noise, 0, None), Grid(shape))


def inference(device: str, quick: bool) -> Callable[[], object]:
    """The published U-Net on a whole volume, as ``superres`` applies it."""
    shape = (8, 48, 48) if quick else (160, 256, 256)
    net = build("unet3d", width=8 if quick else 64).eval()
    predictor = Predictor(net, device=device, stream=False)
    image = torch.rand(1, 1, *shape)
    return lambda: predictor(image)


def finetuning(device: str, quick: bool) -> Callable[[], object]:
    """``superres --finetune`` of the shipped model with a prior, everything included."""
    prior = image_of((8, 48, 48) if quick else (40, 256, 256))
    low = degrade(prior, DegradeOptions(keep=0.1, axes=(0, 1)))
    steps = 2 if quick else 200
    options = SuperresOptions(
        like=prior.grid, prior=prior, finetune=True, steps=steps, device=device
    )
    return lambda: superres(low, options)


def training(device: str, quick: bool) -> Callable[[], object]:
    """Steps of the loop with the published width and the small recipe's data; no validation."""
    recipe = load_recipe(RECIPE)
    steps = 2 if quick else 200
    volume = volume_from_image(image_of((12, 64, 64) if quick else (64, 192, 192)), scale=1000.0)
    limits = TrainingSpec(steps=steps, mixed_precision=True, checkpoint_seconds=1e9)

    def run() -> None:
        torch.manual_seed(0)
        sampler = SlabSampler(
            [volume], recipe.patches, recipe.degradation, recipe.input, recipe.augmentation,
            device=device,
        )  # fmt: skip
        net = build("unet3d", width=8 if quick else 64).to(device)
        Trainer(
            net, sampler, build_loss(recipe.loss), optimiser=recipe.optimiser,
            schedule=recipe.schedule, training=limits, device=device,
        ).run()  # fmt: skip

    return run


JOBS = {
    "inference, U-Net of width 64": (inference, "single"),
    "fine-tuning, shipped U-Net": (finetuning, "half"),
    "training, U-Net of width 64": (training, "half"),
}
"""Name to (maker, precision of its convolutions)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="sizes that say nothing, in seconds")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device, quick = arguments.device, arguments.quick
    if device == "cuda" and not torch.cuda.is_available():
        print(NO_GPU)
        write_ratios(arguments.json, [], {"skipped": NO_GPU})
        return
    allocator.tune()
    peak = peaks(device, quick, arguments.repeats)
    for name, value in peak.items():
        print(f"- peak, {name}: {value / 1e12:.3g} T/s")
    print("\n| job | s | MiB | TFLOP | share of the measured peak |\n|---|---|---|---|---|")
    rows, figures = [], {}
    for name, (make, precision) in JOBS.items():
        run = make(device, quick)
        with FlopCounterMode(display=False) as counter:
            run()
        operations = counter.get_total_flops()
        seconds = timed(run, device, 1 if quick else arguments.repeats)
        taken = memory_of(run, device)
        half = precision == "half" and device == "cuda"  # mixed precision is for cards
        kind = "half" if half else "single"
        floor = operations / max(peak[f"product, {kind}"], peak[f"convolution, {kind}"])
        figures[name] = {"seconds": seconds, "mib": taken, "flop": operations, "peak": kind}
        print(
            f"| {name} | {seconds:.3g} | {taken:.0f} | {operations / 1e12:.3g} "
            f"| {floor / seconds:.3f} |"
        )
        against = f"{operations / 1e12:.3g} TFLOP at the measured peak ({kind} precision)"
        rows.append(Ratio(f"{device}, {name}: time", against, "s", seconds, floor, "floor"))
    setting = {"device": device, "quick": quick, "peak": peak, "jobs": figures}
    if device == "cuda":
        setting["card"] = torch.cuda.get_device_name(0)
    write_ratios(arguments.json, rows, setting)


if __name__ == "__main__":
    main()
