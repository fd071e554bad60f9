"""Finds names in a module's Python code that Slicer, its Qt and its ctk do not have.

The code is read, not run. What an expression is gets inferred only where it is plain: ``slicer``,
``qt`` and ``ctk`` themselves, objects made from their classes, widgets of ``self.ui``, and
variables that are only ever assigned one such thing. What is not known is not reported.
"""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass, field

from . import api_names, qt_module, qt_names


@dataclass(frozen=True)
class Kind:
    """What an expression is.

    Attributes:
        what: "module", "class" or "instance" (of a C++ class by name), "vtk class" or
            "vtk instance" (of a wrapped VTK class), "ui" (the widgets of a .ui file).
        name: The name of the module or class.
    """

    what: str
    name: str = ""


UI = Kind("ui")
MODULES = ("slicer", "qt", "ctk")

# What the module slicer gets when the application runs.
_SLICER_RUNTIME = {
    "app": Kind("instance", "qSlicerApplication"),
    "mrmlScene": Kind("vtk instance", "vtkMRMLScene"),
    "modules": None,
    "selfTests": None,
    "moduleNames": None,
    "dicomDatabase": None,
}
# Only in versions after 5.12.
_TOO_NEW = {"slicer.util": {"LazyImport"}}
_RETURNS = {
    ("qSlicerApplication", "layoutManager"): Kind("instance", "qSlicerLayoutManager"),
    ("qSlicerApplication", "ioManager"): Kind("instance", "qSlicerIOManager"),
    ("qSlicerApplication", "mrmlScene"): Kind("vtk instance", "vtkMRMLScene"),
    ("qSlicerApplication", "applicationLogic"): Kind("vtk instance", "vtkSlicerApplicationLogic"),
    ("qSlicerLayoutManager", "layoutLogic"): Kind("vtk instance", "vtkMRMLLayoutLogic"),
    ("qSlicerLayoutManager", "sliceWidget"): Kind("instance", "qMRMLSliceWidget"),
    ("qSlicerLayoutManager", "plotWidget"): Kind("instance", "qMRMLPlotWidget"),
    ("qSlicerLayoutManager", "tableWidget"): Kind("instance", "qMRMLTableWidget"),
    ("qSlicerLayoutManager", "threeDWidget"): Kind("instance", "qMRMLThreeDWidget"),
    ("slicer.util", "mainWindow"): Kind("instance", "qSlicerMainWindow"),
    ("slicer.util", "childWidgetVariables"): UI,
}


@functools.cache
def vtk_class(name: str) -> type | None:
    """A class of the installed slicer package, or None."""
    import slicer

    found = getattr(slicer, name, None)
    return found if isinstance(found, type) else None


@dataclass
class _Scope:
    """The variables of a function, or the attributes of ``self`` in a class."""

    kinds: dict[str, Kind | None] = field(default_factory=dict)

    def assign(self, name: str, kind: Kind | None) -> None:
        """Remember an assignment; two different ones make the variable unknown."""
        if name in self.kinds and self.kinds[name] != kind:
            kind = None
        self.kinds[name] = kind


class Checker(ast.NodeVisitor):
    """Collects the wrong names of one file in ``problems``, as ``"line: what is wrong"``.

    Args:
        names: The list of Slicer's names.
        widgets: {name: class} of the module's .ui files; None where it has none.
    """

    def __init__(self, names: api_names.ApiNames, widgets: dict[str, str] | None = None) -> None:
        self.problems: list[str] = []
        self._names = names
        self._widgets = widgets
        self._file = _Scope()
        self._classes: list[_Scope] = []
        self._functions: list[_Scope] = []

    # Scopes

    def visit_Module(self, node: ast.Module) -> None:
        for each in ast.walk(node):
            if isinstance(each, ast.Import | ast.ImportFrom):
                self.visit(each)  # first, because what follows depends on them
        for statement in node.body:
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
                for name, value in _assignments(statement, None):
                    self._file.assign(name, self._infer(value))
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        scope = _Scope()
        if self._widgets is not None:
            scope.kinds["ui"] = UI
        self._classes.append(scope)
        for function in (n for n in node.body if isinstance(n, ast.FunctionDef)):
            self._enter(function)
            for name, value in _assignments(function, "self"):
                if not _is_none(value) and not (name == "ui" and self._widgets is not None):
                    scope.assign(name, self._infer(value))
            self._functions.pop()
        self.generic_visit(node)
        self._classes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._enter(node)
        self.generic_visit(node)
        self._functions.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def _enter(self, function: ast.FunctionDef) -> None:
        scope = _Scope()
        self._functions.append(scope)
        arguments = function.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            scope.kinds[argument.arg] = None
        for name, value in _assignments(function, None):
            scope.assign(name, self._infer(value))

    # Imports

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            top = alias.name.split(".")[0]
            if top not in MODULES:
                continue
            if alias.name.startswith("slicer.") and not self._is_module(alias.name):
                self._report(node, f"there is no module {alias.name}")
            self._file.kinds[alias.asname or top] = Kind(
                "module", alias.name if alias.asname else top
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or not node.module or node.module.split(".")[0] not in MODULES:
            return
        if node.module.startswith("slicer.") and not self._is_module(node.module):
            self._report(node, f"there is no module {node.module}")
            return
        for alias in node.names:
            if alias.name != "*":
                kind = self._module_member(node, Kind("module", node.module), alias.name)
                self._file.kinds[alias.asname or alias.name] = kind

    def _is_module(self, name: str) -> bool:
        return name in self._names.module_names()

    # Expressions

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        base = self._infer(node.value)
        if base is None:
            return
        if base.what == "module":
            self._module_member(node, base, node.attr)
        elif base.what == "ui":
            if self._widgets is not None and node.attr not in self._widgets:
                self._report(node, f"no widget of the .ui file is called {node.attr}")
        elif not self._has(base, node.attr):
            self._report(node, f"{base.name} has no {node.attr}")
        elif (
            base.what == "instance"
            and isinstance(node.ctx, ast.Store)
            and not self._names.has_property(base.name, node.attr)
            and node.attr != "name"
        ):
            self._report(node, f"{base.name}.{node.attr} is no property and can not be assigned")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Attribute):
            return
        base, name = self._infer(node.func.value), node.func.attr
        if base is None:
            return
        if base.what == "instance" and self._names.has_property(base.name, name):
            self._report(node, f"{base.name}.{name} is a property, not a function")
        text = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if not isinstance(text, str):
            return
        if base.what == "instance" and name in ("connect", "disconnect"):
            if not self._names.has_signal(base.name, text):
                self._report(node, f"{base.name} has no signal {text}")
        elif base.name == "vtkMRMLScene" and name.endswith("ByClass") and vtk_class(text) is None:
            self._report(node, f"there is no class {text}")

    def _infer(self, node: ast.expr | None) -> Kind | None:
        if isinstance(node, ast.Name):
            for scope in reversed(self._functions):
                if node.id in scope.kinds:
                    return scope.kinds[node.id]
            return self._file.kinds.get(node.id)
        if isinstance(node, ast.Call):
            return self._infer_call(node)
        if not isinstance(node, ast.Attribute):
            return None
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return self._classes[-1].kinds.get(node.attr) if self._classes else None
        base = self._infer(node.value)
        if base is None:
            return None
        if base.what == "module":
            return self._module_member(None, base, node.attr)
        if base.what == "ui" and node.attr in (self._widgets or {}):
            return Kind("instance", self._widgets[node.attr])
        return None

    def _infer_call(self, node: ast.Call) -> Kind | None:
        made = self._infer(node.func)
        if made is not None and made.what in ("class", "vtk class"):
            return Kind(made.what.replace("class", "instance"), made.name)
        if not isinstance(node.func, ast.Attribute):
            return None
        base = self._infer(node.func.value)
        if base is None:
            return None
        if base.name == "vtkMRMLScene" and node.func.attr == "AddNewNodeByClass" and node.args:
            name = getattr(node.args[0], "value", None)
            if isinstance(name, str) and vtk_class(name):
                return Kind("vtk instance", name)
        return _RETURNS.get((base.name, node.func.attr))

    # Names

    def _module_member(self, node: ast.AST | None, module: Kind, name: str) -> Kind | None:
        """What a name in a module is; reported at ``node`` if it is nothing."""
        kind, known = self._look_up(module.name, name)
        if not known and node is not None and not name.startswith("__"):
            self._report(node, f"{module.name} has no {name}")
        return kind

    def _look_up(self, module: str, name: str) -> tuple[Kind | None, bool]:
        if module == "qt":
            known = qt_module.find_class(name) is not None
            return (Kind("class", name) if known else None), known
        if module == "ctk":
            known = name.startswith("ctk") and self._names.knows_class(name)
            return (Kind("class", name) if known else None), known
        if name in _TOO_NEW.get(module, ()):
            return None, False
        if module == "slicer":
            if name in _SLICER_RUNTIME:
                return _SLICER_RUNTIME[name], True
            if name.startswith("q") and self._names.knows_class(name):
                return Kind("class", name), True
            if name.startswith("vtk"):
                found = vtk_class(name)
                return (Kind("vtk class", name) if found else None), found is not None
        if self._is_module(f"{module}.{name}"):
            return Kind("module", f"{module}.{name}"), True
        inside = [
            m for m in self._names.module_names() if m == module or m.startswith(module + ".")
        ]
        if module == "slicer":
            inside = ["slicer"]
        return None, any(self._names.module_has(m, name) for m in inside)

    def _has(self, base: Kind, name: str) -> bool:
        if name.startswith("__"):
            return True
        if base.what.startswith("vtk"):
            return hasattr(vtk_class(base.name), name)
        if self._names.knows_class(base.name):
            if base.what == "class":
                return True  # enumerations are not in the list
            return self._names.has_attribute(base.name, name)
        cls = qt_module.find_class(base.name)
        return cls is None or qt_names.class_has(cls, name)

    def _report(self, node: ast.AST, text: str) -> None:
        problem = f"{node.lineno}: {text}"
        if problem not in self.problems:
            self.problems.append(problem)


def _assignments(function: ast.stmt, owner: str | None):
    """Yield (name, value) of what a function or statement assigns; None where it is not plain.

    Args:
        function: Where to look, nested functions included.
        owner: For ``owner.name = value`` the owner; None for plain variables.
    """
    for node in ast.walk(function):
        targets: list[ast.expr] = []
        value = None
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.AugAssign | ast.For | ast.comprehension):
            targets = [node.target]
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            targets = [node.optional_vars]
        for target in targets:
            plain = not isinstance(target, ast.Tuple | ast.List)
            for part in [target] if plain else ast.walk(target):
                if owner is None and isinstance(part, ast.Name):
                    yield part.id, value if plain else None
                elif (
                    owner is not None
                    and isinstance(part, ast.Attribute)
                    and isinstance(part.value, ast.Name)
                    and part.value.id == owner
                ):
                    yield part.attr, value if plain else None


def _is_none(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def check_source(
    source: str, names: api_names.ApiNames, widgets: dict[str, str] | None = None
) -> list[str]:
    """The wrong names in a piece of Python, each as ``"line: what is wrong"``."""
    checker = Checker(names, widgets)
    checker.visit(ast.parse(source))
    return checker.problems


def parameter_names(source: str) -> set[str]:
    """The fields of the parameter node classes in a piece of Python."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and any(
            "parameterNodeWrapper" in ast.unparse(decorator) for decorator in node.decorator_list
        ):
            found.update(
                entry.target.id
                for entry in node.body
                if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name)
            )
    return found
