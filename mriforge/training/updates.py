"""What the training loop repeats: a step of gradient descent, and what a checkpoint needs of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mriforge.device import is_volumetric
from mriforge.recipes.schema import OptimiserSpec
from mriforge.training.checkpoint import pack_optimiser, unpack_optimiser
from mriforge.training.distributed import Processes
from mriforge.training.precision import bfloat16_on_cpu

Packed = tuple[dict[str, Tensor], dict[str, Any]]
Loss = Callable[[Any, Any, Any], Tensor]


class Update(Protocol):
    """One step on a batch.

    Attributes:
        moved: whether the last step changed the network that is being trained, and not another
            that judges it.
    """

    moved: bool

    def step(self, batch: Any, number: int, factor: float, done: float) -> dict[str, Tensor] | None:
        """Step ``number`` at ``factor`` times the learning rate, ``done`` of the run being over.

        Returns:
            figures of the step, scalars without gradient; None when the loss is not a number.
        """

    def rates(self) -> dict[str, float]:
        """Learning rates in use, by name; the first belongs to the trained network."""

    def pack(self) -> Packed:
        """Everything but the trained network's weights, as tensors and as JSON."""

    def unpack(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """The inverse of :meth:`pack`."""


def make_optimiser(
    parameters: Iterable[nn.Parameter],
    spec: OptimiserSpec,
    lr: float | None = None,
    betas: tuple[float, float] | None = None,
) -> torch.optim.Optimizer:
    """The optimiser that a recipe names, on the parameters that are trained."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.name]
    return kind(
        (p for p in parameters if p.requires_grad),
        lr=spec.lr if lr is None else lr,
        betas=spec.betas if betas is None else betas,
        weight_decay=spec.weight_decay,
    )


def half_precision(
    model: nn.Module, device: torch.device, volumes: bool = False
) -> torch.dtype | None:
    """The type that a network may be multiplied in on this device; None: single precision.

    Args:
        volumes: on CPUs 3-D networks too.
    """
    if device.type == "cpu" and (volumes or not is_volumetric(model)) and bfloat16_on_cpu():
        return torch.bfloat16
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def casting(kind: torch.dtype | None, device: torch.device) -> Callable[[], Any]:
    """Contexts in which ``kind`` is multiplied."""
    return nullcontext if kind is None else (lambda: torch.autocast(device.type, kind))


def single(output: Any) -> Any:
    """A network's answer in single precision; deeply supervised ones give several."""
    return [part.float() for part in output] if isinstance(output, list) else output.float()


class Supervised:
    """A step of one network down the gradient of one loss.

    Args:
        model: on ``device``.
        loss: ``(output, target, input) -> scalar``.
        spec: optimiser and rates.
        mixed: multiply in half precision where it is safe and fast.
        volumes: 3-D networks on CPUs too.
    """

    moved = True

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        spec: OptimiserSpec,
        *,
        mixed: bool,
        volumes: bool = False,
        device: torch.device,
        group: Processes,
    ) -> None:
        self.model, self.loss, self.spec = model, loss, spec
        self.device, self.group = device, group
        self.optimiser = make_optimiser(model.parameters(), spec)
        kind = half_precision(model, device, volumes) if mixed else None
        self._cast = casting(kind, device)
        self._scaler = torch.amp.GradScaler("cuda") if kind is torch.float16 else None
        self._parallel: nn.Module | None = None

    def step(self, batch: Any, number: int, factor: float, done: float) -> dict[str, Tensor] | None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.spec.lr * factor
        if self._parallel is None:
            self._parallel = self.group.wrap(self.model, self.device)
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        with self._cast():
            output = self._parallel(batch.input)
            loss = self.loss(single(output), batch.target, batch.input)
        # Reading the loss stalls a GPU, so there it is looked at only now and then.
        if (self.device.type != "cuda" or number % 20 == 0) and self.group.agree(
            not math.isfinite(float(loss.detach())), self.device
        ):
            return None
        scaled = self._scaler.scale(loss) if self._scaler else loss
        scaled.backward()
        if self._scaler:
            self._scaler.unscale_(self.optimiser)
        if self.spec.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.clip_norm)
        if self._scaler:
            self._scaler.step(self.optimiser)
            self._scaler.update()
        else:
            self.optimiser.step()
        return {"loss": loss.detach()}

    def rates(self) -> dict[str, float]:
        return {"lr": self.optimiser.param_groups[0]["lr"]}

    def pack(self) -> Packed:
        tensors, state = pack_optimiser(self.optimiser)
        scaler = self._scaler.state_dict() if self._scaler else None
        return tensors, {"optimiser": state, "scaler": scaler}

    def unpack(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        unpack_optimiser(self.optimiser, tensors, state["optimiser"])
        if self._scaler and state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
