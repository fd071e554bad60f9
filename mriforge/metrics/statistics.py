"""Paired tests between methods, and confidence intervals.

A sample is one time point of a series (Sarasaen et al. 2021 do the same). Time points of one
subject are not independent, so a small p says that a method is better *consistently over this
series*; it says nothing about other patients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SMALLEST_SAMPLE = 6
"""Below this the Wilcoxon signed-rank test cannot reach p < 0.05, whatever the figures are."""


def confidence_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student-t interval of the mean; not a number for fewer than two values."""
    sample = np.asarray(values, dtype=float)
    if sample.size < 2:
        return math.nan, math.nan
    half = t_quantile(sample.size, level) * sample.std(ddof=1) / math.sqrt(sample.size)
    return float(sample.mean() - half), float(sample.mean() + half)


def t_quantile(count: int, level: float = 0.95) -> float:
    """Half-width of a two-sided interval of the mean of ``count`` values, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 0.5 + level / 2))


@dataclass(frozen=True)
class PairedTest:
    """Two methods on the same samples, ``a`` minus ``b``.

    Attributes:
        n: samples where both methods have a finite figure.
        mean_difference: mean of ``a - b``.
        interval: its 95 % confidence interval (not a number for n < 2).
        t, t_p: paired two-sided t-test.
        wilcoxon, wilcoxon_p: Wilcoxon signed-rank test, two-sided.
        statement: the outcome in words, including why a test could not be done.
    """

    n: int
    mean_difference: float
    interval: tuple[float, float]
    t: float
    t_p: float
    wilcoxon: float
    wilcoxon_p: float
    statement: str

    def to_json(self) -> dict[str, Any]:
        """JSON types; figures that do not exist are ``None``."""
        plain = asdict(self)
        plain["interval"] = [_or_none(v) for v in self.interval]
        return {k: _or_none(v) if isinstance(v, float) else v for k, v in plain.items()}


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def paired_tests(a: Sequence[float], b: Sequence[float]) -> PairedTest:
    """Paired t-test and Wilcoxon signed-rank test (scipy) of two methods' figures per sample.

    Samples in which either figure is not finite are left out.

    Raises:
        ValueError: the lists differ in length.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"paired figures need equal lists, not {first.shape}, {second.shape}")
    both = np.isfinite(first) & np.isfinite(second)
    gap = first[both] - second[both]
    n = int(gap.size)
    mean = float(gap.mean()) if n else math.nan
    interval = confidence_interval(gap)
    nan = math.nan
    if n < 2:
        text = f"No test: {n} sample{'' if n == 1 else 's'}, and a test needs at least two."
        return PairedTest(n, mean, interval, nan, nan, nan, nan, text)
    if not np.any(gap):
        text = f"No difference in any of the {n} samples; there is nothing to test."
        return PairedTest(n, mean, interval, nan, 1.0, nan, 1.0, text)
    t, t_p = _t_test(gap)
    w, w_p = _wilcoxon(gap)
    return PairedTest(n, mean, interval, t, t_p, w, w_p, _statement(n, mean, interval, t_p, w_p))


def _t_test(gap: np.ndarray) -> tuple[float, float]:
    from scipy import stats

    spread = gap.std(ddof=1)
    if spread <= 1e-12 * abs(gap.mean()):
        # Equal differences in all samples: t is infinite, and scipy only warns.
        return math.copysign(math.inf, gap.mean()), 0.0
    outcome = stats.ttest_1samp(gap, 0.0)
    return float(outcome.statistic), float(outcome.pvalue)


def _wilcoxon(gap: np.ndarray) -> tuple[float, float]:
    from scipy import stats

    outcome = stats.wilcoxon(gap)
    return float(outcome.statistic), float(outcome.pvalue)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Corrects p for the number of tests (Holm 1979): the family-wise error rate is kept.

    Args:
        p_values: of the tests; NaN where none could be done, and those do not count.

    Returns:
        ``(n,)`` corrected p, at most 1, NaN where there was none.
    """
    given = np.asarray(p_values, dtype=float)
    result = np.full(given.shape, math.nan)
    done = np.flatnonzero(np.isfinite(given))
    order = done[np.argsort(given[done], kind="stable")]
    factors = len(order) - np.arange(len(order))
    if len(order):
        result[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1.0)
    return result


def p_text(p: float) -> str:
    """``p < 0.001`` or ``p = 0.034``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def smallest_p_text(n: int) -> str:
    """What the Wilcoxon test can reach with ``n`` samples, in words."""
    least = 2.0 ** (1 - n)
    return f"With {n} samples the Wilcoxon test cannot give less than p = {least:.4g}."


def _statement(n: int, mean: float, interval: tuple[float, float], t_p: float, w_p: float) -> str:
    text = (
        f"Mean difference {mean:+.4g} (95 % interval {interval[0]:+.4g} to {interval[1]:+.4g}, "
        f"n = {n}); paired t-test {p_text(t_p)}, Wilcoxon signed-rank {p_text(w_p)}."
    )
    if n < SMALLEST_SAMPLE:
        text += " " + smallest_p_text(n)
    return text
