"""Cohorts on a real Dask scheduler, whose workers die on the way."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mriforge.cohort.on_dask import DaskEngine
from mriforge.errors import BadInput, Cancelled, Failed
from mriforge.events import Events

sys.path.insert(0, str(Path(__file__).parent))
from cohort_helpers import ROOT, Cohort, eventually, is_alive

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows processes end without signals")


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch) -> Cohort:
    return Cohort(tmp_path, monkeypatch)


@pytest.fixture
def cluster(cohort: Cohort) -> Iterator[object]:
    """A scheduler with two workers, each with one card to claim."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, resources={"GPU": 1}
    ) as cluster:
        yield cluster


def pids_of(cluster: object) -> list[int]:
    """Processes of the workers."""
    return [worker.pid for worker in cluster.workers.values() if worker.pid]


def kill_under(cohort: Cohort, cluster: object, row: str) -> int:
    """Waits until a row has started and kills the worker that runs it; the row's process."""
    import psutil

    eventually(lambda: row in cohort.noted("start"))
    lines = [line.split() for line in cohort.journal.read_text().splitlines()]
    process = next(int(pid) for word, name, pid in lines if (word, name) == ("start", row))
    for pid in pids_of(cluster):
        if process in {child.pid for child in psutil.Process(pid).children(recursive=True)}:
            os.kill(pid, signal.SIGKILL)
            return process
    raise AssertionError("no worker has the row")


def test_a_worker_dies_and_every_row_is_done_once(cohort: Cohort, cluster) -> None:
    cohort.write([{}, {}, {"fault": "hang"}, {}, {}, {}])
    victims: list[int] = []
    killer = threading.Thread(target=lambda: victims.append(kill_under(cohort, cluster, "s2")))
    killer.start()
    engine = DaskEngine(cluster.scheduler_address, 1, resources={"GPU": 1})
    done = cohort.run(engine)
    killer.join()
    assert done["done"] == 6 and len(victims) == 1
    # The row was started twice, because its first process ended with its worker.
    assert sorted(cohort.noted("start")) == ["s0", "s1", "s2", "s2", "s3", "s4", "s5"]
    assert sorted(cohort.noted()) == [f"s{n}" for n in range(6)]
    eventually(lambda: not any(map(is_alive, victims)))
    assert sorted(line["id"] for line in cohort.summary()["rows"]) == sorted(cohort.noted())
    assert cohort.run(engine)["kept"] == 6


def test_bad_rows_and_cancel(cohort: Cohort, cluster) -> None:
    engine = DaskEngine(cluster.scheduler_address, 1, resources={"GPU": 1})
    cohort.write([{"fault": "bad"}, {"fault": "kill"}, {}])
    with pytest.raises(Failed, match="2 of 3"):
        cohort.run(engine)
    cohort.write([{"seconds": 600}, {"seconds": 600}, {}, {"seconds": 600}])
    events = Events()

    def cancel() -> None:
        eventually(lambda: len(cohort.noted("start")) == 5)
        events.control.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(Cancelled):
        cohort.run(engine, events=events)
    canceller.join()
    pids = [int(line.split()[2]) for line in cohort.journal.read_text().splitlines()]
    eventually(lambda: not any(map(is_alive, pids)))


def test_a_killed_batch_leaves_no_rows_behind(cohort: Cohort, cluster) -> None:
    cohort.write([{"seconds": 600}, {"seconds": 600}])
    command = [sys.executable, "-m", "mriforge", "batch", str(cohort.manifest), "--job", "wait"]
    command += ["--out", str(cohort.out), "--engine", "dask", "--quiet"]
    command += ["--scheduler", cluster.scheduler_address]
    batch = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    eventually(lambda: len(cohort.noted("start")) == 2)
    batch.kill()
    batch.wait(60)
    cohort.write([{}, {}])
    # Rows of the dead batch still wait on the workers; those of the new one end them.
    done = cohort.run(DaskEngine(cluster.scheduler_address, 1))
    assert done["done"] == 2 and sorted(cohort.noted()) == ["s0", "s1"]


def test_no_scheduler(cohort: Cohort, monkeypatch) -> None:
    from mriforge.cohort import on_dask

    monkeypatch.setattr(on_dask, "_CONNECT_S", 1)
    cohort.write([{}])
    with pytest.raises(BadInput, match="No Dask scheduler answers"):
        cohort.run(DaskEngine("tcp://127.0.0.1:9", 1))
    assert cohort.noted("start") == []


def test_workers_of_another_version_are_refused(cohort: Cohort, cluster, monkeypatch) -> None:
    from mriforge.cohort import on_dask

    monkeypatch.setattr(on_dask, "__version__", "9.9")
    cohort.write([{}])
    with pytest.raises(BadInput, match="same version everywhere"):
        cohort.run(DaskEngine(cluster.scheduler_address, 1))


SBATCH = """#!/bin/sh
for script; do :; done
cp "$script" "{log}.sh"
sh "{log}.sh" >> "{log}" 2>&1 &
echo "Submitted batch job $!"
"""


@pytest.mark.long
def test_the_slurm_script(cohort: Cohort, monkeypatch) -> None:
    """The script of the handbook, with an `sbatch` that starts the job at once on this machine."""
    pytest.importorskip("dask_jobqueue")
    programs = cohort.folder / "programs"
    programs.mkdir()
    scancel = '#!/bin/sh\nkill "$@" 2>/dev/null\nexit 0\n'
    texts = {"sbatch": SBATCH.format(log=cohort.folder / "slurm.txt"), "scancel": scancel}
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    cohort.write([{}, {}, {}])
    command = [sys.executable, str(ROOT / "Resources/Scripts/slurm_cohort.py"), "--workers", "1"]
    command += ["--gpu", "--cores", "1", "--memory", "1GB", "--logs", str(cohort.folder / "logs")]
    command += ["--", str(cohort.manifest), "--out", str(cohort.out), "--job", "wait"]
    done = subprocess.run(
        command, cwd=cohort.folder, capture_output=True, text=True, timeout=120
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + (cohort.folder / "slurm.txt").read_text()
    assert sorted(cohort.noted()) == ["s0", "s1", "s2"]


@pytest.mark.long
def test_sixty_rows_and_two_deaths(cohort: Cohort) -> None:
    cohort.write([{"fault": "hang"} if n in (12, 40) else {"seconds": 0.5} for n in range(60)])
    with distributed.LocalCluster(
        n_workers=4, threads_per_worker=1, dashboard_address=None
    ) as cluster:

        def kill() -> None:
            for row in ("s12", "s40"):
                kill_under(cohort, cluster, row)

        killer = threading.Thread(target=kill)
        killer.start()
        done = cohort.run(DaskEngine(cluster.scheduler_address, 1))
        killer.join()
    assert done["done"] == 60 and len(cohort.noted("start")) == 62
    assert sorted(cohort.noted()) == sorted(f"s{n}" for n in range(60))
    assert len(cohort.summary()["rows"]) == 60
