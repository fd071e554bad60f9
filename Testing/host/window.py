"""The main window: menu bar, module panel on the left, views on the right, status bar."""

from __future__ import annotations

from pathlib import Path

import slicer
from PySide6 import QtCore, QtWidgets

from . import events, scripted_module
from .layout_manager import qSlicerLayoutManager
from .pythonqt import plain

_SIZE = (1366, 768)
_PANEL_WIDTH = 430


@plain
class qSlicerModuleSelectorToolBar(QtWidgets.QToolBar):
    """Names the module in the panel and switches between modules."""

    moduleSelected = QtCore.Signal(str)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._label = QtWidgets.QLabel("Modules:  ", self)
        self._box = QtWidgets.QComboBox(self)
        self._box.setObjectName("ModulesComboBox")
        self._box.setMinimumWidth(220)
        self.addWidget(self._label)
        self.addWidget(self._box)
        self.setMovable(False)

    def selectModule(self, name):
        scripted_module.open_module(name)
        self.moduleSelected.emit(name)

    def _show(self, title: str) -> None:
        if self._box.findText(title) < 0:
            self._box.addItem(title)
        self._box.setCurrentIndex(self._box.findText(title))

    selectedModule = QtCore.Property(str, lambda self: scripted_module.current_module())


@plain
class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The main window, with the object name that slicer.util finds it by."""

    initialWindowShown = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer")
        self._selector = qSlicerModuleSelectorToolBar(self)
        self._panel = QtWidgets.QDockWidget(self)
        self._scroll = QtWidgets.QScrollArea()
        self._module: QtWidgets.QWidget | None = None
        for title in ("File", "Edit", "View", "Help"):
            self.menuBar().addMenu(title)
        self.addToolBar(self._selector)
        self._build_panel()
        self._viewport = QtWidgets.QFrame()
        self._viewport.setObjectName("CentralWidgetLayoutFrame")
        self._viewport.setStyleSheet("#CentralWidgetLayoutFrame { background: #5a5a5a }")
        self.setCentralWidget(self._viewport)
        self.statusBar().showMessage("")
        self.resize(*_SIZE)

    def _build_panel(self) -> None:
        self._panel.setObjectName("PanelDockWidget")
        self._panel.setTitleBarWidget(QtWidgets.QWidget())
        self._panel.setFeatures(QtWidgets.QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
        self._scroll.setObjectName("ModulePanelScrollArea")
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self._panel.setWidget(self._scroll)
        self._panel.setFixedWidth(_PANEL_WIDTH)
        self.addDockWidget(QtCore.Qt.DockWidgetArea.LeftDockWidgetArea, self._panel)

    def moduleSelector(self):
        return self._selector

    def _show_module(self, widget: QtWidgets.QWidget | None, title: str) -> None:
        """Put a module's widget into the panel; None empties it.

        The widget stays its module's and is only lent to the panel.
        """
        self._take_module()
        if widget is None:
            return
        holder = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(holder)
        column.setContentsMargins(6, 4, 6, 6)
        heading = QtWidgets.QLabel(title)
        heading.setStyleSheet("font-weight: bold; font-size: 15px; padding: 2px 0 4px 0")
        column.addWidget(heading)
        column.addWidget(widget, 1)
        self._module = widget
        self._scroll.setWidget(holder)
        widget.show()
        self._selector._show(title)

    def _take_module(self) -> None:
        """Empty the panel without deleting the module's widget."""
        if self._module is not None:
            self._module.setParent(None)
            self._module = None
        holder = self._scroll.takeWidget()
        if holder is not None:
            holder.deleteLater()


def build() -> qSlicerMainWindow:
    """Create and show the main window and give the application its layout manager.

    Returns:
        The window.
    """
    window = qSlicerMainWindow()
    slicer.app._main_window = window
    manager = qSlicerLayoutManager(window._viewport, window)
    slicer.app.setLayoutManager(manager)
    manager.setMRMLScene(slicer.mrmlScene)
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    window.show()
    window.initialWindowShown.emit()
    return window


def grab(widget: QtWidgets.QWidget | None, path: str | Path) -> Path:
    """Save a picture of a widget, with all its views drawn.

    Args:
        widget: What to show; None is the main window.
        path: Where the PNG goes.

    Returns:
        The path.

    Raises:
        OSError: The picture could not be written.
    """
    target = widget if widget is not None else slicer.app._main_window
    events.process_events(0.1)
    path = Path(path)
    if not target.grab().save(str(path), "PNG"):
        raise OSError(f"{path}: the picture could not be written")
    return path
