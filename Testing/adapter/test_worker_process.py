"""The worker as a process of the application: events, ends, and that nothing is left behind."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import host
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from launcher_helpers import install, processes_of, wait_for_no_process

from mriforge.errors import (
    BadInput,
    Cancelled,
    Failed,
    MissingDependency,
    MissingModel,
    OutOfMemory,
)
from mriforge.io import read, write
from mriforge.jobs import Request
from mriforge.volume import Grid, Volume

posix_only = pytest.mark.skipif(os.name == "nt", reason="signals and shell scripts")
pytestmark = posix_only


@pytest.fixture(scope="module")
def lib(app):
    from MRIForgeLib import worker_process

    return worker_process


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    return install(tmp_path, monkeypatch)


class Job:
    """A worker process and what it told."""

    def __init__(self, lib, folder: Path, **options) -> None:
        self.events: list[dict] = []
        self.ends: list = []
        command = options.pop("command", "slow")
        request = Request(command, options)
        self.process = lib.WorkerProcess(request, folder, self.events.append, self.ends.append)

    def start(self) -> Job:
        self.process.start()
        return self

    def until(self, event: str) -> Job:
        host.wait_until(lambda: any(e["event"] == event for e in self.events) or self.ends, 20)
        assert not self.ends, self.ends
        return self

    def outcome(self, how: str = "events"):
        """The end, by the application's event loop or without it."""
        if how == "events":
            host.wait_until(lambda: self.ends, 30)
        else:
            assert self.process.wait(30)
        host.process_events(0.05)
        assert len(self.ends) == 1
        assert not self.process.running
        return self.ends[0]

    @property
    def worker(self) -> psutil.Process:
        log = next(e["message"] for e in self.events if e["event"] == "log")
        return psutil.Process(int(log.split()[1]))


@pytest.mark.parametrize("how", ["events", "wait"])
def test_a_real_job(lib, launcher, tmp_path, how):
    voxels = np.random.default_rng(0).random((4, 16, 16), dtype=np.float32)
    image = Volume(voxels, Grid(voxels.shape, (1.0, 1.0, 2.0)))
    options = {"input": str(write(image, tmp_path / "in.npy")), "keep": 0.25}
    output = tmp_path / "out.npy"
    before = dict(os.environ)
    job = Job(lib, tmp_path, command="degrade", output=str(output), **options).start()
    assert lib.running() == [job.process]
    outcome = job.outcome(how)
    assert (outcome.exit_code, outcome.error) == (0, None)
    assert outcome.result["output"] == str(output)
    assert "event" not in outcome.result
    assert read(output).array.shape == (4, 8, 8)
    fractions = [e["fraction"] for e in job.events if e["event"] == "progress"]
    assert fractions[-1] == 1.0
    assert json.loads((tmp_path / "request.json").read_text())["command"] == "degrade"
    assert lib.running() == []
    assert dict(os.environ) == before
    assert wait_for_no_process(tmp_path) == []


def test_what_the_worker_says_of_itself(lib, launcher, tmp_path):
    text = "Größe 大きさ " * 5000
    outcome = Job(lib, tmp_path, seconds=0.3, text=text, lines=20000)
    job = outcome.start()
    outcome = job.outcome()
    assert outcome.result["answer"] == 42
    kinds = {event["event"] for event in job.events}
    assert kinds == {"progress", "metric", "log"}
    assert any(e.get("message") == text for e in job.events)
    assert "a library talks" in outcome.log or "line 19999" in outcome.log
    assert len(outcome.log) < 500 * 2100


def test_other_text_on_stdout_goes_to_the_log(lib, tmp_path, monkeypatch):
    strange = r"""printf 'libc: not json\n[1, 2]\n{"no": "event"}\n{"event": 5}\n{"event": "new"}\n'
printf '{broken\n\377\376 caf\303\251\n\n'"""
    install(tmp_path, monkeypatch, before=strange)
    outcome = Job(lib, tmp_path).start().outcome()
    assert outcome.result["answer"] == 42
    for words in ("libc: not json", "[1, 2]", '"event": 5', '"event": "new"', "{broken", "café"):
        assert words in outcome.log


@pytest.mark.parametrize("how", ["events", "wait"])
def test_a_last_line_without_an_end(lib, tmp_path, monkeypatch, how):
    last = """printf '{"event": "result", "answer": 1}'; printf 'half a word' >&2; exit 0"""
    install(tmp_path, monkeypatch, before=last)
    outcome = Job(lib, tmp_path).start().outcome(how)
    assert outcome.result == {"answer": 1}
    assert "half a word" in outcome.log


@pytest.mark.parametrize("how", ["events", "wait"])
def test_errors_of_the_job_keep_their_kind(lib, launcher, tmp_path, how):
    outcome = Job(lib, tmp_path, fault="model").start().outcome(how)
    assert type(outcome.error) is MissingModel
    assert outcome.error.one_line() == "There is no model 'x'. Add it."
    assert (outcome.exit_code, outcome.result) == (3, None)
    bad = tmp_path / "second"
    bad.mkdir()
    outcome = Job(lib, bad, colour="red").start().outcome(how)
    assert type(outcome.error) is BadInput
    assert "colour" in outcome.error.message


@pytest.mark.parametrize("how", ["events", "wait"])
def test_cancel_ends_launcher_and_worker(lib, launcher, tmp_path, how):
    job = Job(lib, tmp_path, seconds=60).start().until("metric")
    assert job.worker.ppid() != os.getpid()  # the launcher stands between
    assert len(processes_of(tmp_path)) == 2
    job.process.cancel()
    job.process.cancel()
    told = len(job.events)
    started = time.monotonic()
    outcome = job.outcome(how)
    assert time.monotonic() - started < lib.GRACE_S
    assert type(outcome.error) is Cancelled
    assert (outcome.exit_code, outcome.result) == (6, None)
    assert len(job.events) == told  # nothing after the cancel
    assert processes_of(tmp_path) == []


def test_cancel_before_the_first_word(lib, launcher, tmp_path):
    job = Job(lib, tmp_path, seconds=60).start()
    job.process.cancel()
    assert type(job.outcome().error) is Cancelled
    assert job.events == []
    assert wait_for_no_process(tmp_path) == []


def test_cancel_before_the_start(lib, launcher, tmp_path):
    job = Job(lib, tmp_path)
    job.process.cancel()
    assert type(job.outcome().error) is Cancelled
    with pytest.raises(RuntimeError):
        job.process.start()
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("how", ["events", "wait"])
def test_a_worker_that_does_not_listen_is_ended(lib, launcher, tmp_path, monkeypatch, how):
    monkeypatch.setattr(lib, "GRACE_S", 0.5)
    job = Job(lib, tmp_path, seconds=60).start().until("metric")
    job.worker.send_signal(signal.SIGSTOP)
    job.process.cancel()
    outcome = job.outcome(how)
    assert type(outcome.error) is Cancelled
    assert "did not stop" in outcome.log
    assert wait_for_no_process(tmp_path) == []


def test_without_psutil_the_end_of_the_input_stops_the_worker(lib, launcher, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    job = Job(lib, tmp_path, seconds=60).start().until("metric")
    job.process.kill()
    outcome = job.outcome()
    assert type(outcome.error) is Cancelled
    assert "psutil is not installed" in outcome.log
    monkeypatch.undo()
    assert wait_for_no_process(tmp_path) == []


@pytest.mark.parametrize("how", ["events", "wait"])
def test_a_killed_worker(lib, launcher, tmp_path, how):
    job = Job(lib, tmp_path, seconds=60).start().until("metric")
    job.worker.kill()
    outcome = job.outcome(how)
    assert type(outcome.error) is Failed
    assert "137" in outcome.error.message
    assert "memory" in outcome.error.hint
    assert outcome.exit_code == 137
    assert wait_for_no_process(tmp_path) == []


def test_a_killed_launcher_takes_the_worker_along(lib, launcher, tmp_path):
    job = Job(lib, tmp_path, seconds=60).start().until("metric")
    job.worker.send_signal(signal.SIGSTOP)  # so that it cannot notice by itself
    job.worker.parent().kill()
    outcome = job.outcome()
    assert type(outcome.error) is Failed
    assert "signal 9" in outcome.error.message
    assert wait_for_no_process(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "message", "hint"),
    [
        ("segfault", "139", "driver"),
        ("exit", "exit code 3.*last words", "log"),
    ],
)
def test_ends_without_a_word(lib, launcher, tmp_path, fault, message, hint):
    outcome = Job(lib, tmp_path, fault=fault).start().outcome()
    assert type(outcome.error) is Failed
    assert outcome.result is None
    with pytest.raises(Failed, match=message):
        raise outcome.error
    assert hint in outcome.error.hint


@pytest.mark.parametrize("how", ["events", "wait"])
def test_a_python_slicer_that_does_not_start(lib, launcher, tmp_path, how):
    launcher.write_text("#!/nowhere/at/all\n")
    outcome = Job(lib, tmp_path).start().outcome(how)
    assert type(outcome.error) is MissingDependency
    assert str(launcher) in outcome.error.message
    assert outcome.exit_code is None
    assert lib.running() == []


def test_where_python_slicer_is_looked_for(lib, launcher, tmp_path, monkeypatch):
    assert lib.python_slicer() == str(launcher)
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = Job(lib, tmp_path).start().outcome()
    assert type(outcome.error) is MissingDependency
    home = Path(lib.slicer.app.slicerHome)
    expected = home / "bin" / "PythonSlicer"
    assert str(expected) in outcome.error.message
    expected.touch()
    try:
        assert lib.python_slicer() == str(expected)
    finally:
        expected.unlink()


def test_a_folder_that_is_gone(lib, launcher, tmp_path):
    outcome = Job(lib, tmp_path / "gone").start().outcome()
    assert type(outcome.error) is Failed
    assert "gone" in outcome.error.message


def test_stop_all_leaves_nothing(lib, launcher, tmp_path, monkeypatch):
    monkeypatch.setattr(lib, "_QUIT_GRACE_S", 0.7)
    jobs = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        jobs.append(Job(lib, folder, seconds=60).start())
    for job in jobs:
        job.until("metric")
    jobs[0].worker.send_signal(signal.SIGSTOP)
    lib.stop_all()
    assert [type(job.ends[0].error) for job in jobs] == [Cancelled, Cancelled]
    assert lib.running() == []
    assert wait_for_no_process(tmp_path) == []


def test_a_listener_that_fails_does_not_stop_the_job(lib, launcher, tmp_path, caplog):
    ends = []

    def fail(event):
        raise ZeroDivisionError("in the panel")

    process = lib.WorkerProcess(Request("slow", {"seconds": 0.2}), tmp_path, fail, ends.append)
    process.start()
    with caplog.at_level(logging.ERROR):
        host.wait_until(lambda: ends, 20)
    assert ends[0].result["answer"] == 42
    assert "in the panel" in caplog.text


def test_the_environment_of_the_worker(lib, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/a/b")
    environment = lib.child_environment()
    root = str(Path(__file__).parents[2])
    assert environment.value("PYTHONPATH").split(os.pathsep) == [root, "/a/b"]
    assert environment.value("PYTHONIOENCODING") == "utf-8"
    assert environment.value("PATH") == os.environ["PATH"]
    monkeypatch.delenv("PYTHONPATH")
    assert lib.child_environment().value("PYTHONPATH") == root


def test_limits_of_waiting(lib, launcher, tmp_path):
    job = Job(lib, tmp_path, seconds=60).start()
    started = time.monotonic()
    assert not job.process.wait(0.3)
    assert 0.25 < time.monotonic() - started < 30
    job.process.kill()
    assert type(job.outcome("wait").error) is Cancelled


@given(st.data())
def test_lines_do_not_depend_on_how_the_bytes_come(lib, data):
    from MRIForgeLib.worker_text import LineSplitter

    lines = ["{}", "Größe", "a" * 50, "大", '{"event": "log"}']
    stream = ("\n".join(lines) + "\r\n\n  \nend").encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    splitter, found = LineSplitter(), []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[start:stop])
    found += splitter.rest()
    assert found == [*lines, "end"]


def test_a_stream_without_lines_does_not_fill_the_memory(lib, monkeypatch):
    from MRIForgeLib import worker_text

    monkeypatch.setattr(worker_text, "_LONGEST_LINE", 100)
    splitter = worker_text.LineSplitter()
    found = [line for _ in range(10) for line in splitter.feed(b"x" * 60)]
    assert [len(line) for line in found] == [120] * 5


@pytest.mark.parametrize(
    ("code", "crashed", "message", "hint"),
    [
        (-1073741819, True, "0xC0000005", "driver"),
        (3221225477, True, "0xC0000005", "driver"),
        (9, True, "signal 9", "memory"),
        (1, False, "exit code 1", "log"),
    ],
)
def test_words_for_unexpected_ends(lib, code, crashed, message, hint):
    from MRIForgeLib.worker_text import unexpected_end

    error = unexpected_end(code, crashed, [])
    assert message in error.message
    assert hint in error.hint


def test_all_kinds_of_reported_errors(lib):
    from MRIForgeLib.worker_text import reported_error

    for kind in (BadInput, MissingModel, MissingDependency, OutOfMemory, Cancelled, Failed):
        error = reported_error({"kind": kind.kind, "message": "m", "hint": "h"})
        assert (type(error), error.message, error.hint) == (kind, "m", "h")
    assert type(reported_error({"kind": "from the future", "message": "m"})) is Failed
    assert reported_error({}).message
