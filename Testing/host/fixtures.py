"""What the conftest files of the folders that use the host have in common."""

from __future__ import annotations

import importlib.util
from ctypes.util import find_library

import pytest

_NEEDED = {
    "slicer": "slicer-core",
    "trame_slicer": "trame-slicer",
    "PySide6": "PySide6",
    "matplotlib": "matplotlib",
}


def why_not() -> str:
    """Why the host cannot run here; an empty string if it can."""
    missing = [pip for name, pip in _NEEDED.items() if importlib.util.find_spec(name) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    if not (find_library("OSMesa") or find_library("EGL")):
        return "needs the library OSMesa or EGL for rendering without a screen"
    return ""


class _SkippedModule(pytest.Module):
    """A test file that is not even imported, because what it imports is not there."""

    def collect(self):
        pytest.skip(f"the stand-in for 3D Slicer {why_not()}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    """Hook: skip the files of the folder, with the reason, where the host cannot run."""
    return _SkippedModule.from_parent(parent, path=module_path) if why_not() else None


@pytest.fixture(scope="session")
def app():
    """The running application, `slicer.app`."""
    import host

    return host.start()


@pytest.fixture
def scene(app):
    """The scene, empty, with the views as after the start; cleared again afterwards."""
    from host import application

    application.reset()
    yield app.mrmlScene()
    application.reset()
