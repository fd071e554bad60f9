"""The training loop, for main training and fine-tuning alike.

A run ends at the number of steps, at the time budget or when the loss is no longer a number,
whichever comes first, and always hands back its best state. It can be stopped at any moment and
resumed exactly: batches are a function of their number, and the checkpoint holds everything else.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mriforge.device import lay_out
from mriforge.errors import BadInput, Cancelled
from mriforge.events import Events
from mriforge.recipes.schema import OptimiserSpec, ScheduleSpec, TrainingSpec
from mriforge.training.checkpoint import (
    WeightAverage,
    load_checkpoint,
    pack_random,
    save_checkpoint,
    unpack_random,
)
from mriforge.training.distributed import Processes
from mriforge.training.schedule import rate
from mriforge.training.updates import Loss, Supervised, Update

State = dict[str, Tensor]


class Sampler(Protocol):
    """Gives batch number ``step``, always the same one for the same number."""

    epoch_steps: int | None

    def batch(self, step: int) -> Any: ...


@dataclass
class TrainResult:
    """What a run leaves.

    Attributes:
        state: best weights (of the moving average if there is one), on the CPU.
        history: one entry per validation: step, seconds, loss, and what ``validate`` gave.
        steps: optimiser steps done, over all resumptions.
        seconds: time used, over all resumptions.
        stopped: ``"steps"``, ``"time"`` or ``"diverged"``.
        best: the history entry of ``state``; empty without validation.
    """

    state: State
    history: list[dict[str, float]]
    steps: int
    seconds: float
    stopped: str
    best: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Runs one training.

    Args:
        model: trained in place; must already be on ``device``.
        sampler: where batches come from (``.input``, ``.target``).
        loss: ``(output, target, input) -> scalar``; not needed with ``update``.
        update: another kind of step than down the gradient of ``loss``.
        training: limits, validation and checkpoint intervals, mixed precision, averaging.
        validate: figures of a network; ``figures[score]`` is to be as large as possible.
            Without it, or with an empty ``score``, the last state is the best.
        checkpoint: file to save to and, with ``resume``, to continue from.
        identity: anything JSON that must be the same when resuming (the recipe).
    """

    def __init__(
        self,
        model: nn.Module,
        sampler: Sampler,
        loss: Loss | None,
        *,
        optimiser: OptimiserSpec,
        schedule: ScheduleSpec,
        training: TrainingSpec,
        validate: Callable[[nn.Module], dict[str, float]] | None = None,
        score: str = "gain_db",
        checkpoint: Path | None = None,
        resume: bool = False,
        identity: Any = None,
        device: torch.device | str = "cpu",
        group: Processes | None = None,
        events: Events | None = None,
        prefetch: bool = True,
        update: Update | None = None,
    ) -> None:
        self.device, self.group = torch.device(device), group or Processes()
        lay_out(model, self.device)
        self.model, self.sampler = model, sampler
        self.schedule, self.training = schedule, training
        self.validate, self.score = validate, score
        self.checkpoint, self.resume, self.identity = checkpoint, resume, identity
        self.events, self.prefetch = events or Events(), prefetch
        self.limit = self._step_limit()
        self.step, self.used, self.history = 0, 0.0, []
        self.best: dict[str, float] = {}
        self.best_state: State | None = None
        self._ahead: tuple[int, Future | None] = (-1, None)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self.update = update or Supervised(
            model,
            loss,
            optimiser,
            mixed=training.mixed_precision,
            volumes=training.mixed_volumes,
            device=self.device,
            group=self.group,
        )
        self.average = WeightAverage(model, training.ema) if training.ema > 0 else None

    def run(self) -> TrainResult:
        """Trains to the end.

        Raises:
            Cancelled: after saving a checkpoint, so that the run can be resumed.
        """
        self._start = {n: t.detach().cpu().clone() for n, t in self.model.state_dict().items()}
        if self.resume:
            self._restore()
        if self.validate and not self.history:
            self._validate()
        started = self._saved = time.monotonic()
        before, reported = self.used, 0.0
        stopped = "steps"
        with ThreadPoolExecutor(1) as pool:
            while self.step < self.limit:
                batch = self._next_batch(pool)
                cancelled = self.group.agree(self.events.cancelled, self.device)
                self.used = before + time.monotonic() - started
                done = self.group.share(self._progress(), self.device)
                if cancelled or done >= 1.0:
                    stopped = "cancelled" if cancelled else "time"
                    break
                if not self._train_step(batch, done):
                    stopped = "diverged"
                    break
                if time.monotonic() - reported > 0.5:
                    reported = time.monotonic()
                    self._report()
                self._keep_up()
        self.used = before + time.monotonic() - started
        if stopped == "cancelled":
            self._save()
            self.events.check_cancelled()
            raise Cancelled("The training was cancelled on another process.")
        return self._finish(stopped)

    def _step_limit(self) -> int:
        spec, limits = self.training, []
        if spec.steps:
            limits.append(spec.steps)
        if spec.epochs and self.sampler.epoch_steps:
            limits.append(spec.epochs * self.sampler.epoch_steps)
        if not limits and spec.max_minutes <= 0:
            raise BadInput(
                "The training has no end.", "Give steps, epochs or max_minutes in the recipe."
            )
        return min(limits) if limits else 2**62

    def _progress(self) -> float:
        """Share of the run that is used up: by steps or by time, whichever is more."""
        budget = self.training.max_minutes * 60.0
        return max(self.step / self.limit, self.used / budget if budget > 0 else 0.0)

    def _next_batch(self, pool: ThreadPoolExecutor) -> Any:
        """Batch of this step; the next one is made meanwhile in a thread."""
        if not self.prefetch:
            return self.sampler.batch(self.step)
        number, future = self._ahead
        batch = future.result() if future and number == self.step else self.sampler.batch(self.step)
        following = self.step + 1
        if following < self.limit:
            self._ahead = (following, pool.submit(self.sampler.batch, following))
        return batch

    def _train_step(self, batch: Any, done: float) -> bool:
        """One step; False when the loss is not a number any more."""
        factor = rate(done, self.schedule, self.step)
        figures = self.update.step(batch, self.step, factor, done)
        if figures is None:
            return False
        self.step += 1
        if self.average and self.update.moved:
            self.average.update(self.model, self.step)
        for name, value in figures.items():
            # MPS has no double precision; elsewhere sums stay on the device, without waiting.
            value = value.cpu() if value.device.type == "mps" else value
            before = self._sums.get(name)
            value = value.double()
            self._sums[name] = value if before is None else before.to(value.device) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        return True

    def _keep_up(self) -> None:
        """Validation and checkpoint when they are due."""
        if self.validate and self.step % self.training.validate_every == 0:
            self._validate()
        interval = self.training.checkpoint_seconds
        if self.checkpoint and self.group.first and time.monotonic() - self._saved >= interval:
            self._save()

    def _means(self) -> dict[str, float]:
        """What the steps since the last validation reported, on average."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}

    def _report(self) -> None:
        if not self.group.first:
            return
        self.events.metric(step=self.step, **self._means(), **self.update.rates())
        text = f"step {self.step}"
        if self.best.get(self.score) is not None and self.step:
            name, unit = self.score.removesuffix("_db"), " dB" if self.score.endswith("_db") else ""
            text += f", best {name} on held-out data {self.best[self.score]:.3g}{unit}"
        self.events.progress(self._progress(), text)

    def _weights(self) -> State:
        return self.average.state if self.average else self.model.state_dict()

    def _validate(self) -> None:
        """Figures of the (averaged) weights; keeps them if they are the best so far."""
        if self.group.first:
            kept = {name: t.clone() for name, t in self.model.state_dict().items()}
            self.model.load_state_dict(self._weights())
            self.model.eval()
            with torch.no_grad():
                figures = {name: float(v) for name, v in self.validate(self.model).items()}
            entry = {"step": self.step, "seconds": round(self.used, 1), **figures, **self._means()}
            if not self.score or figures[self.score] > self.best.get(self.score, -math.inf):
                self.best = entry
                self.best_state = {n: t.cpu().clone() for n, t in self.model.state_dict().items()}
            self.model.load_state_dict(kept)
            self.history.append(entry)
            self.events.metric(**entry)
        else:
            self.history.append({"step": self.step})
        self._sums, self._counts = {}, {}

    def _save(self) -> None:
        if not (self.checkpoint and self.group.first):
            return
        self._saved = time.monotonic()
        tensors = {f"model.{n}": t for n, t in self.model.state_dict().items()}
        if self.average:
            tensors |= {f"average.{n}": t for n, t in self.average.state.items()}
        if self.best_state:
            tensors |= {f"best.{n}": t for n, t in self.best_state.items()}
        others, update = self.update.pack()
        generators, random_state = pack_random()
        tensors |= others | generators | {f"sum.{n}": t for n, t in self._sums.items()}
        state = {
            "step": self.step,
            "used": self.used,
            "history": self.history,
            "best": self.best,
            "counts": self._counts,
            "update": update,
            "random": random_state,
            "identity": self.identity,
        }
        save_checkpoint(self.checkpoint, tensors, state)

    def _restore(self) -> None:
        """Continues from the checkpoint if there is one; starts anew if there is none."""
        if self.checkpoint is None or not self.checkpoint.is_file():
            self.events.log("There is no checkpoint yet: the training starts from the beginning.")
            return
        tensors, state = load_checkpoint(self.checkpoint)
        if state["identity"] != _as_json(self.identity):
            raise BadInput(
                f"The checkpoint {self.checkpoint} belongs to a training with another recipe.",
                "Use the same recipe, or another output folder.",
            )
        self.model.load_state_dict(_part(tensors, "model."))
        if self.average:
            self.average.state = {
                n: t.to(self.device) for n, t in _part(tensors, "average.").items()
            }
        self.best_state = _part(tensors, "best.") or None
        self.update.unpack(tensors, state["update"])
        unpack_random(tensors, state["random"])
        self._sums, self._counts = _part(tensors, "sum."), state["counts"]
        self.step, self.used = state["step"], state["used"]
        self.history, self.best = state["history"], state["best"]
        self.events.log(f"Resumed at step {self.step} after {self.used / 60:.1f} minutes.")

    def _finish(self, stopped: str) -> TrainResult:
        if stopped == "diverged":
            self.events.log(
                f"The loss at step {self.step} is not a number: stopped with the best state so far."
            )
        elif self.validate and (not self.history or self.history[-1]["step"] != self.step):
            self._validate()
        if stopped != "diverged":
            self._save()
        state = self.best_state if self.validate else None
        if state is None and stopped == "diverged":
            state = self._start
        if state is None:
            state = {n: t.detach().cpu().clone() for n, t in self._weights().items()}
        if self.group.first:
            self.events.progress(1.0, f"stopped by {stopped} at step {self.step}")
        return TrainResult(state, self.history, self.step, self.used, stopped, self.best)


def _part(tensors: dict[str, Tensor], prefix: str) -> State:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
