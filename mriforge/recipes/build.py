"""Frozen dataclasses filled strictly from TOML: unknown, missing and mistyped keys are refused."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal

from mriforge.errors import BadInput


def build(kind: type, tree: Any, where: str, key: str = "") -> Any:
    """A dataclass ``kind`` from a mapping; unknown, missing and mistyped keys are refused.

    Args:
        where: file named in messages.
        key: dotted position in the file.

    Raises:
        BadInput: naming the key and the file.
    """
    if not isinstance(tree, dict):
        raise BadInput(f"'{key}' in the recipe {where} should be a table.")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}
    for name in tree:
        if name not in known:
            raise BadInput(
                f"Unknown key '{_join(key, name)}' in the recipe {where}.",
                f"Known keys here: {', '.join(known)}.",
            )
    values = {}
    for name, spec in known.items():
        if name in tree:
            values[name] = _convert(hints[name], tree[name], where, _join(key, name))
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise BadInput(f"The key '{_join(key, name)}' is missing in the recipe {where}.")
    return kind(**values)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where, key)
    if origin is Literal:
        if value not in arguments:
            raise BadInput(
                f"'{key}' in the recipe {where} is {value!r}.",
                f"Use one of: {', '.join(map(repr, arguments))}.",
            )
        return value
    if origin is dict:
        if not isinstance(value, dict):
            raise BadInput(f"'{key}' in the recipe {where} should be a table.")
        return {k: _convert(arguments[1], v, where, _join(key, k)) for k, v in value.items()}
    if origin is tuple:
        return _convert_tuple(arguments, value, where, key)
    if hint is Any or isinstance(hint, types.GenericAlias):
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint:
        raise BadInput(
            f"'{key}' in the recipe {where} is {value!r}.", f"It should be of type {hint.__name__}."
        )
    if hint in (int, float) and not (value == value and abs(value) < float("inf")):
        raise BadInput(f"'{key}' in the recipe {where} is not a finite number.")
    if hint in (int, float) and value < 0:
        raise BadInput(f"'{key}' in the recipe {where} is {value!r}.", "It cannot be negative.")
    return value


def _convert_tuple(arguments: tuple, value: Any, where: str, key: str) -> tuple:
    if not isinstance(value, list):
        raise BadInput(f"'{key}' in the recipe {where} should be a list.")
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
        raise BadInput(
            f"'{key}' in the recipe {where} has {len(value)} values.",
            f"It should have {len(arguments)}.",
        )
    return tuple(_convert(a, v, where, key) for a, v in zip(arguments, value, strict=True))
