"""What is missing, and how it is asked for and installed. Nothing is fetched from a network."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from launcher_helpers import install

from mriforge.errors import BadInput, Cancelled, Failed, MissingDependency

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ["nibabel>=5.2", "safetensors>=0.4.3", "psutil>=5.9", "click>=8.1", "rich>=13.7"]
TORCH = "torch>=2.4"


@pytest.fixture
def lib(app):
    from MRIForgeLib import dependencies

    return dependencies


def put(site: Path, name: str, version: str, *, code: bool = True) -> None:
    """Installs an empty package."""
    (site / name).mkdir()
    if code:
        (site / name / "__init__.py").write_text("")
    information = site / f"{name}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )


def wheel(folder: Path, name: str, version: str) -> None:
    information = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}/__init__.py", "")
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        file.writestr(f"{information}/METADATA", metadata)
        file.writestr(
            f"{information}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        file.writestr(f"{information}/RECORD", "")


@pytest.fixture
def site(lib, tmp_path, monkeypatch) -> Path:
    """An installation of Python that has nothing but what is put into this folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    kept = [path for path in sys.path if "site-packages" not in path]
    monkeypatch.setattr(sys, "path", [str(folder), *kept])
    for name in ("torch", "nibabel", "safetensors", "psutil", "click", "rich"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    install(tmp_path, monkeypatch)
    monkeypatch.setenv("PIP_TARGET", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return folder


@pytest.fixture
def user(lib, monkeypatch):
    """Somebody before the screen, who answers and sees; not Slicer's testing mode."""
    seen = types.SimpleNamespace(answer=True, questions=[], errors=[])
    options = lib.slicer.app.commandOptions()
    usual = options.testingEnabled
    options.testingEnabled = False

    def ask(text, *arguments, **options):
        seen.questions.append((text, arguments, options))
        return seen.answer

    monkeypatch.setattr(lib.slicer.util, "confirmOkCancelDisplay", ask)
    monkeypatch.setattr(
        lib.slicer.util, "errorDisplay", lambda text, *_, **__: seen.errors.append(text)
    )
    yield seen
    options.testingEnabled = usual


def extension(monkeypatch, install_torch) -> None:
    """The PyTorch extension, with this ``installTorch``."""
    logic = type("PyTorchUtilsLogic", (), {"installTorch": staticmethod(install_torch)})
    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = logic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)


def put_others(site: Path) -> None:
    for name in ("nibabel", "safetensors", "psutil", "click", "rich"):
        put(site, name, "99.0")


def test_what_is_missing(lib, site):
    assert lib.missing() == [TORCH, *OTHERS]
    put(site, "torch", "2.6.0+cu124")
    put(site, "nibabel", "5.1.9")  # too old
    put(site, "safetensors", "0.5.0rc1")
    put(site, "psutil", "7.0", code=False)  # left by a removal that failed
    assert lib.missing() == [OTHERS[0], *OTHERS[2:]]


def test_looking_imports_nothing(tmp_path):
    """In a process of its own: this one has imported everything already."""
    code = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "Testing")!r}]
import host
host.start(main_window=False)
from MRIForgeLib import dependencies, run
dependencies.missing(), dependencies.versions_text()
print(sorted(set(sys.modules) & {{"torch", "nibabel", "safetensors", "rich", "SimpleITK"}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


def test_nothing_to_do(lib, site, user):
    put(site, "torch", "2.6.0")
    put_others(site)
    lib.ensure("Test", True)
    lib.ensure("Test", False)
    assert user.questions == []


def test_without_a_user_it_says_what_to_do(lib, site, user):
    with pytest.raises(MissingDependency) as caught:
        lib.ensure("Test", False)
    assert user.questions == []
    assert all(package in caught.value.message for package in (TORCH, *OTHERS))
    assert "extension PyTorch" in caught.value.hint
    assert 'PythonSlicer -m pip install "nibabel>=5.2" "safetensors' in caught.value.hint
    assert '"torch' not in caught.value.hint
    with pytest.raises(MissingDependency) as caught:
        lib.ensure("Test", False, Path("/wheels here"))
    assert 'pip install --no-index --find-links "/wheels here" "torch>=2.4" ' in caught.value.hint
    assert "Extension" not in caught.value.hint


def test_the_testing_mode_installs_nothing(lib, site, monkeypatch):
    extension(monkeypatch, lambda: pytest.fail("installs"))
    assert lib.slicer.app.testingEnabled()
    with pytest.raises(MissingDependency):
        lib.ensure("Test", True)


@pytest.mark.parametrize("style", ["today", "renamed", "bare"])
def test_torch_through_the_extension(lib, site, user, monkeypatch, style):
    put_others(site)
    called = {}

    def done(**arguments):
        called.update(arguments)
        put(site, "torch", "2.6.0")
        return types.ModuleType("torch")

    def today(
        askConfirmation=False,
        forceComputationBackend=None,
        torchVersionRequirement=None,
        torchvisionVersionRequirement=None,
    ):
        assert forceComputationBackend is torchvisionVersionRequirement is None
        return done(ask=askConfirmation, version=torchVersionRequirement)

    def renamed(askConfirmation=False, torch_version=None):
        return done(ask=askConfirmation)

    def bare():
        return done()

    extension(monkeypatch, {"today": today, "renamed": renamed, "bare": bare}[style])
    lib.ensure("Test", True)
    expected = {"today": {"ask": True, "version": ">=2.4"}, "renamed": {"ask": True}, "bare": {}}
    assert called == expected[style]


def test_the_version_of_torch_on_windows(lib):
    assert lib.torch_requirement("win32") == "torch>=2.4,<2.13"
    assert lib.torch_requirement("linux") == lib.torch_requirement("darwin") == TORCH


def test_without_the_extension(lib, site, user, monkeypatch):
    put_others(site)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(MissingDependency) as caught:
        lib.ensure("Test", True)
    assert "Extensions Manager" in caught.value.hint
    assert "restart" in caught.value.hint


def test_the_user_does_not_want_torch(lib, site, user, monkeypatch):
    put_others(site)
    extension(monkeypatch, lambda askConfirmation=False: None)
    with pytest.raises(Cancelled):
        lib.ensure("Test", True)


def test_torch_cannot_be_installed(lib, site, user, monkeypatch):
    put_others(site)

    def fails():
        raise subprocess.CalledProcessError(1, ["light_the_torch"])

    extension(monkeypatch, fails)
    with pytest.raises(lib.InstallationFailed) as caught:
        lib.ensure("Test", True)
    assert isinstance(caught.value, Failed)
    assert not caught.value.shown


def test_torch_that_needs_a_restart(lib, site, user, monkeypatch):
    put_others(site)
    extension(monkeypatch, lambda: types.ModuleType("torch"))
    with pytest.raises(MissingDependency) as caught:
        lib.ensure("Test", True)
    assert "Restart" in caught.value.hint


def test_the_user_does_not_want_the_others(lib, site, user):
    put(site, "torch", "2.6.0")
    user.answer = False
    with pytest.raises(Cancelled):
        lib.ensure("Test", True)
    assert len(user.questions) == 1
    assert len(lib.missing()) == 5


def test_slicers_installer_fails(lib, site, user):
    """The index cannot be reached: Slicer shows that, so we do not."""
    put(site, "torch", "2.6.0")
    with pytest.raises(lib.InstallationFailed) as caught:
        lib.ensure("Test", True)
    assert caught.value.shown
    assert len(user.questions) == 1


def test_other_trouble_is_no_refusal(lib, site, user, monkeypatch):
    import slicer.packaging

    def fails(*_arguments, **_options):
        raise RuntimeError("PythonSlicer executable not found")

    put(site, "torch", "2.6.0")
    monkeypatch.setattr(slicer.packaging, "pip_ensure", fails)
    with pytest.raises(lib.InstallationFailed, match="PythonSlicer"):
        lib.ensure("Test", True)


@pytest.mark.skipif(os.name == "nt", reason="a shell script is the launcher")
def test_from_a_folder_of_wheels(lib, site, user, tmp_path):
    folder = tmp_path / "wheels of ours"
    folder.mkdir()
    for name in ("torch", "nibabel", "safetensors", "psutil", "click", "rich"):
        wheel(folder, name, "99.0" if name != "torch" else "2.9.1")
    user.answer = False
    with pytest.raises(Cancelled):
        lib.ensure("Test", True, folder)
    user.answer = True
    lib.ensure("Test", True, folder)
    assert lib.missing() == []
    assert all(package in user.questions[-1][0] for package in (TORCH, *OTHERS))
    assert user.errors == []


@pytest.mark.skipif(os.name == "nt", reason="a shell script is the launcher")
def test_a_folder_that_lacks_a_wheel(lib, site, user, tmp_path):
    put(site, "torch", "2.6.0")
    wheel(tmp_path, "nibabel", "99.0")
    with pytest.raises(lib.InstallationFailed):
        lib.ensure("Test", True, tmp_path)


def checksums(folder: Path) -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.glob("*.whl"))
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.mark.skipif(os.name == "nt", reason="a shell script is the launcher")
def test_wheels_are_what_their_list_says(lib, site, user, tmp_path):
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    for name in ("torch", "nibabel", "safetensors", "psutil", "click", "rich"):
        wheel(folder, name, "99.0" if name != "torch" else "2.9.1")
    checksums(folder)
    damaged = folder / "rich-99.0-py3-none-any.whl"
    whole = damaged.read_bytes()
    for content in (whole[:-1] + b"!", None):
        damaged.write_bytes(content) if content else damaged.unlink()
        with pytest.raises(BadInput, match=r"rich-99\.0"):
            lib.ensure("Test", True, folder)
    damaged.write_bytes(whole)
    wheel(folder, "smuggled", "1.0")
    with pytest.raises(BadInput, match="smuggled"):
        lib.ensure("Test", True, folder)
    assert len(lib.missing()) == 6
    (folder / "smuggled-1.0-py3-none-any.whl").unlink()
    lib.ensure("Test", True, folder)
    assert lib.missing() == []


def test_the_wheelhouse_asks_for_what_slicer_will_ask_for(lib):
    spec = importlib.util.spec_from_file_location("dev_beside", ROOT / "Testing" / "dev.py")
    dev = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dev)
    for system, name in (("win32", "windows"), ("linux", "linux"), ("darwin", "macos")):
        wanted = dev.wanted_packages(Path("own.whl"), "all", name)
        assert lib.torch_requirement(system) in wanted
        assert set(OTHERS) <= set(wanted)


def test_a_folder_without_wheels(lib, site, user, tmp_path, monkeypatch):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BadInput, match="no wheels"):
            lib.ensure("Test", True, folder)
    monkeypatch.setenv(lib.WHEELS, str(tmp_path / "elsewhere"))
    with pytest.raises(BadInput, match="elsewhere"):
        lib.ensure("Test", True)
    assert user.questions == []


@pytest.mark.parametrize("from_folder", [False, True])
def test_slicer_5_10_has_no_packaging(lib, site, user, monkeypatch, tmp_path, from_folder):
    put(site, "torch", "2.6.0")
    wheel(tmp_path, "nibabel", "99.0")
    called = []

    def pip_install(requirements):
        called.append(requirements)
        put_others(site)

    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(lib.slicer.util, "pip_install", pip_install)
    lib.ensure("Test", True, tmp_path if from_folder else None)
    options = ["--no-index", "--find-links", str(tmp_path)] if from_folder else []
    assert called == [[*options, *OTHERS]]
    assert len(user.questions) == 1


def test_versions(lib, site):
    put(site, "torch", "2.6.0+cu124")
    text = lib.versions_text()
    assert "torch 2.6.0+cu124" in text
    assert "nibabel missing" in text
    assert "Python 3." in text
    assert "MRIForge " in text
