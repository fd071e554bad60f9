"""The rules of the house, read from the source: imports, sizes, cards, licences."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "mriforge").rglob("*.py"))
ADAPTER = sorted((ROOT / "MRIForgeLib").rglob("*.py"))
MODULES = [ROOT / name / f"{name}.py" for name in ("SuperResMRI", "MTMRIRecon", "ALAMOSegment")]

MAX_LINES = 400
MAX_LINES_OF_TESTS = 600  # tables of cases
LONGER = {
    f"{path.stem}/{path.name}": (560, "Slicer wants module, widget, logic and test in one file")
    for path in MODULES
}
"""Files that may be longer: ``{name: (lines, reason)}``."""
MAX_FUNCTION = 65  # about 60, docstring not counted
LONGER_FUNCTIONS: dict[str, str] = {}
MAX_MEGABYTES = {".safetensors": 12}
MAX_MEGABYTES_OTHERWISE = 8

# A room may import the rooms of its own level and those to the right of it.
LEVELS = [
    {"cli", "worker", "__main__", "console"},
    {"jobs", "cohort"},
    {"demo", "uncertainty"},
    {"superres", "interslice", "fusion", "degrade", "evaluate", "recon", "segment", "blind"},
    {"training", "report", "phantoms"},
    {"synthesis"},
    {"losses"},
    {"models", "recipes"},
    {"metrics", "io", "demo_data", "temporal", "relaxometry"},
    {"physics", "networks", "device", "allocator"},
    {"factors", "rawdata", "anatomy"},
    {"volume"},
    {"untrusted"},
    {"events"},
    {"memory"},
    {"errors"},
    {"__init__"},
]
# Optional packages and the only rooms that may name them at all.
OPTIONAL = {
    "matplotlib": {"report"},
    "click": {"cli"},
    "rich": {"cli", "console"},
    "skimage": set(),
    "psutil": set(),
    "torchvision": {"losses"},
    "highdicom": {"io"},
    "av": {"io"},
    "h5py": {"io"},
    "finufft": {"physics"},
    "cv2": {"metrics"},
    "distributed": {"cohort"},
    "dask": {"cohort"},
    "bids": {"cohort"},
}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "mriforge").parts[0].removesuffix(".py")


def level_of(room: str) -> int:
    found = [number for number, rooms in enumerate(LEVELS) if room in rooms]
    assert found, f"the room {room!r} has no place in LEVELS: add it, and to Docs/architecture.md"
    return found[0]


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(node: ast.AST, everywhere: bool = True) -> list[str]:
    """Full names of imported modules below ``node``; not those that only type checkers see.

    Args:
        node: a parsed module.
        everywhere: also inside functions; otherwise only what runs when the module is imported.
    """
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            found += [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports hide which room is meant"
            found += [child.module] + [f"{child.module}.{alias.name}" for alias in child.names]
        elif is_for_types_only(child):
            continue
        elif everywhere or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            found += imports(child, everywhere)
    return found


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tops(names: list[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.fixture(params=CORE, ids=name_of)
def source(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_core_knows_neither_slicer_nor_qt(source: Path) -> None:
    banned = {"slicer", "qt", "ctk", "vtk", "MRIForgeLib", "PythonQt"}
    assert not tops(imports(parsed(source))) & banned


def test_arrows_point_one_way(source: Path) -> None:
    own = level_of(room_of(source))
    rooms = {n.split(".")[1] for n in imports(parsed(source)) if n.startswith("mriforge.")}
    rooms = {room for room in rooms if (ROOT / "mriforge" / room).is_dir()} | {
        room for room in rooms if (ROOT / "mriforge" / f"{room}.py").is_file()
    }
    above = {room for room in rooms if level_of(room) < own}
    assert not above, f"{name_of(source)} imports {above}, which stand above it"


def test_optional_packages_stay_in_their_rooms(source: Path) -> None:
    named = tops(imports(parsed(source))) & set(OPTIONAL)
    strangers = {package for package in named if room_of(source) not in OPTIONAL[package]}
    assert not strangers


def test_nothing_optional_is_needed_to_import(source: Path) -> None:
    if room_of(source) == "cli":  # the command line is the extra `cli`
        return
    at_import = tops(imports(parsed(source), everywhere=False))
    assert not at_import & set(OPTIONAL)


@pytest.mark.parametrize("source", sorted((ROOT / "mriforge/networks").glob("*.py")), ids=name_of)
def test_networks_import_only_torch(source: Path) -> None:
    allowed = {"torch", *sys.stdlib_module_names}
    for name in imports(parsed(source)):
        own = name == "mriforge" or name.startswith(("mriforge.networks", "mriforge.errors"))
        assert own or name.split(".")[0] in allowed, name


@pytest.mark.parametrize(
    "path", [*CORE, *ADAPTER, *MODULES, *sorted((ROOT / "Testing").rglob("*.py"))], ids=name_of
)
def test_a_file_fits_in_the_head(path: Path) -> None:
    usual = MAX_LINES_OF_TESTS if "Testing" in path.parts else MAX_LINES
    limit, _ = LONGER.get(name_of(path), (usual, ""))
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= limit, f"{lines} lines"


@pytest.mark.parametrize("path", ADAPTER, ids=name_of)
def test_the_adapter_stands_between_the_panels_and_the_light_parts_of_the_core(path: Path) -> None:
    named = imports(parsed(path))
    panels = {module.stem for module in MODULES}
    assert not tops(named) & {"torch", "scipy", "nibabel", "safetensors", "click", *panels}
    rooms = {name.split(".")[1] for name in named if name.startswith("mriforge.")}
    assert not rooms & {"training", "networks", "losses", "report", "cli", "demo"}


@pytest.mark.parametrize("path", [*ADAPTER, *MODULES], ids=name_of)
def test_nothing_heavy_is_imported_when_slicer_starts(path: Path) -> None:
    """The Extensions Index asks for it: standard library, Slicer's own, and our light parts."""
    light = {"slicer", "qt", "ctk", "vtk", "numpy", "mriforge", "MRIForgeLib"}
    at_import = tops(imports(parsed(path), everywhere=False))
    assert at_import <= light | set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", [*CORE, *ADAPTER, *MODULES], ids=name_of)
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = (ast.get_docstring(node, clean=False) or "").count("\n") + 1
            length = node.end_lineno - node.lineno + 1 - docstring
            if f"{name_of(path)}:{node.name}" in LONGER_FUNCTIONS:
                continue
            assert length <= MAX_FUNCTION, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", [*CORE, *ADAPTER], ids=name_of)
def test_no_star_imports_and_no_bare_except(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names)
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None


def test_importing_the_package_is_cheap() -> None:
    code = (
        "import sys, mriforge, mriforge.errors, mriforge.events, mriforge.jobs\n"
        "heavy = {'torch', 'scipy', 'SimpleITK', 'matplotlib', 'nibabel'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize(
    "folder", [p for p in sorted((ROOT / "Resources/Models").iterdir()) if p.is_dir()], ids=name_of
)
def test_every_shipped_model_has_a_whole_card(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    for entry in ("name", "kind", "network", "recipe", "sha256", "parameters", "trained_on"):
        assert card.get(entry), f"{entry} is missing in the card"
    assert card["name"] == folder.name
    assert all(data.get("licence") for data in card["trained_on"])


def test_every_recipe_can_be_checked_against_its_paper() -> None:
    recipes = sorted((ROOT / "mriforge/recipes").glob("*.toml"))
    assert recipes
    for path in recipes:
        section = ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.startswith("["):
                section = line
            settings = line and not line.startswith(("#", "[", " ", "]", "title", "about"))
            if section and settings:
                assert any(mark in line for mark in ("[S]", "[R]", "[C]", "[M]", "[?]", "[D]")), (
                    f"{path.name}:{number} does not say where the value comes from"
                )


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def test_no_large_files() -> None:
    for path in filter(Path.is_file, tracked_files()):
        limit = MAX_MEGABYTES.get(path.suffix, MAX_MEGABYTES_OTHERWISE)
        assert path.stat().st_size <= limit * 2**20, name_of(path)


def test_licence_is_whole_and_named_everywhere() -> None:
    text = (ROOT / "LICENSE.txt").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "Apache" in (ROOT / "README.md").read_text(encoding="utf-8")
