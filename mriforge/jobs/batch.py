"""Run a job on every row of a table, or on every image of a BIDS data set.

MANIFEST is a CSV file whose columns are `id` and options of the job (paths relative to it), or a
BIDS folder. Options of all rows are given once with --set or --settings; what a row says wins, and
{id}, {stem} or a BIDS entity in braces is replaced. Rows that are finished are kept, so the same
command goes on after an interruption.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.jobs.options import option

if TYPE_CHECKING:
    from mriforge.cohort.local import Engine
    from mriforge.cohort.rows import Row


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``batch``."""

    manifest: str = option("input", "CSV file, or BIDS folder", positional="MANIFEST")
    out: str = option("folder", "table, report, logs, and what is known of every row")
    job: str | None = option(
        "text", "command of rows that name none in a column 'command'", default=None, metavar="NAME"
    )
    set: Mapping[str, str] | None = option(
        "settings", "option of every row; can be repeated", default=None
    )
    settings: str | None = option(
        "input", "TOML or JSON file with options of every row", default=None
    )
    filter: Mapping[str, str] | None = option(
        "settings", "BIDS: images whose entity has this value; can be repeated", default=None
    )
    engine: str = option("text", "where rows run", default="local", choices=("local", "dask"))
    processes: int = option(
        "integer", "rows at a time on this machine (default 1)", default=1, at_least=1
    )
    scheduler: str | None = option(
        "text", "Dask: address of a scheduler that is there", default=None, metavar="ADDRESS"
    )
    gpus: str | None = option(
        "text", "graphics cards, one for each row at a time", default=None, metavar="N,..."
    )
    resources: Mapping[str, str] | None = option(
        "settings", "Dask: what a row claims of its worker, GPU=1", default=None
    )
    retries: int = option(
        "integer", "try a row whose process broke down so often again", default=0, at_least=0
    )
    row_minutes: float | None = option(
        "number", "stop a row after this time; it counts as failed", default=None, above=0,
        metavar="MIN",
    )  # fmt: skip


def check(options: Options) -> None:
    """Combinations that cannot be meant; the rows themselves are checked by the job."""
    bids = os.path.isdir(options.manifest)
    if bids and options.job is None:
        raise BadInput("--job is missing: what to do with the images.", "Give --job superres, ...")
    if options.filter is not None and not bids:
        raise BadInput("--filter chooses images of a BIDS folder.", "Leave it out for a table.")
    if options.engine != "dask":
        for name in ("scheduler", "resources"):
            if getattr(options, name) is not None:
                raise BadInput(f"--{name} is about Dask.", "Add --engine dask.")
    if options.scheduler is not None:
        if options.gpus is not None:
            raise BadInput(
                "--gpus is about this machine; workers of a scheduler bring theirs.",
                "Start each worker with CUDA_VISIBLE_DEVICES and --resources GPU=1.",
            )
        if options.processes != 1:
            raise BadInput("--processes is about this machine.", "Start that many workers.")
    for name, text in (options.resources or {}).items():
        if not text.replace(".", "", 1).isdigit():
            raise BadInput(f"--resources {name} needs a number, not '{text}'.")


def run(options: Options, events: Events) -> dict[str, Any]:
    """Checks all rows, runs those that are not finished; returns counts and the table's files."""
    from mriforge.cohort.batch import run_batch
    from mriforge.cohort.state import BatchFolder

    folder = BatchFolder(options.out)
    return run_batch(
        _rows(options, folder.path),
        folder,
        _engine(options),
        retries=options.retries,
        minutes=options.row_minutes or 0.0,
        checked=lambda: _describe(options, folder.path),
        events=events,
    )


def _describe(options: Options, out: Path) -> None:
    """Makes the results of a BIDS folder one themselves."""
    if os.path.isdir(options.manifest) and "output" not in (options.set or {}):
        from mriforge.cohort.bids_rows import describe_derivatives

        describe_derivatives(out, options.manifest)


def _rows(options: Options, out: Path) -> list[Row]:
    from mriforge.cohort.manifest import read_settings, rows_of_table
    from mriforge.cohort.rows import Common, options_of

    if options.job is not None:
        options_of(options.job)
    values = read_settings(options.settings) if options.settings is not None else {}
    common = Common(
        options.set or {},
        values,
        Path.cwd(),
        Path(options.settings).resolve().parent if options.settings else Path.cwd(),
    )
    if not os.path.isdir(options.manifest):
        return rows_of_table(options.manifest, options.job, common)
    from mriforge.cohort.bids_rows import rows_of_dataset

    return rows_of_dataset(options.manifest, options.job, options.filter or {}, common, out)


def _engine(options: Options) -> Engine:
    gpus = [text.strip() for text in options.gpus.split(",")] if options.gpus else []
    if options.engine == "local":
        from mriforge.cohort.local import LocalEngine

        return LocalEngine(options.processes, gpus)
    from mriforge.cohort.on_dask import DaskEngine

    resources = {name: float(text) for name, text in (options.resources or {}).items()}
    return DaskEngine(options.scheduler, options.processes, gpus, resources)
