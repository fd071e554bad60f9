"""Runs these tests inside the stand-in for the Slicer application."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
# The repository for the code under test, Testing for the host, this folder for its helpers.
for _folder in (_HERE, _HERE.parent, _HERE.parents[1]):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from host.fixtures import app, pytest_pycollect_makemodule, scene  # noqa: E402

__all__ = ["app", "pytest_pycollect_makemodule", "scene"]


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    """The opened panel (the Python widget) in an empty scene."""
    import host
    from panel_helpers import MODULE, use_this_python

    use_this_python(tmp_path, monkeypatch)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("HOME", str(tmp_path))
    host.load_module(MODULE)
    widget = host.open_module("SuperResMRI").self()
    yield widget
    if widget.session is not None:
        widget.session.cancel()
        host.wait_until(lambda: widget.session is None, 15)
    host.close_module("SuperResMRI")
