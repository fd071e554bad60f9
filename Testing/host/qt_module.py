"""The module ``qt`` as PythonQt offers it inside Slicer, made from PySide6.

It holds the classes that PythonQt wraps for Qt 5.15 and that Qt 6 still has, so code that gets by
with them runs in both. Names that only PySide6 has (Signal, Slot, Property, QtCore, ...) are not
there.
"""

from __future__ import annotations

import sys
import types

from . import pythonqt, qt_names, ui_loader


def find_class(name: str) -> type | None:
    """The class that ``qt.<name>`` is, or None."""
    if name not in qt_names.wrapped_names():
        return None
    if name == "QUiLoader":
        return ui_loader.UiLoader
    for module in qt_names.QT_MODULES:
        if hasattr(module, name):
            return getattr(module, name)
    return None


class _QtModule(types.ModuleType):
    """Finds a class when it is first asked for."""

    def __getattr__(self, name: str):
        found = None if name.startswith("_") else find_class(name)
        if found is None:
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
        setattr(self, name, found)
        return found

    def __dir__(self) -> list[str]:
        return sorted(qt_names.wrapped_names())


def install() -> types.ModuleType:
    """Register and return the module ``qt``; a second call returns the same one."""
    if not isinstance(sys.modules.get("qt"), _QtModule):
        pythonqt.install()
        sys.modules["qt"] = _QtModule("qt", __doc__)
    return sys.modules["qt"]
