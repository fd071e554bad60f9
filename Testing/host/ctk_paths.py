"""The widgets of ctk that hold a path."""

from __future__ import annotations

import enum
from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets

from .ctk_properties import forwarded, row, stored

_ELIDE_NONE = 3  # Qt::ElideNone
_FILES, _DIRECTORIES = 0x002, 0x001  # of QDir::Filter


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for the path of a file or folder, with a history and a browse button."""

    class Filter(enum.IntFlag):
        Dirs = 0x001
        Files = 0x002
        Drives = 0x004
        NoSymLinks = 0x008
        AllEntries = 0x007
        Readable = 0x010
        Writable = 0x020
        Executable = 0x040
        Hidden = 0x100
        System = 0x200
        NoDot = 0x2000
        NoDotDot = 0x4000
        NoDotAndDotDot = 0x6000

    class Option(enum.IntFlag):
        ShowDirsOnly = 0x01
        DontResolveSymlinks = 0x02
        DontConfirmOverwrite = 0x04
        DontUseNativeDialog = 0x10
        ReadOnly = 0x20
        HideNameFilterDetails = 0x40

    Dirs, Files, Drives = Filter.Dirs, Filter.Files, Filter.Drives
    NoSymLinks, AllEntries = Filter.NoSymLinks, Filter.AllEntries
    Readable, Writable, Executable = Filter.Readable, Filter.Writable, Filter.Executable
    Hidden, System = Filter.Hidden, Filter.System
    NoDot, NoDotDot, NoDotAndDotDot = Filter.NoDot, Filter.NoDotDot, Filter.NoDotAndDotDot
    ShowDirsOnly, DontUseNativeDialog = Option.ShowDirsOnly, Option.DontUseNativeDialog

    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._valid = False
        self._combo = QtWidgets.QComboBox(self)
        self._combo.editable = True
        self._combo.insertPolicy = QtWidgets.QComboBox.InsertPolicy.NoInsert
        policy = QtWidgets.QSizePolicy.Policy
        self._combo.setSizePolicy(policy.Expanding, policy.Fixed)
        self._button = QtWidgets.QToolButton(self)
        self._button.text = "..."
        row(self, self._combo, self._button)
        self.setFocusProxy(self._combo)
        self._combo.currentTextChanged.connect(self._on_text)
        self._button.clicked.connect(self.browse)

    filters = stored(int, "filters", 0x6017)
    options = stored(int, "options", 0)
    label = stored(str, "label", "")
    nameFilters = stored("QStringList", "nameFilters", [])
    settingKey = stored(str, "settingKey", "", "retrieveHistory")
    minimumContentsLength = forwarded(int, "_combo", "minimumContentsLength")
    sizeAdjustPolicy = forwarded(int, "_combo", "sizeAdjustPolicy")

    @QtCore.Slot(str)
    def setCurrentPath(self, path: str) -> None:
        self._combo.setEditText(path)

    currentPath = QtCore.Property(
        str, lambda self: self._combo.currentText, lambda self, path: self.setCurrentPath(path)
    )
    showBrowseButton = QtCore.Property(
        bool,
        lambda self: not self._button.isHidden(),
        lambda self, on: self._button.setVisible(on),
    )
    showHistoryButton = stored(bool, "showHistoryButton", True)

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._combo

    def _on_text(self, text: str) -> None:
        path = Path(text)
        kinds = int(self.filters)
        valid = bool(text) and (
            bool(kinds & _FILES and (path.is_file() or kinds & self.Writable))
            or bool(kinds & _DIRECTORIES and path.is_dir())
        )
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)
        self.currentPathChanged.emit(text)

    @QtCore.Slot()
    def browse(self) -> None:
        title = self.label or "Select a path"
        kinds = int(self.filters)
        patterns = ";;".join(self.nameFilters)
        here = self.currentPath
        if not kinds & _FILES:
            path = QtWidgets.QFileDialog.getExistingDirectory(self, title, here)
        elif kinds & self.Writable:
            path = QtWidgets.QFileDialog.getSaveFileName(self, title, here, patterns)
        else:
            path = QtWidgets.QFileDialog.getOpenFileName(self, title, here, patterns)
        if path:
            self.setCurrentPath(path)

    @QtCore.Slot()
    def addCurrentPathToHistory(self) -> None:
        path = self.currentPath
        if path and self.settingKey:
            entries = [path, *(entry for entry in self._history() if entry != path)]
            QtCore.QSettings().setValue(self.settingKey, entries[:10])
            self.retrieveHistory()

    @QtCore.Slot()
    def retrieveHistory(self) -> None:
        path = self.currentPath
        self._combo.blockSignals(True)
        self._combo.clear()
        self._combo.addItems(self._history())
        self._combo.setEditText(path)
        self._combo.blockSignals(False)

    def _history(self) -> list[str]:
        kept = QtCore.QSettings().value(self.settingKey) if self.settingKey else None
        return [kept] if isinstance(kept, str) else list(kept or [])


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and lets the user choose another."""

    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._folder = str(Path.cwd())
        self._button = QtWidgets.QPushButton(self)
        row(self, self._button)
        standard = QtWidgets.QStyle.StandardPixmap.SP_DirIcon
        self._button.icon = self.style().standardIcon(standard)
        self._button.clicked.connect(self.browse)
        self._show()

    caption = stored(str, "caption", "")
    text = stored(str, "text", "", "_show")
    acceptMode = stored(int, "acceptMode", 0)
    options = stored(int, "options", 1)
    elideMode = stored(int, "elideMode", _ELIDE_NONE)
    icon = forwarded(QtGui.QIcon, "_button", "icon")

    def _show(self) -> None:
        self._button.text = self.text or self._folder

    def _set_directory(self, folder: str) -> None:
        folder = str(Path(folder).absolute())
        if folder != self._folder:
            self._folder = folder
            self._show()
            self.directoryChanged.emit(folder)

    directory = QtCore.Property(str, lambda self: self._folder, _set_directory)

    @QtCore.Slot()
    def browse(self) -> None:
        title = self.caption or "Select a folder"
        folder = QtWidgets.QFileDialog.getExistingDirectory(self, title, self._folder)
        if folder:
            self._set_directory(folder)
            self.directorySelected.emit(self._folder)
