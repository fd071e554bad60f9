"""Every command that writes, on inputs so small that it takes a moment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mriforge import io
from mriforge.volume import Grid, Series, Volume

sys.path.insert(0, str(Path(__file__).parent))

RECIPE = """
name = "tiny"
[network]
name = "unet3d_small"
options = { width = 2, residual = true }
[patches]
size = [8, 8, 8]
batch = 1
per_slab = 1
[validation]
patches = 1
size = [8, 8, 8]
[training]
steps = 2
[finetune.default]
size = [8, 8, 8]
batch = 1
steps = 2
lr = 1.0e-3
"""
KERNEL = """
name = "tiny"
task = "kernel"
[network]
name = "downsampler"
options = {width = 4}
[kernel]
crop = 32
batch = 2
every = 10
[adversarial]
kind = "absolute"
discriminator = "patch_judge"
options = {width = 4, inner = 1}
[optimiser]
lr = 1e-2
[training]
steps = 30
validate_every = 15
"""


def make_inputs(folder: Path) -> None:
    """Everything that the jobs below read."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(4)
    z, y, x = np.indices((12, 24, 24))
    ball = ((z - 6) ** 2 * 4 + (y - 12) ** 2 + (x - 12) ** 2 < 90) * 600.0
    voxels = (ball + 50 * random.random(ball.shape) + 20).astype(np.float32)
    grid = Grid(voxels.shape, (1.0, 1.0, 2.0))
    io.write(Volume(voxels, grid), folder / "sharp.nii.gz")
    io.write(
        Volume(voxels[:, ::2, ::2], Grid((12, 12, 12), (2.0, 2.0, 2.0))), folder / "low.nii.gz"
    )
    times = np.array([100.0, 400, 900, 1600, 2500])
    decay = np.abs(1 - 2 * np.exp(-times / 900))[:, None, None, None] * voxels[None, :3]
    series = Series(decay.astype(np.float32), Grid((3, 24, 24)), times, "inversion time", "ms")
    io.write(series, folder / "recovery.nii.gz")
    np.save(folder / "kspace.npy", np.fft.fft2(voxels[:2]).astype(np.complex64))
    for name, change in (("tiny.toml", RECIPE), ("kernel.toml", KERNEL)):
        (folder / name).write_text(change, encoding="utf-8")
    rows = "sharp.nii.gz,a,train,CC0\nsharp.nii.gz,b,validation,CC0\n"
    (folder / "data.csv").write_text("path,subject,split,licence\n" + rows, encoding="utf-8")
    _make_factors(folder / "factors.npz")
    _make_stacks(folder)
    _make_model(folder / "tiny", folder / "tiny.toml")


def _make_stacks(folder: Path) -> None:
    from fusion_helpers import phantom as ball
    from fusion_helpers import stack_of
    from training_helpers import phantom as slices

    truth = ball(24)
    for name, axis in (("ax", 2), ("sag", 0)):
        io.write(stack_of(truth, axis), folder / f"{name}.nii.gz")
    for name, size, pixel in (("fine", 56, 1.0), ("coarse", 28, 2.0)):
        grid = Grid((3, 2 * size, 2 * size), (pixel, pixel, 3.0))
        io.write(Volume(800 * slices(grid.shape, 0), grid), folder / f"{name}.nii.gz")


def _make_factors(path: Path) -> None:
    from mriforge.factors import Factors

    temporal = np.linalg.qr(np.random.default_rng(1).random((12, 2)))[0].T.reshape(2, 2, 2, 3)
    spatial = np.ones((2, 1, 8, 8), np.complex64)
    inversion_s = np.array([0.01, 0.5, 1.0])
    grid = Grid((1, 8, 8))
    Factors(spatial, temporal.astype(np.float32), grid, inversion_s, {}).save(path)


def _make_model(folder: Path, recipe: Path) -> None:
    import torch

    from mriforge.models.card import ModelCard
    from mriforge.models.store import save_model
    from mriforge.networks.registry import build

    torch.manual_seed(3)
    options = {"width": 2, "residual": True}
    sees = {"upsample": "sinc", "scale": "percentile", "percentile": 99.5}
    card = ModelCard("tiny", "unet3d_small", str(recipe), network_options=options, input=sees)
    save_model(folder, build("unet3d_small", **options).state_dict(), card)


Options = Callable[[Path, Path], dict[str, Any]]
"""Options of a command by the folder of inputs and that of outputs."""


@cache
def jobs() -> dict[str, tuple[str, Options]]:
    """Command and options by the name of the job."""
    return {
        "degrade": ("degrade", lambda i, o: {
            "input": i / "sharp.nii.gz", "output": o / "out.nii.gz", "keep": 0.25}),
        "degrade to DICOM": ("degrade", lambda i, o: {
            "input": i / "sharp.nii.gz", "output": o / "out", "keep": 0.25}),
        "degrade to NRRD": ("degrade", lambda i, o: {
            "input": i / "sharp.nii.gz", "output": o / "out.nrrd", "keep": 0.25}),
        "degrade to MetaImage": ("degrade", lambda i, o: {
            "input": i / "sharp.nii.gz", "output": o / "out.mha", "keep": 0.25}),
        "degrade to NumPy": ("degrade", lambda i, o: {
            "input": i / "sharp.nii.gz", "output": o / "out.npy", "keep": 0.25}),
        "superres": ("superres", lambda i, o: {
            "input": i / "low.nii.gz", "output": o / "out.nii.gz", "scale": 4.0,
            "model": i / "tiny", "device": "cpu"}),
        "fuse": ("fuse", lambda i, o: {
            "inputs": [i / "ax.nii.gz", i / "sag.nii.gz"], "output": o / "out.nii.gz",
            "spacing": 4.0, "register": False, "device": "cpu"}),
        "finetune": ("finetune", lambda i, o: {
            "prior": i / "sharp.nii.gz", "model": i / "tiny", "out": o / "out", "keep": 0.25}),
        "train": ("train", lambda i, o: {
            "recipe": i / "tiny.toml", "data": i / "data.csv", "out": o / "out"}),
        "kernel": ("kernel", lambda i, o: {
            "low": i / "coarse.nii.gz", "high": i / "fine.nii.gz", "output": o / "out.json",
            "recipe": i / "kernel.toml", "denoise": False, "device": "cpu"}),
        "t1map": ("t1map", lambda i, o: {
            "input": i / "recovery.nii.gz", "output": o / "out.nii.gz", "model": "ir",
            "json": o / "out.json"}),
        "evaluate": ("evaluate", lambda i, o: {
            "input": i / "sharp.nii.gz", "reference": i / "sharp.nii.gz", "json": o / "out.json",
            "report": o / "out.html", "difference_map": o / "map.nii.gz"}),
        "recon": ("recon", lambda i, o: {
            "input": i / "kspace.npy", "output": o / "out", "method": "sense",
            "device": "cpu"}),
        "frames": ("frames", lambda i, o: {
            "input": i / "factors.npz", "output": o / "out.seq.nrrd"}),
        "simulate": ("simulate", lambda i, o: {
            "what": "multitasking", "output": o / "out.h5", "matrix": 16, "coils": 1,
            "inversions": 1}),
        "models export": ("models", lambda i, o: {
            "action": "export", "name": i / "tiny", "out": o / "out"}),
    }  # fmt: skip


def request(name: str, inputs: Path, outputs: Path) -> Any:
    """The request of a job, JSON types only."""
    from mriforge.jobs import Request

    command, options = jobs()[name]
    given = {k: _plain(v) for k, v in options(inputs, outputs).items()}
    return Request(command, json.loads(json.dumps(given)))


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
