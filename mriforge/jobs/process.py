"""The process around a job: signals, allocator, chatty libraries."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from mriforge.errors import Cancelled
from mriforge.events import Control

_STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
_GRACE_S = 2.0
_IMPATIENT_AFTER_S = 6.0


def debugging() -> bool:
    """Whether the user asked for tracebacks (environment variable MRIFORGE_DEBUG)."""
    return os.environ.get("MRIFORGE_DEBUG", "") not in ("", "0")


@contextmanager
def stoppable(control: Control, *, to_the_end: bool = False) -> Iterator[None]:
    """SIGINT, SIGTERM, SIGHUP and Ctrl+Break cancel the job of ``control``.

    The job is asked first, so that a training can save its checkpoint; if it has not noticed
    after two seconds (a long computation, an import) :class:`Cancelled` is raised where the
    program is. Either way temporary files are removed on the way out. A second signal some
    seconds later ends the process without any more ado.

    Args:
        control: the job's cancel switch.
        to_the_end: keep the handlers until the process ends, so that a signal that comes when
            the result is already told does not turn it into a failure.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked_at: list[float] = []
    timers: list[threading.Timer] = []

    def stop(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not asked_at:
            asked_at.append(now)
            control.cancel()
            timers.append(threading.Timer(_GRACE_S, _thread.interrupt_main, (number,)))
            timers[0].daemon = True
            timers[0].start()
        elif now - asked_at[0] > _IMPATIENT_AFTER_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        elif now - asked_at[0] >= _GRACE_S and not control.stopping:
            control.stopping = True
            if not control.uninterruptible:
                raise Cancelled("The job was cancelled.")

    numbers = [getattr(signal, name) for name in _STOP_SIGNALS if hasattr(signal, name)]
    before = {}
    for number in numbers:
        # Ignored means somebody wanted it so (nohup): leave it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in () if to_the_end else before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def ignore_stop_signals() -> None:
    """Lets a process whose result is told end in peace.

    Unloading torch takes a moment, and Python restores the default handlers before it, so that a
    late signal would look like a failure.
    """
    for name in _STOP_SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silences warnings of other packages, those that C++ code prints included.

    They are for programmers; users get one clear line or nothing. ``sys.stderr`` still reaches
    the terminal.
    """
    if debugging():
        yield
        return
    with warnings.catch_warnings(), _without_foreign_output():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


@contextmanager
def _without_foreign_output() -> Iterator[None]:
    """File descriptors 1 and 2 lead nowhere, Python's own stderr to where it always did."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(1), os.dup(2)]
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except (OSError, ValueError, AttributeError):  # a program without a console
        yield
        return
    python_stderr = sys.stderr
    ours = None
    try:
        if _descriptor(python_stderr) == 2:
            ours = open(os.dup(kept[1]), "w", encoding=python_stderr.encoding, errors="replace")  # noqa: SIM115
            sys.stderr = ours
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(nowhere)
        sys.stderr = python_stderr
        if ours is not None:
            ours.close()


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def tune() -> None:
    """Settings of a process that runs jobs, made before large arrays are."""
    from mriforge import allocator

    allocator.tune()
