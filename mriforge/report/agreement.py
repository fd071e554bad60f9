"""Bland-Altman plot and correlation of two measurements of the same things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mriforge.metrics.agreement import Agreement
from mriforge.metrics.statistics import p_text
from mriforge.report.figures import figure_class, to_png

_POINT = "#0072B2"
_BIAS = "#D55E00"
_LIMIT = "#555555"
_MOST_POINTS = 20_000
"""Beyond this a random share is drawn: more ink does not say more."""


def agreement_figure(
    found: Agreement,
    names: tuple[str, str] = ("A", "B"),
    quantity: str = "T1",
    unit: str = "ms",
    groups: Sequence[str] | None = None,
) -> bytes:
    """Correlation with the line of identity, and differences against means, as PNG.

    Args:
        found: the agreement.
        names: of the two measurements, the first is the one that the second is taken from.
        quantity: what is measured.
        unit: of it.
        groups: ``(n,)`` name of what each pair belongs to, at most eight different ones; pairs
            of one group share a colour.

    Raises:
        ValueError: a group for only some of the pairs.
        MissingDependency: matplotlib is not installed.
    """
    if groups is not None and len(groups) != found.n:
        raise ValueError(f"{found.n} pairs need as many groups, not {len(groups)}")
    figure = figure_class()(11.0, 4.6)
    left, right = (_panel(figure, place) for place in (0, 1))
    first = found.means + found.differences / 2
    second = found.means - found.differences / 2
    _points(left, second, first, groups)
    _identity(left, first, second)
    text = f" ({unit})" if unit else ""
    left.set_xlabel(f"{quantity}, {names[1]}{text}")
    left.set_ylabel(f"{quantity}, {names[0]}{text}")
    left.set_title(
        f"r = {found.pearson:.3f}, concordance {found.concordance:.3f}, n = {found.n}",
        fontsize=10,
        loc="left",
    )
    _points(right, found.means, found.differences, groups)
    _limits(right, found)
    right.set_xlabel(f"mean of both{text}")
    right.set_ylabel(f"{names[0]} − {names[1]}{text}")
    right.set_title(
        f"bias {found.bias:+.3g} ({p_text(found.tests.t_p)}), "
        f"limits {found.limits[0]:+.3g} to {found.limits[1]:+.3g}",
        fontsize=10,
        loc="left",
    )
    if groups is not None:
        right.legend(frameon=False, fontsize=8, loc="best")
    figure.subplots_adjust(left=0.075, right=0.93, top=0.9, bottom=0.13, wspace=0.28)
    return to_png(figure)


def _panel(figure: Any, place: int) -> Any:
    axes = figure.add_subplot(1, 2, place + 1)
    axes.grid(True, color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def _points(axes: Any, x: np.ndarray, y: np.ndarray, groups: Sequence[str] | None) -> None:
    chosen = np.arange(len(x))
    if len(x) > _MOST_POINTS:
        chosen = np.random.default_rng(0).choice(len(x), _MOST_POINTS, replace=False)
    crowded = len(chosen) > 300
    style = {"s": 4 if crowded else 22, "alpha": 0.25 if crowded else 0.8, "linewidths": 0}
    if groups is None:
        axes.scatter(x[chosen], y[chosen], color=_POINT, **style)
        return
    from mriforge.report.charts import _COLOURS

    named = np.asarray(groups)[chosen]
    for number, name in enumerate(dict.fromkeys(groups)):
        own = chosen[named == name]
        axes.scatter(
            x[own], y[own], color=_COLOURS[number % len(_COLOURS)], label=str(name), **style
        )


def _identity(axes: Any, first: np.ndarray, second: np.ndarray) -> None:
    """Both axes over the same range, with the diagonal."""
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    margin = 0.05 * (high - low) or 1.0
    span = (low - margin, high + margin)
    axes.plot(span, span, color=_LIMIT, linewidth=1.0, linestyle="--")
    axes.set_xlim(span)
    axes.set_ylim(span)
    axes.set_aspect("equal", adjustable="box")


def _limits(axes: Any, found: Agreement) -> None:
    """Bias and limits of agreement with their confidence bands; figures at the right edge."""
    lines = (
        (found.bias, found.bias_interval, _BIAS, "-", "bias"),
        (found.limits[0], found.lower_interval, _LIMIT, "--", "−1.96 SD"),
        (found.limits[1], found.upper_interval, _LIMIT, "--", "+1.96 SD"),
    )
    axes.axhline(0, color="#bbbbbb", linewidth=0.8)
    for value, (low, high), colour, dash, name in lines:
        axes.axhspan(low, high, color=colour, alpha=0.13, linewidth=0)
        axes.axhline(value, color=colour, linewidth=1.4, linestyle=dash)
        axes.annotate(
            f"{name}\n{value:+.3g}",
            (1.01, value),
            xycoords=("axes fraction", "data"),
            fontsize=8,
            color=colour,
            va="center",
            annotation_clip=False,
        )
    reach = max(found.upper_interval[1] - found.lower_interval[0], 1e-12)
    low = min(found.lower_interval[0], float(found.differences.min())) - 0.06 * reach
    high = max(found.upper_interval[1], float(found.differences.max())) + 0.06 * reach
    axes.set_ylim(low, high)
