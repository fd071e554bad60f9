"""Intervals that hold the truth as often as they say: split conformal prediction.

The error of a voxel is divided by what is expected of it, its *difficulty*; of the quotients on
images whose truth is known the quantile is taken that the wanted confidence asks for (Vovk et al.
2005; locally weighted: Lei et al. 2018, JASA 113:1094). It is taken for each class of difficulty
by itself (Mondrian: Vovk et al. 2003), so that easy voxels, of which there are most, do not pay
for the hard ones. The half-width of an interval is that quantile times the difficulty.

The guarantee: voxels drawn like those that were calibrated on are inside with the wanted
confidence, on average over the voxels of a class and over calibrations. It holds for exchangeable
voxels only; neighbours are not independent, so patches far from each other are drawn, every patch
counts as one, and the correction for few samples uses their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mriforge.errors import BadInput

CLASSES = 4
"""Classes of difficulty in tissue; class 0, air, comes on top."""
FEWEST = 20
"""Patches below which a class borrows from its neighbours; the usual 90 % need nine."""


@dataclass(frozen=True)
class Sample:
    """Voxels whose error is known, drawn from patches.

    Attributes:
        error: absolute error of each voxel, in parts of bright tissue.
        difficulty: what is expected of it, in the same units; positive.
        air: whether it lies outside of the body.
        patch: number of its patch; voxels of one patch are not independent.
    """

    error: np.ndarray
    difficulty: np.ndarray
    air: np.ndarray
    patch: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Sample]) -> Sample:
        """All voxels of several samples; their patches stay apart."""
        offset, patches = 0, []
        for part in parts:
            patches.append(part.patch + offset)
            offset += int(part.patch.max(initial=-1)) + 1
        names = ("error", "difficulty", "air")
        return cls(
            *(np.concatenate([getattr(p, n) for p in parts]) for n in names),
            np.concatenate(patches),
        )

    @property
    def patches(self) -> int:
        """How many patches there are."""
        return len(np.unique(self.patch))

    def __getitem__(self, chosen: np.ndarray) -> Sample:
        return Sample(
            self.error[chosen], self.difficulty[chosen], self.air[chosen], self.patch[chosen]
        )


@dataclass(frozen=True)
class Calibration:
    """How wide intervals have to be.

    Attributes:
        confidence: wanted share of voxels inside, 0 to 1.
        edges: difficulties between the classes of tissue, ascending.
        factors: half-width over difficulty, of air and of every class of tissue.
        patches: what it was calibrated on.
    """

    confidence: float
    edges: tuple[float, ...]
    factors: tuple[float, ...]
    patches: int

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)

    def scaled(self, factor: float) -> Calibration:
        """All intervals ``factor`` times as wide."""
        return replace(self, factors=tuple(f * factor for f in self.factors))

    def classes(self, difficulty: np.ndarray, air: np.ndarray) -> np.ndarray:
        """Number of each voxel's class: 0 in air, 1 and up by difficulty."""
        return np.where(air, 0, 1 + np.searchsorted(np.asarray(self.edges), difficulty, "right"))

    def half_width(self, difficulty: np.ndarray, air: np.ndarray) -> np.ndarray:
        """Half-widths of the intervals, float32, in parts of bright tissue.

        Args:
            difficulty, air: of every voxel, any shape.
        """
        factors = np.asarray(self.factors)[self.classes(difficulty, air)]
        return (factors * difficulty).astype(np.float32)

    def coverage(self, sample: Sample) -> Coverage:
        """How often the intervals hold the truth on voxels that calibrated nothing."""
        tissue = sample[~sample.air]
        half = self.half_width(tissue.difficulty, tissue.air)
        return Coverage.of(tissue.error <= half, 2 * half, tissue.patch)


@dataclass(frozen=True)
class Coverage:
    """Measured on known voxels of tissue.

    Attributes:
        share: of the voxels inside their interval.
        error: standard error of the share, from the scatter of patches.
        mean_width: of the intervals, both sides, in parts of bright tissue.
        patches: number of patches.
    """

    share: float
    error: float
    mean_width: float
    patches: int

    @classmethod
    def of(cls, inside: np.ndarray, width: np.ndarray, patch: np.ndarray) -> Coverage:
        """From what is known of each voxel; not a number without any."""
        if inside.size == 0:
            return cls(math.nan, math.nan, math.nan, 0)
        _, number = np.unique(patch, return_inverse=True)
        counts = np.bincount(number)
        hits = np.bincount(number, weights=inside)
        share = float(inside.mean())
        # Ratio estimator: patches need not hold equally many voxels of tissue.
        scatter = np.square(hits - share * counts).sum()
        count = len(counts)
        error = math.sqrt(scatter * count / max(1, count - 1)) / counts.sum()
        return cls(share, error, float(width.mean()), count)

    def to_json(self) -> dict[str, Any]:
        """JSON types; None where nothing was measured."""
        plain = asdict(self)
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in plain.items()}


def calibrate(sample: Sample, confidence: float, classes: int = CLASSES) -> Calibration:
    """The calibration that ``sample`` asks for.

    Raises:
        BadInput: a confidence that is none, or too few patches for it.
    """
    if not 0.0 < confidence < 1.0:
        raise BadInput(f"A confidence lies between 0 and 1, not {confidence:g}.")
    tissue = sample[~sample.air]
    fewest = max(math.ceil(confidence / (1 - confidence) - 1e-9), FEWEST)
    if tissue.patches < fewest:
        raise BadInput(
            f"{tissue.patches} patches of tissue are too few to say how wide intervals of "
            f"{100 * confidence:g} % are; at least {fewest} are needed.",
            "Lower the confidence, give a larger image, or sharp scans to calibrate on.",
        )
    score = tissue.error / tissue.difficulty
    edges = _edges(tissue, classes, fewest)
    number = np.searchsorted(np.asarray(edges), tissue.difficulty, "right")
    factors = [
        _quantile(score[number == k], tissue.patch[number == k], confidence)
        for k in range(len(edges) + 1)
    ]
    air = sample[sample.air]
    if air.patches >= fewest:
        around = _quantile(air.error / air.difficulty, air.patch, confidence)
    else:
        around = factors[0]
    return Calibration(confidence, tuple(edges), (around, *factors), sample.patches)


def _edges(tissue: Sample, classes: int, fewest: int) -> list[float]:
    """Difficulties that make classes of equal size, each with patches enough."""
    for count in range(classes, 1, -1):
        edges = np.quantile(tissue.difficulty, np.arange(1, count) / count)
        edges = [float(e) for e in np.unique(edges)]
        number = np.searchsorted(np.asarray(edges), tissue.difficulty, "right")
        found = [len(np.unique(tissue.patch[number == k])) for k in range(len(edges) + 1)]
        if min(found) >= fewest:
            return edges
    return []


def _quantile(score: np.ndarray, patch: np.ndarray, confidence: float) -> float:
    """Conformal quantile of scores, every patch weighing the same."""
    _, number, counts = np.unique(patch, return_inverse=True, return_counts=True)
    patches = len(counts)
    weight = 1.0 / counts[number]
    order = np.argsort(score, kind="stable")
    reached = np.cumsum(weight[order])
    # (n + 1) in place of n: the voxel that is asked about is one more.
    wanted = min(confidence * (patches + 1), float(patches))
    place = int(np.searchsorted(reached, wanted * (1 - 1e-12)))
    return float(score[order][min(place, len(order) - 1)])
