"""What the outlined organs measure: volumes, and how far the views agree on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mriforge.anatomy import ORGANS, Organ
from mriforge.volume import Grid
from MRIForgeLib.segmentations import label_counts


@dataclass(frozen=True)
class OrganMeasure:
    """One organ in one volume.

    Attributes:
        voxels: how many; 0: it was not found.
        ml: their volume.
        disagreement: mean over the organ's voxels, 0 (all views agree) to 1; None without a map.
    """

    organ: Organ
    voxels: int
    ml: float
    disagreement: float | None

    @property
    def found(self) -> bool:
        """Whether there is any of it."""
        return self.voxels > 0


def measure(
    labels: np.ndarray, grid: Grid, disagreement: np.ndarray | None = None
) -> list[OrganMeasure]:
    """All ten organs of a label map, in the order of their labels.

    Args:
        labels: ``(z, y, x)``, uint8.
        disagreement: on the same grid, 0 to 1.
    """
    voxels, sums = label_counts(labels), np.zeros(len(ORGANS) + 1)
    for part, values in zip(labels, () if disagreement is None else disagreement, strict=False):
        sums += np.bincount(part.ravel(), values.ravel(), minlength=256)[: len(sums)]
    ml = float(np.prod(grid.spacing)) / 1000.0
    found = []
    for organ in ORGANS:
        here = int(voxels[organ.label])
        known = disagreement is not None and here > 0
        mean = float(sums[organ.label] / here) if known else None
        found.append(OrganMeasure(organ, here, here * ml, mean))
    return found


def missing(frames: Sequence[Sequence[OrganMeasure]]) -> list[Organ]:
    """The organs that were found in no frame."""
    return [
        organ
        for number, organ in enumerate(ORGANS)
        if not any(frame[number].found for frame in frames)
    ]
