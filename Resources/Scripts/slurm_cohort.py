#!/usr/bin/env python3
"""A cohort on a SLURM cluster: asks for workers, runs `mriforge batch` on them, gives them back.

    python slurm_cohort.py --workers 8 --queue gpu --gpu -- MANIFEST --out DIR --job segment ...

What stands after `--` are arguments of `mriforge batch`; engine, scheduler and resources are added.
Needs `pip install "mriforge[cli,dask]" dask-jobqueue` in an environment that all nodes see. Run it
on the login node or in a small job of its own, from a folder on a shared drive.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=4, help="SLURM jobs, one row at a time each")
    parser.add_argument("--queue", help="SLURM partition")
    parser.add_argument("--account", help="SLURM account")
    parser.add_argument("--cores", type=int, default=4, help="processor cores of a worker")
    parser.add_argument("--memory", default="16GB", help="memory of a worker")
    parser.add_argument("--walltime", default="04:00:00", help="of a worker; several rows long")
    parser.add_argument("--gpu", action="store_true", help="one graphics card for each worker")
    parser.add_argument("--logs", default="slurm-logs", help="folder of the workers' output")
    parser.add_argument("--interface", help="network interface of the nodes, for example ib0")
    parser.add_argument("batch", nargs="+", help="arguments of mriforge batch")
    return parser.parse_args()


def main() -> int:
    """Runs the batch; returns its exit code."""
    from dask_jobqueue import SLURMCluster

    wish = arguments()
    resource = "GPU" if wish.gpu else "row"
    with SLURMCluster(
        queue=wish.queue,
        account=wish.account,
        # One thread of one Dask process: a row at a time, which uses all cores of the job.
        cores=1,
        processes=1,
        job_cpu=wish.cores,
        memory=wish.memory,
        walltime=wish.walltime,
        interface=wish.interface,
        python=sys.executable,
        log_directory=wish.logs,
        # Rows are processes beside the worker; SLURM guards their memory, Dask cannot see it.
        worker_extra_args=["--resources", f"{resource}=1", "--memory-limit", "0"],
        job_extra_directives=["--gres=gpu:1"] if wish.gpu else [],
        job_script_prologue=[f"export OMP_NUM_THREADS={wish.cores}"],
        scheduler_options={"dashboard_address": None},
    ) as cluster:
        # Replaces workers whose wall time is over.
        cluster.adapt(minimum=wish.workers, maximum=wish.workers)
        command = [sys.executable, "-m", "mriforge", "batch", *wish.batch, "--engine", "dask"]
        command += ["--scheduler", cluster.scheduler_address, "--resources", f"{resource}=1"]
        return subprocess.call(command, env=os.environ)


if __name__ == "__main__":
    sys.exit(main())
