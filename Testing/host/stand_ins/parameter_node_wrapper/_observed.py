"""Lists and dicts that write themselves back to the parameter node when they change."""

import collections.abc


class ObservedList(collections.abc.MutableSequence):
    """A list whose changes are stored; `save(list)` returns what can be read back."""

    def __init__(self, values, save):
        self._values = values
        self._save = save

    def __getitem__(self, index):
        return self._values[index]

    def __len__(self):
        return len(self._values)

    def __setitem__(self, index, value):
        self._change(lambda values: values.__setitem__(index, value))

    def __delitem__(self, index):
        self._change(lambda values: values.__delitem__(index))

    def insert(self, index, value):
        self._change(lambda values: values.insert(index, value))

    def extend(self, values):
        added = list(values)
        self._change(lambda own: own.extend(added))

    def clear(self):
        self._change(lambda values: values.clear())

    def __eq__(self, other):
        return self._values == (other._values if isinstance(other, ObservedList) else other)

    __hash__ = None

    def __repr__(self):
        return f"ObservedList({self._values})"

    def _change(self, change):
        new = list(self._values)
        change(new)
        self._values = list(self._save(new))


class ObservedDict(collections.abc.MutableMapping):
    """A dict whose changes are stored; `save(dict)` returns what can be read back."""

    def __init__(self, values, save):
        self._values = values
        self._save = save

    def __getitem__(self, key):
        return self._values[key]

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return len(self._values)

    def __setitem__(self, key, value):
        self._values = dict(self._save({**self._values, key: value}))

    def __delitem__(self, key):
        left = dict(self._values)
        del left[key]
        self._values = dict(self._save(left))

    def __eq__(self, other):
        return self._values == (other._values if isinstance(other, ObservedDict) else other)

    __hash__ = None

    def __repr__(self):
        return f"ObservedDict({self._values})"
