"""A batch from rows to report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from mriforge.cohort.local import Engine
from mriforge.cohort.plan import Plan, make_plan
from mriforge.cohort.row import AGAIN, Task
from mriforge.cohort.rows import Row
from mriforge.cohort.state import DONE, FAILED, REPORT, BatchFolder, State
from mriforge.cohort.table import Line, counts, lines_of, write_tables
from mriforge.errors import Failed, MRIForgeError
from mriforge.events import Events

_TOLD = 20
"""So many reasons for running a row again are logged."""


def run_batch(
    rows: Sequence[Row],
    folder: BatchFolder,
    engine: Engine,
    *,
    retries: int = 0,
    minutes: float = 0.0,
    checked: Callable[[], None] | None = None,
    events: Events | None = None,
) -> dict[str, Any]:
    """Runs every row that is not finished, and writes table and report.

    Args:
        retries: how often a row is tried again whose process broke down; bad input is not.
        minutes: a row is stopped after this time and counts as failed; 0: never.
        checked: called when no row was refused, before the first one starts.

    Returns:
        ``rows``, ``done`` (in this run), ``kept`` (from before); paths ``csv``, ``json`` and,
        where matplotlib is installed, ``report``.

    Raises:
        BadInput, MissingModel: a row cannot run; none was started.
        Failed: some rows failed; the others are done, table and report are written.
        Cancelled: every process was ended; the table says how far it came.
    """
    events = events or Events()
    events.progress(0.0, f"checking {len(rows)} rows")
    plan = make_plan(rows, folder)
    with folder.whole():
        if checked is not None:
            checked()
        _tell(plan, events)
        states = dict(plan.finished)
        tasks = _tasks(plan, folder, minutes)

        def ended(task: Task, state: State) -> Task | None:
            states[task.row.id] = state
            if state.status != FAILED:
                return None
            error = state.error or {}
            events.log(f"{task.row.id} failed: {error.get('message', '')}")
            again = task.attempt <= retries and error.get("kind") in AGAIN
            return replace(task, attempt=task.attempt + 1) if again else None

        try:
            if tasks:
                engine.run(tasks, events.part(0.02, 0.93), ended)
        except MRIForgeError:
            write_tables(lines_of(rows, states), folder)
            raise
        return _finish(lines_of(rows, states), folder, plan, events)


def _tell(plan: Plan, events: Events) -> None:
    if plan.finished:
        events.log(f"{len(plan.finished)} of {len(plan.rows)} rows are finished and are kept.")
    reasons = [f"{row.id} runs again: {why}." for row, why in plan.todo if why]
    for reason in reasons[:_TOLD]:
        events.log(reason)
    if len(reasons) > _TOLD:
        events.log(f"{len(reasons) - _TOLD} more run again.")


def _tasks(plan: Plan, folder: BatchFolder, minutes: float) -> list[Task]:
    if not plan.todo:
        return []
    run = folder.begin()
    return [Task(row, str(folder.path), run, minutes=minutes) for row, _ in plan.todo]


def _finish(lines: list[Line], folder: BatchFolder, plan: Plan, events: Events) -> dict[str, Any]:
    """Table and report; refuses to call a batch done whose rows are not."""
    result: dict[str, Any] = {
        "rows": len(lines),
        "done": sum(line.status == DONE for line in lines) - len(plan.finished),
        "kept": len(plan.finished),
        "unlike_the_others": sum(bool(x.outlier and x.outlier.beyond) for x in lines),
        **write_tables(lines, folder),
    }
    if find_spec("matplotlib") is None:
        events.log("No report: matplotlib is not installed (pip install 'mriforge[report]').")
    else:
        from mriforge.report.cohort import cohort_report

        page = folder.path / REPORT
        result["report"] = str(cohort_report(page, lines, counts(lines), events.part(0.95, 1.0)))
    failed = [line for line in lines if line.status != DONE]
    if failed:
        others = ", the others are done" if len(failed) < len(lines) else ""
        raise Failed(
            f"{len(failed)} of {len(lines)} rows failed{others}. "
            f"{failed[0].row.id}: {failed[0].message}",
            f"See {result.get('report', result['csv'])}; the same command tries them again.",
        )
    events.progress(1.0, "done")
    return result
