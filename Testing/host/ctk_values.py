"""The widgets of ctk that hold numbers: spin box and sliders."""

from __future__ import annotations

import enum

from PySide6 import QtCore, QtWidgets

from .ctk_properties import forwarded, row, stored

_STEPS = 1_000_000  # of a slider at most: a QSlider counts in int


class ctkDoubleSpinBox(QtWidgets.QWidget):
    """A spin box for real numbers."""

    class SetMode(enum.IntEnum):
        SetIfDifferent = 0
        SetAlways = 1

    class DecimalsOption(enum.IntFlag):
        FixedDecimals = 0
        DecimalsByShortcuts = 1
        DecimalsByKey = 2
        DecimalsByValue = 4
        InsertDecimals = 8
        ReplaceDecimals = 16
        DecimalsAsMin = 32

    SetIfDifferent = SetMode.SetIfDifferent
    SetAlways = SetMode.SetAlways

    valueChanged = QtCore.Signal((float,), (str,))
    decimalsChanged = QtCore.Signal(int)
    editingFinished = QtCore.Signal()

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._spin = QtWidgets.QDoubleSpinBox(self)
        row(self, self._spin)
        self.setFocusProxy(self._spin)
        self._spin.valueChanged.connect(self._announce)
        self._spin.editingFinished.connect(self.editingFinished)

    alignment = forwarded(int, "_spin", "alignment")
    cleanText = forwarded(str, "_spin", "cleanText", writable=False)
    frame = forwarded(bool, "_spin", "frame")
    maximum = forwarded(float, "_spin", "maximum")
    minimum = forwarded(float, "_spin", "minimum")
    prefix = forwarded(str, "_spin", "prefix")
    singleStep = forwarded(float, "_spin", "singleStep")
    suffix = forwarded(str, "_spin", "suffix")
    invertedControls = stored(bool, "invertedControls", False)
    decimalsOption = stored(int, "decimalsOption", 0)
    setMode = stored(int, "setMode", 0)

    def _announce(self, value: float) -> None:
        self.valueChanged[float].emit(value)
        self.valueChanged[str].emit(self._spin.cleanText)

    @QtCore.Slot(float)
    def setValue(self, value: float) -> None:
        if self.setMode == self.SetAlways:
            self.setValueAlways(value)
        else:
            self.setValueIfDifferent(value)

    @QtCore.Slot(float)
    def setValueIfDifferent(self, value: float) -> None:
        self._spin.value = float(value)

    @QtCore.Slot(float)
    def setValueAlways(self, value: float) -> None:
        before = self._spin.value
        self._spin.value = float(value)
        if self._spin.value == before:
            self._announce(before)

    @QtCore.Slot(int)
    def setDecimals(self, decimal: int) -> None:
        if decimal != self._spin.decimals:
            self._spin.decimals = int(decimal)
            self.decimalsChanged.emit(decimal)

    @QtCore.Slot(bool)
    def setReadOnly(self, readOnly: bool) -> None:
        self._spin.readOnly = readOnly

    @QtCore.Slot()
    def stepUp(self) -> None:
        self._spin.stepUp()

    @QtCore.Slot()
    def stepDown(self) -> None:
        self._spin.stepDown()

    value = QtCore.Property(float, lambda self: self._spin.value, lambda self, v: self.setValue(v))
    decimals = QtCore.Property(
        int, lambda self: self._spin.decimals, lambda self, n: self.setDecimals(n)
    )
    readOnly = QtCore.Property(
        bool, lambda self: self._spin.readOnly, lambda self, on: self.setReadOnly(on)
    )


class ctkDoubleSlider(QtWidgets.QWidget):
    """A slider for real numbers."""

    valueChanged = QtCore.Signal(float)
    sliderMoved = QtCore.Signal(float)
    sliderPressed = QtCore.Signal()
    sliderReleased = QtCore.Signal()
    rangeChanged = QtCore.Signal(float, float)

    def __init__(self, parent=None) -> None:
        if isinstance(parent, QtCore.Qt.Orientation):
            orientation, parent = parent, None
        else:
            orientation = QtCore.Qt.Orientation.Vertical
        super().__init__(parent)
        self._exact = 0.0
        self._slider = QtWidgets.QSlider(orientation, self)
        row(self, self._slider)
        self._rescale()
        self._slider.valueChanged.connect(self._on_steps)
        self._slider.sliderMoved.connect(lambda n: self.sliderMoved.emit(self._at(n)))
        self._slider.sliderPressed.connect(self.sliderPressed)
        self._slider.sliderReleased.connect(self.sliderReleased)

    minimum = stored(float, "minimum", 0.0, "_new_range")
    maximum = stored(float, "maximum", 99.0, "_new_range")
    singleStep = stored(float, "singleStep", 1.0, "_rescale")
    pageStep = stored(float, "pageStep", 10.0, "_rescale")
    tickInterval = stored(float, "tickInterval", 0.0, "_rescale")
    tickPosition = forwarded(int, "_slider", "tickPosition")
    tracking = forwarded(bool, "_slider", "tracking")
    orientation = forwarded(int, "_slider", "orientation")
    invertedAppearance = forwarded(bool, "_slider", "invertedAppearance")
    invertedControls = forwarded(bool, "_slider", "invertedControls")

    @QtCore.Slot("Qt::Orientation")
    def setOrientation(self, orientation) -> None:
        self._slider.orientation = orientation

    @QtCore.Slot(float)
    def setValue(self, value: float) -> None:
        value = min(max(float(value), self.minimum), max(self.maximum, self.minimum))
        if value != self._exact:
            self._exact = value
            self._place()
            self.valueChanged.emit(value)

    value = QtCore.Property(float, lambda self: self._exact, lambda self, v: self.setValue(v))

    def _at(self, steps: int) -> float:
        return min(self.minimum + steps * self._unit(), self.maximum)

    def _unit(self) -> float:
        length = max(self.maximum - self.minimum, 0.0)
        return max(self.singleStep, length / _STEPS) or 1.0

    def _place(self) -> None:
        self._slider.blockSignals(True)
        self._slider.value = round((self._exact - self.minimum) / self._unit())
        self._slider.blockSignals(False)

    def _on_steps(self, steps: int) -> None:
        self.setValue(self._at(steps))

    def _rescale(self) -> None:
        unit = self._unit()
        self._slider.blockSignals(True)
        self._slider.setRange(0, round(max(self.maximum - self.minimum, 0.0) / unit))
        self._slider.singleStep = 1
        self._slider.pageStep = max(round(self.pageStep / unit), 1)
        self._slider.tickInterval = round(self.tickInterval / unit)
        self._slider.blockSignals(False)
        self._place()

    def _new_range(self) -> None:
        self._rescale()
        self.rangeChanged.emit(self.minimum, self.maximum)
        self.setValue(self._exact)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that show the same number."""

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    decimalsChanged = QtCore.Signal(int)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._default = 0.0
        self._slider = ctkDoubleSlider(QtCore.Qt.Orientation.Horizontal)
        self._slider.setParent(self)
        self._spin = ctkDoubleSpinBox(self)
        self._spin.maximum = 99.0
        row(self, self._slider, self._spin)
        self.layout().setStretch(0, 1)
        self._slider.valueChanged.connect(self._take)
        self._slider.sliderMoved.connect(self.valueIsChanging)
        self._spin.valueChanged.connect(self._take)
        self._spin.decimalsChanged.connect(self.decimalsChanged)
        self._shown = 0.0

    prefix = forwarded(str, "_spin", "prefix")
    suffix = forwarded(str, "_spin", "suffix")
    spinBoxAlignment = forwarded(int, "_spin", "alignment")
    pageStep = forwarded(float, "_slider", "pageStep")
    tickInterval = forwarded(float, "_slider", "tickInterval")
    tickPosition = forwarded(int, "_slider", "tickPosition")
    tracking = forwarded(bool, "_slider", "tracking")
    invertedAppearance = forwarded(bool, "_slider", "invertedAppearance")
    invertedControls = forwarded(bool, "_slider", "invertedControls")
    minimum = stored(float, "minimum", 0.0, "_new_limits")
    maximum = stored(float, "maximum", 99.0, "_new_limits")
    singleStep = stored(float, "singleStep", 1.0, "_new_limits")
    popupSlider = stored(bool, "popupSlider", False)

    def _new_limits(self) -> None:
        for part in (self._slider, self._spin):
            part.minimum, part.maximum = self.minimum, self.maximum
            part.singleStep = self.singleStep

    def _take(self, value: float) -> None:
        value = round(float(value), self._spin.decimals)
        if value != self._shown:
            self._shown = value
            self._slider.setValue(value)
            self._spin.setValue(value)
            self.valueChanged.emit(value)

    @QtCore.Slot(float)
    def setValue(self, value: float) -> None:
        self._take(min(max(float(value), self.minimum), self.maximum))

    @QtCore.Slot(int)
    def setDecimals(self, decimals: int) -> None:
        self._spin.setDecimals(decimals)

    @QtCore.Slot(bool)
    def setSpinBoxVisible(self, visible: bool) -> None:
        self._spin.setVisible(visible)

    @QtCore.Slot()
    def reset(self) -> None:
        self.setValue(self._default)

    value = QtCore.Property(float, lambda self: self._shown, lambda self, v: self.setValue(v))
    decimals = QtCore.Property(
        int, lambda self: self._spin.decimals, lambda self, n: self.setDecimals(n)
    )
    spinBoxVisible = QtCore.Property(
        bool,
        lambda self: not self._spin.isHidden(),
        lambda self, on: self.setSpinBoxVisible(on),
    )
