"""Runs these tests inside the stand-in for the Slicer application."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
# The repository for the code under test, Testing for the host, this folder for its helpers.
for _folder in (_HERE, _HERE.parent, _HERE.parent / "adapter", _HERE.parents[1]):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from host.fixtures import app, pytest_pycollect_makemodule, scene  # noqa: E402

__all__ = ["app", "pytest_pycollect_makemodule", "scene"]


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    """The opened panel of SuperResMRI (the Python widget) in an empty scene."""
    yield from _opened("SuperResMRI", tmp_path, monkeypatch)


@pytest.fixture
def recon_panel(scene, tmp_path, monkeypatch):
    """The opened panel of MTMRIRecon in an empty scene."""
    yield from _opened("MTMRIRecon", tmp_path, monkeypatch)


@pytest.fixture
def organs_panel(scene, tmp_path, monkeypatch):
    """The opened panel of ALAMOSegment in an empty scene."""
    yield from _opened("ALAMOSegment", tmp_path, monkeypatch)


def _opened(module, tmp_path, monkeypatch):
    import host
    from panel_helpers import ROOT, use_this_python

    use_this_python(tmp_path, monkeypatch)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("HOME", str(tmp_path))
    host.load_module(ROOT / module / f"{module}.py")
    widget = host.open_module(module).self()
    yield widget
    if widget.session is not None:
        widget.session.cancel()
        host.wait_until(lambda: widget.session is None, 15)
    host.close_module(module)
