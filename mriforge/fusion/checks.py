"""What can be said of stacks before any work: refused, or warned about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.fusion.geometry import box_of
from mriforge.interslice.recognise import looks_like_labels
from mriforge.physics.moved_stack import slice_axis_of
from mriforge.volume import Volume

_THICK = 1.3
"""Slices this many times thicker than the pixels are worth fusing."""
_PARALLEL_DEG = 20.0
_FEW_SLICES = 4


def check_stacks(volumes: Sequence[Volume]) -> list[str]:
    """Warnings about stacks that can be fused.

    Raises:
        BadInput: stacks that cannot be.
    """
    if not 2 <= len(volumes) <= 3:
        raise BadInput(f"Two or three stacks are fused, not {len(volumes)}.")
    for number, volume in enumerate(volumes, start=1):
        _check_one(number, volume)
    for number, volume in enumerate(volumes[1:], start=2):
        low, high = box_of(volume.grid, volumes[0].grid)
        first_low, first_high = box_of(volumes[0].grid, volumes[0].grid)
        if np.any(np.minimum(high, first_high) - np.maximum(low, first_low) <= 0):
            raise BadInput(
                f"Stack {number} does not overlap the first one: by their headers they have no "
                "part in common.",
                "Check that they are of one session, or move one onto the other and save it.",
            )
    return _orientation(volumes)


def _check_one(number: int, volume: Volume) -> None:
    spacing = volume.grid.spacing
    axis = slice_axis_of(volume.grid)
    finest = min(spacing)
    if spacing[axis] < _THICK * finest:
        raise BadInput(
            f"Stack {number} is isotropic ({' x '.join(f'{s:.3g}' for s in spacing)} mm): it has "
            "no thick slices.",
            "Fusion is for stacks of thick slices in different orientations.",
        )
    if volume.grid.stored_shape[axis] < _FEW_SLICES:
        raise BadInput(
            f"Stack {number} has only {volume.grid.stored_shape[axis]} slices.",
            f"At least {_FEW_SLICES} are needed.",
        )
    if looks_like_labels(volume.array):
        raise BadInput(
            f"Stack {number} looks like a label map (few whole numbers, none between).",
            "Give the images; labels cannot be averaged.",
        )


def _orientation(volumes: Sequence[Volume]) -> list[str]:
    """A sentence where two stacks are thick in the same direction."""
    normals = [v.grid.direction_matrix[:, slice_axis_of(v.grid)] for v in volumes]
    found = []
    for a in range(len(volumes)):
        for b in range(a + 1, len(volumes)):
            angle = np.degrees(np.arccos(np.clip(abs(float(normals[a] @ normals[b])), 0, 1)))
            if angle < _PARALLEL_DEG:
                found.append(
                    f"Stacks {a + 1} and {b + 1} have the same orientation ({angle:.0f} degrees "
                    "apart): together they have less noise, and finer detail across the slices "
                    "only as far as their slices lie between each other; a stack in another "
                    "orientation would bring what both of them lack."
                )
    return found


def doubts(figures: Mapping[str, Any], poor: float) -> list[str]:
    """Warnings about the result, from its figures."""
    found = []
    for number, stack in enumerate(figures["stacks"], start=1):
        if stack.get("similarity", 1.0) < poor:
            found.append(
                f"Stack {number} resembles the first one little (correlation "
                f"{stack['similarity']:.2f}): another contrast, another subject, or a wrong "
                "position. For other contrasts name the target stack."
            )
        if stack.get("seen", 1.0) < 0.3:
            found.append(
                f"Only {100 * stack['seen']:.0f} % of stack {number} lie inside the result."
            )
    return found
