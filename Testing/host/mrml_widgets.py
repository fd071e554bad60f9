"""The widgets of Slicer's MRML library that panels are built from."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import ctk
import shiboken6
import vtk
from PySide6 import QtCore, QtWidgets

from .pythonqt import plain


class Observations:
    """VTK observers that end with the Qt object they belong to.

    VTK keeps a callback alive for as long as it keeps what it observes, here often the scene,
    which outlives every widget.
    """

    def __init__(self, owner: QtCore.QObject) -> None:
        self._owner = weakref.ref(owner)
        self._entries: list[tuple[vtk.vtkObject, int]] = []

    def add(self, sender: vtk.vtkObject | None, events, function: Callable[[], None]) -> None:
        """Call a method of the owner, without arguments, at each of some events.

        Args:
            sender: What to observe; None is ignored.
            events: One event or several.
            function: A bound method.
        """
        if sender is None:
            return
        method = weakref.WeakMethod(function)

        def call(*_):
            owner, target = self._owner(), method()
            if owner is None or target is None or not shiboken6.isValid(owner):
                self.clear()
            else:
                target()

        for event in events if isinstance(events, tuple) else (events,):
            self._entries.append((sender, sender.AddObserver(event, call)))

    def clear(self) -> None:
        """Remove all observers."""
        entries, self._entries = self._entries, []
        for sender, tag in entries:
            sender.RemoveObserver(tag)


@plain
class qMRMLWidget(QtWidgets.QWidget):
    """A widget with a scene, and a signal that hands it on to the widgets inside."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


@plain
class qMRMLSliderWidget(ctk.ctkSliderWidget):
    """A slider with a spin box whose unit comes from the scene."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self._quantity = ""

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._scene = scene
        _show_unit(self)

    def setQuantity(self, quantity):
        self._quantity = quantity
        _show_unit(self)

    quantity = QtCore.Property(str, lambda self: self._quantity, setQuantity)


@plain
class qMRMLSpinBox(ctk.ctkDoubleSpinBox):
    """A spin box whose unit comes from the scene."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self._quantity = ""

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._scene = scene
        _show_unit(self)

    def setQuantity(self, quantity):
        self._quantity = quantity
        _show_unit(self)

    quantity = QtCore.Property(str, lambda self: self._quantity, setQuantity)


@plain
class qMRMLRangeWidget(ctk.ctkRangeWidget):
    """A range whose unit comes from the scene."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self._quantity = ""

    def setMRMLScene(self, scene):
        self._scene = scene
        _show_unit(self)

    def setQuantity(self, quantity):
        self._quantity = quantity
        _show_unit(self)

    quantity = QtCore.Property(str, lambda self: self._quantity, setQuantity)


def _show_unit(widget) -> None:
    """Give a widget the suffix of the unit that the scene has for its quantity."""
    if widget._scene is None or not widget._quantity:
        return
    selection = widget._scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    unit = selection.GetUnitNode(widget._quantity) if selection is not None else None
    if unit is not None:
        widget.suffix = unit.GetSuffix() or ""
        widget.decimals = unit.GetPrecision()
