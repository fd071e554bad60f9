"""Resources/Scripts/batch.py, as Slicer runs it, as PythonSlicer does, and in a plain Python."""

from __future__ import annotations

import json
import os
import signal
import site
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mriforge.io import write
from mriforge.volume import Grid, Volume

ROOT = Path(__file__).resolve().parents[2]
BATCH = ROOT / "Resources" / "Scripts" / "batch.py"
STAYS_OPEN = 99

# Slicer without its application, as in PythonSlicer; and what an application adds to it.
SLICER = {
    "slicer/__init__.py": "",
    "slicer/i18n.py": "def tr(text):\n    return text\n",
    "slicer/util.py": """
def exit(status=0):
    from slicer import app
    app.commandOptions().runPythonAndExit = False
    app.exit(status)
""",
    "slicer/packaging.py": """
def pip_ensure(requirements, **options):
    raise AssertionError(f"{requirements} would be installed: {options}")
""",
    "qt.py": "",
    "application.py": f"""
import sys, types
import slicer.util

class Redirect:
    '''As Slicer's Python has it: no descriptor, no encoding, no buffer.'''
    def __init__(self, stream):
        self.write, self.flush = stream.write, stream.flush
    def isatty(self):
        return False

class Application:
    slicerHome = sys.argv[1]
    status = {STAYS_OPEN}
    options = types.SimpleNamespace(runPythonAndExit=True)
    def commandOptions(self):
        return self.options
    def exit(self, status):
        self.status = status

slicer.app = Application()
sys.stdout, sys.stderr = Redirect(sys.stdout), Redirect(sys.stderr)
del sys.argv[:2]
_globals = globals()
_globals["__file__"] = sys.argv[0]
exec(open(sys.argv[0], encoding="ascii").read(), _globals)
sys.exit(slicer.app.status)
""",
}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> Path:
    """A folder with a package slicer, a module qt, and a Slicer home with a PythonSlicer."""
    folder = tmp_path_factory.mktemp("slicer")
    for name, text in SLICER.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    python_slicer = folder / "home" / "bin" / "PythonSlicer"
    python_slicer.parent.mkdir(parents=True)
    python_slicer.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python_slicer.chmod(0o755)
    return folder


def start(command: list, environment: dict[str, str], folder: Path, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [str(part) for part in command],
        env={**environment, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


class Runner:
    """Starts the command line in one of four ways and returns (exit code, stdout, stderr)."""

    def __init__(self, way: str, stand_in: Path, environment: dict[str, str], folder: Path) -> None:
        self.way, self.stand_in, self.folder = way, stand_in, folder
        self.environment = dict(environment)
        if way in ("Slicer", "PythonSlicer"):
            self.environment["PYTHONPATH"] = str(stand_in)
        if way == "mriforge":
            self.environment["PYTHONPATH"] = str(ROOT)

    def command(self, arguments: tuple) -> list:
        if self.way == "mriforge":
            return [sys.executable, "-m", "mriforge", *arguments]
        if self.way == "Slicer":
            application, home = self.stand_in / "application.py", self.stand_in / "home"
            return [sys.executable, application, home, BATCH, *arguments]
        return [sys.executable, BATCH, *arguments]

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        process = start(self.command(arguments), self.environment, self.folder)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="PythonSlicer is a shell script here")
WAYS = [pytest.param("Slicer", marks=ON_POSIX), "PythonSlicer", "plain Python"]


@pytest.fixture(params=WAYS)
def batch(request, stand_in: Path, bare_environment: dict[str, str], tmp_path: Path) -> Runner:
    return Runner(request.param, stand_in, bare_environment, tmp_path)


@pytest.fixture
def mriforge(stand_in: Path, bare_environment: dict[str, str], tmp_path: Path) -> Runner:
    return Runner("mriforge", stand_in, bare_environment, tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    array = np.random.default_rng(1).random((4, 12, 10)).astype(np.float32)
    grid = Grid(
        spacing=(1.0, 1.0, 3.0), origin=(0.0, 0.0, 0.0), direction=np.eye(3), shape=array.shape
    )
    write(Volume(array, grid), tmp_path / "image.nii.gz")
    return tmp_path / "image.nii.gz"


# None of these loads torch.
CASES = {
    "a result": (0, ["models", "show", "unet3d_small"]),
    "help": (0, ["superres", "--help"]),
    "no such file": (2, ["superres", "nothing.nii.gz", "out.nii.gz"]),
    "no such command": (2, ["sharpen"]),
    "no such model": (3, ["models", "show", "nothing"]),
}


@pytest.mark.parametrize(("code", "arguments"), CASES.values(), ids=CASES)
def test_it_is_the_command_line(
    batch: Runner, mriforge: Runner, code: int, arguments: list[str]
) -> None:
    theirs = mriforge(*arguments)
    assert theirs[0] == code
    assert batch(*arguments) == theirs


@ON_POSIX
def test_a_job_runs(
    stand_in: Path, bare_environment: dict[str, str], image: Path, tmp_path: Path
) -> None:
    batch = Runner("Slicer", stand_in, bare_environment, tmp_path)
    code, _, err = batch("--", "degrade", image, "coarse.nii.gz", "--keep", "0.5", "--axes", "0")
    assert code == 0, err
    assert (tmp_path / "coarse.nii.gz").is_file()


@ON_POSIX
def test_a_stopped_job_ends_as_cancelled_and_slicer_too(
    stand_in: Path, bare_environment: dict[str, str], tmp_path: Path
) -> None:
    run = Runner("Slicer", stand_in, bare_environment, tmp_path)
    arguments = ("demo", "--out", tmp_path / "demo")
    process = start(run.command(arguments), run.environment, tmp_path, start_new_session=True)
    for line in process.stderr:
        if "%" in line:
            break
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 6
    assert time.monotonic() - began < 30


@ON_POSIX
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda home: (home / "bin" / "PythonSlicer").unlink(), "PythonSlicer"),
        (lambda home: (home / "bin" / "PythonSlicer").write_text("#!/bin/sh\nkill -9 $$\n"), ""),
    ],
    ids=["PythonSlicer is gone", "the process is killed"],
)
def test_slicer_never_stays_open(
    stand_in: Path, bare_environment: dict[str, str], tmp_path: Path, spoil, said: str
) -> None:
    python = tmp_path / "home" / "bin" / "PythonSlicer"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    spoil(tmp_path / "home")
    command = [sys.executable, stand_in / "application.py", tmp_path / "home", BATCH, "models"]
    environment = {**bare_environment, "PYTHONPATH": str(stand_in)}
    process = start(command, environment, tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode not in (0, STAYS_OPEN)
    assert said in err and "Traceback" not in err


@pytest.fixture
def without_torch(stand_in: Path, bare_environment: dict[str, str], tmp_path: Path):
    """Starts the script by a Python whose packages are those of this one, torch left out."""
    packages = tmp_path / "site packages"
    packages.mkdir()
    for folder in [*site.getsitepackages(), *filter(None, [site.getusersitepackages()])]:
        for path in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if not path.name.startswith("torch") and path.suffix != ".pth":
                link = packages / path.name
                if not link.exists():
                    link.symlink_to(path)
    folders = os.pathsep.join([str(stand_in), str(tmp_path / "extension"), str(packages)])
    environment = {**bare_environment, "PYTHONPATH": folders}

    def run(*arguments: object) -> tuple[int, str, str]:
        process = start([sys.executable, "-S", BATCH, *arguments], environment, tmp_path)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    return run


@ON_POSIX
def test_missing_packages_are_told_in_one_line(without_torch, image: Path, tmp_path: Path) -> None:
    code, out, err = without_torch("degrade", image, "coarse.nii.gz", "--keep", "0.5")
    assert (code, out) == (4, "")
    assert len(err.splitlines()) == 1
    assert "torch" in err and "--install-dependencies" in err
    assert not (tmp_path / "coarse.nii.gz").exists()


@ON_POSIX
def test_help_needs_no_packages(without_torch) -> None:
    code, out, _ = without_torch("superres", "--help")
    assert code == 0 and "--prior" in out


@ON_POSIX
def test_torch_is_not_installed_without_its_extension(without_torch) -> None:
    code, _, err = without_torch("--install-dependencies", "models")
    assert code == 4
    assert len(err.splitlines()) == 1 and "PyTorch" in err


@ON_POSIX
def test_dependencies_are_installed_without_a_question(without_torch, tmp_path: Path) -> None:
    places = [Path(folder) for folder in site.getsitepackages()]
    (tmp_path / "extension").mkdir()
    (tmp_path / "extension" / "PyTorchUtils.py").write_text(f"""
import json
import pathlib

class PyTorchUtilsLogic:
    def installTorch(self, askConfirmation=True, torchVersionRequirement=None):
        asked = json.dumps([askConfirmation, torchVersionRequirement])
        pathlib.Path("asked.json").write_text(asked)
        for folder in {[str(place) for place in places]!r}:
            for path in pathlib.Path(folder).glob("torch*"):
                link = pathlib.Path({str(tmp_path / "site packages")!r}) / path.name
                if not link.exists():
                    link.symlink_to(path)
        return object()
""")
    code, out, err = without_torch("--install-dependencies", "models", "show", "unet3d_small")
    assert code == 0, err
    assert "unet3d_small" in out
    asked, requirement = json.loads((tmp_path / "asked.json").read_text())
    assert asked is False and requirement.startswith(">=")


def test_slicer_can_read_the_script_in_any_encoding() -> None:
    assert BATCH.read_bytes().isascii()
