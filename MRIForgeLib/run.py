"""One run of a job in Slicer: export from the scene, compute in a worker, collect into the scene.

The whole run is one step generator. A timer drives it in the application, so that no step keeps
the user waiting; :meth:`Run.wait` drives the same generator in a loop for scripts.
"""

from __future__ import annotations

import enum
import logging
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from mriforge.errors import Cancelled, MRIForgeError
from mriforge.jobs import Request
from mriforge.jobs.failures import understood
from MRIForgeLib import worker_process
from MRIForgeLib.tasks import Steps, Task, in_background
from MRIForgeLib.worker_process import Outcome, WorkerProcess

_LONG_STEP_S = 0.1
_WAIT_SLICE_S = 0.1
_QUIT_S = 2.0
_REMOVE_ATTEMPTS = 5

_active: list[Run] = []
_quit_hooks: list[Any] = []


class State(enum.Enum):
    """Where a run is; the last three are ends."""

    PREPARING = "preparing"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COLLECTING = "collecting"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _nothing(*_arguments: Any) -> None:
    """Nobody listens."""


@dataclass
class Listener:
    """Who wants to know about a run. What a callback raises is logged and harms nothing else.

    Exactly one of ``finished`` and ``failed`` is called, once, when all is over.

    Attributes:
        state: called with the new :class:`State`.
        progress: called with fraction 0..1 of the worker's job, message, seconds left or None.
        metric: called with a dict of live figures.
        log: called with one sentence.
        finished: called with the nodes by role and the worker's result.
        failed: called with the error; :class:`~mriforge.errors.Cancelled` if somebody wanted it so.
    """

    state: Callable[[State], None] = _nothing
    progress: Callable[[float, str, float | None], None] = _nothing
    metric: Callable[[dict[str, Any]], None] = _nothing
    log: Callable[[str], None] = _nothing
    finished: Callable[[dict[str, Any], dict[str, Any]], None] = _nothing
    failed: Callable[[MRIForgeError], None] = _nothing


class Run:
    """Runs a task once.

    Args:
        task: what to do, see :class:`MRIForgeLib.tasks.Task`.
        listener: who is told.
        folder: working folder, kept afterwards; by default a temporary one, which is removed
            however the run ends.

    Attributes:
        state: where the run is.
        nodes: by role, when done.
        result: what the worker returned, when done.
        error: why it is not done, when ended.
        log: the worker's last lines, when it has ended.
    """

    def __init__(
        self, task: Task, listener: Listener | None = None, folder: Path | None = None
    ) -> None:
        self.task = task
        self.listener = listener or Listener()
        self.state = State.PREPARING
        self.nodes: dict[str, Any] = {}
        self.result: dict[str, Any] = {}
        self.error: MRIForgeError | None = None
        self.log = ""
        self._folder = None if folder is None else Path(folder)
        self._temporary = folder is None
        self._steps: Steps[MRIForgeError | None] | None = None
        self._timer: Any = None
        self._worker: WorkerProcess | None = None
        self._outcome: Outcome | None = None
        self._made: dict[str, Any] = {}
        self._wish: Cancelled | None = None  # why it is to stop
        self._interruptible = True
        self._stepping = False
        self._blocking = False
        self._scene: Any = None
        self._observer = 0
        self._scene_gone = False

    @property
    def ended(self) -> bool:
        """Whether all is over."""
        return self.state in (State.DONE, State.FAILED, State.CANCELLED)

    def start(self) -> None:
        """Starts and returns at once; the application's event loop does the rest."""
        if self._steps is not None:
            raise RuntimeError("A Run is started once.")
        self._steps = self._life()
        # To its first yield: an exception thrown into it (cancel) must find its `try`.
        next(self._steps)
        _active.append(self)
        _stop_when_slicer_quits()
        self._scene = slicer.mrmlScene
        self._observer = self._scene.AddObserver(
            slicer.vtkMRMLScene.StartCloseEvent, self._on_scene_close
        )
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._step)
        self._enter(State.PREPARING if self._wish is None else State.CANCELLING)
        self._wake()

    def cancel(self, reason: str = "") -> None:
        """Asks the run to stop; it ends as ``CANCELLED`` and leaves nothing in the scene."""
        if self.ended or self._wish is not None:
            return
        self._wish = Cancelled(reason or _("The job was cancelled."))
        if self._steps is None:
            return
        self._enter(State.CANCELLING)
        if self._worker is not None and self._worker.running:
            self._worker.cancel()
        else:
            self._wake()

    def wait(self) -> dict[str, Any]:
        """Runs to the end without the event loop; starts first if that was not done.

        Returns:
            the nodes by role.

        Raises:
            MRIForgeError: the run failed or was cancelled.
        """
        if self._stepping:
            raise RuntimeError("A step of a run cannot wait for the run.")
        self._blocking = True
        if self._steps is None:
            self.start()
        try:
            self._drive(None)
        except BaseException:
            # Ctrl+C: nothing of the run stays behind.
            self.cancel()
            if self._worker is not None:
                self._worker.kill()
            self._drive(_QUIT_S)
            raise
        if self.error is not None:
            raise self.error
        return self.nodes

    def _drive(self, seconds: float | None) -> None:
        """Steps without the timer, until the end or for some seconds."""
        if self.ended:
            return
        self._blocking = True
        self._timer.stop()
        until = None if seconds is None else time.monotonic() + seconds
        while not self.ended and (until is None or time.monotonic() < until):
            if self._stepping:
                return  # a step is quitting Slicer; it cannot wait for itself
            if self._worker is not None and self._worker.running:
                self._worker.wait(_WAIT_SLICE_S)
            else:
                self._step()

    def _wake(self) -> None:
        if not self._blocking:
            self._timer.start()

    def _step(self) -> None:
        """One step of the run; called by the timer."""
        # A step may process events itself, and a timer that fires in there comes too early.
        if self._stepping or self.ended:
            return
        if self._worker is not None and self._worker.running:
            self._timer.stop()  # until the worker's end
            return
        self._stepping = True
        started = time.perf_counter()
        try:
            if self._wish is not None and self._interruptible:
                self._interruptible = False
                made = self._steps.throw(self._wish)
            else:
                made = next(self._steps)
            if isinstance(made, dict):
                self._made.update(made)
        except StopIteration as end:
            self._end(end.value)
        finally:
            self._stepping = False
        seconds = time.perf_counter() - started
        if seconds > _LONG_STEP_S:
            state, name = self.state.value, self.task.command
            logging.debug("MRIForge: a step of %s (%s) took %.0f ms", name, state, seconds * 1000)

    def _life(self) -> Steps[MRIForgeError | None]:
        """All steps of the run; returns the error, if any."""
        error = None
        try:
            yield
            if self._folder is None:
                self._folder = _new_folder()
            options = yield from self.task.export(self._folder)
            result = (yield from self._work(options)) if self.task.command else options
            self._proceed(State.COLLECTING)
            nodes = yield from self.task.collect(self._folder, result)
            self._made.update(nodes)
        except (Exception, KeyboardInterrupt) as caught:
            error = self._explained(caught)
        self._interruptible = False
        if self._temporary and self._folder is not None:
            yield from in_background(_remove, self._folder)
        # A wish of the last moment counts, and one that the task swallowed.
        error = error or self._wish
        if error is None:
            self.nodes, self.result = nodes, result
        else:
            self._discard()
        return error

    def _work(self, options: dict[str, Any]) -> Steps[dict[str, Any]]:
        """Steps while the worker runs; returns its result."""
        self._proceed(State.RUNNING)
        request = Request(self.task.command, options)
        self._worker = WorkerProcess(request, self._folder, self._on_event, self._on_outcome)
        self._worker.start()
        while self._outcome is None:
            yield
        if self._outcome.error is not None:
            raise self._outcome.error
        return self._outcome.result

    def _proceed(self, state: State) -> None:
        """Goes on to the next state, unless somebody wants to stop, the listener included."""
        if self._wish is None:
            self._enter(state)
        if self._wish is not None:
            raise self._wish

    def _enter(self, state: State) -> None:
        self.state = state
        self._tell("state", state)

    def _explained(self, error: BaseException) -> MRIForgeError:
        """The error as the user should see it; of a bug the traceback goes to the log."""
        explained = understood(error)
        if explained is not error and not isinstance(error, KeyboardInterrupt):
            trace = "".join(traceback.format_exception(error))
            logging.error("MRIForge: %s failed\n%s", self.task.command, trace)
            self.log = f"{self.log}\n{trace}".strip()
        return explained

    def _discard(self) -> None:
        """Takes back what was made; a scene that closed has done that itself."""
        try:
            self.task.discard({} if self._scene_gone else dict(self._made))
        except Exception:  # the run's own error is the one that is told
            logging.exception("MRIForge: removing the nodes of an unfinished run failed")

    def _end(self, error: MRIForgeError | None) -> None:
        self.error = error
        self._timer.stop()
        # Not simply forgotten: this may be inside its own signal.
        self._timer.deleteLater()
        self._scene.RemoveObserver(self._observer)
        if self in _active:
            _active.remove(self)
        if error is None:
            self._enter(State.DONE)
            self._tell("finished", self.nodes, self.result)
        else:
            stopped = isinstance(error, Cancelled)
            self._enter(State.CANCELLED if stopped else State.FAILED)
            self._tell("failed", error)

    def _on_event(self, event: dict[str, Any]) -> None:
        if self._wish is not None:
            return
        kind = event["event"]
        if kind == "progress":
            message = str(event.get("message") or "")
            self._tell("progress", float(event.get("fraction") or 0.0), message, event.get("eta_s"))
        elif kind == "metric":
            self._tell("metric", {key: value for key, value in event.items() if key != "event"})
        elif kind == "log":
            self._tell("log", str(event.get("message") or ""))

    def _on_outcome(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self.log = outcome.log
        self._wake()

    def _on_scene_close(self, _caller: Any, _event: str) -> None:
        self._scene_gone = True
        self.cancel(_("The scene was closed."))

    def _tell(self, what: str, *arguments: Any) -> None:
        try:
            getattr(self.listener, what)(*arguments)
        except Exception:  # a display that fails must not take the run down with it
            logging.exception("MRIForge: showing the %s of a run failed", what)


def active() -> list[Run]:
    """The runs that have not ended."""
    return list(_active)


def stop_all() -> None:
    """Ends all runs and waits for it; called when Slicer quits. Nothing stays behind."""
    runs = active()
    for run in runs:
        run.cancel(_("Slicer was closed."))
    worker_process.stop_all()
    for run in runs:
        run._drive(_QUIT_S)


def _stop_when_slicer_quits() -> None:
    """Connects :func:`stop_all` to the application's end, once."""
    application = slicer.app
    if application not in _quit_hooks:
        _quit_hooks.append(application)
        application.connect("aboutToQuit()", stop_all)


def _new_folder() -> Path:
    """A fresh folder below the one that the user chose for temporary files.

    Raises:
        OSError: it cannot be made.
    """
    parent = slicer.app.temporaryPath
    if parent:
        Path(parent).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="MRIForge-", dir=parent or None))


def _remove(folder: Path) -> None:
    """Removes a temporary folder; patient data must not stay, so a refusal is logged."""
    for attempt in range(_REMOVE_ATTEMPTS):
        try:
            shutil.rmtree(folder)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            # A virus scanner, or a process that is just ending, holds a file on Windows.
            failure = error
            time.sleep(0.1 * (attempt + 1))
    logging.warning("MRIForge: the temporary folder %s stays behind (%s)", folder, failure)
