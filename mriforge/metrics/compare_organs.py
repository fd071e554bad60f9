"""Two ways of outlining organs on the same cases: paired tests, organ by organ and overall.

Over several cases a sample is a case, each organ has a test of its own, and their p is corrected by
Holm's method. For a single case the samples are its organs and there is one test only: it speaks
about this case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.metrics.overlap import FIGURES, ScoreTable
from mriforge.metrics.statistics import PairedTest, holm, paired_tests


@dataclass(frozen=True)
class OrganComparison:
    """One figure of two methods, ``a`` minus ``b``.

    Attributes:
        figure: one of :data:`mriforge.metrics.overlap.FIGURES`.
        over: what a sample is: ``"cases"`` or ``"organs"``.
        overall: test of each case's mean over organs; for a single case, of its organs.
        organs: test of each organ over cases; empty for a single case.
        corrected: Wilcoxon p of each organ after Holm, in the same order.
    """

    figure: str
    over: str
    overall: PairedTest
    organs: dict[str, PairedTest]
    corrected: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """JSON types; figures that do not exist are ``None``."""
        corrected = {k: p if math.isfinite(p) else None for k, p in self.corrected.items()}
        return {
            "over": self.over,
            "overall": self.overall.to_json(),
            "organs": {
                name: {**test.to_json(), "wilcoxon_p_holm": corrected[name]}
                for name, test in self.organs.items()
            },
        }


def compare_organs(a: ScoreTable, b: ScoreTable, figure: str = "dice") -> OrganComparison:
    """Wilcoxon signed-rank and paired t-tests of two tables with the same cases and organs.

    A mean over organs takes only organs that both methods have a figure for: a distance that does
    not exist for one of them is left out for both.

    Raises:
        BadInput: other cases or organs in one of them.
        ValueError: an unknown figure.
    """
    if figure not in FIGURES:
        raise ValueError(f"figure is one of {FIGURES}, not {figure!r}")
    if list(a.cases) != list(b.cases) or a.labels != b.labels:
        raise BadInput("Two methods are compared on the same cases and organs only.")
    first, second = a.values(figure), b.values(figure)
    both = np.isfinite(first) & np.isfinite(second)
    first, second = np.where(both, first, np.nan), np.where(both, second, np.nan)
    if len(first) == 1:
        return OrganComparison(figure, "organs", paired_tests(first[0], second[0]), {}, {})
    means = [_mean_of_rows(values) for values in (first, second)]
    tests = {
        name: paired_tests(first[:, place], second[:, place]) for place, name in enumerate(a.organs)
    }
    corrected = holm([test.wilcoxon_p for test in tests.values()])
    return OrganComparison(
        figure,
        "cases",
        paired_tests(*means),
        tests,
        dict(zip(tests, corrected.tolist(), strict=True)),
    )


def _mean_of_rows(values: np.ndarray) -> np.ndarray:
    there = np.isfinite(values)
    total = np.where(there, values, 0).sum(axis=1)
    return np.where(there.any(axis=1), total / np.maximum(there.sum(axis=1), 1), np.nan)
