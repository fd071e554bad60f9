"""Hands spoiled files to a reader for as long as you like, and keeps those that it cannot stand.

    python Testing/fuzz.py --list
    python Testing/fuzz.py nrrd --minutes 60
    python Testing/fuzz.py nrrd --replay fuzz-findings/nrrd/crash-1a2b3c4d

Every reader runs in a child process: what ends it (a segmentation fault of a C library), stalls it
(ten seconds), asks for 768 MiB more memory or raises another error than those of
``mriforge.errors`` is kept with its input below ``fuzz-findings``. With atheris
(``pip install mriforge[fuzz]``, Linux and macOS) inputs are chosen by the code that they reach,
otherwise hypothesis makes them of random bytes.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CASE_S = 10.0
_BORN_S = 300.0
"""To import torch on a busy machine."""
_CASES_OF_A_CHILD = 5000
_LONGEST_INPUT = 4096


@dataclass
class Campaign:
    """Children one after another, and what became of their cases.

    Attributes:
        name: of the reader.
        findings: folder for inputs that must not be lost.
        work: folder that a child keeps its present case in, as ``case``.
        command: ``command(seed, seconds)`` starts a child.
        case_s: how long one case may take.
        counts: cases by how they went.
        kept: what was found, by its signature, and how often.
    """

    name: str
    findings: Path
    work: Path
    command: Callable[[int, float], list[str]]
    case_s: float = CASE_S
    counts: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    end: float | None = None

    def run(self, seconds: float, seed: int, children: int = 10**9) -> None:
        """Until the time is over, which begins with the first case, or so many children are."""
        self.end = None
        for number in range(children):
            left = seconds if self.end is None else self.end - time.monotonic()
            if left <= 0:
                return
            before = sum(self.counts.values())
            self._child(seed + number, left)
            if sum(self.counts.values()) == before:
                log = (self.work / "stderr.txt").read_text(errors="replace")
                raise SystemExit(f"The child ends before its first case:\n{log[-3000:]}")

    def _child(self, seed: int, left: float) -> None:
        shutil.rmtree(self.work / "case", ignore_errors=True)
        with open(self.work / "stderr.txt", "wb") as log:
            child = subprocess.Popen(
                self.command(seed, left), stdout=subprocess.PIPE, stderr=log, text=True
            )
        lines: queue.Queue[str | None] = queue.Queue()
        listener = threading.Thread(target=_listen, args=(child, lines), daemon=True)
        listener.start()
        wait, running = _BORN_S, False
        try:
            while True:
                try:
                    line = lines.get(timeout=wait)
                except queue.Empty:
                    self.counts["hang"] += 1
                    self._keep("hang", f"no answer for {wait:g} s")
                    return
                if line is None:
                    break
                running = line.startswith(">")
                self.end = self.end or time.monotonic() + left
                wait = self.case_s if running else _BORN_S
                if line.startswith("<"):
                    self._told(json.loads(line[1:]))
                if time.monotonic() > self.end and not running:
                    return
            code = child.wait()
            if running or code:
                self.counts["crash"] += 1
                log = (self.work / "stderr.txt").read_text(errors="replace")
                name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                self._keep("crash", f"{name}\n{log[-4000:]}")
        finally:
            child.kill()
            child.wait()
            listener.join()
            child.stdout.close()

    def _told(self, told: dict[str, str]) -> None:
        self.counts[told["went"]] += 1
        if told["went"] == "violation":
            # The child goes on meanwhile, so it has put the case aside.
            self._keep("violation", told["text"], told["case"])
            shutil.rmtree(self.work / told["case"], ignore_errors=True)

    def _keep(self, kind: str, text: str, case: str = "case") -> None:
        """Copies a case of the child, unless one like it is kept already."""
        lines = [line.strip() for line in text.strip().splitlines() if line.strip()] or [""]
        places = [line for line in lines if line.startswith("File ")][-1:]
        signature = "\n".join([kind, *(places or lines[:1])])
        self.kept[signature] += 1
        if self.kept[signature] > 1:
            return
        name = f"{kind}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"
        folder = self.findings / name
        shutil.rmtree(folder, ignore_errors=True)
        if (self.work / case).is_dir():
            shutil.copytree(self.work / case, folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "why.txt").write_text(text, encoding="utf-8", errors="replace")
        print(f"{self.name}: {kind}, kept in {folder}: {lines[-1][:160]}", flush=True)


def _listen(child: subprocess.Popen, lines: queue.Queue) -> None:
    for line in child.stdout:
        lines.put(line)
    lines.put(None)


# In the child


def _readers() -> dict:
    sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "core")]
    from fuzz_readers import READERS

    return READERS


def fuzz(name: str, seed: int, seconds: float, work: Path, engine: str) -> None:
    """The child: makes cases, tells ``>`` before and ``<`` after each on standard output."""
    faulthandler.enable()
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    atheris = _atheris() if engine != "hypothesis" else None
    if atheris is not None:
        with atheris.instrument_imports(include=["mriforge"]):
            reader = _readers()[name]
            reader.warm()
    else:
        reader = _readers()[name]
        reader.warm()
    case = _case(reader, work / "case", lines)
    end = time.monotonic() + seconds
    if atheris is not None:
        settings = [f"-seed={seed + 1}", f"-max_len={_LONGEST_INPUT}", "-rss_limit_mb=0"]
        limits = [f"-max_total_time={max(1, int(seconds))}", f"-runs={_CASES_OF_A_CHILD}"]
        atheris.Setup([sys.argv[0], *settings, *limits], case)
        atheris.Fuzz()
        return
    source = random.Random(seed)
    for _ in range(_CASES_OF_A_CHILD):
        case(source.randbytes(_LONGEST_INPUT))
        if time.monotonic() > end:
            return


def _atheris():
    try:
        import atheris
    except ImportError:
        return None
    return atheris


def _case(reader, folder: Path, lines) -> Callable[[bytes], None]:
    """What is done with the bytes of an engine."""
    from fuzz_readers import Violation, put, run
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def once(drawn: random.Random) -> None:
        entry, files = reader.draw(drawn)
        shutil.rmtree(folder, ignore_errors=True)
        put(folder, files)
        (folder.parent / "entry.txt").write_text(entry)
        lines.write(">\n")
        lines.flush()
        told = {}
        try:
            told = {"went": run(reader, folder / entry)}
        except Violation as error:
            aside = f"case-{time.monotonic_ns()}"
            shutil.copytree(folder, folder.with_name(aside))
            told = {"went": "violation", "text": f"{error}\nopened: {entry}", "case": aside}
        finally:
            lines.write("<" + json.dumps(told or {"went": "stopped"}) + "\n")
            lines.flush()

    return once.hypothesis.fuzz_one_input


# The command


def replay(name: str, folder: Path) -> int:
    """Reads a kept input again, in this process."""
    faulthandler.enable()
    reader = _readers()[name]
    from fuzz_readers import run

    for entry in dict.fromkeys(entry for entry, _ in reader.valid()):
        if (folder / entry).exists():
            with tempfile.TemporaryDirectory(prefix="fuzz-") as copy:
                shutil.copytree(folder, copy, dirs_exist_ok=True)
                print(f"{entry}: {run(reader, Path(copy) / entry)}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reader", nargs="?", help="which; see --list")
    parser.add_argument("--list", action="store_true", help="the names of the readers")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("auto", "hypothesis"), default="auto")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--replay", type=Path, help="a kept input")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child is not None:
        fuzz(given.reader, given.seed, given.minutes * 60, given.child, given.engine)
        return 0
    if given.list or given.reader not in _readers():
        print("\n".join(_readers()))
        return 0 if given.list else 2
    if given.replay is not None:
        return replay(given.reader, given.replay)

    with tempfile.TemporaryDirectory(prefix="fuzz-") as work:

        def command(seed: int, seconds: float) -> list[str]:
            options = ["--seed", str(seed), "--minutes", str(seconds / 60), "--child", work]
            return [sys.executable, __file__, given.reader, "--engine", given.engine, *options]

        campaign = Campaign(given.reader, given.findings / given.reader, Path(work), command)
        started = time.monotonic()
        campaign.run(given.minutes * 60, given.seed)
        seconds = time.monotonic() - started
    cases = sum(campaign.counts.values())
    went = ", ".join(f"{count} {name}" for name, count in campaign.counts.most_common())
    print(f"{given.reader}: {cases} cases in {seconds:.0f} s ({cases / seconds:.0f}/s): {went}")
    return 1 if campaign.kept else 0


if __name__ == "__main__":
    sys.exit(main())
