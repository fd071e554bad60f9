"""Rows on the workers of a Dask scheduler: this machine, a computing cluster, a cloud.

A row is a task that starts the row's process beside its Dask worker. Dask gives the task of a
worker that died to another; the row's lock and its state see to it that a row that was finished
is not run again. All workers need the same folders under the same names.
"""

from __future__ import annotations

import math
import os
import platform
import queue
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from mriforge import __version__
from mriforge.cohort.local import Ended, fair_threads
from mriforge.cohort.row import WORKER_LOST, Task, crashed, run_row
from mriforge.cohort.state import RUNNING, BatchFolder, State
from mriforge.errors import BadInput, Failed, MissingDependency
from mriforge.events import Events

_POLL_S = 0.2
_ASK_EVERY_S = 0.5
_PATIENCE_S = 30.0
_CONNECT_S = 15
_COUNT_EVERY_S = 1.0
_GATHER_S = 5
_DEATHS = 5
"""So many workers may die under a row of our own cluster before it is given up."""


class _Room:
    """How many rows Dask is given at a time: as many as its workers have threads.

    Given all at once it would share them out before it knows how long they take; what a dead worker
    had would all go to the survivors, and the worker that replaces it would stay idle.
    """

    def __init__(self, client: Any) -> None:
        self._client, self._threads, self._asked = client, 0, -math.inf

    def for_rows(self, pending: int) -> int:
        """Rows that may be under way while so many wait."""
        if time.monotonic() - self._asked > _COUNT_EVERY_S:
            self._threads = sum(self._client.nthreads().values())
            self._asked = time.monotonic()
        # One more, so that no worker waits for the next; not at the end, where it could stand
        # behind a row that has just begun while other workers are idle.
        return self._threads + (1 if pending > self._threads else self._threads == 0)


class DaskEngine:
    """A client of a scheduler, or of a cluster of our own.

    Args:
        scheduler: address, or None for a cluster of ``processes`` workers on this machine.
        gpus: graphics cards for the workers of our own cluster, one each.
        resources: what a row claims of its worker, for example ``{"GPU": 1}``; only workers that
            were started with it are used, and by one row at a time.
    """

    def __init__(
        self,
        scheduler: str | None,
        processes: int,
        gpus: Sequence[str] = (),
        resources: Mapping[str, float] | None = None,
    ) -> None:
        self.scheduler, self.processes = scheduler, processes
        self.gpus, self.resources = tuple(gpus), dict(resources or {})

    def run(self, tasks: Sequence[Task], events: Events, ended: Ended) -> None:
        if not tasks:
            return
        folder = BatchFolder(tasks[0].folder)
        with self._client() as client:
            self._check_workers(client, folder, events)
            results: queue.SimpleQueue[Any] = queue.SimpleQueue()
            waiting: dict[str, tuple[Any, Task]] = {}
            pending, room, finished = deque(tasks), _Room(client), 0
            try:
                while pending or waiting:
                    while pending and len(waiting) < room.for_rows(len(pending)):
                        self._submit(client, pending.popleft(), results, waiting)
                    task, state = self._next(results, waiting)
                    if task is not None:
                        again = ended(task, state)
                        if again is not None:
                            pending.append(again)
                        finished += again is None
                    events.progress(finished / len(tasks), f"{finished} of {len(tasks)} rows")
                    events.check_cancelled()
            finally:
                if waiting:
                    self._wind_down(folder, tasks[0].run, results, waiting)

    def _submit(
        self,
        client: Any,
        task: Task,
        results: queue.SimpleQueue[Any],
        waiting: dict[str, tuple[Any, Task]],
    ) -> None:
        key = f"mriforge-{task.run}-{task.row.key}-{task.attempt}"
        claim = self.resources or None
        future = client.submit(run_on_worker, self._placed(task), key=key, pure=False,
                               resources=claim)  # fmt: skip
        waiting[key] = (future, task)
        future.add_done_callback(results.put)

    def _placed(self, task: Task) -> Task:
        """Cores and cards of our own cluster; elsewhere whoever starts the workers says."""
        if self.scheduler is not None:
            return task
        gpus = ",".join(self.gpus) or None
        return replace(task, threads=fair_threads(self.processes), gpu=gpus)

    @staticmethod
    def _next(
        results: queue.SimpleQueue[Any], waiting: dict[str, tuple[Any, Task]]
    ) -> tuple[Task | None, State | None]:
        """A task that ended with its state, or nothing for now."""
        try:
            future = results.get(timeout=_POLL_S)
        except queue.Empty:
            return None, None
        entry = waiting.pop(future.key, None)
        if entry is None:
            return None, None
        task = entry[1]
        if future.status in ("finished", "pending"):
            # A result may be lost with the worker that holds it; the row then goes to another
            # worker, which finds it done.
            with suppress(TimeoutError):
                return task, future.result(timeout=_GATHER_S)
            waiting[future.key] = entry
            future.add_done_callback(results.put)
            return None, None
        if future.status != "error":
            raise Failed(
                "The Dask scheduler is gone.",
                "Start it and run the same command again: rows that are done are kept.",
            )
        state = State(task.row.id, task.row.command, RUNNING, task.run, attempts=task.attempt)
        state = crashed(
            state,
            WORKER_LOST,
            f"The Dask worker was lost ({_one_line(future.exception())}).",
            "Its memory may have been too small for the row; see the worker's own log.",
        )
        folder = BatchFolder(task.folder)
        before = folder.read(task.row.key)
        if before is not None and before.run == task.run:
            state = replace(state, settings=before.settings, outputs=before.outputs)
        folder.write(task.row.key, state)
        return task, state

    @staticmethod
    def _wind_down(
        folder: BatchFolder,
        run: str,
        results: queue.SimpleQueue[Any],
        waiting: dict[str, tuple[Any, Task]],
    ) -> None:
        """Tells every row to end and waits for those that had begun."""
        folder.stop(run)
        until = time.monotonic() + _PATIENCE_S
        while waiting and time.monotonic() < until:
            try:
                waiting.pop(results.get(timeout=_POLL_S).key, None)
            except queue.Empty:
                continue
        for future, _ in waiting.values():
            future.cancel()

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """A client; our own cluster ends with it."""
        try:
            import dask
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise MissingDependency(
                "The engine dask needs the package distributed, which is not installed.",
                "Install it with: pip install 'mriforge[dask]'",
            ) from error
        quiet = {
            "distributed.scheduler.allowed-failures": _DEATHS,
            "distributed.admin.tick.limit": "1 h",
        }
        with dask.config.set(quiet):
            if self.scheduler is None:
                with (
                    LocalCluster(
                        n_workers=self.processes,
                        threads_per_worker=1,
                        dashboard_address=None,
                        memory_limit=0,  # rows are processes of their own, beside the workers
                        resources=self.resources or None,
                    ) as cluster,
                    Client(cluster, set_as_default=False) as client,
                ):
                    yield client
                return
            try:
                client = Client(self.scheduler, timeout=_CONNECT_S, set_as_default=False)
            except (OSError, ValueError, TypeError) as error:
                raise BadInput(
                    f"No Dask scheduler answers at {self.scheduler} ({_one_line(error)}).",
                    "Give its address as `dask scheduler` prints it, tcp://HOST:8786.",
                ) from error
            with client:
                yield client

    def _check_workers(self, client: Any, folder: BatchFolder, events: Events) -> None:
        """Refuses workers that could not do a row: another version, another file system."""
        try:
            found = client.run(facts_of_worker, str(folder.path), on_error="return")
        except (OSError, ValueError) as error:
            raise Failed(f"The Dask workers cannot be asked ({_one_line(error)}).") from error
        if not found:
            events.log("The Dask scheduler has no worker yet; the rows wait for one.")
        for address, facts in found.items():
            if isinstance(facts, BaseException):
                raise BadInput(
                    f"The Dask worker {address} cannot run MRIForge ({_one_line(facts)}).",
                    f"Install mriforge {__version__} where the workers run.",
                )
            if facts["version"] != __version__:
                raise BadInput(
                    f"The Dask worker {address} has MRIForge {facts['version']}, this is "
                    f"{__version__}.",
                    "Install the same version everywhere.",
                )
            if not facts["sees"]:
                raise BadInput(
                    f"The Dask worker {address} does not see the folder {folder.path}.",
                    "Manifest, images and --out have to be on a drive that all machines share.",
                )


def facts_of_worker(folder: str) -> dict[str, Any]:
    """What has to be right on a worker: version, and whether it sees the batch's folder."""
    return {"version": __version__, "sees": os.path.isfile(os.path.join(folder, "run.json"))}


def run_on_worker(task: Task) -> State:
    """A row beside the Dask worker that this runs on."""
    from distributed import get_worker

    worker, folder = get_worker(), BatchFolder(task.folder)
    asked = [0.0, False]

    def stopped() -> bool:
        now = time.monotonic()
        if not asked[1] and now - asked[0] > _ASK_EVERY_S:
            asked[:] = [now, folder.is_over(task.run)]
        return bool(asked[1])

    if task.gpu is not None:
        cards = task.gpu.split(",")
        task = replace(task, gpu=cards[int(worker.name) % len(cards)])
    return run_row(task, stopped, place=f"{platform.node()}:{worker.name}")


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error or "unknown").split())[:200] or type(error).__name__
