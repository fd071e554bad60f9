"""The registry `slicer.modules`, and the built-in modules with their real MRML logics."""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Callable, Iterator

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from . import pythonqt

#: Module name in Slicer, and the class of its logic.
_LOGICS = {
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Reformat": "vtkSlicerReformatLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Units": "vtkSlicerUnitsLogic",
}
#: Module name in Slicer, and the name under which the core registered its logic already.
_REGISTERED = {
    "Data": "Data",
    "Markups": "Markups",
    "Segmentations": "Segmentations",
    "SubjectHierarchy": "SubjectHierarchy",
    "Terminologies": "Terminologies",
    "VolumeRendering": "VolumeRendering",
    "Volumes": "Volumes",
}


@pythonqt.plain
class qSlicerLoadableModule(QtCore.QObject):
    """A built-in module: its name, its logic, and for Sequences the tool bar."""

    def __init__(self, name: str, logic, parent=None) -> None:
        super().__init__(parent)
        self._name = name
        self._logic = logic
        self._tool_bar = None

    name = QtCore.Property(str, lambda self: self._name)
    title = QtCore.Property(str, lambda self: self._name)
    hidden = QtCore.Property(bool, lambda self: False)
    isBuiltIn = QtCore.Property(bool, lambda self: True)

    def logic(self):
        return self._logic

    def mrmlScene(self):
        return slicer.mrmlScene

    def widgetRepresentation(self):
        return None


@pythonqt.plain
class qSlicerSequencesModule(qSlicerLoadableModule):
    """The Sequences module, whose tool bar other modules set the active browser of."""

    def toolBar(self):
        if self._tool_bar is None:
            self._tool_bar = qMRMLSequenceBrowserToolBar()
        return self._tool_bar

    def setToolBarVisible(self, visible):
        self.toolBar().setVisible(visible)


@pythonqt.plain
class qMRMLSequenceBrowserToolBar(QtWidgets.QToolBar):
    """Remembers which sequence browser it controls; draws no controls."""

    activeBrowserNodeChanged = QtCore.Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._browser_id = None

    def activeBrowserNode(self):
        return slicer.mrmlScene.GetNodeByID(self._browser_id) if self._browser_id else None

    def setActiveBrowserNode(self, browser):
        self._browser_id = browser.GetID() if browser is not None else None
        self.activeBrowserNodeChanged.emit(browser)


@pythonqt.plain
class qSlicerModuleFactoryManager(QtCore.QObject):
    """The part of the module factory manager that slicer.util asks."""

    def loadedModuleNames(self):
        return slicer.app.moduleManager().modulesNames()

    def isLoaded(self, name):
        return name in self.loadedModuleNames()


@pythonqt.plain
class qSlicerModuleManager(QtCore.QObject):
    """Finds modules in `slicer.modules`."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._factory = qSlicerModuleFactoryManager(self)

    def module(self, name):
        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self):
        return [name for name in vars(slicer.moduleNames) if not name.startswith("_")]

    def factoryManager(self):
        return self._factory


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep VTK from printing warnings about how the packages set themselves up."""
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(shown)


def register(name: str, module: object) -> None:
    """Make a module known as `slicer.modules.<name in lower case>`.

    Args:
        name: The module's name, such as "Volumes".
        module: The object that stands for it.
    """
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.moduleNames, name, name)


def unregister(name: str) -> None:
    """Forget a module; nothing happens if there is none of that name."""
    for registry, key in ((slicer.modules, name.lower()), (slicer.moduleNames, name)):
        if hasattr(registry, key):
            delattr(registry, key)


def register_built_in(app) -> None:
    """Create the registry and the modules that Slicer's C++ brings.

    Args:
        app: The application, with its scene and application logic in place.
    """
    for name in ("modules", "moduleNames"):
        registry = types.ModuleType(f"slicer.{name}")
        sys.modules[f"slicer.{name}"] = registry
        setattr(slicer, name, registry)
    core = app._core
    find: Callable[[str], object] = core.app_logic.GetModuleLogic
    logics = {name: find(known) for name, known in _REGISTERED.items()}
    for name, class_name in _LOGICS.items():
        with silent():  # CropVolume's logic registers its node class twice
            logic = getattr(slicer, class_name)()
            logics[name] = core.register_module_logic(logic, logic_name=name)
    # The core registers a plain color logic; the module's own one also makes color legends.
    colors = slicer.vtkSlicerColorLogic()
    colors.SetMRMLApplicationLogic(core.app_logic)
    with silent():  # it finds no color files, see colors.py
        logics["Colors"] = core.register_module_logic(colors, logic_name="Colors")
    for name, logic in logics.items():
        cls = qSlicerSequencesModule if name == "Sequences" else qSlicerLoadableModule
        register(name, cls(name, logic, app))
    slicer.qSlicerLoadableModule = qSlicerLoadableModule
    slicer.qMRMLSequenceBrowserToolBar = qMRMLSequenceBrowserToolBar
