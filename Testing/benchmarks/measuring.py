"""What the benchmarks share: ratios in one form, interleaved times, peak memory, the machine.

A benchmark that ``page.py`` runs takes ``--json FILE`` and writes::

    {"setting": {...}, "ratios": [{"what", "peer", "unit", "ours", "theirs", "ratio", "kind",
     "note"}, ...]}

Everything in it is better when it is less: seconds, memory, error. ``ratio`` is ours over theirs,
so below one MRIForge is ahead. ``kind`` says what stands on the other side: another program
(``peer``), the arithmetic that cannot be avoided, alone (``floor``), or growth in proportion to the
work (``growth``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("peer", "floor", "growth")
NO_LESS = 1e-9
"""Errors below it count as this much: nothing is infinitely better."""


@dataclass(frozen=True)
class Ratio:
    """One figure of ours beside one of theirs; less is better.

    Attributes:
        what: the job and the quantity, "SSIM map, gaussian window: time".
        peer: whom or what it is compared with.
        unit: of both figures; empty for an error without one.
        ours: measured.
        theirs: measured in the same run.
        kind: one of :data:`KINDS`.
        note: what a reader has to know to judge it.
    """

    what: str
    peer: str
    unit: str
    ours: float
    theirs: float
    kind: str = "peer"
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is one of {KINDS}, not {self.kind!r}")
        for value in (self.ours, self.theirs):
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{self.what}: {value} is not a figure to divide by")

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return max(self.ours, NO_LESS) / max(self.theirs, NO_LESS)


def write_ratios(path: Path | None, ratios: Sequence[Ratio], setting: dict[str, Any]) -> None:
    """The file that ``page.py`` reads; nothing without a path."""
    if path is None:
        return
    rows = [{**asdict(ratio), "ratio": ratio.ratio} for ratio in ratios]
    text = json.dumps({"setting": setting, "ratios": rows}, indent=1, default=str)
    path.write_text(text + "\n", encoding="utf-8")


def interleaved(
    ways: dict[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
    warm_up: bool = True,
) -> dict[str, float]:
    """Median seconds of every way, all of them once in each round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + warm_up):
        for name, run in ways.items():
            start = clock()
            run()
            if number >= warm_up:
                times[name].append(clock() - start)
    return {name: median(values) for name, values in times.items()}


def cpu_seconds() -> float:
    """Processor time of this process and of the children it waited for, all threads.

    On a machine that others use too it says more than the time on the wall.
    """
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def add_clock(parser: argparse.ArgumentParser) -> None:
    """The option that :func:`clock_of` reads."""
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time, not wall time")


def clock_of(arguments: argparse.Namespace) -> Callable[[], float]:
    """The clock that was asked for."""
    return cpu_seconds if arguments.cpu_time else time.perf_counter


def start_peak() -> float:
    """Forget the high-water mark of memory where the system can (Linux); MiB held now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()


def peak_mib() -> float:
    """The high-water mark of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(t for t in status.read_text().splitlines() if t.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def memory_of(run: Callable[[], object], device: str) -> float:
    """MiB at the peak: of the card's memory, or of this process beyond what it held."""
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() / 2**20
    before = start_peak()
    run()
    return peak_mib() - before


def in_fresh_process(script: str, *words: str) -> Any:
    """What ``script`` prints as its last line of JSON, run with this interpreter.

    Raises:
        RuntimeError: it failed; the end of what it said.
    """
    inherited = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([str(ROOT), *([inherited] if inherited else [])])
    done = subprocess.run(
        [sys.executable, script, *words],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict[str, Any]:
    """Processor, cores, memory, graphics card and versions, for the head of a page."""
    import numpy
    import torch

    import mriforge

    card = None
    if torch.cuda.is_available():
        card = torch.cuda.get_device_name(0)
    ours = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    memory = None
    with contextlib.suppress(AttributeError, ValueError, OSError):
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return {
        "processor": processor(),
        "logical_cores": len(ours),
        "memory_gib": memory,
        "graphics_card": card,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "mriforge": mriforge.__version__,
    }


def processor() -> str:
    """Name of the processor as the system tells it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    return platform.processor() or platform.machine()
