"""All comparisons in one go: a table of ratios, ours over theirs, as JSON, Markdown and a picture.

    python Testing/benchmarks/page.py [DATA] OUT [--quick] [--only NAME,...] [--peers FOLDER]
        [--threads 1] [--wall] [--limit MINUTES] [--docs]

DATA is the folder of real volumes; what needs them is left out without it. OUT gets
benchmarks.json, benchmarks.md, benchmarks.png, and NAME.json and NAME.txt of each benchmark. With
--only the others keep the figures that OUT has of them. --quick takes sizes of about a minute each
on one thread: ratios are those of small problems. --peers is the folder that ``peers.py`` made; a
peer that is missing is skipped, and the page says how to install it.

Both sides of a ratio run in one go; short ones take turns, and medians are compared, long ones run
once (each benchmark says which). Seconds are those of the processor, which say more than the clock
on a machine that others use too; --wall counts the clock. --docs also puts tables and picture into
Docs/benchmarks.md. Exit code 1 when a benchmark failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measuring import ROOT, machine
from page_text import figure_of, into_page, markdown
from peers import how_to_install, import_paths, program

sys.path.insert(0, str(ROOT))

HERE = Path(__file__).resolve().parent
PAGE = ROOT / "Docs" / "benchmarks.md"
PICTURE = ROOT / "Docs" / "images" / "benchmarks.png"
Words = Callable[["Run"], list[str]]


@dataclass(frozen=True)
class Run:
    """What was asked for."""

    data: Path | None
    out: Path
    quick: bool
    peers: Path | None
    threads: int
    wall: bool
    limit: float

    def has(self, peer: str) -> bool:
        """Whether a peer can be used."""
        if peer == "bart":
            return shutil.which("bart") is not None
        if peer == "eclare":
            return program("run-eclare", self.peers) is not None
        own = any(Path(path).name == peer for path in import_paths(self.peers))
        return own or importlib.util.find_spec(peer) is not None


@dataclass(frozen=True)
class Benchmark:
    """One program of this folder.

    Attributes:
        title: heading of its table.
        script: file of this folder.
        words: its arguments but for --json and --cpu-time.
        data: whether it needs real volumes.
        needs: peers without which there is no ratio.
        uses: peers that it can do without.
        clock: whether it has --cpu-time.
    """

    title: str
    script: str
    words: Words
    data: bool = False
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    clock: bool = True


def sized(quick: str, full: str = "", threads: bool = True) -> Words:
    """Arguments by size, with --threads where the script has it."""

    def words(run: Run) -> list[str]:
        chosen = (quick if run.quick else full).split()
        return chosen + (["--threads", str(run.threads)] if threads else [])

    return words


def prior_words(run: Run) -> list[str]:
    size = ["--keep", "0.0625", "--steps", "150"] if run.quick else ["--minutes", "1"]
    return [str(run.data), str(run.out), "--case", "spine", *size]


def thick_words(run: Run) -> list[str]:
    """In a folder that is empty: the script goes on from what it finds."""
    words = [str(run.data), str(run.out / "thick_slices.work"), "--threads", str(run.threads)]
    words += ["--ratios", "4", "--profiles", "told"]
    if run.quick:
        words += ["--volumes", "vxm", "--size", "64", "--steps", "300", "--eclare-patches", "160"]
    else:
        words += ["--volumes", "studyforrest,vxm,spine", "--size", "80", "--steps", "2000"]
        words += ["--eclare-patches", "1200"]
    methods = "smore_small,sinc"
    eclare = program("run-eclare", run.peers)
    if eclare:
        methods += ",eclare"
        words += ["--eclare", eclare]
    return [*words, "--methods", methods]


def brain_words(run: Run) -> list[str]:
    kspace = run.data / "kspace" / "sigpy_brain_cartesian_8ch_ksp.npy"
    return [str(kspace), "--splits", "1" if run.quick else "3", "--threads", str(run.threads)]


BENCHMARKS: dict[str, Benchmark] = {
    "prior_guided": Benchmark(
        "Super-resolution of a real series", "prior_guided.py", prior_words, data=True
    ),
    "thick_slices": Benchmark(
        "Thick slices of real volumes", "thick_slices.py", thick_words, data=True, uses=("eclare",)
    ),
    "tiling": Benchmark(
        "A network on a whole volume",
        "tiling.py",
        sized("--shape 64 112 112 --patch 64"),
        needs=("monai",),
    ),
    "ssim": Benchmark(
        "SSIM with its map",
        "ssim.py",
        sized("--shape 96 128 128 --repeats 3"),
        needs=("skimage",),
    ),
    "multitasking": Benchmark(
        "MR Multitasking",
        "multitasking.py",
        lambda run: (
            "--bart --rank 4 --matrix 64 --coils 4 --inversions 8" if run.quick else "--bart"
        ).split(),
        needs=("bart",),
    ),
    "cartesian_brain": Benchmark(
        "Cartesian reconstruction of a real brain",
        "cartesian_brain.py",
        brain_words,
        data=True,
        needs=("bart",),
    ),
    "nufft": Benchmark(
        "Non-uniform Fourier transforms",
        "nufft.py",
        sized("--spokes 500 --repeats 3"),
        uses=("finufft", "torchkbnufft"),
    ),
    "normal_operator": Benchmark(
        "The normal operator of MR Multitasking",
        "normal_operator.py",
        sized("--rank 8 --coils 4 --spokes 500 --matrix 96 --repeats 3", threads=False),
        needs=("finufft",),
        uses=("torchkbnufft",),
    ),
    "t1_fit": Benchmark("T1 maps", "t1_fit.py", sized("--repeats 3 --scipy 200")),
    "unet_inference": Benchmark(
        "U-Net inference",
        "unet_inference.py",
        sized("--shape 16 96 96 --width 32"),
    ),
    "mdcsrn_inference": Benchmark(
        "Dense network inference",
        "mdcsrn_inference.py",
        sized("--shape 80 80 32 --slabs 2 --repeats 1", "--slabs 4"),
    ),
    "segment_time": Benchmark(
        "Organs in three views",
        "segment_time.py",
        sized("--networks denseunet_small --shape 32 96 96", "--networks denseunet_small"),
    ),
    "scaling": Benchmark(
        "Growth",
        "scaling.py",
        sized("--edges 32,64,96 --frames 1,4,16 --rows 2 --repeats 2"),
    ),
    "gpu": Benchmark("Graphics card", "gpu.py", sized("", threads=False), clock=False),
}


def how(peer: str) -> str:
    """What to do for a peer that is missing."""
    packages = {"skimage": "scikit-image", "finufft": "finufft"}
    if peer in packages:
        return f"pip install {packages[peer]}"
    return how_to_install(peer)


def refusal(benchmark: Benchmark, run: Run) -> str | None:
    """Why a benchmark cannot run; None when it can."""
    if benchmark.data and run.data is None:
        return "needs real volumes: give DATA"
    missing = [peer for peer in benchmark.needs if not run.has(peer)]
    return "; ".join(f"{peer} is missing: {how(peer)}" for peer in missing) or None


def shown(words: list[str], run: Run) -> str:
    """A command without the folders of this machine."""
    text = " ".join(words)
    for folder, name in ((run.data, "DATA"), (run.out, "OUT"), (run.peers, "PEERS")):
        for path in [] if folder is None else [str(folder.resolve()), str(folder)]:
            text = text.replace(path, name)
    return text


def run_one(name: str, benchmark: Benchmark, run: Run) -> dict[str, Any]:
    """Figures of one benchmark, or why there are none."""
    base = {"title": benchmark.title, "quick": run.quick, "threads": run.threads}
    refused = refusal(benchmark, run)
    if refused:
        return {**base, "ratios": [], "skipped": refused}
    result, log = run.out / f"{name}.json", run.out / f"{name}.txt"
    result.unlink(missing_ok=True)
    shutil.rmtree(run.out / f"{name}.work", ignore_errors=True)
    words = benchmark.words(run) + ["--json", str(result)]
    words += ["--cpu-time"] if benchmark.clock and not run.wall else []
    paths = [str(ROOT), *import_paths(run.peers)]
    paths += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    threads = {"OMP_NUM_THREADS": str(run.threads), "OPENBLAS_NUM_THREADS": str(run.threads)}
    environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)}
    base["command"] = shown(["python", f"Testing/benchmarks/{benchmark.script}", *words], run)
    base["clock"] = "processor" if benchmark.clock and not run.wall else "wall"
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as stream:
        try:
            code = subprocess.run(
                [sys.executable, str(HERE / benchmark.script), *words],
                env=environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=60 * run.limit,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return {**base, "ratios": [], "failed": f"not done after {run.limit:g} minutes"}
    base["took_s"] = round(time.monotonic() - started, 1)
    if code or not result.is_file():
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return {**base, "ratios": [], "failed": said[-1] if said else f"exit code {code}"}
    found = json.loads(result.read_text(encoding="utf-8"))
    skipped = found["setting"].get("skipped")
    base |= {"skipped": skipped} if skipped else {}
    base["without"] = [f"{peer}: {how(peer)}" for peer in benchmark.uses if not run.has(peer)]
    return {**base, "setting": found["setting"], "ratios": found["ratios"]}


def command_of(arguments: argparse.Namespace) -> str:
    """The command without the folders of this machine."""
    words = ["python Testing/benchmarks/page.py", "DATA" if arguments.data else "", "OUT"]
    words += ["--quick"] if arguments.quick else []
    words += ["--peers FOLDER"] if arguments.peers else []
    words += ["--wall"] if arguments.wall else []
    words += [f"--threads {arguments.threads}"] if arguments.threads != 1 else []
    return " ".join(word for word in words if word)


def load() -> list[float]:
    """Load of the machine over 1, 5 and 15 minutes, where the system tells."""
    return [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else []


def write_page(out: Path, state: dict[str, Any], docs: bool) -> None:
    """JSON, Markdown and picture of everything that is known."""
    order = [name for name in BENCHMARKS if name in state["benchmarks"]]
    state["benchmarks"] = {name: state["benchmarks"][name] for name in order}
    text = json.dumps(state, indent=1, default=str)
    (out / "benchmarks.json").write_text(text + "\n", encoding="utf-8")
    tables = markdown(state)
    (out / "benchmarks.md").write_text(tables, encoding="utf-8")
    picture = figure_of(state)
    if picture is not None:
        (out / "benchmarks.png").write_bytes(picture)
    if docs:
        into_page(PAGE, tables)
        if picture is not None:
            PICTURE.write_bytes(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="[DATA] OUT")
    parser.add_argument("--quick", action="store_true", help="about a minute for each")
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="names, separated by commas")
    parser.add_argument("--peers", type=Path, help="folder that peers.py made")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--wall", action="store_true", help="count the clock, not the processor")
    parser.add_argument("--limit", type=float, default=120.0, help="minutes for one benchmark")
    parser.add_argument("--docs", action="store_true", help="write Docs/benchmarks.md, too")
    arguments = parser.parse_args()
    if len(arguments.folders) > 2:
        parser.error("one folder of data and one to write to")
    arguments.data = arguments.folders[0] if len(arguments.folders) == 2 else None
    names = [name for name in arguments.only.split(",") if name]
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    out = arguments.folders[-1]
    out.mkdir(parents=True, exist_ok=True)
    run = Run(
        arguments.data, out, arguments.quick, arguments.peers, arguments.threads, arguments.wall,
        arguments.limit,
    )  # fmt: skip
    kept = out / "benchmarks.json"
    state = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {"benchmarks": {}}
    state["command"], state["machine"] = command_of(arguments), machine()
    for name in names:
        before = load()
        found = run_one(name, BENCHMARKS[name], run)
        found |= {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "load": before}
        state["benchmarks"][name] = found
        said = found.get("failed") or found.get("skipped") or f"{len(found['ratios'])} ratios"
        print(f"{name}: {said}", flush=True)
        write_page(out, state, arguments.docs)
    sys.exit(1 if any("failed" in state["benchmarks"][name] for name in names) else 0)


if __name__ == "__main__":
    main()
