"""What is expected of every voxel's error, and which voxels are drawn to find out how it turns out.

The expectation is made from the result alone: the local size of the finest detail that the
acquisition did resolve, and the spread of the method's answers. Detail that is just too fine to be
measured goes along with detail that is just measured, at edges, in texture and in noise alike, and
by a ratio that hardly depends on the voxel size. That is why the ratio can be found on the scan
itself, made coarser once more.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mriforge.superres.problem import Problem
from mriforge.uncertainty.conformal import Sample

FLOOR = 0.005
"""Least error that is expected, in parts of bright tissue: half a percent."""
AIR = 0.1
"""Local mean below which a voxel lies outside of the body, likewise."""
_DETAIL = 0.6
"""Width (sigma) of the Gaussian beyond which detail is fine, in acquired voxels."""
_AROUND = 0.5
"""Width of the neighbourhood that detail is averaged over, likewise."""
_BLOCKS = ((4, 16), (4, 12), (4, 8), (2, 8), (2, 6), (1, 6), (1, 4))
"""Sizes of patches, across the slices and in plane, from large to small."""
_ENOUGH = 400
"""Patches that are aimed at by making them smaller."""
_FROM_EACH = 32
"""Voxels drawn from each patch."""


def ratios(problem: Problem) -> tuple[float, ...]:
    """How many fine samples an acquired one holds, along ``(z, y, x)``."""
    sizes = zip(problem.operator.high.shape, problem.operator.low.shape, strict=True)
    return tuple(fine / coarse for fine, coarse in sizes)


def difficulty(problem: Problem, answer: Tensor, spread: Tensor) -> np.ndarray:
    """What error is expected of each voxel, up to a common factor; ``(z, y, x)``, float32.

    Args:
        answer: the method's, in parts of bright tissue.
        spread: of its answers.
    """
    image = answer.numpy()
    along = [r if r > 1.01 else 0.0 for r in ratios(problem)]
    fine = image - ndimage.gaussian_filter(image, [_DETAIL * r for r in along], mode="nearest")
    around = [_AROUND * r for r in along]
    energy = ndimage.gaussian_filter(fine * fine, around, mode="nearest")
    return np.sqrt(np.maximum(energy, 0)) + spread.numpy() + np.float32(FLOOR)


def air(problem: Problem, answer: Tensor) -> np.ndarray:
    """Where no tissue is, ``(z, y, x)`` bool."""
    sizes = zip(ratios(problem), answer.shape, strict=True)
    sigma = [max(1.0, r) if n > 1 else 0.0 for r, n in sizes]
    return ndimage.gaussian_filter(np.abs(answer.numpy()), sigma, mode="nearest") < AIR


def draw(
    problem: Problem,
    answer: Tensor,
    expected: np.ndarray,
    outside: np.ndarray,
    seed: int = 0,
) -> tuple[Sample, Sample]:
    """Voxels to calibrate on and voxels to check with, from different patches.

    Patches do not touch: the outermost voxels of each are left out. Which patch serves for what is
    drawn at random, always the same.

    Args:
        problem: with its truth.
        answer, expected, outside: of every voxel of ``operator.high``.
    """
    random = np.random.default_rng([seed, *answer.shape])
    error = torch.abs(answer - problem.truth).numpy()
    boxes = boxes_of(problem)
    order = random.permutation(len(boxes))
    samples = []
    for chosen in (order[: (len(order) + 1) // 2], order[(len(order) + 1) // 2 :]):
        parts = [
            _some(boxes[place], (error, expected, outside), number, random)
            for number, place in enumerate(chosen)
        ]
        samples.append(Sample(*(np.concatenate(columns) for columns in zip(*parts, strict=True))))
    return samples[0], samples[1]


def boxes_of(problem: Problem) -> list[tuple[slice, ...]]:
    """Patches: boxes that do not touch, in the part that the method never learned from."""
    inside = zip(problem.inside, problem.operator.high.shape, strict=True)
    spans = [range(*part.indices(n)) for part, n in inside]
    sizes = [len(span) for span in spans]
    thin = int(np.argmin(sizes))
    for depth, side in _BLOCKS:
        block = [side] * 3
        block[thin] = depth
        counts = [max(1, n // b) for n, b in zip(sizes, block, strict=True)]
        if np.prod(counts) >= _ENOUGH:
            break
    boxes = []
    for place in itertools.product(*(range(n) for n in counts)):
        box = []
        for number, size, span in zip(place, block, spans, strict=True):
            rim = 1 if size >= 4 else 0
            start = span.start + number * size
            stop = min(start + size, span.stop)
            box.append(slice(min(start + rim, stop - 1), max(stop - rim, start + 1)))
        boxes.append(tuple(box))
    return boxes


def _some(
    box: tuple[slice, ...],
    images: tuple[np.ndarray, ...],
    number: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, ...]:
    """Voxels of one patch: of each image, and the patch's number."""
    columns = [image[box].ravel() for image in images]
    count = min(_FROM_EACH, columns[0].size)
    chosen = random.choice(columns[0].size, count, replace=False)
    return (*(column[chosen] for column in columns), np.full(count, number))
