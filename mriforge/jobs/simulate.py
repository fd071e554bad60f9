"""Simulate a scan whose truth is known.

`multitasking`: free-breathing radial raw data of a beating, breathing chest, as ISMRMRD. --truth
gets the T1 map, the tissues, the true bins of every readout and the true factors.

`factors`: a folder of pairs to train MALIBU on, gridded and true spatial factors of --count random
subjects in random shapes. It goes on where it was stopped.

`abdomen`: an MR image of a random torso with all ten organs; --labels and --tissues get the truth.

`anatomies`: a folder of --count torsos as tissue maps, to train organ segmentation on images that
are made of them. It goes on where it was stopped.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from mriforge.errors import BadInput, MissingDependency
from mriforge.events import Events
from mriforge.jobs import simulate_abdomen
from mriforge.jobs.paths import check_paths
from mriforge.jobs.simulate_options import ImageFiles, Options, PairFolder, RawFile

if TYPE_CHECKING:
    from pathlib import Path

    from mriforge.phantoms.multitasking import Subject, Truth

TRUTH_FILES = (
    "t1_ms.nii.gz",
    "tissue.nii.gz",
    "tissue.json",
    "bins.npz",
    "factors.npz",
    "scan.json",
)


_OF_THE_SCAN = (
    "matrix",
    "coils",
    "inversions",
    "noise",
    "noise_correlation",
    "continuous",
    "arrhythmia",
    "irregular_breathing",
    "ecg",
    "gradient_delay",
    "partitions",
    "partition_mm",
)


def check(options: Options) -> None:
    """Outputs that cannot be written, an odd matrix, more than fits in memory, or no h5py."""
    from importlib.util import find_spec

    if options.what == "abdomen":
        check_paths(
            ImageFiles(output=options.output, labels=options.labels, tissues=options.tissues)
        )
        return
    if options.what == "anatomies":
        check_paths(PairFolder(output=options.output))
        return
    pairs = options.what == "factors"
    if pairs:
        check_paths(PairFolder(output=options.output))
    else:
        check_paths(RawFile(output=options.output, truth=options.truth))
    if options.matrix % 2:
        raise BadInput(f"--matrix must be even, not {options.matrix}.")
    if not pairs and find_spec("h5py") is None:
        raise MissingDependency(
            "Writing ISMRMRD raw data needs h5py, which is not installed.",
            "Install it with: pip install 'mriforge[raw]'  (or: pip install h5py).",
        )
    needed = memory_gib(options)
    available = _memory_gib()
    if available is not None and needed > 0.9 * available:
        raise BadInput(
            f"This simulation needs about {needed:.1f} GiB; the computer has {available:.1f} GiB.",
            "Choose fewer inversions, coils or partitions, or a smaller matrix.",
        )
    if options.truth is not None and os.path.isdir(options.truth):
        output = os.path.realpath(options.output)
        claimed = [os.path.realpath(os.path.join(options.truth, name)) for name in TRUTH_FILES]
        if output in claimed:
            raise BadInput(f"{options.output} is also a file of the truth.", "Choose another name.")


def memory_gib(options: Options) -> float:
    """About what a simulation needs at its height, in GiB."""
    raw = options.inversions * 688 * options.coils * 2 * options.matrix * 8
    images = 8 * 120 * options.partitions * options.matrix**2 * 12
    return (1.6 * raw + 2.5 * images) / 2**30 + 0.3


def _memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None


def run(options: Options, events: Events) -> dict[str, Any]:
    """Draws the subject, scans it, writes raw data and truth; or many subjects, and pairs."""
    if options.what in _OTHERS:
        return _OTHERS[options.what](options, events)
    from mriforge.io.atomic import atomic_path
    from mriforge.io.ismrmrd import write_ismrmrd
    from mriforge.phantoms.multitasking import scan, subject

    who = subject(options.seed, lesion=options.lesion)
    settings = {name: getattr(options, name) for name in _OF_THE_SCAN}
    raw, truth = scan(who, **settings, events=events.part(0.0, 0.8))
    figures = {
        "readouts": len(raw.time_s),
        "seconds": round(float(raw.time_s[-1] + raw.repetition_s), 2),
        "coils": raw.coils,
        "samples": raw.kspace.shape[2],
        "matrix": list(raw.grid.stored_shape),
        "bins": list(truth.bins),
    }
    about = {"what": options.what, "seed": options.seed, **settings, **figures}
    # Everything gets its name at the end, when all of it has been written.
    with ExitStack() as whole:
        places = {}
        if options.truth is not None:
            places = {name: os.path.join(options.truth, name) for name in TRUTH_FILES}
            partial = {n: whole.enter_context(atomic_path(p)) for n, p in places.items()}
            _write_truth(partial, options, who, truth, about, events.part(0.8, 0.9))
        write_ismrmrd(options.output, raw, events=events.part(0.9, 1.0))
    return {"output": options.output, "truth": places, **figures}


def _pairs(options: Options, events: Events) -> dict[str, Any]:
    from mriforge.recon.pairs import PairOptions, make_pairs

    names = ("matrix", "rank", "coils", "inversions", "variants", "iterative")
    shared = {name: getattr(options, name) for name in names}
    made = make_pairs(
        options.output, options.count, options.seed, PairOptions(**shared), events=events
    )
    return {"output": options.output, **made}


def _of_abdomens(options: Options, events: Events) -> dict[str, Any]:
    return getattr(simulate_abdomen, options.what)(options, events)


_OTHERS = {"factors": _pairs, "abdomen": _of_abdomens, "anatomies": _of_abdomens}


def _write_truth(
    partial: dict[str, Path],
    options: Options,
    who: Subject,
    truth: Truth,
    about: dict[str, Any],
    events: Events,
) -> None:
    """Writes the files of :data:`TRUTH_FILES`, by name to where they are put."""
    import numpy as np

    from mriforge.io import write
    from mriforge.volume import Volume

    events.progress(0.0, "writing the truth")
    note = {"state": "end-diastole, end-expiration", "source": "simulated"}
    write(Volume(truth.t1_ms(0, 0), truth.grid, note), partial["t1_ms.nii.gz"])
    write(Volume(truth.tissue(0, 0), truth.grid, note), partial["tissue.nii.gz"])
    tissues = {
        "labels": {str(number): name for number, name in truth.labels.items()},
        "t1_ms": dict(zip(truth.tissues, (1000 * truth.t1_s).tolist(), strict=True)),
        "proton_density": dict(zip(truth.tissues, who.density, strict=True)),
        "lesion": None if who.lesion is None else who.lesion.kind,
    }
    _write_json(partial["tissue.json"], tissues)
    events.check_cancelled()
    with partial["bins.npz"].open("wb") as file:
        np.savez_compressed(
            file,
            cardiac=truth.cardiac,
            respiratory=truth.respiratory,
            inversion=truth.inversion,
            cardiac_phase=truth.cardiac_phase,
            inspiration=truth.inspiration,
            triggers_s=truth.triggers_s,
            signals=truth.signals,
            inversion_times_s=truth.inversion_times_s,
            coil_maps=truth.coil_maps,
        )
    events.check_cancelled()
    events.progress(0.3, "finding the best basis of the truth")
    rank = min(options.rank, truth.largest_rank)
    truth.factors(truth.basis(rank)).save(partial["factors.npz"])
    left_out = truth.left_out(rank)
    _write_json(partial["scan.json"], {**about, "rank": rank, "left_out": left_out})


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
