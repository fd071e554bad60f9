"""Rows side by side on this machine, one process each."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Protocol

from mriforge.cohort.row import Task, run_row
from mriforge.cohort.state import State
from mriforge.events import Events

_POLL_S = 0.2

Ended = Callable[[Task, State], Task | None]
"""Told of every row that ended; may give it back to be tried again."""


def fair_threads(processes: int) -> int:
    """Threads for each of so many processes on this machine; 0, its own choice, for one alone."""
    return 0 if processes == 1 else max(1, (os.cpu_count() or 1) // processes)


class Engine(Protocol):
    """Gives rows places to run in."""

    def run(self, tasks: Sequence[Task], events: Events, ended: Ended) -> None:
        """Runs all tasks; ``ended`` is called on this thread, once for every attempt.

        Raises:
            Cancelled: when every started row has been ended.
        """


class LocalEngine:
    """Threads that each wait for one process.

    Args:
        processes: how many rows at a time.
        gpus: graphics cards; each place gets one, in turn. Empty: all see what there is.
    """

    def __init__(self, processes: int, gpus: Sequence[str] = ()) -> None:
        self.processes, self.gpus = processes, tuple(gpus)

    def run(self, tasks: Sequence[Task], events: Events, ended: Ended) -> None:
        threads = fair_threads(self.processes)
        places: queue.SimpleQueue[int] = queue.SimpleQueue()
        for place in range(self.processes):
            places.put(place)
        over = threading.Event()
        fractions: dict[str, float] = {}

        def stopped() -> bool:
            return over.is_set() or events.cancelled

        def run(task: Task) -> State | None:
            if stopped():  # never begun
                return None
            place = places.get()
            gpu = self.gpus[place % len(self.gpus)] if self.gpus else None
            try:
                return run_row(
                    replace(task, threads=threads, gpu=gpu),
                    stopped,
                    lambda fraction: fractions.__setitem__(task.row.id, fraction),
                )
            finally:
                fractions.pop(task.row.id, None)
                places.put(place)

        finished = 0
        with ThreadPoolExecutor(self.processes, thread_name_prefix="row") as pool:
            waiting: dict[Future[State | None], Task] = {
                pool.submit(run, task): task for task in tasks
            }
            try:
                while waiting:
                    done, _ = wait(waiting, _POLL_S, FIRST_COMPLETED)
                    for future in done:
                        task, state = waiting.pop(future), future.result()
                        again = ended(task, state) if state is not None else None
                        if again is not None:
                            waiting[pool.submit(run, again)] = again
                        finished += again is None
                    share = (finished + sum(list(fractions.values()))) / len(tasks)
                    events.progress(share, f"{finished} of {len(tasks)} rows")
                    events.check_cancelled()
            finally:
                over.set()
                # Those that had begun have an end, too, which the table is to tell.
                begun = [future for future in waiting if not future.cancel()]
                for future in begun:
                    state = future.result()
                    if state is not None:
                        ended(waiting[future], state)
