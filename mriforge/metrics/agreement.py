"""Do two ways of measuring the same thing agree: Bland-Altman, concordance, regions.

Bland and Altman 1986 and 1999: the differences are looked at against the means, the limits of
agreement are ``bias ± 1.96 SD``, and bias and limits have confidence intervals. Lin 1989 for the
concordance correlation, which is one only on the line of identity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mriforge.metrics.statistics import PairedTest, p_text, paired_tests, t_quantile

_Z = 1.959963984540054
LEAST = 3
"""Pairs below which there is no spread to speak of."""


@dataclass(frozen=True)
class Line:
    """A straight line through pairs, least squares.

    Attributes:
        slope: of the line.
        intercept: of the line.
        slope_interval: 95 % confidence interval of the slope.
        p: that the slope is zero, t-test, two-sided.
    """

    slope: float
    intercept: float
    slope_interval: tuple[float, float]
    p: float


@dataclass(frozen=True)
class Agreement:
    """How two measurements of the same things agree; differences are ``a - b``.

    Attributes:
        n: pairs in which both are finite.
        bias: mean difference.
        bias_interval: its 95 % confidence interval.
        sd: standard deviation of the differences (n - 1).
        limits: limits of agreement, ``bias ± 1.96 sd``.
        lower_interval: 95 % confidence interval of the lower limit.
        upper_interval: 95 % confidence interval of the upper limit.
        outside: share of the pairs beyond the limits (5 % are expected).
        tests: paired t-test and Wilcoxon signed-rank test of no bias.
        pearson: correlation coefficient.
        pearson_interval: its 95 % confidence interval (Fisher's z).
        pearson_p: that there is no correlation.
        concordance: Lin's concordance correlation coefficient.
        proportional: regression of the differences on the means: a slope is a bias that grows.
        means: ``(n,)`` mean of each pair.
        differences: ``(n,)``.
    """

    n: int
    bias: float
    bias_interval: tuple[float, float]
    sd: float
    limits: tuple[float, float]
    lower_interval: tuple[float, float]
    upper_interval: tuple[float, float]
    outside: float
    tests: PairedTest
    pearson: float
    pearson_interval: tuple[float, float]
    pearson_p: float
    concordance: float
    proportional: Line
    means: np.ndarray
    differences: np.ndarray

    @property
    def biased(self) -> bool:
        """Whether the t-test finds a bias at 5 %."""
        return self.tests.t_p < 0.05

    def statement(self, unit: str = "") -> str:
        """The outcome in one or two sentences."""
        unit = f" {unit}" if unit else ""
        low, high = self.limits
        text = (
            f"Bias {self.bias:+.4g}{unit} (95 % interval {self.bias_interval[0]:+.4g} to "
            f"{self.bias_interval[1]:+.4g}, {p_text(self.tests.t_p)}), limits of agreement "
            f"{low:+.4g} to {high:+.4g}{unit}, n = {self.n}; r = {self.pearson:.3f}, "
            f"concordance {self.concordance:.3f}."
        )
        if self.proportional.p < 0.05:
            text += (
                f" The difference changes with the value "
                f"({self.proportional.slope:+.3g} per unit, {p_text(self.proportional.p)})."
            )
        return text

    def to_json(self) -> dict[str, Any]:
        """JSON types without the pairs; figures that do not exist are ``None``."""
        held = {k: v for k, v in asdict(self).items() if k not in ("means", "differences")}
        held["tests"] = self.tests.to_json()
        return _plain(held)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def agreement(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> Agreement:
    """Compares two measurements of the same things, pair by pair.

    Pairs in which either is not finite are left out. The tests take pairs for independent:
    neighbouring voxels are not, so give regions or subjects where p counts.

    Args:
        a: one measurement, for instance the new method's; any shape.
        b: the other, of the same shape.

    Raises:
        ValueError: shapes that differ, or fewer than three pairs.
    """
    first, second = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    if first.shape != second.shape:
        raise ValueError(f"pairs need equal lists, not {first.shape} and {second.shape}")
    both = np.isfinite(first) & np.isfinite(second)
    first, second = first[both], second[both]
    n = len(first)
    if n < LEAST:
        raise ValueError(f"agreement needs at least {LEAST} pairs, not {n}")
    gap, middle = first - second, (first + second) / 2
    bias, sd = float(gap.mean()), float(gap.std(ddof=1))
    half = t_quantile(n)
    limits = bias - _Z * sd, bias + _Z * sd
    # Bland and Altman 1999: var(limit) = s^2 (1 / n + z^2 / (2 (n - 1)))
    around = half * sd * math.sqrt(1 / n + _Z**2 / (2 * (n - 1)))
    pearson, p, interval = _pearson(first, second)
    return Agreement(
        n=n,
        bias=bias,
        bias_interval=(bias - half * sd / math.sqrt(n), bias + half * sd / math.sqrt(n)),
        sd=sd,
        limits=limits,
        lower_interval=(limits[0] - around, limits[0] + around),
        upper_interval=(limits[1] - around, limits[1] + around),
        outside=float(((gap < limits[0]) | (gap > limits[1])).mean()),
        tests=paired_tests(first, second),
        pearson=pearson,
        pearson_interval=interval,
        pearson_p=p,
        concordance=concordance(first, second),
        proportional=_line(middle, gap),
        means=middle,
        differences=gap,
    )


def concordance(a: np.ndarray, b: np.ndarray) -> float:
    """Lin's concordance correlation, ``2 cov / (var a + var b + (mean a - mean b)^2)``.

    Args:
        a: ``(n,)``.
        b: ``(n,)``.

    Returns:
        from -1 to 1; not a number when neither varies and both are equal.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    below = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    if below == 0:
        return math.nan
    return float(2 * ((a - a.mean()) * (b - b.mean())).mean() / below)


def regional_agreement(
    a: np.ndarray, b: np.ndarray, labels: np.ndarray, names: Mapping[int, str] | None = None
) -> tuple[Agreement | None, dict[str, dict[str, float]]]:
    """Agreement of the means of regions, each region one pair.

    Args:
        a: one map.
        b: the other map, same shape; voxels that are not finite in either are left out.
        labels: region numbers, same shape; 0 is no region.
        names: of the regions.

    Returns:
        the agreement over the regions, None if there are fewer than three; and for each region
        ``voxels``, ``mean_a``, ``mean_b``, ``sd_a``, ``sd_b``, ``bias``.

    Raises:
        ValueError: shapes that differ.
    """
    if not np.shape(a) == np.shape(b) == np.shape(labels):
        raise ValueError("maps and regions need the same shape")
    usable = np.isfinite(a) & np.isfinite(b)
    table: dict[str, dict[str, float]] = {}
    for number in np.unique(labels[usable & (labels != 0)]):
        inside = usable & (labels == number)
        one, other = np.asarray(a[inside], np.float64), np.asarray(b[inside], np.float64)
        name = (names or {}).get(int(number), f"region {number}")
        table[name] = {
            "voxels": int(inside.sum()),
            "mean_a": float(one.mean()),
            "mean_b": float(other.mean()),
            "sd_a": float(one.std()),
            "sd_b": float(other.std()),
            "bias": float((one - other).mean()),
        }
    if len(table) < LEAST:
        return None, table
    rows = list(table.values())
    return agreement([r["mean_a"] for r in rows], [r["mean_b"] for r in rows]), table


def _pearson(a: np.ndarray, b: np.ndarray) -> tuple[float, float, tuple[float, float]]:
    """Coefficient, p, and interval; not numbers where a list is constant."""
    nan = math.nan
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return nan, nan, (nan, nan)
    from scipy import stats

    found = stats.pearsonr(a, b)
    r = float(found.statistic)
    if len(a) < 4 or abs(r) >= 1:
        return r, float(found.pvalue), (r, r) if abs(r) >= 1 else (nan, nan)
    z, half = math.atanh(r), _Z / math.sqrt(len(a) - 3)
    return r, float(found.pvalue), (math.tanh(z - half), math.tanh(z + half))


def _line(x: np.ndarray, y: np.ndarray) -> Line:
    nan = math.nan
    if np.ptp(x) == 0:
        return Line(nan, nan, (nan, nan), nan)
    if np.ptp(y) == 0:
        return Line(0.0, float(y[0]), (0.0, 0.0), 1.0)
    from scipy import stats
    from scipy.special import stdtrit

    found = stats.linregress(x, y)
    half = float(stdtrit(len(x) - 2, 0.975)) * found.stderr
    slope = float(found.slope)
    return Line(slope, float(found.intercept), (slope - half, slope + half), float(found.pvalue))
