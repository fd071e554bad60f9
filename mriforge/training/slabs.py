"""Slabs of contiguous slices in three views, cropped, mirrored and projected (Chen 2021, 7.2.2).

All randomness comes from the NumPy generator that is passed in, so a slab is a function of it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mriforge.anatomy import VIEWS
from mriforge.recipes.schema import OrganSpec


def draw_slab(
    image: np.ndarray, labels: np.ndarray, spec: OrganSpec, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A random slab of a volume.

    Args:
        image: ``(z, y, x)``, normalised.
        labels: organ labels of it.

    Returns:
        image and labels ``(slices, h, w)``; windows are ``spec.crop`` at most.
    """
    shares = np.asarray(spec.views, dtype=float)
    axis = list(VIEWS.values())[int(rng.choice(3, p=shares / shares.sum()))]
    both = [np.moveaxis(part, axis, 0) for part in (image, labels)]
    take = _slices(both[0].shape[0], spec.slices, rng)
    window = tuple(_window(n, c, rng) for n, c in zip(both[0].shape[1:], spec.crop, strict=True))
    slab, truth = (
        torch.from_numpy(np.ascontiguousarray(part[take][(..., *window)])) for part in both
    )
    if rng.random() < spec.projective:
        slab, truth = project(slab, truth, random_projection(spec, rng))
    for axis in (1, 2):
        if rng.random() < spec.flip:
            slab, truth = slab.flip(axis), truth.flip(axis)
    return slab.contiguous(), truth.contiguous()


def _slices(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Contiguous slices; the outermost are repeated where a volume has too few."""
    if count >= wanted:
        return np.arange(wanted) + int(rng.integers(count - wanted + 1))
    before = int(rng.integers(wanted - count + 1))
    return np.clip(np.arange(wanted) - before, 0, count - 1)


def _window(size: int, crop: int, rng: np.random.Generator) -> slice:
    start = int(rng.integers(max(0, size - crop) + 1))
    return slice(start, start + min(size, crop))


def random_projection(spec: OrganSpec, rng: np.random.Generator) -> np.ndarray:
    """A 3x3 matrix on pixels ``(x, y, 1)`` about the centre: rotation, shear, perspective."""
    angle = spec.rotation * rng.uniform(-1, 1)
    shear = spec.shear * rng.uniform(-1, 1, 2)
    turn = np.array(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )
    # Shears of both axes at once would be a scaling too; one after the other keeps the area.
    across = np.array([[1, shear[0], 0], [0, 1, 0], [0, 0, 1]])
    along = np.array([[1, 0, 0], [shear[1], 1, 0], [0, 0, 1]])
    perspective = np.eye(3)
    perspective[2, :2] = spec.perspective * rng.uniform(-1, 1, 2)
    return perspective @ turn @ across @ along


def project(image: Tensor, labels: Tensor, matrix: np.ndarray) -> tuple[Tensor, Tensor]:
    """Slabs ``(slices, h, w)`` read at projected places; outside is air.

    Args:
        matrix: from a pixel of the result to one of the input, both relative to the centre.
    """
    height, width = image.shape[1:]
    y, x = np.mgrid[:height, :width]
    place = np.stack([x - (width - 1) / 2, y - (height - 1) / 2, np.ones_like(x)]).reshape(3, -1)
    at = matrix @ place
    depth = np.maximum(at[2], 0.2)  # never behind the eye
    # grid_sample's unit: -1 and 1 are the centres of the outermost pixels.
    grid = np.stack([at[0] / depth * 2 / (width - 1), at[1] / depth * 2 / (height - 1)], axis=-1)
    grid = torch.from_numpy(grid.reshape(1, height, width, 2).astype(np.float32))
    air = float(image.min())
    moved = functional.grid_sample(image[None] - air, grid, align_corners=True)[0] + air
    truth = functional.grid_sample(labels[None].float(), grid, mode="nearest", align_corners=True)
    return moved, truth[0].to(labels.dtype)
