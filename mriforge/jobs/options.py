"""Options of a command as data: one declaration serves the command line, JSON and tables.

A command declares a keyword-only dataclass whose fields are made by :func:`option`::

    @dataclass(frozen=True, kw_only=True)
    class Options:
        input: str = option("input", "image to degrade", positional="IN")
        keep: float | None = option("number", "kept fraction", default=None, above=0, at_most=1)

:func:`parse` makes one from a mapping and refuses whatever does not fit, with a sentence.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from difflib import get_close_matches
from typing import Any

from mriforge.errors import BadInput


@dataclass(frozen=True)
class Spec:
    """What a value may be.

    Attributes:
        kind: ``flag``, ``text``, ``device``, ``number``, ``integer``, ``numbers``, ``integers``,
            ``input`` (an existing file or folder), ``files`` (a list of those), ``inputs`` (name ->
            existing file), ``settings`` (name -> text), ``output`` (a file, or a new folder of
            files) or ``folder`` (where several files are put).
        help: one line for ``--help``.
        positional: the placeholder of a value that is given without its name, else "".
        choices: allowed texts.
        above, at_least, at_most: limits of numbers; of ``files``, how many there may be.
        count: how many numbers.
        metavar: placeholder shown in the help.
        suffixes: what an output file's name may end with (empty: image or folder, checked by io).
    """

    kind: str
    help: str
    positional: str = ""
    choices: tuple[str, ...] = ()
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    count: int | None = None
    metavar: str = ""
    suffixes: tuple[str, ...] = ()


def option(kind: str, help: str, *, default: Any = MISSING, **limits: Any) -> Any:
    """A dataclass field with its :class:`Spec`; required when no default is given."""
    metadata = {"spec": Spec(kind, help, **limits)}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def specs(options: Any) -> dict[str, Spec]:
    """Name -> Spec of an options class or instance."""
    return {item.name: item.metadata["spec"] for item in dataclasses.fields(options)}


def label(name: str, spec: Spec) -> str:
    """How a value is called in messages: ``--max-minutes``, or ``IN``."""
    return spec.positional or "--" + name.replace("_", "-")


def parse(cls: type, values: Mapping[str, Any]) -> Any:
    """An instance of the options class from JSON-like ``values``; None means not given.

    Raises:
        BadInput: unknown or missing option, wrong type, value out of its limits.
    """
    known = specs(cls)
    given = {}
    for name, value in values.items():
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Known are {', '.join(known)}."
            raise BadInput(f"There is no option '{name}'.", hint)
        if value is not None:
            given[name] = check_value(name, known[name], value)
    for item in dataclasses.fields(cls):
        if item.name not in given and item.default is MISSING:
            spec = known[item.name]
            raise BadInput(f"{label(item.name, spec)} is missing: {spec.help}.")
    return cls(**given)


def from_text(name: str, spec: Spec, text: str) -> Any:
    """The JSON value that a command line or a table means by ``text``."""
    if spec.kind in ("number", "integer"):
        return _number_from_text(name, spec, text)
    if spec.kind in ("numbers", "integers"):
        return [_number_from_text(name, spec, part) for part in text.split(",")]
    if spec.kind == "flag":
        lowered = text.strip().lower()
        if lowered in ("1", "true", "yes", "on"):
            return True
        if lowered in ("", "0", "false", "no", "off"):
            return False
        raise BadInput(f"{label(name, spec)} is yes or no, not '{text}'.")
    return text


def check_value(name: str, spec: Spec, value: Any) -> Any:
    """``value`` if it is of the spec's kind and within its limits (whole floats become ints)."""
    return _CHECKS[spec.kind](name, spec, value)


def _number_from_text(name: str, spec: Spec, text: str) -> float | int:
    whole = spec.kind in ("integer", "integers")
    try:
        return int(text) if whole else float(text)
    except ValueError:
        wanted = "a whole number" if whole else "a number"
        raise BadInput(f"{label(name, spec)} needs {wanted}, not '{text}'.") from None


def _number(name: str, spec: Spec, value: Any) -> float:
    usual = isinstance(value, int | float) and not isinstance(value, bool)
    if not (usual and abs(value) <= sys.float_info.max):
        raise BadInput(f"{label(name, spec)} needs a number, not {value!r}.")
    called = label(name, spec)
    if spec.above is not None and not value > spec.above:
        raise BadInput(f"{called} must be greater than {spec.above:g}, not {value:g}.")
    if spec.at_least is not None and not value >= spec.at_least:
        raise BadInput(f"{called} must be at least {spec.at_least:g}, not {value:g}.")
    if spec.at_most is not None and not value <= spec.at_most:
        raise BadInput(f"{called} must be at most {spec.at_most:g}, not {value:g}.")
    return float(value)


def _integer(name: str, spec: Spec, value: Any) -> int:
    number = _number(name, spec, value)
    if number != int(number):
        raise BadInput(f"{label(name, spec)} needs a whole number, not {value:g}.")
    return int(number)


def _several(one: Callable[[str, Spec, Any], Any]) -> Callable[[str, Spec, Any], tuple]:
    def check(name: str, spec: Spec, value: Any) -> tuple:
        if not isinstance(value, list | tuple):
            raise BadInput(f"{label(name, spec)} needs a list of numbers, not {value!r}.")
        if spec.count is not None and len(value) != spec.count:
            raise BadInput(
                f"{label(name, spec)} needs {spec.count} numbers, not {len(value)}.",
                f"Separate them by commas: {spec.metavar}." if spec.metavar else "",
            )
        return tuple(one(name, spec, item) for item in value)

    return check


def _flag(name: str, spec: Spec, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadInput(f"{label(name, spec)} is true or false, not {value!r}.")
    return value


def _text(name: str, spec: Spec, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise BadInput(f"{label(name, spec)} needs a text, not {value!r}.")
    if spec.choices and value not in spec.choices:
        raise BadInput(f"{label(name, spec)} is {_either(spec.choices)}, not '{value}'.")
    return value


def _device(name: str, spec: Spec, value: Any) -> str:
    text = _text(name, spec, value)
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise BadInput(f"{label(name, spec)} is auto, cpu, cuda, cuda:N or mps, not '{text}'.")
    return text


def _named(name: str, spec: Spec, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        what = "FILE" if spec.kind == "inputs" else "VALUE"
        raise BadInput(f"{label(name, spec)} needs NAME={what}, not {value!r}.")
    return {_text(name, spec, key): _text(name, spec, item) for key, item in value.items()}


def _files(name: str, spec: Spec, value: Any) -> tuple[str, ...]:
    called = label(name, spec)
    if not isinstance(value, list | tuple):
        raise BadInput(f"{called} needs a list of files, not {value!r}.")
    least = 1 if spec.at_least is None else int(spec.at_least)
    most = len(value) if spec.at_most is None else int(spec.at_most)
    if not least <= len(value) <= most:
        wanted = f"{least} to {most}" if spec.at_most is not None else f"at least {least}"
        raise BadInput(f"{called} needs {wanted} files, not {len(value)}.")
    return tuple(_text(name, spec, item) for item in value)


def _either(choices: tuple[str, ...]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


_CHECKS: dict[str, Callable[[str, Spec, Any], Any]] = {
    "flag": _flag,
    "text": _text,
    "device": _device,
    "input": _text,
    "output": _text,
    "folder": _text,
    "files": _files,
    "inputs": _named,
    "settings": _named,
    "number": _number,
    "integer": _integer,
    "numbers": _several(_number),
    "integers": _several(_integer),
}
