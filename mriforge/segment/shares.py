"""From the classes' probabilities on the working grid to labels on any other grid.

Probabilities, not labels, are interpolated: the outline lies where two classes are equally likely,
and is as smooth between the working voxels as the probabilities are. Every voxel gets the label
with the largest probability there, so that no gap is left between labels.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from mriforge.physics.canonical import TRUNCATE, Interpolator, antialias, smoothed, turned
from mriforge.volume import Grid

_CHUNK = 1 << 22
"""Voxels of the result that are worked on at a time."""
_CACHED = 1 << 18
"""Voxels whose classes stay in a processor's cache."""
_ROOM = 16
_BEYOND = 1.0
"""Voxels of the source that its border goes on for."""


def most_likely(fields: np.ndarray) -> np.ndarray:
    """The class with the largest value, of equal ones the lowest.

    Args:
        fields: ``(classes, z, y, x)``, 16-bit whole numbers not below 0; at most 16 classes.

    Returns:
        ``(z, y, x)``, uint8; stored in the order of ``fields``.
    """
    order = sorted((1, 2, 3), key=lambda axis: -fields.strides[axis])
    stored = fields.transpose(0, *order)
    result = np.empty(stored.shape[1:], dtype=np.uint8)
    thick = max(1, _CACHED // math.prod(result.shape[1:]))
    for first in range(0, len(result), thick):
        classes = torch.from_numpy(stored[:, first : first + thick])
        # Value and class in one number: one comparison for both.
        best = classes[0].int().mul_(_ROOM).add_(_ROOM - 1)
        for number in range(1, len(classes)):
            key = classes[number].int().mul_(_ROOM).add_(_ROOM - 1 - number)
            torch.maximum(best, key, out=best)
        result[first : first + thick] = (_ROOM - 1 - (best & (_ROOM - 1))).numpy()
    return result.transpose(*(order.index(axis) for axis in (1, 2, 3)))


def labels_on(
    fields: np.ndarray, source: Grid, target: Grid, check: Callable[[], object] = lambda: None
) -> np.ndarray:
    """The most likely class at the voxels of ``target``.

    Args:
        fields: ``(classes, z, y, x)`` on ``source``, whole numbers not below 0 whose sum over the
            classes is everywhere the same (to rounding).
        source, target: any two grids; the centres of the target's voxels are inside ``source``.
        check: called between classes; may raise.

    Returns:
        ``(z, y, x)``, uint8. Linear interpolation; where voxels become larger, of the mean over
        the larger voxel.
    """
    turn = turned(source, target)
    if turn is not None:
        return np.ascontiguousarray(turn(most_likely(fields)))
    parts = []
    # The most likely of n classes has a share of 1 / n at least, and an interpolated value is no
    # larger than the largest that it is made of.
    least = 0.9 * int(fields[:, 0, 0, 0].sum()) / len(fields)
    for number, field in enumerate(fields):
        check()
        part = _part(number, field, least, source, target)
        if part is not None:
            parts.append(part)
    result = np.zeros(target.shape, dtype=np.uint8)
    thick = max(1, _CHUNK // math.prod(target.shape[1:]))
    for start in range(0, target.shape[0], thick):
        stop = min(start + thick, target.shape[0])
        best = np.full((stop - start, *target.shape[1:]), -1.0, dtype=np.float32)
        for part in parts:
            check()
            part.compete(best, result, start, stop)
    return result


@dataclass(frozen=True)
class _Part:
    """The box of a class's field outside of which it cannot be the most likely.

    Attributes:
        number: of the class.
        field: interpolates it.
        target: the grid of the result.
        box: slices ``(z, y, x)`` of the target that the box covers.
    """

    number: int
    field: Interpolator
    target: Grid
    box: tuple[slice, slice, slice]

    def compete(self, best: np.ndarray, result: np.ndarray, start: int, stop: int) -> None:
        """Takes the voxels where this class is more likely than the best so far.

        Args:
            best: likelihoods in the slices from ``start`` to ``stop``; changed.
            result: labels of the whole target; changed.
        """
        first, last = max(start, self.box[0].start), min(stop, self.box[0].stop)
        if first >= last:
            return
        box = (slice(first, last), *self.box[1:])
        values = self.field(_subgrid(self.target, box))
        mine = best[(slice(first - start, last - start), *self.box[1:])]
        wins = values > mine
        mine[wins] = values[wins]
        result[box][wins] = self.number


def _part(number: int, field: np.ndarray, least: float, source: Grid, target: Grid) -> _Part | None:
    """The part of a class; None where its values are below ``least`` everywhere."""
    inner = _bounds(field >= least)
    if inner is None:
        return None
    sigmas = antialias(source, target)
    reach = [1 + math.ceil(TRUNCATE * sigma) for sigma in sigmas[::-1]]
    box = tuple(
        slice(max(0, i.start - r), min(n, i.stop + r))
        for i, r, n in zip(inner, reach, field.shape, strict=True)
    )
    grid = _subgrid(source, box)
    covered = _covered(grid, source, box, target)
    if covered is None:
        return None
    values = smoothed(field[box].astype(np.float32), sigmas)
    return _Part(number, Interpolator(values, grid, target), target, covered)


def _bounds(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The smallest box around what is true; None where nothing is."""
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        there = np.flatnonzero(mask.any(axis=others))
        if not len(there):
            return None
        box.append(slice(int(there[0]), int(there[-1]) + 1))
    return tuple(box)


def _subgrid(grid: Grid, box: tuple[slice, slice, slice]) -> Grid:
    """The part of a grid in a box ``(z, y, x)``."""
    first = np.array([part.start for part in box[::-1]], dtype=float)
    shape = tuple(part.stop - part.start for part in box)
    return dataclasses.replace(grid, shape=shape, origin=tuple(grid.index_to_world(first)))


def _covered(
    grid: Grid, source: Grid, box: tuple[slice, slice, slice], target: Grid
) -> tuple[slice, slice, slice] | None:
    """The box of ``target`` around everything in the box of ``source``; None where there is none.

    The border of the source goes on for a voxel.
    """
    ends = []
    for axis, part in enumerate(box[::-1]):
        last = grid.stored_shape[axis] - 1
        ends.append(
            (
                -_BEYOND if part.start == 0 else 0,
                last + (_BEYOND if part.stop == source.stored_shape[axis] else 0),
            )
        )
    corners = np.array(list(itertools.product(*ends)), dtype=float)
    index = target.world_to_index(grid.index_to_world(corners))
    low = np.clip(np.floor(index.min(0)), 0, target.stored_shape).astype(int)
    high = np.clip(np.ceil(index.max(0)) + 1, 0, target.stored_shape).astype(int)
    if (low >= high).any():
        return None
    return tuple(slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1], strict=True))
