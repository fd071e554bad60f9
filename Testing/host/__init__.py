"""A stand-in for the 3D Slicer application, for tests only.

The MRML scene, its nodes, logics and displayable managers are Slicer's own (the packages
slicer-core and trame-slicer). Qt is PySide6, made to behave as PythonQt does. What Slicer
implements in C++ on top of both, the application object, the layout manager, the view and node
selector widgets, is implemented here with the names that Slicer gives them, and no others.

Call `start` once, before anything imports `slicer.app` or a module under test. Importing this
package already decides how VTK and Qt draw, which has to come before either is imported.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from ctypes.util import find_library
from typing import Any

# Every window draws in memory; VTK, where no screen can be counted on, with whichever of the two
# libraries is here.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if sys.platform.startswith("linux"):
    _WINDOW = "vtkOSOpenGLRenderWindow" if find_library("OSMesa") else "vtkEGLRenderWindow"
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", _WINDOW)

if sys.version_info < (3, 12):
    # PySide6 6.12 returns these without taking a reference, which is only right since Python 3.12
    # made them immortal; before, some 5000 calls of setText() end the process ("deallocating
    # None"). So they are given more references here than could ever be lost.
    for _singleton in (None, True, False, NotImplemented, Ellipsis):
        ctypes.c_ssize_t.from_address(id(_singleton)).value += 1 << 40

#: Where each public name lives. They are looked up when first used: most of them can only be
#: imported once the application runs, because they derive from the adapted Qt classes.
_HOMES = {
    "start": "host.application",
    "process_events": "host.events",
    "wait_until": "host.events",
    "close_scene": "host.application",
    "without_main_window": "host.application",
    "grab": "host.window",
    "load_module": "host.scripted_module",
    "open_module": "host.scripted_module",
    "close_module": "host.scripted_module",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'host' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
