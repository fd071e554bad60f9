"""A folder with a cohort of tiny files, and a light command whose rows wait, fail or die."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from mriforge.cohort.local import LocalEngine
from mriforge.cohort.manifest import rows_of_table
from mriforge.cohort.rows import Common, Row
from mriforge.cohort.state import BatchFolder

ROOT = Path(__file__).resolve().parents[2]

# A job without torch: rows of the real ones spend seconds on importing it.
JOB = """
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from mriforge.errors import BadInput, OutOfMemory
from mriforge.io.atomic import atomic_path
from mriforge.jobs.options import option

@dataclass(frozen=True, kw_only=True)
class Options:
    input: str = option("input", "file", positional="IN")
    output: str = option("output", "file", positional="OUT", suffixes=(".txt",))
    seconds: float = option("number", "wait", default=0.0, at_least=0)
    fault: str | None = option("text", "how to fail", default=None)
    journal: str | None = option("text", "who started and ended, in order", default=None)
    device: str = option("device", "device", default="auto")

def run(options, events):
    def note(word):
        if options.journal:
            with open(options.journal, "a") as file:
                file.write(f"{word} {Path(options.output).stem} {os.getpid()}\\n")
    text = Path(options.input).read_text()
    note("start")
    if options.fault == "bad":
        raise BadInput(f"{options.input} has no voxels.", "Export it again.")
    if options.fault == "memory":
        raise OutOfMemory("There is not enough memory.")
    if options.fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if options.fault == "once" and not os.path.exists(options.input + ".tried"):
        Path(options.input + ".tried").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    seconds = options.seconds
    if options.fault == "hang" and not os.path.exists(options.input + ".tried"):
        Path(options.input + ".tried").touch()
        seconds = 600.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        events.check_cancelled()
        time.sleep(0.01)
    with atomic_path(options.output) as partial:
        partial.write_text(text.upper())
    note("end")
    return {"output": options.output, "length": len(text), "value": float(text), "name": "a"}
"""
# Every Python process of the test reads it at its start.
SITE = """
import sys
sys.path.insert(0, {root!r})
from mriforge.jobs import COMMANDS, Command
COMMANDS["wait"] = Command("wait_job", "wait")
"""


class Cohort:
    """Rows of the command ``wait`` in a folder of their own.

    Args:
        folder: empty.
        monkeypatch: makes this process and its children know the command.
    """

    def __init__(self, folder: Path, monkeypatch) -> None:
        from mriforge.jobs import COMMANDS, Command

        self.folder, self.out = folder, folder / "batch"
        self.journal = folder / "journal.txt"
        code = folder / "code"
        code.mkdir()
        (code / "wait_job.py").write_text(JOB)
        (code / "sitecustomize.py").write_text(SITE.format(root=str(ROOT)))
        monkeypatch.setitem(COMMANDS, "wait", Command("wait_job", "wait"))
        monkeypatch.syspath_prepend(str(code))
        monkeypatch.delitem(sys.modules, "wait_job", raising=False)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(code), str(ROOT)]))
        self.manifest = folder / "cohort.csv"

    def write(self, rows: Iterable[dict[str, object]], **common: object) -> None:
        """The manifest; every row has its own input, which holds its number."""
        columns: dict[str, None] = {"id": None, "input": None, "output": None}
        lines = []
        for number, given in enumerate(rows):
            name = f"s{number}"
            path = self.folder / f"{name}.dat"
            if not path.exists():
                path.write_text(f"{number}.5")
            row = {"id": name, "input": path.name, "output": f"results/{name}.txt"}
            lines.append({**row, "journal": self.journal, **common, **given})
            columns |= dict.fromkeys(lines[-1])
        text = [",".join(columns)]
        text += [",".join(str(line.get(c, "")) for c in columns) for line in lines]
        self.manifest.write_text("\n".join(text) + "\n")

    def rows(self, job: str = "wait", **texts: str) -> list[Row]:
        return rows_of_table(self.manifest, job, Common(texts, {}, self.folder, self.folder))

    def run(self, engine=None, **options) -> dict:
        from mriforge.cohort.batch import run_batch

        engine = engine or LocalEngine(2)
        return run_batch(self.rows(), BatchFolder(self.out), engine, **options)

    def noted(self, word: str = "end") -> list[str]:
        """Rows that started or ended, in order, from the journal."""
        if not self.journal.exists():
            return []
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [line[1] for line in lines if line[0] == word]

    def summary(self) -> dict:
        return json.loads((self.out / "summary.json").read_text())

    def results(self) -> set[str]:
        return {path.stem for path in (self.folder / "results").glob("*.txt")}


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Waits until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process computes; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
