"""Annotations, and taking annotated types apart."""

import dataclasses
import types
import typing

import slicer


class Default:
    """The value a parameter starts with, or a function that makes it."""

    def __init__(self, value=None, *, generator=None):
        self._value = value
        self._generator = generator

    @property
    def value(self):
        return self._value if self._generator is None else self._generator()

    def __eq__(self, other):
        return isinstance(other, Default) and vars(self) == vars(other)

    __hash__ = None

    def __repr__(self):
        return f"Default(value={self._value}, generator={self._generator})"


@dataclasses.dataclass
class Decimals:
    """How many digits a spin box or slider shows."""

    value: int


@dataclasses.dataclass
class SingleStep:
    """How far one step of a spin box or slider goes."""

    value: float | int


def split(annotated):
    """Return (type, annotations) of a type that may be `Annotated[type, ...]`."""
    if typing.get_origin(annotated) is typing.Annotated:
        inner, *annotations = typing.get_args(annotated)
        return inner, annotations
    return annotated, []


def bare(annotated):
    """Return the type without its annotations."""
    return split(annotated)[0]


def first(annotations, kind):
    """Return the first annotation of a kind, or None."""
    return next((one for one in annotations if isinstance(one, kind)), None)


def members_of_union(datatype):
    """Return the types of a union (`A | B` or Optional[A]), or None for any other type."""
    if typing.get_origin(datatype) in (typing.Union, types.UnionType):
        return typing.get_args(datatype)
    return None


def node_classes(datatype):
    """Return the MRML class names of a node type or a union of such; () for any other type."""
    datatype = bare(datatype)
    kinds = [bare(one) for one in members_of_union(datatype) or [datatype]]
    kinds = [one for one in kinds if one is not type(None)]
    if not all(isinstance(one, type) and issubclass(one, slicer.vtkMRMLNode) for one in kinds):
        return ()
    return tuple(one().GetClassName() for one in kinds)
