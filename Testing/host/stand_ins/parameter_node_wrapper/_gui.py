"""Which widget can show which type of parameter, and how the two are kept equal.

The widget's class must be exactly one of the table: a subclass is not taken for its base.
"""

import abc
import enum
import logging
import pathlib

import ctk
import qt
import slicer

from . import validators
from ._packs import FloatRange
from ._types import Decimals, Default, SingleStep, bare, first, node_classes, split

_INT_LIMIT = 2**31


class GuiConnector(abc.ABC):
    """Keeps one widget and one value equal."""

    def __init__(self):
        self._callback = None

    def onChanged(self, callback):
        """Set what is called when the user changes the widget; None ends that."""
        connected, self._callback = self._callback is not None, callback
        if callback is None and connected:
            self._disconnect()
        elif callback is not None and not connected:
            self._connect()

    def changed(self, *_):
        """Tell that the widget changed."""
        if self._callback is not None:
            self._callback()

    @abc.abstractmethod
    def _connect(self):
        """Listen to the widget."""

    @abc.abstractmethod
    def _disconnect(self):
        """Stop listening."""

    @abc.abstractmethod
    def widget(self):
        """Return the widget."""

    @abc.abstractmethod
    def read(self):
        """Return what the widget shows, as the parameter's type."""

    @abc.abstractmethod
    def write(self, value):
        """Show a value."""


class _Connector(GuiConnector):
    """A connector made of a signal's name and two functions."""

    def __init__(self, widget, signal, read, write):
        super().__init__()
        self._widget, self._read, self._write = widget, read, write
        self._signal = None if signal is None else getattr(widget, signal)

    def _connect(self):
        if self._signal is not None:
            self._signal.connect(self.changed)

    def _disconnect(self):
        if self._signal is not None:
            self._signal.disconnect(self.changed)

    def widget(self):
        return self._widget

    def read(self):
        return self._read()

    def write(self, value):
        self._write(value)


def createGuiConnector(widget, datatype):
    """Return the connector for a widget and a type.

    Raises:
        RuntimeError: the widget cannot show the type, or an annotation that it needs is missing.
    """
    for names, fits, make in _TABLE:
        if type(widget) in _classes(names) and fits(bare(datatype)):
            return make(widget, datatype)
    raise RuntimeError(f"a {type(widget)} cannot show a parameter of type {datatype}")


def _attribute(widget, name, signal, kind=lambda value: value, to_widget=lambda value: value):
    """Return the connector of a widget whose value is one property."""
    return _Connector(
        widget,
        signal,
        lambda: kind(getattr(widget, name)),
        lambda value: setattr(widget, name, to_widget(value)),
    )


def _check_box(widget, datatype):
    return _attribute(widget, "checked", "stateChanged")


def _button(widget, datatype):
    if not widget.checkable:
        logging.warning("%s becomes checkable, because it shows a bool", widget.objectName)
        widget.checkable = True
    return _attribute(widget, "checked", "toggled")


def _limits(annotations):
    """Return (minimum, maximum); None where there is none."""
    both = first(annotations, validators.WithinRange)
    if both is not None:
        return both.minimum, both.maximum
    low = first(annotations, validators.Minimum)
    high = first(annotations, validators.Maximum)
    return (None if low is None else low.minimum, None if high is None else high.maximum)


def _set_steps(widget, annotations):
    for name, kind in (("decimals", Decimals), ("singleStep", SingleStep)):
        annotation = first(annotations, kind)
        if annotation is not None and hasattr(widget, name):
            setattr(widget, name, annotation.value)


def _integer(widget, datatype):
    annotations = split(datatype)[1]
    low, high = _limits(annotations)
    if type(widget) is qt.QSlider and None in (low, high):
        raise RuntimeError("a slider needs a smallest and a largest value")
    _set_steps(widget, annotations)
    widget.minimum = -_INT_LIMIT if low is None else low
    widget.maximum = _INT_LIMIT - 1 if high is None else high
    return _attribute(widget, "value", "valueChanged")


def _real(widget, datatype):
    kind, annotations = split(datatype)
    low, high = _limits(annotations)
    sliders = (ctk.ctkSliderWidget, slicer.qMRMLSliderWidget)
    if type(widget) in sliders and None in (low, high):
        raise RuntimeError("a slider needs a smallest and a largest value")
    _set_steps(widget, annotations)
    if kind is int and type(widget) is not ctk.ctkDoubleSlider:
        widget.decimals = 0
    widget.minimum = float("-inf") if low is None else low
    widget.maximum = float("inf") if high is None else high
    convert = int if kind is int else float
    return _attribute(widget, "value", "valueChanged", convert, convert)


def _chooser(widget, items):
    """Return the connector of a combo box with `items`: (text, value) pairs."""
    widget.clear()
    for text, _ in items:
        widget.addItem(text)
    values = [value for _, value in items]

    def write(value):
        if value not in values:
            raise ValueError(f"{value!r} is none of {values}")
        widget.currentIndex = values.index(value)

    return _Connector(widget, "currentIndexChanged", lambda: values[widget.currentIndex], write)


def _choice(widget, datatype):
    choice = first(split(datatype)[1], validators.Choice)
    if choice is None:
        raise RuntimeError("a combo box needs the annotation Choice")
    return _chooser(widget, [(str(value), value) for value in choice.choices])


def _enumeration(widget, datatype):
    label = getattr(bare(datatype), "label", lambda member: member.name)
    return _chooser(widget, [(label(member), member) for member in bare(datatype)])


def _line(widget, datatype):
    def write(value):
        if value != widget.text:  # writing moves the cursor, which would disturb typing
            widget.text = value

    return _Connector(widget, "textChanged", lambda: widget.text, write)


def _label(widget, datatype):
    return _attribute(widget, "text", None)


def _text(widget, datatype):
    return _Connector(
        widget, "textChanged", lambda: widget.toPlainText(), lambda text: widget.setPlainText(text)
    )


def _range(widget, datatype):
    annotations = split(datatype)[1]
    bounds = first(annotations, validators.RangeBounds)
    if bounds is None:
        raise RuntimeError("a range widget needs the annotation RangeBounds")
    if first(annotations, Default) is None:
        raise RuntimeError("a range widget needs the annotation Default")
    _set_steps(widget, annotations)
    widget.setRange(bounds.minimum, bounds.maximum)
    return _Connector(
        widget,
        "valuesChanged",
        lambda: FloatRange(widget.minimumValue, widget.maximumValue),
        lambda value: widget.setValues(value.minimum, value.maximum),
    )


def _path(widget, datatype):
    return _attribute(widget, "currentPath", "currentPathChanged", bare(datatype), str)


def _directory(widget, datatype):
    return _attribute(widget, "directory", "directoryChanged", bare(datatype), str)


def _node(widget, datatype):
    widget.nodeTypes = node_classes(datatype)
    return _Connector(
        widget,
        "currentNodeChanged",
        lambda: widget.currentNode(),
        lambda node: widget.setCurrentNode(node),
    )


def _is(*kinds):
    return lambda datatype: datatype in kinds


def _is_a(base):
    return lambda datatype: isinstance(datatype, type) and issubclass(datatype, base)


def _classes(names):
    """Return the classes of that name; an application may not have all of them."""
    homes = (qt, ctk, slicer)
    found = [getattr(home, name, None) for name in names.split() for home in homes]
    return [one for one in found if one is not None]


# Names of widget classes, which types they can show, and what connects them.
_TABLE = (
    ("QCheckBox ctkCheckBox", _is(bool), _check_box),
    ("QPushButton ctkCheckablePushButton", _is(bool), _button),
    ("QSlider QSpinBox", _is(int), _integer),
    (
        "QDoubleSpinBox ctkSliderWidget ctkDoubleSlider ctkDoubleSpinBox qMRMLSliderWidget"
        " qMRMLSpinBox",
        _is(float, int),
        _real,
    ),
    ("QComboBox ctkComboBox", _is(int, float, str, bool), _choice),
    ("QComboBox ctkComboBox", _is_a(enum.Enum), _enumeration),
    ("QLineEdit", _is(str), _line),
    ("QLabel", _is(str), _label),
    ("QTextEdit", _is(str), _text),
    ("ctkRangeWidget ctkDoubleRangeSlider qMRMLRangeWidget", _is(FloatRange), _range),
    ("ctkPathLineEdit", _is_a(pathlib.PurePath), _path),
    ("ctkDirectoryButton", _is_a(pathlib.PurePath), _directory),
    ("qMRMLNodeComboBox", lambda datatype: bool(node_classes(datatype)), _node),
)
