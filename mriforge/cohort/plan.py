"""What has to run: every row checked before the first one starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mriforge.cohort.content import differs, files_of
from mriforge.cohort.rows import Row, refuse_problems
from mriforge.cohort.state import DONE, OWN, BatchFolder, State
from mriforge.errors import BadInput, MissingModel, MRIForgeError
from mriforge.jobs import Request, check_request
from mriforge.jobs.options import parse
from mriforge.jobs.paths import claims, input_paths, output_paths


@dataclass
class Plan:
    """Rows by what becomes of them.

    Attributes:
        rows: all, in their order.
        todo: those to run, with why when they ran before.
        finished: state of those that are done.
    """

    rows: list[Row]
    todo: list[tuple[Row, str]] = field(default_factory=list)
    finished: dict[str, State] = field(default_factory=dict)


def make_plan(rows: Sequence[Row], folder: BatchFolder) -> Plan:
    """Checks all rows together and finds those that have to run.

    Raises:
        BadInput: naming up to five rows: an id twice, an option that is wrong, a missing file, an
            output that two rows write, that another row reads, or that this batch did not make.
        MissingModel: a model that a row needs is not there.
    """
    _check_ids(rows)
    options: dict[str, Any] = {}
    problems: list[str] = []
    models: list[MissingModel] = []
    plan = Plan(list(rows))
    for row in rows:
        try:
            options[row.id] = _checked(row, folder)
            _sort(row, options[row.id], folder, plan)
        except MissingModel as error:
            models.append(error)
            problems.append(_about(row, error))
        except MRIForgeError as error:
            problems.append(_about(row, error))
    problems += _collisions([row for row in rows if row.id in options], options, folder)
    if models and len(models) == len(problems):
        raise models[0]
    refuse_problems(problems, len(rows))
    return plan


def to_clear(row: Row, options: Any, folder: BatchFolder) -> list[str]:
    """Image folders (DICOM) of an earlier, own result, which have to go before new ones come."""
    state = folder.read(row.key)
    return [
        path
        for _, path, spec in output_paths(options)
        if spec.kind == "output" and os.path.isdir(path) and _ours(path, state)
    ]


def _about(row: Row, error: MRIForgeError) -> str:
    return f"Row '{row.id}' ({row.where}): {error.one_line()}"


def _check_ids(rows: Sequence[Row]) -> None:
    seen: dict[str, Row] = {}
    for row in rows:
        if not row.id.strip():
            raise BadInput(f"The row of {row.where} has no id.", "Give every row its own.")
        # Files of rows are named after them, and some systems do not tell A from a.
        other = seen.setdefault(row.key.casefold(), row)
        if other is not row:
            raise BadInput(
                f"The id '{row.id}' stands twice ({other.where} and {row.where}).",
                "Give every row its own; capital and small letters count as the same.",
            )


def _checked(row: Row, folder: BatchFolder) -> Any:
    """The options, refused as the command itself would, but for folders of our own results."""
    from mriforge.cohort.rows import options_of

    options = parse(_module_options(row), row.values)
    own = to_clear(row, options, folder)
    values = dict(row.values)
    for name in options_of(row.command):
        if getattr(options, name) in own:
            values[name] = os.path.join(os.path.dirname(getattr(options, name)), f".new-{row.key}")
    check_request(Request(row.command, values))
    return options


def _module_options(row: Row) -> type:
    from mriforge.jobs import command_named

    return command_named(row.command).load().Options


def _sort(row: Row, options: Any, folder: BatchFolder, plan: Plan) -> None:
    """Into finished or to do; refuses outputs that are not ours to replace."""
    state = folder.read(row.key)
    files = files_of(row.command, options)
    why = state.why_again(options, files) if state is not None else ""
    if state is not None and not why:
        plan.finished[row.id] = state
        return
    for name, path, spec in output_paths(options):
        if not os.path.exists(path) or (spec.kind == "folder" and not _has_files(path)):
            continue
        if not _ours(path, state):
            raise BadInput(
                f"{path} ({name}) is there already and not as this batch wrote it.",
                "Move it away, or choose another name.",
            )
    plan.todo.append((row, why))


def _ours(path: str, state: State | None) -> bool:
    """Whether a file is what this batch wrote, or may be what an interrupted row left."""
    if state is None or path not in state.outputs:
        return False
    return state.status != DONE or not differs(path, state.outputs[path])


def _has_files(path: str) -> bool:
    return os.path.isdir(path) and any(os.scandir(path))


def _collisions(rows: Sequence[Row], options: dict[str, Any], folder: BatchFolder) -> list[str]:
    """Rows that write what another one writes or reads."""
    writers: dict[Path, Row] = {}
    problems = []
    reserved = {folder.path.resolve() / name for name in OWN}
    for row in rows:
        for name, path, _ in output_paths(options[row.id]):
            files = claims(path)
            if files & reserved:
                problems.append(f"Row '{row.id}' ({row.where}): {path} is the batch's own file.")
            for other in {writers[f].id: writers[f] for f in files if f in writers}.values():
                if other is not row:
                    problems.append(
                        f"Rows '{other.id}' ({other.where}) and '{row.id}' ({row.where}) would "
                        f"both write {path} ({name})."
                    )
            writers.update(dict.fromkeys(files, row))
    for row in rows:
        for name, path in input_paths(options[row.id]):
            other = writers.get(Path(path).resolve())
            if other is not None and other is not row:
                problems.append(
                    f"Row '{row.id}' ({row.where}) reads {path} ({name}), which row "
                    f"'{other.id}' writes. Make two batches of it."
                )
    return problems
