"""The extension as CMake builds and installs it, with a stand-in for a build of Slicer."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import lists
import pytest

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).parent / "cmake"
PLACE = "lib/Slicer-5.12/qt-scripted-modules"
MODULES = ("ALAMOSegment", "MTMRIRecon", "SuperResMRI")
OLDEST_CMAKE = (3, 28)
NO_COMPILER = [
    f"-DCMAKE_{language}_COMPILER{suffix}"
    for language in ("C", "CXX")
    for suffix in (f"={sys.executable}", "_ID_RUN=1", "_FORCED=1", "_WORKS=1")
]
"""Nothing is compiled, so a compiler need not be there; project() would look for one."""


def tool(name: str) -> str | None:
    """A program beside this Python (where wheels put them) or on the path."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(name, path=os.pathsep.join([beside, os.environ.get("PATH", "")]))


def run(*command: object, **options) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, **options
    )
    done.said = " ".join((done.stdout + done.stderr).split())
    return done


@pytest.fixture(scope="session")
def cmake() -> str:
    """CMake 3.28 or newer; the package of that name on the Python package index brings it."""
    program = tool("cmake")
    if program is None:
        pytest.skip("CMake is not installed")
    found = re.search(r"(\d+)\.(\d+)", run(program, "--version").stdout)
    if tuple(map(int, found.groups())) < OLDEST_CMAKE:
        pytest.skip(f"CMake {found.group()} is older than what Slicer's extensions need")
    if tool("ninja") is None and tool("make") is None:
        pytest.skip("neither ninja nor make is installed")
    return program


def configure(cmake: str, source: Path, build: Path, *more: str) -> subprocess.CompletedProcess:
    generator = "Ninja" if tool("ninja") else "Unix Makefiles"
    maker = tool("ninja") or tool("make")
    return run(
        *(cmake, "-S", source, "-B", build, "-G", generator, f"-DCMAKE_MAKE_PROGRAM={maker}"),
        *(f"-DSlicer_DIR={STAND_IN}", "-DCMAKE_BUILD_TYPE=Release", *NO_COMPILER, *more),
    )


@pytest.fixture(scope="session")
def build(cmake: str, tmp_path_factory) -> Path:
    """The build tree of the extension."""
    folder = tmp_path_factory.mktemp("build tree")
    done = configure(cmake, ROOT, folder, "-DBUILD_TESTING=ON")
    assert done.returncode == 0, done.stderr
    done = run(cmake, "--build", folder)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="session")
def installed(cmake: str, build: Path, tmp_path_factory) -> Path:
    """The folder of scripted modules of the installed extension."""
    prefix = tmp_path_factory.mktemp("installed extension")
    done = run(cmake, "--install", build, "--prefix", prefix)
    assert done.returncode == 0, done.stderr
    return prefix / PLACE


def shipped() -> dict[str, Path]:
    """Where each file of the checkout that users need has to land in the folder of modules."""
    wanted = {}
    for package in ("mriforge", "MRIForgeLib", *MODULES):
        for path in (ROOT / package).rglob("*"):
            inside = path.relative_to(ROOT / package)
            aside = {"Testing", "__pycache__", "CMakeLists.txt"} & set(inside.parts)
            if path.is_file() and not aside and not path.name.startswith("."):
                name = inside if package in MODULES else package / inside
                wanted[name.as_posix()] = path
    for path in filter(Path.is_file, (ROOT / "Resources" / "Models").rglob("*")):
        inside = path.relative_to(ROOT / "Resources" / "Models").as_posix()
        wanted[f"mriforge/resources/models/{inside}"] = path
    wanted["MRIForgeLib/Resources/Scripts/batch.py"] = ROOT / "Resources/Scripts/batch.py"
    return wanted


def fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("each", lists.LISTS, ids=lambda each: f"{each.cmake}:{each.variable}")
def test_the_lists_are_the_files_that_are_there(each: lists.FileList) -> None:
    assert not each.differences(), "run: python Testing/extension/lists.py --write"


def test_lists_are_written_and_the_rest_is_kept(tmp_path: Path) -> None:
    (tmp_path / "lib" / "deep").mkdir(parents=True)
    (tmp_path / "lib" / "Testing").mkdir()
    for name in ("a.py", "deep/b.py", "data.txt", "Testing/t.py", ".hidden.py", "CMakeLists.txt"):
        (tmp_path / "lib" / name).touch()
    text = f"# before\nset(FILES\n{lists.BEGIN}\n  gone.py\n{lists.END}\n  )\n# after\n"
    (tmp_path / "lib" / "CMakeLists.txt").write_text(text)
    each = lists.FileList("lib/CMakeLists.txt", "FILES", "lib", True)
    notes = each.differences(tmp_path)
    assert len(notes) == 3
    assert any("lib/deep/b.py is not listed" in note for note in notes)
    assert any("lib/gone.py" in note and "is gone" in note for note in notes)
    each.write(tmp_path)
    assert each.listed(tmp_path) == ["a.py", "deep/b.py"]
    assert not each.differences(tmp_path)
    written = (tmp_path / "lib" / "CMakeLists.txt").read_text()
    assert written.startswith("# before\n") and written.endswith("# after\n")


def test_every_file_lands_once_and_nothing_else(installed: Path) -> None:
    there = {p.relative_to(installed).as_posix(): p for p in installed.rglob("*") if p.is_file()}
    wanted = shipped()
    assert sorted(there) == sorted(wanted)
    changed = [name for name in wanted if fingerprint(there[name]) != fingerprint(wanted[name])]
    assert not changed


def test_the_build_tree_is_complete_too(build: Path) -> None:
    folder = build / PLACE
    assert sorted(shipped()) == sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()
    )


def test_only_modules_lie_beside_each_other(installed: Path) -> None:
    """Slicer takes every Python file there for a module, and all extensions share the folder."""
    assert sorted(p.name for p in installed.glob("*.py")) == [f"{name}.py" for name in MODULES]
    assert {path.name for path in installed.iterdir() if path.is_dir()} <= {
        *("mriforge", "MRIForgeLib", "Resources"),
        *(path.name for name in MODULES for path in (ROOT / name).iterdir()),
    }
    for path in (installed / "Resources").rglob("*"):
        if path.is_file():
            ours = any(name in path.name for name in MODULES)
            assert ours, f"{path.name} may be another extension's file too"


def test_a_listed_file_that_is_missing_stops_the_build(cmake: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    names = ("CMakeLists.txt", "LICENSE.txt", "README.md")
    source.mkdir()
    for name in names:
        shutil.copy(ROOT / name, source / name)
    for folder in ("mriforge", "MRIForgeLib", *MODULES, "Resources"):
        shutil.copytree(ROOT / folder, source / folder)
    (source / "mriforge" / "volume.py").unlink()
    done = configure(cmake, source, tmp_path / "build")
    assert done.returncode != 0
    assert "volume.py" in done.said and "does not exist" in done.said


def test_slicer_runs_the_modules_tests(cmake: str, build: Path) -> None:
    ctest = Path(cmake).with_name("ctest" + Path(cmake).suffix)
    listing = json.loads(run(ctest, "--show-only=json-v1", cwd=build).stdout)
    tests = {test["name"]: test["command"] for test in listing["tests"]}
    generic = {name: f"py_nomainwindow_qSlicer{name}ModuleGenericTest" for name in MODULES}
    assert set(tests) == {*generic.values(), *(f"py_{name}" for name in MODULES)}
    for name in MODULES:
        assert "--no-main-window" in tests[generic[name]]
        own = tests[f"py_{name}"]
        code = own[own.index("--python-code") + 1]
        assert f"'{ROOT / name}'" in code and f"'{name}')" in code


def test_the_description_is_complete(build: Path) -> None:
    lines = (build / "MRIForge.description").read_text(encoding="utf-8").splitlines()
    about = dict(line.split(" ", 1) for line in lines)
    assert about["DEPENDS"] == "PyTorch"
    assert Path(about["LICENSE_FILE"]) == ROOT / "LICENSE.txt"


def test_the_installed_packages_find_each_other_and_the_models(
    installed: Path, bare_environment: dict[str, str], forget_checkout: str, tmp_path: Path
) -> None:
    code = f"""{forget_checkout}
sys.path.insert(0, {str(installed)!r})
import json, mriforge, MRIForgeLib
from mriforge.models.store import find_model, installed_models, verify_model
for model in installed_models():
    verify_model(model)
places = [mriforge.__file__, MRIForgeLib.__file__, *(str(m.path) for m in installed_models())]
print(json.dumps(places))
"""
    done = run(sys.executable, "-c", code, env=bare_environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    places = [Path(place).resolve() for place in json.loads(done.stdout)]
    assert all(place.is_relative_to(installed.resolve()) for place in places), places
    shipped_models = {p.parent.name for p in (ROOT / "Resources/Models").glob("*/card.json")}
    assert {place.name for place in places[2:]} == shipped_models


def test_the_installed_command_line_works(
    installed: Path, bare_environment: dict[str, str], tmp_path: Path
) -> None:
    environment = {**bare_environment, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "mriforge", "models", "list", "--json"]
    done = run(*command, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    entries = json.loads(done.stdout)
    models = [entry for entry in entries if entry["kind"] == "model"]
    assert models
    assert all(Path(m["path"]).is_relative_to(installed) for m in models)
