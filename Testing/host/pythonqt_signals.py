"""Connecting signals as PythonQt does: by their C++ signature."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable

import shiboken6
from PySide6 import QtCore

_NATIVE_CONNECT = QtCore.QObject.connect
_NATIVE_DISCONNECT = QtCore.QObject.disconnect

# {C++ address of the sender: [(signature, callable, what Qt was given)]}; PythonQt keeps the
# callables of an object alive until the object dies, PySide6 would only keep weak references.
_handlers: dict[int, list[tuple[str, Callable, Callable]]] = {}


def find_signal(sender: QtCore.QObject, signature: str) -> str | None:
    """The signature by which the meta object knows a signal, or None.

    A pointer to something that is no QObject, as in ``currentNodeChanged(vtkMRMLNode*)``, is a
    Python object in the stand-in classes.
    """
    meta = sender.metaObject()
    normal = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    if meta.indexOfSignal(normal) >= 0:
        return normal
    head, _, inside = normal.partition("(")
    kinds = [kind for kind in inside.rstrip(")").split(",") if kind]
    loose = ["PyObject" if k.startswith("vtk") and k.endswith("*") else k for k in kinds]
    if loose != kinds:
        candidate = f"{head}({','.join(loose)})"
        if meta.indexOfSignal(candidate) >= 0 and _declared(sender, normal):
            return candidate
    return None


def _declared(sender: QtCore.QObject, signature: str) -> bool:
    """Whether Slicer's class has that very signal; True where the list of names is not here."""
    from . import api_names

    names = api_names.load()
    for cls in type(sender).__mro__:
        if names is not None and names.knows_class(cls.__name__):
            return names.has_signal(cls.__name__, signature)
    return True


def _argument_count(function: Callable) -> int | None:
    """How many arguments PythonQt would pass at most; None means all."""
    own = 0
    if isinstance(function, types.MethodType):
        own, function = 1, function.__func__
    if not isinstance(function, types.FunctionType):
        return None
    code = function.__code__
    takes_all = code.co_flags & 0x04  # *args
    return None if takes_all else code.co_argcount - own


def connect(self, signal, target, member=None, *rest) -> bool:
    """``sender.connect("clicked(bool)", f)`` and ``sender.connect("a()", receiver, "b()")``.

    Raises:
        ValueError: The sender has no such signal (PythonQt prints that and returns False, which
            in a test would go unseen).
    """
    if isinstance(signal, QtCore.QObject):  # the sender comes first; Qt itself calls it so
        if isinstance(member, str):  # receiver.connect(sender, "signal()", "slot()")
            return connect(signal, target, self, member)
        return connect(signal, target, member, *rest[:1])
    known = _signal_or_error(self, signal)
    target = _receiver(target, member)
    limit = _argument_count(target)

    def deliver(*args):
        target(*args[:limit])

    address = shiboken6.getCppPointer(self)[0]
    if address not in _handlers:
        forget = functools.partial(_handlers.pop, address, None)
        _NATIVE_CONNECT(self, QtCore.SIGNAL("destroyed()"), lambda: forget())
    _handlers.setdefault(address, []).append((known, target, deliver))
    return bool(_NATIVE_CONNECT(self, QtCore.SIGNAL(known), deliver))


def disconnect(self, signal, target=None, member=None) -> bool:
    """Undo ``connect``; without a target all connections of the signal made by Python."""
    known = _signal_or_error(self, signal)
    if target is not None:
        target = _receiver(target, member)
    kept, found = [], False
    handlers = _handlers.get(shiboken6.getCppPointer(self)[0], [])
    for entry in handlers:
        if entry[0] == known and (target is None or (entry[1] == target and not found)):
            _NATIVE_DISCONNECT(self, QtCore.SIGNAL(known), entry[2])
            found = True
        else:
            kept.append(entry)
    handlers[:] = kept
    return found


def _receiver(target, member: str | None) -> Callable:
    if isinstance(member, str):
        target = getattr(target, member.lstrip("012").partition("(")[0])
    if isinstance(target, QtCore.SignalInstance):
        target = target.emit
    if not callable(target):
        raise TypeError(f"a signal is connected to something that can be called, not {target!r}")
    return target


def _signal_or_error(sender: QtCore.QObject, signal) -> str:
    if isinstance(signal, bytes):
        signal = signal.decode()
    if not isinstance(signal, str) or not signal:
        raise ValueError(f"a signal is named by its signature, not {signal!r}")
    known = find_signal(sender, signal.lstrip("012"))
    if known is None:
        raise ValueError(f"signal '{signal}' does not exist on {sender.metaObject().className()}")
    return known
