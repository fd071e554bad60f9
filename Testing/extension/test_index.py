"""What the Extensions Index asks of its entry, of CMakeLists.txt and of the repository."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
ENTRIES = sorted((ROOT / "Resources" / "ExtensionsIndex").glob("*"))
SCHEMAS = "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
FIELDS = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
"""Fields of version 1.0.1 of the entry's schema; the first three are required."""
CATEGORIES = {
    *("Filtering", "Image Synthesis", "Quantification", "Segmentation", "Sequences"),
    "Tomographic Reconstruction",
}
"""Of the categories that the index accepts, those that could describe this extension."""
LICENCES = ("LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING")
MAX_BYTES = 100e6


@pytest.fixture(scope="module")
def entry() -> dict:
    return json.loads(ENTRIES[0].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def repository(entry: dict) -> str:
    """Owner and name of the repository on GitHub."""
    return urlsplit(entry["scm_url"]).path.strip("/").removesuffix(".git")


def metadata(name: str) -> str:
    """A value of the root CMakeLists.txt: the index reads literal ones only, on one line."""
    found = re.findall(rf'^set\(EXTENSION_{name} "([^"$]+)"\)', CMAKE, re.MULTILINE)
    assert len(found) == 1, f"EXTENSION_{name} has to be set once, to a literal text"
    return found[0]


def size_of_png(path: Path) -> tuple[int, int]:
    """Width and height, from the file's header."""
    start = path.read_bytes()[:24]
    assert start[:8] == b"\x89PNG\r\n\x1a\n" and start[12:16] == b"IHDR", f"{path} is not a PNG"
    return struct.unpack(">II", start[16:24])


def in_repository(url: str, entry: dict, repository: str) -> Path:
    """The file of the checkout that a raw address on GitHub leads to."""
    start = f"https://raw.githubusercontent.com/{repository}/{entry['scm_revision']}/"
    assert url.startswith(start)
    return ROOT / url.removeprefix(start)


def test_one_entry_with_unix_line_ends() -> None:
    assert [path.name for path in ENTRIES] == ["MRIForge.json"]
    assert b"\r" not in ENTRIES[0].read_bytes()
    assert ENTRIES[0].read_bytes().endswith(b"}\n")


def test_the_entry_fits_the_schema(entry: dict) -> None:
    assert set(entry) <= set(FIELDS)
    assert {"$schema", "category", "scm_url"} <= set(entry)
    for name, value in entry.items():
        assert type(value) is FIELDS[name], name
    assert entry["$schema"] == f"{SCHEMAS}slicer-extension-catalog-entry-schema-v1.0.1.json#"
    assert 1 <= entry["tier"] <= 5
    assert entry.get("scm_type", "git") == "git"
    assert entry["category"] in CATEGORIES
    assert all(isinstance(name, str) for name in entry["build_dependencies"])


def test_names_agree(entry: dict, repository: str) -> None:
    name = ENTRIES[0].stem
    assert re.search(r"project\s*\(\s*([^\s)]+)", CMAKE, re.IGNORECASE).group(1) == name
    assert not name.lower().startswith("slicer")
    assert repository.split("/")[1] == f"Slicer{name}"
    assert urlsplit(entry["scm_url"]).scheme == "https"
    assert metadata("HOMEPAGE") == f"https://github.com/{repository}"


def test_a_branch_not_a_commit(entry: dict) -> None:
    assert not re.fullmatch(r"[0-9a-f]{7,40}", entry["scm_revision"])


def test_dependencies_agree(entry: dict) -> None:
    line = next(line for line in CMAKE.splitlines() if line.startswith("set(EXTENSION_DEPENDS "))
    depends = re.match(r'set\(EXTENSION_DEPENDS "([^"]*)"\)', line).group(1)
    assert entry["build_dependencies"] == depends.split() == ["PyTorch"]


def test_the_description_is_for_lay_readers() -> None:
    text = metadata("DESCRIPTION")
    sentences = re.findall(r"[^.]+\.", text)
    assert 1 <= len(sentences) <= 2 and "".join(sentences) == text
    assert len(text) <= 300
    assert ";" not in text, "CMake would take it for a list"
    assert "not for diagnosis" in text
    # Known patents have to be named there; that they are, as the read-me names them.
    (patent,) = re.findall(r"US ([\d,]+)", text)
    assert f"US {patent}" in (ROOT / "README.md").read_text(encoding="utf-8")
    for word in ("PSNR", "U-Net", "tensor", "inference", "Slicer"):
        assert word not in text


def test_contributors_have_an_organization() -> None:
    assert re.fullmatch(r"[^(),]+ \([^()]+\)(, [^(),]+ \([^()]+\))*", metadata("CONTRIBUTORS"))


def test_the_icon_is_there(entry: dict, repository: str) -> None:
    path = in_repository(metadata("ICONURL"), entry, repository)
    assert size_of_png(path) == (128, 128)


@pytest.mark.parametrize("url", metadata("SCREENSHOTURLS").split())
def test_a_screenshot_is_there(entry: dict, repository: str, url: str) -> None:
    path = in_repository(url, entry, repository)
    assert path.is_file(), f"{path.relative_to(ROOT)} is still to be made"
    width, height = size_of_png(path)
    assert width >= 400 and height >= 250
    assert path.stat().st_size < 2e6


def test_the_module_has_an_icon() -> None:
    for module in ("SuperResMRI", "MTMRIRecon", "ALAMOSegment"):
        assert size_of_png(ROOT / module / f"Resources/Icons/{module}.png") == (128, 128)


def test_the_licence_is_named_as_the_index_looks_for_it() -> None:
    assert any((ROOT / name).is_file() for name in LICENCES)
    assert 'EXTENSION_LICENSE_FILE "${CMAKE_CURRENT_SOURCE_DIR}/LICENSE.txt"' in CMAKE


def test_the_repository_is_small_enough() -> None:
    """The index refuses a working copy of more than 100 MB, its history included."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    files += (ROOT / ".git").rglob("*")
    assert sum(path.stat().st_size for path in files if path.is_file()) < 0.9 * MAX_BYTES
