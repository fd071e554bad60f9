"""Fixtures shared by all core tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A shell starts background commands with Ctrl+C ignored, and their children inherit it; the tests
# of interruption need it to work however they were started.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real MR data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("MRIFORGE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "MANIFEST.md").is_file():
        pytest.skip("the folder of real MR data is not here (MRIFORGE_SHARED_DATA)")
    return folder
