"""Events: JSON lines, scopes, cancelling."""

from __future__ import annotations

import io
import json
import threading

import numpy as np
import pytest

from mriforge.console import ConsoleEvents
from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events, JsonEvents, to_json


def lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_have_the_documented_form():
    stream = io.StringIO()
    events = JsonEvents(stream)
    events.progress(0.25, "half of it")
    events.metric(loss=np.float32(0.5), step=np.int64(3), psnr=float("nan"))
    events.log("a\nb")
    events.error(BadInput("x is wrong.", "Fix it."))
    progress, metric, log, error = lines(stream)
    assert progress == {
        "event": "progress",
        "fraction": 0.25,
        "message": "half of it",
        "eta_s": None,
    }
    assert metric == {"event": "metric", "loss": 0.5, "step": 3, "psnr": None}
    assert log == {"event": "log", "message": "a\nb"}
    assert error == {
        "event": "error",
        "kind": "bad-input",
        "message": "x is wrong.",
        "hint": "Fix it.",
        "exit_code": 2,
    }


def test_parts_map_to_the_whole_and_never_run_backwards():
    stream = io.StringIO()
    events = JsonEvents(stream)
    second = events.part(0.5, 1.0).part(0.0, 0.5)
    second.progress(1.0, "a")
    events.progress(0.1, "b")
    second.progress(9.0, "c")
    assert [line["fraction"] for line in lines(stream)] == [0.75, 0.75, 0.75]


def test_lines_of_many_threads_are_whole():
    stream = io.StringIO()
    events = JsonEvents(stream)
    threads = [
        threading.Thread(target=lambda i=i: [events.log(f"{i}" * 200) for _ in range(50)])
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(stream)) == 200


def test_progress_is_not_a_flood():
    stream = io.StringIO()
    events = JsonEvents(stream)
    for step in range(1000):
        events.progress(step / 1000, "same message")
    assert len(lines(stream)) < 20


def test_cancel_by_flag_file_and_time(tmp_path):
    control = Control()
    part = Events(control).part(0.0, 0.5)
    part.check_cancelled()
    control.cancel()
    with pytest.raises(Cancelled):
        part.check_cancelled()
    assert part.cancelled

    flag = tmp_path / "stop"
    events = Events(Control(cancel_file=flag))
    assert not events.cancelled
    flag.touch()
    events.control._next_file_check = 0.0
    with pytest.raises(Cancelled):
        events.check_cancelled()

    with pytest.raises(Cancelled, match="time limit"):
        Events(Control(time_limit_s=-1.0)).check_cancelled()


def test_broken_pipe_cancels_the_job():
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    events = JsonEvents(Gone())
    events.log("anyone there?")
    with pytest.raises(Cancelled, match="gone"):
        events.check_cancelled()


def test_console_without_terminal_writes_plain_lines():
    stream = io.StringIO()
    with ConsoleEvents(stream, patience_s=0.0) as events:
        events.metric(loss=0.125)
        events.progress(0.5, "training")
        events.progress(0.500001, "training")
        events.log("a note")
        events.progress(1.0, "done")
    text = stream.getvalue().splitlines()
    assert text == [" 50 %  training  loss 0.125", "a note", "100 %  done  loss 0.125"]


def test_console_says_nothing_about_a_short_job():
    stream = io.StringIO()
    with ConsoleEvents(stream) as events:
        events.progress(0.5, "training")
        events.progress(1.0, "done")
    assert stream.getvalue() == ""


def test_console_on_a_terminal_uses_a_bar():
    pytest.importorskip("rich")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with ConsoleEvents(stream) as events:
        events.progress(0.5, "[training]")
        events.log("a [note]")
    assert "a [note]" in stream.getvalue()


def test_quiet_console_is_silent():
    stream = io.StringIO()
    with ConsoleEvents(stream, quiet=True) as events:
        events.progress(0.5, "training")
        events.log("a note")
    assert stream.getvalue() == ""


def test_to_json_takes_what_jobs_return(tmp_path):
    value = {"path": tmp_path, "array": np.arange(2), "none": None, "inf": float("inf"), 3: (1,)}
    expected = {"path": str(tmp_path), "array": [0, 1], "none": None, "inf": None, "3": [1]}
    assert json.loads(to_json(value)) == expected
