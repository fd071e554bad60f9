"""`Testing/dev.py wheelhouse`: packages for computers without internet. No network here either.

The package index is a folder of empty wheels; the tools (pip, uv, hatchling) are the real ones.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEV = ROOT / "Testing" / "dev.py"
TOOLS = ("pip", "uv", "hatchling")

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in TOOLS),
    reason="pip, uv and hatchling are not installed here",
)


def wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any", *needs: str) -> None:
    """An empty package that needs others."""
    information = f"{name}-{version}.dist-info"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    lines += [f"Requires-Dist: {need}\n" for need in needs]
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as file:
        file.writestr(f"{information}/METADATA", "".join(lines))
        file.writestr(
            f"{information}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        file.writestr(f"{information}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Every package that MRIForge names, as of two systems and two Pythons where it matters."""
    folder = tmp_path / "index"
    folder.mkdir()
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = [need for name in ("cli", "report") for need in extra(project, name)]
    named = {need.split(">")[0].split("=")[0] for need in [*project["dependencies"], *extras]}
    for name in sorted((named | {"psutil"}) - {"torch", "click"}):
        wheel(folder, name, "99.0")
    wheel(folder, "click", "99.0", "py3-none-any", 'colorama; sys_platform == "win32"')
    wheel(folder, "colorama", "1.0")
    for version in ("2.12.1", "2.14.0"):
        driver = 'driver; platform_system == "Linux"'
        wheel(folder, "torch", version, "cp312-cp312-win_amd64", driver)
        wheel(folder, "torch", version, "cp312-cp312-manylinux_2_28_x86_64", driver)
        wheel(folder, "torch", version, "cp313-cp313-manylinux_2_28_x86_64", driver)
    wheel(folder, "driver", "1.0")
    return folder


def extra(project: dict, name: str) -> list[str]:
    return project["optional-dependencies"][name]


def wheelhouse(out: Path, index: Path, *options: str) -> subprocess.CompletedProcess:
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": os.devnull}
    unwanted = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "MRIFORGE_TORCH", "PYTHONPATH")
    environ = {name: value for name, value in os.environ.items() if name not in unwanted}
    return subprocess.run(
        [sys.executable, str(DEV), "wheelhouse", str(out), *options],
        env={**environ, **settings},
        capture_output=True,
        text=True,
        timeout=240,
    )


def names(folder: Path) -> set[str]:
    return {"-".join(path.name.split("-")[:2]) for path in folder.glob("*.whl")}


def test_everything_for_another_system(index: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "wheels"
    done = wheelhouse(out, index, "--platform", "windows", "--extras", "cli,report")
    assert done.returncode == 0, done.stdout + done.stderr
    there = names(out)
    # What only Windows needs, without what only Linux needs; torch as Slicer on Windows takes it.
    assert {"colorama-1.0", "torch-2.12.1", "nibabel-99.0", "psutil-99.0"} <= there
    assert not [name for name in there if name.startswith("driver")]
    assert [name.split("-")[0] for name in there].count("torch") == 1
    assert "h5py" not in "".join(there)
    (own,) = out.glob("mriforge-*.whl")
    with zipfile.ZipFile(own) as file:
        inside = set(file.namelist())
    assert {"mriforge/worker.py", "mriforge/resources/models/unet3d_small/card.json"} <= inside
    lines = (out / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    assert dict(reversed(line.split("  ")) for line in lines) == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("*.whl")
    }
    assert "Python 3.12 on windows" in (out / "README.txt").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("new/.wheelhouse*"))


def test_what_is_not_there_is_said_and_nothing_is_left(index: Path, tmp_path: Path) -> None:
    out = tmp_path / "wheels"
    done = wheelhouse(out, index, "--platform", "macos", "--extras", "cli")
    assert done.returncode == 4
    assert "torch" in done.stderr
    assert "PIP_INDEX_URL" in done.stderr
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_folder_in_use_is_refused(index: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    done = wheelhouse(tmp_path, index)
    assert done.returncode == 2
    assert "empty folder" in done.stderr
    assert (tmp_path / "mine.txt").exists()
