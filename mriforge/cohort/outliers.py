"""Rows that are unlike the others: robust z-scores of the figures that jobs return.

The modified z-score of Iglewicz and Hoaglin (How to detect and handle outliers, 1993):
``0.6745 (x - median) / MAD``, an outlier beyond 3.5. Where more than half of the values are the
same the MAD is zero; then ``(x - median) / (1.2533 mean absolute deviation)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

LIMIT = 3.5
FEWEST = 5
"""With fewer rows nothing is called unlike the others."""
_MAD, _MEAN = 0.6745, 1.253314
_TIMES = ("seconds", "minutes", "eta_s", "ended")
_LISTED = 3
"""Lists up to this length give a figure for each element, longer ones their mean."""


@dataclass(frozen=True)
class Outlier:
    """The figure of a row that is farthest from the others'.

    Attributes:
        score: modified z-score; its size counts.
        figure: name.
        value: of this row.
        usual: median of all rows.
    """

    score: float
    figure: str
    value: float
    usual: float

    @property
    def beyond(self) -> bool:
        """Whether the row counts as an outlier."""
        return abs(self.score) > LIMIT


def figures_of(result: Mapping[str, Any] | None, prefix: str = "") -> dict[str, float]:
    """Every number of a job's result, by its dotted name; flags and texts are none."""
    found: dict[str, float] = {}
    for name, value in (result or {}).items():
        name = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found |= figures_of(value, f"{name}.")
        elif _is_number(value):
            found[name] = float(value)
        elif isinstance(value, list) and value and all(map(_is_number, value)):
            if len(value) <= _LISTED:
                found |= {f"{name}.{n}": float(v) for n, v in enumerate(value)}
            else:
                found[name] = fmean(value)
    return found


def z_scores(values: Sequence[float]) -> list[float]:
    """The modified z-score of each value; all 0 where the values are the same."""
    middle = median(values)
    gaps = [value - middle for value in values]
    spread = median(map(abs, gaps)) / _MAD
    if spread == 0:
        spread = fmean(map(abs, gaps)) * _MEAN
    return [gap / spread if spread > 0 else 0.0 for gap in gaps]


def outliers(figures: Mapping[str, Mapping[str, float]]) -> dict[str, Outlier]:
    """For each row the figure in which it is least like the others.

    Args:
        figures: by row; rows of one command.

    Returns:
        nothing for fewer than :data:`FEWEST` rows; durations do not count.
    """
    names = list(dict.fromkeys(name for row in figures.values() for name in row))
    found: dict[str, Outlier] = {}
    for name in names:
        having = {row: values[name] for row, values in figures.items() if name in values}
        if len(having) < FEWEST or name.rsplit(".", 1)[-1].endswith(_TIMES):
            continue
        usual = median(having.values())
        for row, score in zip(having, z_scores(list(having.values())), strict=True):
            if row not in found or abs(score) > abs(found[row].score):
                found[row] = Outlier(score, name, having[row], usual)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
