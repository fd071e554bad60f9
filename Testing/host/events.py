"""The event loop, from a test's side."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6 import QtCore, QtWidgets


def process_events(seconds: float = 0.0) -> None:
    """Handle what Qt has waiting; deferred deletions too.

    Args:
        seconds: Keep going for at least this long.
    """
    end = time.monotonic() + seconds
    while True:
        QtWidgets.QApplication.processEvents()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
        if time.monotonic() >= end:
            return
        time.sleep(0.002)


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Handle events until a condition holds.

    Args:
        condition: Called again and again.
        timeout_s: How long to wait, in seconds.

    Raises:
        TimeoutError: The condition did not become true in time.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"the condition did not hold within {timeout_s:g} s")
        process_events(0.005)
