"""The widget of ctk that holds a range of numbers."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets

from .ctk_properties import row, stored


class _TwoHandles(QtWidgets.QWidget):
    """A groove with two handles; positions are fractions of its length."""

    moved = QtCore.Signal(float, float)
    released = QtCore.Signal()

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._ends = [0.0, 1.0]
        self._held: int | None = None
        self.setMinimumSize(60, 18)

    def place(self, low: float, high: float) -> None:
        self._ends = [low, high]
        self.update()

    def _x(self, fraction: float) -> int:
        return round(7 + fraction * (self.width - 14))

    def mousePressEvent(self, event) -> None:
        x = event.position().x()
        gaps = [abs(x - self._x(end)) for end in self._ends]
        self._held = 0 if gaps[0] < gaps[1] else 1

    def mouseMoveEvent(self, event) -> None:
        if self._held is None:
            return
        fraction = (event.position().x() - 7) / max(self.width - 14, 1)
        low, high = self._ends
        fraction = min(max(fraction, 0.0), high) if self._held == 0 else min(max(fraction, low), 1)
        self._ends[self._held] = fraction
        self.update()
        self.moved.emit(*self._ends)

    def mouseReleaseEvent(self, event) -> None:
        self._held = None
        self.released.emit()

    def paintEvent(self, event) -> None:
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        role = QtGui.QPalette.ColorRole
        middle = self.height // 2
        left, right = (self._x(end) for end in self._ends)
        painter.setPen(self.palette.color(role.Mid))
        painter.setBrush(self.palette.color(role.Midlight))
        painter.drawRoundedRect(4, middle - 2, self.width - 8, 4, 2, 2)
        painter.setBrush(self.palette.color(role.Highlight))
        painter.drawRect(left, middle - 2, right - left, 4)
        painter.setBrush(self.palette.color(role.Button))
        for x in (left, right):
            painter.drawRoundedRect(x - 5, middle - 7, 10, 14, 2, 2)


class ctkRangeWidget(QtWidgets.QWidget):
    """Two spin boxes and a slider with two handles."""

    minimumValueChanged = QtCore.Signal(float)
    maximumValueChanged = QtCore.Signal(float)
    minimumValueIsChanging = QtCore.Signal(float)
    maximumValueIsChanging = QtCore.Signal(float)
    valuesChanged = QtCore.Signal(float, float)
    rangeChanged = QtCore.Signal(float, float)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._values = (0.0, 99.0)
        self._low, self._high = QtWidgets.QDoubleSpinBox(self), QtWidgets.QDoubleSpinBox(self)
        self._slider = _TwoHandles(self)
        row(self, self._low, self._slider, self._high)
        self.layout().setStretch(1, 1)
        self._limit()
        self._low.valueChanged.connect(self.setMinimumValue)
        self._high.valueChanged.connect(self.setMaximumValue)
        self._slider.moved.connect(self._on_moved)
        self._slider.released.connect(self._on_released)

    minimum = stored(float, "minimum", 0.0, "_new_range")
    maximum = stored(float, "maximum", 99.0, "_new_range")
    singleStep = stored(float, "singleStep", 1.0, "_limit")
    prefix = stored(str, "prefix", "", "_limit")
    suffix = stored(str, "suffix", "", "_limit")
    tracking = stored(bool, "tracking", True)
    symmetricMoves = stored(bool, "symmetricMoves", False)
    autoSpinBoxWidth = stored(bool, "autoSpinBoxWidth", True)
    minimumValue = QtCore.Property(
        float, lambda self: self._values[0], lambda self, v: self.setMinimumValue(v)
    )
    maximumValue = QtCore.Property(
        float, lambda self: self._values[1], lambda self, v: self.setMaximumValue(v)
    )
    decimals = QtCore.Property(
        int, lambda self: self._low.decimals, lambda self, n: self.setDecimals(n)
    )

    @QtCore.Slot(float, float)
    def setValues(self, minValue: float, maxValue: float) -> None:
        low, high = sorted((float(minValue), float(maxValue)))
        low = min(max(low, self.minimum), self.maximum)
        high = min(max(high, self.minimum), self.maximum)
        before, self._values = self._values, (low, high)
        self._show()
        if low != before[0]:
            self.minimumValueChanged.emit(low)
        if high != before[1]:
            self.maximumValueChanged.emit(high)
        if before != self._values:
            self.valuesChanged.emit(low, high)

    @QtCore.Slot(float)
    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, max(self._values[1], value))

    @QtCore.Slot(float)
    def setMaximumValue(self, value: float) -> None:
        self.setValues(min(self._values[0], value), value)

    @QtCore.Slot(int)
    def setDecimals(self, decimals: int) -> None:
        self._low.decimals = self._high.decimals = int(decimals)

    @QtCore.Slot()
    def reset(self) -> None:
        self.setValues(self.minimum, self.maximum)

    def setRange(self, minimum: float, maximum: float) -> None:
        self.maximum = max(self.maximum, float(minimum))
        self.minimum = minimum
        self.maximum = maximum

    def _on_moved(self, low: float, high: float) -> None:
        length = self.maximum - self.minimum
        ends = (self.minimum + low * length, self.minimum + high * length)
        self.minimumValueIsChanging.emit(ends[0])
        self.maximumValueIsChanging.emit(ends[1])
        self._moving = ends
        if self.tracking:
            self.setValues(*ends)

    def _on_released(self) -> None:
        self.setValues(*self.__dict__.pop("_moving", self._values))

    def _limit(self) -> None:
        for spin in (self._low, self._high):
            spin.blockSignals(True)
            spin.setRange(self.minimum, self.maximum)
            spin.singleStep, spin.prefix, spin.suffix = self.singleStep, self.prefix, self.suffix
            spin.blockSignals(False)
        self._show()

    def _show(self) -> None:
        for spin, value in zip((self._low, self._high), self._values, strict=True):
            spin.blockSignals(True)
            spin.value = value
            spin.blockSignals(False)
        length = (self.maximum - self.minimum) or 1.0
        self._slider.place(*((value - self.minimum) / length for value in self._values))

    def _new_range(self) -> None:
        self._limit()
        self.rangeChanged.emit(self.minimum, self.maximum)
        self.setValues(*self._values)
