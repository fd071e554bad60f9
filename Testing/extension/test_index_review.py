"""What the people (and the program) who review entries of the Extensions Index look for."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("SuperResMRI", "MTMRIRecon", "ALAMOSegment")
TUTORIALS = {
    "SuperResMRI": ("tutorial-superres.md", "tutorial-thick-slices.md"),
    "MTMRIRecon": ("tutorial-multitasking.md",),
    "ALAMOSegment": ("tutorial-segmentation.md",),
}
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOMEPAGE = "https://github.com/mriforge/SlicerMRIForge"
SLICER_FILES = [
    *sorted((ROOT / "MRIForgeLib").rglob("*.py")),
    *(ROOT / module / f"{module}.py" for module in MODULES),
]
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|lorem ipsum|coming soon)\b")
CLAIMS = re.compile(
    r"clinically (validated|proven|approved)|FDA.(cleared|approved)|CE.marked|diagnostic quality|"
    r"state.of.the.art|revolutionary|best in class",
    re.IGNORECASE,
)
PICTURES = (".png", ".gif", ".webp", ".jpg")
MAX_PICTURES = 8e6


def module_tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module / f"{module}.py").read_text(encoding="utf-8"))


def texts_of_parent(module: str) -> dict[str, str]:
    """What a module says of itself to Slicer: ``self.parent.NAME = ...``, as source text."""
    found = {}
    for node in ast.walk(module_tree(module)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            target = node.targets[0]
            if isinstance(target.value, ast.Attribute) and target.value.attr == "parent":
                strings = [n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)]
                found[target.attr] = " ".join(map(str, strings))
    return found


def section(title: str) -> str:
    """A section of the read-me; its heading begins with ``title``."""
    found = re.search(rf"^## {title}.*?$(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section that begins with '{title}'"
    return found.group(1)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for_and_where_to_read_on(module: str) -> None:
    texts = texts_of_parent(module)
    assert {"title", "categories", "contributors", "helpText", "acknowledgementText"} <= set(texts)
    assert "research use" in texts["helpText"]
    anchor = f"#{module.lower()}"
    assert f"{HOMEPAGE}{anchor}" in texts["helpText"]
    assert f'<a name="{anchor[1:]}"></a>' in README
    assert re.search(r"\b(19|20)\d\d\b", texts["acknowledgementText"]), "the publication's year"
    assert module not in texts["title"], "a title is for people"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_runs_when_a_module_file_is_read(module: str) -> None:
    """At file scope: imports, definitions, constants, and the search path of a source checkout."""
    for node in module_tree(module).body:
        if isinstance(node, ast.If):
            assert "sys.path" in ast.unparse(node)
            continue
        harmless = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.Assign)
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert isinstance(node, harmless) or docstring, ast.unparse(node)
        if isinstance(node, ast.Assign):
            calls = [ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)]
            assert all(call.startswith("os.path.") for call in calls)


def test_packages_are_installed_in_one_place_and_torch_by_its_extension() -> None:
    for path in SLICER_FILES:
        text = path.read_text(encoding="utf-8")
        if path.name != "dependencies.py":
            assert not re.search(r"pip_install|pip_ensure|installTorch", text), path
    text = (ROOT / "MRIForgeLib" / "dependencies.py").read_text(encoding="utf-8")
    assert "PyTorchUtils" in text and "_confirm" in text
    requirements = ROOT / "MRIForgeLib" / "Resources" / "requirements.txt"
    lines = requirements.read_text(encoding="utf-8").splitlines()
    named = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z]+>=[\d.]+", line) for line in named), "lower bounds only"
    assert not [line for line in named if line.startswith(("torch", "SimpleITK", "numpy"))]


def test_the_first_screen_of_the_readme() -> None:
    start = README[:3500]
    assert README.startswith("# MRIForge\n")
    assert re.search(r"!\[[^\]]{20,}\]\(Docs/images/[\w-]+\.(png|gif|webp)\)", start)
    assert "research" in start[:1200]
    for module in MODULES:
        assert module in start
    picture = re.search(r"\]\(Docs/images/([\w-]+\.\w+)\)", start).group(1)
    assert (ROOT / "Docs" / "images" / picture).is_file()


@pytest.mark.parametrize("module", MODULES)
def test_the_readme_leads_to_a_tutorial_of_each_module(module: str) -> None:
    for name in TUTORIALS[module]:
        assert f"(Docs/{name})" in README
        page = (ROOT / "Docs" / name).read_text(encoding="utf-8")
        assert "esearch use" in page
        assert re.search(r"!\[[^\]]+\]\(images/", page), "a picture"
        assert len(re.findall(r"^#+ \d", page, re.MULTILINE)) >= 3, "steps"
        assert re.search(r"Sample Data|mriforge simulate", page), "data that a newcomer has"


def test_the_readme_has_what_is_asked_for() -> None:
    assert "Extensions Manager" in section("Install")
    privacy = section("Privacy")
    assert "SECURITY.md" in privacy and "nothing" in privacy.lower()
    assert (
        "doi" in section("Citing").lower()
        or "et al" in section("Citing")
        or "121:102196" in (section("Citing"))
    )
    assert re.search(r"US [\d,]+", section("Patents"))
    assert "Apache License 2.0" in section("Licence")
    assert "Sample Data" in README
    for page in ("CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "Docs/models.md"):
        assert f"({page})" in README


def test_pictures_name_their_source_and_licence() -> None:
    pictures = re.split(r"!\[[^\]]+\]\(Docs/images/[^)]+\)", README)[1:]
    assert len(pictures) >= 2
    assert re.search(r"\([^)]*(PDDL|Apache-2\.0|MIT|BSD)[^)]*\)", pictures[0][:200])
    assert all("`Testing/" in caption[:400] for caption in pictures), "what made the picture"


def test_nothing_is_unfinished_or_claimed_too_much() -> None:
    for path in tracked():
        if path.suffix in (".md", ".cff", ".txt", ".json", ".ui") or path in SLICER_FILES:
            if not path.is_file() or path.name == "LICENSE.txt":
                continue
            text = path.read_text(encoding="utf-8")
            assert not UNFINISHED.search(text), path
            assert not CLAIMS.search(text), path


def test_nothing_of_a_developers_machine_is_left() -> None:
    """Homes, work folders and package indexes of one machine mean nothing to others."""
    places = "|".join(["/" + "work/", "/" + "tmp/h/", "/home/" + r"\w+/", r"C:\\Users\\\w+"])
    kinds = (".py", ".md", ".toml", ".txt", ".json", ".yml", ".cff", ".ui")
    for path in tracked():
        if path.suffix in kinds and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search(rf"(?<![\w.])({places})", text), path


def test_pictures_stay_small() -> None:
    pictures = [path for path in tracked() if path.suffix in PICTURES and path.is_file()]
    assert sum(path.stat().st_size for path in pictures) < MAX_PICTURES
    for path in pictures:
        if path.suffix in (".gif", ".webp"):
            assert path.stat().st_size < 1.5e6, path


def test_executables_are_not_part_of_the_repository() -> None:
    binary = {".exe", ".dll", ".so", ".dylib", ".whl", ".zip", ".gz", ".pyc", ".pt", ".pth"}
    assert not [path for path in tracked() if path.suffix in binary]
