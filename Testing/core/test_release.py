"""What a release says of itself is true: versions, generated pages, privacy, the three systems."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mriforge

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "Testing" / "pages.py"
OWN_PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
PRODUCT = sorted(
    path
    for folder in ("mriforge", "MRIForgeLib", "SuperResMRI", "MTMRIRecon", "ALAMOSegment")
    for path in (ROOT / folder).rglob("*.py")
    if "Testing" not in path.parts
)
CONNECTS = {
    *("socket", "ssl", "http", "ftplib", "smtplib", "telnetlib", "xmlrpc", "webbrowser"),
    *("urllib.request", "requests", "httpx", "aiohttp", "urllib3", "huggingface_hub"),
}
RUNS_WHAT_IT_READS = {"pickle", "shelve", "marshal", "dill", "joblib", "cloudpickle"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def imported(path: Path) -> set[str]:
    """Names that a file imports anywhere, with all their leading parts."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in names]
    return {".".join(each[: n + 1]) for each in parts for n in range(len(each))}


def test_generated_pages_are_current() -> None:
    done = subprocess.run([sys.executable, str(PAGES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_model_and_recipe_has_its_section() -> None:
    for card in (ROOT / "Resources" / "Models").glob("*/card.json"):
        known = json.loads(card.read_text(encoding="utf-8"))
        assert f"## {known['name']}\n" in text("Docs/models.md")
        assert known["sha256"] in text("Docs/models.md")
    for path in (ROOT / "mriforge" / "recipes").glob("*.toml"):
        assert f"### `{path.stem}`\n" in text("Docs/recipes.md")
        assert f"`{path.stem}`" in text("Docs/methods.md").split("## Which method")[1]


def test_every_deviation_of_a_recipe_is_listed() -> None:
    section = text("Docs/recipes.md").split("### `unet3d_small`")[1].split("\n### ")[0]
    lines = text("mriforge/recipes/unet3d_small.toml").splitlines()
    deviations = [line for line in lines if "[D]" in line and not line.startswith("#")]
    assert len(re.findall(r"^\| `", section, re.MULTILINE)) == len(deviations) > 20
    assert "| `optimiser.lr` | 0.0001 [S] | 0.0015 |" in section


def test_one_version() -> None:
    version = mriforge.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert re.search(rf"^version: {re.escape(version)}$", text("CITATION.cff"), re.MULTILINE)
    assert re.search(rf"^## {re.escape(version)}\b", text("CHANGELOG.md"), re.MULTILINE)


def test_the_citation_file_has_what_it_needs() -> None:
    citation = text("CITATION.cff")
    for field in ("cff-version", "message", "title", "authors", "license", "repository-code"):
        assert re.search(rf"^{field}:", citation, re.MULTILINE), field
    assert citation.count("  - type: ") == citation.count("\n    year: ") == 4


@pytest.mark.parametrize("page", OWN_PAGES)
def test_links_of_the_pages_in_front_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text(page)):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("page", sorted((ROOT / "Docs").glob("*.md")), ids=lambda path: path.name)
def test_links_to_sections_lead_to_sections(page: Path) -> None:
    for name, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        target = (page.parent / name) if name else page
        if target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name}#{anchor}"


def anchors(page: str) -> set[str]:
    """What GitHub makes of headings, and named places."""
    found = set(re.findall(r'<a name="([^"]+)"', page))
    for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_leaves_the_computer(path: Path) -> None:
    """SECURITY.md says so. Processes of a training talk to each other through torch alone."""
    assert not imported(path) & CONNECTS
    assert not imported(path) & RUNS_WHAT_IT_READS


def test_continuous_integration_runs_the_two_commands_on_three_systems() -> None:
    workflow = text(".github/workflows/ci.yml")
    for system in ("ubuntu", "windows", "macos"):
        assert f"{system}-latest" in workflow
    commands = re.findall(r"run: (.+)$", workflow, re.MULTILINE)
    assert "python Testing/dev.py lint" in commands
    assert "python Testing/dev.py test" in commands
    known = set(re.findall(r'"(\w+)": \w+', text("Testing/dev.py").split("\nCOMMANDS = ")[1]))
    used = {found.group(1) for c in commands if (found := re.search(r"dev\.py (\w+)", c))}
    assert used <= known
