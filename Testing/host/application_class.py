"""The application object: what `slicer.app` is in Slicer."""

from __future__ import annotations

import platform
from pathlib import Path

import slicer
from PySide6 import QtCore, QtWidgets

from . import pythonqt

_VERSION = (5, 12)


@pythonqt.plain
class qSlicerApplication(QtWidgets.QApplication):
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
        self._restarts = 0
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

    def moduleDocumentationUrl(self, name):
        return f"{self.documentationBaseUrl}/user_guide/modules/{name.lower()}.html"

    def restart(self):
        """Only remembered; the tests go on."""
        self._restarts += 1

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
    documentationBaseUrl = QtCore.Property(
        str, lambda self: "https://slicer.readthedocs.io/en/5.12"
    )
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
class qSlicerCommandOptions(QtCore.QObject):
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
