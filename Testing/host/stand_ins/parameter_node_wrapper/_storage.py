"""How values of each type live in a `vtkMRMLScriptedModuleNode`: as text, or as node references.

A store checks a whole value before the first part of it is written, so a refused value leaves the
node as it was.
"""

import abc
import enum
import pathlib
import typing

import slicer

from ._observed import ObservedDict, ObservedList
from ._types import members_of_union, split
from .validators import IsInstance, NotNone, Validator

_PATHS = (
    pathlib.Path,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)


class Store(abc.ABC):
    """Reads and writes values of one type; `validators` are the conditions on each."""

    validators: typing.Sequence[Validator] = ()

    def check(self, value):
        """Raise ValueError or TypeError for a value that may not be stored."""
        for validator in self.validators:
            validator.validate(value)

    @abc.abstractmethod
    def default(self):
        """Return the value of a parameter that names no default."""

    def has(self, node, key):
        return bool(node.HasParameter(key))

    def remove(self, node, key):
        node.UnsetParameter(key)

    @abc.abstractmethod
    def write(self, node, key, value):
        """Store a value that was checked."""

    @abc.abstractmethod
    def read(self, node, key):
        """Return the stored value."""


class Text(Store):
    """A value that is one string: numbers, strings, bool, paths, enum members."""

    def __init__(self, accepted, default, encode, decode, may_be_none=False):
        self.validators = [] if may_be_none else [NotNone()]
        self.validators.append(IsInstance(accepted))
        self._default, self._encode, self._decode = default, encode, decode

    def default(self):
        return self._default

    def write(self, node, key, value):
        node.SetParameter(key, self._encode(value))

    def read(self, node, key):
        return self._decode(node.GetParameter(key))


class Nothing(Store):
    """None: something must be stored to tell that it is there."""

    def check(self, value):
        if value is not None:
            raise TypeError(f"{value!r} is not None")

    def default(self):
        return None

    def write(self, node, key, value):
        node.SetParameter(key, "True")

    def read(self, node, key):
        return None


class Node(Store):
    """A MRML node, as a reference; an empty parameter of that name says that it was set."""

    def __init__(self, kind):
        self.validators = [IsInstance(kind)]

    def default(self):
        return None

    def write(self, node, key, value):
        node.SetParameter(key, "")
        node.SetNodeReferenceID(key, None if value is None else value.GetID())

    def read(self, node, key):
        return node.GetNodeReference(key)

    def remove(self, node, key):
        node.UnsetParameter(key)
        node.RemoveNodeReferenceIDs(key)


class Many(Store):
    """A list: `name.len` and `name.0`, `name.1`, ..."""

    def __init__(self, element):
        self.element = element

    def check(self, value):
        super().check(value)
        for one in value:
            self.element.check(one)

    def default(self):
        return []

    def has(self, node, key):
        return bool(node.HasParameter(f"{key}.len"))

    def write(self, node, key, value):
        with slicer.util.NodeModify(node):
            for index in range(len(value), self._length(node, key)):
                self.element.remove(node, f"{key}.{index}")
            for index, one in enumerate(value):
                self.element.write(node, f"{key}.{index}", one)
            node.SetParameter(f"{key}.len", str(len(value)))

    def read(self, node, key):
        values = [self.element.read(node, f"{key}.{i}") for i in range(self._length(node, key))]
        return ObservedList(values, lambda new: store(self, node, key, new))

    def remove(self, node, key):
        for index in range(self._length(node, key)):
            self.element.remove(node, f"{key}.{index}")
        node.UnsetParameter(f"{key}.len")

    def _length(self, node, key):
        return int(node.GetParameter(f"{key}.len")) if self.has(node, key) else 0


class Tuple(Store):
    """A fixed number of values: `name.0`, `name.1`, ..."""

    def __init__(self, elements):
        self.elements = elements

    def check(self, value):
        super().check(value)
        for element, one in zip(self.elements, value, strict=True):
            element.check(one)

    def default(self):
        return tuple(element.default() for element in self.elements)

    def has(self, node, key):
        return self.elements[0].has(node, f"{key}.0")

    def write(self, node, key, value):
        with slicer.util.NodeModify(node):
            for index, (element, one) in enumerate(zip(self.elements, value, strict=True)):
                element.write(node, f"{key}.{index}", one)

    def read(self, node, key):
        return tuple(one.read(node, f"{key}.{index}") for index, one in enumerate(self.elements))

    def remove(self, node, key):
        for index, element in enumerate(self.elements):
            element.remove(node, f"{key}.{index}")


class Mapping(Store):
    """A dict, stored as a list of pairs, which keeps its order."""

    def __init__(self, key, value):
        self._pairs = Many(Tuple([key, value]))

    def check(self, value):
        super().check(value)
        self._pairs.check(list(value.items()))

    def default(self):
        return {}

    def has(self, node, key):
        return self._pairs.has(node, key)

    def write(self, node, key, value):
        self._pairs.write(node, key, list(value.items()))

    def read(self, node, key):
        values = dict(self._pairs.read(node, key))
        return ObservedDict(values, lambda new: store(self, node, key, new))

    def remove(self, node, key):
        self._pairs.remove(node, key)


class OneOf(Store):
    """A union: the value lies under the number of the first member that takes it."""

    def __init__(self, members):
        self.members = members

    def check(self, value):
        super().check(value)
        self._member_for(value)

    def default(self):
        optional = len(self.members) == 2 and isinstance(self.members[1], Nothing)
        return None if optional else self.members[0].default()

    def has(self, node, key):
        return any(one.has(node, f"{key}.{index}") for index, one in enumerate(self.members))

    def write(self, node, key, value):
        chosen = self._member_for(value)
        with slicer.util.NodeModify(node):
            self.remove(node, key)
            self.members[chosen].write(node, f"{key}.{chosen}", value)

    def read(self, node, key):
        for index, one in enumerate(self.members):
            if one.has(node, f"{key}.{index}"):
                return one.read(node, f"{key}.{index}")
        raise KeyError(key)

    def remove(self, node, key):
        for index, one in enumerate(self.members):
            one.remove(node, f"{key}.{index}")

    def _member_for(self, value):
        # None is for the member that is None, although a node's store would take it too.
        order = sorted(
            enumerate(self.members),
            key=lambda pair: value is None and not isinstance(pair[1], Nothing),
        )
        problems = []
        for index, one in order:
            try:
                one.check(value)
            except (TypeError, ValueError, AttributeError) as problem:
                problems.append(problem)
            else:
                return index
        raise next((one for one in problems if isinstance(one, ValueError)), problems[0])


def store(target, node, key, value):
    """Check a value, write it, and return what can be read back."""
    target.check(value)
    with slicer.util.NodeModify(node):
        target.write(node, key, value)
    return target.read(node, key)


def store_for(annotated):
    """Return (store, annotations left over) for a type that may be annotated.

    Raises:
        TypeError: no store is known for the type.
    """
    datatype, annotations = split(annotated)
    made = _make(datatype)
    extra = [_instance(one) for one in annotations if _is_validator(one)]
    made.validators = [*made.validators, *extra]
    return made, [one for one in annotations if not _is_validator(one)]


def _is_validator(one):
    return isinstance(one, Validator) or (isinstance(one, type) and issubclass(one, Validator))


def _instance(validator):
    return validator() if isinstance(validator, type) else validator


def _make(datatype):
    simple = {
        int: lambda: Text(int, 0, str, int),
        float: lambda: Text((int, float), 0.0, str, float),
        str: lambda: Text(str, "", str, str),
        bool: lambda: Text(bool, False, str, lambda text: text == "True"),
        type(None): Nothing,
    }
    if datatype in simple:
        return simple[datatype]()
    if datatype in _PATHS:
        return Text(datatype, datatype(), str, datatype)
    union = members_of_union(datatype)
    if union:
        return OneOf([store_for(one)[0] for one in union])
    origin, arguments = typing.get_origin(datatype), typing.get_args(datatype)
    if origin is list:
        return Many(store_for(arguments[0])[0])
    if origin is tuple:
        return Tuple([store_for(one)[0] for one in arguments])
    if origin is dict:
        return Mapping(*(store_for(one)[0] for one in arguments))
    if hasattr(datatype, "_store"):
        return datatype._store()
    if isinstance(datatype, type) and issubclass(datatype, slicer.vtkMRMLNode):
        return Node(datatype)
    if isinstance(datatype, type) and issubclass(datatype, enum.Enum):
        return Text(datatype, next(iter(datatype)), lambda one: one.name, _member_of(datatype))
    raise TypeError(f"a parameter cannot be of type {datatype}")


def _member_of(enumeration):
    def decode(text):
        if text not in enumeration.__members__:
            raise ValueError(f"{text!r} in the parameter node is no name of {enumeration!r}")
        return enumeration[text]

    return decode
