"""Odd names of files, full disks, other locales, clocks that run backwards, two processes at once.

What is written is whole or not there, whatever the surroundings.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mriforge import io
from mriforge.errors import BadInput, MRIForgeError
from mriforge.events import JsonEvents, to_json
from mriforge.jobs import run_request

sys.path.insert(0, str(Path(__file__).parent))
import small_jobs

ROOT = Path(__file__).resolve().parents[2]
JOBS = [name for name in small_jobs.jobs() if name != "kernel"]  # a minute of learning
QUICK = [name for name in JOBS if name.startswith("degrade")]
POSIX = pytest.mark.skipif(os.name != "posix", reason="as POSIX has it")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs") / "in"
    small_jobs.make_inputs(folder)
    return folder


def python(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """A child process that finds the program and the helpers."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "Testing" / "core")])
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith((".partial", ".repl"))]


# Names


@POSIX
@pytest.mark.parametrize("name", JOBS)
def test_names_with_blanks_and_letters_of_all_alphabets_and_long_ones(
    inputs: Path, tmp_path: Path, name: str
) -> None:
    """Folders of 255 bytes, paths of more than the 260 letters of old Windows."""
    long = ("Unï " * 90)[:-1].encode()[:255].decode(errors="ignore")
    source = tmp_path / "in put 腎臓 it's; $HOME %d" / "-x"
    shutil.copytree(inputs, source)
    out = tmp_path / long / "наш результат" / "a b"
    assert len(str(out)) > 260
    result = run_request(small_jobs.request(name, source, out))
    assert any(p.is_file() for p in out.rglob("*"))
    assert left_over(tmp_path) == []
    assert str(out) in to_json(result)


@POSIX
def test_names_of_bytes_that_are_no_text(inputs: Path, tmp_path: Path) -> None:
    """Old archives have names in Latin-1; they pass through messages and JSON as they are."""
    source = tmp_path / os.fsdecode(b"caf\xe9.nii.gz")
    shutil.copy(inputs / "sharp.nii.gz", source)
    request = {"input": str(source), "output": str(tmp_path / os.fsdecode(b"\xff.nii.gz"))}
    tree = {"version": 1, "command": "degrade", "options": {**request, "keep": 0.5}}
    (tmp_path / "request.json").write_text(json.dumps(tree))
    done = python(
        "import sys; from mriforge.worker import main; sys.exit(main())", tmp_path / "request.json"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["output"] == request["output"]
    assert (tmp_path / os.fsdecode(b"\xff.nii.gz")).exists()


def test_json_lines_of_names_that_are_no_text() -> None:
    assert to_json({"a": "ü"}) == '{"a": "ü"}'
    assert json.loads(to_json({"a": "\udcff"})) == {"a": "\udcff"}
    to_json({"a": "\udcff"}).encode()

    class Strict:
        text = b""

        def write(self, text: str) -> None:
            self.text += text.encode()

        def flush(self) -> None:
            pass

    events = JsonEvents(Strict())
    events.log("reading \udce9.nii")
    events.check_cancelled()


@POSIX
def test_names_that_begin_with_a_dash(inputs: Path, tmp_path: Path) -> None:
    shutil.copy(inputs / "sharp.nii.gz", tmp_path / "-in.nii.gz")
    code = "import os, sys; os.chdir(sys.argv[1]); from mriforge.cli import main; "
    code += "sys.exit(main(sys.argv[2:]))"
    for names in (["--", "-in.nii.gz", "-out.nii.gz"], ["./-in.nii.gz", "./-two.nii.gz"]):
        done = python(code, tmp_path, "degrade", "--keep", "0.5", *names)
        assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"-in.nii.gz", "-out.nii.gz", "-two.nii.gz"}


@POSIX
@pytest.mark.parametrize("name", QUICK)
def test_names_that_no_system_takes_are_refused(inputs: Path, tmp_path: Path, name: str) -> None:
    request = small_jobs.request(name, inputs, tmp_path)
    ending = "".join(Path(request.options["output"]).suffixes)
    for stem in ("x" * 300, "x" * 240):
        given = {**request.options, "output": str(tmp_path / (stem + ending))}
        with pytest.raises(BadInput, match="too long"):
            run_request(type(request)("degrade", given))
    given = {**request.options, "input": str(tmp_path / ("x" * 300))}
    with pytest.raises(BadInput, match="cannot be read"):
        run_request(type(request)("degrade", given))
    assert list(tmp_path.iterdir()) == []


# Disks

FULL = """
import json, resource, signal, sys
from pathlib import Path
import small_jobs
from mriforge.errors import MRIForgeError
from mriforge.jobs import run_request
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
inputs, outputs, names = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
found = {}
for number, name in enumerate(names):
    out = outputs / str(number)
    request = small_jobs.request(name, inputs, out)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
    try:
        run_request(request)
        told = "written"
    except MRIForgeError as error:
        told = f"{error.kind}: {error.one_line()}"
    except BaseException as error:
        from mriforge.jobs.failures import understood
        known = understood(error)
        told = f"{known.kind}: {known.one_line()} {type(error).__name__}"
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    left = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    found[name] = [told, left]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def full(inputs: Path, tmp_path_factory) -> dict[str, list]:
    """What every job says of a disk that takes 200 bytes, and what it leaves."""
    if os.name != "posix":
        pytest.skip("limits as POSIX has them")
    done = python(FULL, inputs, tmp_path_factory.mktemp("full"), *JOBS)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", JOBS)
def test_a_disk_that_is_full_leaves_no_half_files(full: dict[str, list], name: str) -> None:
    told, left = full[name]
    assert told.startswith("failed:"), told
    assert "inside MRIForge" not in told, told
    assert [path for path in left if not path.endswith((".json", ".toml"))] == [], told


@POSIX
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("name", JOBS)
def test_folders_that_may_not_be_written_are_refused(
    inputs: Path, tmp_path: Path, name: str
) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(BadInput, match="read-only"):
            run_request(small_jobs.request(name, inputs, tmp_path / "out"))
    finally:
        tmp_path.chmod(0o700)


# Locales

SPEAKS = """
import json, locale, sys
from pathlib import Path
if sys.argv[3] != "C":
    locale.setlocale(locale.LC_ALL, "")
    assert locale.localeconv()["decimal_point"] == ","
import small_jobs
from mriforge import io
from mriforge.jobs import run_request
inputs, outputs = Path(sys.argv[1]), Path(sys.argv[2])
found = {}
for number, name in enumerate(sys.argv[4:]):
    request = small_jobs.request(name, inputs, outputs / str(number))
    run_request(request)
    image = io.read(request.options["output"])
    found[name] = [image.grid.spacing, image.grid.origin, float(image.array.astype(float).sum())]
print(json.dumps(found))
"""


def test_decimal_commas_change_nothing(inputs: Path, tmp_path: Path) -> None:
    """A program around us may have set the locale of C libraries, which then read 1,5 for 1.5."""
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")],
        capture_output=True,
    )
    if not made or made.returncode > 1 or not (tmp_path / "de_DE.UTF-8").exists():
        pytest.skip("no German locale can be made here")
    names = [*QUICK, "t1map"]
    plain = python(SPEAKS, inputs, tmp_path / "a", "C", *names)
    german = {"LC_ALL": "de_DE.UTF-8", "LOCPATH": str(tmp_path)}
    done = python(SPEAKS, inputs, tmp_path / "b", "de", *names, **german)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(plain.stdout)


@POSIX
def test_a_terminal_that_knows_only_ascii(inputs: Path, tmp_path: Path) -> None:
    source = tmp_path / "für Ärzte.nii.gz"
    shutil.copy(inputs / "sharp.nii.gz", source)
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "import sys; from mriforge.cli import main; sys.exit(main())"
    out = tmp_path / "größer.nii.gz"
    done = python(code, "degrade", source, out, "--keep", "0.5", **ascii_only)
    assert done.returncode == 0, done.stderr
    assert out.exists()
    done = python(code, "degrade", tmp_path / "ö.nii", out, "--keep", "0.5", **ascii_only)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_numbers_with_commas_are_told(inputs: Path, tmp_path: Path) -> None:
    from mriforge.cohort.manifest import rows_of_table
    from mriforge.cohort.rows import Common

    (tmp_path / "a.csv").write_text("id;input;output;keep\na;a.nii;b.nii;0,5\n")
    with pytest.raises(BadInput, match="needs a number, not '0,5'"):
        rows_of_table(tmp_path / "a.csv", "degrade", Common())


# Clocks


def test_a_clock_that_runs_backwards(inputs: Path, tmp_path: Path, monkeypatch) -> None:
    now = [time.time()]

    def backwards() -> float:
        now[0] -= 3600.0
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    monkeypatch.setattr(time, "time_ns", lambda: int(backwards() * 1e9))
    for name in ("degrade", "train"):
        run_request(small_jobs.request(name, inputs, tmp_path / name))
    assert io.read(tmp_path / "degrade" / "out.nii.gz").array.size
    assert left_over(tmp_path) == []


# Two at once

TOGETHER = """
import sys
from pathlib import Path
import numpy as np, small_jobs
from mriforge import io
from mriforge.errors import MRIForgeError
from mriforge.models.store import load_model, save_model
from mriforge.training.data import load_dataset
folder, inputs, value = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
network, card = load_model(inputs / "tiny")
state = {n: t * 0 + value for n, t in network.state_dict().items()}
image = io.read(inputs / "sharp.nii.gz")
(folder / f"ready{value:g}").touch()
while len(list(folder.glob("ready*"))) < 2:
    pass
for number in range(15):
    save_model(folder / "model", state, card)
    io.write(image.with_array(image.array * 0 + value), folder / "image.nii.gz")
    io.write(image.with_array(image.array * 0 + value), folder / "image.npy")
    load_dataset(inputs / "data.csv", folder / "cache")
print("done")
"""


def test_two_processes_write_the_same_model_image_and_cache(inputs: Path, tmp_path: Path) -> None:
    """The last one wins; what is there is whole, and of one of them."""
    from concurrent.futures import ThreadPoolExecutor

    from mriforge.models.store import load_model
    from mriforge.training.data import load_dataset

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda v: python(TOGETHER, tmp_path, inputs, v), (1, 2)))
    assert [done.stdout.strip() for done in both] == ["done"] * 2, [d.stderr[-900:] for d in both]
    network, _ = load_model(tmp_path / "model")
    values = {float(v) for p in network.parameters() for v in np.unique(p.detach().numpy())}
    assert values in ({1.0}, {2.0})
    assert np.unique(io.read(tmp_path / "image.nii.gz").array) in (1.0, 2.0)
    with_json = io.read(tmp_path / "image.npy")
    assert with_json.array.min() == with_json.array.max()
    assert len(load_dataset(inputs / "data.csv", tmp_path / "cache").train) == 1
    assert left_over(tmp_path) == []


def test_the_errors_of_files_that_are_gone_meanwhile(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(MRIForgeError, match="does not exist"):
        io.read(tmp_path / "gone.nii")
