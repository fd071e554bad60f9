"""What a running job tells the world, and how the world tells it to stop.

A job gets one :class:`Events` object and knows nothing about who listens: nobody (the base
class), a program that reads JSON lines (:class:`JsonEvents`), or a person at a terminal
(:class:`mriforge.console.ConsoleEvents`).

JSON lines, one object each, flushed::

    {"event": "progress", "fraction": 0.42, "message": "frame 3 of 20", "eta_s": 12.0}
    {"event": "metric", "loss": 0.013, "step": 200}
    {"event": "log", "message": "..."}
    {"event": "result", ...}            the last line of a job that is done ...
    {"event": "error", "kind": ..., "message": ..., "hint": ..., "exit_code": 2}   ... or is not
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from mriforge.errors import Cancelled, MRIForgeError

_FILE_CHECK_INTERVAL_S = 0.2
_PROGRESS_INTERVAL_S = 0.1
_WITHOUT_DIGITS = str.maketrans("", "", "0123456789.-+")


class Control:
    """The cancel switch of one job; shared by all its :class:`Events` scopes.

    Args:
        cancel_file: the job stops when a file of this name appears.
        time_limit_s: the job stops after this many seconds. (A time *budget*, which ends a
            training with its best state, is an option of the job itself.)

    Attributes:
        uninterruptible: while it is not zero a signal handler only notes the wish to stop and
            does not raise, so that a line on a pipe is never cut.
        stopping: :class:`~mriforge.errors.Cancelled` has been raised.
    """

    def __init__(
        self, cancel_file: str | Path | None = None, time_limit_s: float | None = None
    ) -> None:
        self.cancel_file = None if cancel_file is None else os.fspath(cancel_file)
        self.deadline = None if time_limit_s is None else time.monotonic() + time_limit_s
        self.uninterruptible = 0
        self.stopping = False
        self._reason: str | None = None
        self._next_file_check = 0.0

    def cancel(self, reason: str = "The job was cancelled.") -> None:
        """Ask the job to stop; safe in a signal handler and in any thread."""
        if self._reason is None:
            self._reason = reason

    @property
    def cancelled(self) -> str | None:
        """Why the job has to stop, or None."""
        now = time.monotonic()
        if self._reason is None and self.deadline is not None and now > self.deadline:
            self.cancel("The job reached its time limit and was stopped.")
        if self._reason is None and self.cancel_file and now >= self._next_file_check:
            self._next_file_check = now + _FILE_CHECK_INTERVAL_S
            if os.path.exists(self.cancel_file):
                self.cancel()
        return self._reason


class Events:
    """Listens to nothing, obeys its :class:`Control`; base of the others and good for tests.

    Subclasses override ``_progress``, ``_metric``, ``_log``, ``result`` and ``error``.
    All methods may be called from any thread.
    """

    def __init__(self, control: Control | None = None) -> None:
        self.control = control or Control()
        self._first: tuple[float, float] | None = None
        self._fraction = 0.0

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def progress(self, fraction: float, message: str = "") -> None:
        """``fraction`` of the whole job is done, in [0, 1]; it never runs backwards."""
        fraction = float(fraction)
        if math.isfinite(fraction):
            self._fraction = max(self._fraction, min(1.0, fraction))
        if self._first is None:
            self._first = (time.monotonic(), self._fraction)
        self._progress(self._fraction, message, self._eta())

    def metric(self, **values: Any) -> None:
        """Live figures: loss, PSNR, step, ... (numbers or short strings)."""
        self._metric(values)

    def log(self, text: str) -> None:
        """One sentence for the log: what was chosen, what was noticed."""
        self._log(str(text))

    def result(self, values: Mapping[str, Any]) -> None:
        """The job is done; called once by whoever runs the job, not by the job."""

    def error(self, error: MRIForgeError) -> None:
        """The job ended without its outputs; called once by whoever runs the job."""

    def check_cancelled(self) -> None:
        """Raise :class:`~mriforge.errors.Cancelled` if the job has to stop. Call it often."""
        reason = self.control.cancelled
        if reason is not None:
            self.control.stopping = True
            raise Cancelled(reason)

    @property
    def cancelled(self) -> bool:
        """Whether the job has to stop, for code that cannot raise."""
        return self.control.cancelled is not None

    def part(self, start: float, stop: float) -> Events:
        """A view of this object whose fractions 0..1 mean ``start``..``stop`` of the whole."""
        return _Part(self, start, stop)

    def _eta(self) -> float | None:
        """Seconds left at the mean rate since the first report (imports come before it)."""
        when, start = self._first or (0.0, 0.0)
        elapsed, done = time.monotonic() - when, self._fraction - start
        if self._fraction >= 1.0:
            return 0.0
        if elapsed < 1.0 or done < 0.005:
            return None
        return elapsed * (1.0 - self._fraction) / done

    def _progress(self, fraction: float, message: str, eta_s: float | None) -> None:
        pass

    def _metric(self, values: dict[str, Any]) -> None:
        pass

    def _log(self, text: str) -> None:
        pass


class _Part(Events):
    """A stretch of another Events' progress; everything else is passed on."""

    def __init__(self, whole: Events, start: float, stop: float) -> None:
        super().__init__(whole.control)
        self._whole, self._start, self._length = whole, start, stop - start

    def progress(self, fraction: float, message: str = "") -> None:
        fraction = min(1.0, max(0.0, float(fraction)))
        self._whole.progress(self._start + self._length * fraction, message)

    def metric(self, **values: Any) -> None:
        self._whole.metric(**values)

    def log(self, text: str) -> None:
        self._whole.log(text)


class JsonEvents(Events):
    """One JSON object per line on a stream, flushed; whole lines also from several threads.

    When nobody reads the stream any more (broken pipe) the job is cancelled: its parent is gone.
    """

    def __init__(self, stream: TextIO | None = None, control: Control | None = None) -> None:
        super().__init__(control)
        self._stream = stream or sys.stdout
        self._lock = threading.RLock()
        self._last = (0.0, "")

    def _emit(self, event: str, values: Mapping[str, Any]) -> None:
        line = to_json({"event": event, **values})
        with self._lock:
            self.control.uninterruptible += 1
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                self.control.cancel("The program that started this job is gone.")
            finally:
                self.control.uninterruptible -= 1

    def _progress(self, fraction: float, message: str, eta_s: float | None) -> None:
        now = time.monotonic()
        when, last_stage = self._last
        # "frame 3 of 9" after "frame 2 of 9" can wait; the name of another stage cannot.
        stage = stage_of(message)
        if now - when < _PROGRESS_INTERVAL_S and stage == last_stage and fraction < 1.0:
            return
        self._last = (now, stage)
        values: dict[str, Any] = {"fraction": round(fraction, 4), "message": message}
        values["eta_s"] = None if eta_s is None else round(eta_s, 1)
        self._emit("progress", values)

    def _metric(self, values: dict[str, Any]) -> None:
        self._emit("metric", values)

    def _log(self, text: str) -> None:
        self._emit("log", {"message": text})

    def result(self, values: Mapping[str, Any]) -> None:
        self._emit("result", values)

    def error(self, error: MRIForgeError) -> None:
        values = {"kind": error.kind, "message": error.message, "hint": error.hint}
        self._emit("error", {**values, "exit_code": error.exit_code})


def stage_of(message: str) -> str:
    """A progress message without its numbers: what tells one stage from the next."""
    return message.translate(_WITHOUT_DIGITS)


def to_json(value: Any, **options: Any) -> str:
    """Strict JSON of plain containers, paths, dataclass-free numpy and torch scalars.

    NaN and infinity, which JSON does not have, become null. Letters are written as they are, but
    names of files that are no text (bytes that are not UTF-8) with escapes, so that they can be
    written at all and come back as they were.
    """
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, **options)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(plain(value), allow_nan=False, **options)
    return text


def plain(value: Any) -> Any:
    """``value`` as what JSON knows: dict, list, str, int, float, bool, None."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy and torch, without importing either
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)
