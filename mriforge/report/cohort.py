"""The page about a batch: what failed, what is unlike the rest, and a picture of every result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mriforge.errors import MRIForgeError
from mriforge.events import Events
from mriforge.report.figures import figure_class, show, to_png
from mriforge.report.html import Report
from mriforge.report.planes import slice_axis, view_across
from mriforge.volume import Volume, as_series

_CAUTION = "A row unlike the others need not be wrong, and one like them need not be right."
_MOST = 240
"""Pictures on a page; more are left out, the most remarkable rows are not."""
_ACROSS, _DOWN = 6, 5
_CELL, _TITLE = 1.75, 0.42  # inches
_OUTLINED = "#d62728"
_FIGURES = 6
_IMAGES = (".nii", ".nii.gz", ".nrrd", ".mha", ".npy")


class CohortLine(Protocol):
    """What the page needs of a row; see ``mriforge.cohort.table.Line``."""

    row: Any
    state: Any
    figures: Mapping[str, float]
    outlier: Any

    @property
    def status(self) -> str: ...

    @property
    def message(self) -> str: ...


def cohort_report(
    path: str | Path, lines: Sequence[CohortLine], counts: Mapping[str, int], events: Events
) -> Path:
    """Writes the page.

    Args:
        lines: most remarkable rows first.
        counts: rows by status.

    Raises:
        MissingDependency: matplotlib is not installed.
        BadInput: the file cannot be written there.
    """
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    page = Report("MRIForge: cohort", f"{len(lines)} rows: {told}", _CAUTION)
    _failures(page, [line for line in lines if line.status != "done"])
    _unlike(page, [x for x in lines if x.outlier is not None and x.outlier.beyond])
    _pictures(page, [line for line in lines if line.status == "done"], events)
    _all_rows(page, lines)
    commands = sorted({line.row.command for line in lines})
    page.provenance({"Jobs": ", ".join(commands), "Rows": len(lines)})
    return page.write(path)


def _failures(page: Report, lines: Sequence[CohortLine]) -> None:
    page.heading("Rows without a result")
    if not lines:
        page.text("None.")
        return
    page.table(["Row", "Status", "Why"], [[x.row.id, x.status, x.message] for x in lines])


def _unlike(page: Report, lines: Sequence[CohortLine]) -> None:
    page.heading("Rows unlike the others")
    if not lines:
        page.text("None: no figure is farther than 3.5 robust standard deviations from its median.")
        return
    rows = []
    for line in lines:
        found = line.outlier
        usual = [f"{value:.4g}" for value in (found.value, found.usual)]
        rows.append([line.row.id, found.figure, *usual, f"{found.score:+.1f}"])
    page.table(
        ["Row", "Figure", "here", "median", "robust z"],
        rows,
        "The figure of each row that is farthest from the others': modified z-score from median "
        "and median absolute deviation, beyond 3.5. Unlike does not mean wrong.",
    )


def _all_rows(page: Report, lines: Sequence[CohortLine]) -> None:
    page.heading("All rows")
    names = list(dict.fromkeys(name for line in lines for name in line.figures))[:_FIGURES]
    rows = []
    for line in lines:
        state = line.state
        figures = [f"{line.figures[n]:.4g}" if n in line.figures else "–" for n in names]
        seconds = f"{state.seconds:.1f}" if state is not None else "–"
        rows.append([line.row.id, line.row.command, line.status, seconds, *figures])
    page.table(
        ["Row", "Job", "Status", "Seconds", *names],
        rows,
        "The first figures of each job; summary.csv beside this page has all of them.",
    )


def _pictures(page: Report, lines: Sequence[CohortLine], events: Events) -> None:
    """Middle slices, in sheets; results that are no images are left out."""
    page.heading("Results")
    sheet: list[tuple[CohortLine, Volume]] = []
    shown = 0
    chosen = lines[:_MOST]
    for number, line in enumerate(chosen):
        events.check_cancelled()
        events.progress(number / len(chosen), f"picture of {line.row.id}")
        volume = _volume(line)
        if volume is not None:
            sheet.append((line, volume))
        if sheet and (len(sheet) == _ACROSS * _DOWN or number == len(chosen) - 1):
            page.picture(
                _sheet(sheet),
                "Middle slice of each result, each with a grey window of its own; rows unlike the "
                "others are first, in red.",
                "Middle slices of the results",
            )
            shown, sheet = shown + len(sheet), []
    if not shown:
        page.text("The rows made no images.")
    elif len(lines) > _MOST:
        page.text(f"The first {_MOST} of {len(lines)} rows; the others are in the table.")


def _volume(line: CohortLine) -> Volume | None:
    """The row's main image, of a series its middle frame; None where it made none."""
    from mriforge.io import read

    path = _image_of(line)
    if path is None:
        return None
    try:
        series = as_series(read(path))
    except (MRIForgeError, OSError):
        # It was moved or overwritten since; the table still has its figures.
        return None
    return series[len(series) // 2]


def _image_of(line: CohortLine) -> str | None:
    for path in line.state.outputs:
        place = Path(path)
        if place.is_file() and place.name.lower().endswith(_IMAGES):
            return path
        if place.is_dir():
            images = [p for p in sorted(place.glob("*")) if p.name.lower().endswith(_IMAGES)]
            return str(images[0]) if images else path
    return None


def _sheet(entries: Sequence[tuple[CohortLine, Volume]]) -> bytes:
    down = math.ceil(len(entries) / _ACROSS)
    height = _CELL + _TITLE
    figure = figure_class()(_ACROSS * _CELL, down * height)
    for number, (line, volume) in enumerate(entries):
        row, column = divmod(number, _ACROSS)
        box = (
            (column + 0.02) / _ACROSS,
            1 - (row * height + height - 0.03) / (down * height),
            0.96 / _ACROSS,
            (_CELL - 0.06) / (down * height),
        )
        axes = figure.add_axes(box)
        axes.set_axis_off()
        view = view_across(volume.grid, slice_axis(volume.grid))
        picture = view.slice(volume.array, volume.array.shape[view.axis] // 2)
        size = tuple(n * p for n, p in zip(picture.shape, view.pixel, strict=True))
        show(axes, picture, size, **_window(picture))
        unlike = line.outlier is not None and line.outlier.beyond
        title = line.row.id if len(line.row.id) <= 22 else f"{line.row.id[:10]}…{line.row.id[-11:]}"
        note = f"\n{line.outlier.figure[:20]} {line.outlier.score:+.1f}" if unlike else ""
        colour = _OUTLINED if unlike else "black"
        axes.set_title(title + note, fontsize=7.5, color=colour, pad=2)
    return to_png(figure)


def _window(picture: np.ndarray) -> dict[str, Any]:
    """Labels in colours that differ, images in grey."""
    if picture.dtype.kind in "iub" and picture.size and 0 <= picture.min() <= picture.max() <= 20:
        return {"cmap": "tab20", "vmin": 0, "vmax": 20}
    finite = picture[np.isfinite(picture)].astype(np.float64)
    low, high = np.percentile(finite, (0.5, 99.7)) if finite.size else (0.0, 1.0)
    return {"cmap": "gray", "vmin": min(0.0, float(low)), "vmax": float(high) or 1.0}
