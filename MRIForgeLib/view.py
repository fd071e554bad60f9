"""Who follows a computation: a panel, a script, a test."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from mriforge.errors import MRIForgeError
from mriforge.jobs.failures import understood
from MRIForgeLib.run import Listener, Run, State
from MRIForgeLib.tasks import Task
from MRIForgeLib.text import progress_text


class View:
    """What is told; every method does nothing here. Times are in seconds."""

    def busy(self, running: bool, cancelling: bool) -> None:
        """Something started, is being cancelled, or ended."""

    def progress(self, fraction: float, text: str) -> None:
        """``fraction`` 0..1 of the whole."""

    def metric(self, values: Mapping[str, Any]) -> None:
        """Live figures of a fine-tuning or a reconstruction."""

    def log(self, text: str) -> None:
        """One sentence for the log."""

    def result(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """The main result is in the scene."""

    def measured(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """The maps are in the scene."""

    def ended(self, error: MRIForgeError | None) -> None:
        """Nothing runs any more; ``error`` tells why there is less than was asked for."""


class Session(ABC):
    """One or more tasks, one after the other, reported to one view.

    Attributes:
        nodes, figures: of the tasks that are done.
        error: why it ended early.
    """

    def __init__(self, view: View | None = None) -> None:
        self.view = view or View()
        self.nodes: dict[str, Any] = {}
        self.figures: dict[str, Any] = {}
        self.error: MRIForgeError | None = None
        self._run: Run | None = None
        self._waiting = False

    @property
    def running(self) -> bool:
        """Whether something runs."""
        return self._run is not None

    def start(self) -> None:
        """Starts and returns at once; Qt's event loop does the rest.

        Raises:
            BadInput: the input cannot be used.
        """
        self._first()

    def execute(self) -> dict[str, Any]:
        """Runs to the end without the event loop; returns the nodes.

        Raises:
            MRIForgeError: what went wrong.
        """
        self._waiting = True
        self._first()
        while self._run is not None:
            self._run.wait()
        return self.nodes

    def cancel(self) -> None:
        """Asks whatever runs to stop; the end is reported."""
        if self._run is not None:
            self._tell("busy", True, True)
            self._run.cancel()

    def _tell(self, what: str, *values: Any) -> None:
        """Tells the view; what goes wrong there is logged and stops nothing."""
        try:
            getattr(self.view, what)(*values)
        except Exception:
            logging.exception("MRIForge: showing the %s of a session failed", what)

    @abstractmethod
    def _first(self) -> None:
        """Begins the first task."""

    def _begin(self, task: Task, finished: Any, start: float = 0.0, stop: float = 1.0) -> None:
        """Runs ``task``, whose progress is that from ``start`` to ``stop`` of the session."""
        self._run = Run(
            task,
            Listener(
                state=self._state,
                progress=lambda fraction, message, eta: self._tell(
                    "progress",
                    start + (stop - start) * fraction,
                    progress_text(fraction, message, eta),
                ),
                metric=lambda values: self._tell("metric", values),
                log=lambda text: self._tell("log", text),
                finished=lambda nodes, figures: self._go_on(finished, nodes, figures),
                failed=self._end,
            ),
        )
        if not self._waiting:
            self._run.start()

    def _go_on(self, finished: Any, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """What comes after a task; should it fail, the session ends all the same."""
        try:
            finished(nodes, figures)
        except Exception as error:
            logging.exception("MRIForge: going on with a session failed")
            self._end(understood(error))

    def _state(self, state: State) -> None:
        if state in (State.PREPARING, State.RUNNING, State.COLLECTING):
            self._tell("busy", True, False)

    def _end(self, error: MRIForgeError | None) -> None:
        self._run = None
        self.error = error
        self._tell("busy", False, False)
        self._tell("ended", error)


class Single(Session):
    """A session of one task."""

    def __init__(self, task: Task, view: View | None = None) -> None:
        super().__init__(view)
        self.task = task

    def _first(self) -> None:
        self._begin(self.task, self._finished)

    def _finished(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        self.nodes, self.figures = dict(nodes), dict(figures)
        self._tell("result", self.nodes, self.figures)
        self._end(None)
