"""The pristine model of NIQE, fitted on sharp MR volumes: the shipped one, or one's own.

    python Testing/benchmarks/fit_niqe.py --shipped DATA [--out OUT.json]
    python Testing/benchmarks/fit_niqe.py FILE... --out OUT.json --licence TEXT [--planes axial]

The first makes mriforge/metrics/no_reference/niqe_brain.json again; DATA is the folder of real
volumes. The second makes a model that `mriforge evaluate --no-reference --pristine OUT.json` uses.
Slices whose foreground is more than 25 % of them are taken, every so many of each plane; patches as
in mriforge/metrics/no_reference/niqe.py.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mriforge.io import read
from mriforge.metrics.no_reference.niqe import PATCH, STEP, fit_niqe
from mriforge.metrics.no_reference.pristine import SHIPPED, save_niqe
from mriforge.metrics.no_reference.slices import PLANES, choose_slices
from mriforge.volume import as_series


@dataclass(frozen=True)
class Source:
    """A volume that is as sharp as it was acquired, in the planes that are."""

    file: str
    subject: str
    licence: str
    planes: tuple[str, ...]


SOURCES = (
    Source(
        "brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz",
        "studyforrest sub-02, T1w 0.7 x 0.67 x 0.67 mm, whole head, defaced",
        "PDDL-1.0",
        PLANES,
    ),
    Source(
        "brain3d/adi_T1w_memprage_1.1mm.nii.gz",
        "FNNDSC adi_brain, T1w MEMPRAGE 1.15 x 1.15 x 1 mm, whole head",
        "Apache-2.0",
        PLANES,
    ),
    Source(
        "brain3d/adi_T2w_FSE_ax_2.5mm.nii.gz",
        "FNNDSC adi_brain, T2w FSE 0.43 x 0.43 x 2.5 mm, whole head",
        "Apache-2.0",
        ("axial",),
    ),
    Source(
        "brain3d/BraTS-MET-00110-000-t1c.nii.gz",
        "BraTS-MET-00110, T1w with contrast agent 1 mm, skull-stripped",
        "Apache-2.0 (BrainLesion/AURORA; terms of BraTS-METS not restated there)",
        PLANES,
    ),
)


def slices(
    files: Sequence[Path], planes: Sequence[Sequence[str]], every: int, used: list[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Slices with their foreground; how many of each file is added to ``used``."""
    for file, names in zip(files, planes, strict=True):
        used.append(0)
        for volume in as_series(read(file)):
            for plane in names:
                chosen = choose_slices(volume.array, volume.grid, plane=plane, every=every)
                used[-1] += len(chosen.indices)
                yield from zip(chosen.of(volume.array), chosen.inside, strict=True)


def main() -> None:
    """Fits, saves, and prints what the model was made of."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--shipped", type=Path, metavar="DATA")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--licence", default="not stated")
    parser.add_argument("--planes", nargs="+", choices=PLANES, default=list(PLANES))
    parser.add_argument("--every", type=int, default=8, help="slices of a plane (default: 8)")
    parser.add_argument("--patch", type=int, default=PATCH)
    parser.add_argument("--step", type=int, default=STEP)
    options = parser.parse_args()
    if bool(options.files) == (options.shipped is not None) or not (options.out or options.shipped):
        parser.error("give either --shipped DATA, or files and --out")
    if options.shipped:
        about = [{"subject": s.subject, "licence": s.licence} for s in SOURCES]
        files = [options.shipped / s.file for s in SOURCES]
        planes = [s.planes for s in SOURCES]
    else:
        about = [{"subject": f.name, "licence": options.licence} for f in options.files]
        files, planes = options.files, [options.planes] * len(options.files)
    used: list[int] = []
    model = fit_niqe(
        slices(files, planes, options.every, used), patch=options.patch, step=options.step
    )
    for entry, file, names, count in zip(about, files, planes, used, strict=True):
        entry |= {"file": file.name, "planes": list(names), "slices": count}
    model.provenance.update({"trained_on": about, "every": options.every})
    save_niqe(model, options.out or SHIPPED)
    print(json.dumps(model.provenance, indent=1))
    print(f"{model.patches} patches of {model.slices} slices: {options.out or SHIPPED}")


if __name__ == "__main__":
    main()
