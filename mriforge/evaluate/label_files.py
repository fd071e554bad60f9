"""Label maps of organs from files and folders, brought together case by case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput
from mriforge.io import read
from mriforge.io.formats import suffix
from mriforge.metrics.evaluate import grid_difference
from mriforge.physics.interpolation import resample
from mriforge.volume import Grid, Series, as_series

_LABEL_FILES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".mgz", ".npy")
_LAST = max(organ.label for organ in ORGANS)


@dataclass(frozen=True)
class LabelledCase:
    """Organ labels of one case, all ``(z, y, x)`` uint8 on the reference's grid.

    Attributes:
        name: of the case.
        grid: of the reference.
        truth: the reference.
        found: the labels of each method.
    """

    name: str
    grid: Grid
    truth: np.ndarray
    found: dict[str, np.ndarray]


@dataclass(frozen=True)
class CaseFiles:
    """Files of one case: the reference, and each method's."""

    name: str
    reference: Path
    found: dict[str, Path]


def case_files(reference: str | Path, methods: Mapping[str, str | Path]) -> list[CaseFiles]:
    """Which files belong together: a single case, or a folder of files with the same names.

    Args:
        reference: a file, a folder of label files, or a folder of DICOM files.
        methods: name to file or folder, of the same kind.

    Raises:
        BadInput: a folder beside a file, or a method that lacks a case.
    """
    wanted = _labels_in(reference)
    held = {name: _labels_in(path) for name, path in methods.items()}
    for name, files in held.items():
        if (files is None) != (wanted is None):
            folder, single = (reference, methods[name]) if wanted else (methods[name], reference)
            raise BadInput(
                f"{folder} is a folder of cases, but {single} is a single case.",
                "Give two files, or two folders with files of the same names.",
            )
    if wanted is None:
        files = {name: Path(path) for name, path in methods.items()}
        return [CaseFiles(_stem(Path(reference)), Path(reference), files)]
    cases = []
    for stem, path in wanted.items():
        for name, files in held.items():
            if stem not in files:
                raise BadInput(
                    f"{methods[name]} has no file for {path}.",
                    f"Put the label map of this case there, named {path.name}.",
                )
        cases.append(CaseFiles(stem, path, {name: files[stem] for name, files in held.items()}))
    return cases


def _labels_in(path: str | Path) -> dict[str, Path] | None:
    """Label files of a folder by name without ending; None for a file or a DICOM folder."""
    folder = Path(path)
    if not folder.is_dir():
        return None
    files = sorted(p for p in folder.iterdir() if p.is_file() and suffix(p) in _LABEL_FILES)
    stems = [_stem(file) for file in files]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise BadInput(f"{path} has two files for {twice}.", "Keep one of them.")
    return dict(zip(stems, files, strict=True)) or None


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(suffix(path))] or path.name


def read_case(files: CaseFiles, resampled: bool, scheme: str = "organs") -> Iterator[LabelledCase]:
    """Reads one case; frames of a series are cases of their own.

    Args:
        files: of the case.
        resampled: bring labels on other grids to the reference's by the nearest voxel.
        scheme: what the reference's numbers mean, a key of
            :data:`mriforge.synthesis.label_maps.SCHEMES`.

    Raises:
        BadInput: voxels that are no organ labels, other grids, other frames.
    """
    if scheme == "organs":
        truth = read_labels(files.reference)
    else:
        truth = translated(as_series(read(files.reference)), scheme, files.reference)
    found = {}
    for name, path in files.found.items():
        labels = read_labels(path)
        if len(labels) != len(truth):
            raise BadInput(
                f"{path} has {len(labels)} frames but {files.reference} {len(truth)}.",
                "Compare series with the same frames.",
            )
        found[name] = _on(labels, truth.grid, resampled, path, files.reference)
    for number in range(len(truth)):
        which = f", frame {number + 1}" if len(truth) > 1 else ""
        frames = {name: labels.array[number] for name, labels in found.items()}
        yield LabelledCase(files.name + which, truth.grid, truth.array[number], frames)


def _on(labels: Series, grid: Grid, resampled: bool, path: Path, reference: Path) -> Series:
    if labels.grid.matches(grid, 0.01 * min(grid.spacing)):
        return labels
    if not resampled:
        reason = grid_difference(labels.grid, grid)
        raise BadInput(
            f"{path} and {reference} are not on one grid: {reason}.",
            "Bring the labels to the reference's grid with --resample.",
        )
    array = np.stack([resample(frame, grid, order=0).array for frame in labels])
    return Series(array, grid, labels.times)


def read_labels(path: str | Path) -> Series:
    """Organ labels of a file, uint8; a volume is a series of one frame.

    Raises:
        BadInput: voxels that are not the whole numbers 0 to 10.
    """
    series = as_series(read(path))
    array = series.array
    hint = "Organ labels are the whole numbers 0 to 10; --scheme tells of a reference with others."
    if array.size == 0 or array.dtype.kind not in "biuf":
        raise BadInput(f"{path} is not a label map.", hint)
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0 or high > _LAST:
        raise BadInput(f"{path} is no map of organ labels: it goes from {low:g} to {high:g}.", hint)
    labels = array.astype(np.uint8)
    if array.dtype.kind == "f" and not np.array_equal(labels, array):
        raise BadInput(f"{path} is no map of organ labels: not all voxels are whole numbers.", hint)
    return series.with_array(labels)


def translated(series: Series, scheme: str, path: str | Path) -> Series:
    """Organ labels of a label map with numbers of another scheme, uint8.

    Raises:
        BadInput: numbers that the scheme does not have.
    """
    from mriforge.synthesis.label_maps import organ_labels

    order, flips = _to_lps(series.grid)
    frames = []
    for frame in series.array:
        turned = np.flip(frame.transpose(order), flips)
        try:
            labels = organ_labels(turned, scheme)
        except BadInput as error:
            raise BadInput(f"{path}: {error.message}", error.hint) from error
        frames.append(np.flip(labels, flips).transpose(np.argsort(order)))
    return series.with_array(np.ascontiguousarray(frames))


def _to_lps(grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How to turn an array so that its axes point most nearly to Superior, Posterior, Left.

    Returns:
        the array axes in their new order, and which of the new axes are then reversed.
    """
    matrix = grid.direction_matrix[::-1, ::-1]  # rows S, P, L; columns the array axes z, y, x
    best = max(
        permutations(range(3)), key=lambda p: sum(abs(matrix[r, c]) for r, c in enumerate(p))
    )
    return best, tuple(r for r, c in enumerate(best) if matrix[r, c] < 0)
