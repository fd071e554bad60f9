"""Scripted modules: loading a module's file, opening its panel, reloading it.

It is done in the order in which Slicer does it, with one difference: an error in a module is
raised to the caller, where Slicer prints it and goes on, because a test must not miss it.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from . import modules
from .pythonqt import plain

_current: str | None = None


def _stored(name: str, kind: type, qt_kind, empty, writable: bool = True) -> QtCore.Property:
    """A property of Qt that keeps what it is given; the wrong type is an error, as in PythonQt."""

    def read(self):
        return self._values.get(name, empty)

    def write(self, value):
        wrong_item = kind is list and not all(isinstance(item, str) for item in value)
        if not isinstance(value, (list, tuple) if kind is list else kind) or wrong_item:
            raise AttributeError(f"property {name!r} does not accept {value!r}")
        self._values[name] = list(value) if kind is list else value

    def refuse(self, value):
        raise AttributeError(f"property {name!r} is not writable")

    return QtCore.Property(qt_kind, read, write if writable else refuse)


@plain
class qSlicerScriptedLoadableModule(QtCore.QObject):
    """What `slicer.modules.<name>` is, and the `parent` that a module's class is given."""

    title = _stored("title", str, str, "")
    categories = _stored("categories", list, "QStringList", [])
    contributors = _stored("contributors", list, "QStringList", [])
    dependencies = _stored("dependencies", list, "QStringList", [])
    associatedNodeTypes = _stored("associatedNodeTypes", list, "QStringList", [])
    helpText = _stored("helpText", str, str, "")
    acknowledgementText = _stored("acknowledgementText", str, str, "")
    icon = _stored("icon", QtGui.QIcon, QtGui.QIcon, QtGui.QIcon())
    hidden = _stored("hidden", bool, bool, False)
    index = _stored("index", int, int, -1)
    extensions = _stored("extensions", dict, "QVariantMap", {})
    widgetRepresentationCreationEnabled = _stored(
        "widgetRepresentationCreationEnabled", bool, bool, True
    )
    name = _stored("name", str, str, "", writable=False)
    path = _stored("path", str, str, "", writable=False)
    isInstalled = _stored("isInstalled", bool, bool, False, writable=False)
    isBuiltIn = _stored("isBuiltIn", bool, bool, False, writable=False)

    def __init__(self, path: Path, parent=None) -> None:
        super().__init__(parent)
        self._values = {"name": path.stem, "path": path.as_posix()}
        self._logic = None
        self._representation = None
        self._instance = None

    def logic(self):
        """The C++ logic, which is empty; a module's own logic belongs to its panel."""
        if self._logic is None:
            self._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
            self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
            self._logic.SetMRMLScene(slicer.mrmlScene)
        return self._logic

    def mrmlScene(self):
        return slicer.mrmlScene

    def widgetRepresentation(self):
        """The module's panel, made when it is first asked for; None for a module without one."""
        if self._representation is None:
            self._representation = self.createNewWidgetRepresentation()
        return self._representation

    def createNewWidgetRepresentation(self):
        if not self.widgetRepresentationCreationEnabled:
            return None
        widget = qSlicerScriptedLoadableModuleWidget(self)
        widget._load_python()
        widget._set_up()
        widget.setMRMLScene(slicer.mrmlScene)
        return widget


@plain
class qSlicerScriptedLoadableModuleWidget(QtWidgets.QWidget):
    """A module's panel: the widget that a module's own widget class fills, its `parent`."""

    mrmlSceneChanged = QtCore.Signal(object)
    moduleName = QtCore.Property(str, lambda self: self._module.name)
    isEntered = QtCore.Property(bool, lambda self: self._entered)

    def __init__(self, module: qSlicerScriptedLoadableModule, parent=None) -> None:
        super().__init__(parent)
        QtWidgets.QVBoxLayout(self)
        self._module = module
        self._python = None
        self._entered = False
        self._scene = None

    def self(self):
        """The object of the module's own widget class."""
        return self._python

    def enter(self):
        self._entered = True
        self._call("enter")

    def exit(self):
        self._entered = False
        self._call("exit")

    def reload(self):
        """Make a new object of the widget class and set it up; `enter` is not called."""
        self._load_python()
        self._set_up()

    def setEditedNode(self, node, role="", context=""):
        return bool(self._call("setEditedNode", node, role, context))

    def nodeEditable(self, node):
        return float(self._call("nodeEditable", node) or 0.0)

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def _load_python(self) -> None:
        name = self._module.name
        class_name = name if name.endswith("Widget") else name + "Widget"
        self._python = getattr(sys.modules[name], class_name)(self)
        setattr(slicer.modules, class_name, self._python)

    def _set_up(self) -> None:
        self.setObjectName(f"{self._module.name}ModuleWidget")
        self.setWindowTitle(self._module.title)
        self.setWindowIcon(self._module.icon)
        self._call("setup")

    def _call(self, name: str, *arguments):
        method = getattr(self._python, name, None)
        return None if method is None else method(*arguments)


def expose() -> None:
    """Put the classes where Slicer has them."""
    slicer.qSlicerScriptedLoadableModule = qSlicerScriptedLoadableModule
    slicer.qSlicerScriptedLoadableModuleWidget = qSlicerScriptedLoadableModuleWidget


def load_module(path: str | Path) -> qSlicerScriptedLoadableModule:
    """Load a scripted module as Slicer does at its start; loading it again changes nothing.

    The module's folder goes to the end of `sys.path`, the file is executed as the module of its
    name, and its class of the same name is made with the module as `parent`.

    Args:
        path: The module's `.py` file.

    Returns:
        What is then also `slicer.modules.<name in lower case>`.

    Raises:
        FileNotFoundError: There is no such file.
        RuntimeError: Another module has that name already.
        AttributeError: The file has no class of that name.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(path)
    known = getattr(slicer.modules, path.stem.lower(), None)
    if known is not None:
        if Path(known.path) != path:
            raise RuntimeError(f"there is a module {path.stem} already, from {known.path}")
        return known
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    python = _execute(path)
    module = qSlicerScriptedLoadableModule(path, slicer.app)
    module._instance = getattr(python, path.stem)(module)
    setattr(slicer.modules, f"{path.stem}Instance", module._instance)
    module.widgetRepresentationCreationEnabled = hasattr(python, f"{path.stem}Widget")
    modules.register(path.stem, module)
    module.logic()
    if hasattr(module._instance, "setup"):
        module._instance.setup()
    slicer.app.moduleManager().moduleLoaded.emit(path.stem)
    return module


def open_module(name: str) -> qSlicerScriptedLoadableModuleWidget:
    """Show a module's panel; that of the module shown before is left first.

    Args:
        name: The module's name.

    Returns:
        The panel; `.self()` is the module's own widget object.

    Raises:
        RuntimeError: There is no such module, or it has no panel.
    """
    global _current
    module = slicer.util.getModule(name)
    if _current == name:
        return module.widgetRepresentation()
    close_module()
    widget = module.widgetRepresentation()
    if widget is None:
        raise RuntimeError(f"the module {name} has no panel")
    widget.layout().setContentsMargins(0, 0, 0, 0)
    _show(widget, module.title)
    _current = name
    widget.enter()
    return widget


def close_module(name: str | None = None) -> None:
    """Leave the module that is shown, if it is the one named; its panel is kept.

    Args:
        name: The module's name; None for whichever is shown.
    """
    global _current
    if _current is None or name not in (None, _current):
        return
    widget = getattr(slicer.modules, _current.lower()).widgetRepresentation()
    _current = None
    widget.exit()
    _show(None, "")


def unload_module(name: str) -> None:
    """Take a module out again, as at the end of the application.

    Args:
        name: The module's name; its panel's `cleanup` is called.
    """
    close_module(name)
    module = slicer.util.getModule(name)
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    modules.unregister(name)
    for attribute in (f"{name}Instance", f"{name}Widget"):
        if hasattr(slicer.modules, attribute):
            delattr(slicer.modules, attribute)
    getattr(slicer, "selfTests", {}).pop(name, None)
    sys.modules.pop(name, None)
    folder = str(Path(module.path).parent)
    if folder in sys.path:
        sys.path.remove(folder)
    if module._representation is not None:
        module._representation.deleteLater()
    module.deleteLater()


def current_module() -> str:
    """Return the name of the module that is shown, or an empty string."""
    return _current or ""


def _execute(path: Path):
    """Run a file as the module of its name; one that fails leaves nothing behind."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    python = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = python
    try:
        spec.loader.exec_module(python)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return python


def _show(widget: QtWidgets.QWidget | None, title: str) -> None:
    window = slicer.util.mainWindow()
    if window is not None:
        window._show_module(widget, title)
