"""Rows from a table: ``id``, if wanted ``command``, and one column for each option.

::

    id,input,output
    sub-01,raw/sub-01.nii.gz,sharp/sub-01.nii.gz
    sub-02,raw/sub-02.nii.gz,sharp/sub-02.nii.gz

Paths are relative to the table; ``${VARIABLE}`` is replaced. An empty cell is an option that is
not given. Separated by commas, semicolons or (``.tsv``) tabs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mriforge.cohort.rows import (
    Common,
    Row,
    cell,
    checked_name,
    main_input,
    options_of,
    placed,
    refuse_problems,
    stem_of,
)
from mriforge.errors import BadInput
from mriforge.untrusted.texts import csv_rows, from_json, from_toml

_OURS = ("id", "command")


def read_settings(path: str | Path) -> dict[str, Any]:
    """Common options from a TOML or JSON file, values by name.

    Raises:
        BadInput: not such a file, or not a flat table.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        is_toml = path.suffix.lower() == ".toml"
        tree = from_toml(text) if is_toml else from_json(text, once=True)
    except (OSError, ValueError) as error:
        raise BadInput(f"The settings {path} cannot be read ({error}).") from error
    if not isinstance(tree, Mapping):
        raise BadInput(f"The settings {path} are not a table of options and values.")
    return dict(tree)


def read_table(path: str | Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells by column of every row that is not empty.

    Raises:
        BadInput: unreadable, without rows, without an ``id``, a column twice, or cells without a
            column.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not a text file.", "Save the table as CSV (UTF-8).") from error
    except OSError as error:
        raise BadInput(f"The manifest {path} cannot be read ({error.strerror}).") from error
    try:
        (_, first), *others = list(csv_rows(text, _delimiter(path, text))) or [(0, [])]
    except ValueError as error:
        raise BadInput(f"{path} is no table: {error}.", "Save it as CSV (UTF-8).") from error
    heads = [head.strip() for head in first]
    if "id" not in heads:
        raise BadInput(f"{path} has no column 'id'.", "The first line names the columns.")
    twice = {head for head in heads if heads.count(head) > 1 or not head}
    if twice:
        raise BadInput(f"{path} has the column '{min(twice)}' twice, or one without a name.")
    rows = []
    for line, cells in others:
        if not any(text.strip() for text in cells):
            continue
        if len(cells) > len(heads):
            raise BadInput(
                f"{path}, line {line}: {len(cells)} cells for {len(heads)} columns.",
                "Put texts that hold the separator in quotation marks.",
            )
        rows.append((line, dict(zip(heads, map(str.strip, cells), strict=False))))
    if not rows:
        raise BadInput(f"{path} has no rows.", "One line below the names is one run.")
    return rows


def _delimiter(path: Path, text: str) -> str:
    head = text.split("\n", 1)[0]
    if path.suffix.lower() == ".tsv" or ("\t" in head and "," not in head):
        return "\t"
    return ";" if ";" in head and "," not in head else ","


def rows_of_table(path: str | Path, job: str | None, common: Common) -> list[Row]:
    """The rows of a table.

    Args:
        job: the command of rows that do not name one.
        common: options of every row.

    Raises:
        BadInput: anything that :func:`read_table` refuses; an unknown column, a cell that its
            option cannot be, a missing command.
    """
    table = read_table(path)
    base = Path(path).resolve().parent
    _check_columns(path, table, job)
    rows, problems = [], []
    for line, cells in table:
        try:
            rows.append(_row(f"line {line}", cells, job, common, base))
        except BadInput as error:
            problems.append(f"Line {line}: {error.one_line()}")
    refuse_problems(problems, len(table))
    return rows


def _check_columns(
    path: str | Path, table: list[tuple[int, dict[str, str]]], job: str | None
) -> None:
    """A column that no command of the table knows is told once, not for every row."""
    commands = {cells.get("command") or job for _, cells in table} - {None}
    for name in table[0][1]:
        if name in _OURS or not commands:
            continue
        errors = []
        for command in commands:
            try:
                checked_name(name, command, options_of(command))
            except BadInput as error:
                errors.append(error)
        if len(errors) == len(commands):
            raise BadInput(f"{path}: there is no use for a column. {errors[0].one_line()}")


def _row(where: str, cells: dict[str, str], job: str | None, common: Common, base: Path) -> Row:
    command = cells.get("command") or job
    if not command:
        raise BadInput("The row names no command.", "Give --job, or a column 'command'.")
    known = options_of(command)
    own = {}
    for column, text in cells.items():
        if column in _OURS or not text:
            continue
        name = checked_name(column, command, known)
        own[name] = placed(cell(name, known[name], text), known[name], base)
    names = {"id": cells["id"], "command": command}
    main = main_input(command)
    if main is not None and own.get(main[0]):
        first = own[main[0]]
        names["stem"] = stem_of(first if isinstance(first, str) else first[0])
    return Row(cells["id"], command, {**common.for_command(command, names), **own}, where)
