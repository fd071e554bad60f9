"""Which names of Qt PythonQt shows inside Slicer, in Qt 5.15 and in Qt 6."""

from __future__ import annotations

import functools
from pathlib import Path

from PySide6 import QtCore, QtGui, QtNetwork, QtSvg, QtSvgWidgets, QtUiTools, QtWidgets

QT_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtSvg, QtSvgWidgets, QtUiTools)

# Registered with PythonQt by other ways than its wrapper classes.
ALWAYS = ("QObject", "Qt", "QUiLoader", "QWidget")
# Spelled the same in Qt 5 and Qt 6 but gone, or of other use, in Qt 6.
GONE_FROM_QT6 = {
    "Qt": {"MidButton", "ImMicroFocus", "AA_ImmediateWidgetCreation", "TextColorRole"},
    "QPalette": {"Background", "Foreground"},
    "QWidget": {"getContentsMargins"},
}


@functools.cache
def wrapped_names() -> dict[str, frozenset[str] | None]:
    """{class: its own names besides those of the meta object}; None where they are not listed."""
    table: dict[str, frozenset[str] | None] = dict.fromkeys(ALWAYS, frozenset())
    text = (Path(__file__).parent / "pythonqt_names.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, names = line.partition(":")
            table[name] = None if names.strip() == "*" else frozenset(names.split())
    return table


def class_has(cls: type, attribute: str) -> bool:
    """Whether PythonQt shows an attribute on a Qt class, in Qt 5.15 and in Qt 6.

    It does for what the meta object holds (properties, signals, slots, registered enumerations)
    and for what PythonQt wraps by hand.
    """
    if attribute in ("className", "inherits", "help", "delete"):
        return True
    if attribute.startswith("__"):
        return hasattr(cls, attribute)
    for base in cls.__mro__:
        if attribute in GONE_FROM_QT6.get(base.__name__, ()):
            return False
        if base.__module__.startswith("PySide6"):
            names = wrapped_names().get(base.__name__, frozenset())
            if attribute in names if names is not None else hasattr(base, attribute):
                return True
    if cls is QtCore.Qt:
        return hasattr(cls, attribute)
    meta = getattr(cls, "staticMetaObject", None)
    if meta is not None and attribute in _meta_names(meta.className(), meta):
        return True
    if not issubclass(cls, QtCore.QObject):
        return False
    if attribute == "exec_":
        return hasattr(cls, "exec_")
    return attribute in _OBJECT_METHODS


_OBJECT_METHODS = (
    "blockSignals",
    "children",
    "connect",
    "disconnect",
    "event",
    "findChild",
    "findChildren",
    "installEventFilter",
    "killTimer",
    "metaObject",
    "moveToThread",
    "name",
    "parent",
    "property",
    "removeEventFilter",
    "setParent",
    "setProperty",
    "signalsBlocked",
    "startTimer",
    "thread",
    "tr",
)


@functools.lru_cache(maxsize=256)
def _meta_names(name: str, meta: QtCore.QMetaObject) -> frozenset[str]:
    names = {meta.property(i).name() for i in range(meta.propertyCount())}
    for index in range(meta.methodCount()):
        names.add(bytes(meta.method(index).name().data()).decode())
    for index in range(meta.enumeratorCount()):
        found = meta.enumerator(index)
        names.update({found.name(), found.enumName()})
        names.update(found.key(i) for i in range(found.keyCount()))
    return frozenset(names)
