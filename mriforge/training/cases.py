"""Cases to learn organs from: label maps with their MR image, or without.

Manifests are those of :mod:`mriforge.training.cases_manifest`.
Folders may be laid out as by ``simulate anatomies``, nnU-Net, AMOS or CHAOS
(:mod:`mriforge.training.cases_layouts`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mriforge.anatomy import TissueMap
from mriforge.errors import BadInput
from mriforge.io import read
from mriforge.physics.canonical import on_grid, turned
from mriforge.physics.zscore import standardised
from mriforge.synthesis.label_maps import (
    organ_labels,
    tissue_map,
    whole_numbers,
)
from mriforge.training.cases_layouts import cases_of_folder
from mriforge.training.cases_manifest import SIMULATED, Case, cases_of_manifest
from mriforge.training.manifest import SPLITS
from mriforge.volume import Series, Volume

_FIFTH, _HELD_OUT = 5, 16
"""Without splits every fifth subject is held out, or fewer, so that they are about 16."""


def read_cases(path: str | Path) -> list[Case]:
    """The cases of a manifest or a folder, each with a split.

    Without splits every fifth subject in the order of names is held out for validation, of large
    collections fewer, of two to four subjects the last one, of one none.

    Raises:
        BadInput: neither of the two, no cases, missing files, unknown columns, schemes or organs,
            splits for some subjects only, a subject in two splits, none to train on.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path} is not there.", "Give a manifest or a folder of labelled images.")
    cases = cases_of_folder(path) if path.is_dir() else cases_of_manifest(path)
    if not cases:
        raise BadInput(f"{path} names no cases.", "Add at least one label map.")
    for case in cases:
        for kind, file in (("label map", case.labels), ("image", case.image), ("CT", case.ct)):
            if file is not None and not file.exists():
                raise BadInput(
                    f"{path}: the {kind} {file} of '{case.subject}' is not there.",
                    "Correct its name, or leave this case out.",
                )
    return with_splits(cases, str(path))


def with_splits(cases: Sequence[Case], where: str) -> list[Case]:
    """The same cases, each with a split.

    Raises:
        BadInput: see :func:`read_cases`.
    """
    told: dict[str, str] = {}
    for case in cases:
        if case.split and told.setdefault(case.subject, case.split) != case.split:
            raise BadInput(
                f"The subject '{case.subject}' is in two splits of {where}.",
                "Put all images of a subject into 'train' or all into 'validation'.",
            )
    if not told:
        told = _drawn({case.subject for case in cases})
    untold = [case.subject for case in cases if case.subject not in told]
    if untold:
        raise BadInput(
            f"{where} gives a split for some subjects, but none for '{untold[0]}'.",
            "Give every subject 'train' or 'validation', or none.",
        )
    if "train" not in told.values():
        raise BadInput(f"{where} has no case with split 'train'.")
    return [dataclasses.replace(case, split=told[case.subject]) for case in cases]


def _drawn(subjects: set[str]) -> dict[str, str]:
    """Splits of subjects for whom none is given."""
    names = sorted(subjects)
    every = max(_FIFTH, math.ceil(len(names) / _HELD_OUT))
    held_out = names[every - 1 :: every] or names[1:][-1:]
    return {name: SPLITS[name in held_out] for name in names}


def load_tissues(case: Case, spacing: float) -> TissueMap:
    """A case without image as tissues on a grid along LPS.

    Args:
        spacing: voxel size in mm.

    Raises:
        BadInput: not a label map, other labels than the scheme has, none at all, a CT elsewhere.
    """
    with _naming(case.labels):
        labels, scheme = _volume(case.labels), case.scheme
        if case.meaning:
            labels, scheme = labels.with_array(_meant(labels.array, case)), "organs"
        found = tissue_map(
            labels,
            scheme,
            image=None if case.ct is None else _volume(case.ct),
            spacing=spacing,
            subject=case.subject,
            source=_source(case),
        )
    return dataclasses.replace(found, organs=case.organs)


def _source(case: Case) -> dict[str, str]:
    name = "simulated abdomen" if case.contrast == SIMULATED else case.labels.name
    return {"source": name, "licence": case.licence}


def load_pair(case: Case, spacing: float) -> tuple[Volume, np.ndarray]:
    """Image and organ labels on one grid along LPS.

    Args:
        case: one with an image.
        spacing: voxel size in mm.

    Returns:
        the image, float32, by :func:`mriforge.physics.zscore.standardised`, and labels
        ``(z, y, x)`` uint8 on its grid; organs that the case does
        not outline are background.

    Raises:
        BadInput: image and label map in different places, an image without contrast or with
            voxels that are not numbers, not a label map, other labels than the scheme has, none
            of the organs.
    """
    image = _volume(case.image)
    with _naming(case.image):
        if not np.isfinite(image.array).all():
            raise BadInput("It has voxels that are not numbers.", "Set them to the background.")
        if image.array.min() == image.array.max():
            raise BadInput("All voxels have the same value.", "Give the MR image.")
    labels = _labels(case)
    close = labels.grid.matches(image.grid, 0.1 * min(image.grid.spacing))
    if not close and turned(labels.grid, image.grid) is None:
        raise BadInput(
            f"The label map {case.labels} and the image {case.image} do not have the same voxels: "
            f"{_where(labels)}, and {_where(image)}.",
            "Resample the label map onto its image, by nearest neighbour.",
        )
    image = standardised(image, spacing)
    with _naming(case.labels):
        numbers = on_grid(labels, image.grid, labels=True).array
        found = numbers.astype(np.uint8) if case.meaning else organ_labels(numbers, case.scheme)
        found[~np.isin(found, case.organs)] = 0
        if not found.any():
            raise BadInput(
                "It outlines none of the organs.",
                "Check that its numbers are those of its scheme: "
                f"{'dataset.json' if case.meaning else case.scheme}.",
            )
    return image, found


def _labels(case: Case) -> Volume:
    """The label map with whole numbers on its own grid: ours where ``meaning`` says so."""
    if case.labels.is_dir():
        from mriforge.io.drawn import read_drawn

        return read_drawn(case.labels, case.image)
    with _naming(case.labels):
        labels = _volume(case.labels)
        numbers = _meant(labels.array, case) if case.meaning else whole_numbers(labels.array)
    return labels.with_array(numbers)


def _meant(array: np.ndarray, case: Case) -> np.ndarray:
    """Our labels by the names that a data set gives its numbers."""
    numbers, table = whole_numbers(array), dict(case.meaning)
    present = np.unique(numbers).tolist()
    unknown = [number for number in present if number and number not in table]
    if unknown:
        raise BadInput(
            f"The label map has the label {unknown[0]}, which dataset.json does not name.",
            f"It names {', '.join(map(str, sorted(table)))}.",
        )
    ours = np.zeros(max(present) + 1, dtype=np.uint8)
    for number in present:
        ours[number] = table.get(number, 0)
    return ours[numbers]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts the name of a file before what is wrong with it."""
    try:
        yield
    except BadInput as error:
        if str(path) in error.message:
            raise
        raise BadInput(f"{path}: {error.message}", error.hint) from error


def _volume(path: Path) -> Volume:
    """A file or DICOM folder as one volume."""
    found = read(path)
    if not isinstance(found, Series):
        return found
    if len(found.array) != 1:
        raise BadInput(
            f"{path} is a series of {len(found.array)} volumes.", "Give one volume of it."
        )
    return Volume(found.array[0], found.grid, found.metadata)


def _where(volume: Volume) -> str:
    """A grid for people."""
    grid = volume.grid
    size = " x ".join(map(str, grid.stored_shape))
    spacing = " x ".join(f"{value:.3g}" for value in grid.spacing)
    corner = ", ".join(f"{value:.1f}" for value in grid.origin)
    return f"{size} voxels of {spacing} mm from ({corner}) mm"
