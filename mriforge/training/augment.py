"""Random changes of a slab of sharp slices, before it is degraded.

Slabs are ``(depth, height, width)`` tensors on any device, slices first. All randomness comes
from the NumPy generator that is passed in, so a batch is a function of its number.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mriforge.physics.kspace import KspaceCrop
from mriforge.recipes.schema import AugmentationSpec
from mriforge.volume import Grid

_SMALLEST = 32
"""In-plane size below which slices are not made smaller: little is left of anatomy."""


def uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """A number between the two ``limits``."""
    return float(limits[0] + (limits[1] - limits[0]) * rng.random())


def slice_indices(
    rng: np.random.Generator,
    tissue: np.ndarray,
    depth: int,
    spec: AugmentationSpec,
    foreground: float,
) -> np.ndarray:
    """Which slices make a slab: ``(depth, n)`` indices, to be averaged over ``n``.

    Slabs are drawn in proportion to the tissue of their middle slice with probability
    ``foreground``. A volume of too few slices is reflected at its ends.
    """
    count = len(tissue)
    weight = tissue + 1e-3 if rng.random() < foreground else np.ones(count)
    centre = int(rng.choice(count, p=weight / weight.sum()))
    if rng.random() < spec.single_slice_probability:
        return np.full((depth, 1), centre)
    largest = max(1, min(spec.slice_step, (count - 1) // max(1, depth - 1)))
    step = int(rng.integers(1, largest + 1))
    thick = step if step > 1 and rng.random() < spec.slice_average_probability else 1
    first = centre - (depth // 2) * step
    room = count - ((depth - 1) * step + thick)
    if room >= 0:
        first = min(max(first, 0), room)
    indices = first + step * np.arange(depth)[:, None] + np.arange(thick)[None, :]
    return reflect(indices, count)


def reflect(indices: np.ndarray, count: int) -> np.ndarray:
    """Indices outside ``0 .. count - 1`` mirrored back into it."""
    if count == 1:
        return np.zeros_like(indices)
    period = 2 * (count - 1)
    folded = np.mod(indices, period)
    return np.where(folded >= count, period - folded, folded)


def spatial(rng: np.random.Generator, slab: Tensor, spec: AugmentationSpec) -> Tensor:
    """Flips, exchange of the in-plane axes, turns, and a smaller in-plane matrix."""
    if spec.flip:
        axes = [axis for axis in range(3) if rng.random() < 0.5]
        slab = slab.flip(axes) if axes else slab
    if spec.transpose and rng.random() < 0.5:
        slab = slab.transpose(1, 2)
    if spec.rotations > 1:
        slab = turned(slab, int(rng.integers(spec.rotations)) / spec.rotations)
    if rng.random() < spec.rescale_probability:
        depth, height, width = slab.shape
        factor = max(uniform(rng, spec.rescale), min(1.0, _SMALLEST / min(height, width)))
        smaller = (max(1, round(width * factor)), max(1, round(height * factor)), depth)
        crop = KspaceCrop(Grid((depth, height, width)), smaller)
        slab = crop.A_complex(slab).abs()
    return slab


def turned(slab: Tensor, part: float) -> Tensor:
    """Slices turned in plane about their middle by ``part`` of a turn.

    Quarters of a turn are exact and may exchange height and width; others are interpolated by
    cubic convolution on the same matrix, with zeros beyond the image.
    """
    quarters = part * 4
    if quarters == round(quarters):
        return torch.rot90(slab, round(quarters) % 4, (1, 2))
    angle = 2 * math.pi * part
    height, width = slab.shape[1:]
    # grid_sample counts from -1 to 1 along either axis; turning is in pixels.
    ratio = (height - 1) / max(1, width - 1)
    matrix = torch.tensor(
        [
            [math.cos(angle), -math.sin(angle) * ratio, 0.0],
            [math.sin(angle) / ratio, math.cos(angle), 0.0],
        ],
        dtype=slab.dtype,
        device=slab.device,
    )
    grid = functional.affine_grid(matrix[None], (1, 1, height, width), align_corners=True)
    return functional.grid_sample(
        slab[None], grid, mode="bicubic", padding_mode="zeros", align_corners=True
    )[0]


def intensity(rng: np.random.Generator, slab: Tensor, spec: AugmentationSpec) -> Tensor:
    """Gamma, a random tone curve, and gain."""
    if rng.random() < spec.gamma_probability:
        slab = slab.clamp_min(0) ** uniform(rng, spec.gamma)
    if rng.random() < spec.curve_probability:
        slab = tone_curve(slab, rng.uniform(0.05, 1.0, size=4))
    return slab * uniform(rng, spec.gain)


def tone_curve(slab: Tensor, heights: np.ndarray) -> Tensor:
    """Piecewise linear curve through (0, 0) and ``heights`` at 1/4, 1/2, 3/4, 1.

    Beyond 1 it goes on with its last slope. Not always monotone: what was bright may become
    dark, as between T1 and T2 weighting.
    """
    knots = torch.tensor([0.0, *heights], dtype=slab.dtype, device=slab.device)
    slopes = torch.diff(knots) * (len(knots) - 1)
    position = slab.clamp_min(0) * (len(knots) - 1)
    cell = position.floor().clamp_max(len(slopes) - 1).long()
    return knots[cell] + slopes[cell] * (position - cell) / (len(knots) - 1)
