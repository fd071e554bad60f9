"""The game of the downsampling GAN: one step is a step of the generator and one of the judge.

Equation 2 of Huang et al. 2021: the judge learns to answer 1 for real and 0 for made neighbourhoods
and the generator to be answered 1, both by the mean absolute difference; equation 3 holds the
kernel. A little noise is added to what the judge learns from (public code of KernelGAN).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mriforge.blind.spectra import Spectra
from mriforge.losses.adversarial import judge_loss, maker_loss
from mriforge.losses.kernels import (
    KernelWeights,
    bicubic_kernel,
    boundary_mask,
    downscale_loss,
    kernel_terms,
)
from mriforge.recipes.kernel import KernelSpec
from mriforge.training.adversarial import AdversarialUpdate, Figures
from mriforge.training.patches import Batch
from mriforge.training.updates import Packed

_CONVOLVE = {2: F.conv2d, 3: F.conv3d}


class KernelUpdate(AdversarialUpdate):
    """Steps of the game; ``batch.input`` is sharp, ``batch.target`` really low-resolution.

    Args:
        model: a generator with ``kernel()``.
        judge: answers between 0 and 1.
        kernel: the recipe's part about it.
        start: kernel that leads the way in the beginning; None: bicubic downsampling.
        spectra: of both kinds of images, where the recipe gives them weight.
        options: as of :class:`mriforge.training.adversarial.AdversarialUpdate`.
    """

    def __init__(
        self,
        model: nn.Module,
        judge: nn.Module,
        kernel: KernelSpec,
        *,
        start: np.ndarray | None = None,
        spectra: Spectra | None = None,
        **options: Any,
    ) -> None:
        self.judge, self.kernel, self.spectra = judge, kernel, spectra
        self.weights = KernelWeights.first(kernel)
        super().__init__(model, {"judge": judge}, **options)
        count = model.dimensions
        self.mask = boundary_mask(model.taps, count).to(self.device)
        if start is None:
            start = np.ones([1] * count)
            for axis, ratio in enumerate(model.ratio):
                line = bicubic_kernel(model.taps, ratio, 1).numpy()
                start = start * line.reshape([-1 if a == axis else 1 for a in range(count)])
        # Convolutions of torch do not mirror: a response has to be.
        weights = torch.from_numpy(np.flip(start).astype(np.float32))
        self._start = weights[None, None].to(self.device)

    def sides(self) -> dict[str, tuple[list[nn.Parameter], float, tuple[float, float]]]:
        return {
            "generator": (list(self.model.parameters()), self.base.lr, self.base.betas),
            "judge": (list(self.judge.parameters()), self.spec.lr, self.spec.betas),
        }

    def step(self, batch: Batch, number: int, factor: float, done: float) -> Figures | None:
        self.moved = True
        for network in (self.model, self.judge):
            network.train()
        for name, optimiser in self.optimisers.items():
            follows = name == "generator" or self.spec.follows
            for group in optimiser.param_groups:
                group["lr"] = self._rates[name] * (factor if follows else 1.0)
        made = self.model(batch.input)
        loss, figures = self._making(made, batch)
        if not math.isfinite(float(loss.detach())):
            return None
        self._descend("generator", loss)
        self.weights = self.weights.after(number, float(figures["bicubic"]), self.kernel)
        loss = self._judging(made.detach(), batch.target)
        if not math.isfinite(float(loss.detach())):
            return None
        self._descend("judge", loss)
        return figures | {"judge": loss.detach()}

    def _making(self, made: Tensor, batch: Batch) -> tuple[Tensor, Figures]:
        """What the generator minimises, and what is to be seen of it."""
        wanted = _CONVOLVE[self.model.dimensions](batch.input, self._start, stride=self.model.ratio)
        kernel = self.model.kernel()
        distance = downscale_loss(made, wanted, self.kernel.distance)
        terms = kernel_terms(kernel, distance, self.weights, self.mask)
        fooled = maker_loss(self.spec.kind, self.judge(made))
        loss = fooled + terms.total
        seen = {"adversarial": fooled, "bicubic": distance, "sum_to_one": terms.sum_to_one}
        if self.spectra is not None and self.kernel.spectrum > 0:
            apart = self.spectra.cost(kernel)
            loss = loss + self.kernel.spectrum * apart
            seen["spectrum"] = apart
        return loss, {name: value.detach() for name, value in seen.items()}

    def _judging(self, made: Tensor, real: Tensor) -> Tensor:
        noise = self.kernel.noise
        answers = [
            self.judge(image + noise * torch.randn_like(image) if noise > 0 else image)
            for image in (real, made)
        ]
        return judge_loss(self.spec.kind, *answers)

    def pack(self) -> Packed:
        tensors, state = super().pack()
        return tensors, {**state, "weights": dataclasses.asdict(self.weights)}

    def unpack(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        super().unpack(tensors, state)
        self.weights = KernelWeights(**state["weights"])
