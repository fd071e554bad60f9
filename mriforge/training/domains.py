"""Batches of images of two kinds, which a feature discriminator learns to tell apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from mriforge.errors import BadInput
from mriforge.recipes.schema import PatchSpec
from mriforge.training.data import TrainingVolume
from mriforge.training.patches import Batch


def domains_of(volumes: Sequence[TrainingVolume]) -> list[str]:
    """Names of the two domains, the rarer one first (Chen 2021: coronary 0, brain 1).

    Raises:
        BadInput: not two of them.
    """
    names = [volume.domain for volume in volumes]
    found = sorted(set(names), key=lambda name: (names.count(name), name))
    if len(found) != 2 or "" in found:
        raise BadInput(
            f"This training needs images of two domains; the manifest names {len(set(names))}.",
            "Give every image a 'domain', for example 'brain' or 'spine'.",
        )
    return found


class DomainSampler:
    """Draws from two samplers, one of each domain; a batch is a function of its number.

    Batches of several are half of either; single images are of one domain by chance.

    Args:
        volumes: of both domains.
        patches: their ``batch`` is that of both domains together.
        make: the sampler of some of the volumes with these patches.
        seed, rank: of the draw between domains.
    """

    epoch_steps = None

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        patches: PatchSpec,
        make: Callable[[list[TrainingVolume], PatchSpec], object],
        *,
        seed: int = 0,
        rank: int = 0,
    ) -> None:
        self.seed, self.rank, self.alone = seed, rank, patches.batch == 1
        share = dataclasses.replace(patches, batch=max(1, patches.batch // 2))
        self.names = domains_of(volumes)
        self.samplers = [
            make([volume for volume in volumes if volume.domain == name], share)
            for name in self.names
        ]

    def batch(self, step: int) -> Batch:
        """Batch number ``step``."""
        which = [0, 1]
        if self.alone:
            which = [int(np.random.default_rng([self.seed, self.rank, 5, step]).integers(2))]
        parts = [self.samplers[number].batch(step) for number in which]
        domain = [torch.full((len(p.input),), float(n)) for n, p in zip(which, parts, strict=True)]
        return Batch(
            torch.cat([part.input for part in parts]),
            torch.cat([part.target for part in parts]),
            torch.cat(domain).to(parts[0].input.device),
        )
