"""How well label maps agree with a reference: overlap, surface distances, volumes of every organ.

Conventions:

* Dice = 2 |A and B| / (|A| + |B|), Jaccard = |A and B| / |A or B|, over voxels.
* Mean surface distance and 95 % Hausdorff distance: see :mod:`mriforge.metrics.distances`; the mean
  is over both surfaces' voxels pooled, the Hausdorff distance the larger directed percentile.
* An organ in neither map is not counted: every figure is NaN.
* An organ in one map only has Dice and Jaccard 0, and no distances (NaN): it is ``missed`` or
  ``invented``, and counted as such beside the mean distances, which would otherwise look better
  than they are.
* Means over cases leave out what is NaN. The overall mean is that over organs of the organs' means,
  its spread the standard deviation over organs (N), as in Table 7-5 of Chen 2021 [computed from
  its rows: 0.909 +- 0.048]; the spread of single organs is over cases (N - 1).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.metrics.distances import hausdorff, mean_surface_distance, surface_distances

FIGURES = ("dice", "jaccard", "msd_mm", "hd95_mm")
"""The figures in their order everywhere; distances in mm."""
HIGHER_IS_BETTER = {"dice": True, "jaccard": True, "msd_mm": False, "hd95_mm": False}
TITLES = {"dice": "DSC", "jaccard": "Jaccard", "msd_mm": "MSD (mm)", "hd95_mm": "95HD (mm)"}
DIGITS = {"dice": 3, "jaccard": 3, "msd_mm": 2, "hd95_mm": 2}
LABELS = tuple(organ.label for organ in ORGANS)
_ORGAN = {organ.label: organ for organ in ORGANS}


@dataclass(frozen=True)
class OrganScore:
    """One organ of one case.

    Attributes:
        label: of the organ.
        dice, jaccard: 0 to 1; NaN when the organ is in neither map.
        msd_mm, hd95_mm: mean surface distance and 95 % Hausdorff distance; NaN when the organ is
            not in both maps.
        volume_ml, reference_ml: found, and of the reference.
    """

    label: int
    dice: float
    jaccard: float
    msd_mm: float
    hd95_mm: float
    volume_ml: float
    reference_ml: float

    @property
    def organ(self) -> str:
        """The organ's key, or its number where it is none of the ten."""
        return _ORGAN[self.label].key if self.label in _ORGAN else f"label_{self.label}"

    @property
    def missed(self) -> bool:
        """In the reference, but not found."""
        return self.volume_ml == 0 < self.reference_ml

    @property
    def invented(self) -> bool:
        """Found, but not in the reference."""
        return self.reference_ml == 0 < self.volume_ml

    def to_json(self) -> dict[str, Any]:
        """JSON types; figures that do not exist are ``None``."""
        figures = {f: _plain(getattr(self, f)) for f in (*FIGURES, "volume_ml", "reference_ml")}
        return {"organ": self.organ, **figures, "missed": self.missed, "invented": self.invented}


def organ_scores(
    found: np.ndarray,
    truth: np.ndarray,
    spacing_xyz: Sequence[float],
    labels: Sequence[int] = LABELS,
    events: Events | None = None,
) -> list[OrganScore]:
    """Every organ of one label map against a reference.

    Args:
        found, truth: label maps ``(z, y, x)`` of whole numbers, on one grid.
        spacing_xyz: voxel size in mm ``(x, y, z)``.
        labels: that are compared; give those that the reference outlines.
        events: for cancelling between organs.

    Raises:
        BadInput: shapes that differ.
    """
    found, truth = np.asarray(found), np.asarray(truth)
    if found.shape != truth.shape or found.ndim != 3:
        raise BadInput(
            f"The label maps have {found.shape} and {truth.shape} voxels.",
            "Bring them to one grid first.",
        )
    scores = []
    for label in labels:
        if events is not None:
            events.check_cancelled()
        scores.append(_score(found == label, truth == label, spacing_xyz, int(label)))
    return scores


def _score(
    found: np.ndarray, truth: np.ndarray, spacing_xyz: Sequence[float], label: int
) -> OrganScore:
    a, b = int(np.count_nonzero(found)), int(np.count_nonzero(truth))
    both = int(np.count_nonzero(found & truth))
    dice = 2 * both / (a + b) if a + b else math.nan
    jaccard = both / (a + b - both) if a + b else math.nan
    mean = far = math.nan
    if a and b:
        distances = surface_distances(found, truth, spacing_xyz)
        mean, far = mean_surface_distance(*distances), hausdorff(*distances)
    ml = math.prod(float(s) for s in spacing_xyz) / 1000
    return OrganScore(label, dice, jaccard, mean, far, a * ml, b * ml)


@dataclass(frozen=True)
class ScoreTable:
    """Scores of several cases.

    Attributes:
        cases: case name to the scores of its organs, the same organs in every case.

    Raises:
        BadInput: no case, or cases with different organs.
    """

    cases: dict[str, list[OrganScore]]

    def __post_init__(self) -> None:
        if len({tuple(score.label for score in case) for case in self.cases.values()}) != 1:
            raise BadInput("A table of scores needs cases with the same organs.")

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels of the compared organs."""
        return tuple(score.label for score in next(iter(self.cases.values())))

    @property
    def organs(self) -> tuple[str, ...]:
        """Keys of the compared organs."""
        return tuple(score.organ for score in next(iter(self.cases.values())))

    def values(self, figure: str) -> np.ndarray:
        """One figure (or ``volume_ml``, ``reference_ml``) of all, ``(cases, organs)``."""
        return np.array([[getattr(s, figure) for s in case] for case in self.cases.values()])

    def per_case(self, figure: str) -> np.ndarray:
        """Mean over each case's organs, ``(cases,)``; NaN for a case without any."""
        return _nanmean(self.values(figure), axis=1)

    def per_organ(self, figure: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (N - 1) over the cases, each ``(organs,)``."""
        values = self.values(figure)
        return _nanmean(values, axis=0), np.array([_sd(column) for column in values.T])

    def overall(self, figure: str) -> tuple[float, float]:
        """Mean over organs of the organs' means, and their standard deviation (N) over organs."""
        means = self.per_organ(figure)[0]
        means = means[np.isfinite(means)]
        return (float(means.mean()), float(means.std())) if len(means) else (math.nan, math.nan)

    def counts(self, what: str) -> np.ndarray:
        """In how many cases each organ is ``missed`` or ``invented``, ``(organs,)``."""
        return self.values(what).astype(int).sum(axis=0)

    def to_json(self) -> dict[str, Any]:
        """JSON types: per organ, overall, and every case."""
        organs = {
            name: {
                **{
                    f: {"mean": _plain(float(m[place])), "sd": _plain(float(s[place]))}
                    for f, (m, s) in ((f, self.per_organ(f)) for f in FIGURES)
                },
                **{
                    what: _plain(float(_nanmean(self.values(what), axis=0)[place]))
                    for what in ("volume_ml", "reference_ml")
                },
                "missed": int(self.counts("missed")[place]),
                "invented": int(self.counts("invented")[place]),
            }
            for place, name in enumerate(self.organs)
        }
        overall = {f: dict(zip(("mean", "sd"), map(_plain, self.overall(f)), strict=True))
                   for f in FIGURES}  # fmt: skip
        return {
            "count": len(self.cases),
            "overall": overall,
            "organs": organs,
            "cases": {name: [s.to_json() for s in case] for name, case in self.cases.items()},
        }

    def to_markdown(self) -> str:
        """Rows: the figures; columns: organs and their mean, in the manner of Table 7-5."""
        heads = ["", *(title(label) for label in self.labels), "Mean"]
        lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for figure in FIGURES:
            pairs = [*zip(*self.per_organ(figure), strict=True), self.overall(figure)]
            cells = [pair_text(*pair, DIGITS[figure]) for pair in pairs]
            lines.append("| " + " | ".join([TITLES[figure], *cells]) + " |")
        for what in ("missed", "invented"):
            counts = self.counts(what)
            if counts.any():
                cells = [what, *map(str, counts), str(counts.sum())]
                lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def to_csv(tables: Mapping[str, ScoreTable]) -> str:
    """One line for each method, case and organ with all figures; empty where there is none."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    figures = (*FIGURES, "volume_ml", "reference_ml")
    writer.writerow(["method", "case", "organ", *figures])
    for method, table in tables.items():
        for case, scores in table.cases.items():
            for score in scores:
                cells = (getattr(score, figure) for figure in figures)
                writer.writerow(
                    [method, case, score.organ]
                    + [f"{cell:.6g}" if math.isfinite(cell) else "" for cell in cells]
                )
    return stream.getvalue()


def title(label: int) -> str:
    """The organ's name for people."""
    return _ORGAN[label].title if label in _ORGAN else f"Label {label}"


def pair_text(mean: float, sd: float, digits: int) -> str:
    """``0.963 ± 0.010``, without a spread where there is none, ``–`` without a mean."""
    if not math.isfinite(mean):
        return "–"
    spread = f" ± {sd:.{digits}f}" if math.isfinite(sd) else ""
    return f"{mean:.{digits}f}{spread}"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what is finite; NaN, without a warning, where nothing is."""
    there = np.isfinite(values)
    count = there.sum(axis=axis)
    total = np.where(there, values, 0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _sd(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
