"""The application object: what `slicer.app` is in Slicer, its scene, logics and modules."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from pathlib import Path

# Chosen before the first import of VTK: every render window then draws in memory.
_OFF_SCREEN = "vtkOSOpenGLRenderWindow" if find_library("OSMesa") else "vtkEGLRenderWindow"
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", _OFF_SCREEN)

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from . import pythonqt

#: The first of these that is installed: what Slicer's own screenshots look like.
_FONTS = ("Noto Sans", "Open Sans", "DejaVu Sans", "Liberation Sans")
_VERSION = (5, 12)

_app: qSlicerApplication | None = None


@pythonqt.plain
class qSlicerApplication(QtWidgets.QApplication):  # noqa: N801
    """The application. Names are those of qSlicerApplication and qSlicerCoreApplication."""

    startupCompleted = QtCore.Signal()
    renderPaused = QtCore.Signal(bool)
    mrmlSceneChanged = QtCore.Signal(object)
    urlReceived = QtCore.Signal(str)

    def __init__(self, folder: Path) -> None:
        super().__init__(["Slicer"])
        self._folder = folder
        self._core = None
        self._layout_manager = None
        self._io_manager = None
        self._module_manager = None
        self._settings = None
        self._options = None
        self._paused = 0
        self._has_main_window = True
        for name in ("home", "home/bin", "home/share", "temporary", "cache", "extensions"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    # The scene and what works on it

    def mrmlScene(self):
        return self._core.scene

    def applicationLogic(self):
        return self._core.app_logic

    def moduleLogic(self, name):
        return self._core.app_logic.GetModuleLogic(name)

    def moduleManager(self):
        return self._module_manager

    def coreIOManager(self):
        return self._io_manager

    def ioManager(self):
        return self._io_manager

    def layoutManager(self):
        return self._layout_manager if self._has_main_window else None

    def setLayoutManager(self, manager):
        self._layout_manager = manager

    def topLevelWidgets(self):
        """All top-level widgets, which is where slicer.util looks for the main window."""
        widgets = QtWidgets.QApplication.topLevelWidgets()
        if self._has_main_window:
            return widgets
        return [widget for widget in widgets if widget.objectName != "qSlicerMainWindow"]

    # Settings and options

    def settings(self):
        return self._settings

    def userSettings(self):
        return self._settings

    def revisionUserSettings(self):
        return self._settings

    def commandOptions(self):
        return self._options

    def testingEnabled(self):
        return self._options.testingEnabled

    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    def environment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    # Rendering

    def pauseRender(self):
        self.setRenderPaused(True)

    def resumeRender(self):
        self.setRenderPaused(False)

    def setRenderPaused(self, pause):
        self._paused = max(0, self._paused + (1 if pause else -1))
        if self._layout_manager is not None:
            self._layout_manager.setRenderPaused(pause)
        self.renderPaused.emit(bool(self._paused))

    # Where things are

    def _text(self, *parts: str) -> str:
        return self._folder.joinpath(*parts).as_posix()

    slicerHome = QtCore.Property(str, lambda self: self._text("home"))
    slicerSharePath = QtCore.Property(str, lambda self: "share/Slicer-5.12")
    extensionsInstallPath = QtCore.Property(str, lambda self: self._text("extensions"))
    slicerUserSettingsFilePath = QtCore.Property(str, lambda self: self._settings.fileName())
    slicerRevisionUserSettingsFilePath = QtCore.Property(
        str, lambda self: self._settings.fileName()
    )
    temporaryPath = QtCore.Property(
        str,
        lambda self: self._core.app_logic.GetTemporaryPath(),
        lambda self, path: self._core.app_logic.SetTemporaryPath(path),
    )
    cachePath = QtCore.Property(str, lambda self: self._text("cache"))
    startupWorkingPath = QtCore.Property(str, lambda self: Path.cwd().as_posix())
    defaultScenePath = QtCore.Property(str, lambda self: self._text("home"))
    majorVersion = QtCore.Property(int, lambda self: _VERSION[0])
    minorVersion = QtCore.Property(int, lambda self: _VERSION[1])
    mainApplicationName = QtCore.Property(str, lambda self: "Slicer")
    mainApplicationDisplayName = QtCore.Property(str, lambda self: "3D Slicer")
    revision = QtCore.Property(str, lambda self: "0")
    repositoryRevision = QtCore.Property(str, lambda self: "0")
    applicationLocaleName = QtCore.Property(str, lambda self: "en_US")
    isInstalled = QtCore.Property(bool, lambda self: True)
    os = QtCore.Property(
        str, lambda self: {"Windows": "win", "Darwin": "macosx"}.get(platform.system(), "linux")
    )
    arch = QtCore.Property(str, lambda self: "amd64")
    platform = QtCore.Property(str, lambda self: f"{self.os}-{self.arch}")


@pythonqt.plain
class qSlicerCommandOptions(QtCore.QObject):  # noqa: N801
    """The command line options that code of modules looks at."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._testing = True
        self._run_python_and_exit = False

    def _set_testing(self, value):
        self._testing = bool(value)

    def _set_run_python_and_exit(self, value):
        self._run_python_and_exit = bool(value)

    testingEnabled = QtCore.Property(bool, lambda self: self._testing, _set_testing)
    runPythonAndExit = QtCore.Property(
        bool, lambda self: self._run_python_and_exit, _set_run_python_and_exit
    )
    noMainWindow = QtCore.Property(bool, lambda self: not slicer.app._has_main_window)


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
        window,
    ):
        for name, value in vars(module).items():
            if name.startswith(("qMRML", "qSlicer")) and value.__module__ == module.__name__:
                setattr(slicer, name, value)
                if issubclass(value, QtWidgets.QWidget):
                    ui_loader.register(value)


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


def process_events(seconds: float = 0.0) -> None:
    """Handle what Qt has waiting; deferred deletions too.

    Args:
        seconds: Keep going for at least this long.
    """
    end = time.monotonic() + seconds
    while True:
        QtWidgets.QApplication.processEvents()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
        if time.monotonic() >= end:
            return
        time.sleep(0.002)


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Handle events until a condition holds.

    Args:
        condition: Called again and again.
        timeout_s: How long to wait, in seconds.

    Raises:
        TimeoutError: The condition did not become true in time.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"the condition did not hold within {timeout_s:g} s")
        process_events(0.005)
