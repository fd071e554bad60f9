"""Learning a kernel: real low- and high-resolution images in, the kernel out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mriforge.blind.crops import CropSampler, CropSource
from mriforge.blind.finish import finished
from mriforge.blind.game import KernelUpdate
from mriforge.blind.spectra import Spectra
from mriforge.errors import BadInput, Failed
from mriforge.events import Events
from mriforge.networks.registry import build
from mriforge.recipes import Recipe
from mriforge.training.distributed import Processes
from mriforge.training.job import identity
from mriforge.training.loop import Trainer

_LED = 1e-4


@dataclass(frozen=True)
class LearntKernel:
    """What a game left.

    Attributes:
        taps: finished: few, centred, of sum one.
        raw: as the generator has them.
        ratio: per axis of ``taps``.
        steps, seconds, stopped: of the training.
        history: of the training: what was seen at each validation.
        best: the entry of ``history`` that ``taps`` are from.
    """

    taps: np.ndarray
    raw: np.ndarray
    ratio: tuple[int, ...]
    steps: int
    seconds: float
    stopped: str
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)


def check_recipe(recipe: Recipe) -> None:
    """Refuses recipes for something else.

    Raises:
        BadInput: another task, or no judge.
    """
    if recipe.task != "kernel":
        raise BadInput(
            f"The recipe '{recipe.name}' does not learn a kernel.",
            "Use downsampling_gan, or train it with 'mriforge train'.",
        )
    if recipe.adversarial.kind == "none":
        raise BadInput(
            f"The recipe '{recipe.name}' has no judge.", "Set adversarial.kind, e.g. absolute."
        )


def learn_kernel(
    low: Sequence[np.ndarray],
    high: Sequence[np.ndarray],
    recipe: Recipe,
    *,
    raw: Sequence[np.ndarray] | None = None,
    noise: float = 0.0,
    checkpoint: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    events: Events | None = None,
) -> LearntKernel:
    """Plays the game of ``recipe``.

    Args:
        low, high: images that need not show the same; bright tissue is about 1 in both. The pixels
            of ``low`` are as many times larger as the generator's ratio.
        raw, noise: ``low`` before its noise was removed, for the spectra, and the noise's standard
            deviation.
        checkpoint, resume: the game can be interrupted and continued exactly.

    Raises:
        BadInput: images too small or without content; a recipe for something else.
        Failed: nothing usable was learned.
        Cancelled: the caller asked to stop; the checkpoint was written.
    """
    check_recipe(recipe)
    torch.manual_seed(recipe.seed)
    device = torch.device(device)
    model = build(recipe.network.name, **recipe.network.options).to(device)
    if any(image.ndim != model.dimensions for image in (*low, *high)):
        raise BadInput(
            f"The generator '{recipe.network.name}' is for images of {model.dimensions} axes."
        )
    spectra = Spectra(low if raw is None else raw, high, model.ratio, 0.0 if raw is None else noise)
    trainer = Trainer(
        model,
        _sampler(low, high, recipe, model, device),
        None,
        optimiser=recipe.optimiser,
        schedule=recipe.schedule,
        training=recipe.training,
        validate=spectra,
        score="likeness" if recipe.kernel.best else "",
        checkpoint=checkpoint,
        resume=resume,
        identity=identity(recipe),
        device=device,
        events=events,
        prefetch=False,
        update=_update(recipe, model, spectra, device),
    )
    result = trainer.run()
    model.load_state_dict(result.state)
    raw = model.kernel().detach().cpu().double().numpy()
    if not np.isfinite(raw).all():
        raise Failed("The game broke down before anything was learned.", "Lower the rates.")
    return LearntKernel(
        finished(raw, recipe.kernel.keep),
        raw,
        model.ratio,
        result.steps,
        result.seconds,
        result.stopped,
        result.history,
        result.best,
    )


def _sampler(
    low: Sequence[np.ndarray],
    high: Sequence[np.ndarray],
    recipe: Recipe,
    model: nn.Module,
    device: torch.device,
) -> CropSampler:
    spec = recipe.kernel
    large = [spec.crop] * model.dimensions
    small = [(n - model.taps) // ratio + 1 for n, ratio in zip(large, model.ratio, strict=True)]
    options = {"window": spec.window, "clip": spec.clip}
    return CropSampler(
        CropSource(high, large, what="high-resolution image", **options),
        CropSource(low, small, what="low-resolution image", **options),
        spec.batch,
        seed=recipe.seed,
        device=device,
    )


def _update(
    recipe: Recipe, model: nn.Module, spectra: Spectra, device: torch.device
) -> KernelUpdate:
    start = None
    if recipe.kernel.start == "spectrum":
        start = spectra.fitted(model.taps)
        lead(model, start)
    options = {"dimensions": model.dimensions, **recipe.adversarial.options}
    return KernelUpdate(
        model,
        build(recipe.adversarial.discriminator, **options),
        recipe.kernel,
        start=start,
        spectra=spectra,
        spec=recipe.adversarial,
        optimiser=recipe.optimiser,
        mixed=False,
        device=device,
        group=Processes(),
    )


def lead(model: nn.Module, kernel: np.ndarray, steps: int = 1000) -> float:
    """Changes a generator until it is nearly ``kernel``; the relative error that is left."""
    wanted = torch.from_numpy(kernel.copy()).to(next(model.parameters()))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        error = (model.kernel() - wanted).square().sum() / wanted.square().sum()
        if float(error.detach()) < _LED:
            break
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    return float(error.detach()) ** 0.5


def learn_each(
    low: Sequence[np.ndarray],
    high: Sequence[np.ndarray],
    recipe: Recipe,
    *,
    raw: Sequence[np.ndarray] | None = None,
    noise: float = 0.0,
    device: torch.device | str = "cpu",
    events: Events | None = None,
) -> list[LearntKernel]:
    """As published: a game of its own for each low-resolution slice, with all sharp ones."""
    events = events or Events()
    found = []
    for number, image in enumerate(low):
        events.log(f"Slice {number + 1} of {len(low)}.")
        part = events.part(number / len(low), (number + 1) / len(low))
        single = dataclasses.replace(recipe, seed=recipe.seed + number)
        own = None if raw is None else [raw[number]]
        found.append(
            learn_kernel([image], high, single, raw=own, noise=noise, device=device, events=part)
        )
    return found


def mean_of(kernels: Sequence[LearntKernel]) -> dict[str, Any]:
    """Taps averaged over slices, and how much they differ."""
    stack = np.stack([kernel.taps for kernel in kernels])
    return {"taps": finished(stack.mean(0), stack[0].size), "spread": float(stack.std(0).max())}
