"""A row: one run of one command, made of common options and of its own."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput
from mriforge.jobs import COMMANDS, command_named
from mriforge.jobs.options import Spec, from_text, specs

NOT_FOR_ROWS = ("batch", "demo", "models")
SEPARATOR = ";"
"""Between the files of one cell."""
_PATHS = ("input", "output", "folder", "files", "inputs")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_LONGEST_KEY = 80


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        id: what the user calls it.
        command: a name of ``mriforge.jobs.COMMANDS``.
        values: options by name, JSON types; paths are absolute.
        where: where it stands, for messages: ``"line 4"``.
    """

    id: str
    command: str
    values: dict[str, Any]
    where: str = ""

    @property
    def key(self) -> str:
        """The id as part of a file name on any system; different for different ids."""
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", self.id).lstrip(".")
        if plain == self.id and len(plain) <= _LONGEST_KEY:
            return plain
        digest = hashlib.sha256(self.id.encode()).hexdigest()[:8]
        return f"{plain[: _LONGEST_KEY - 9]}-{digest}"


@dataclass(frozen=True)
class Common:
    """Options given once for all rows; what a row says itself wins.

    Attributes:
        texts: as on a command line; may hold ``{id}`` and the like.
        values: JSON values, from a file; their texts may, too.
        base: folder that relative paths of ``texts`` start from.
        values_base: the same for ``values``.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    base: Path = field(default_factory=Path.cwd)
    values_base: Path = field(default_factory=Path.cwd)

    def for_command(self, command: str, names: Mapping[str, str]) -> dict[str, Any]:
        """The options of one row; texts win over the file.

        Args:
            names: what may stand in braces.

        Raises:
            BadInput: an option that the command does not have, or unknown braces.
        """
        known = options_of(command)
        found: dict[str, Any] = {}
        for name, value in self.values.items():
            name = checked_name(name, command, known)
            found[name] = placed(filled(value, names), known[name], self.values_base)
        for name, text in self.texts.items():
            name = checked_name(name, command, known)
            value = cell(name, known[name], filled(text, names))
            found[name] = placed(value, known[name], self.base)
        return found


def options_of(command: str) -> dict[str, Spec]:
    """The options of a command that rows may run.

    Raises:
        BadInput: unknown, or a command that a row cannot be.
    """
    if command in NOT_FOR_ROWS:
        able = ", ".join(name for name in COMMANDS if name not in NOT_FOR_ROWS)
        raise BadInput(f"A row cannot run '{command}'.", f"Rows run {able}.")
    return specs(command_named(command).load().Options)


def checked_name(name: str, command: str, known: Mapping[str, Spec]) -> str:
    """The option of that name, whose dashes may be underscores."""
    option = name.strip().removeprefix("--").replace("-", "_")
    if option in known:
        return option
    from difflib import get_close_matches

    near = get_close_matches(option, known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known are {', '.join(known)}."
    raise BadInput(f"'{name}' is no option of '{command}'.", hint)


def cell(name: str, spec: Spec, text: str) -> Any:
    """The value that the text of a table's cell means; several files are separated by ``;``."""
    text = text.strip()
    if spec.kind == "files":
        return [part.strip() for part in text.split(SEPARATOR) if part.strip()]
    if spec.kind in ("inputs", "settings"):
        pairs = [part.partition("=") for part in text.split(SEPARATOR) if part.strip()]
        if not all(key.strip() and value.strip() for key, _, value in pairs):
            raise BadInput(f"'{name}' needs NAME=FILE{SEPARATOR}NAME=FILE, not '{text}'.")
        return {key.strip(): value.strip() for key, _, value in pairs}
    return from_text(name, spec, text)


def filled(value: Any, names: Mapping[str, str]) -> Any:
    """``value`` with ``{name}`` in its texts replaced.

    Raises:
        BadInput: braces around something unknown.
    """
    if isinstance(value, str):

        def replace(found: re.Match[str]) -> str:
            if found[1] not in names:
                raise BadInput(
                    f"Nothing is called {found[0]} in this row.",
                    f"Known are {', '.join(f'{{{name}}}' for name in sorted(names))}.",
                )
            return names[found[1]]

        return _PLACEHOLDER.sub(replace, value)
    if isinstance(value, Mapping):
        return {key: filled(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [filled(item, names) for item in value]
    return value


def placed(value: Any, spec: Spec, base: Path) -> Any:
    """Paths as absolute ones: workers may run in any folder."""
    if spec.kind in _PATHS:
        return _each(value, lambda text: absolute(text, base))
    if is_place(spec) and isinstance(value, str) and _is_there(value, base):
        return absolute(value, base)
    return value


def is_place(spec: Spec) -> bool:
    """Whether a text may also be a file or folder: a model, a recipe, a slice profile."""
    return spec.kind == "text" and any(word in spec.metavar for word in ("DIR", "FILE"))


def absolute(text: str, base: Path) -> str:
    """A path from ``base``, with ``${VARIABLE}`` and ``~`` replaced.

    Raises:
        BadInput: a variable that is not set.
    """
    path = os.path.expanduser(os.path.expandvars(text))
    if "${" in path:
        raise BadInput(f"A variable of '{text}' is not set.", "Set it, or write the path itself.")
    trailing = "/" if path.endswith(("/", os.sep)) else ""
    return os.path.abspath(os.path.join(base, path)) + trailing


def _is_there(text: str, base: Path) -> bool:
    """A name alone is a name, even where a folder is called the same."""
    path = os.path.expanduser(os.path.expandvars(text))
    return os.path.basename(path) != path and os.path.exists(os.path.join(base, path))


def _each(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _each(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_each(item, change) for item in value]
    return value


def main_input(command: str) -> tuple[str, Spec] | None:
    """The option that a command's image is given as; None for commands without one."""
    for name, spec in options_of(command).items():
        if spec.positional and spec.kind in ("input", "files"):
            return name, spec
    return None


def stem_of(path: str) -> str:
    """A file's name without its extension; ``.nii.gz`` counts as one."""
    name = os.path.basename(path.rstrip("/\\"))
    return re.sub(r"(\.nii|\.seq)?\.[A-Za-z0-9]+$", "", name) if "." in name[1:] else name


def refuse_problems(problems: Sequence[str], total: int) -> None:
    """Raises one :class:`BadInput` about all rows that cannot run; nothing when there are none."""
    if not problems:
        return
    shown = " ".join(problems[:5])
    more = f" And {len(problems) - 5} more." if len(problems) > 5 else ""
    raise BadInput(
        f"{len(problems)} of {total} rows cannot run, so none was started. {shown}{more}"
    )
