"""What is imported when: from a bare source tree, and nothing heavy before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("SuperResMRI", "MTMRIRecon", "ALAMOSegment")
SOURCES = sorted(
    path
    for folder in ("MRIForgeLib", *MODULES)
    for path in (ROOT / folder).rglob("*.py")
    if "Testing" not in path.parts
)
AT_FILE_SCOPE = {
    *sys.stdlib_module_names,
    *("slicer", "vtk", "qt", "ctk", "numpy"),
    *("mriforge", "MRIForgeLib"),
}
GONE = {"imp", "pkg_resources", "distutils"}
"""Python 3.12 and the setuptools of Slicer 5.12 have them no more."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(params=SOURCES, ids=name_of)
def tree(request) -> ast.Module:
    return ast.parse(request.param.read_text(encoding="utf-8"))


def imported(node: ast.AST, everywhere: bool) -> set[str]:
    """First parts of imported names; those inside functions only if ``everywhere``."""
    found = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in child.names}
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports do not work in a module file"
            found.add(child.module.partition(".")[0])
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        elif everywhere or not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        ):
            found |= imported(child, everywhere)
    return found


def test_file_scope_imports_only_what_slicer_has(tree: ast.Module) -> None:
    assert imported(tree, everywhere=False) <= AT_FILE_SCOPE


def test_nothing_is_imported_that_is_gone(tree: ast.Module) -> None:
    assert not imported(tree, everywhere=True) & GONE


def test_texts_are_translated_as_they_stand(tree: ast.Module) -> None:
    """The translators' tool reads literals; an f-string would never be found in its tables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            literal = len(node.args) == 1 and isinstance(node.args[0], ast.Constant)
            assert literal, f"line {node.lineno}: _() takes one literal text"


def test_only_module_files_lie_in_a_module_folder() -> None:
    """Slicer takes every Python file there for a module."""
    for module in MODULES:
        assert [path.name for path in (ROOT / module).glob("*.py")] == [f"{module}.py"]


def test_packages_have_names_of_their_own() -> None:
    """The packages of all extensions share one name space."""
    shipped = [path for path in ROOT.iterdir() if (path / "__init__.py").is_file()]
    assert {path.name for path in shipped} == {"mriforge", "MRIForgeLib"}


# Imports a module of Slicer and reports where the packages came from, and what came with them.
PROGRAM = """{forget_checkout}
sys.path[:0] = [{testing!r}, {module_folder!r}]
import host
host.start(main_window=False)
heavy = {{"torch", "scipy", "nibabel", "SimpleITK", "matplotlib"}}
before = heavy & set(sys.modules)
module = host.load_module({module_file!r})
import MRIForgeLib, mriforge
for package in (MRIForgeLib, mriforge):
    assert os.path.dirname(package.__file__) == os.path.join({root!r}, package.__name__), package
assert {root!r} in sys.path
print("came along:", *sorted(heavy & set(sys.modules) - before))
"""


@pytest.mark.parametrize("module", MODULES)
def test_a_module_works_from_a_bare_source_tree(
    module: str, bare_environment: dict[str, str], forget_checkout: str, tmp_path: Path
) -> None:
    program = PROGRAM.format(
        forget_checkout=forget_checkout,
        testing=str(ROOT / "Testing"),
        root=str(ROOT),
        module_folder=str(ROOT / module),
        module_file=str(ROOT / module / f"{module}.py"),
    )
    environment = {**bare_environment, "QT_QPA_PLATFORM": "offscreen"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "came along:\n" in done.stdout, "loading the module loads heavy packages"
