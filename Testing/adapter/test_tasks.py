"""Step generators and background threads."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from MRIForgeLib.tasks import POLL_S, in_background, run_to_end


def steps_of(generator):
    """How often a generator yields, the longest step (seconds of this thread), what it returns."""
    count, longest = 0, 0.0
    while True:
        started = time.thread_time()
        try:
            next(generator)
        except StopIteration as end:
            return count, longest, end.value
        finally:
            longest = max(longest, time.thread_time() - started)
        count += 1


def test_the_result_and_the_thread():
    def work(a, b):
        return a + b, threading.current_thread()

    value, thread = run_to_end(in_background(work, 1, 2))
    assert value == 3
    assert thread is not threading.main_thread()
    assert not thread.is_alive()


def test_what_the_function_raises_is_raised_here():
    def work():
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        run_to_end(in_background(work))


def test_a_long_function_takes_many_short_steps():
    count, _, value = steps_of(in_background(lambda: time.sleep(0.3) or "slept"))
    assert value == "slept"
    assert 2 <= count <= 0.3 / POLL_S + 1


def test_writing_and_reading_a_large_array_in_short_steps(tmp_path):
    array = np.ones((16, 1024, 1024), np.float32)
    path = tmp_path / "array.npy"
    _, writing, _ = steps_of(in_background(np.save, path, array))
    _, reading, back = steps_of(in_background(np.load, path))
    assert np.array_equal(back, array)
    assert max(writing, reading) < 0.05  # the work is the other thread's


def test_it_advances_even_if_nobody_else_lets_threads_run():
    """Inside Slicer a thread gets Python's lock only during our own steps."""
    path = []

    def work():
        for number in range(20):
            path.append(number)
            time.sleep(0.001)  # gives the lock away, as reading and writing do
        return path

    generator = in_background(work)
    before = 0
    for _ in generator:
        assert len(path) > before or not path
        before = len(path)
    assert len(path) == 20


def test_an_exception_thrown_in_waits_for_the_thread():
    finished = threading.Event()

    def work():
        time.sleep(0.15)
        finished.set()

    generator = in_background(work)
    next(generator)
    with pytest.raises(ValueError, match="stop"):
        generator.throw(ValueError("stop")) or run_to_end(generator)
    assert finished.is_set()


def test_closing_does_not_wait():
    release = threading.Event()
    generator = in_background(release.wait, 10)
    next(generator)
    started = time.monotonic()
    generator.close()
    assert time.monotonic() - started < 5
    release.set()


def test_cleaning_up_in_a_task_that_is_stopped():
    """`yield from` inside a task: its `finally` runs after the thread's end."""
    seen = []

    def task():
        try:
            yield from in_background(lambda: (time.sleep(0.1), seen.append("thread")))
        finally:
            seen.append("task")

    generator = task()
    next(generator)
    with pytest.raises(RuntimeError):
        generator.throw(RuntimeError()) or run_to_end(generator)
    assert seen == ["thread", "task"]
