"""Five hundred small jobs in one process, and worker processes by the dozen: nothing gathers."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
import small_jobs
from soak_helpers import NAMES, Held, check, run_jobs, run_worker

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

JOBS, WARM = 500, 100
MARGIN = 32 << 20
"""Of memory, from the hundredth job to the last: 80 kB for each. Measured were -1 to 24 MiB,
not of any one kind."""
WORKERS = 3 * len(NAMES)


def test_five_hundred_jobs_in_one_process(tmp_path: Path, monkeypatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    small_jobs.make_inputs(tmp_path / "in")
    run_jobs(tmp_path / "in", tmp_path / "out", 0, WARM)
    before = Held.now()
    run_jobs(tmp_path / "in", tmp_path / "out", WARM, JOBS)
    after = Held.now()
    print(f"{before.memory / 2**20:.1f} MiB, after {JOBS} jobs {after.memory / 2**20:.1f} MiB")
    check(before, after, tmp_path, MARGIN)
    assert [p for p in temporary.iterdir() if not p.name.startswith("torchinductor")] == []


def test_worker_processes(tmp_path: Path) -> None:
    """Memory of a worker is gone with it; files, processes and locks have to be, too."""
    small_jobs.make_inputs(tmp_path / "in")
    before = Held.now()
    for number in range(WORKERS):
        run_worker(tmp_path / "in", tmp_path, number)
    check(before, Held.now(), tmp_path, MARGIN)
