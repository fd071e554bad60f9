"""The programs that MRIForge is compared with, each in a place of its own.

    python Testing/benchmarks/peers.py FOLDER [monai torchkbnufft eclare]

Nothing here is a dependency of the product, and nothing is installed into the environment that runs
this file. FOLDER gets one folder for each peer:

* ``monai``, ``torchkbnufft``: the package alone, without what it needs; it runs in the process of a
  benchmark, on the same torch, so that both sides have the same arithmetic;
* ``eclare`` (GPL-3.0): a virtual environment with its own NumPy and SciPy, which sees the torch of
  this one; its program is ``run-eclare`` and is run as it is, never imported.

A peer whose folder is there already is left as it is. BART is a program of the system (Debian and
Ubuntu: ``apt-get install bart``); it has to be on the path. ``page.py --peers FOLDER`` uses them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

IN_PROCESS = ("monai", "torchkbnufft")
PEERS = (*IN_PROCESS, "eclare")
HOW = "python Testing/benchmarks/peers.py FOLDER {name}, then page.py --peers FOLDER"
HOW_BART = "put the program bart on the path (Debian and Ubuntu: apt-get install bart)"


def how_to_install(name: str) -> str:
    """What to do for a peer that is missing."""
    return HOW_BART if name == "bart" else HOW.format(name=name)


def import_paths(folder: Path | None) -> list[str]:
    """Entries of PYTHONPATH with which a benchmark can import the peers of ``folder``."""
    if folder is None:
        return []
    return [str(folder.resolve() / name) for name in IN_PROCESS if (folder / name).is_dir()]


def program(name: str, folder: Path | None) -> str | None:
    """Path of the program of a peer: of ``folder``, or on the path; None where there is none."""
    scripts = "Scripts" if os.name == "nt" else "bin"
    own = [] if folder is None else [str(folder.resolve() / "eclare" / scripts)]
    return next((found for p in [*own, None] if (found := shutil.which(name, path=p))), None)


def make(name: str, folder: Path) -> Path:
    """Install one peer; a folder that could not be finished is removed."""
    place = folder / name
    if place.is_dir():
        print(f"{name}: {place} is there")
        return place
    unfinished = folder / f"{name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    if name in IN_PROCESS:
        pip(sys.executable, "--no-deps", "--target", str(unfinished), name)
        unfinished.rename(place)
        check = {**os.environ, "PYTHONPATH": str(place)}
        subprocess.run([sys.executable, "-c", f"import {name}"], env=check, check=True)
    else:
        make_environment(name, place)
    print(f"{name}: made {place}")
    return place


def make_environment(name: str, place: Path) -> None:
    """A virtual environment that falls back on the packages of this one, torch above all.

    Scripts of an environment name its path, so it is made where it stays.
    """
    try:
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        scheme = {"base": str(place), "platbase": str(place)}
        own = Path(sysconfig.get_path("purelib", "venv", scheme))
        (own / "this-torch.pth").write_text(sysconfig.get_path("purelib") + "\n")
        python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        keep = place / "keep.txt"  # another torch would be another peer, and gigabytes
        keep.write_text(f"torch=={metadata.version('torch')}\n")
        pip(str(python), "--constraint", str(keep), name)
    except (OSError, subprocess.CalledProcessError):
        shutil.rmtree(place, ignore_errors=True)
        raise


def pip(python: str, *words: str) -> None:
    """Install with pip's own settings (index, proxies)."""
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(PEERS)}")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(PEERS)
    if unknown:
        parser.error(f"there are {', '.join(PEERS)}, not {', '.join(sorted(unknown))}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in arguments.names or PEERS:
        try:
            make(name, arguments.folder)
        except (OSError, subprocess.CalledProcessError) as error:
            failed.append(name)
            print(f"{name}: could not be installed: {error}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
