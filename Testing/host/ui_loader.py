"""Loads .ui files that use widgets of ctk and Slicer.

Qt's loader takes an unknown class for a QWidget, an unknown property for a dynamic one, and passes
over connections that it cannot make. In Slicer each of these is a broken panel, so here each is an
error.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import shiboken6
from PySide6 import QtCore, QtUiTools, QtWidgets

from . import pythonqt, qt_names

_registered: dict[str, type] = {}
_alive: dict[int, QtWidgets.QWidget] = {}
_plain_tags = {"string", "cstring", "number", "double", "bool", "enum", "set", "stringlist"}


class UiError(ValueError):
    """A .ui file that would not work in Slicer."""


def register(cls: type) -> type:
    """Let .ui files create a widget class (usable as a decorator); its name is the C++ name."""
    _registered[cls.__name__] = pythonqt.plain(cls)
    return cls


def registered() -> dict[str, type]:
    """The widget classes that were registered, by name."""
    return dict(_registered)


def load_ui(path: str | os.PathLike) -> QtWidgets.QWidget:
    """Load a .ui file.

    Raises:
        FileNotFoundError: There is no such file.
        UiError: It has a class, a property, a signal or a slot that does not exist.
    """
    return UiLoader()._build(Path(path).read_bytes(), None)


class UiLoader(QtUiTools.QUiLoader):
    """What ``qt.QUiLoader`` is inside Slicer: it knows the widgets of ctk and Slicer."""

    def load(self, device, parent=None) -> QtWidgets.QWidget:
        """Load from an open device or from the path of a file."""
        if isinstance(device, str):
            return self._build(Path(device).read_bytes(), parent)
        return self._build(device.readAll().data(), parent)

    def createWidget(self, class_name, parent=None, name=""):
        """Called by Qt for each widget of the file."""
        cls = _registered.get(class_name)
        if cls is None:
            widget = super().createWidget(class_name, parent, name)
        else:
            try:
                widget = cls(parent)
            except Exception as error:  # Qt would go on without the widget
                self._error = error
                raise
            widget.objectName = name
        _keep(widget)
        return widget

    def _build(self, content: bytes, parent) -> QtWidgets.QWidget:
        tree = ET.fromstring(content)
        known = {*self.availableWidgets(), "Line", *_registered}
        for element in tree.iter("widget"):
            if element.get("class") not in known:
                raise UiError(f"unknown widget class {element.get('class')}")
        connections = tree.find("connections")
        if connections is not None:
            tree.remove(connections)
        ours = _take_properties(tree)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        with pythonqt.without_child_attributes():
            self._error = None
            top = super().load(buffer, parent)
        if self._error is not None:
            raise self._error
        if top is None:
            raise UiError(self.errorString())
        found = _by_name(top)
        _check_properties(tree, found)
        for name, prop in ours:
            widget = found[name]
            try:
                setattr(widget, prop.get("name"), _value(prop[0], type(widget)))
            except (TypeError, AttributeError) as error:
                raise UiError(f"{name}.{prop.get('name')}: {error}") from error
        for connection in [] if connections is None else connections.iter("connection"):
            _connect(connection, found)
        return top


def _keep(widget: QtWidgets.QWidget) -> None:
    """Keep the Python part of a widget for as long as its C++ part lives.

    Only C++ holds the widgets of a .ui file; the Python part would be collected while Qt still
    uses the widget, and its properties and methods with it.
    """
    address = shiboken6.getCppPointer(widget)[0]
    _alive[address] = widget
    widget.connect("destroyed()", lambda: _alive.pop(address, None))


def _by_name(top: QtWidgets.QWidget) -> dict[str, QtCore.QObject]:
    found = {child.objectName: child for child in top.findChildren(QtCore.QObject)}
    found[top.objectName] = top
    return found


def _take_properties(tree: ET.Element) -> list[tuple[str, ET.Element]]:
    """Remove what Python-made classes define themselves; Qt cannot know their enumerations."""
    taken = []
    for element in tree.iter("widget"):
        cls = _registered.get(element.get("class"))
        if cls is None:
            continue
        for prop in element.findall("property"):
            if prop[0].tag in _plain_tags and _python_property(cls, prop.get("name")):
                taken.append((element.get("name"), prop))
                element.remove(prop)
    return taken


def _python_property(cls: type, name: str) -> bool:
    for base in cls.__mro__:
        if name in base.__dict__:
            return isinstance(base.__dict__[name], QtCore.Property | property)
    return False


def _check_properties(tree: ET.Element, found: dict[str, QtCore.QObject]) -> None:
    for element in tree.iter("widget"):
        if element.get("class") == "Line":
            continue
        widget = found[element.get("name")]
        for prop in element.findall("property"):
            name = prop.get("name")
            if prop.get("stdset") != "0" and widget.metaObject().indexOfProperty(name) < 0:
                raise UiError(
                    f"{element.get('class')} {element.get('name')} has no property {name}"
                )


def _value(element: ET.Element, cls: type):
    text = element.text or ""
    if element.tag in ("number", "double"):
        return int(text) if element.tag == "number" else float(text)
    if element.tag == "bool":
        return text.strip() == "true"
    if element.tag == "stringlist":
        return [entry.text or "" for entry in element.findall("string")]
    if element.tag in ("enum", "set"):
        value = 0
        for part in filter(None, text.split("|")):
            value |= _enumeration(part.strip(), cls)
        return value
    return text


def _enumeration(text: str, cls: type) -> int:
    scope, _, name = text.rpartition("::")
    scope = scope.partition("::")[0]
    home = cls if scope in ("", cls.__name__) else None
    for module in qt_names.QT_MODULES:
        home = home or getattr(module, scope, None)
    value = getattr(home, name, None)
    if value is None:
        raise UiError(f"unknown enumeration value {text}")
    return int(value)


def _connect(connection: ET.Element, found: dict[str, QtCore.QObject]) -> None:
    parts = {part.tag: (part.text or "").strip() for part in connection}
    objects = []
    for role in ("sender", "receiver"):
        if parts[role] not in found:
            raise UiError(f"a connection names {parts[role]}, which is not in the file")
        objects.append(found[parts[role]])
    sender, receiver = objects
    slot = parts["slot"]
    name, _, inside = slot.partition("(")
    function = getattr(receiver, name, None)
    if not _has_slot(receiver, slot) or not callable(function):
        raise UiError(f"{parts['receiver']} has no slot {slot}")
    count = len([kind for kind in inside.rstrip(")").split(",") if kind.strip()])

    def deliver(*args):
        function(*args[:count])

    try:
        sender.connect(parts["signal"], deliver)
    except ValueError as error:
        raise UiError(str(error)) from error


def _has_slot(receiver: QtCore.QObject, slot: str) -> bool:
    normal = bytes(QtCore.QMetaObject.normalizedSignature(slot).data()).decode()
    if receiver.metaObject().indexOfMethod(normal) >= 0:
        return True
    # A Python-made class may take objects that Qt does not know, or not declare its slots.
    made_here = type(receiver).__name__ in _registered
    name = re.split(r"\(", normal)[0]
    return made_here and callable(getattr(receiver, name, None)) and _declared(receiver, normal)


def _declared(receiver: QtCore.QObject, slot: str) -> bool:
    from . import api_names

    names = api_names.load()
    cls = type(receiver).__name__
    return names is None or not names.knows_class(cls) or names.has_slot(cls, slot)
