"""The game in both directions: GAN-CIRCLE's cycle of two generators and two judges.

``L = L_WGAN(D_Y, G) + L_WGAN(D_X, F) + l1 L_CYC + l2 L_IDT + l3 L_JST`` (paper 004, II.2), all
norms as means over voxels, so that a weight does not depend on the size of patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from mriforge.losses.adversarial import joint_sparsifying, maker_loss
from mriforge.training.adversarial import AdversarialUpdate, Figures, parameters_of
from mriforge.training.patches import Batch
from mriforge.training.updates import Loss


class CycleUpdate(AdversarialUpdate):
    """``model`` makes sharp images of blurred ones, ``inverse`` the way back.

    Args:
        judges: of sharp and of blurred images.
        loss: a further loss on pairs, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        inverse: nn.Module,
        judges: Sequence[nn.Module],
        loss: Loss | None,
        **options: Any,
    ) -> None:
        self.inverse, self.loss = inverse, loss
        self.judge_sharp, self.judge_blurred = judges
        others = {
            "inverse": inverse,
            "judge_sharp": self.judge_sharp,
            "judge_blurred": self.judge_blurred,
        }
        super().__init__(model, others, **options)

    def sides(self) -> dict[str, tuple[list[nn.Parameter], float, tuple[float, float]]]:
        generators = list(parameters_of(self.model, self.inverse))
        judges = list(parameters_of(self.judge_sharp, self.judge_blurred))
        return {
            "generator": (generators, self.base.lr, self.base.betas),
            "judge": (judges, self.spec.lr, self.spec.betas),
        }

    def judge_step(self, batch: Batch, number: int) -> dict[str, tuple[Tensor, Figures]]:
        with torch.no_grad(), self._cast():
            sharp = self.model(batch.input).float()
            blurred = self.inverse(batch.target).float()
        one, figures = self.judged(self.judge_sharp, batch.target, sharp)
        two, others = self.judged(self.judge_blurred, batch.input, blurred)
        figures |= {f"{name}_back": value for name, value in others.items()}
        return {"judge": (one + two, figures)}

    def generator_step(self, batch: Batch) -> tuple[Tensor, Figures]:
        spec, blurred, sharp = self.spec, batch.input, batch.target
        with self._cast():
            raised, lowered = self.model(blurred), self.inverse(sharp)
            around = self.inverse(raised).float(), self.model(lowered).float()
            alone = self.model(sharp).float(), self.inverse(blurred).float()
            answers = self.judge_sharp(raised).float(), self.judge_blurred(lowered).float()
        raised = raised.float()
        fooled = sum(maker_loss(spec.kind, answer, spec.saturating) for answer in answers)
        cycle = l1_loss(around[0], blurred) + l1_loss(around[1], sharp)
        identity = l1_loss(alone[0], sharp) + l1_loss(alone[1], blurred)
        sparse = joint_sparsifying(raised, sharp, spec.sparsify_share)
        total = spec.weight * fooled + spec.cycle * cycle + spec.identity * identity
        total = total + spec.sparsify * sparse
        figures = {"adversarial": fooled, "cycle": cycle, "identity": identity, "sparse": sparse}
        if self.loss is not None:
            paired = self.loss(raised, sharp, blurred)
            total, figures["loss"] = total + paired, paired
        return total, figures
