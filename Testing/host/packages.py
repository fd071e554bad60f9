"""Puts Slicer's Python packages in place: our stand-ins, or Slicer's own files.

With a Slicer source tree (`SLICER_SOURCE`) its own Python files are run, straight from that tree,
on the host's Qt and MRML; without one the files in `stand_ins` are. Both are found by the
ordinary `import` statement, when they are first asked for.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import slicer

_STAND_INS = Path(__file__).resolve().parent / "stand_ins"

#: Module name -> (file of the stand-in, file in Slicer's source tree; None where it has none).
_FILES = {
    "slicer.i18n": ("i18n.py", "Base/Python/slicer/i18n.py"),
    "slicer.ScriptedLoadableModule": (
        "scripted_loadable_module.py",
        "Base/Python/slicer/ScriptedLoadableModule.py",
    ),
    "slicer.parameterNodeWrapper": (
        "parameter_node_wrapper/__init__.py",
        "Base/Python/slicer/parameterNodeWrapper/__init__.py",
    ),
    "slicer.packaging": ("packaging.py", "Base/Python/slicer/packaging.py"),
    "SampleData": ("sample_data.py", "Modules/Scripted/SampleData/SampleData.py"),
    "PyTorchUtils": ("pytorch_utils.py", None),
}
_UTIL = "Base/Python/slicer/util.py"

_WIDGETS_NAMED_BY_SLICER = (
    "ctkCheckablePushButton",
    "ctkColorPickerButton",
    "ctkDoubleRangeSlider",
)

_finder: _Finder | None = None


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of `_FILES`; before any other finder, so that nothing shadows them."""

    def __init__(self, source: Path | None) -> None:
        self.source = source
        self.hidden: set[str] = set()

    def path_of(self, name: str) -> Path:
        """Return the file that is run for a module."""
        stand_in, own = _FILES[name]
        if self.source is not None and own is not None:
            return self.source / own
        return _STAND_INS / stand_in

    def find_spec(self, name, path=None, target=None):
        """Return how to load one of our modules, or None for any other."""
        if name not in _FILES:
            return None
        if name in self.hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        file = self.path_of(name)
        folders = [str(file.parent)] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=folders
        )


def install(slicer_source: str | None = None) -> None:
    """Make Slicer's Python packages importable; `qt` and `ctk` too. A second call does nothing.

    Args:
        slicer_source: Folder of a Slicer source tree whose own files are to be used.

    Raises:
        FileNotFoundError: The folder is not a Slicer source tree.
    """
    global _finder
    if _finder is not None:
        return
    from . import ctk_module, qt_module

    qt_module.install()
    ctk_module.install()
    source = Path(slicer_source).resolve() if slicer_source else None
    if source is not None and not (source / _UTIL).is_file():
        raise FileNotFoundError(f"{source} holds no Slicer source tree: {_UTIL} is not there")
    # Whatever runs pip from here on, ours or Slicer's own code, fetches nothing.
    os.environ["PIP_NO_INDEX"] = "1"
    _finder = _Finder(source)
    sys.meta_path.insert(0, _finder)
    _take_back_leaked_names()
    if source is None:
        _complete_util()
    else:
        _replace_util(source / _UTIL)
        _name_missing_widgets()
        _let_menus_have_any_parent()
    from . import scripted_module

    scripted_module.expose()


def source_in_use() -> Path | None:
    """Return the Slicer source tree whose files run, or None for the stand-ins."""
    return None if _finder is None else _finder.source


def set_torch(state: str) -> None:
    """Say what the PyTorch extension of this computer is like.

    Args:
        state: "no extension", or one of `STATES` of the stand-in for PyTorchUtils: "installed",
            "not installed", "half installed", "cancel", "fails".

    Raises:
        ValueError: There is no such state.
    """
    if state == "no extension":
        _finder.hidden.add("PyTorchUtils")
        sys.modules.pop("PyTorchUtils", None)
        return
    _finder.hidden.discard("PyTorchUtils")
    stand_in = importlib.import_module("PyTorchUtils")
    if state not in stand_in.STATES:
        raise ValueError(f"{state!r} is none of {('no extension', *stand_in.STATES)}")
    stand_in.STATE = state
    stand_in.CALLS.clear()


def _take_back_leaked_names() -> None:
    """Remove from `slicer` what the slicer-core wheel copies there from `slicer.util`.

    In Slicer it is `slicer.util.loadVolume`; code that says `slicer.loadVolume` fails there.
    """
    for name, value in list(vars(slicer).items()):
        ours = getattr(value, "__module__", None) == "slicer.util"
        constant = name.isupper() and getattr(slicer.util, name, None) is value
        if ours or (constant and not name.startswith("VTK")):
            delattr(slicer, name)


def _complete_util() -> None:
    additions = _load("host.stand_ins.util_additions", _STAND_INS / "util_additions.py")
    for name in additions.__all__:
        setattr(slicer.util, name, getattr(additions, name))


def _replace_util(path: Path) -> None:
    slicer.util = _load("slicer.util", path)
    sys.modules["slicer.util"] = slicer.util


def _name_missing_widgets() -> None:
    """Give Slicer's connectors the names of widgets that the host lacks; none can be made."""
    import ctk

    def refuse(self, *_):
        raise NotImplementedError(f"the host has no {type(self).__name__}")

    for name in _WIDGETS_NAMED_BY_SLICER:
        if not hasattr(ctk, name):
            setattr(ctk, name, type(name, (), {"__init__": refuse}))


def _let_menus_have_any_parent() -> None:
    """Let `qt.QMenu(x)` ignore an x that is no widget, as PythonQt does.

    Slicer's developer section gives its menu the Python object of the panel as parent.
    """
    from PySide6 import QtWidgets

    native = QtWidgets.QMenu.__init__

    def init(self, *arguments, **options):
        taken = [one for one in arguments if isinstance(one, (QtWidgets.QWidget, str))]
        native(self, *taken, **options)

    QtWidgets.QMenu.__init__ = init


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
