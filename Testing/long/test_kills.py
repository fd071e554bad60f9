"""Fifty kills of real worker processes: SIGTERM and SIGKILL in turn, at random moments."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[1] / "core" / "test_jobs_kills.py"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.name == "nt", reason="Windows processes end without signals"),
]


@pytest.fixture(scope="module")
def kills():
    spec = importlib.util.spec_from_file_location("kills_harness", HARNESS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_thirty_kills_of_finetuning(kills, tmp_path):
    bench = kills.Bench(tmp_path, seed=11)
    kills.kill_finetuning(bench, kills=30)
    print(f"exit codes {bench.codes}, {bench.finished} runs got to their end on the way")


def test_twenty_kills_of_writing(kills, tmp_path):
    bench = kills.Bench(tmp_path, seed=12)
    kills.kill_writing(bench, kills=20)
    print(f"exit codes {bench.codes}, {bench.finished} runs got to their end on the way")
