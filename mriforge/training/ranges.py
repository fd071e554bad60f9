"""What the low-resolution images of a training are like, for the card: least and most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mriforge.metrics.noise import appearance
from mriforge.physics.kspace import KspaceCrop
from mriforge.recipes import Recipe
from mriforge.training.data import TrainingVolume
from mriforge.volume import Grid, some_of

_SLICES = 12
_FRAMES = 3
_SMALLEST = 8


def ranges_of(recipe: Recipe, volumes: Sequence[TrainingVolume]) -> dict[str, list[float]]:
    """Ranges of the card of a model for super-resolution.

    Every volume is truncated to every fraction of k-space that the recipe names, in every plane it
    may be cut along, and looked at as the user's image will be. What the recipe adds at random is
    added to the ranges: noise, coarser voxels, single slices.
    """
    found: dict[str, list[float]] = {}

    def note(**values: float) -> None:
        for name, value in values.items():
            found.setdefault(name, []).append(float(value))

    augmentation = recipe.augmentation
    for volume in volumes:
        for axes in volume.axes:
            inplane = [volume.spacing[a] for a in axes]
            across = volume.spacing[next(a for a in range(3) if a not in axes)]
            step = min(augmentation.slice_step, max(1, volume.view(0, axes).shape[0] - 1))
            coarsest = min(augmentation.rescale) if augmentation.rescale_probability else 1.0
            note(spacing_mm=min(inplane), slice_mm=across)
            note(spacing_mm=max(inplane) / coarsest, slice_mm=across * step)
            for frame in some_of(len(volume.array), _FRAMES):
                view = volume.view(frame, axes)
                note(slices=len(view))
                for keep in recipe.degradation.keep or (1.0,):
                    note(**appearance(_truncated(view, keep)))
    if augmentation.single_slice_probability > 0:
        note(slices=1)
    if recipe.degradation.noise_probability > 0 and "noise" in found:
        most, added = max(found["noise"]), max(recipe.degradation.noise)
        note(noise=float(np.hypot(most, added)))
    return {name: [_short(min(values)), _short(max(values))] for name, values in found.items()}


def _truncated(view: np.ndarray, keep: float) -> np.ndarray:
    """The slices in the middle as a shorter scan shows them."""
    first = max(0, (len(view) - _SLICES) // 2)
    image = np.ascontiguousarray(view[first : first + _SLICES], dtype=np.float32)
    if keep >= 1 or min(image.shape[1:]) * keep**0.5 < _SMALLEST:
        return image
    crop = KspaceCrop.from_fraction(Grid(image.shape), keep, (0, 1))
    return crop.A_complex(torch.from_numpy(image)).abs().numpy()


def _short(value: float) -> float:
    return float(f"{value:.4g}")
