"""The names that Slicer's own classes and Python modules have, read from a list.

The list (``slicer_api.json``) was taken from the sources of Slicer and CTK: for each class its base
class, Qt properties, signals, slots and invokable methods, for each Python module its functions and
classes. It is looked for where ``MRIFORGE_SLICER_API`` says, then in the folder ``shared`` beside
the repository; without it whatever depends on it is left out.
"""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path

from . import qt_names

REPOSITORY = Path(__file__).resolve().parents[2]

# What PythonQt gives every object besides what its C++ class declares.
_EVERY_OBJECT = {"className", "inherits", "help", "delete", "name"}


def normal_signature(signature: str) -> str:
    """A signature without parameter names, as Qt normalizes it.

    ``"currentPathChanged(const QString& path)"`` gives ``"currentPathChanged(QString)"``.
    """
    head, _, inside = signature.partition("(")
    kinds = []
    for part in inside.rsplit(")", 1)[0].split(","):
        kind = re.sub(r"\s*([*&])\s*", r"\1 ", part).strip()
        constant = kind.startswith("const ")
        words = kind.removeprefix("const ").split()
        if len(words) > 1 and words[-1].isidentifier() and words[-2] not in ("unsigned", "long"):
            words.pop()  # the parameter's name
        kind = " ".join(words)
        if constant and kind.endswith("*"):
            kind = "const " + kind
        elif constant:
            kind = kind.removesuffix("&")
        if kind:
            kinds.append(kind)
    return f"{head.strip()}({','.join(kinds)})"


class ApiNames:
    """The list of names, with look-up through base classes."""

    def __init__(self, content: dict) -> None:
        self._widgets: dict[str, dict] = content["widgets"]
        self._python: dict[str, dict] = content["python"]
        self._added = _added_by_decorators(self._widgets)

    def knows_class(self, class_name: str) -> bool:
        """Whether the list has this C++ class."""
        return class_name in self._widgets

    def class_names(self) -> list[str]:
        """All C++ classes of the list."""
        return sorted(self._widgets)

    def module_names(self) -> list[str]:
        """All Python modules of the list, such as ``slicer.util``."""
        return sorted(self._python)

    def module_has(self, module: str, name: str) -> bool:
        """Whether a Python module of Slicer has a name, or a submodule of that name."""
        return name in self._python.get(module, {}) or f"{module}.{name}" in self._python

    def has_attribute(self, class_name: str, attribute: str) -> bool:
        """Whether an object of a C++ class has an attribute in PythonQt.

        Args:
            class_name: A class of the list or of Qt; base classes are followed into Qt.
            attribute: A property, signal, slot or invokable method.
        """
        if attribute in _EVERY_OBJECT:
            return True
        for name, entry in self._chain(class_name):
            if attribute in self._added.get(name, ()):
                return True
            if attribute in entry["properties"] or attribute in entry["invokable"]:
                return True
            signatures = [*entry["signals"], *entry["slots"]]
            if any(s.partition("(")[0].strip() == attribute for s in signatures):
                return True
        base = self.qt_base(class_name)
        return base is not None and qt_names.class_has(base, attribute)

    def has_property(self, class_name: str, name: str) -> bool:
        """Whether a C++ class has a Qt property of that name."""
        if any(name in entry["properties"] for _, entry in self._chain(class_name)):
            return True
        meta = self._qt_meta(class_name)
        return meta is not None and meta.indexOfProperty(name) >= 0

    def has_signal(self, class_name: str, signature: str) -> bool:
        """Whether a C++ class has a signal; the signature needs no normalizing."""
        wanted = normal_signature(signature)
        meta = self._qt_meta(class_name)
        return self._has_signature(class_name, "signals", wanted) or (
            meta is not None and meta.indexOfSignal(wanted) >= 0
        )

    def has_slot(self, class_name: str, signature: str) -> bool:
        """Whether a C++ class has a slot; the signature needs no normalizing."""
        wanted = normal_signature(signature)
        meta = self._qt_meta(class_name)
        return self._has_signature(class_name, "slots", wanted) or (
            meta is not None and meta.indexOfSlot(wanted) >= 0
        )

    def qt_base(self, class_name: str) -> type | None:
        """The Qt class that a class of the list derives from in the end, or the Qt class itself."""
        while class_name in self._widgets:
            class_name = self._widgets[class_name]["base"]
        for module in qt_names.QT_MODULES:
            if class_name and hasattr(module, class_name):
                return getattr(module, class_name)
        return None

    def _qt_meta(self, class_name: str):
        return getattr(self.qt_base(class_name), "staticMetaObject", None)

    def _chain(self, class_name: str) -> list[tuple[str, dict]]:
        chain = []
        while class_name in self._widgets:
            chain.append((class_name, self._widgets[class_name]))
            class_name = chain[-1][1]["base"]
        return chain

    def _has_signature(self, class_name: str, kind: str, wanted: str) -> bool:
        return any(
            normal_signature(signature) == wanted
            for _, entry in self._chain(class_name)
            for signature in entry[kind]
        )


def _added_by_decorators(widgets: dict[str, dict]) -> dict[str, set[str]]:
    """{class: methods that PythonQt decorators add to it}.

    A decorator's slot ``f(X* object, ...)`` becomes the method ``f`` of X, ``static_X_f(...)`` a
    static one.
    """
    added: dict[str, set[str]] = {}
    for name, entry in widgets.items():
        if not name.endswith("Decorators"):
            continue
        for slot in entry["slots"]:
            method, _, inside = slot.partition("(")
            if method.startswith("static_"):
                cls, _, method = method.removeprefix("static_").partition("_")
            else:
                cls = inside.partition("*")[0].split(" ")[-1].strip()
            added.setdefault(cls, set()).add(method)
    return added


def path() -> Path | None:
    """The list of names, or None where it is not here."""
    named = os.environ.get("MRIFORGE_SLICER_API")
    file = Path(named) if named else REPOSITORY.parent / "shared" / "slicer_api.json"
    return file if file.is_file() else None


@functools.cache
def load() -> ApiNames | None:
    """The list of names, or None where it is not here."""
    file = path()
    return ApiNames(json.loads(file.read_text(encoding="utf-8"))) if file else None


def has_attribute(class_name: str, attribute: str) -> bool:
    """``ApiNames.has_attribute`` of the list that was found.

    Raises:
        FileNotFoundError: The list is not here.
    """
    return _required().has_attribute(class_name, attribute)


def module_names() -> list[str]:
    """``ApiNames.module_names`` of the list that was found.

    Raises:
        FileNotFoundError: The list is not here.
    """
    return _required().module_names()


def _required() -> ApiNames:
    names = load()
    if names is None:
        raise FileNotFoundError("slicer_api.json is not here (MRIFORGE_SLICER_API)")
    return names
