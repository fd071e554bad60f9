"""Long work in short steps, so that the application stays alive without threads in the scene.

A *step generator* does a little, yields, does a little more, and returns its result; whoever
drives it decides when the next step comes: a timer in the panel, a loop in a script. Everything
that touches the scene or a widget is done in such steps, on the main thread.

File work touches neither, so that it may go to a Python thread: :func:`in_background`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")
Steps = Generator[Any, None, Result]

# The application holds Python's lock while its event loop waits, so that a thread advances only
# while one of our steps lets it: each step gives it this long. Short enough not to be felt.
POLL_S = 0.02


class Task(Protocol):
    """One job as :class:`MRIForgeLib.run.Run` drives it.

    ``collect`` may yield a dict of the nodes it has made so far; should the run be stopped
    half-way, :meth:`discard` gets those. Other yielded values mean nothing.

    Attributes:
        command: name of the job in ``mriforge.jobs.COMMANDS``; empty: no worker is needed, and
            ``collect`` gets what ``export`` has returned.
    """

    command: str

    def export(self, folder: Path) -> Steps[dict[str, Any]]:
        """Writes the inputs into ``folder``; returns the options of the job (JSON types)."""

    def collect(self, folder: Path, result: dict[str, Any]) -> Steps[dict[str, Any]]:
        """Makes nodes of what the worker left in ``folder``; returns them by role."""

    def discard(self, nodes: dict[str, Any]) -> None:
        """Removes what was made: the run failed or was cancelled."""


def in_background(function: Callable[..., Result], *args: Any) -> Steps[Result]:
    """Steps that wait for ``function(*args)``, which runs in a thread.

    Use it as ``volume = yield from in_background(mriforge.io.read, path)``. The function must
    touch neither nodes nor widgets. What it raises is raised here. An exception that is thrown
    into the generator (the run is cancelled) is raised once the thread has ended, so that nobody
    deletes a file that is still being written; closing the generator leaves the thread alone.

    Returns:
        what the function returns.
    """
    returned: list[Result] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            returned.append(function(*args))
        except BaseException as error:
            raised.append(error)

    name = getattr(function, "__name__", "work")
    thread = threading.Thread(target=work, name=f"MRIForge {name}", daemon=True)
    thread.start()
    stopped: Exception | None = None
    thread.join(POLL_S)
    while thread.is_alive():
        try:
            yield
        except Exception as error:
            stopped = error
        thread.join(POLL_S)
    if stopped is not None:
        raise stopped
    if raised:
        raise raised[0]
    return returned[0]


def run_to_end(steps: Steps[Result]) -> Result:
    """Drives a step generator without pauses, for scripts; returns its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
