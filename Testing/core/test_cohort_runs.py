"""Cohorts in real processes: done once, kept, run again when something changed, never stopped by
one bad row, resumed after kills."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mriforge.cohort.local import LocalEngine
from mriforge.errors import BadInput, Cancelled, Failed
from mriforge.events import Events

sys.path.insert(0, str(Path(__file__).parent))
from cohort_helpers import ROOT, Cohort, eventually, is_alive

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows processes end without signals")


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch) -> Cohort:
    return Cohort(tmp_path, monkeypatch)


def test_rows_run_once_and_are_kept(cohort: Cohort) -> None:
    cohort.write([{}, {}, {}])
    first = cohort.run()
    assert (first["rows"], first["done"], first["kept"]) == (3, 3, 0)
    assert sorted(cohort.noted()) == ["s0", "s1", "s2"]
    assert (cohort.folder / "results/s1.txt").read_text() == "1.5"
    again = cohort.run()
    assert (again["done"], again["kept"]) == (0, 3)
    assert len(cohort.noted()) == 3
    # Every row can be repeated by hand, from its request.
    request = json.loads((cohort.out / "requests/s1.json").read_text())
    assert request["command"] == "wait" and os.path.isabs(request["options"]["input"])


def test_what_changed_runs_again_and_nothing_else(cohort: Cohort) -> None:
    cohort.write([{}, {}, {}, {}])
    cohort.run()
    (cohort.folder / "s0.dat").write_text("9.5")  # content
    os.utime(cohort.folder / "s1.dat", (1, 1))  # only its time
    (cohort.folder / "results/s2.txt").unlink()  # result gone
    cohort.write([{}, {}, {}, {"seconds": 0.01}])  # setting
    assert cohort.run()["done"] == 3
    assert sorted(cohort.noted()[4:]) == ["s0", "s2", "s3"]
    assert (cohort.folder / "results/s0.txt").read_text() == "9.5"
    cohort.write([{"device": "cpu"}, {}, {}, {"seconds": 0.01}])
    assert cohort.run()["kept"] == 4, "where a row runs does not change what comes out"


def test_another_version_runs_everything_again(cohort: Cohort) -> None:
    cohort.write([{}])
    cohort.run()
    path = cohort.out / "rows/s0.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "version": "0.0.1"}))
    assert cohort.run()["done"] == 1


def test_a_result_that_somebody_corrected_is_not_replaced(cohort: Cohort) -> None:
    cohort.write([{}])
    cohort.run()
    result = cohort.folder / "results/s0.txt"
    result.write_text("corrected by hand")
    assert cohort.run()["kept"] == 1
    (cohort.folder / "s0.dat").write_text("9.5")
    with pytest.raises(BadInput, match="not as this batch wrote it"):
        cohort.run()
    assert result.read_text() == "corrected by hand"


def test_bad_rows_stop_nothing(cohort: Cohort) -> None:
    rows = [{"fault": "bad"}, {}, {"fault": "kill"}, {}, {"fault": "memory"}]
    cohort.write(rows)
    with pytest.raises(Failed, match="3 of 5 rows failed"):
        cohort.run()
    lines = cohort.summary()["rows"]
    assert [line["status"] for line in lines] == ["failed"] * 3 + ["done"] * 2
    errors = {line["id"]: line["error"] for line in lines[:3]}
    assert "has no voxels" in errors["s0"]["message"]
    assert "SIGKILL" in errors["s2"]["message"]
    assert [errors[f"s{n}"]["kind"] for n in (0, 2, 4)] == ["bad-input", "crashed", "out-of-memory"]
    page = (cohort.out / "report.html").read_text()
    assert page.index("has no voxels") < page.index("All rows")
    with open(cohort.out / "summary.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == ["s0", "s2", "s4", "s1", "s3"]
    assert "Export it again." in table[0]["message"] and table[3]["value"] == "1.5"
    # The cause is mended: only the failed rows run.
    cohort.write([{}] * 5)
    assert cohort.run()["done"] == 3


def test_a_broken_process_is_tried_again_but_bad_input_is_not(cohort: Cohort) -> None:
    cohort.write([{"fault": "once"}, {"fault": "bad"}])
    with pytest.raises(Failed, match="1 of 2"):
        cohort.run(retries=2)
    assert sorted(cohort.noted("start")) == ["s0", "s0", "s1"]
    attempts = {line["id"]: line["attempts"] for line in cohort.summary()["rows"]}
    assert attempts == {"s0": 2, "s1": 1}


def test_a_row_that_takes_too_long_fails_alone(cohort: Cohort) -> None:
    cohort.write([{"seconds": 600}, {}])
    with pytest.raises(Failed, match="time limit"):
        cohort.run(minutes=0.15)
    assert cohort.results() == {"s1"}


def test_one_batch_at_a_time(cohort: Cohort) -> None:
    from mriforge.cohort.state import BatchFolder

    cohort.write([{}])
    with BatchFolder(cohort.out).whole(), pytest.raises(BadInput, match="Another batch"):
        cohort.run()
    assert cohort.run()["done"] == 1


def test_cancel_ends_every_process(cohort: Cohort) -> None:
    cohort.write([{}, *[{"seconds": 600}] * 3])
    events = Events()

    def cancel() -> None:
        eventually(lambda: len(cohort.noted("start")) == 3)
        events.control.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(Cancelled):
        cohort.run(events=events)
    canceller.join()
    pids = [int(line.split()[2]) for line in cohort.journal.read_text().splitlines()]
    assert not any(map(is_alive, pids))
    assert cohort.results() == {"s0"}
    statuses = {line["id"]: line["status"] for line in cohort.summary()["rows"]}
    assert statuses["s0"] == "done" and list(statuses.values()).count("cancelled") == 2
    cohort.write([{}] * 4)
    assert cohort.run()["kept"] == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_batch_goes_on(cohort: Cohort, number: signal.Signals) -> None:
    cohort.write([{}, {}, *[{"seconds": 600}] * 2])
    command = [sys.executable, "-m", "mriforge", "batch", str(cohort.manifest), "--job", "wait"]
    command += ["--out", str(cohort.out), "--processes", "2", "--quiet"]
    batch = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    eventually(lambda: len(cohort.noted("start")) == 4)
    batch.send_signal(number)
    assert batch.wait(60) == (-number if number == signal.SIGKILL else 6)
    pids = [int(line.split()[2]) for line in cohort.journal.read_text().splitlines()]
    eventually(lambda: not any(map(is_alive, pids)))
    assert cohort.results() == {"s0", "s1"}
    assert [path.name for path in cohort.folder.rglob(".partial-*")] == []
    # The same command, but for the waiting.
    cohort.write([{}, {}, {}, {}])
    done = cohort.run()
    assert (done["done"], done["kept"]) == (2, 2)
    assert sorted(cohort.noted()) == ["s0", "s1", "s2", "s3"]


def test_a_kill_between_output_and_state_is_healed(cohort: Cohort) -> None:
    cohort.write([{}])
    cohort.run()
    path = cohort.out / "rows/s0.json"
    state = json.loads(path.read_text())
    interrupted = {"status": "running", "outputs": dict.fromkeys(state["outputs"])}
    path.write_text(json.dumps({**state, **interrupted}))
    assert cohort.run()["done"] == 1


def test_each_place_has_its_graphics_card(cohort: Cohort, monkeypatch) -> None:
    seen: list[str | None] = []
    from mriforge.cohort import local
    from mriforge.cohort.state import State

    def note(task, stopped, progress):
        seen.append(task.gpu)
        time.sleep(0.05)
        return State(task.row.id, "wait", "done", ended=1.0)

    monkeypatch.setattr(local, "run_row", note)
    cohort.write([{}] * 4)
    cohort.run(LocalEngine(2, ["3", "5"]))
    assert set(seen) == {"3", "5"}


def test_a_real_job_through_the_command_line(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).random((8, 8, 4))
    for name in ("a", "b"):
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}.nii.gz")
    (tmp_path / "list.csv").write_text("id,input\na,a.nii.gz\nb,b.nii.gz\n")
    command = [sys.executable, "-m", "mriforge", "batch", str(tmp_path / "list.csv")]
    command += ["--job", "degrade", "--out", str(tmp_path / "out"), "--processes", "2"]
    command += ["--set", "keep=0.25", "--set", f"output={tmp_path}/low/{{stem}}_low.nii.gz"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert nibabel.load(tmp_path / "low/b_low.nii.gz").shape == (4, 4, 4)
    assert "done: 2" in done.stdout
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("data:image/png") == 1


def test_a_bids_folder_becomes_another(tmp_path: Path) -> None:
    pytest.importorskip("bids")
    from mriforge.jobs import Request, run_request

    data, out = tmp_path / "data", tmp_path / "data/derivatives/low"
    image = data / "sub-01/anat/sub-01_T2w.nii.gz"
    image.parent.mkdir(parents=True)
    about = json.dumps({"Name": "test", "BIDSVersion": "1.9.0"})
    (data / "dataset_description.json").write_text(about)
    voxels = np.random.default_rng(0).random((8, 8, 4))
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), image)
    options = {"manifest": str(data), "out": str(out), "job": "degrade", "set": {"keep": "2"}}
    with pytest.raises(BadInput, match="--keep must be at most 1"):
        run_request(Request("batch", options))
    assert not out.exists()
    assert run_request(Request("batch", {**options, "set": {"keep": "0.25"}}))["done"] == 1
    assert nibabel.load(out / "sub-01/anat/sub-01_desc-degrade_T2w.nii.gz").shape == (4, 4, 4)
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert "rows" in (out / ".bidsignore").read_text().split()
