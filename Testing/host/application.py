"""Starting the application, and what tests do with it as a whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from . import pythonqt
from .application_class import qSlicerApplication, qSlicerCommandOptions
from .events import process_events

#: The first of these that is installed: what Slicer's own screenshots look like.
_FONTS = ("Noto Sans", "Open Sans", "DejaVu Sans", "Liberation Sans")

_app: qSlicerApplication | None = None


def start(main_window: bool = True) -> qSlicerApplication:
    """Start the application, once for each process.

    Args:
        main_window: Whether to build the main window with its views. It can be hidden from the
            code under test later, see `without_main_window`.

    Returns:
        The application, which is also `slicer.app`.

    Raises:
        RuntimeError: Another QApplication exists already.
    """
    global _app
    if _app is not None:
        return _app
    if QtWidgets.QApplication.instance() is not None:
        raise RuntimeError("host.start() has to come before any other QApplication")
    holder = tempfile.TemporaryDirectory(prefix="slicer-host-")
    folder = Path(holder.name)
    _isolate_settings(folder)
    pythonqt.install()
    _app = qSlicerApplication(folder)
    _app._holder = holder
    _dress(_app)
    _build_core(_app)
    _put_packages_in_place()
    _expose_widgets()
    if main_window:
        from . import window

        window.build()
    else:
        _app._has_main_window = False
    _app.startupCompleted.emit()
    process_events()
    return _app


def _isolate_settings(folder: Path) -> None:
    """Settings of tests neither read nor change those of the user."""
    ini = QtCore.QSettings.Format.IniFormat
    QtCore.QSettings.setDefaultFormat(ini)
    for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
        QtCore.QSettings.setPath(ini, scope, (folder / "settings").as_posix())


def _dress(app: qSlicerApplication) -> None:
    QtCore.QCoreApplication.setOrganizationName("NA-MIC")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    app.setQuitOnLastWindowClosed(False)
    app.setStyle("Fusion")
    app.setPalette(_light_palette())
    families = set(QtGui.QFontDatabase.families())
    family = next((name for name in _FONTS if name in families), None)
    if family is not None:
        font = QtGui.QFont(family)
        font.setPixelSize(12)
        app.setFont(font)
    app._settings = QtCore.QSettings()
    app._options = qSlicerCommandOptions()


def _light_palette() -> QtGui.QPalette:
    role = QtGui.QPalette.ColorRole
    palette = QtGui.QPalette(QtGui.QColor("#efefef"), QtGui.QColor("#efefef"))
    palette.setColor(role.Base, QtGui.QColor("#ffffff"))
    palette.setColor(role.AlternateBase, QtGui.QColor("#f7f7f7"))
    palette.setColor(role.Highlight, QtGui.QColor("#308cc6"))
    palette.setColor(role.HighlightedText, QtGui.QColor("#ffffff"))
    palette.setColor(role.ToolTipBase, QtGui.QColor("#ffffdc"))
    gray = QtGui.QColor("#9a9a9a")
    for each in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(each, QtGui.QColor("#000000"))
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, each, gray)
    return palette


def _build_core(app: qSlicerApplication) -> None:
    from trame_slicer.core import SlicerApp

    from . import colors, files, modules

    app._core = SlicerApp()
    app._core.app_logic.SetTemporaryPath(app._text("temporary"))
    slicer.app = app
    slicer.mrmlScene = app._core.scene
    colors.add_file_color_tables(slicer.mrmlScene)
    modules.register_built_in(app)
    app._module_manager = modules.qSlicerModuleManager(app)
    app._io_manager = files.qSlicerIOManager(app)
    slicer.qSlicerApplication = qSlicerApplication


def _put_packages_in_place() -> None:
    """Slicer's own Python packages, or the stand-ins for them."""
    from . import packages

    packages.install(os.environ.get("SLICER_SOURCE"))


def _expose_widgets() -> None:
    """Put the widget classes where Slicer has them: in the module `slicer`, and for .ui files."""
    from . import (
        layout_manager,
        mrml_widgets,
        node_combo_box,
        plot_widget,
        slice_widget,
        table_widget,
        threed_widget,
        ui_loader,
        window,
    )

    for module in (
        mrml_widgets,
        node_combo_box,
        layout_manager,
        slice_widget,
        plot_widget,
        table_widget,
        threed_widget,
        window,
    ):
        for name, value in vars(module).items():
            if name.startswith(("qMRML", "qSlicer")) and value.__module__ == module.__name__:
                setattr(slicer, name, value)
    for cls in (
        mrml_widgets.qMRMLWidget,
        mrml_widgets.qMRMLSliderWidget,
        mrml_widgets.qMRMLSpinBox,
        mrml_widgets.qMRMLRangeWidget,
        node_combo_box.qMRMLNodeComboBox,
        plot_widget.qMRMLPlotView,
        plot_widget.qMRMLPlotWidget,
        table_widget.qMRMLTableView,
        table_widget.qMRMLTableWidget,
    ):
        ui_loader.register(cls)


@contextlib.contextmanager
def without_main_window() -> Iterator[None]:
    """Inside, the application looks like one started with `--no-main-window`.

    `slicer.util.mainWindow()` and `slicer.app.layoutManager()` are None.
    """
    before = _app._has_main_window
    _app._has_main_window = False
    try:
        yield
    finally:
        _app._has_main_window = before


def close_scene() -> None:
    """Close the scene as File > Close Scene does: StartCloseEvent, EndCloseEvent, all sent."""
    slicer.mrmlScene.Clear(False)
    process_events()


def reset() -> None:
    """Bring the application back to what it was after the start, for the next test."""
    from . import scripted_module

    scripted_module.close_module()
    slicer.app.commandOptions().testingEnabled = True
    manager = slicer.app._layout_manager
    if manager is not None:
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        for widget in manager._of("vtkMRMLSliceNode"):
            if widget.mrmlSliceNode().GetLayoutName() not in ("Red", "Green", "Yellow"):
                slicer.mrmlScene.RemoveNode(widget.mrmlSliceCompositeNode())
                slicer.mrmlScene.RemoveNode(widget.mrmlSliceNode())
        for kind in ("vtkMRMLPlotViewNode", "vtkMRMLTableViewNode"):
            for node in slicer.util.getNodesByClass(kind):
                if (node.GetLayoutName() or "").startswith("MRIForge"):
                    slicer.mrmlScene.RemoveNode(node)
    close_scene()
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        node.SetLinkedControl(False)
        node.SetHotLinkedControl(False)
    process_events()
