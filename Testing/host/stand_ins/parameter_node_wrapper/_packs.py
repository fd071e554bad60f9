"""Parameter packs: classes whose members are parameters, stored as `name.member`."""

import typing

import slicer

from ._storage import Store, store_for
from ._types import Default, bare, first
from .validators import IsInstance, NotNone


class Member:
    """One annotated name of a wrapper or pack: its type, how it is stored, its default."""

    def __init__(self, owner, name, annotated):
        self.basename = name
        self.unalteredType = annotated
        self.store, annotations = store_for(annotated)
        if name in vars(owner) or hasattr(owner, name):
            self.default = Default(getattr(owner, name))
        else:
            self.default = first(annotations, Default) or Default(self.store.default())


def members(owner):
    """Return name -> Member of a class with annotations."""
    hints = typing.get_type_hints(owner, include_extras=True)
    return {name: Member(owner, name, annotated) for name, annotated in hints.items()}


def isParameterPack(obj):
    """Say whether a class or object is a parameter pack."""
    return bool(getattr(obj, "_is_parameterPack", False))


def parameterPack(classtype=None):
    """Make a class with annotations a parameter pack (decorator, with or without brackets)."""
    return _pack if classtype is None else _pack(classtype)


def data_type(all_members, name):
    """Return the annotated type of a (dotted) member; raises ValueError for an unknown one."""
    top, _, rest = name.partition(".")
    if top not in all_members:
        raise ValueError(f"there is no parameter {top!r}, but {sorted(all_members)}")
    annotated = all_members[top].unalteredType
    if not rest:
        return annotated
    if not isParameterPack(bare(annotated)):
        raise ValueError(f"{top!r} is no parameter pack, so it has no {rest!r}")
    return bare(annotated).dataType(rest)


class _PackStore(Store):
    def __init__(self, pack):
        self.pack = pack
        self.validators = [NotNone(), IsInstance(pack)]

    def default(self):
        return self.pack()

    def has(self, node, key):
        return all(one.store.has(node, f"{key}.{name}") for name, one in self._members())

    def write(self, node, key, value):
        with slicer.util.NodeModify(node):
            for name, one in self._members():
                one.store.write(node, f"{key}.{name}", getattr(value, name))

    def read(self, node, key):
        value = self.pack()
        for name, one in self._members():
            value._values[name] = one.store.read(node, f"{key}.{name}")

        def changed(name):
            member = self.pack.allParameters[name]
            member.store.write(node, f"{key}.{name}", value._values[name])

        value._changed = changed
        return value

    def remove(self, node, key):
        for name, one in self._members():
            one.store.remove(node, f"{key}.{name}")

    def _members(self):
        return self.pack.allParameters.items()


def _pack(cls):
    cls.allParameters = members(cls)
    if not cls.allParameters:
        raise ValueError(f"{cls.__name__} has no annotated member")
    for name, member in cls.allParameters.items():
        member.store.check(member.default.value)
        setattr(cls, name, _property(name, member))
    own_init = vars(cls).get("__init__")

    def init(self, *args, **kwargs):
        self._changed = lambda name: None
        self._values = {name: one.default.value for name, one in cls.allParameters.items()}
        if own_init is not None:
            own_init(self, *args, **kwargs)
            return
        given = dict(zip(cls.allParameters, args, strict=False))
        if len(args) > len(given) or given.keys() & kwargs.keys():
            raise TypeError(f"{cls.__name__}: a member is given twice, or one too many")
        for name, value in {**given, **kwargs}.items():
            self.setValue(name, value)

    cls.__init__ = init
    cls._is_parameterPack = True
    cls._store = classmethod(_PackStore)
    cls.dataType = staticmethod(lambda name: data_type(cls.allParameters, name))
    cls.getValue, cls.setValue = _get_value, _set_value
    cls.__eq__ = lambda self, other: type(self) is type(other) and self._values == other._values
    cls.__hash__ = None
    if "__repr__" not in vars(cls):
        cls.__repr__ = lambda self: f"{cls.__name__}({self._values})"
    return cls


def _property(name, member):
    def write(self, value):
        member.store.check(value)
        self._values[name] = value
        self._changed(name)

    return property(lambda self: self._values[name], write)


def _get_value(self, name):
    self.dataType(name)
    value = self
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _set_value(self, name, value):
    self.dataType(name)
    holder, _, last = name.rpartition(".")
    setattr(_get_value(self, holder) if holder else self, last, value)


@parameterPack
class FloatRange:
    """Two numbers, the first not above the second."""

    _minimum: float
    _maximum: float

    def __init__(self, minimum=0, maximum=0):
        self.setRange(minimum, maximum)

    @staticmethod
    def checkRange(minimum, maximum):
        if not minimum <= maximum:
            raise ValueError(f"the minimum {minimum} is above the maximum {maximum}")

    def setRange(self, minimum, maximum):
        self.checkRange(minimum, maximum)
        self._minimum = minimum
        self._maximum = maximum

    @property
    def minimum(self):
        return self._minimum

    @minimum.setter
    def minimum(self, value):
        self.setRange(value, self._maximum)

    @property
    def maximum(self):
        return self._maximum

    @maximum.setter
    def maximum(self, value):
        self.setRange(self._minimum, value)

    def __repr__(self):
        return f"FloatRange(minimum={self.minimum}, maximum={self.maximum})"
