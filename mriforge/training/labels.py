"""Segmentation targets computed from the image itself, to train the perceptual network.

The published perceptual network was trained on labelled vessels, which cannot be had. Its
features have to know tissue borders and thin structures; both can be computed: tissue classes by
multi-level Otsu thresholds, thin bright tubes by the eigenvalues of the Hessian (Frangi et al.
1998, Sato et al. 1998). The network sees the image with another gain, gamma, resolution and noise
than the labels were made from, so that it cannot solve the task voxel by voxel.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mriforge.recipes.schema import AugmentationSpec, LabelSpec, PatchSpec, Recipe
from mriforge.training.augment import intensity
from mriforge.training.data import TrainingVolume
from mriforge.training.patches import Batch, SlabSampler, cut, degrade_slices
from mriforge.training.validation import HeldOutLabels

_BINS = 48
_MARGIN = 32
"""Voxels around the patches of a labelled part, so that few lie at its border."""


class LabelSampler(SlabSampler):
    """Patches ``(b, 1, d, h, w)`` and their labels, integers of the same shape.

    Labels: 0 to ``tissue_classes - 1`` by intensity, ``tissue_classes`` for thin bright tubes.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        recipe: Recipe,
        *,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.labels = recipe.labels
        self.tones = recipe.augmentation
        geometry = dataclasses.replace(
            recipe.augmentation, gain=(1.0, 1.0), gamma_probability=0.0, curve_probability=0.0
        )
        super().__init__(
            volumes,
            recipe.patches,
            recipe.degradation,
            recipe.input,
            geometry,
            seed=recipe.seed,
            rank=rank,
            device=device,
        )

    def batch(self, step: int) -> Batch:
        """Batch number ``step``."""
        rng = np.random.default_rng([self.seed, self.rank, step])
        wanted, images, labels = self.patches.batch, [], []
        while len(images) < wanted:
            sharp = self.sharp_slab(rng)
            edges = otsu_thresholds(sharp[:, ::2, ::2].cpu().numpy(), self.labels.tissue_classes)
            image, sharp = cut(rng, self._seen(rng, sharp), sharp, self._window(sharp))
            truth = label_slab(sharp, self.labels, edges).to(sharp.dtype)
            image = intensity(rng, image, self.tones)
            for _ in range(min(self.patches.per_slab, wanted - len(images))):
                patch, label = cut(rng, image, truth, self.patches)
                images.append(patch)
                labels.append(label)
        return Batch(torch.stack(images)[:, None], torch.stack(labels)[:, None].long())

    def _window(self, sharp: Tensor) -> PatchSpec:
        """The part of a slab that is labelled: a few patches wide, to save time."""
        size = self.patches.size
        wide = tuple(
            min(n, 2 * p + _MARGIN) for n, p in zip(sharp.shape[1:], size[1:], strict=True)
        )
        return dataclasses.replace(self.patches, size=(sharp.shape[0], *wide))

    def _seen(self, rng: np.random.Generator, sharp: Tensor) -> Tensor:
        if rng.random() >= self.labels.degraded_probability:
            return sharp
        shape = self._low_shape(rng, tuple(sharp.shape[1:]))
        return degrade_slices(sharp, shape, self.degradation, self.input.upsample)


def held_out_labels(
    volumes: Sequence[TrainingVolume], recipe: Recipe, device: torch.device | str
) -> HeldOutLabels | None:
    """Validation on held-out subjects, without augmentation; None without such subjects."""
    if not volumes or recipe.validation.patches < 1:
        return None
    patches = dataclasses.replace(
        recipe.patches, size=recipe.validation.size, batch=recipe.validation.patches, per_slab=1
    )
    plain = dataclasses.replace(
        recipe,
        patches=patches,
        augmentation=AugmentationSpec(),
        labels=dataclasses.replace(recipe.labels, degraded_probability=0.0),
    )
    return HeldOutLabels(LabelSampler(volumes, plain, device=device), batches=1)


def label_slab(sharp: Tensor, spec: LabelSpec, thresholds: list[float] | None = None) -> Tensor:
    """Labels of a slab ``(d, h, w)``: tissue classes, then tubes on top.

    ``thresholds`` between the classes are found in the slab itself unless they are given.
    """
    if thresholds is None:
        thresholds = otsu_thresholds(sharp.cpu().numpy(), spec.tissue_classes)
    edges = torch.tensor(thresholds, dtype=sharp.dtype, device=sharp.device)
    labels = torch.bucketize(sharp.contiguous(), edges)
    thin = torch.zeros_like(sharp)
    for scale in spec.vessel_scales:
        thin = torch.maximum(thin, tubeness(sharp, scale))
    return torch.where(thin > spec.vessel_threshold, spec.tissue_classes, labels)


def otsu_thresholds(image: np.ndarray, classes: int) -> list[float]:
    """Thresholds between ``classes`` intensity classes: least variance within them (Otsu 1979)."""
    top = float(np.percentile(image, 99.5))
    if classes < 2 or top <= 0:
        return [math.inf] * max(0, classes - 1)
    counts, edges = np.histogram(np.clip(image, 0, top), bins=_BINS, range=(0.0, top))
    centres = (edges[1:] + edges[:-1]) / 2
    mass = np.concatenate([[0], np.cumsum(counts)])
    moment = np.concatenate([[0], np.cumsum(counts * centres)])
    cuts = np.array(list(itertools.combinations(range(1, _BINS), classes - 1)))
    bounds = np.hstack([np.zeros((len(cuts), 1), int), cuts, np.full((len(cuts), 1), _BINS)])
    weight = np.diff(mass[bounds], axis=1)
    total = np.diff(moment[bounds], axis=1)
    between = (total**2 / np.maximum(weight, 1)).sum(axis=1)
    return [float(edges[c]) for c in cuts[int(np.argmax(between))]]


def tubeness(image: Tensor, sigma: float) -> Tensor:
    """How much a voxel lies in a bright tube of radius ``sigma`` voxels; 0 elsewhere.

    ``sqrt(l2 * l3) * sigma**2`` where the two largest curvatures are negative, and less where the
    third is large too (a blob); ``(d, h, w)`` in and out, in units of the image.
    """
    second = _hessian(image, sigma)
    small, middle, large = symmetric_eigenvalues(*second)  # ascending
    across = (small * middle).clamp_min(0).sqrt()
    inside = (middle < 0) & (small < 0)
    blob = (large.abs() / middle.abs().clamp_min(1e-6)).clamp_max(1.0)
    return torch.where(inside, across * (1.0 - blob) * sigma**2, torch.zeros_like(image))


def _hessian(image: Tensor, sigma: float) -> tuple[Tensor, ...]:
    """Second derivatives zz, yy, xx, zy, zx, yx of the image smoothed by ``sigma``."""
    radius = max(1, math.ceil(3 * sigma))
    place = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    smooth = torch.exp(-0.5 * (place / sigma) ** 2)
    smooth = smooth / smooth.sum()
    first = -place / sigma**2 * smooth
    second = (place**2 / sigma**4 - 1 / sigma**2) * smooth
    second = second - second.mean()
    orders = ((2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (1, 0, 1), (0, 1, 1))
    kernels = (smooth, -first, second)
    return tuple(_separable(image, [kernels[o] for o in order]) for order in orders)


def _separable(image: Tensor, kernels: list[Tensor]) -> Tensor:
    """One kernel along each axis, edges repeated; shifted sums beat a one-channel conv3d."""
    for axis, kernel in enumerate(kernels):
        reach, size = len(kernel) // 2, image.shape[axis]
        index = torch.arange(-reach, size + reach, device=image.device).clamp(0, size - 1)
        padded = image.index_select(axis, index)
        image = torch.zeros_like(image)
        for tap, weight in enumerate(kernel.tolist()):
            image = image.add(padded.narrow(axis, tap, size), alpha=weight)
    return image


def symmetric_eigenvalues(
    a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Ascending eigenvalues of the 3x3 matrices ``[[a, d, e], [d, b, f], [e, f, c]]``.

    The closed form by the angle of the characteristic polynomial: thousands of times faster than
    a batched decomposition, exact enough for thresholds.
    """
    mean = (a + b + c) / 3
    a, b, c = a - mean, b - mean, c - mean
    spread = ((a * a + b * b + c * c + 2 * (d * d + e * e + f * f)) / 6).sqrt().clamp_min(1e-12)
    half = (a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)) / (2 * spread**3)
    angle = torch.acos(half.clamp(-1, 1)) / 3
    large = 2 * spread * torch.cos(angle)
    small = 2 * spread * torch.cos(angle + 2 * math.pi / 3)
    return small + mean, mean - small - large, large + mean
