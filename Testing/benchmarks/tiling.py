"""A network on a whole volume beside MONAI's sliding window: time, peak memory, and the answer.

    python Testing/benchmarks/tiling.py [--shape 96 192 192] [--patch 96] [--repeats 3] [--json F]

Both run the same network (the shipped ``unet3d_small``) on the same volume in the same process, the
rounds interleaved. MONAI's ``sliding_window_inference`` takes windows of --patch voxels that share
a quarter (its default) or half, averaged with constant or Gaussian weights. Ours: as the product
does it; tiles of the same size with the margins that make them exact; tiles of the same size,
blended, that share a quarter. The answer is compared with one pass of the plain network over the
whole volume: relative norm of the difference. Peak memory is what a fresh process takes beyond its
input and the network.

MONAI has to be importable; ``peers.py`` puts it into a folder for PYTHONPATH. Without it ours is
measured alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measuring import (
    ROOT,
    Ratio,
    add_clock,
    clock_of,
    in_fresh_process,
    interleaved,
    memory_of,
    write_ratios,
)
from peers import how_to_install

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program's own processes do
sys.path.insert(0, str(ROOT))

import torch
from torch import Tensor, nn

from mriforge import allocator
from mriforge.models.store import load_model
from mriforge.superres.inference import Predictor

MODEL = "unet3d_small"
WHOLE = "one pass of the plain network"
DEFAULT, EXACT, BLENDED = "default", "exact tiles", "blended tiles"
MONAI = {"constant": 0.25, "gaussian": 0.25, "gaussian, half": 0.5}
"""Name of a way of MONAI to the share of a window that its neighbour sees, too."""
LABELS = {
    "constant": "windows share 1/4, constant weights",
    "gaussian": "windows share 1/4, Gaussian weights",
    "gaussian, half": "windows share 1/2, Gaussian weights",
}
FIRST = "MONAI, constant"
QUANTITIES = (
    ("s", "time", "seconds"),
    ("MiB", "peak memory", "mib"),
    ("", "difference from one pass", "difference"),
)

Way = Callable[[], Tensor]


def picture(shape: tuple[int, ...]) -> Tensor:
    """Rings with fine texture in [0, 1], ``(1, 1, d, h, w)``."""
    generator = torch.Generator().manual_seed(0)
    z, y, x = (torch.linspace(-1, 1, n) for n in shape)
    radius = (z[:, None, None] ** 2 + y[:, None] ** 2 + x**2).sqrt()
    rings = 0.5 + 0.4 * torch.cos(40 * radius)
    return (rings + 0.03 * torch.randn(shape, generator=generator)).clamp(0, 1)[None, None]


def ours(net: nn.Module, patch: int, device: str) -> dict[str, Predictor]:
    """Ways of the product; exact tiles that are mostly margin are not among them."""
    found = {DEFAULT: Predictor(net, device=device)}
    if patch >= 4 * net.halo:
        found[EXACT] = Predictor(net, device=device, tile=patch, stream=False)
    found[BLENDED] = Predictor(net, device=device, tile=patch, overlap=0.25)
    return found


def monai_way(net: nn.Module, image: Tensor, patch: int, way: str, device: str) -> Way:
    """MONAI's sliding window; the volume stays on the CPU, as with ours."""
    from monai.inferers import sliding_window_inference

    return partial(
        sliding_window_inference,
        image,
        (patch,) * 3,
        1,
        net.to(device),
        overlap=MONAI[way],
        mode=way.split(",")[0],
        sw_device=torch.device(device),
        device=torch.device("cpu"),
    )


def make_way(name: str, net: nn.Module, image: Tensor, patch: int, device: str) -> Way:
    """Any of the ways by its name."""
    if name == WHOLE:
        net = net.to(device)
        return lambda: net(image.to(device)).cpu()
    if name.startswith("MONAI"):
        return monai_way(net, image, patch, name.removeprefix("MONAI, "), device)
    predictor = ours(net, patch, device)[name]
    return lambda: predictor(image)


@torch.inference_mode()
def measure(arguments: argparse.Namespace) -> float:
    """MiB at the peak of one way in this process."""
    net, _ = load_model(MODEL)
    image = picture(tuple(arguments.shape))
    net.to(arguments.device)(
        picture((16,) * 3).to(arguments.device)
    )  # what is loaded and made once
    run = make_way(arguments.one, net, image, arguments.patch, arguments.device)
    return memory_of(run, arguments.device)


@torch.inference_mode()
def compare(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Seconds, MiB and difference of every way."""
    net, _ = load_model(MODEL)
    net = net.to(arguments.device)
    image = picture(tuple(arguments.shape))
    names = [WHOLE, *ours(net, arguments.patch, arguments.device)]
    if importlib.util.find_spec("monai"):
        names += [f"MONAI, {way}" for way in MONAI]
    else:
        print(f"MONAI is not there: {how_to_install('monai')}")
    ways = {n: make_way(n, net, image, arguments.patch, arguments.device) for n in names}
    truth = ways[WHOLE]()
    found = {}
    for name, run in ways.items():
        wrong = float((run() - truth).norm() / truth.norm())
        found[name] = {"difference": wrong}
    seconds = interleaved(ways, arguments.repeats, clock_of(arguments), warm_up=False)
    same = ["--shape", *map(str, arguments.shape), "--patch", str(arguments.patch)]
    same += ["--threads", str(arguments.threads), "--device", arguments.device]
    for name in names:
        found[name]["seconds"] = seconds[name]
        if not name.startswith("MONAI") or name == FIRST:  # its weights take no memory
            found[name]["mib"] = in_fresh_process(__file__, *same, "--one", name)
    return found


def ratios(found: dict[str, dict[str, float]]) -> list[Ratio]:
    """Every way of ours beside MONAI's default, and the default beside the best of MONAI's."""
    rows = []
    said = {
        DEFAULT: "whole volume, as the product does it",
        EXACT: "tiles of the same size, exact",
        BLENDED: "tiles of the same size, blended",
    }
    theirs = {name: row for name, row in found.items() if name.startswith("MONAI")}
    for name, row in found.items():
        if name not in said:
            continue
        for other, figures in theirs.items():
            if other != FIRST and name != DEFAULT:
                continue
            head, label = f"U-Net on a volume, {said[name]}", f"MONAI, {LABELS[other[7:]]}"
            for unit, quantity, key in QUANTITIES:
                if key in figures:
                    pair = row[key], figures[key]
                    rows.append(Ratio(f"{head}: {quantity}", label, unit, *pair))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=[96, 192, 192], metavar="N")
    parser.add_argument("--patch", type=int, default=96, help="edge of a window")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    add_clock(parser)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    allocator.tune()
    if arguments.one:
        print(json.dumps(measure(arguments)))
        return
    found = compare(arguments)
    print("| way | s | MiB | difference from one pass |\n|---|---|---|---|")
    for name, row in found.items():
        mib = f"{row['mib']:.0f}" if "mib" in row else "–"
        print(f"| {name} | {row['seconds']:.3g} | {mib} | {row['difference']:.1e} |")
    setting = {k: getattr(arguments, k) for k in ("shape", "patch", "repeats", "threads")}
    setting |= {"device": arguments.device, "cpu_time": arguments.cpu_time}
    write_ratios(arguments.json, ratios(found), {**setting, "figures": found})


if __name__ == "__main__":
    main()
