"""Figures of a network on held-out subjects, the same images every time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mriforge.physics.kspace import KspaceCrop
from mriforge.recipes.schema import AugmentationSpec, DegradationSpec, InputSpec, PatchSpec, Recipe
from mriforge.training.data import TrainingVolume
from mriforge.training.patches import SlabSampler, low_matrix
from mriforge.volume import Grid


class HeldOut:
    """PSNR of a network over its input on fixed slabs of whole slices, per keep level and overall.

    Whole slices, because the result that a user gets has the measured k-space centre restored
    (zero-filled inputs; others are scored as they are): what a network does inside that centre
    does not count.

    Args:
        volumes: of subjects that training does not see.
        count: slabs per keep level.
        depth: slices of a slab.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        degradation: DegradationSpec,
        input_spec: InputSpec,
        *,
        count: int,
        depth: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        patches = PatchSpec(mode="slab", size=(depth, 1, 1), foreground=1.0)
        self.restores = input_spec.upsample == "sinc"
        self.slabs: dict[float, list[tuple[Tensor, Tensor]]] = {}
        for keep in degradation.keep:
            plain = DegradationSpec(
                operator=degradation.operator, keep=(keep,), magnitude=degradation.magnitude
            )
            sampler = SlabSampler(
                volumes, patches, plain, input_spec, AugmentationSpec(), seed=seed, device=device
            )
            rng = np.random.default_rng([seed, 0])
            self.slabs[keep] = [sampler.slab(rng) for _ in range(count)]

    @classmethod
    def of_recipe(
        cls, recipe: Recipe, volumes: Sequence[TrainingVolume], device: torch.device | str
    ) -> HeldOut | None:
        """As the recipe says; None when there is nothing to validate on."""
        if not volumes or recipe.validation.patches < 1:
            return None
        return cls(
            volumes,
            recipe.degradation,
            recipe.input,
            count=recipe.validation.patches,
            depth=recipe.validation.size[0],
            seed=recipe.seed,
            device=device,
        )

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """``gain_db`` (mean over levels) and ``gain_db_<keep>``, ``psnr_<keep>`` in dB."""
        figures, gains = {}, []
        for keep, slabs in self.slabs.items():
            before, after = [], []
            for low, sharp in slabs:
                output = model(low[None, None])[0, 0]
                if self.restores:
                    height, width = low_matrix(tuple(sharp.shape[1:]), keep)
                    crop = KspaceCrop(Grid(tuple(sharp.shape)), (width, height, sharp.shape[0]))
                    output = crop.restore(output, crop.A(low))
                before.append(_psnr(low, sharp))
                after.append(_psnr(output, sharp))
            level = f"{100 * keep:g}"
            figures[f"psnr_{level}"] = math.fsum(after) / len(after)
            gains.append(figures[f"psnr_{level}"] - math.fsum(before) / len(before))
            figures[f"gain_db_{level}"] = gains[-1]
        return {"gain_db": sum(gains) / len(gains), **figures}


def _psnr(image: Tensor, reference: Tensor) -> float:
    """PSNR in dB, range 1."""
    error = float((image - reference).cpu().double().square().mean())
    return -10.0 * math.log10(max(error, 1e-12))


class HeldOutLabels:
    """Accuracy figures of a segmentation network on fixed patches of held-out subjects."""

    def __init__(self, sampler: SlabSampler, batches: int = 3) -> None:
        self.batches = [sampler.batch(step) for step in range(batches)]

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """``dice``: mean over classes of the Dice overlap; ``accuracy``: share of voxels."""
        hit = total = 0
        overlap: dict[int, list[float]] = {}
        for batch in self.batches:
            scores = torch.cat([model(one) for one in batch.input.split(1)])
            found, truth = scores.argmax(dim=1), batch.target[:, 0].long()
            hit += int((found == truth).sum())
            total += truth.numel()
            for label in range(scores.shape[1]):
                a, b = found == label, truth == label
                sums = overlap.setdefault(label, [0.0, 0.0])
                sums[0] += 2.0 * float((a & b).sum())
                sums[1] += float(a.sum() + b.sum())
        dice = [both / either for both, either in overlap.values() if either > 0]
        return {"dice": math.fsum(dice) / len(dice), "accuracy": hit / total}


def for_finetuning(spec: DegradationSpec, keep: Sequence[float]) -> DegradationSpec:
    """The degradation of a known scan: exactly these fractions, nothing random."""
    return dataclasses.replace(
        spec,
        keep=tuple(keep),
        keep_range_probability=0.0,
        aspect_jitter_probability=0.0,
        noise_probability=0.0,
    )
