"""What came of a batch, as a table: failed rows first, then those unlike the others."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mriforge import __version__
from mriforge.cohort.outliers import LIMIT, Outlier, figures_of, outliers
from mriforge.cohort.rows import Row
from mriforge.cohort.state import DONE, FIGURES, TABLE, BatchFolder, State
from mriforge.events import to_json
from mriforge.io.atomic import atomic_path

_HEADS = ("id", "command", "status", "message", "outlier", "outlier_figure", "seconds")
_HEADS += ("attempts", "place", "output")


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        row: as planned.
        state: how it stands; None when it was not started.
        figures: what its job returned, by dotted name.
        outlier: the figure in which it is least like the others.
    """

    row: Row
    state: State | None
    figures: dict[str, float]
    outlier: Outlier | None

    @property
    def status(self) -> str:
        """``done``, ``failed``, ``cancelled``, ``running`` or ``waiting``."""
        return "waiting" if self.state is None else self.state.status

    @property
    def message(self) -> str:
        """Why it failed, and what to do."""
        error = (self.state.error if self.state else None) or {}
        return " ".join(f"{error.get('message', '')} {error.get('hint', '')}".split())

    @property
    def output(self) -> str:
        """Its main result's file or folder."""
        return next(iter(self.state.outputs), "") if self.state else ""


def lines_of(rows: Sequence[Row], states: dict[str, State]) -> list[Line]:
    """The table, most remarkable rows first.

    Args:
        states: by the row's id.
    """
    figures = {
        row.id: figures_of(states[row.id].result)
        for row in rows
        if row.id in states and states[row.id].status == DONE
    }
    unlike: dict[str, Outlier] = {}
    for command in {row.command for row in rows}:
        same = {row.id: figures[row.id] for row in rows if row.id in figures
                and row.command == command}  # fmt: skip
        unlike |= outliers(same)
    lines = [Line(r, states.get(r.id), figures.get(r.id, {}), unlike.get(r.id)) for r in rows]
    return sorted(lines, key=_remarkable)


def _remarkable(line: Line) -> tuple[int, float]:
    """Failed, not done, outliers by size; the others keep their order."""
    if line.status == "failed":
        return 0, 0.0
    if line.status != DONE:
        return 1, 0.0
    if line.outlier is not None and line.outlier.beyond:
        return 2, -abs(line.outlier.score)
    return 3, 0.0


def write_tables(lines: Sequence[Line], folder: BatchFolder) -> dict[str, str]:
    """Writes ``summary.csv`` and ``summary.json``; their paths."""
    names = list(dict.fromkeys(name for line in lines for name in line.figures))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_HEADS, *names])
    for line in lines:
        figures = [_number(line.figures.get(name)) for name in names]
        writer.writerow([*(_cell(line, head) for head in _HEADS), *figures])
    tree = {
        "software": f"MRIForge {__version__}",
        "use": "research use only",
        "counts": counts(lines),
        "outlier_limit": LIMIT,
        "rows": [_as_json(line) for line in lines],
    }
    written = {"csv": folder.path / TABLE, "json": folder.path / FIGURES}
    contents = {"csv": text.getvalue(), "json": to_json(tree, indent=1) + "\n"}
    for kind, path in written.items():
        with atomic_path(path) as partial:
            partial.write_text(contents[kind], encoding="utf-8")
    return {kind: str(path) for kind, path in written.items()}


def counts(lines: Sequence[Line]) -> dict[str, int]:
    """How many rows stand how."""
    found: dict[str, int] = {}
    for line in lines:
        found[line.status] = found.get(line.status, 0) + 1
    return found


def _cell(line: Line, head: str) -> str:
    state, unlike = line.state, line.outlier
    values = {
        "id": line.row.id,
        "command": line.row.command,
        "status": line.status,
        "message": line.message,
        "outlier": f"{unlike.score:.2f}" if unlike and unlike.score else "",
        "outlier_figure": unlike.figure if unlike and unlike.score else "",
        "seconds": f"{state.seconds:.2f}" if state else "",
        "attempts": str(state.attempts) if state else "",
        "place": state.place if state else "",
        "output": line.output,
    }
    return values[head]


def _as_json(line: Line) -> dict[str, Any]:
    state, unlike = line.state, line.outlier
    return {
        "id": line.row.id,
        "command": line.row.command,
        "status": line.status,
        "error": state.error if state else None,
        "outlier": vars(unlike) if unlike else None,
        "seconds": state.seconds if state else None,
        "attempts": state.attempts if state else 0,
        "place": state.place if state else "",
        "options": line.row.values,
        "outputs": list(state.outputs) if state else [],
        "figures": line.figures,
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
