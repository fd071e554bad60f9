"""The loss of organ segmentation: cross-entropy and Dice at every resolution (Chen 2021, 7.2.5).

The dissertation does not state the loss; cross-entropy and soft Dice are our choice. Label maps in
which some organs are not outlined teach only what they know: where the background may hide an
organ, the network's shares of background and of those organs are added up before they are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mriforge.anatomy import CLASSES
from mriforge.recipes.schema import LossSpec


class OrganTarget(NamedTuple):
    """Labels of slabs.

    Attributes:
        labels: ``(b, slices, h, w)``, uint8.
        organs: labels of organs that are outlined in them.
    """

    labels: Tensor
    organs: tuple[int, ...]


class OrganLoss(nn.Module):
    """Cross-entropy and Dice of scores ``(b, 11 * slices, h, w)`` at one or several resolutions.

    Args:
        spec: its ``cross_entropy`` and ``dice`` are weights.
        deep: weight of the mean loss of the coarser resolutions.
    """

    def __init__(self, spec: LossSpec, deep: float) -> None:
        super().__init__()
        self.spec, self.deep = spec, deep

    def forward(
        self, output: Sequence[Tensor] | Tensor, target: OrganTarget, given: Tensor | None = None
    ) -> Tensor:
        """The loss; ``output`` is one tensor, or a list from full to coarsest resolution."""
        levels = [output] if isinstance(output, Tensor) else list(output)
        losses = [self._level(scores, target) for scores in levels]
        if len(losses) == 1 or self.deep <= 0:
            return losses[0]
        return losses[0] + self.deep * torch.stack(losses[1:]).mean()

    def _level(self, scores: Tensor, target: OrganTarget) -> Tensor:
        batch, slices = target.labels.shape[:2]
        height, width = scores.shape[2:]
        shares = scores.reshape(batch, CLASSES, slices, height, width).log_softmax(dim=1)
        shares = known_shares(shares, target.organs)
        labels = downsampled(target.labels, (height, width)).long()
        total = scores.new_zeros(())
        if self.spec.cross_entropy > 0:
            weight = class_weights(labels, self.spec.class_balance).to(shares.dtype)
            entropy = functional.nll_loss(shares, labels, weight)
            total = total + self.spec.cross_entropy * entropy
        if self.spec.dice > 0:
            total = total + self.spec.dice * present_dice(shares, labels)
        return total


def class_weights(labels: Tensor, power: float) -> Tensor:
    """Weights of the classes: this ``power`` of one over their frequency in ``labels``.

    Nine of ten voxels are background; unweighted, a network first learns that everything is.
    """
    count = torch.bincount(labels.flatten(), minlength=CLASSES).double()
    return (count.sum() / count.clamp_min(1)).pow(power)


def known_shares(shares: Tensor, organs: Sequence[int]) -> Tensor:
    """Logarithms of shares ``(b, 11, ...)`` with organs that are not outlined put to background."""
    hidden = [label for label in range(1, CLASSES) if label not in organs]
    if not hidden:
        return shares
    background = shares[:, [0, *hidden]].logsumexp(dim=1, keepdim=True)
    kept = torch.ones(CLASSES, dtype=torch.bool, device=shares.device)
    kept[hidden] = False
    rest = shares[:, 1:].masked_fill(~kept[1:].view(1, -1, *[1] * (shares.ndim - 2)), -1e4)
    return torch.cat([background, rest], dim=1)


def downsampled(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels ``(b, slices, h, w)`` at a coarser in-plane size, every second pixel again and again.

    Sizes that are not a multiple are rounded up, as the network does that fills them up.
    """
    step = [max(1, round(n / m)) for n, m in zip(labels.shape[2:], size, strict=True)]
    taken = labels[:, :, step[0] // 2 :: step[0], step[1] // 2 :: step[1]][
        ..., : size[0], : size[1]
    ]
    missing = (0, size[1] - taken.shape[3], 0, size[0] - taken.shape[2])
    return functional.pad(taken, missing) if any(missing) else taken


def present_dice(shares: Tensor, labels: Tensor) -> Tensor:
    """One minus the soft Dice overlap, mean over the classes that occur in ``labels``.

    Args:
        shares: logarithms ``(b, c, ...)``.
        labels: ``(b, ...)``, integers.
    """
    classes = shares.shape[1]
    flat, wanted = shares.exp().transpose(0, 1).flatten(1), labels.flatten()
    count = torch.bincount(wanted, minlength=classes).to(flat.dtype)
    place = shares.gather(1, labels[:, None]).exp().flatten()
    overlap = torch.zeros_like(count).index_add(0, wanted, place)
    dice = 2 * overlap / (flat.sum(1) + count).clamp_min(1e-6)
    return 1 - dice[count > 0].mean()
