"""PySide6 with the manners of PythonQt, which is what runs inside Slicer.

PythonQt shows Qt properties as attributes, connects signals by their C++ signature, refuses new
attributes on Qt objects, and lets enumeration values compare with integers. ``install()`` changes
the PySide6 classes themselves, so that objects made in C++ (by a .ui file, by a dialog) behave the
same. After it ``button.text()`` is an error everywhere in the process, as it is in Slicer.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import types
from collections.abc import Callable, Iterator

import shiboken6
from PySide6 import QtCore, QtWidgets

from . import pythonqt_signals
from .qt_names import QT_MODULES

_installed = False
_ignore_children = False
_plain_classes: set[type] = set()


def install() -> None:
    """Give PySide6 PythonQt's manners; a second call does nothing."""
    global _installed
    if _installed:
        return
    _installed = True
    for module in QT_MODULES:
        for name in dir(module):
            getattr(module, name)  # classes are made when they are first asked for
    for cls in [QtCore.QObject, *_subclasses(QtCore.QObject)]:
        if not cls.__module__.startswith("PySide6"):
            continue
        _add_properties(cls)
        cls.__setattr__ = _set_attribute
        cls.__delattr__ = _delete_attribute
        cls.__getattr__ = _missing_attribute
        if "__getattribute__" in cls.__dict__:
            # PySide6's own look-up always finds its own connect(), whatever the class holds. (It
            # also reads QtCore.Property, which is given the means to do that itself below.)
            cls.__getattribute__ = _looking_up(cls)
        _plain_classes.add(cls)
        if "exec" in cls.__dict__:
            cls.exec_ = _exec
    QtCore.Property.__get__ = _get_python_property
    QtCore.Property.__set__ = _set_python_property
    QtCore.QObject.connect = pythonqt_signals.connect
    QtCore.QObject.disconnect = pythonqt_signals.disconnect
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.delete = lambda self: self.deleteLater()
    QtCore.QObject.name = _QtProperty("objectName", True, None)
    for module in QT_MODULES:
        for cls in vars(module).values():
            if isinstance(cls, type):
                _loosen_enumerations(cls)
    _return_only_the_first()


def _looking_up(cls: type) -> Callable:
    """Attribute look-up without PySide6's exception for connect().

    Some classes have a look-up of their own for methods that are static and not (QFile.exists):
    theirs is kept for those.
    """
    native = cls.__dict__["__getattribute__"]
    if cls is QtCore.QObject:
        return object.__getattribute__

    def look_up(self, name):
        own = name in ("connect", "disconnect")
        return object.__getattribute__(self, name) if own else native(self, name)

    return look_up


def plain(cls: type) -> type:
    """Mark a class of this package as one that is C++ in Slicer (usable as a decorator).

    Its objects then refuse unknown attributes, except names with a leading underscore, which the
    stand-in itself needs.
    """
    _plain_classes.add(cls)
    return cls


def is_plain(cls: type) -> bool:
    """Whether a class is (or stands for) a C++ class."""
    return cls in _plain_classes


def _subclasses(cls: type) -> Iterator[type]:
    seen: set[type] = set()
    waiting = [cls]
    while waiting:
        for child in waiting.pop().__subclasses__():
            if child not in seen:
                seen.add(child)
                waiting.append(child)
                yield child


def _exec(self, *args):
    return self.exec(*args)


# Properties


class _QtProperty:
    """A Qt property as a Python attribute; on the class, what was there before (a static)."""

    def __init__(self, name: str, writable: bool, original: object) -> None:
        self.name = name
        self.writable = writable
        self.original = original
        self.getter: object = None
        self.setter: object = None
        self.is_enum = False
        self.takes_none = False

    def __get__(self, instance, owner=None):
        if instance is None:
            if self.original is None:
                return self
            bind = getattr(type(self.original), "__get__", None)
            return bind(self.original, None, owner) if bind else self.original
        # The class's own getter returns better types than property() does.
        return self.getter(instance) if self.getter else instance.property(self.name)

    def __set__(self, instance, value) -> None:
        if not self.writable:
            raise AttributeError(
                f"Property '{self.name}' of {type(instance).__name__} object is not writable"
            )
        if value is None and not self.takes_none:
            raise self._refusal(instance, value)
        if self.setter and not (self.is_enum and type(value) is int):
            try:
                self.setter(instance, value)
            except (TypeError, ValueError) as error:
                raise self._refusal(instance, value) from error
        elif not instance.setProperty(self.name, value):
            raise self._refusal(instance, value)

    def _refusal(self, instance, value) -> AttributeError:
        return AttributeError(
            f"Property '{self.name}' of {type(instance).__name__} does not accept an object of"
            f" type {type(value).__name__} ({value!r})"
        )


def _get_python_property(self: QtCore.Property, instance, owner=None):
    return self if instance is None else self.fget(instance)


def _set_python_property(self: QtCore.Property, instance, value) -> None:
    if self.fset is None:
        raise AttributeError(f"this property of {type(instance).__name__} is not writable")
    self.fset(instance, value)


def _add_properties(cls: type) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        found = meta.property(index)
        name = found.name()
        if index < meta.propertyOffset() and name not in cls.__dict__:
            continue  # inherited, and not hidden by a method that overrides the getter
        if cls is QtCore.QTimer and name == "singleShot":
            continue  # PythonQt leaves this one out, in favor of the static singleShot()
        attribute = _QtProperty(name, found.isWritable(), _original(cls, name))
        capital = name[0].upper() + name[1:]
        attribute.getter = _method(cls, name) or _method(cls, "is" + capital)
        attribute.setter = _method(cls, "set" + capital)
        attribute.is_enum = found.isEnumType()
        attribute.takes_none = found.typeName().endswith("*") or found.typeName() == "QVariant"
        setattr(cls, name, attribute)


def _original(cls: type, name: str) -> object:
    for base in cls.__mro__:
        if name in base.__dict__:
            found = base.__dict__[name]
            return found.original if isinstance(found, _QtProperty) else found
    return None


def _method(cls: type, name: str) -> object:
    """The C++ method of that name as an unbound function; None if it is static or absent."""
    found = _original(cls, name)
    return found if isinstance(found, types.MethodDescriptorType) else None


@contextlib.contextmanager
def without_child_attributes() -> Iterator[None]:
    """Inside, setting a QObject as a public attribute has no effect.

    PySide6's loader of .ui files sets every child as an attribute of the top widget. PythonQt
    finds children by name without that (and after properties of the same name).
    """
    global _ignore_children
    _ignore_children = True
    try:
        yield
    finally:
        _ignore_children = False


def _set_attribute(self, name: str, value) -> None:
    if _ignore_children and isinstance(value, QtCore.QObject) and not name.startswith("_"):
        return
    cls = type(self)
    for base in cls.__mro__:
        if name in base.__dict__:
            found = base.__dict__[name]
            if hasattr(type(found), "__set__"):
                type(found).__set__(found, self, value)
                return
            if isinstance(value, QtCore.SignalInstance):
                break  # PySide6 keeps the signals of objects made in C++ when first asked for
            if cls in _plain_classes and not name.startswith("_"):
                raise AttributeError(f"'{name}' can not be overwritten on {cls.__name__} object")
            break
    if name.encode() in self.dynamicPropertyNames():
        self.setProperty(name, value)
    elif (
        isinstance(value, QtCore.SignalInstance)
        or cls not in _plain_classes
        or (name.startswith("_") and not cls.__module__.startswith("PySide6"))
    ):
        self.__dict__[name] = value
    else:
        raise AttributeError(
            f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++"
            " objects is not allowed"
        )


def _delete_attribute(self, name: str) -> None:
    if name not in self.__dict__:
        raise AttributeError(f"{type(self).__name__} has no attribute '{name}' to delete")
    del self.__dict__[name]


def _missing_attribute(self, name: str):
    """What PythonQt tries last: an enumeration value, a dynamic property, a child's name."""
    if not name.startswith("__") and shiboken6.isValid(self):
        value = getattr(type(self), name, None)
        if isinstance(value, enum.Enum):
            return value
        if name.encode() in QtCore.QObject.dynamicPropertyNames(self):
            return self.property(name)
        for child in QtCore.QObject.children(self):
            if child.objectName == name:
                return child
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


# The rest


def _loosen_enumerations(cls: type) -> None:
    """PythonQt's enumeration values are integers; PySide6's mostly are not."""
    for value in list(vars(cls).values()):
        if not isinstance(value, type) or value is cls:
            continue
        if issubclass(value, enum.Enum) and not issubclass(value, int):
            value.__eq__ = _enum_equals
            value.__hash__ = lambda self: hash(self.value)
            value.__int__ = lambda self: int(self.value)
            value.__index__ = lambda self: int(self.value)
        elif value.__qualname__.startswith(cls.__qualname__ + "."):
            _loosen_enumerations(value)


def _enum_equals(self, other) -> bool:
    if isinstance(other, enum.Enum):
        other = other.value
    return self.value == other if isinstance(other, int) else NotImplemented


def _return_only_the_first() -> None:
    """PythonQt's file and input dialogs return a value, PySide6's a value and a second one."""
    for cls, names in (
        (QtWidgets.QFileDialog, ("getOpenFileName", "getSaveFileName", "getOpenFileNames")),
        (QtWidgets.QInputDialog, ("getText", "getInt", "getDouble", "getItem")),
    ):
        for name in names:
            setattr(cls, name, staticmethod(_first_of(getattr(cls, name))))


def _first_of(function: Callable) -> Callable:
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)[0]

    return call
