"""Scores of outlined organs: box plots in the manner of Figure 7.4 of Chen 2021, tables, tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.metrics.compare_organs import OrganComparison
from mriforge.metrics.overlap import DIGITS, FIGURES, TITLES, ScoreTable, pair_text, title
from mriforge.metrics.statistics import SMALLEST_SAMPLE, p_text, smallest_p_text
from mriforge.report.figures import figure_class, to_png
from mriforge.report.html import Report
from mriforge.report.organs import CAUTION, millilitres
from mriforge.report.outlines import choose_cuts, labels_figure

_PLOTTED = ("dice", "msd_mm")
_BOXES = 4
"""Cases from which on the spread is drawn as a box."""


def scores_report(
    path: str | Path,
    tables: Mapping[str, ScoreTable],
    comparisons: Mapping[str, Mapping[str, OrganComparison]],
    *,
    case: Any = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the page.

    Args:
        path: the page, ``.html``.
        tables: scores of each method; the first is the one that is judged.
        comparisons: its tests against each other method, by figure.
        case: with ``name``, ``grid``, ``truth`` and ``found`` (by method), for pictures.
        provenance: facts for the end of the page.

    Raises:
        MissingDependency: matplotlib is not installed.
        BadInput: the file cannot be written there.
    """
    first, table = next(iter(tables.items()))
    count = len(table.cases)
    several = f"{count} cases" if count > 1 else next(iter(table.cases))
    page = Report("MRIForge: organs against a reference", several, CAUTION)
    page.heading("Scores")
    for name, scores in tables.items():
        page.table(*table_cells(scores), _caption(name, scores))
    page.picture(
        scores_figure(tables),
        "Dice and mean surface distance of every organ. "
        + ("Boxes: quartiles and median, whiskers to 1.5 times their distance, all cases as dots."
           if count >= _BOXES else "A dot for each case."),
        "Box plots of the scores of every organ",
    )  # fmt: skip
    for name, tests in comparisons.items():
        _tests(page, first, name, tests)
    if case is not None:
        truth, found = case.truth, case.found[first]
        cuts = choose_cuts(((truth > 0) | (found > 0)).astype(np.float32), truth, case.grid)
        page.heading("Where they differ")
        page.picture(
            labels_figure(found, truth, cuts, table.labels),
            f"{case.name}: slices that show most of the organs. Red: the labels differ.",
            "Labels of the reference, found labels, and their difference",
        )
    page.heading("Volumes")
    page.table(*_volume_cells(table))
    page.provenance(provenance or {})
    return page.write(path)


def table_cells(table: ScoreTable) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table: a row for each organ, and their mean."""
    heads = ["Organ", *(TITLES[figure] for figure in FIGURES)]
    wrong = [what for what in ("missed", "invented") if table.counts(what).any()]
    columns = [list(zip(*table.per_organ(figure), strict=True)) for figure in FIGURES]
    rows = []
    for place, label in enumerate(table.labels):
        cells = [
            pair_text(*column[place], DIGITS[figure])
            for figure, column in zip(FIGURES, columns, strict=True)
        ]
        rows.append([title(label), *cells, *(str(table.counts(w)[place]) for w in wrong)])
    mean = [pair_text(*table.overall(figure), DIGITS[figure]) for figure in FIGURES]
    rows.append(["Mean", *mean, *(str(table.counts(w).sum()) for w in wrong)])
    return [*heads, *wrong], rows


def _caption(name: str, table: ScoreTable) -> str:
    count = len(table.cases)
    text = f"{name}: " + (
        f"mean ± standard deviation over {count} cases; last row: over organs."
        if count > 1
        else "one case; last row: mean ± standard deviation over organs."
    )
    if any(table.counts(what).any() for what in ("missed", "invented")):
        text += (
            " Missed: in the reference, not found; invented: the reverse. Their Dice is 0; they "
            "have no distances."
        )
    return text


def _volume_cells(table: ScoreTable) -> tuple[list[str], list[list[str]]]:
    pairs = [np.nanmean(table.values(what), axis=0) for what in ("volume_ml", "reference_ml")]
    rows = []
    for label, found, wanted in zip(table.labels, *pairs, strict=True):
        ratio = f"{100 * (found / wanted - 1):+.1f} %" if wanted > 0 else "–"
        rows.append([title(label), millilitres(found), millilitres(wanted), ratio])
    return ["Organ", "found (ml)", "reference (ml)", "difference"], rows


def scores_figure(tables: Mapping[str, ScoreTable], figures: Sequence[str] = _PLOTTED) -> bytes:
    """A row of boxes over the organs for each figure, methods beside each other, as PNG.

    Args:
        tables: scores of each method, of the same organs.
        figures: what is drawn.
    """
    table = next(iter(tables.values()))
    places = np.arange(len(table.labels) + 1)
    figure = figure_class()(max(7.0, 2.0 + len(places)), 0.4 + 3.1 * len(figures))
    for row, name in enumerate(figures):
        axes = figure.add_subplot(len(figures), 1, row + 1)
        axes.grid(True, axis="y", color="#e6e6e6", linewidth=0.7)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for number, (method, scores) in enumerate(tables.items()):
            width = 0.8 / len(tables)
            shift = (number - (len(tables) - 1) / 2) * width
            columns = [*scores.values(name).T, scores.per_case(name)]
            _group(axes, places + shift, columns, 0.82 * width, number, method)
        axes.axvline(len(table.labels) - 0.5, color="#bbbbbb", linewidth=0.8)
        names = [title(label).replace(" ", "\n") for label in table.labels]
        axes.set_xticks(places, [*names, "Mean"], fontsize=9)
        axes.set_xlim(-0.6, len(places) - 0.4)
        axes.set_ylabel(TITLES[name])
        if not math.isclose(axes.get_ylim()[0], 0) and name.endswith("_mm"):
            axes.set_ylim(bottom=0)
    if len(tables) > 1:
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="upper center", ncols=min(4, len(names)), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.955 if len(tables) > 1 else 1))
    return to_png(figure)


def _group(
    axes: Any, places: np.ndarray, columns: Sequence[np.ndarray], width: float, number: int,
    method: str,
) -> None:  # fmt: skip
    """Boxes and dots of one method."""
    from mriforge.report.charts import _COLOURS

    colour = _COLOURS[number % len(_COLOURS)]
    rng = np.random.default_rng(0)
    finite = [column[np.isfinite(column)] for column in columns]
    for place, values in zip(places, finite, strict=True):
        if len(values) >= _BOXES:
            drawn = axes.boxplot(
                [values], positions=[place], widths=width, showfliers=False, patch_artist=True,
                medianprops={"color": "black", "linewidth": 1.4},
                boxprops={"facecolor": colour, "alpha": 0.55, "edgecolor": colour},
            )  # fmt: skip
            for line in (*drawn["whiskers"], *drawn["caps"]):
                line.set_color(colour)
        spread = rng.uniform(-0.25, 0.25, len(values)) * width if len(values) > 1 else 0
        size = 7 if len(values) >= _BOXES else 30
        axes.scatter(place + np.zeros(len(values)) + spread, values, s=size, color=colour,
                     alpha=0.7, linewidths=0, zorder=3)  # fmt: skip
    axes.plot([], [], "s", color=colour, label=method)


def _tests(page: Report, first: str, other: str, tests: Mapping[str, OrganComparison]) -> None:
    """One table of the tests against another method."""
    page.heading(f"{first} against {other}")
    some = next(iter(tests.values()))
    overall = [
        _outcome(test.overall.mean_difference, test.overall.wilcoxon_p, figure)
        for figure, test in tests.items()
    ]
    rows = [["Mean over organs", *overall]]
    for name in some.organs:
        cells = [
            _outcome(test.organs[name].mean_difference, test.corrected[name], figure)
            for figure, test in tests.items()
        ]
        rows.append([name.replace("_", " "), *cells])
    samples = (
        "over the cases; p of single organs corrected for their number (Holm)"
        if some.over == "cases"
        else "over the organs of this one case: it says nothing about other subjects"
    )
    page.table(
        ["", *(TITLES[figure] for figure in tests)],
        rows,
        f"Difference {first} - {other} and p of the Wilcoxon signed-rank test, two-sided, paired "
        f"{samples}.",
    )
    if 2 <= some.overall.n < SMALLEST_SAMPLE:
        page.text(smallest_p_text(some.overall.n))


def _outcome(difference: float, p: float, figure: str) -> str:
    if not math.isfinite(difference):
        return "–"
    text = f"{difference:+.{DIGITS[figure]}f}"
    return f"{text} ({p_text(p)})" if math.isfinite(p) else text
