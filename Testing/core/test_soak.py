"""A dozen jobs in one process leave nothing behind. Hundreds: ``Testing/long/test_soak.py``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import small_jobs
from soak_helpers import NAMES, Held, check, run_jobs

MARGIN = 48 << 20


def test_a_dozen_jobs(tmp_path: Path, monkeypatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    small_jobs.make_inputs(tmp_path / "in")
    run_jobs(tmp_path / "in", tmp_path / "out", 0, len(NAMES))
    before = Held.now()
    run_jobs(tmp_path / "in", tmp_path / "out", len(NAMES), 2 * len(NAMES))
    check(before, Held.now(), tmp_path, MARGIN)
    assert [p for p in temporary.iterdir() if not p.name.startswith("torchinductor")] == []
