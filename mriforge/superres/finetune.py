"""The subject-specific step: a model learns from the subject's own sharp scan.

Published (Sarasaen et al. 2021, section 2.3): one epoch over all 24^3 patches at stride 1, rate
1e-6. The default here is a time budget with a larger rate, on patches drawn at random; a part of
the prior is held out to choose the best state and to set the gate.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.losses import build_loss, has_terms
from mriforge.physics.kspace import KspaceCrop
from mriforge.recipes import Recipe
from mriforge.recipes.schema import (
    FinetuneSpec,
    LossSpec,
    OptimiserSpec,
    PatchSpec,
    ScheduleSpec,
)
from mriforge.superres.gate import Gate, decide
from mriforge.superres.intensity import intensity_scale
from mriforge.training.loop import Trainer
from mriforge.training.patches import Batch, GridSampler, KnownPair, cut, flipped, upsampled
from mriforge.volume import Volume

Box = tuple[slice, slice, slice]
Apply = Callable[[nn.Module], Callable[[Tensor], Tensor]]
"""Makes a network applicable to ``(1, 1, z, y, x)`` in bounded memory."""

_HELD_OUT = 0.12
_FEWEST_SLICES = 4
_VALIDATIONS = 10
_HELD_OUT_VOXELS = 600_000
"""Held-out voxels that are looked at: enough for 0.01 dB, few enough not to cost tuning time."""


@dataclass(frozen=True)
class Pair:
    """The prior as it is and as the short scan would have shown it, both on the prior's grid.

    Attributes:
        low: interpolated to the sharp grid as the model expects it, ``(z, y, x)``.
        zero_filled: the zero-filled image.
        sharp: the prior itself.
        acquired: the truncated image, on ``operator.low``.
        scale: what the stored values were divided by (from the truncated image).
    """

    operator: KspaceCrop
    low: Tensor
    zero_filled: Tensor
    sharp: Tensor
    acquired: Tensor
    scale: float


def degrade_prior(prior: Volume, operator: KspaceCrop, upsample: str, percentile: float) -> Pair:
    """The prior truncated as ``operator`` truncates: by the same ratio along each axis.

    Raises:
        BadInput: the prior is too small to leave anything.
    """
    low_shape = []
    for size, n, full in zip(
        prior.grid.stored_shape, operator.low.stored_shape, operator.high.stored_shape, strict=True
    ):
        kept = size - 2 * round((size - size * n / full) / 2) if n < full else size
        low_shape.append(max(1, kept))
    crop = KspaceCrop(prior.grid, tuple(low_shape))
    if not crop.axes:
        raise BadInput(
            "The prior is too small: truncating it as the image was leaves it unchanged.",
            "Choose a prior with a larger matrix.",
        )
    sharp = torch.from_numpy(np.ascontiguousarray(prior.array, dtype=np.float32))
    acquired = crop.A_complex(sharp).abs()
    scale = intensity_scale(acquired.numpy(), percentile)
    sharp, acquired = sharp / scale, acquired / scale
    zero_filled = crop.zero_fill(acquired)
    low = zero_filled if upsample == "sinc" else upsampled(acquired, crop, upsample)
    return Pair(crop, low, zero_filled, sharp, acquired, scale)


def split_boxes(shape: tuple[int, int, int]) -> tuple[list[Box], Box]:
    """Boxes to tune on, and the held-out one: a slab of slices, or rows of a few slices."""
    axis = 0 if shape[0] >= _FEWEST_SLICES else 1
    size = shape[axis]
    length = max(1, round(_HELD_OUT * size))
    start = max(0, round(0.42 * size) - length // 2)
    pieces = [slice(0, start), slice(start, start + length), slice(start + length, size)]
    boxes = []
    for piece in pieces:
        box = [slice(0, n) for n in shape]
        box[axis] = piece
        boxes.append(tuple(box))
    tune = [b for b in (boxes[0], boxes[2]) if b[axis].stop > b[axis].start]
    return (tune or [boxes[1]]), boxes[1]


class PriorSampler:
    """Random patches of the tuning boxes, flipped at random; batch ``step`` is always the same."""

    epoch_steps: int | None = None

    def __init__(
        self, pair: Pair, boxes: list[Box], patches: PatchSpec, *, seed: int, flip: bool,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.patches, self.seed, self.flip, self.device = patches, seed, flip, torch.device(device)
        self.parts = [(pair.low[box], pair.sharp[box]) for box in boxes]
        sizes = np.array([part[1].numel() for part in self.parts], dtype=float)
        self.share = sizes / sizes.sum()

    def batch(self, step: int) -> Batch:
        """Batch number ``step``: ``(batch, 1, depth, height, width)``."""
        rng = np.random.default_rng([self.seed, step])
        pairs = []
        for _ in range(self.patches.batch):
            low, sharp = self.parts[int(rng.choice(len(self.parts), p=self.share))]
            both = torch.stack(cut(rng, low, sharp, self.patches))
            pairs.append(flipped(both, rng) if self.flip else both)
        stacked = torch.stack(pairs, dim=1)[:, :, None].to(self.device)
        return Batch(stacked[0], stacked[1])


@dataclass(frozen=True)
class HeldOutPart:
    """The part of the prior that tuning does not see, and how a network does on it."""

    low: Tensor
    zero_filled: Tensor
    sharp: Tensor

    @classmethod
    def of(cls, pair: Pair, box: Box) -> HeldOutPart:
        """At most about 600,000 voxels of the box, from its middle."""
        parts = [tensor[box] for tensor in (pair.low, pair.zero_filled, pair.sharp)]
        rows = max(8, _HELD_OUT_VOXELS // (parts[0].shape[0] * parts[0].shape[2]))
        if rows < parts[0].shape[1]:
            start = (parts[0].shape[1] - rows) // 2
            parts = [part[:, start : start + rows] for part in parts]
        return cls(*parts)

    def proposal(self, run: Apply, model: nn.Module) -> Tensor:
        """The model's output for the held-out part."""
        return run(model)(self.low[None, None])[0, 0]

    def gain(self, run: Apply, model: nn.Module) -> float:
        """PSNR gain of the model over zero-filling, dB."""
        return self.gate(run, model).full_gain_db

    def gate(self, run: Apply, model: nn.Module) -> Gate:
        """How far the model is to be followed."""
        return decide(self.zero_filled, self.proposal(run, model), self.sharp)


@dataclass(frozen=True)
class TuneSettings:
    """How long to tune; without any of the first three, as the recipe's ``default`` block says.

    Attributes:
        max_minutes: time budget.
        epochs: whole epochs over all patches at stride 1, the recipe's ``published`` block.
        steps: exactly this many optimiser steps (reproducible, unlike a time budget).
        checkpoint, resume: file to save to and, with ``resume``, to continue from.
    """

    max_minutes: float | None = None
    epochs: int | None = None
    steps: int | None = None
    checkpoint: Path | None = None
    resume: bool = False

    def block(self, recipe: Recipe) -> FinetuneSpec:
        """The recipe's fine-tuning block with these limits."""
        minutes = self.max_minutes or 0.0
        if self.epochs:
            block = recipe.finetune["published"]
            return dataclasses.replace(block, epochs=self.epochs, max_minutes=minutes)
        block = recipe.finetune["default"]
        if self.steps:
            return dataclasses.replace(block, steps=self.steps, max_minutes=minutes)
        return dataclasses.replace(block, max_minutes=self.max_minutes or block.max_minutes)


@dataclass(frozen=True)
class Tuned:
    """A model after the subject-specific step.

    Attributes:
        model: the better of the tuned and the given network on held-out data.
        gate: decided with that model.
        improved: whether it is the tuned one.
        figures: what to report: gains before and after, steps, seconds, how it ended.
    """

    model: nn.Module
    gate: Gate
    improved: bool
    figures: dict[str, Any] = field(default_factory=dict)


def tune(
    model: nn.Module,
    recipe: Recipe,
    pair: Pair,
    run: Apply,
    settings: TuneSettings,
    *,
    device: torch.device | str = "cpu",
    events: Events | None = None,
) -> Tuned:
    """Fine-tunes a copy of ``model`` on ``pair``.

    Args:
        recipe: its ``finetune`` blocks say how.
        run: makes a network applicable.
    """
    events = events or Events()
    boxes, held_box = split_boxes(tuple(pair.sharp.shape))
    held = HeldOutPart.of(pair, held_box)
    given = held.gate(run, model)
    tuned = copy.deepcopy(model).to(device)
    trainer = _trainer(
        tuned, recipe, pair, boxes, settings, lambda network: held.gain(run, network), events
    )
    result = trainer.run()
    tuned.load_state_dict(result.state)
    tuned = tuned.to("cpu").eval()
    reached = held.gate(run, tuned)
    improved = reached.full_gain_db > given.full_gain_db
    if not improved:
        events.log("Fine-tuning did not help on held-out parts of the prior: the model is kept.")
    figures = {
        "held_out_gain_db_before": given.full_gain_db,
        "held_out_gain_db_after": reached.full_gain_db,
        "steps": result.steps,
        "seconds": result.seconds,
        "stopped": result.stopped,
        "history": result.history,
        "used": improved,
    }
    if improved:
        return Tuned(tuned, reached, improved, figures)
    return Tuned(model, given, improved, figures)


def _trainer(
    model: nn.Module,
    recipe: Recipe,
    pair: Pair,
    boxes: list[Box],
    settings: TuneSettings,
    gain: Callable[[nn.Module], float],
    events: Events,
) -> Trainer:
    """The training run of ``model`` on the tuning boxes; the state of the best ``gain`` is kept."""
    block = settings.block(recipe)
    device = next(model.parameters()).device
    patches = _fitting(block.patches(), tuple(pair.sharp.shape))
    if block.mode == "grid":
        pairs = [KnownPair(pair.low[box], pair.sharp[box]) for box in boxes]
        sampler = GridSampler(pairs, patches, seed=recipe.seed, device=device)
    else:
        sampler = PriorSampler(
            pair, boxes, patches, seed=recipe.seed, flip=block.augment, device=device
        )
    steps = block.steps or (sampler.epoch_steps or 0) * block.epochs
    every = max(25, min(100, steps // _VALIDATIONS))
    training = dataclasses.replace(block.training(recipe.training), ema=0.0, validate_every=every)
    return Trainer(
        model,
        sampler,
        # A network that only judges and cycles taught has none; there is no judge of one subject.
        build_loss(recipe.loss if has_terms(recipe.loss) else LossSpec(l1=1.0)).to(device),
        optimiser=OptimiserSpec(lr=block.lr, clip_norm=recipe.optimiser.clip_norm),
        schedule=ScheduleSpec(block.schedule, warmup=0.02, final=0.02),
        training=training,
        validate=lambda network: {"gain_db": gain(network)},
        checkpoint=settings.checkpoint,
        resume=settings.resume,
        identity={"recipe": recipe.as_dict(), "shape": list(pair.sharp.shape)},
        device=device,
        events=events,
    )


def _fitting(patches: PatchSpec, shape: tuple[int, int, int]) -> PatchSpec:
    """Patches no larger than the prior: reflecting a small one many times over only costs time."""
    size = tuple(
        min(patch, max(4, n + (-n) % 4)) for patch, n in zip(patches.size, shape, strict=True)
    )
    return dataclasses.replace(patches, size=size)
