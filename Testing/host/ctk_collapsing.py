"""The two widgets of ctk that fold their contents away."""

from __future__ import annotations

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

from .ctk_properties import stored

_LOOK_AT_CHILDREN = {
    QtCore.QEvent.Type.Show,
    QtCore.QEvent.Type.LayoutRequest,
    QtCore.QEvent.Type.ChildPolished,
}


class _Collapsing:
    """Hides the children of a checkable widget while it is not checked.

    A child that was hidden before stays hidden when the contents come back, and one that is shown
    while they are folded appears only then.
    """

    def _start_collapsing(self) -> None:
        self._wanted: dict[int, tuple[QtWidgets.QWidget, bool]] = {}
        self._hiding = False
        self._is_collapsed = False

    def _follow_check(self, checked: bool) -> None:
        if checked != self._is_collapsed:
            return
        self._is_collapsed = not checked
        if self._is_collapsed:
            self._hide_contents()
            self.setMaximumHeight(self._header_height() + self.collapsedHeight)
        else:
            self.setMaximumHeight(16777215)
            self._show_contents()
        self.updateGeometry()
        self.update()

    def _hide_contents(self) -> None:
        for child in self.children():
            address = shiboken6.getCppPointer(child)[0]
            if not child.isWidgetType() or child.isWindow() or address in self._wanted:
                continue
            explicit = child.testAttribute(QtCore.Qt.WidgetAttribute.WA_WState_ExplicitShowHide)
            self._wanted[address] = (child, not (child.isHidden() and explicit))
            self._hide(child)
            child.installEventFilter(self)

    def _hide(self, child: QtWidgets.QWidget) -> None:
        self._hiding = True
        child.setVisible(False)
        self._hiding = False

    def _show_contents(self) -> None:
        wanted, self._wanted = self._wanted, {}
        for child, show in wanted.values():
            if shiboken6.isValid(child):
                child.removeEventFilter(self)
                if show:
                    child.setVisible(True)

    def event(self, event) -> bool:
        done = super().event(event)
        if self._is_collapsed and event.type() in _LOOK_AT_CHILDREN:
            self._hide_contents()  # children that came after the collapse
        return done

    def eventFilter(self, watched, event) -> bool:
        if self._is_collapsed and not self._hiding and shiboken6.isValid(watched):
            address = shiboken6.getCppPointer(watched)[0]
            if event.type() == QtCore.QEvent.Type.ShowToParent and address in self._wanted:
                self._wanted[address] = (watched, True)
                self._hide(watched)
        return False


class ctkCollapsibleButton(_Collapsing, QtWidgets.QAbstractButton):
    """A header over the full width; a click folds what is below it."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, text="", parent=None) -> None:
        if isinstance(text, QtWidgets.QWidget):
            text, parent = "", text
        super().__init__(parent)
        self._start_collapsing()
        self.setText(text)
        self.checkable = True
        self.checked = True
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Preferred)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.toggled.connect(self._on_toggled)

    def _get_collapsed(self) -> bool:
        return self._is_collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        self.checked = not collapsed

    collapsed = QtCore.Property(bool, _get_collapsed, _set_collapsed)
    collapsedHeight = stored(int, "collapsedHeight", 10, "updateGeometry")
    flat = stored(bool, "flat", False, "update")
    contentsFrameShape = stored(int, "contentsFrameShape", 0, "update")
    contentsFrameShadow = stored(int, "contentsFrameShadow", 16, "update")
    contentsLineWidth = stored(int, "contentsLineWidth", 1, "update")
    contentsMidLineWidth = stored(int, "contentsMidLineWidth", 0, "update")
    buttonTextAlignment = stored(int, "buttonTextAlignment", 0x81, "update")
    indicatorAlignment = stored(int, "indicatorAlignment", 0x81, "update")

    def _on_toggled(self, checked: bool) -> None:
        self._follow_check(checked)
        self.contentsCollapsed.emit(not checked)

    def _header_height(self) -> int:
        return max(self.fontMetrics().height() + 8, 22)

    def hitButton(self, position) -> bool:
        return 0 <= position.y() < self._header_height() and self.rect.contains(position)

    def sizeHint(self) -> QtCore.QSize:
        return self._room(lambda layout: layout.totalSizeHint())

    def minimumSizeHint(self) -> QtCore.QSize:
        return self._room(lambda layout: layout.totalMinimumSize())

    def _room(self, of_layout) -> QtCore.QSize:
        width = self.fontMetrics().horizontalAdvance(self.text) + self._header_height() + 16
        layout = self.layout()
        if self._is_collapsed:
            return QtCore.QSize(width, self._header_height() + self.collapsedHeight)
        contents = of_layout(layout) if layout else QtCore.QSize(0, self._header_height())
        return contents.expandedTo(QtCore.QSize(width, self._header_height()))

    def changeEvent(self, event) -> None:
        super().changeEvent(event)
        if event.type() == QtCore.QEvent.Type.FontChange:
            self.setContentsMargins(0, self._header_height(), 0, 0)

    def paintEvent(self, event) -> None:
        painter = QtWidgets.QStylePainter(self)
        height = self._header_height()
        header = QtCore.QRect(0, 0, self.width, height)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = header
        state = QtWidgets.QStyle.StateFlag
        if self.down:
            option.state |= state.State_Sunken
        elif not self.flat:
            option.state |= state.State_Raised
        if not self.flat:
            painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        element = QtWidgets.QStyle.PrimitiveElement
        arrow = QtWidgets.QStyleOption(option)
        arrow.rect = QtCore.QRect(6, (height - 12) // 2, 12, 12)
        painter.drawPrimitive(
            element.PE_IndicatorArrowRight if self._is_collapsed else element.PE_IndicatorArrowDown,
            arrow,
        )
        painter.drawItemText(
            header.adjusted(24, 0, -4, 0),
            int(self.buttonTextAlignment) | int(QtCore.Qt.TextFlag.TextShowMnemonic),
            self.palette,
            self.isEnabled(),
            self.text,
            QtGui.QPalette.ColorRole.ButtonText,
        )
        if self.contentsFrameShape and not self._is_collapsed:
            painter.setPen(self.palette.color(QtGui.QPalette.ColorRole.Mid))
            painter.drawRect(self.rect.adjusted(0, height, -1, -1))


class ctkCollapsibleGroupBox(_Collapsing, QtWidgets.QGroupBox):
    """A group box with an arrow in its title; a click on the title folds it."""

    def __init__(self, title="", parent=None) -> None:
        if isinstance(title, QtWidgets.QWidget):
            title, parent = "", title
        super().__init__(parent)
        self._start_collapsing()
        self.setTitle(title)
        self.checkable = True
        self.checked = True
        self.toggled.connect(self._follow_check)

    def _get_collapsed(self) -> bool:
        return self._is_collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        self.checked = not collapsed

    collapsed = QtCore.Property(bool, _get_collapsed, _set_collapsed)
    collapsedHeight = stored(int, "collapsedHeight", 14, "updateGeometry")

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 4

    def paintEvent(self, event) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        style, control = self.style(), QtWidgets.QStyle.ComplexControl.CC_GroupBox
        box = QtWidgets.QStyle.SubControl.SC_GroupBoxCheckBox
        where = style.subControlRect(control, option, box, self)
        option.subControls &= ~box
        option.text = "      " + self.title  # the arrow takes the place of the check box
        painter.drawComplexControl(control, option)
        arrow = QtWidgets.QStyleOption(option)
        arrow.rect = where
        element = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(
            element.PE_IndicatorArrowRight if self._is_collapsed else element.PE_IndicatorArrowDown,
            arrow,
        )
