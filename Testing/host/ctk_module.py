"""The module ``ctk`` as it is inside Slicer: those of its widgets that panels use."""

from __future__ import annotations

import sys
import types

from . import pythonqt, ui_loader


def install() -> types.ModuleType:
    """Register and return the module ``ctk``; a second call returns the same one."""
    module = sys.modules.get("ctk")
    if module is not None and getattr(module, "__doc__", None) == __doc__:
        return module
    pythonqt.install()
    module = types.ModuleType("ctk", __doc__)
    for cls in classes():
        ui_loader.register(cls)
        setattr(module, cls.__name__, cls)
    sys.modules["ctk"] = module
    return module


def classes() -> list[type]:
    """The widget classes of ctk that are here."""
    from . import ctk_collapsing, ctk_paths, ctk_range, ctk_values, ctk_widgets

    return [
        cls
        for home in (ctk_collapsing, ctk_paths, ctk_range, ctk_values, ctk_widgets)
        for name, cls in vars(home).items()
        if name.startswith("ctk") and isinstance(cls, type) and cls.__module__ == home.__name__
    ]
