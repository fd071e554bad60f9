"""Short ways to write the stand-in widgets of ctk."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets


def stored(kind, name: str, default, then: str | None = None) -> QtCore.Property:
    """A property kept in ``self._<name>``.

    Args:
        kind: Its type, as ``QtCore.Property`` takes it.
        name: Its name, for the place where it is kept.
        default: Its value until it is set.
        then: Name of a method to call after a change.
    """
    place = "_" + name

    def get(self):
        return self.__dict__.get(place, default)

    def put(self, value):
        if kind in (float, int, bool, str):
            value = kind(value) if kind is not str else _text(value)
        if value != get(self):
            self.__dict__[place] = value
            if then:
                getattr(self, then)()

    return QtCore.Property(kind, get, put)


def forwarded(kind, inner: str, name: str, writable: bool = True) -> QtCore.Property:
    """A property that is one of an inner widget, which is kept in ``self.<inner>``."""

    def get(self):
        return getattr(getattr(self, inner), name)

    def put(self, value):
        setattr(getattr(self, inner), name, value)

    return QtCore.Property(kind, get, put if writable else None)


def _text(value) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is needed, not {value!r}")
    return value


def row(owner: QtWidgets.QWidget, *parts: QtWidgets.QWidget) -> None:
    """Lay out parts beside each other, without margins."""
    layout = QtWidgets.QHBoxLayout(owner)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)
