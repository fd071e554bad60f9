"""Adversarial training: a generator and the networks that judge it, turn by turn.

Every batch serves one turn (:mod:`mriforge.training.turns`), so that what happens in a step is a
function of its number and a killed training resumes exactly.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mriforge.device import lay_out
from mriforge.errors import BadInput
from mriforge.losses.adversarial import domain_loss, gradient_penalty, judge_loss, maker_loss
from mriforge.recipes.adversarial import AdversarialSpec
from mriforge.recipes.schema import OptimiserSpec
from mriforge.training.checkpoint import pack_optimiser, unpack_optimiser
from mriforge.training.distributed import Processes
from mriforge.training.patches import Batch
from mriforge.training.turns import whose_turn
from mriforge.training.updates import Loss, Packed, casting, half_precision, make_optimiser

Figures = dict[str, Tensor]


class AdversarialUpdate(ABC):
    """Turns of a game; subclasses say what either side minimises.

    Half precision is used where the device has bfloat16; float16 would need its gradients scaled
    through the gradient penalty too, and is not used.

    Args:
        model: the generator that is trained for its own sake.
        others: further networks, by name; they are part of the checkpoint.
        spec: who plays how often.
        optimiser: of the generator(s).
        mixed: half precision where it is safe and fast.
        volumes: 3-D networks on CPUs too.
    """

    def __init__(
        self,
        model: nn.Module,
        others: dict[str, nn.Module],
        spec: AdversarialSpec,
        optimiser: OptimiserSpec,
        *,
        mixed: bool,
        volumes: bool = False,
        device: torch.device,
        group: Processes,
    ) -> None:
        self.model, self.spec, self.base = model, spec, optimiser
        self.others = {name: network.to(device) for name, network in others.items()}
        for network in self.others.values():
            lay_out(network, device)
        self.device, self.group, self.moved = device, group, False
        kind = half_precision(model, device, volumes) if mixed else None
        self._cast = casting(kind if kind is torch.bfloat16 else None, device)
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self._rates: dict[str, float] = {}
        for name, (parameters, lr, betas) in self.sides().items():
            self.optimisers[name] = make_optimiser(parameters, optimiser, lr, betas)
            self._rates[name] = lr

    @abstractmethod
    def sides(self) -> dict[str, tuple[list[nn.Parameter], float, tuple[float, float]]]:
        """Parameters, rate and betas of each optimiser; ``generator`` is one of them."""

    def judge_step(self, batch: Batch, number: int) -> dict[str, tuple[Tensor, Figures]]:
        """Losses of the judging side on a batch, by optimiser, with figures to report.

        As :meth:`generator_step` for games by turns; one with a :meth:`step` of its own has none.
        """
        raise NotImplementedError

    def generator_step(self, batch: Batch) -> tuple[Tensor, Figures]:
        """Loss of the generating side on a batch, with figures to report."""
        raise NotImplementedError

    def step(self, batch: Batch, number: int, factor: float, done: float) -> Figures | None:
        generating = whose_turn(number, self.spec) == "generator"
        self.moved = generating
        for network in (self.model, *self.others.values()):
            network.train()
        for name, optimiser in self.optimisers.items():
            follows = name == "generator" or self.spec.follows
            for group in optimiser.param_groups:
                group["lr"] = self._rates[name] * (factor if follows else 1.0)
        if generating:
            losses = {"generator": self.generator_step(batch)}
        else:
            losses = self.judge_step(batch, number)
        figures: Figures = {}
        for name, (loss, seen) in losses.items():
            broken = not math.isfinite(float(loss.detach()))
            if self.group.agree(broken, self.device):
                return None
            self._descend(name, loss)
            figures |= {key: value.detach() for key, value in seen.items()}
        return figures

    def _descend(self, name: str, loss: Tensor) -> None:
        """One step of an optimiser; gradients of other networks are not touched."""
        optimiser = self.optimisers[name]
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, slope in zip(parameters, slopes, strict=True):
            slope = torch.zeros_like(parameter) if slope is None else slope
            parameter.grad = self.group.mean(slope)
        if self.base.clip_norm > 0:
            nn.utils.clip_grad_norm_(parameters, self.base.clip_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def rates(self) -> dict[str, float]:
        return {
            "lr" if name == "generator" else f"lr_{name}": optimiser.param_groups[0]["lr"]
            for name, optimiser in self.optimisers.items()
        }

    def pack(self) -> Packed:
        tensors: dict[str, Tensor] = {}
        state: dict[str, Any] = {}
        for name, network in self.others.items():
            tensors |= {f"other.{name}.{n}": t for n, t in network.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            moments, state[name] = pack_optimiser(optimiser, f"optimiser.{name}")
            tensors |= moments
        return tensors, state

    def unpack(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        for name, network in self.others.items():
            start = f"other.{name}."
            network.load_state_dict(
                {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
            )
        for name, optimiser in self.optimisers.items():
            unpack_optimiser(optimiser, tensors, state[name], f"optimiser.{name}")

    def judged(self, judge: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, Figures]:
        """Loss of a judge on real and made images, penalty included."""
        with self._cast():
            scores = [judge(image).float() for image in (real, fake)]
        loss = judge_loss(self.spec.kind, *scores)
        figures = {"judged_real": scores[0].mean(), "judged_made": scores[1].mean()}
        if self.spec.kind == "wgan_gp" and self.spec.penalty > 0:
            share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
            penalty = gradient_penalty(judge, real, fake, share)
            loss = loss + self.spec.penalty * penalty
            figures["penalty"] = penalty
        return loss, figures


class PairedUpdate(AdversarialUpdate):
    """A generator with pixel and other losses against one judge, and a feature discriminator.

    ``loss = [loss of the recipe] + weight * [judge's answer]`` (Chen 2021, equations 4.3 and 5.8;
    GAN-CPCE). With ``spec.domain`` the judge has a second task (DRAGAN, equations 5.11 to 5.13,
    signs as cross-entropies with logits): its inner maps must not tell which of two domains an
    image is from, and a feature discriminator, trained in the same turns, tries to tell.

    Args:
        loss: ``(output, target, input) -> scalar`` of the generator.
    """

    def __init__(self, model: nn.Module, judge: nn.Module, loss: Loss, **options: Any) -> None:
        self.loss = loss
        self.judge = judge
        super().__init__(model, {"judge": judge}, **options)

    @property
    def _branched(self) -> bool:
        return self.spec.domain > 0 or self.spec.domain_watch

    def sides(self) -> dict[str, tuple[list[nn.Parameter], float, tuple[float, float]]]:
        spec = self.spec
        judge = self.judge.image_parameters() if self._branched else self.judge.parameters()
        sides = {
            "generator": (list(self.model.parameters()), self.base.lr, self.base.betas),
            "judge": (list(judge), spec.lr, spec.betas),
        }
        if self._branched:
            domain = list(self.judge.domain_parameters())
            sides["domain"] = (domain, spec.domain_lr, spec.betas)
        return sides

    def judge_step(self, batch: Batch, number: int) -> dict[str, tuple[Tensor, Figures]]:
        with torch.no_grad(), self._cast():
            made = self.model(batch.input).float()
        loss, figures = self.judged(self.judge, batch.target, made)
        if not self._branched:
            return {"judge": (loss, figures)}
        if batch.domain is None:
            raise BadInput(
                "The feature discriminator needs images of two domains.",
                "Give the manifest a column 'domain' with two different words.",
            )
        images = torch.cat([batch.target, made])
        domain = batch.domain.repeat(2)
        with self._cast():
            maps = self.judge.features(images)
            confused = domain_loss(self.judge.domain(maps).float(), 1 - domain)
            told = self.judge.domain(maps.detach()).float()
        if self.spec.domain > 0:
            ramp = min(1.0, number / max(1, self.spec.ramp))
            loss = loss + self.spec.domain * ramp * confused
        right = ((told[:, 0] > 0) == (domain > 0)).to(told.dtype).mean()
        found = domain_loss(told, domain)
        seen = {"domain_loss": found, "domain_accuracy": right}
        return {"judge": (loss, figures), "domain": (found, seen)}

    def generator_step(self, batch: Batch) -> tuple[Tensor, Figures]:
        with self._cast():
            output = self.model(batch.input).float()
            answer = self.judge(output).float()
        apart = self.loss(output, batch.target, batch.input)
        fooled = maker_loss(self.spec.kind, answer, self.spec.saturating)
        return apart + self.spec.weight * fooled, {"loss": apart, "adversarial": fooled}


def parameters_of(*networks: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters of several networks, one after the other."""
    for network in networks:
        yield from network.parameters()
