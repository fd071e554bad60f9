"""The process that computes, as seen from the application.

``PythonSlicer -m mriforge.worker request.json --watch-stdin`` runs beside Slicer: a crash of the
graphics driver, or a job that takes all memory, ends that process and not the application. It
talks in JSON lines (see ``mriforge.events``).

PythonSlicer is a launcher that starts the real Python as its child, so ending a job means ending
a tree of processes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

import mriforge
from mriforge.errors import Cancelled, MissingDependency, MRIForgeError
from mriforge.jobs import Request
from mriforge.jobs.failures import understood
from MRIForgeLib.worker_text import LineSplitter, event_of, reported_error, unexpected_end

# The worker itself gives up an unfinished computation two seconds after it was asked to.
GRACE_S = 5.0
_QUIT_GRACE_S = 2.0
_WAIT_SLICE_S = 0.1
_LOG_LINES = 500
_LOG_LINE_LENGTH = 2000

_running: list[WorkerProcess] = []
_quit_hooks: list[Any] = []


@dataclass(frozen=True)
class Outcome:
    """How a worker ended.

    Attributes:
        exit_code: of the process (``mriforge.errors``); None if it never ran.
        result: what the job returned, None if it did not get so far.
        error: why not, None if it did. Exactly one of ``result`` and ``error`` is set.
        log: the last lines the worker and its libraries wrote.
    """

    exit_code: int | None
    result: dict[str, Any] | None
    error: MRIForgeError | None
    log: str


class WorkerProcess:
    """One job in its own process.

    Args:
        request: the job.
        folder: where ``request.json`` is written; must exist.
        on_event: called with each ``progress``, ``metric`` and ``log`` event, a dict.
        on_end: called exactly once, with the :class:`Outcome`, also if the process cannot even
            be started.

    Both are called on the main thread: from the event loop, or from inside :meth:`wait`.
    """

    def __init__(
        self,
        request: Request,
        folder: Path,
        on_event: Callable[[dict[str, Any]], None],
        on_end: Callable[[Outcome], None],
    ) -> None:
        self.request = request
        self.folder = Path(folder)
        self._on_event, self._on_end = on_event, on_end
        self._program = ""
        self._process: Any = None
        self._timer: Any = None
        self._ended = False
        self._cancelled = False
        self._killed = False
        self._deadline: float | None = None
        self._stdout, self._stderr = LineSplitter(), LineSplitter()
        self._errors: deque[str] = deque(maxlen=_LOG_LINES)
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._result: dict[str, Any] | None = None
        self._error: MRIForgeError | None = None
        self._family: dict[int, Any] = {}

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and not self._ended

    def start(self) -> None:
        """Writes the request and starts the process; a failure is told through ``on_end``."""
        if self._process is not None or self._ended:
            raise RuntimeError("A WorkerProcess is started once.")
        try:
            self._program = python_slicer()
            path = self.folder / "request.json"
            path.write_text(json.dumps(self.request.to_json(), indent=1), encoding="utf-8")
        except (MRIForgeError, OSError, TypeError, ValueError) as error:
            self._end(None, understood(error))
            return
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._out_of_patience)
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(child_environment())
        self._process.connect("readyReadStandardOutput()", self._read_output)
        self._process.connect("readyReadStandardError()", self._read_errors)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._failed)
        _running.append(self)
        _stop_when_slicer_quits()
        arguments = ["-m", "mriforge.worker", str(path), "--watch-stdin"]
        logging.debug("MRIForge starts %s %s", self._program, " ".join(arguments))
        self._process.start(self._program, arguments)

    def cancel(self) -> None:
        """Asks the job to stop; if it has not after ``GRACE_S`` its processes are ended."""
        if self._ended or self._cancelled:
            return
        self._cancelled = True
        if self._process is None:
            self._end(None)
            return
        self._remember_family()
        self._process.write(b"cancel\n")
        self._give(GRACE_S)

    def kill(self) -> None:
        """Ends the job's processes at once; what they were writing is lost."""
        if not self.running:
            return
        self._cancelled = self._killed = True
        self._remember_family()
        # Whoever survives the kill sees the end of its input and stops by itself.
        self._process.closeWriteChannel()
        self._process.kill()
        self._kill_family()
        self._give(GRACE_S)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until the end, without the application's event loop, for scripts.

        Callbacks are called from here.

        Returns:
            whether the process has ended.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while self.running and (until is None or time.monotonic() < until):
            left = _WAIT_SLICE_S if until is None else min(_WAIT_SLICE_S, until - time.monotonic())
            self._process.waitForFinished(max(1, int(left * 1000)))
            if self.running and self._process.state() == qt.QProcess.NotRunning:
                self._failed(qt.QProcess.FailedToStart)
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._out_of_patience()
        return self._ended

    def _give(self, seconds: float) -> None:
        """Starts the patience anew: by the timer, or by the clock inside :meth:`wait`."""
        self._deadline = time.monotonic() + seconds
        self._timer.start(int(seconds * 1000))

    def _out_of_patience(self) -> None:
        if not self.running:
            return
        if not self._killed:
            self._note("The worker did not stop when it was asked to and was ended.")
            self.kill()
            return
        # A process that even the system cannot end hangs in a driver or a network drive.
        self._note(f"The worker (process {self._process.processId()}) could not be ended.")
        self._end(None)

    def _read_output(self) -> None:
        if self._ended:
            return
        if not self._family:
            # Known from the first sign of life, in case the launcher dies before its child.
            self._remember_family()
        for line in self._stdout.feed(_bytes(self._process.readAllStandardOutput())):
            self._line(line)

    def _read_errors(self) -> None:
        if self._ended:
            return
        for line in self._stderr.feed(_bytes(self._process.readAllStandardError())):
            self._note(line, self._errors)

    def _line(self, line: str) -> None:
        event = event_of(line)
        if event is None:
            self._note(line)
        elif event["event"] == "result":
            self._result = {name: value for name, value in event.items() if name != "event"}
        elif event["event"] == "error":
            self._error = reported_error(event)
        elif event["event"] == "log":
            self._note(str(event.get("message", "")))
            self._tell(event)
        elif event["event"] in ("progress", "metric"):
            self._tell(event)
        else:
            self._note(line)

    def _tell(self, event: dict[str, Any]) -> None:
        if self._cancelled:
            return
        try:
            self._on_event(event)
        except Exception:
            # A display that fails must not take the job down with it.
            logging.exception("MRIForge: showing an event of the worker failed")

    def _note(self, line: str, also: deque[str] | None = None) -> None:
        line = line.rstrip()[:_LOG_LINE_LENGTH]
        if line:
            self._log.append(line)
            if also is not None:
                also.append(line)

    def _failed(self, error: Any) -> None:
        # The other errors come with a `finished`.
        if not self.running or error != qt.QProcess.FailedToStart:
            return
        self._end(
            None,
            MissingDependency(
                _("{program} could not be started ({reason}).").format(
                    program=self._program, reason=self._process.errorString()
                ),
                _("Check that the file may be run, or reinstall 3D Slicer."),
            ),
        )

    def _finished(self, exit_code: int, status: Any) -> None:
        if not self.running:
            return
        self._read_output()
        self._read_errors()
        for line in self._stdout.rest():
            self._line(line)
        for line in self._stderr.rest():
            self._note(line, self._errors)
        crashed = status == qt.QProcess.CrashExit
        self._end(int(exit_code), unexpected_end(int(exit_code), crashed, list(self._errors)))

    def _end(self, exit_code: int | None, otherwise: MRIForgeError | None = None) -> None:
        """Tells the outcome; ``otherwise`` is the error if the worker told neither."""
        if self._ended:
            return
        self._ended = True
        if self in _running:
            _running.remove(self)
        result, error = self._result, self._error
        if self._cancelled:
            result, error = None, Cancelled(_("The job was cancelled."))
        elif result is not None:
            error = None
        elif error is None:
            error = otherwise
        if self._process is not None:
            self._timer.stop()
            # Orphans of a launcher that was ended from outside; usually there are none.
            self._kill_family()
            # Not simply forgotten: we may be inside a signal of the very object.
            self._timer.deleteLater()
            self._process.deleteLater()
        try:
            self._on_end(Outcome(exit_code, result, error, "\n".join(self._log)))
        except Exception:  # called by Qt, where nobody could catch it
            logging.exception("MRIForge: handling the end of the worker failed")

    def _remember_family(self) -> None:
        """Notes the processes that the launcher has started, while it still lives."""
        psutil = _psutil()
        if psutil is None:
            return
        try:
            launcher = psutil.Process(int(self._process.processId()))
            for process in launcher.children(recursive=True):
                self._family[process.pid] = process
        except (psutil.Error, ValueError) as error:
            logging.debug("MRIForge: no processes below the launcher (%s)", error)

    def _kill_family(self) -> None:
        """Ends the processes below the launcher."""
        psutil = _psutil()
        if psutil is None:
            if self._killed and not self._ended:
                self._note("psutil is not installed: only the launcher of the worker was ended.")
            return
        for process in list(self._family.values()):
            try:
                # psutil compares creation times: a number used again by another is not ended.
                if process.is_running():
                    process.kill()
            except psutil.Error as error:
                logging.debug("MRIForge: process %s was not ended (%s)", process.pid, error)


def running() -> list[WorkerProcess]:
    """The workers that are at work now."""
    return list(_running)


def stop_all() -> None:
    """Ends all workers, politely for two seconds, and waits for it. Called when Slicer quits."""
    workers = running()
    for worker in workers:
        worker.cancel()
    until = time.monotonic() + _QUIT_GRACE_S
    for worker in workers:
        worker.wait(max(0.0, until - time.monotonic()))
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.wait(_QUIT_GRACE_S)


def python_slicer() -> str:
    """The path of PythonSlicer, the program that runs Python as Slicer does.

    Raises:
        MissingDependency: it is neither on the path nor in Slicer's folder.
    """
    found = shutil.which("PythonSlicer")
    if found:
        return found
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    path = Path(slicer.app.slicerHome) / "bin" / name
    if path.is_file():
        return str(path)
    raise MissingDependency(
        _("The program {path} is missing; jobs run in it.").format(path=path),
        _("Reinstall 3D Slicer."),
    )


def child_environment() -> Any:
    """The worker's environment: ours, with mriforge importable. Ours is not changed."""
    environment = qt.QProcessEnvironment.systemEnvironment()
    core = str(Path(mriforge.__file__).resolve().parents[1])
    others = environment.value("PYTHONPATH", "")
    environment.insert("PYTHONPATH", os.pathsep.join([core, others] if others else [core]))
    environment.insert("PYTHONUNBUFFERED", "1")
    environment.insert("PYTHONIOENCODING", "utf-8")
    return environment


def _stop_when_slicer_quits() -> None:
    """Connects :func:`stop_all` to the application's end, once."""
    application = slicer.app
    if application not in _quit_hooks:
        _quit_hooks.append(application)
        application.connect("aboutToQuit()", stop_all)


def _bytes(array: Any) -> bytes:
    """A QByteArray's content."""
    return bytes(array.data())


def _psutil() -> Any:
    """The optional package psutil, or None."""
    try:
        import psutil
    except ImportError:
        return None
    return psutil
