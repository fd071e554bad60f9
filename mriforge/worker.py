"""The process that runs one job: ``python -m mriforge.worker request.json [--watch-stdin]``.

Standard output carries JSON lines and nothing else (:mod:`mriforge.events`); the last line is the
result or the error, and the exit code is one of :mod:`mriforge.errors`. What libraries print goes
to standard error.

Ways to stop it, all of which leave no half-written file: SIGTERM, SIGINT, Ctrl+Break; the cancel
file of the request; with ``--watch-stdin`` a line ``cancel`` or the end of standard input (the
parent is gone). A killed worker cannot clean up; its hidden leftovers are removed by the next.
"""

from __future__ import annotations

import _thread
import faulthandler
import os
import signal
import sys
import threading
import traceback
from typing import TextIO

from mriforge.errors import EXIT_BAD_INPUT, EXIT_OK, BadInput
from mriforge.events import Control, JsonEvents
from mriforge.jobs import Request, run_request
from mriforge.jobs.failures import understood
from mriforge.jobs.process import ignore_stop_signals, stoppable, tune

USAGE = "usage: python -m mriforge.worker REQUEST.json [--watch-stdin]"


def run_file(path: str, stream: TextIO, *, watch_stdin: bool = False) -> int:
    """Runs the request in a file, reports on ``stream``, returns the exit code."""
    events = JsonEvents(stream)
    try:
        request = Request.read(path)
        events.control = request.control()
        with stoppable(events.control, to_the_end=True):
            if watch_stdin:
                _watch(0, events.control)
            tune()
            result = run_request(request, events)
            events.control.uninterruptible += 1
    except BaseException as error:
        explained = understood(error)
        if explained is not error and not isinstance(error, KeyboardInterrupt):
            events.log(traceback.format_exc())
        events.error(explained)
        return explained.exit_code
    events.result(result)
    return EXIT_OK


def _watch(descriptor: int, control: Control) -> None:
    """Stops the job when ``cancel`` or nothing more can be read from the parent.

    Raw reads: a thread inside Python's buffered stdin would block the interpreter's exit.
    """

    def wait() -> None:
        text = b""
        while b"cancel" not in text:
            try:
                chunk = os.read(descriptor, 4096)
            except OSError:
                break
            if not chunk:
                break
            text = (text + chunk)[-4096:]
        control.cancel()
        _thread.interrupt_main(signal.SIGTERM)

    threading.Thread(target=wait, name="watch-stdin", daemon=True).start()


def _own_stdout() -> TextIO:
    """The real stdout for our lines alone; everybody else's stdout becomes stderr."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    watch_stdin = "--watch-stdin" in arguments
    files = [argument for argument in arguments if argument != "--watch-stdin"]
    if "--help" in files or "-h" in files:
        print(USAGE)
        return EXIT_OK
    stream = _own_stdout()
    if len(files) != 1 or files[0].startswith("-"):
        JsonEvents(stream).error(BadInput("The worker needs one request file.", USAGE))
        return EXIT_BAD_INPUT
    code = run_file(files[0], stream, watch_stdin=watch_stdin)
    ignore_stop_signals()
    return code


if __name__ == "__main__":
    faulthandler.enable()
    sys.exit(main())
