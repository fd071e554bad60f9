"""The comparator: a downsampling network trained by pixels on pairs that should lie on each other.

Where they do not (organs moved between the two scans, or the registration failed) the network
learns to blur and to bend. That is what Huang et al. 2021, figures 6 and 7, show, and why the game
of :mod:`mriforge.blind.game` does without pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.losses import build_loss
from mriforge.models.card import ModelCard
from mriforge.models.store import ModelFolder, save_model
from mriforge.networks.registry import build, count_parameters
from mriforge.recipes.schema import LossSpec, OptimiserSpec, ScheduleSpec, TrainingSpec
from mriforge.training.loop import Trainer
from mriforge.training.patches import Batch

NETWORK = "dsn"
CROP = 64
_BATCH = 8


class _Pairs:
    """Crops of registered pairs: sharp ``input``, low-resolution ``target``."""

    epoch_steps: int | None = None

    def __init__(
        self,
        high: Sequence[np.ndarray],
        low: Sequence[np.ndarray],
        seed: int,
        device: torch.device,
    ) -> None:
        self.high = [torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in high]
        self.low = [torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in low]
        self.seed, self.device = seed, device

    def batch(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        pairs = [self._pair(rng) for _ in range(_BATCH)]
        sharp, low = (
            torch.stack(part)[:, None].to(self.device) for part in zip(*pairs, strict=True)
        )
        return Batch(sharp, low)

    def _pair(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        number = int(rng.integers(len(self.low)))
        low, high, side = self.low[number], self.high[number], CROP // 2
        y, x = (int(rng.integers(0, n - side + 1)) for n in low.shape)
        return (
            high[2 * y : 2 * y + CROP, 2 * x : 2 * x + CROP],
            low[y : y + side, x : x + side],
        )


def learn_pixelwise(
    high: Sequence[np.ndarray],
    low: Sequence[np.ndarray],
    *,
    steps: int = 3000,
    lr: float = 1e-3,
    width: int = 64,
    seed: int = 0,
    device: torch.device | str = "cpu",
    events: Events | None = None,
) -> nn.Module:
    """A network that makes ``low`` of ``high``, by the mean absolute difference of pixels.

    Args:
        high, low: slices of the same places, ``(2 h, 2 w)`` and ``(h, w)``.

    Raises:
        BadInput: slices that are no pairs, or smaller than the crops.
        Cancelled: the caller asked to stop.
    """
    for sharp, small in zip(high, low, strict=True):
        if sharp.shape != tuple(2 * n for n in small.shape) or min(sharp.shape) < CROP:
            raise BadInput(
                f"Slices of {sharp.shape} and {small.shape} pixels are no pair.",
                f"Sharp slices have twice the rows and columns, and at least {CROP} of each.",
            )
    torch.manual_seed(seed)
    device = torch.device(device)
    model = build(NETWORK, width=width).to(device)
    loss = build_loss(LossSpec(l1=1.0))
    trainer = Trainer(
        model,
        _Pairs(high, low, seed, device),
        lambda output, target, given: loss(output, target),
        optimiser=OptimiserSpec(lr=lr),
        schedule=ScheduleSpec("cosine", warmup=0.05, final=0.01),
        training=TrainingSpec(steps=steps, mixed_precision=False),
        device=device,
        events=events,
        prefetch=False,
    )
    model.load_state_dict(trainer.run().state)
    return model.eval()


def save_pixelwise(folder: Path, model: nn.Module, source: str) -> ModelFolder:
    """The network as a model that a recipe can name (``degradation.network``)."""
    card = ModelCard(
        name=folder.name,
        title="Downsampling network trained by pixels",
        task="downsampling",
        network=NETWORK,
        network_options={"width": model.layers[0].out_channels},
        recipe=NETWORK,
        parameters=count_parameters(model),
        trained_on=[{"file": source, "licence": "see there"}],
    )
    return save_model(folder, model.state_dict(), card)
