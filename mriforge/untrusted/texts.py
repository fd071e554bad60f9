"""JSON, TOML and CSV that end in ``ValueError`` or in plain values, whatever they hold."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

DEEPEST = 64
"""Tables in tables; files of this program have eight."""
_LONGEST_WHOLE = 19
_TWICE = "the entry {!r} is there twice"


def from_json(text: str | bytes, *, once: bool = False) -> Any:
    """What a JSON text says. Numbers that are none (``NaN``, ``Infinity``) become NaN.

    Args:
        text: JSON; bytes are UTF-8.
        once: refuse an object that names an entry twice, in the place of taking the last one.

    Raises:
        ValueError: not JSON, not UTF-8, nested too deeply, a number beyond 64 bits or beyond
            double precision, an entry twice.
    """
    try:
        tree = json.loads(
            text,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=lambda _: float("nan"),
            object_pairs_hook=_named_once if once else None,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return _shallow(tree)


def from_toml(text: str) -> dict[str, Any]:
    """What a TOML text says.

    Raises:
        ValueError: not TOML, nested too deeply, a number beyond 64 bits or double precision.
    """
    try:
        tree = tomllib.loads(text, parse_float=_toml_float)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return _shallow(tree)


def csv_rows(text: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Number of its (last) line and cells of every row of a CSV text.

    Raises:
        ValueError: a cell of more than 128 KiB, or a separator within broken quotation marks.
    """
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(str(error)) from None


def csv_entries(text: str) -> list[dict[str, Any]]:
    """Rows of a CSV text by the names in its first line; cells without a name are under ``""``.

    Raises:
        ValueError: as of :func:`csv_rows`; a name twice.
    """
    rows = csv_rows(text)
    names = [name.strip() for name in next(rows, (0, []))[1]]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"the column {twice[0]!r} is there twice")
    found = []
    for _, cells in rows:
        if not cells:
            continue
        entry: dict[str, Any] = dict.fromkeys(names)
        entry.update(zip(names, cells, strict=False))
        if len(cells) > len(names):
            entry[""] = cells[len(names) :]
        found.append(entry)
    return found


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > _LONGEST_WHOLE:
        raise ValueError(f"the number {text[:20]}... is too large")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _toml_float(text: str) -> float:
    return float(text) if "inf" in text else _finite(text)


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(_TWICE.format(name[:60]))
        found[name] = value
    return found


def _shallow(tree: Any) -> Any:
    """``tree`` if it can be walked through by recursion, and holds no number beyond 64 bits."""
    level: Iterable[Any] = (tree,)
    for _ in range(DEEPEST):
        level = [inner for item in level for inner in _held(item)]
        if not level:
            return tree
    raise ValueError("it is nested too deeply")


def _held(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return item.values()
    if isinstance(item, list):
        return item
    # Of JSON this is known already; TOML has no hook for whole numbers.
    if isinstance(item, int) and not -(2**63) <= item < 2**64:
        raise ValueError(f"the number {str(item)[:20]}... is too large")
    return ()
