"""The command `simulate`: raw data and truth that belong together, all of it or nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mriforge.errors import BadInput, Cancelled, MissingDependency
from mriforge.events import Control, Events
from mriforge.factors import Factors
from mriforge.io import read
from mriforge.jobs import Request, check_request, run_request
from mriforge.phantoms.multitasking import scan, subject
from mriforge.volume import Volume

h5py = pytest.importorskip("h5py")

ROOT = Path(__file__).resolve().parents[2]
FILES = {"t1_ms.nii.gz", "tissue.nii.gz", "tissue.json", "bins.npz", "factors.npz", "scan.json"}
TINY = {"matrix": 32, "coils": 3, "inversions": 1}


def request(folder: Path, **options: object) -> Request:
    given = {
        "what": "multitasking",
        "output": str(folder / "scan.h5"),
        "truth": str(folder / "truth"),
        **TINY,
        **options,
    }
    return Request("simulate", {k: v for k, v in given.items() if v is not None})


def command(folder: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "mriforge", "simulate", "multitasking"]
    return [*start, str(folder / "scan.h5"), "--truth", str(folder / "truth"), *more]


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_what_is_written_is_the_scan_and_its_truth(tmp_path: Path) -> None:
    from mriforge.io.ismrmrd import read_ismrmrd

    result = run_request(request(tmp_path, seed=3, lesion=True, rank=12))
    raw, truth = scan(subject(3, lesion=True), **TINY)
    back = read_ismrmrd(result["output"])
    assert np.array_equal(back.kspace, raw.kspace)
    assert np.array_equal(back.noise, raw.noise)
    assert set(result["truth"]) == FILES == {p.name for p in (tmp_path / "truth").iterdir()}
    t1, tissue = (read(result["truth"][n]) for n in ("t1_ms.nii.gz", "tissue.nii.gz"))
    assert isinstance(t1, Volume)
    assert np.array_equal(t1.array, truth.t1_ms(0, 0))
    assert np.array_equal(tissue.array, truth.tissue(0, 0))
    assert t1.grid.matches(back.grid)
    named = json.loads((tmp_path / "truth/tissue.json").read_text())
    for number, name in named["labels"].items():
        inside = tissue.array == int(number)
        assert np.allclose(t1.array[inside], named["t1_ms"].get(name, 0))
    assert "lesion" in named["labels"].values()
    with np.load(tmp_path / "truth/bins.npz") as bins:
        assert np.array_equal(bins["cardiac"], truth.cardiac)
        assert np.array_equal(bins["coil_maps"], truth.coil_maps)
    factors = Factors.load(tmp_path / "truth/factors.npz")
    assert factors.rank == 12
    gap = factors.frame(7, 1, 200) - truth.frame(7, 1, 200)
    assert np.linalg.norm(gap) < 0.1 * np.linalg.norm(truth.frame(7, 1, 200))
    about = json.loads((tmp_path / "truth/scan.json").read_text())
    assert about["left_out"] == pytest.approx(truth.left_out(12), rel=1e-3)
    assert about["seed"] == 3


def test_the_same_seed_gives_the_same_scan_and_another_another(tmp_path: Path) -> None:
    from mriforge.io.ismrmrd import read_ismrmrd

    scans = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_request(request(tmp_path / name, seed=seed, truth=None))
        scans.append(read_ismrmrd(tmp_path / name / "scan.h5").kspace)
    assert np.array_equal(scans[0], scans[1])
    assert not np.allclose(scans[0], scans[2], rtol=0.1)


def test_every_option_reaches_the_scan(tmp_path: Path) -> None:
    from mriforge.io.ismrmrd import read_ismrmrd

    options = {
        "arrhythmia": True,
        "irregular_breathing": True,
        "continuous": True,
        "ecg": True,
        "noise": 0.0,
        "gradient_delay": [0.5, -0.25, 0.1],
        "partitions": 2,
        "partition_mm": 12.0,
    }
    run_request(request(tmp_path, truth=None, **options))
    back = read_ismrmrd(tmp_path / "scan.h5")
    raw, _ = scan(subject(0), **TINY, **options)
    assert np.array_equal(back.kspace, raw.kspace)
    assert back.noise is None
    assert back.grid.spacing[2] == pytest.approx(12)
    assert len(back.physiology["cardiac_trigger_s"]) > 1
    assert not (tmp_path / "truth").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"what": "knee"}, "multitasking"),
        ({"matrix": 33}, "even"),
        ({"matrix": 8}, "at least 16"),
        ({"coils": 0}, "at least 1"),
        ({"noise": -1.0}, "at least 0"),
        ({"gradient_delay": [1.0]}, "3 numbers"),
        ({"output": "scan.nii"}, "must end with"),
        ({"inversions": 400, "coils": 128, "matrix": 512}, "GiB"),
        ({"output": "truth/bins.npz"}, "must end with"),
    ],
)
def test_refused_before_any_work(tmp_path: Path, options: dict, sentence: str) -> None:
    if "output" in options:
        options = {**options, "output": str(tmp_path / options["output"])}
    with pytest.raises(BadInput, match=sentence):
        check_request(request(tmp_path, **options))
    assert everything(tmp_path) == []


def test_h5py_is_asked_for_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"mriforge\[raw\]"):
        check_request(request(tmp_path))


class CancelAt(Events):
    """Asks the job to stop when its progress reaches a fraction."""

    def __init__(self, fraction: float) -> None:
        super().__init__(Control())
        self.at = fraction

    def _progress(self, fraction: float, message: str, eta_s: float | None) -> None:
        if fraction >= self.at:
            self.control.cancel()


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.75, 0.8, 0.83, 0.9])
def test_cancelled_anywhere_leaves_nothing(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(Cancelled):
        run_request(request(tmp_path), CancelAt(fraction))
    assert everything(tmp_path) == []


def test_an_older_result_survives_a_cancelled_run(tmp_path: Path) -> None:
    run_request(request(tmp_path, seed=1))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(Cancelled):
        run_request(request(tmp_path, seed=2), CancelAt(0.9))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_on_the_command_line(tmp_path: Path) -> None:
    sizes = ["--matrix", "32", "--coils", "2", "--inversions", "1", "--quiet"]
    done = subprocess.run(
        command(tmp_path, *sizes), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "bins: 20, 6, 344" in done.stdout
    assert {p.name for p in (tmp_path / "truth").iterdir()} == FILES
    done = subprocess.run(
        command(tmp_path, "--matrix", "31"), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "--matrix must be even" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows processes end without signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_killed_leaves_no_result(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        command(tmp_path, "--matrix", "96", "--inversions", "12", "--quiet"),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    time.sleep(2.5)
    assert process.poll() is None
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    left = [name for name in everything(tmp_path) if ".partial-" not in name]
    assert left in ([], ["truth"])
