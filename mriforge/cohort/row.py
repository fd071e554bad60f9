"""One row in a worker process of its own: started, heard, remembered.

A crash or a kill for want of memory ends that process and is that row's failure. The process ends
by itself when whoever started it is gone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import mriforge
from mriforge.cohort.content import files_of, settings_of
from mriforge.cohort.plan import to_clear
from mriforge.cohort.rows import Row
from mriforge.cohort.state import CANCELLED, DONE, FAILED, RUNNING, BatchFolder, State, contents
from mriforge.errors import EXIT_CANCELLED, Cancelled, MRIForgeError
from mriforge.events import to_json
from mriforge.io.atomic import atomic_path
from mriforge.jobs import Request
from mriforge.jobs.failures import understood
from mriforge.jobs.paths import output_paths

CRASHED = "crashed"
"""Kind of failure of a process that ended without a word; like ``out-of-memory`` it may go
better elsewhere or later."""
WORKER_LOST = "worker-lost"
AGAIN = (CRASHED, WORKER_LOST, "out-of-memory", "failed")
"""Kinds of failures that another attempt may not meet again."""

# The worker itself gives up an unfinished computation two seconds after it was asked to.
_GRACE_S = 10.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Task:
    """A row on its way to a process; plain values, so that it can travel.

    Attributes:
        row: what to run.
        folder: of the batch; the same for every machine.
        run: of the batch.
        threads: processor cores for its process; 0: as many as it likes.
        gpu: graphics card that it may see; None: as its parent.
        minutes: it is stopped after this time; 0: never.
        attempt: 1, or more when it is tried again.
    """

    row: Row
    folder: str
    run: str
    threads: int = 0
    gpu: str | None = None
    minutes: float = 0.0
    attempt: int = 1


def run_row(
    task: Task,
    stopped: Callable[[], bool],
    progress: Callable[[float], None] | None = None,
    place: str = "",
) -> State:
    """Runs a row to its end and keeps its state; never raises.

    A row that another process has finished meanwhile is not run again.

    Args:
        stopped: asked several times a second whether the batch is to end.
        progress: called with the fraction done, from a thread.
        place: what to call the place in the table.
    """
    folder, row = BatchFolder(task.folder), task.row
    base = State(row.id, row.command, RUNNING, task.run, attempts=task.attempt)
    base = dataclasses.replace(base, place=place or f"{platform.node()}:{os.getpid()}")
    started = time.monotonic()
    try:
        with folder.row(row.key, stopped):
            state = _run(task, folder, base, stopped, progress)
            if state.status == DONE and state.ended:
                return state
            state = dataclasses.replace(state, seconds=round(time.monotonic() - started, 2))
            state = dataclasses.replace(state, ended=time.time())
            # A row that was told to stop stays "running" on the disk: it is to run again, and
            # perhaps a later run has written there since.
            if state.status != CANCELLED:
                folder.write(row.key, state)
            return state
    except BaseException as error:
        state = failed(base, understood(error))
        return dataclasses.replace(state, seconds=round(time.monotonic() - started, 2))


def failed(state: State, error: MRIForgeError) -> State:
    """The state of a row that ended with an error."""
    status = CANCELLED if isinstance(error, Cancelled) else FAILED
    about = {"kind": error.kind, "message": error.message, "hint": error.hint}
    about["exit_code"] = error.exit_code
    return dataclasses.replace(state, status=status, error=about, ended=time.time())


def crashed(state: State, kind: str, message: str, hint: str) -> State:
    """The state of a row whose process said nothing before it ended."""
    about = {"kind": kind, "message": message, "hint": hint, "exit_code": 1}
    return dataclasses.replace(state, status=FAILED, error=about, ended=time.time())


def _run(
    task: Task,
    folder: BatchFolder,
    state: State,
    stopped: Callable[[], bool],
    progress: Callable[[float], None] | None,
) -> State:
    """The row's state after its process; an already finished one as it is."""
    row = task.row
    before = folder.read(row.key)
    try:
        if stopped():
            raise Cancelled("The batch was stopped.")
        options = _options(row)
        files = files_of(row.command, options)
        if before is not None and not before.why_again(options, files):
            return before
        known = before.inputs if before is not None else {}
        outputs = [path for _, path, _ in output_paths(options)]
        state = dataclasses.replace(
            state,
            settings=settings_of(options),
            inputs=contents(files, known),
            outputs=dict.fromkeys(outputs),
        )
        clear = to_clear(row, options, folder)
        folder.write(row.key, state)
        for path in clear:
            shutil.rmtree(path)
        ended = _in_process(task, folder, stopped, progress)
    except (MRIForgeError, OSError) as error:
        return failed(state, understood(error))
    if "result" in ended:
        made = contents(outputs, {})
        return dataclasses.replace(state, status=DONE, result=ended["result"], outputs=made)
    if "error" in ended:
        status = CANCELLED if ended["error"]["exit_code"] == EXIT_CANCELLED else FAILED
        if status == CANCELLED and not stopped():
            status = FAILED  # its own time limit
        return dataclasses.replace(state, status=status, error=ended["error"])
    return crashed(state, CRASHED, *_silent_end(ended["code"], folder.log_path(row.key)))


def _options(row: Row) -> Any:
    from mriforge.jobs import command_named
    from mriforge.jobs.options import parse

    return parse(command_named(row.command).load().Options, row.values)


def _in_process(
    task: Task,
    folder: BatchFolder,
    stopped: Callable[[], bool],
    progress: Callable[[float], None] | None,
) -> dict[str, Any]:
    """Starts the worker, waits for its end; its last word: ``result``, ``error`` or ``code``."""
    row = task.row
    request = Request(row.command, row.values, time_limit_s=task.minutes * 60 or None)
    path = folder.request_path(row.key)
    with atomic_path(path) as partial:
        partial.write_text(to_json(request.to_json(), indent=1), encoding="utf-8")
    log = folder.log_path(row.key)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8", errors="replace") as errors:
        errors.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} attempt {task.attempt}\n")
        errors.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "mriforge.worker", str(path), "--watch-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(task),
            # Ctrl+C at the terminal is for the batch, which then ends its rows in order.
            start_new_session=True,
        )
        ended: dict[str, Any] = {}
        listener = threading.Thread(
            target=_listen, args=(process, ended, errors, progress), daemon=True
        )
        listener.start()
        try:
            while process.poll() is None:
                if stopped():
                    break
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
        finally:
            _end(process)
            listener.join(_GRACE_S)
            process.stdout.close()
    ended["code"] = process.returncode
    return ended


def _listen(
    process: subprocess.Popen,
    ended: dict[str, Any],
    log: TextIO,
    progress: Callable[[float], None] | None,
) -> None:
    """Reads the worker's lines to the end; keeps the last word."""
    for line in process.stdout:
        with suppress(ValueError, KeyError, TypeError, OSError):
            event = json.loads(line)
            kind = event.pop("event")
            if kind in ("result", "error"):
                ended[kind] = event
            elif kind == "log":
                log.write(f"{event['message']}\n")
                log.flush()
            elif kind == "progress" and progress is not None:
                progress(float(event["fraction"]))


def _end(process: subprocess.Popen) -> None:
    """Asks a process that still runs to stop, then ends its whole tree."""
    if process.poll() is None:
        with suppress(OSError):
            process.stdin.write(b"cancel\n")
            process.stdin.flush()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    if process.poll() is None:
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
    with suppress(OSError):
        process.stdin.close()


def _environment(task: Task) -> dict[str, str]:
    """The parent's, with this very package to be found, and what the row may use."""
    found = dict(os.environ)
    package = str(Path(mriforge.__file__).resolve().parents[1])
    others = [p for p in found.get("PYTHONPATH", "").split(os.pathsep) if p and p != package]
    found["PYTHONPATH"] = os.pathsep.join([package, *others])
    if task.threads and "OMP_NUM_THREADS" not in os.environ:
        found["OMP_NUM_THREADS"] = str(task.threads)
    if task.gpu is not None:
        found["CUDA_VISIBLE_DEVICES"] = task.gpu
    return found


def _silent_end(code: int | None, log: Path) -> tuple[str, str]:
    """What is known of a process that ended without a result and without an error."""
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            if name == "SIGKILL":
                why = "Its memory may have been too large for the machine: lower --memory"
                hint = f"{why} or --processes, or give the machine more. See {log}."
            else:
                hint = f"See {log}."
            return f"The process of the row was ended by {name}.", hint
    return f"The process of the row ended unexpectedly (exit code {code}).", f"See {log}."
