"""The worker process: JSON lines, exit codes, and the ways to stop it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

SLOW_JOB = """
import time
from dataclasses import dataclass
from mriforge.io.atomic import atomic_path
from mriforge.jobs.options import option

@dataclass(frozen=True, kw_only=True)
class Options:
    output: str = option("output", "file", suffixes=(".txt",))
    polite: bool = option("flag", "ask whether to stop", default=True)
    fault: str | None = option("text", "what to raise", default=None)

def run(options, events):
    print("chatter of a library on stdout")
    if options.fault:
        raise eval(options.fault)
    with atomic_path(options.output) as partial:
        partial.write_text("half")
        events.progress(0.5, "writing")
        end = time.monotonic() + 30
        while time.monotonic() < end:
            time.sleep(0.02)
            if options.polite:
                events.check_cancelled()
    return {"output": options.output}
"""

RUNNER = """
import sys
from mriforge import worker
from mriforge.jobs import COMMANDS, Command
sys.path.insert(0, {folder!r})
COMMANDS["slow"] = Command("slow_job", "a slow job")
sys.exit(worker.main())
"""


class Worker:
    """A worker process whose table of commands also has the slow job above."""

    def __init__(self, folder: Path, request: dict, *arguments: str) -> None:
        (folder / "slow_job.py").write_text(SLOW_JOB)
        path = folder / "request.json"
        path.write_text(json.dumps(request))
        code = RUNNER.format(folder=str(folder))
        new_group = {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **new_group,
        )

    def wait_for(self, event: str) -> dict:
        for line in self.process.stdout:
            found = json.loads(line)
            if found["event"] == event:
                return found
        raise AssertionError(self.process.stderr.read())

    def end(self) -> tuple[int, dict]:
        """Exit code and last line."""
        out, self.errors = self.process.communicate(timeout=60)
        return self.process.returncode, json.loads(out.splitlines()[-1])


def slow(folder: Path, **options: object) -> dict:
    options = {"output": str(folder / "out.txt"), **options}
    return {"version": 1, "command": "slow", "options": options}


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"slow_job.py", "request.json", "__pycache__"}


def test_a_job_from_request_to_result(tmp_path):
    source, output = tmp_path / "in.nii.gz", tmp_path / "new" / "out.nii.gz"
    voxels = np.random.default_rng(0).random((16, 16, 4), dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), source)
    options = {"input": str(source), "output": str(output), "keep": 0.25}
    request = {"version": 1, "command": "degrade", "options": options}
    (tmp_path / "request.json").write_text(json.dumps(request))
    done = subprocess.run(
        [sys.executable, "-m", "mriforge.worker", str(tmp_path / "request.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert {line["event"] for line in lines} <= {"progress", "log", "metric", "result"}
    assert lines[-1]["event"] == "result"
    assert lines[-1]["output"] == str(output)
    assert nibabel.load(output).shape == (8, 8, 4)


@pytest.mark.parametrize("request_text", ["{", "[]", '{"version": 1, "command": "nothing"}'])
def test_bad_requests_end_with_code_2(tmp_path, request_text):
    path = tmp_path / "request.json"
    path.write_text(request_text)
    done = subprocess.run(
        [sys.executable, "-m", "mriforge.worker", str(path)], capture_output=True, text=True
    )
    error = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, error["event"], error["kind"]) == (2, "error", "bad-input")
    assert done.stdout.count("\n") == 1


def test_without_a_request():
    done = subprocess.run(
        [sys.executable, "-m", "mriforge.worker"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["kind"] == "bad-input"


@pytest.mark.parametrize(
    ("fault", "code", "kind"),
    [
        ("MemoryError()", 5, "out-of-memory"),
        ("OSError(28, 'No space left on device')", 1, "failed"),
        ("ZeroDivisionError('by zero')", 1, "failed"),
        ("ModuleNotFoundError('x', name='matplotlib')", 4, "missing-dependency"),
        ("KeyboardInterrupt()", 6, "cancelled"),
    ],
)
def test_faults_become_one_error_line(tmp_path, fault, code, kind):
    worker = Worker(tmp_path, slow(tmp_path, fault=fault))
    returned, last = worker.end()
    assert (returned, last["event"], last["kind"], last["exit_code"]) == (code, "error", kind, code)
    assert "chatter" in worker.errors
    assert left(tmp_path) == set()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM for other processes")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("polite", [True, False])
def test_signals_cancel_and_leave_nothing(tmp_path, number, polite):
    """Also a job that never asks whether it should stop."""
    worker = Worker(tmp_path, slow(tmp_path, polite=polite))
    worker.wait_for("progress")
    started = time.monotonic()
    worker.process.send_signal(number)
    code, last = worker.end()
    assert (code, last["kind"]) == (6, "cancelled")
    assert time.monotonic() - started < 10
    assert left(tmp_path) == set()


@pytest.mark.parametrize("how", ["file", "line", "eof", "limit"])
def test_other_ways_to_cancel(tmp_path, how):
    request = slow(tmp_path)
    if how == "file":
        request["cancel_file"] = str(tmp_path / "request.json.stop")
    if how == "limit":
        request["time_limit_s"] = 2.0
    worker = Worker(tmp_path, request, *(["--watch-stdin"] if how in ("line", "eof") else []))
    worker.wait_for("progress")
    if how == "file":
        (tmp_path / "request.json.stop").touch()
    if how == "line":
        worker.process.stdin.write("cancel\n")
        worker.process.stdin.flush()
    code, last = worker.end()  # closes stdin
    assert (code, last["kind"]) == (6, "cancelled")
    assert left(tmp_path) <= {"request.json.stop"}


def test_killed_worker_leaves_only_what_the_next_one_removes(tmp_path):
    worker = Worker(tmp_path, slow(tmp_path))
    worker.wait_for("progress")
    worker.process.kill()
    worker.process.wait()
    assert all(name.startswith(".partial-") for name in left(tmp_path))
    worker = Worker(tmp_path, slow(tmp_path), "--watch-stdin")
    worker.wait_for("progress")
    assert len(left(tmp_path)) == 1
    worker.end()
    assert left(tmp_path) == set()


def test_parent_that_closes_the_pipe_cancels(tmp_path):
    worker = Worker(tmp_path, slow(tmp_path))
    worker.wait_for("progress")
    worker.process.stdout.close()
    # The job says nothing until it is asked to stop; then nobody listens, and it still ends well.
    worker.process.terminate()
    worker.process.wait(timeout=30)
    assert worker.process.returncode == 6
    assert left(tmp_path) == set()
