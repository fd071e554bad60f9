"""The buttons, boxes and text widgets of ctk that panels use."""

from __future__ import annotations

import enum

from PySide6 import QtCore, QtGui, QtWidgets

from .ctk_properties import stored

_ELIDE_NONE = 3  # Qt::ElideNone


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for when nothing is chosen."""

    class ScrollEffect(enum.IntEnum):
        NeverScroll = 0
        AlwaysScroll = 1
        ScrollWithFocus = 2
        ScrollWithNoFocus = 3

    NeverScroll = ScrollEffect.NeverScroll
    AlwaysScroll = ScrollEffect.AlwaysScroll
    ScrollWithFocus = ScrollEffect.ScrollWithFocus
    ScrollWithNoFocus = ScrollEffect.ScrollWithNoFocus

    returnRelease = QtCore.Signal()

    defaultText = stored(str, "defaultText", "", "_show_default")
    forceDefault = stored(bool, "forceDefault", False, "_show_default")
    elideMode = stored(int, "elideMode", _ELIDE_NONE, "update")
    scrollWheelEffect = stored(int, "scrollWheelEffect", 1)

    def _show_default(self) -> None:
        self.placeholderText = self.defaultText
        self.update()

    @QtCore.Slot(str)
    def setCurrentUserDataAsString(self, userData: str) -> None:
        for index in range(self.count):
            if str(self.itemData(index)) == userData:
                self.currentIndex = index
                return

    currentUserDataAsString = QtCore.Property(
        str,
        lambda self: "" if self.currentIndex < 0 else str(self.itemData(self.currentIndex) or ""),
        lambda self, text: self.setCurrentUserDataAsString(text),
    )

    def wheelEvent(self, event) -> None:
        wanted = self.scrollWheelEffect
        focus = self.hasFocus()
        if (
            wanted == self.AlwaysScroll
            or (wanted == self.ScrollWithFocus and focus)
            or (wanted == self.ScrollWithNoFocus and not focus)
        ):
            super().wheelEvent(event)
        else:
            event.ignore()

    def keyReleaseEvent(self, event) -> None:
        super().keyReleaseEvent(event)
        if event.key() in (QtCore.Qt.Key.Key_Return, QtCore.Qt.Key.Key_Enter):
            self.returnRelease.emit()


class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box that can show an icon."""

    indicatorIcon = stored(QtGui.QIcon, "indicatorIcon", QtGui.QIcon(), "_show_icon")
    indicatorIconSize = stored(QtCore.QSize, "indicatorIconSize", QtCore.QSize(), "_show_icon")

    def _show_icon(self) -> None:
        self.icon = self.indicatorIcon
        if self.indicatorIconSize.isValid():
            self.iconSize = self.indicatorIconSize


class ctkPushButton(QtWidgets.QPushButton):
    """A push button."""

    buttonTextAlignment = stored(int, "buttonTextAlignment", 0x84, "update")
    iconAlignment = stored(int, "iconAlignment", 0x81, "update")
    elideMode = stored(int, "elideMode", _ELIDE_NONE, "update")


class ctkMenuButton(QtWidgets.QPushButton):
    """A push button with a menu behind an arrow."""


class ctkExpandButton(QtWidgets.QToolButton):
    """A small arrow that turns round when it is checked."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self.checkable = True
        self.maximumSize = QtCore.QSize(15, 15)
        self.toggled.connect(self._turn)
        self._turn()

    mirrorOnExpand = stored(bool, "mirrorOnExpand", False, "_turn")
    orientation = stored(int, "orientation", 1, "_turn")

    def _turn(self) -> None:
        arrow = QtCore.Qt.ArrowType
        ways = (
            (arrow.RightArrow, arrow.LeftArrow)
            if self.orientation == QtCore.Qt.Orientation.Horizontal
            else (arrow.DownArrow, arrow.UpArrow)
        )
        self.arrowType = ways[int(self.checked and self.mirrorOnExpand)]


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that need not be shown again."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QCheckBox("Don't show this message again")
        self._box.setVisible(False)
        self._roles = [self.AcceptRole, self.YesRole]
        self.finished.connect(self.onFinished)

    dontShowAgainSettingsKey = stored(str, "key", "", "_read")

    def _read(self) -> None:
        chosen = QtCore.QSettings().value(self.dontShowAgainSettingsKey)
        self._box.checked = chosen not in (None, "", "false", 0, "0", False)

    def _set_offered(self, offered: bool) -> None:
        self.setCheckBox(self._box if offered else None)

    @QtCore.Slot(bool)
    def setDontShowAgain(self, dontShow: bool) -> None:
        self._box.checked = bool(dontShow)

    dontShowAgain = QtCore.Property(
        bool, lambda self: self._box.checked, lambda self, on: self.setDontShowAgain(on)
    )
    dontShowAgainVisible = QtCore.Property(
        bool, lambda self: self.checkBox() is not None, _set_offered
    )

    def addDontShowAgainButtonRole(self, role) -> None:
        self._roles.append(role)

    @QtCore.Slot(int)
    def onFinished(self, resultCode: int) -> None:
        button = self.clickedButton()
        if (
            self.dontShowAgainSettingsKey
            and button is not None
            and self.buttonRole(button) in self._roles
        ):
            QtCore.QSettings().setValue(self.dontShowAgainSettingsKey, self._box.checked)

    def setVisible(self, visible: bool) -> None:
        super().setVisible(visible)
        if visible and self.dontShowAgain and self.dontShowAgainSettingsKey:
            # exec() only starts to wait after this.
            QtCore.QTimer.singleShot(0, lambda: self.done(int(self.Ok)))


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text that takes the height it needs; its details can be folded away."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._pair: tuple[str, str] | None = None
        self._folded = True
        bars = QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        self.verticalScrollBarPolicy = bars
        kind = QtWidgets.QSizePolicy.Policy
        policy = QtWidgets.QSizePolicy(kind.Expanding, kind.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setOpenLinks(False)
        self.anchorClicked.connect(self._on_link)
        self.textChanged.connect(self.updateGeometry)

    showDetailsText = stored(str, "showDetailsText", "Show details...", "_show")
    hideDetailsText = stored(str, "hideDetailsText", "Hide details.", "_show")
    disableMouseScroll = stored(bool, "disableMouseScroll", False)

    @QtCore.Slot(str)
    def setCollapsibleText(self, text: str) -> None:
        """The first line is shown at all times, the rest when it is not collapsed."""
        summary, _, details = text.partition("\n")
        self._pair = (summary, details.replace("\n", "<br>"))
        self._show()

    @QtCore.Slot(str)
    def setCollapsibleHtml(self, text: str) -> None:
        summary, _, details = text.partition("<br>")
        self._pair = (summary, details)
        self._show()

    @QtCore.Slot(str)
    def setCollapsiblePlainText(self, text: str) -> None:
        self.setCollapsibleText(text.replace("&", "&amp;").replace("<", "&lt;"))

    def collapsibleText(self) -> str:
        return "\n".join(self._pair) if self._pair else ""

    def _set_collapsed(self, collapsed: bool) -> None:
        self._folded = bool(collapsed)
        self._show()

    collapsed = QtCore.Property(bool, lambda self: self._folded, _set_collapsed)

    def _show(self) -> None:
        if self._pair is None:
            return
        summary, details = self._pair
        if not details:
            self.setHtml(summary)
        elif self._folded:
            self.setHtml(f'{summary} <a href="#">{self.showDetailsText}</a>')
        else:
            self.setHtml(f'{summary}<br>{details} <a href="#">{self.hideDetailsText}</a>')

    def _on_link(self, url) -> None:
        if self._pair is not None and url.toString() == "#":
            self._set_collapsed(not self._folded)

    def heightForWidth(self, width: int) -> int:
        frame = 2 * self.frameWidth
        document = self.document.clone()
        document.setTextWidth(width - frame)
        return round(document.size.height()) + frame

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(256, self.heightForWidth(max(self.width, 100)))

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(50, self.heightForWidth(max(self.width, 100)))

    def wheelEvent(self, event) -> None:
        if self.disableMouseScroll:
            event.ignore()
        else:
            super().wheelEvent(event)
