"""What a worker writes, and what its end means: bytes to lines, lines to events, ends to errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from slicer.i18n import tr as _

from mriforge.errors import (
    BadInput,
    Cancelled,
    Failed,
    MissingDependency,
    MissingModel,
    MRIForgeError,
    OutOfMemory,
)

_KINDS = {
    error.kind: error
    for error in (BadInput, MissingModel, MissingDependency, OutOfMemory, Cancelled, Failed)
}
# A result with the figures of thousands of frames fits; a broken stream does not fill the memory.
_LONGEST_LINE = 64 * 2**20
_LAST_WORDS = 5
_KILLED = (9, 137)
_FAULT = (11, 139, 7, 135, 4, 132, 0xC0000005, 0xC000001D, 0xC0000409)
_WINDOWS_CODES = 0xC0000000


class LineSplitter:
    """Bytes as they come in, to whole lines of text."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that ``data`` completes; the rest waits for more."""
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._pieces.append(piece)
            yield from self.rest()
        if rest:
            self._pieces.append(rest)
            self._length += len(rest)
        if self._length > _LONGEST_LINE:
            yield from self.rest()

    def rest(self) -> Iterator[str]:
        """What waits, as a line; bytes that are not UTF-8 are shown as such."""
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._length = 0
        if line.strip():
            yield line.decode("utf-8", "replace").rstrip("\r")


def event_of(line: str) -> dict[str, Any] | None:
    """The event in a line of the worker, or None if the line is something else."""
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def reported_error(event: dict[str, Any]) -> MRIForgeError:
    """The error of an ``error`` event, as its own class."""
    error = _KINDS.get(str(event.get("kind")), Failed)
    message = event.get("message") or _("The job failed without saying why.")
    return error(str(message), str(event.get("hint") or ""))


def unexpected_end(exit_code: int, crashed: bool, last_lines: list[str]) -> MRIForgeError:
    """The error for a worker that ended without a result or an error of its own.

    Args:
        exit_code: of the process; on Unix the number of the signal if it crashed.
        crashed: whether the system ended it.
        last_lines: the end of its standard error.
    """
    # Windows' status codes arrive as signed numbers.
    code = exit_code & 0xFFFFFFFF
    shown = f"0x{code:08X}" if code >= _WINDOWS_CODES else str(code)
    end = _("signal {code}") if crashed and code < _WINDOWS_CODES else _("exit code {code}")
    message = _("The computing process ended unexpectedly ({how}).").format(
        how=end.format(code=shown)
    )
    if last_lines:
        words = " / ".join(line.strip() for line in last_lines[-_LAST_WORDS:])
        message = _("{message} It last wrote: {words}").format(message=message, words=words)
    if code in _KILLED:
        hint = _("It was probably ended for lack of memory: close other programs and try again.")
    elif code in _FAULT or any("Fatal Python error" in line for line in last_lines):
        hint = _("Try the device 'cpu', and update the driver of the graphics card.")
    else:
        hint = _("Try again; if it stays, send the developers the log.")
    return Failed(message, hint)
