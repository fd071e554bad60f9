"""A run from export to collect: states, ends, cancel at any moment, and what is left behind."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import host
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from launcher_helpers import install, processes_of, wait_for_no_process

from mriforge.errors import BadInput, Cancelled, Failed, MissingModel, MRIForgeError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and shell scripts")

HOW = pytest.mark.parametrize("how", ["events", "wait"])


@pytest.fixture(scope="module")
def lib(app):
    from MRIForgeLib import run

    return run


@pytest.fixture(autouse=True)
def clean(lib, tmp_path, monkeypatch):
    """Every test starts and ends with an empty scene, no runs, no folders, no processes."""
    install(tmp_path, monkeypatch)
    lib.slicer.mrmlScene.Clear(False)
    usual = lib.slicer.app.temporaryPath
    lib.slicer.app.temporaryPath = str(tmp_path / "temporary")
    yield
    lib.slicer.app.temporaryPath = usual
    assert lib.active() == []
    assert list((tmp_path / "temporary").glob("*")) == []
    assert wait_for_no_process(tmp_path) == []


class Task:
    """Writes a file in steps, runs the slow job, makes two nodes in steps."""

    command = "slow"

    def __init__(self, scene, **options) -> None:
        self.scene = scene
        self.options = options
        self.discarded: list[dict] = []
        self.closed: list[str] = []
        self.pause = 0
        self.fail_in = ""

    def export(self, folder):
        try:
            for number in range(3 + self.pause):
                (folder / f"{number}.txt").write_text("a frame")
                yield
            if self.fail_in == "export":
                raise BadInput("The input has no voxels.", "Choose another.")
            return {"out": str(folder / "out.txt"), **self.options}
        finally:
            self.closed.append("export")

    def collect(self, folder, result):
        try:
            text = Path(result["out"]).read_text()
            nodes = {}
            for name in ("result", "map"):
                nodes[name] = self.scene.AddNewNodeByClass("vtkMRMLTextNode", name)
                nodes[name].SetText(text)
                yield nodes
                if self.fail_in == "collect":
                    raise ZeroDivisionError("by zero")
            for _ in range(self.pause):
                yield
            return nodes
        finally:
            self.closed.append("collect")

    def discard(self, nodes):
        self.discarded.append(nodes)
        for node in nodes.values():
            self.scene.RemoveNode(node)


class Seen:
    """A listener that keeps everything, and can act on a state."""

    def __init__(self, lib, on_state=None) -> None:
        self.states, self.ends, self.progress, self.metrics, self.logs = [], [], [], [], []
        self.on_state = on_state or (lambda state: None)
        self.listener = lib.Listener(
            state=self._state,
            progress=lambda *values: self.progress.append(values),
            metric=self.metrics.append,
            log=self.logs.append,
            finished=lambda nodes, result: self.ends.append((nodes, result)),
            failed=self.ends.append,
        )

    def _state(self, state) -> None:
        self.states.append(state.name)
        self.on_state(state)


def make(lib, on_state=None, **options):
    task = Task(lib.slicer.mrmlScene, **options)
    seen = Seen(lib, on_state)
    return lib.Run(task, seen.listener), task, seen


def to_the_end(run, seen, how="events"):
    """Drives a run to its end; returns what the listener got there."""
    if how == "events":
        if not run.ended and not seen.states:
            run.start()
        host.wait_until(lambda: run.ended, 30)
        host.process_events(0.05)
    else:
        with contextlib.suppress(MRIForgeError):
            assert run.wait() == run.nodes
    assert len(seen.ends) == 1
    return seen.ends[0]


def text_nodes(lib) -> int:
    return lib.slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTextNode")


@HOW
def test_from_start_to_end(lib, how):
    run, task, seen = make(lib, seconds=0.3)
    nodes, result = to_the_end(run, seen, how)
    assert seen.states == ["PREPARING", "RUNNING", "COLLECTING", "DONE"]
    assert nodes["result"].GetText() == "the output"
    assert (result["answer"], run.result, run.nodes) == (42, result, nodes)
    assert task.closed == ["export", "collect"]
    assert task.discarded == []
    fractions = [fraction for fraction, _message, _eta in seen.progress]
    assert fractions == sorted(fractions)
    assert seen.progress[-1][1] == "done soon"
    assert set(seen.metrics[0]) == {"step", "loss"}
    assert seen.logs[0].startswith("pid ")
    assert run.error is None


def test_start_then_wait(lib):
    run, _, seen = make(lib, seconds=0.2)
    run.start()
    host.wait_until(lambda: "RUNNING" in seen.states)
    assert set(run.wait()) == {"result", "map"}
    assert len(seen.ends) == 1
    with pytest.raises(RuntimeError, match="once"):
        run.start()


@HOW
@pytest.mark.parametrize(
    ("where", "options", "kind", "left"),
    [
        ("export", {}, BadInput, 0),
        ("", {"fault": "model"}, MissingModel, 0),
        ("", {"fault": "segfault"}, Failed, 0),
        ("collect", {}, Failed, 1),
    ],
)
def test_failures(lib, how, where, options, kind, left):
    run, task, seen = make(lib, **options)
    task.fail_in = where
    error = to_the_end(run, seen, how)
    assert type(error) is kind
    assert run.state is lib.State.FAILED
    assert seen.states[-1] == "FAILED"
    assert [len(nodes) for nodes in task.discarded] == [left]
    assert text_nodes(lib) == 0
    if where == "collect":
        assert "ZeroDivisionError" in run.log


@HOW
def test_a_full_disk_is_said_in_words(lib, how):
    class Full(Task):
        def export(self, folder):
            yield from lib.in_background(self.fill)

        def fill(self):
            with open("/dev/full", "wb") as file:
                file.write(b"x" * 100000)

    seen = Seen(lib)
    error = to_the_end(lib.Run(Full(lib.slicer.mrmlScene), seen.listener), seen, how)
    assert type(error) is Failed
    assert "disk is full" in error.message


@pytest.mark.parametrize("state", ["PREPARING", "RUNNING", "COLLECTING"])
@HOW
def test_cancel_from_a_listener(lib, state, how):
    """Pressed while the state is being told: the tightest place."""

    def cancel(now):
        if now.name == state:
            run.cancel()

    run, task, seen = make(lib, cancel, seconds=60 if state == "RUNNING" else 0)
    error = to_the_end(run, seen, how)
    assert type(error) is Cancelled
    assert seen.states[-2:] == ["CANCELLING", "CANCELLED"]
    assert text_nodes(lib) == 0
    assert len(task.discarded) == 1


@pytest.mark.parametrize("state", ["PREPARING", "RUNNING", "COLLECTING"])
def test_cancel_a_little_later(lib, state):
    run, task, seen = make(lib, seconds=60 if state == "RUNNING" else 0)
    task.pause = 200
    run.start()
    host.wait_until(lambda: state in seen.states, 20)
    if state == "RUNNING":
        host.wait_until(lambda: seen.metrics, 20)
    else:
        host.process_events(0.02)
    assert run.state.name == state
    run.cancel()
    run.cancel()
    assert run.state is lib.State.CANCELLING
    assert type(to_the_end(run, seen)) is Cancelled
    assert seen.states.count("CANCELLING") == 1
    assert text_nodes(lib) == 0
    assert task.closed[-1] == ("collect" if state == "COLLECTING" else "export")
    assert len(task.discarded[0]) == (2 if state == "COLLECTING" else 0)


def test_cancel_at_every_step_of_the_preparation(lib):
    for steps in range(6):
        run, _, seen = make(lib, seconds=60)
        run.start()
        run._timer.stop()
        for _ in range(steps):
            run._step()
        run.cancel()
        assert type(to_the_end(run, seen)) is Cancelled


def test_cancel_before_the_start(lib):
    run, task, seen = make(lib)
    run.cancel()
    assert type(to_the_end(run, seen)) is Cancelled
    assert seen.states == ["CANCELLING", "CANCELLED"]
    assert task.closed == []


def test_cancel_waits_for_a_file_that_is_being_written(lib):
    class Writing(Task):
        def export(self, folder):
            yield from lib.in_background(self.write, folder)

        def write(self, folder):
            time.sleep(0.3)
            (folder / "late.txt").write_text("late")
            self.closed.append("written")

    seen = Seen(lib)
    task = Writing(lib.slicer.mrmlScene)
    run = lib.Run(task, seen.listener)
    run.start()
    host.process_events(0.1)
    run.cancel()
    assert type(to_the_end(run, seen)) is Cancelled
    assert task.closed == ["written"]


def test_a_task_that_swallows_the_cancel_is_cancelled_all_the_same(lib):
    class Deaf(Task):
        def collect(self, folder, result):
            node = self.scene.AddNewNodeByClass("vtkMRMLTextNode")
            try:
                while True:
                    yield
            except Cancelled:
                return {"result": node}

    seen = Seen(lib)
    task = Deaf(lib.slicer.mrmlScene)
    run = lib.Run(task, seen.listener)
    run.start()
    host.wait_until(lambda: text_nodes(lib) == 1, 20)
    run.cancel()
    assert type(to_the_end(run, seen)) is Cancelled
    assert text_nodes(lib) == 0


@pytest.mark.parametrize("state", ["PREPARING", "RUNNING", "COLLECTING"])
def test_closing_the_scene_ends_the_run(lib, state):
    run, task, seen = make(lib, seconds=60 if state == "RUNNING" else 0)
    task.pause = 200
    run.start()
    host.wait_until(lambda: state in seen.states, 20)
    host.close_scene()
    error = to_the_end(run, seen)
    assert type(error) is Cancelled
    assert "scene" in error.message
    assert task.discarded == [{}]
    assert "COLLECTING" not in seen.states or state == "COLLECTING"
    assert text_nodes(lib) == 0


def test_a_result_that_comes_after_the_scene_closed_is_dropped(lib):
    """The worker is done, but nobody has read so when the scene is closed."""
    run, task, seen = make(lib, seconds=0.1)
    run.start()
    host.wait_until(lambda: seen.metrics, 20)
    worker = run._worker
    while not worker._result:
        worker._process.waitForReadyRead(100)
    host.close_scene()
    assert type(to_the_end(run, seen)) is Cancelled
    assert task.closed == ["export"]


def test_closing_the_scene_after_the_end_is_nothing_to_us(lib):
    run, _, seen = make(lib)
    to_the_end(run, seen)
    host.close_scene()
    assert run.state is lib.State.DONE
    assert len(seen.ends) == 1


def test_two_runs_at_once(lib):
    first, _, seen_first = make(lib, seconds=0.4)
    second, _, seen_second = make(lib, seconds=60)
    first.start()
    second.start()
    assert len(lib.active()) == 2
    host.wait_until(lambda: seen_first.metrics and seen_second.metrics, 20)
    second.cancel()
    assert type(to_the_end(second, seen_second)) is Cancelled
    nodes, _ = to_the_end(first, seen_first)
    assert text_nodes(lib) == len(nodes) == 2


def test_waiting_for_one_leaves_the_other_alone(lib):
    background, _, seen_background = make(lib, seconds=0.2)
    background.start()
    run, _, seen = make(lib)
    to_the_end(run, seen, "wait")
    nodes, _ = to_the_end(background, seen_background)
    assert nodes["result"].GetText() == "the output"


def test_a_listener_that_fails_every_time(lib, caplog):
    def fail(*_values):
        raise ZeroDivisionError("in the panel")

    listener = lib.Listener(fail, fail, fail, fail, fail, fail)
    with caplog.at_level(logging.ERROR):
        run = lib.Run(Task(lib.slicer.mrmlScene, seconds=0.1), listener)
        assert set(run.wait()) == {"result", "map"}
    assert run.state is lib.State.DONE
    assert "in the panel" in caplog.text


def test_a_discard_that_fails(lib, caplog):
    run, task, seen = make(lib)
    task.fail_in = "export"
    task.discard = lambda nodes: 1 / 0
    assert type(to_the_end(run, seen)) is BadInput
    assert "ZeroDivisionError" in caplog.text


def test_a_new_run_from_the_end_of_another(lib):
    """As when measuring follows sharpening."""
    second, _, seen_second = make(lib)
    first, _, seen_first = make(lib)
    first.listener.finished = lambda nodes, result: (seen_first.ends.append(1), second.start())
    to_the_end(first, seen_first)
    to_the_end(second, seen_second)
    assert second.state is lib.State.DONE


@HOW
def test_nobody_keeps_a_run_that_has_ended(lib, how):
    """Neither an observer of the scene nor a timer nor a list."""
    run, task, seen = make(lib)
    to_the_end(run, seen, how)
    gone = weakref.ref(run)
    del run, task, seen
    host.process_events()
    gc.collect()
    assert gone() is None


def test_cancel_while_a_step_handles_events(lib, capfd):
    """A step of a task may let Slicer handle events, and the user may press Cancel in it."""

    class Impatient(Task):
        def export(self, folder):
            yield
            run.cancel()
            host.process_events(0.05)
            self.closed.append("whole step")
            yield
            raise AssertionError("the run goes on")

    seen = Seen(lib)
    task = Impatient(lib.slicer.mrmlScene)
    run = lib.Run(task, seen.listener)
    run.start()
    assert type(to_the_end(run, seen)) is Cancelled
    assert task.closed == ["whole step"]
    assert "already executing" not in capfd.readouterr().err


def test_a_folder_that_was_given_stays(lib, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    lib.Run(Task(lib.slicer.mrmlScene), folder=folder).wait()
    assert {"request.json", "out.txt", "0.txt"} <= {path.name for path in folder.iterdir()}


def test_ctrl_c_while_waiting(lib):
    class Interrupted(Task):
        def export(self, folder):
            yield
            signal.raise_signal(signal.SIGINT)
            yield
            raise AssertionError("the run goes on")

    task = Interrupted(lib.slicer.mrmlScene)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Cancelled):
            lib.Run(task).wait()
    finally:
        signal.signal(signal.SIGINT, before)
    assert task.discarded == [{}]


def test_a_long_step_is_noted(lib, caplog):
    run, task, _ = make(lib)
    task.discard = lambda nodes: time.sleep(0.12)
    task.fail_in = "export"
    with caplog.at_level(logging.DEBUG), pytest.raises(BadInput) as caught:
        run.wait()
    assert caught.value is run.error
    assert "a step of slow" in caplog.text


class Large(Task):
    """Writes and reads 64 MiB."""

    array = np.ones(2**24, np.float32)

    def export(self, folder):
        from MRIForgeLib.tasks import in_background

        yield from in_background(np.save, folder / "large.npy", self.array)
        return {"out": str(folder / "out.txt")}

    def collect(self, folder, result):
        from MRIForgeLib.tasks import in_background

        read = yield from in_background(np.load, folder / "large.npy")
        assert read.nbytes == self.array.nbytes
        return {}


def longest_wait_of_the_user(lib) -> float:
    """Seconds that this thread computes; files are written, read and removed."""
    longest = 0.0
    run = lib.Run(Large(lib.slicer.mrmlScene))
    run.start()
    while not run.ended:
        started = time.thread_time()
        host.process_events()
        longest = max(longest, time.thread_time() - started)
        time.sleep(0.001)
    assert run.state is lib.State.DONE
    return longest


def test_no_step_keeps_the_user_waiting(lib):
    assert longest_wait_of_the_user(lib) < 0.2


def test_stop_all(lib, tmp_path):
    pairs = [make(lib, seconds=60) for _ in range(2)]
    for run, _, _ in pairs:
        run.start()
    host.wait_until(lambda: all(seen.metrics for _, _, seen in pairs), 20)
    assert len(processes_of(tmp_path)) == 4
    lib.stop_all()
    assert [run.state.name for run, _, _ in pairs] == ["CANCELLED"] * 2
    assert processes_of(tmp_path) == []


QUIT = """
import sys
sys.path[:0] = [{testing!r}, {root!r}, {here!r}]
import host
app = host.start(main_window=False)
import qt, slicer
app.temporaryPath = {temporary!r}
from test_run import Task
from MRIForgeLib.run import Listener, Run
run = Run(Task(slicer.mrmlScene, seconds=60), Listener(metric=lambda values: app.quit()))
run.start()
app.exec_()
print("state", run.state.name)
"""


def test_quitting_slicer_leaves_no_process_and_no_folder(lib, tmp_path):
    here = Path(__file__).parent
    code = QUIT.format(
        testing=str(here.parent),
        root=str(here.parents[1]),
        here=str(here),
        temporary=str(tmp_path / "temporary"),
    )
    path = os.pathsep.join([os.environ["PYTHONPATH"], *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "state CANCELLED" in done.stdout, done.stderr
