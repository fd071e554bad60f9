"""A batch's folder: what is known of every row, one small file each, and whose turn it is.

::

    OUT/rows/sub-01.json        how the row stands, what it was made of
    OUT/requests/sub-01.json    the request; `python -m mriforge.worker` repeats it
    OUT/logs/sub-01.txt         what its process wrote
    OUT/run.json                the run that may write now, and whether it is to stop
    OUT/summary.csv, summary.json, report.html

Files are replaced as a whole, so a kill at any moment costs at most the rows that were running.
"""

from __future__ import annotations

import dataclasses
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mriforge import __version__
from mriforge.cohort.content import Content, content_of, differs, settings_of
from mriforge.errors import BadInput, Cancelled
from mriforge.events import to_json
from mriforge.io.atomic import atomic_path
from mriforge.untrusted.texts import from_json

RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"
TABLE, FIGURES, REPORT = "summary.csv", "summary.json", "report.html"
OWN = (TABLE, FIGURES, REPORT, "run.json", "rows", "requests", "logs", ".locks")
"""What a batch writes beside the results of its rows."""
_LOCK_POLL_S = 0.2


@dataclass(frozen=True)
class State:
    """What is known of a row.

    Attributes:
        id, command: of the row.
        status: ``running``, ``done``, ``failed`` or ``cancelled``.
        run: of which run of the batch.
        settings: options that decide the result (:func:`settings_of`).
        inputs, outputs: content by path; of an output that is not written yet None.
        version: of the program.
        result: what the job returned.
        error: ``kind``, ``message``, ``hint``, ``exit_code`` of a failure.
        seconds: from start to end.
        attempts: how often it was started in this run.
        place: machine and process, or worker, that ran it.
        ended: seconds since 1970.
    """

    id: str
    command: str
    status: str
    run: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Content | None] = field(default_factory=dict)
    outputs: dict[str, Content | None] = field(default_factory=dict)
    version: str = __version__
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    seconds: float = 0.0
    attempts: int = 0
    place: str = ""
    ended: float = 0.0

    def is_whole(self) -> bool:
        """Whether its entries are of the types they should be (the file may be damaged)."""
        tables = (self.settings, self.inputs, self.outputs)
        contents = [*dict(self.inputs).values(), *dict(self.outputs).values()]
        return (
            all(isinstance(table, dict) for table in tables)
            and all(c is None or (isinstance(c, dict) and "size" in c) for c in contents)
            and all(t is None or isinstance(t, dict) for t in (self.result, self.error))
            and all(isinstance(n, int | float) for n in (self.seconds, self.attempts, self.ended))
            and all(isinstance(t, str) for t in (self.status, self.run, self.version, self.place))
        )

    def why_again(self, options: Any, files: list[str]) -> str:
        """Why a row has to run, as half a sentence; empty: it is finished.

        Args:
            options: parsed, as they are now.
            files: what it reads now.
        """
        if self.status != DONE:
            return "it failed before" if self.status == FAILED else "it was interrupted"
        if self.version != __version__:
            return f"it was made by version {self.version}"
        now = settings_of(options)
        if changed := sorted(
            k for k in {*now, *self.settings} if now.get(k) != self.settings.get(k)
        ):
            return f"{changed[0]} has changed"
        for path in files:
            if differs(path, self.inputs.get(path)):
                return f"{path} has changed"
        if gone := [path for path in self.outputs if not os.path.exists(path)]:
            return f"{gone[0]} is gone"
        return ""


class BatchFolder:
    """The folder of a batch; made when something is written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.abspath(path))

    def state_path(self, key: str) -> Path:
        """Where a row's state is."""
        return self.path / "rows" / f"{key}.json"

    def request_path(self, key: str) -> Path:
        """Where a row's request is."""
        return self.path / "requests" / f"{key}.json"

    def log_path(self, key: str) -> Path:
        """Where a row's process writes."""
        return self.path / "logs" / f"{key}.txt"

    def read(self, key: str) -> State | None:
        """A row's state; None when it never ran or its file is of another kind."""
        try:
            tree = from_json(self.state_path(key).read_bytes())
            known = {item.name for item in dataclasses.fields(State)}
            state = State(**{name: value for name, value in tree.items() if name in known})
            return state if state.is_whole() else None
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def write(self, key: str, state: State) -> None:
        """Keeps a row's state."""
        with atomic_path(self.state_path(key)) as partial:
            partial.write_text(to_json(dataclasses.asdict(state), indent=1), encoding="utf-8")

    def begin(self) -> str:
        """Makes a new run the only one that may write; returns its name."""
        run = uuid.uuid4().hex[:12]
        self._say(run, stop=False)
        return run

    def stop(self, run: str) -> None:
        """Asks every row of a run to end, wherever it runs."""
        self._say(run, stop=True)

    def is_over(self, run: str) -> bool:
        """Whether a run was stopped, or another has begun since."""
        try:
            told = dict(from_json((self.path / "run.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            # A network drive that is away for a moment is no reason to throw work away.
            return False
        return told.get("run") != run or bool(told.get("stop"))

    def _say(self, run: str, *, stop: bool) -> None:
        with atomic_path(self.path / "run.json") as partial:
            text = to_json({"run": run, "stop": stop, "version": __version__})
            partial.write_text(text, encoding="utf-8")

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The batch for one program alone.

        Raises:
            BadInput: another one is at it.
        """
        from filelock import Timeout

        lock = self._lock("batch")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BadInput(
                f"Another batch is running in {self.path}.", "Wait for it, or choose another --out."
            ) from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def row(self, key: str, stopped: Callable[[], bool]) -> Iterator[None]:
        """A row for one process alone; waits for another that is still at it.

        Raises:
            Cancelled: the batch was stopped meanwhile.
        """
        from filelock import Timeout

        lock = self._lock(key)
        while True:
            try:
                lock.acquire(timeout=_LOCK_POLL_S)
                break
            except Timeout:
                if stopped():
                    raise Cancelled("The batch was stopped.") from None
        try:
            yield
        finally:
            lock.release()

    def _lock(self, name: str) -> Any:
        from filelock import FileLock

        folder = self.path / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock")


def contents(paths: list[str], known: dict[str, Content | None]) -> dict[str, Content | None]:
    """Content of each path; None for those that are not there."""
    found: dict[str, Content | None] = {}
    for path in paths:
        try:
            found[path] = content_of(path, known.get(path))
        except FileNotFoundError:
            found[path] = None
    return found
