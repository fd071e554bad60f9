"""What a value must be like; a value that is not raises ValueError (TypeError for its type)."""

import abc


class Validator(abc.ABC):
    """Base of all conditions on one value."""

    @abc.abstractmethod
    def validate(self, value):
        """Raise ValueError when the value is not allowed."""


class _Condition(Validator):
    """A condition with arguments and a test."""

    def __repr__(self):
        arguments = ", ".join(repr(value) for value in vars(self).values())
        return f"{type(self).__name__}({arguments})"

    def holds(self, value):
        raise NotImplementedError

    def validate(self, value):
        if not self.holds(value):
            raise ValueError(f"{value!r} is not allowed: {self!r}")


class NotNone(_Condition):
    """There must be a value."""

    def holds(self, value):
        return value is not None


class IsInstance(_Condition):
    """The value must be of a type, or None."""

    def __init__(self, classtype):
        self.classtype = classtype

    def holds(self, value):
        return value is None or isinstance(value, self.classtype)

    def validate(self, value):
        if not self.holds(value):
            raise TypeError(f"{value!r} is of type {type(value)}, not {self.classtype}")


class WithinRange(_Condition):
    """minimum <= value <= maximum."""

    def __init__(self, minimum, maximum):
        self.minimum = minimum
        self.maximum = maximum

    def holds(self, value):
        return self.minimum <= value <= self.maximum


class Minimum(_Condition):
    """minimum <= value."""

    def __init__(self, minimum):
        self.minimum = minimum

    def holds(self, value):
        return not value < self.minimum


class Maximum(_Condition):
    """value <= maximum."""

    def __init__(self, maximum):
        self.maximum = maximum

    def holds(self, value):
        return not value > self.maximum


class Choice(_Condition):
    """The value must be one of a list."""

    def __init__(self, choices):
        self.choices = choices

    def holds(self, value):
        return value in self.choices


class Exclude(_Condition):
    """The value must be none of a list."""

    def __init__(self, excludedValues):
        self.excludedValues = excludedValues

    def holds(self, value):
        return value not in self.excludedValues


class RangeBounds(_Condition):
    """A FloatRange must lie between two numbers."""

    def __init__(self, minimum, maximum):
        self.minimum = minimum
        self.maximum = maximum

    def holds(self, value):
        return self.minimum <= value.minimum and value.maximum <= self.maximum
