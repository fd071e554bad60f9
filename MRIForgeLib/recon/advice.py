"""What the panel says before anything runs: whether it can, and what will come out."""

from __future__ import annotations

import os
from pathlib import Path

from slicer.i18n import tr as _

from MRIForgeLib import model_list
from MRIForgeLib.recon.wishes import Method, ReconWishes, Source

TASK = "factors"
"""Models for this are offered."""

RAW_ENDINGS = (".h5", ".hdf5", ".mrd", ".cfl")


def why_not(wishes: ReconWishes) -> str:
    """Why it cannot start, and what to do; empty when it can."""
    if wishes.source is Source.FACTORS:
        return _why_not_factors(wishes.factors_file)
    if wishes.source is Source.RAW and (reason := _why_not_raw(wishes.raw_file)):
        return reason
    if wishes.method is Method.MALIBU and wishes.model not in model_names():
        return _("The model '{name}' is not installed: add it below, or choose another.").format(
            name=wishes.model
        )
    if not _can_be_written(wishes.results_folder):
        return _("Results cannot be written to {folder}: choose another folder.").format(
            folder=wishes.results_folder
        )
    return ""


def ready(wishes: ReconWishes) -> str:
    """What Apply will do."""
    if wishes.source is Source.FACTORS:
        return _("Open the images of this reconstruction.")
    if wishes.source is Source.SIMULATED:
        return _("Simulate the scan of a subject, and reconstruct it.")
    return _("Reconstruct the raw data.")


def preview(wishes: ReconWishes) -> str:
    """What will come out, and where."""
    if wishes.source is Source.FACTORS:
        return ""
    phases = wishes.cardiac * wishes.respiratory
    if wishes.inversion:
        frames = f"{phases * wishes.inversion:,}"
        text = _("{frames} images").format(frames=frames)
    else:
        text = _("{phases} phases x all inversion times").format(phases=phases)
    return _("{text}, from {rank} components. A folder for them is made in {folder}.").format(
        text=text, rank=wishes.rank, folder=wishes.results_folder
    )


def doubts(wishes: ReconWishes) -> list[str]:
    """What the user should know about these choices, one sentence each."""
    if wishes.source is Source.FACTORS:
        return []
    found = []
    if wishes.method is Method.GRIDDING and wishes.t1:
        found.append(_("gridding alone leaves streaks; a T1 map of it is a first look only."))
    phases = wishes.cardiac * wishes.respiratory * (wishes.inversion or 344)
    if wishes.rank > phases:
        found.append(_("more components than images: fewer will be used."))
    return found


def model_names() -> list[str]:
    """The installed models that reconstruct, by name."""
    return [row.name for row in model_list.rows(TASK)]


def _why_not_raw(name: str) -> str:
    if not name:
        return _("Select a raw data file: ISMRMRD (.h5) or BART (.cfl).")
    path = Path(name)
    if not path.is_file():
        return _("There is no file {path}.").format(path=path)
    if path.suffix.lower() not in RAW_ENDINGS:
        return _("{name} is no raw data: select an ISMRMRD (.h5) or BART (.cfl) file.").format(
            name=path.name
        )
    if path.suffix.lower() == ".cfl" and not path.with_suffix(".hdr").is_file():
        return _("Beside {name} its header {header} is missing.").format(
            name=path.name, header=path.with_suffix(".hdr").name
        )
    return ""


def _why_not_factors(name: str) -> str:
    if not name:
        return _("Select the file factors.npz of an earlier reconstruction.")
    path = Path(name)
    if not path.is_file() or path.suffix.lower() != ".npz":
        return _("{path} is no file of factors (.npz).").format(path=path)
    return ""


def _can_be_written(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that is there, takes new files."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    return there is not None and there.is_dir() and os.access(there, os.W_OK)
