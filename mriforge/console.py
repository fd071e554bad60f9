"""A job's events for a person at a terminal: progress bars, or plain lines without rich."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from mriforge.events import Control, Events, stage_of

_PLAIN_INTERVAL_S = 10.0
_NOT_SHOWN = ("step", "seconds", "lr")


class ConsoleEvents(Events):
    """Progress on stderr, so that stdout stays for results.

    A bar with the time left where stderr is a terminal and rich is installed; otherwise a line
    when the message changes and every ten seconds.

    Args:
        stream: where to write, default stderr.
        quiet: no progress and no log.
        patience_s: without a terminal, a job that ends before this many seconds shows no progress.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        control: Control | None = None,
        quiet: bool = False,
        patience_s: float = 3.0,
    ) -> None:
        super().__init__(control)
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._lock = threading.RLock()
        self._metrics: dict[str, Any] = {}
        self._last: tuple[float, str, float] = (0.0, "", -1.0)
        self._silent_until = time.monotonic() + patience_s
        self._bar = None if quiet else _rich_bar(self._stream)

    def __enter__(self) -> ConsoleEvents:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _progress(self, fraction: float, message: str, eta_s: float | None) -> None:
        if self._quiet:
            return
        with self._lock:
            if self._bar is not None:
                self._bar.update(fraction, message, eta_s, self._metrics)
                return
            now = time.monotonic()
            if now < self._silent_until:
                return
            stage = stage_of(message)
            when, last_stage, last_fraction = self._last
            stale = now - when >= _PLAIN_INTERVAL_S and fraction > last_fraction
            if fraction < 1.0 and not stale and (stage == last_stage or now - when < 1.0):
                return
            if fraction == last_fraction and stage == last_stage:
                return
            self._last = (now, stage, fraction)
            parts = [f"{100 * fraction:3.0f} %", message, _figures(self._metrics), _left(eta_s)]
            self._write("  ".join(part for part in parts if part))

    def _metric(self, values: dict[str, Any]) -> None:
        with self._lock:
            self._metrics.update(values)

    def _log(self, text: str) -> None:
        if self._quiet:
            return
        with self._lock:
            if self._bar is not None:
                self._bar.log(text)
            else:
                self._write(text)

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True


def _figures(metrics: dict[str, Any]) -> str:
    """``loss 0.0123, psnr 31.2``: the newest value of each figure."""
    shown = []
    for name, value in metrics.items():
        if name in _NOT_SHOWN or not isinstance(value, int | float):
            continue
        shown.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(shown)


def _left(eta_s: float | None) -> str:
    if not eta_s:
        return ""
    minutes, seconds = divmod(round(eta_s), 60)
    return f"{minutes}:{seconds:02d} left"


class _Bar:
    """The few calls of rich that are used, behind one small class."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._progress = Progress(
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}", style="cyan"),
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[figures]}", style="dim"),
            console=Console(file=stream, highlight=False, soft_wrap=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=1.0, left="", figures="")
        self.start: Callable[[], None] = self._progress.start
        self.stop: Callable[[], None] = self._progress.stop

    def update(
        self, fraction: float, message: str, eta_s: float | None, metrics: dict[str, Any]
    ) -> None:
        self._progress.update(
            self._task,
            completed=fraction,
            description=message,
            left=_left(eta_s),
            figures=_figures(metrics),
        )

    def log(self, text: str) -> None:
        self._progress.console.print(text, markup=False)


def _rich_bar(stream: TextIO) -> _Bar | None:
    """A progress bar if somebody can see it move and rich is installed."""
    try:
        if not stream.isatty():
            return None
        return _Bar(stream)
    except (ImportError, AttributeError, ValueError):
        return None
