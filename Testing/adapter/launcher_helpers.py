"""A PythonSlicer for tests: a launcher that starts this Python as its child, as Slicer's does.

The Python it starts knows one more command, ``slow``, whose options say how it behaves.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

_LAUNCHER = """#!/bin/sh
{before}
"{python}" "$@"
code=$?
exit $code
"""

_REGISTER = """
from mriforge.jobs import COMMANDS, Command
COMMANDS["slow"] = Command("slow_job", "a slow job")
"""

_SLOW_JOB = """
import ctypes, os, sys, time
from dataclasses import dataclass
from pathlib import Path
from mriforge.errors import MissingModel
from mriforge.jobs.options import option

@dataclass(frozen=True, kw_only=True)
class Options:
    seconds: float = option("number", "how long", default=0.0)
    fault: str | None = option("text", "how it ends", default=None)
    text: str = option("text", "logged", default="")
    lines: int = option("integer", "lines on stderr", default=0)
    out: str | None = option("text", "a file to write", default=None)

def run(options, events):
    events.log(f"pid {os.getpid()} parent {os.getppid()}")
    if options.text:
        events.log(options.text)
    print("a library talks")
    for number in range(options.lines):
        print(f"line {number} " + "x" * 40, file=sys.stderr)
    if options.fault == "segfault":
        ctypes.string_at(0)
    if options.fault == "exit":
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)
    if options.fault == "model":
        raise MissingModel("There is no model 'x'.", "Add it.")
    end = time.monotonic() + options.seconds
    step = 0
    while time.monotonic() < end:
        step += 1
        events.metric(step=step, loss=1.0 / step)
        events.progress(min(0.9, step / 100), f"step {step}")
        time.sleep(0.02)
        events.check_cancelled()
    events.progress(0.95, "done soon")
    if options.out:
        Path(options.out).write_text("the output")
    return {"answer": 42, "out": options.out}
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *, before: str = "") -> Path:
    """Puts the launcher on the path of this process; returns its file.

    Args:
        folder: where its files are put.
        before: shell commands that it runs before Python.
    """
    jobs, programs = folder / "jobs", folder / "programs"
    jobs.mkdir()
    programs.mkdir()
    (jobs / "sitecustomize.py").write_text(_REGISTER)
    (jobs / "slow_job.py").write_text(_SLOW_JOB)
    launcher = programs / "PythonSlicer"
    launcher.write_text(_LAUNCHER.format(python=sys.executable, before=before))
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(jobs))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return launcher


def processes_of(folder: Path) -> list[psutil.Process]:
    """The living processes, launchers and workers, whose command line names something below it."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            alive = process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if alive and any(str(folder) in word for word in words):
            found.append(process)
    return found


def wait_for_no_process(folder: Path, timeout_s: float = 5.0) -> list[psutil.Process]:
    """The processes that are still there after some time: none, if all is well."""
    until = time.monotonic() + timeout_s
    while (left := processes_of(folder)) and time.monotonic() < until:
        time.sleep(0.02)
    return left
