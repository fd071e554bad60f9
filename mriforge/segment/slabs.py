"""Which slabs of contiguous slices a volume is read in, and how they are cut out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def slab_starts(count: int, slices: int, overlap: int) -> list[int]:
    """First slices of the slabs, evenly spread from the first to the last slice.

    Args:
        count: slices of the volume.
        slices: of a slab.
        overlap: slabs that see a slice; fewer see the outermost ones, which lie in the first and
            in the last slab only.
    """
    room = count - slices
    if room <= 0:
        return [0]
    steps = math.ceil(room * overlap / slices)
    return [round(number * room / steps) for number in range(steps + 1)]


def times_seen(starts: Sequence[int], slices: int, count: int) -> np.ndarray:
    """In how many slabs each of ``count`` slices is, ``(count,)``."""
    seen = np.zeros(count, dtype=int)
    for start in starts:
        seen[start : start + slices] += 1
    return seen


def cut(image: np.ndarray, start: int, slices: int) -> np.ndarray:
    """A slab ``(slices, h, w)`` of ``image`` ``(n, h, w)``, contiguous.

    Thinner volumes lie in its middle and their outermost slices are repeated, as in training.
    """
    before = max(0, slices - len(image)) // 2
    if before == 0 and start + slices <= len(image):
        return np.ascontiguousarray(image[start : start + slices])
    take = np.clip(np.arange(start, start + slices) - before, 0, len(image) - 1)
    return np.ascontiguousarray(image[take])


def kept(count: int, slices: int) -> slice:
    """Which slices of a slab are slices of a volume of ``count``: all but the repeated ones."""
    before = max(0, slices - count) // 2
    return slice(before, before + min(count, slices))
