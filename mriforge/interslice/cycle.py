"""The second stage of TSCNet: a cycle across the real slices, with a discriminator.

Between slices 0, 1 and 2 two are made, and of these two the one in the middle, which has to be
slice 1. A loop of its own, because two networks learn against each other.
"""

from __future__ import annotations

import json
import math
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.interslice.learned import Limits
from mriforge.interslice.neighbours import NeighbourSampler
from mriforge.interslice.stages import checkpoint_of
from mriforge.losses import build_loss
from mriforge.recipes import Recipe
from mriforge.recipes.schema import TrainingSpec
from mriforge.training.checkpoint import (
    load_checkpoint,
    pack_optimiser,
    save_checkpoint,
    unpack_optimiser,
)
from mriforge.training.loop import TrainResult
from mriforge.training.schedule import rate


class CycleStage:
    """Runs it.

    Args:
        network: trained in place; keeps its weights if the loss is no longer a number.
        discriminator: trained in place, thrown away afterwards.
        sampler: triplets across the slices.
        training: limits and checkpoint interval.
    """

    def __init__(
        self,
        network: nn.Module,
        discriminator: nn.Module,
        sampler: NeighbourSampler,
        recipe: Recipe,
        training: TrainingSpec,
        limits: Limits,
        events: Events,
    ) -> None:
        self.network, self.discriminator, self.sampler = network, discriminator, sampler
        self.recipe, self.training, self.events = recipe, training, events
        self.loss = build_loss(recipe.loss).to(limits.device)
        self.optimisers = {
            "network": self._optimiser(network),
            "discriminator": self._optimiser(discriminator),
        }
        self.checkpoint, self.resume = checkpoint_of(limits, 2), limits.resume
        self.step, self.used = 0, 0.0
        self.figures: dict[str, float] = {}

    def run(self) -> TrainResult:
        """Trains to the end.

        Raises:
            Cancelled: after saving a checkpoint.
        """
        kept = _copied(self.network)
        if self.resume and self.checkpoint and self.checkpoint.is_file():
            self._restore()
        started = saved = reported = time.monotonic()
        before, stopped = self.used, "steps"
        while not self.training.steps or self.step < self.training.steps:
            now = time.monotonic()
            self.used = before + now - started
            done = self._progress()
            if self.events.cancelled:
                self._save()
                self.events.check_cancelled()
            if done >= 1.0:
                stopped = "time"
                break
            if not self._train_step(done):
                self.network.load_state_dict(kept)
                stopped = "diverged"
                break
            if now - reported > 0.5:
                reported = now
                self.events.metric(step=self.step, **self.figures)
                self.events.progress(done, f"second stage, step {self.step}")
            if now - saved > self.training.checkpoint_seconds:
                saved = now
                self._save()
        self.used = before + time.monotonic() - started
        if stopped != "diverged":
            self._save()
        self.events.progress(1.0, f"second stage stopped by {stopped} at step {self.step}")
        return TrainResult(
            _copied(self.network), [], self.step, self.used, stopped, dict(self.figures)
        )

    def _progress(self) -> float:
        """Share of the stage that is used up, by steps or by time."""
        budget = self.training.max_minutes * 60.0
        by_steps = self.step / self.training.steps if self.training.steps else 0.0
        return max(by_steps, self.used / budget if budget > 0 else 0.0)

    def _train_step(self, done: float) -> bool:
        """Network, then discriminator; False when the loss is not a number any more."""
        factor = rate(done, self.recipe.schedule, self.step)
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = self.recipe.optimiser.lr * factor
        triplets = self.sampler.neighbours(self.step)
        real = triplets[:, 1:2]
        self.network.train()
        self.discriminator.train().requires_grad_(False)
        made = self.network(
            torch.cat([self.network(triplets[:, :2]), self.network(triplets[:, 1:])], dim=1)
        )
        cycle = self.loss(made, real)
        judged = _judged(self.discriminator(made), 1.0)
        total = cycle + self.recipe.stages.adversarial * judged
        if not math.isfinite(float(total.detach())):
            return False
        self._descend("network", self.network, total)
        self.discriminator.requires_grad_(True)
        blame = _judged(self.discriminator(real), 1.0)
        blame = (blame + _judged(self.discriminator(made.detach()), 0.0)) / 2
        self._descend("discriminator", self.discriminator, blame)
        self.step += 1
        self.figures = {
            "loss": float(total.detach()),
            "cycle": float(cycle.detach()),
            "adversarial": float(judged.detach()),
            "discriminator": float(blame.detach()),
        }
        return True

    def _descend(self, name: str, model: nn.Module, loss: Tensor) -> None:
        self.optimisers[name].zero_grad(set_to_none=True)
        loss.backward()
        if self.recipe.optimiser.clip_norm > 0:
            nn.utils.clip_grad_norm_(model.parameters(), self.recipe.optimiser.clip_norm)
        self.optimisers[name].step()

    def _optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        spec = self.recipe.optimiser
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.name]
        return kind(
            model.parameters(), lr=spec.lr, betas=spec.betas, weight_decay=spec.weight_decay
        )

    def _models(self) -> dict[str, nn.Module]:
        return {"network": self.network, "discriminator": self.discriminator}

    def _identity(self) -> dict[str, Any]:
        shapes = [list(view.shape) for view in self.sampler.views]
        return {"recipe": self.recipe.as_dict(), "views": shapes, "stage": 2}

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        tensors, packed = {}, {}
        for name, model in self._models().items():
            moments, packed[name] = pack_optimiser(self.optimisers[name])
            tensors |= {f"{name}.model.{n}": t for n, t in model.state_dict().items()}
            tensors |= {f"{name}.{n}": t for n, t in moments.items()}
        state = {"step": self.step, "used": self.used, "optimisers": packed}
        save_checkpoint(self.checkpoint, tensors, {**state, "identity": self._identity()})

    def _restore(self) -> None:
        tensors, state = load_checkpoint(self.checkpoint)
        if state["identity"] != json.loads(json.dumps(self._identity())):
            raise BadInput(
                f"The checkpoint {self.checkpoint} belongs to another training.",
                "Use the same image and recipe, or another checkpoint.",
            )
        for name, model in self._models().items():
            own = _part(tensors, f"{name}.")
            model.load_state_dict(_part(own, "model."))
            unpack_optimiser(self.optimisers[name], own, state["optimisers"][name])
        self.step, self.used = state["step"], state["used"]


def _judged(logits: Tensor, label: float) -> Tensor:
    """Cross entropy of the discriminator's logits."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().cpu().clone() for name, t in model.state_dict().items()}
