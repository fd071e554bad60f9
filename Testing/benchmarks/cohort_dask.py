"""Sixty subjects through Dask, two of four workers killed on the way: what is lost, what it costs.

    python Testing/benchmarks/cohort_dask.py [--rows 60] [--workers 4] [--kills 2] [--wait S]

Two measurements, one after the other:

reference   as many processes of the local engine, nobody dies
Dask        two workers, chosen at random among those that have a row, are killed at random moments

Rows are real jobs (`degrade`, a simulated head of 24 x 24 x 16 voxels) or, with `--wait S`, a light
command that waits S seconds, as a row on a graphics card or another machine would, and copies the
image. Most of the time of the real ones is the start of a process, which needs a processor; so on a
machine with fewer cores than workers, or with other work, rows take longer the more of them run at
once. Perfect division is therefore measured
under the same load: the sum of the times of the rows *of that run*, divided by the number of
workers. A run's ratio to it is 1 when no worker ever waits and nothing is done twice. What deaths
and Dask cost together is also told as the ratio of both runs' times per row. The time of a run is
that of the engine, from handing over the first row to the end of the last; the start of the cluster
and the drawing of the report are not in it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mriforge.cohort.batch import run_batch
from mriforge.cohort.local import Engine, LocalEngine
from mriforge.cohort.manifest import rows_of_table
from mriforge.cohort.on_dask import DaskEngine
from mriforge.cohort.rows import Common
from mriforge.cohort.state import BatchFolder

JOB = """
import shutil, time
from dataclasses import dataclass
from mriforge.io.atomic import atomic_path
from mriforge.jobs.options import option

@dataclass(frozen=True, kw_only=True)
class Options:
    input: str = option("input", "image", positional="IN")
    output: str = option("output", "copy", positional="OUT")
    seconds: float = option("number", "wait", at_least=0)

def run(options, events):
    until = time.monotonic() + options.seconds
    while time.monotonic() < until:
        events.check_cancelled()
        time.sleep(0.05)
    with atomic_path(options.output) as partial:
        shutil.copyfile(options.input, partial)
    return {"output": options.output, "seconds": options.seconds}
"""
SITE = """
from mriforge.jobs import COMMANDS, Command
COMMANDS["wait"] = Command("wait_job", "wait")
"""


class Watched:
    """An engine whose attempts are counted and whose time is taken."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.seconds = engine, 0.0
        self.ended: list[tuple[str, str]] = []

    def run(self, tasks: Any, events: Any, ended: Any) -> None:
        def note(task: Any, state: Any) -> Any:
            self.ended.append((task.row.id, state.status))
            return ended(task, state)

        started = time.monotonic()
        self.engine.run(tasks, events, note)
        self.seconds = time.monotonic() - started


def make_cohort(folder: Path, count: int, seed: int) -> Path:
    """Ellipsoids with texture; the manifest."""
    # Not at the top: workers import this file when they start, and again after a death.
    import nibabel
    import numpy as np
    from scipy.ndimage import gaussian_filter

    lines = ["id,input,output"]
    where = np.moveaxis(np.indices((24, 24, 16)), 0, -1) / (24, 24, 16) - 0.5
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        texture = gaussian_filter(rng.standard_normal((24, 24, 16)), 1.0)
        head = (np.square(where / rng.uniform(0.35, 0.45, 3)).sum(axis=-1) < 1) * (1 + texture)
        name = f"sub-{number:02d}"
        image = nibabel.Nifti1Image((500 * head).astype(np.int16), np.diag([2.0, 2.0, 3.0, 1.0]))
        nibabel.save(image, folder / f"{name}.nii.gz")
        lines.append(f"{name},{name}.nii.gz,{{}}/{name}.nii.gz")
    manifest = folder / "cohort.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def know_waiting(folder: Path) -> None:
    """Makes this process and those that it starts know the command ``wait``."""
    from mriforge.jobs import COMMANDS, Command

    (folder / "wait_job.py").write_text(JOB)
    (folder / "sitecustomize.py").write_text(SITE)
    sys.path.insert(0, str(folder))
    places = [str(folder), str(Path(__file__).resolve().parents[2])]
    os.environ["PYTHONPATH"] = os.pathsep.join(places)
    COMMANDS["wait"] = Command("wait_job", "wait")


def rows_into(manifest: Path, name: str, wait: float) -> list[Any]:
    """The manifest's rows, with results in a folder of that name."""
    text = manifest.read_text().replace("{}", name)
    own = manifest.with_name(f"{name}.csv")
    own.write_text(text)
    if wait > 0:
        return rows_of_table(own, "wait", Common({"seconds": str(wait)}))
    return rows_of_table(own, "degrade", Common({"keep": "0.25"}))


def kill_workers(cluster: Any, out: Path, total: int, kills: int, seed: int, told: list) -> None:
    """Kills workers that have a row, when a random number of rows is done."""
    import psutil

    rng = random.Random(seed)
    moments = sorted(rng.sample(range(total // 10, 8 * total // 10), kills))
    for moment in moments:
        while len(list((out / "results-done").glob("*.nii.gz"))) < moment:
            time.sleep(0.05)
        time.sleep(rng.uniform(0.0, 1.0))
        while True:
            busy = []
            for worker in list(cluster.workers.values()):
                with suppress(psutil.Error, AttributeError):
                    children = psutil.Process(worker.pid).children(recursive=True)
                    rows = [c for c in children if "mriforge.worker" in " ".join(c.cmdline())]
                    busy += [(worker.pid, c.cmdline()[-2]) for c in rows]
            if busy:
                break
            time.sleep(0.02)
        pid, request = rng.choice(busy)
        os.kill(pid, signal.SIGKILL)
        told.append((moment, Path(request).stem))


def account(name: str, out: BatchFolder, watched: Watched, workers: int) -> dict[str, Any]:
    """Prints and returns how a run went."""
    summary = json.loads((out.path / "summary.json").read_text())
    work = sum(line["seconds"] for line in summary["rows"])
    perfect = work / workers
    print(
        f"{name}: {watched.seconds:.1f} s for {len(summary['rows'])} rows; their own times sum to "
        f"{work:.1f} s, perfect division {perfect:.1f} s, ratio {watched.seconds / perfect:.3f}"
    )
    return summary


def check(rows: list[Any], watched: Watched, summary: dict[str, Any], out: BatchFolder) -> None:
    """Every row done exactly once, and table, report and files say the same."""
    import nibabel

    wanted = sorted(row.id for row in rows)
    done = sorted(row for row, status in watched.ended if status == "done")
    assert done == wanted, "a row was told done twice, or not at all"
    assert sorted(line["id"] for line in summary["rows"]) == wanted
    assert {line["status"] for line in summary["rows"]} == {"done"}
    with open(out.path / "summary.csv", newline="") as file:
        assert sorted(line["id"] for line in csv.DictReader(file)) == wanted
    page = (out.path / "report.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in wanted)
    assert f"{len(wanted)} rows: {len(wanted)} done" in page and "data:image/png" in page
    for row in rows:
        assert nibabel.load(row.values["output"]).shape[2] == 16


def main() -> None:
    """Runs both and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--reference", type=int, help="rows of the reference (default: all)")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--wait", type=float, default=0.0, help="rows that wait so many seconds")
    parser.add_argument("--seed", type=int, default=0)
    wish = parser.parse_args()
    from distributed import LocalCluster

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = make_cohort(folder, wish.rows, wish.seed)
        print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")

        if wish.wait > 0:
            know_waiting(folder)
        rows = rows_into(manifest, "plain", wish.wait)[: wish.reference]
        out, plain = BatchFolder(folder / "plain-batch"), Watched(LocalEngine(wish.workers))
        run_batch(rows, out, plain)
        check(rows, plain, account("reference", out, plain, wish.workers), out)

        rows = rows_into(manifest, "results-done", wish.wait)
        out = BatchFolder(folder / "dask-batch")
        told: list[tuple[int, str]] = []
        with LocalCluster(
            n_workers=wish.workers, threads_per_worker=1, dashboard_address=None, memory_limit=0
        ) as cluster:
            dask = Watched(DaskEngine(cluster.scheduler_address, 1))
            killer = threading.Thread(
                target=kill_workers,
                args=(cluster, folder, wish.rows, wish.kills, wish.seed, told),
            )
            killer.start()
            run_batch(rows, out, dask)
            killer.join()
        summary = account("Dask", out, dask, wish.workers)
        check(rows, dask, summary, out)
        lost = ", ".join(f"under {row} after {moment} rows" for moment, row in told)
        print(f"workers killed: {len(told)} ({lost})")
        print(f"all {len(rows)} rows done exactly once; table, report and files agree")
        ratio = (dask.seconds / wish.rows) / (plain.seconds / len(plain.ended))
        print(f"seconds per row, Dask with deaths / reference without: {ratio:.3f}")


if __name__ == "__main__":
    main()
