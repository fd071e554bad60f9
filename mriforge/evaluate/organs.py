"""Label maps of organs against a reference: scores, tests between methods, tables, a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput
from mriforge.evaluate.files import check_outputs, write_text
from mriforge.evaluate.label_files import CaseFiles, LabelledCase, case_files, read_case
from mriforge.events import Events, to_json
from mriforge.metrics.compare_organs import OrganComparison, compare_organs
from mriforge.metrics.overlap import FIGURES, LABELS, OrganScore, ScoreTable, organ_scores, to_csv

FOUND = "found"
"""What the label map to judge is called beside the other methods."""


def evaluate_organs(
    found: str | Path,
    reference: str | Path,
    *,
    only: Sequence[int] | None = None,
    scheme: str = "organs",
    compare_with: Mapping[str, str | Path] | None = None,
    resample: bool = False,
    json_path: str | Path | None = None,
    csv_path: str | Path | None = None,
    report: str | Path | None = None,
    events: Events | None = None,
) -> dict[str, Any]:
    """Compares label maps with a reference and writes what was asked for.

    Args:
        found, reference: files with organ labels on one grid, or folders with files of the same
            names: each file is a case then. Frames of a series are cases too.
        only: labels that are judged; give those that the reference outlines. Default: those that
            its scheme outlines.
        scheme: what the reference's numbers mean, a key of
            :data:`mriforge.synthesis.label_maps.SCHEMES`.
        compare_with: other methods' files or folders by name; paired tests of ``found`` against
            each: over cases, for a single case over its organs.
        resample: bring labels on other grids to the reference's, by the nearest voxel.
        json_path, csv_path, report: files to write.
        events: progress and cancelling.

    Returns:
        :meth:`mriforge.metrics.overlap.ScoreTable.to_json` of ``found``, ``compare`` (table and
        tests for each other method) where there are any, and the paths of what was written.

    Raises:
        BadInput: a file cannot be read, compared or written; nothing is written then.
        MissingDependency: the report needs matplotlib.
    """
    events = events or Events()
    texts = {"json": json_path, "csv": csv_path, "report": report}
    check_outputs({}, texts)
    if report is not None:
        from mriforge.report.figures import figure_class

        figure_class()
    methods = {FOUND: found, **_others(compare_with)}
    outlined = outlined_by(scheme)
    files = case_files(reference, methods)
    judged = outlined if only is None else tuple(only)
    tables, shown = _tables(files, judged, resample, scheme, events)
    comparisons = {name: compare_all(tables[FOUND], table) for name, table in tables.items()}
    del comparisons[FOUND]
    result = tables[FOUND].to_json()
    if comparisons:
        result["compare"] = {
            name: {**tables[name].to_json(), "tests": {f: c.to_json() for f, c in tests.items()}}
            for name, tests in comparisons.items()
        }
    events.check_cancelled()
    if report is not None:
        from mriforge.report.organ_scores import scores_report

        events.progress(0.9, "drawing the report")
        scores_report(
            report,
            tables,
            comparisons,
            case=shown,
            provenance={"Reference": reference, **methods},
        )
    if csv_path is not None:
        write_text(csv_path, to_csv(tables))
    if json_path is not None:
        write_text(json_path, to_json(result, indent=2) + "\n")
    result |= {name: str(path) for name, path in texts.items() if path is not None}
    events.progress(1.0, "done")
    return result


def outlined_by(scheme: str) -> tuple[int, ...]:
    """Labels of ours that maps of a scheme outline.

    Raises:
        BadInput: an unknown scheme.
    """
    if scheme == "organs":
        return LABELS
    from mriforge.synthesis.label_maps import scheme_of

    return scheme_of(scheme).organs


def labels_of(text: str | None) -> tuple[int, ...] | None:
    """Labels of organs that are named by their keys, separated by commas; None for None.

    Raises:
        BadInput: an organ that is not known, or twice.
    """
    if text is None:
        return None
    numbers = {organ.key: organ.label for organ in ORGANS}
    names = [name.strip().lower().replace(" ", "_") for name in text.split(",")]
    if not set(names) <= set(numbers) or len(set(names)) < len(names):
        raise BadInput(f"--only takes some of {', '.join(numbers)}, each once, not '{text}'.")
    return tuple(sorted(numbers[name] for name in names))


def compare_all(one: ScoreTable, other: ScoreTable) -> dict[str, OrganComparison]:
    """The tests of every figure."""
    return {figure: compare_organs(one, other, figure) for figure in FIGURES}


def _others(compare_with: Mapping[str, str | Path] | None) -> dict[str, str | Path]:
    others = dict(compare_with or {})
    if FOUND in others:
        raise BadInput(f"'{FOUND}' is the name of the labels to judge.", "Choose another name.")
    return others


def _tables(
    files: Sequence[CaseFiles],
    labels: tuple[int, ...],
    resample: bool,
    scheme: str,
    events: Events,
) -> tuple[dict[str, ScoreTable], LabelledCase]:
    """Scores of all methods, and the first case for pictures."""
    scores: dict[str, dict[str, list[OrganScore]]] = {name: {} for name in files[0].found}
    shown = None
    for number, entry in enumerate(files):
        events.progress(0.9 * number / len(files), f"comparing {entry.name}")
        for case in read_case(entry, resample, scheme):
            shown = shown or case
            for name, labels_found in case.found.items():
                scores[name][case.name] = organ_scores(
                    labels_found, case.truth, case.grid.spacing, labels, events
                )
    return {name: ScoreTable(cases) for name, cases in scores.items()}, shown
