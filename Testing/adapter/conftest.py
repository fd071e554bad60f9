"""Runs these tests inside the stand-in for the Slicer application."""

from __future__ import annotations

import sys
from pathlib import Path

_TESTING = str(Path(__file__).resolve().parents[1])
_REPOSITORY = str(Path(__file__).resolve().parents[2])
for _folder in (_REPOSITORY, _TESTING):
    if _folder not in sys.path:
        sys.path.insert(0, _folder)

from host.fixtures import app, pytest_pycollect_makemodule, scene  # noqa: E402

__all__ = ["app", "pytest_pycollect_makemodule", "scene"]
