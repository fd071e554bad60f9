"""Shared by the tests of the extension as a package: the checkout, and Pythons that lack it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# `lists` is a program beside the tests, not a package.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def bare_environment(tmp_path_factory) -> dict[str, str]:
    """Variables of a process that finds neither the checkout nor anybody's own models."""
    names = ("PYTHONPATH", "MRIFORGE_MODELS")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    home = str(tmp_path_factory.mktemp("home"))
    return {**kept, "XDG_DATA_HOME": home, "LOCALAPPDATA": home, "HOME": home}


@pytest.fixture(scope="session")
def forget_checkout() -> str:
    """First lines of a program: an editable installation has put the checkout on its path."""
    return (
        "import os, sys\n"
        f"sys.path[:] = [p for p in sys.path if os.path.realpath(p or '.') != {str(ROOT)!r}]"
    )
