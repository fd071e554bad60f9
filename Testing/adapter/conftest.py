"""Runs these tests inside the stand-in for the Slicer application."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
# The repository for the code under test, Testing for the host, this folder for its helpers.
for _folder in (_HERE, _HERE.parent, _HERE.parents[1]):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from host.fixtures import app, pytest_pycollect_makemodule, scene  # noqa: E402

__all__ = ["app", "pytest_pycollect_makemodule", "scene"]
