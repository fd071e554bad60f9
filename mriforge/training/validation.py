"""Figures of a network on held-out subjects, the same patches every time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mriforge.recipes.schema import AugmentationSpec, DegradationSpec, InputSpec, PatchSpec, Recipe
from mriforge.training.data import TrainingVolume
from mriforge.training.patches import Batch, SlabSampler


class HeldOut:
    """PSNR of a network over its input on fixed patches, per keep level and on average.

    Args:
        volumes: of subjects that training does not see.
        count: patches per keep level.
        size: patch size; the margin that truncation makes unreliable is part of it.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        degradation: DegradationSpec,
        input_spec: InputSpec,
        *,
        count: int,
        size: tuple[int, int, int],
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        patches = PatchSpec(mode="slab", size=size, batch=count, per_slab=1, foreground=1.0)
        self.batches: dict[float, Batch] = {}
        for keep in degradation.keep:
            plain = DegradationSpec(
                operator=degradation.operator, keep=(keep,), magnitude=degradation.magnitude
            )
            sampler = SlabSampler(
                volumes, patches, plain, input_spec, AugmentationSpec(), seed=seed, device=device
            )
            self.batches[keep] = sampler.batch(0)

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
            size=recipe.validation.size,
            seed=recipe.seed,
            device=device,
        )

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        """``gain_db`` (mean over levels) and ``gain_db_<keep>``, ``psnr_<keep>`` in dB."""
        figures, gains = {}, []
        for keep, batch in self.batches.items():
            low, sharp = batch.input, batch.target
            output = torch.cat([model(one) for one in low.split(1)])
            before, after = _psnr(low, sharp), _psnr(output, sharp)
            level = f"{100 * keep:g}"
            figures[f"psnr_{level}"] = float(after.mean())
            figures[f"gain_db_{level}"] = float((after - before).mean())
            gains.append(figures[f"gain_db_{level}"])
        return {"gain_db": sum(gains) / len(gains), **figures}


def _psnr(image: Tensor, reference: Tensor) -> Tensor:
    """PSNR in dB of each patch, range 1."""
    error = (image - reference).double().square().flatten(1).mean(dim=1)
    return -10.0 * error.clamp_min(1e-12).log10()


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
