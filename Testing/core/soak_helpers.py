"""Many small jobs one after another, and what a process holds afterwards."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil
import small_jobs

NAMES = ("degrade", "degrade to NRRD", "degrade to MetaImage", "degrade to NumPy",
         "degrade to DICOM", "t1map", "frames", "models export", "recon", "superres",
         "evaluate", "simulate")  # fmt: skip
"""About a second for all of them, each by another way to read and write."""


@dataclass(frozen=True)
class Held:
    """What this process holds."""

    memory: int
    files: frozenset[str]
    threads: int
    children: frozenset[int]
    """Processes; Python's own resource tracker may be one since an earlier test."""

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        process = psutil.Process()
        files = frozenset(opened.path for opened in process.open_files())
        children = frozenset(child.pid for child in process.children(recursive=True))
        return cls(process.memory_info().rss, files, threading.active_count(), children)


def run_jobs(inputs: Path, outputs: Path, first: int, last: int) -> None:
    """Jobs number ``first`` to ``last``, the names in turn; each writes over an earlier result."""
    from mriforge.jobs import run_request

    for number in range(first, last):
        name = NAMES[number % len(NAMES)]
        out = outputs / name.replace(" ", "-")
        if name in ("degrade to DICOM", "models export"):
            out = outputs / f"{number}"
        run_request(small_jobs.request(name, inputs, out))


def run_worker(inputs: Path, outputs: Path, number: int) -> None:
    """One job in a worker process."""
    from mriforge.events import to_json

    name = NAMES[number % len(NAMES)]
    path = outputs / f"request-{number}.json"
    out = outputs / f"worker-{number}"
    path.write_text(to_json(small_jobs.request(name, inputs, out).to_json()))
    done = subprocess.run(
        [sys.executable, "-m", "mriforge.worker", str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{name}: {done.stdout[-500:]} {done.stderr[-500:]}"


def check(before: Held, after: Held, folder: Path, margin: int) -> None:
    """Nothing was gathered between two looks, and nothing half-written lies about."""
    assert after.files <= before.files, sorted(after.files - before.files)
    assert after.threads <= before.threads
    assert after.children <= before.children
    grown = after.memory - before.memory
    assert grown <= margin, f"{grown / 2**20:.1f} MiB more than before"
    left = [path.name for path in folder.rglob("*") if path.name.startswith((".partial", ".repl"))]
    assert left == []
