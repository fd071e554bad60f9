"""Testing/dev.py without a network: what it decides, refuses and says."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEV = ROOT / "Testing" / "dev.py"


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A fresh copy of the module whose checkout is an empty folder with a pyproject.toml."""
    spec = spec_from_file_location("dev_under_test", DEV)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.delenv("MRIFORGE_TORCH", raising=False)
    monkeypatch.delenv("MRIFORGE_PYTHON", raising=False)
    return module


class FakePip:
    """Stands in for pip: remembers what it was asked for, and changes torch if told so."""

    def __init__(self, torch_after: str = "2.13.0+cpu", torchvision: bool = False) -> None:
        self.calls: list[list[str]] = []
        self.problems: list[str | None] = []
        self.torch_after = torch_after
        self.torchvision = torchvision

    def install(self, python: Path, arguments: list[str]) -> str | None:
        self.calls.append([str(a) for a in arguments])
        return self.problems.pop(0) if self.problems else None

    def installed(self, python: Path) -> tuple[str, bool]:
        whole = len(self.calls) > 1
        return (self.torch_after if whole else "2.13.0+cpu"), whole and self.torchvision


@pytest.fixture
def pip(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> FakePip:
    fake = FakePip()

    def empty_venv(folder: Path) -> None:
        python = dev.python_of(folder)
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)

    monkeypatch.setattr(dev, "pip_install", fake.install)
    monkeypatch.setattr(dev, "installed_torch", fake.installed)
    monkeypatch.setattr(dev, "make_venv", empty_venv)
    return fake


def test_needs_only_the_standard_library_and_parses_on_old_pythons() -> None:
    # Python 3.7 has to get as far as the sentence about its age.
    tree = ast.parse(DEV.read_text(encoding="utf-8"), feature_version=(3, 7))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            assert node.module in sys.stdlib_module_names


def test_help_and_unknown_commands() -> None:
    told = subprocess.run([sys.executable, DEV, "--help"], capture_output=True, text=True)
    assert told.returncode == 0
    assert "dev.py demo" in told.stdout
    for arguments in ([], ["tset"]):
        done = subprocess.run([sys.executable, DEV, *arguments], capture_output=True, text=True)
        assert done.returncode == 2
        assert "dev.py test" in done.stdout


def test_torch_comes_first_and_constrains_the_rest(dev: ModuleType, pip: FakePip) -> None:
    dev.build("test")
    first, second = pip.calls
    assert first == [dev.TESTED_TORCH]
    assert second[0] == "-c"
    assert Path(second[1]).read_text().strip() == "torch==2.13.0+cpu"
    assert second[-1] == ".[all,dev,host]"
    assert dev.is_ready("test")
    assert not dev.is_ready("demo")


def test_a_changed_project_or_a_half_made_environment_is_made_again(
    dev: ModuleType, pip: FakePip, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev.environment("demo")
    dev.environment("demo")
    assert len(pip.calls) == 2
    (dev.ROOT / "pyproject.toml").write_text("[project]\nname='other'\n", encoding="utf-8")
    assert not dev.is_ready("demo")
    dev.environment("demo")
    assert len(pip.calls) == 4
    pip.problems = [None, "interrupted"]
    monkeypatch.setenv("MRIFORGE_TORCH", "torch==2.12.0")
    with pytest.raises(dev.Stop, match="interrupted"):
        dev.environment("demo")
    assert not dev.is_ready("demo")
    stamp = dev.folder_of("demo") / "mriforge-env.json"
    for damaged in ("", "[]", "{}", '{"fingerprint": 1}'):
        stamp.write_text(damaged, encoding="utf-8")
        assert not dev.is_ready("demo")


def test_an_environment_whose_python_is_gone_is_made_again(dev: ModuleType, pip: FakePip) -> None:
    dev.build("demo")
    dev.python_of(dev.folder_of("demo")).unlink()
    assert not dev.is_ready("demo")


def test_a_replaced_torch_and_torchvision_are_refused(dev: ModuleType, pip: FakePip) -> None:
    pip.torch_after = "2.15.0+cu132"
    with pytest.raises(dev.Stop, match=r"replaced torch 2\.13\.0\+cpu by 2\.15\.0\+cu132"):
        dev.build("test")
    pip.calls.clear()
    pip.torch_after, pip.torchvision = "2.13.0+cpu", True
    with pytest.raises(dev.Stop, match="torchvision"):
        dev.build("test")
    assert not dev.is_ready("test")


def test_another_torch_is_taken_where_the_tested_one_is_not_offered(
    dev: ModuleType, pip: FakePip
) -> None:
    pip.problems = [dev.diagnose("ERROR: No matching distribution found for torch==2.13.0")]
    assert dev.install_torch(Path("python")) == "2.13.0+cpu"
    assert pip.calls == [[dev.TESTED_TORCH], ["torch"]]


def test_too_little_disk_is_said_before_anything_is_downloaded(
    dev: ModuleType, pip: FakePip, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 2**29})
    monkeypatch.setattr(dev.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(dev.Stop, match=r"Only 0\.5 GB"):
        dev.build("test")
    assert not pip.calls


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("Retrying ... NewConnectionError('...')", "PIP_INDEX_URL"),
        ("Could not find a version ... Temporary failure in name resolution", "PIP_INDEX_URL"),
        ("SSLError(SSLCertVerificationError(CERTIFICATE_VERIFY_FAILED))", "PIP_CERT"),
        ("ERROR: No matching distribution found for torch", "MRIFORGE_PYTHON"),
        ("OSError: [WinError 206] The filename or extension is too long", "long paths"),
        ("PermissionError: [Errno 13]", "not writable"),
        ("something nobody has seen", "last lines"),
    ],
)
def test_failed_installations_end_with_advice(dev: ModuleType, output: str, advice: str) -> None:
    assert advice in dev.diagnose(output)


def test_words_that_the_console_cannot_show_do_not_end_the_program() -> None:
    """pip's output on Windows may hold what the code page of the console lacks."""
    code = (
        f"import sys; sys.path.insert(0, {str(DEV.parent)!r}); import dev\n"
        "dev.COMMANDS['env'] = lambda arguments: print('    \\u2588 \\ufffd') or 0\n"
        "dev.use_newer_python = lambda: None\n"
        "sys.exit(dev.main(['env']))"
    )
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [b"?", b"?"]


def test_a_too_old_python_is_replaced_or_refused_with_a_sentence(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "OLDEST", (9, 0))
    with pytest.raises(dev.Stop, match="or newer"):
        dev.use_newer_python()
    monkeypatch.setenv("MRIFORGE_PYTHON", "no-such-python")
    with pytest.raises(dev.Stop, match="MRIFORGE_PYTHON"):
        dev.use_newer_python()


def test_other_packages_do_not_leak_in(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "file:///mirror")
    environ = dev.clean_environ()
    assert "PYTHONPATH" not in environ
    assert "PIP_TARGET" not in environ
    assert environ["PIP_INDEX_URL"] == "file:///mirror"
    assert environ["PYTHONNOUSERSITE"] == "1"


def test_pips_own_settings_are_taken_over(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pip")
    text = "[global]\nextra-index-url =\n    file:///one\n    file:///two\ncert = of a file\n"
    (tmp_path / "pip.ini").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.ini"))
    monkeypatch.setenv("PIP_CERT", "/of/the/environment")
    found = dev.pip_settings(sys.executable)
    assert found["extra-index-url"] == ["file:///one", "file:///two"]
    assert found["cert"] == ["/of/the/environment"]


@pytest.mark.parametrize(("style", "tests", "code"), [(0, 0, 0), (1, 0, 1), (0, 3, 3), (1, 3, 3)])
def test_exit_codes_are_passed_on(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, style: int, tests: int, code: int
) -> None:
    ran: list[tuple[str, ...]] = []

    def run(*command: str) -> int:
        ran.append(command)
        return style if "ruff" in command else tests

    monkeypatch.setattr(dev, "run", run)
    monkeypatch.setattr(dev, "environment", lambda kind: "python")
    assert dev.test(["-x", "--long"]) == code
    asked = ("-m", "pytest", "-x", "-m", "long or not long")
    suites = [command[1 + len(asked) :] for command in ran if command[1 : 1 + len(asked)] == asked]
    assert suites == [*map(tuple, dev.SUITES), ("Testing/long",)]


@pytest.mark.parametrize(("codes", "code"), [((0, 5), 0), ((5, 5), 5), ((5, 1), 1), ((2, 0), 2)])
def test_a_selection_may_match_nothing_in_one_of_the_suites(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, codes: tuple[int, int], code: int
) -> None:
    left = list(codes)
    monkeypatch.setattr(dev, "run", lambda *command: 0 if "ruff" in command else left.pop(0))
    monkeypatch.setattr(dev, "environment", lambda kind: "python")
    assert dev.test(["-k", "something"]) == code


def test_named_tests_run_once(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    (dev.ROOT / "Testing").mkdir()
    (dev.ROOT / "Testing" / "test_one.py").touch()
    monkeypatch.setattr(dev, "run", lambda *command: ran.append(command) or 0)
    monkeypatch.setattr(dev, "environment", lambda kind: "python")
    assert dev.test(["Testing/test_one.py::test_it"]) == 0
    assert [c[-1] for c in ran if "pytest" in c] == ["Testing/test_one.py::test_it"]


def test_the_stamp_names_what_was_installed(dev: ModuleType, pip: FakePip) -> None:
    dev.build("demo")
    stamp = json.loads((dev.folder_of("demo") / "mriforge-env.json").read_text())
    assert stamp["torch"] == "2.13.0+cpu"
    assert pip.calls[1][-1] == ".[cli,report]"
