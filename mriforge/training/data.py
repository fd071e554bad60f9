"""Volumes to learn from: a manifest of files, split by subject, cached as memory-mapped arrays.

A manifest is JSON (a list of entries, or ``{"volumes": [...]}``) or CSV with the columns

    path      image file, relative to the manifest; ``${VARIABLE}`` is replaced; also a video,
              or a folder of its frames
    subject   who it is; all volumes of one subject are in one split
    split     ``train`` or ``validation``
    licence   terms of use, copied into the model's card
    contrast  free text, e.g. ``T1w`` (optional)
    axes      in-plane stored axes: ``[0, 1]``, or several pairs that may be drawn from for 3-D
              scans: ``[[0, 1], [0, 2], [1, 2]]``; in CSV ``0,1`` or ``0,1;0,2;1,2`` (default 0,1)
    domain    free text, e.g. ``brain``: for trainings on two kinds of images (optional)

A folder in place of a manifest is read as one of :mod:`mriforge.training.layouts`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.io.atomic import atomic_path
from mriforge.untrusted.texts import csv_entries, from_json
from mriforge.volume import Image, as_series

SPLITS = ("train", "validation")
_COLUMNS = ("path", "subject", "split", "licence", "contrast", "axes", "domain")
_TISSUE = 0.1
"""Share of the intensity scale above which a voxel counts as tissue, for drawing patches."""


@dataclass(frozen=True)
class Entry:
    """One line of a manifest; ``axes`` are pairs of in-plane stored axes."""

    path: Path
    subject: str
    split: str
    licence: str
    contrast: str = ""
    axes: tuple[tuple[int, int], ...] = ((0, 1),)
    domain: str = ""


@dataclass(frozen=True)
class TrainingVolume:
    """One image as the samplers use it.

    Attributes:
        name: file name, for messages and the model's card.
        array: ``(t, z, y, x)``, any float dtype (memory-mapped or not), divided by ``scale``.
        axes: pairs of in-plane stored axes.
        tissue: per array axis (z, y, x), the tissue fraction of every slice across it.
        scale: what the stored values were divided by.
        spacing: voxel size in mm (x, y, z).
    """

    name: str
    array: np.ndarray
    axes: tuple[tuple[int, int], ...]
    tissue: tuple[np.ndarray, ...]
    scale: float = 1.0
    subject: str = ""
    licence: str = ""
    contrast: str = ""
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    domain: str = ""

    def view(self, frame: int, axes: tuple[int, int]) -> np.ndarray:
        """Frame with the slice axis first and the in-plane axes last, in stored order."""
        return np.transpose(self.array[frame], slices_first(axes))

    def slice_tissue(self, axes: tuple[int, int]) -> np.ndarray:
        """Tissue fraction of each slice across the in-plane ``axes``."""
        return self.tissue[slices_first(axes)[0]]


@dataclass(frozen=True)
class Dataset:
    """All volumes of a manifest by split."""

    train: list[TrainingVolume]
    validation: list[TrainingVolume] = field(default_factory=list)

    def provenance(self) -> list[dict[str, Any]]:
        """What a model trained on this saw, for its card."""
        seen = {v.name: v for v in self.train}  # a file may be listed twice, to weigh it more
        return [
            {
                "file": v.name,
                "subject": v.subject,
                "licence": v.licence,
                "contrast": v.contrast,
                **({"domain": v.domain} if v.domain else {}),
                "matrix": list(v.array.shape[:0:-1]),
                "spacing_mm": [round(s, 4) for s in v.spacing],
            }
            for v in seen.values()
        ]


def slices_first(axes: Sequence[int]) -> tuple[int, int, int]:
    """Permutation of array axes (z, y, x) that puts the in-plane stored ``axes`` last.

    In-plane axes keep their array order, so ``(0, 1)`` is the identity.
    """
    inplane = sorted(2 - a for a in axes)
    rest = next(a for a in range(3) if a not in inplane)
    return (rest, *inplane)


def read_manifest(path: str | Path) -> list[Entry]:
    """Entries of a manifest file, or of a folder in a public set's layout, checked.

    Raises:
        BadInput: unreadable, unknown columns, missing files, a subject in two splits.
    """
    path = Path(path)
    if path.is_dir():
        from mriforge.training.layouts import entries_of_folder

        entries = entries_of_folder(path)
        check_split(entries, str(path))
        return entries
    rows = manifest_rows(
        path, "volumes", '[{"path": ..., "subject": ..., "split": "train", "licence": ...}, ...]'
    )
    if not rows:
        raise BadInput(f"The manifest {path} names no volumes.", "Add at least one training image.")
    entries = [_entry(row, number, path) for number, row in enumerate(rows, 1)]
    check_split(entries, str(path))
    return entries


def check_split(entries: Sequence[Entry], where: str) -> None:
    """Refuses a subject in two splits, and a manifest without training images."""
    seen: dict[str, str] = {}
    for entry in entries:
        if seen.setdefault(entry.subject, entry.split) != entry.split:
            raise BadInput(
                f"The subject '{entry.subject}' is in two splits of {where}.",
                "Put all images of a subject into 'train' or all into 'validation'.",
            )
    if "train" not in seen.values():
        raise BadInput(f"{where} has no image with split 'train'.")


def manifest_rows(path: Path, name: str, example: str) -> list[dict[str, Any]]:
    """Rows of a CSV file, or the list in a JSON file, bare or under ``name``.

    Args:
        example: of such a list, for messages.

    Raises:
        BadInput: unreadable, or something else.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"The manifest {path} cannot be read.", "Check the path.") from error
    if path.suffix.lower() == ".csv":
        try:
            return csv_entries(text)
        except ValueError as error:
            raise BadInput(f"The manifest {path} is no table: {error}.") from error
    try:
        tree = from_json(text, once=True)
    except ValueError as error:
        raise BadInput(f"The manifest {path} is neither CSV nor valid JSON: {error}.") from error
    rows = tree.get(name) if isinstance(tree, dict) else tree
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"The manifest {path} should hold a list of {name}.", f"Write {example}.")
    return rows


def beside(manifest: Path, text: str) -> Path:
    """A path in a manifest: relative to it, with variables and the home folder replaced.

    Raises:
        BadInput: no path of any file: too long, or without permission to look.
    """
    path = Path(os.path.expanduser(os.path.expandvars(text.strip())))
    path = path if path.is_absolute() else manifest.parent / path
    try:
        path.exists()
    except (OSError, ValueError) as error:
        raise BadInput(
            f"The manifest {manifest} names {text[:80]!r}, which cannot be a path "
            f"({getattr(error, 'strerror', '') or error}).",
            "Correct it.",
        ) from error
    return path


def _entry(row: dict, number: int, manifest: Path) -> Entry:
    where = f"Entry {number} of the manifest {manifest}"
    unknown = [str(key) for key in row if key not in _COLUMNS]
    if unknown:
        raise BadInput(
            f"{where} has the unknown column '{unknown[0]}'.", f"Columns: {', '.join(_COLUMNS)}."
        )
    for key in ("path", "subject", "split", "licence"):
        if not str(row.get(key) or "").strip():
            raise BadInput(f"{where} has no '{key}'.")
    split = str(row["split"]).strip().lower()
    if split not in SPLITS:
        raise BadInput(f"{where} has the split '{split}'.", f"Use one of: {', '.join(SPLITS)}.")
    path = beside(manifest, str(row["path"]))
    if not path.exists():
        raise BadInput(f"{where}: the image {path} is not there.", "Correct its path.")
    axes = _axes(row.get("axes"), where)
    subject, licence = str(row["subject"]).strip(), str(row["licence"]).strip()
    contrast, domain = (str(row.get(key) or "").strip() for key in ("contrast", "domain"))
    return Entry(path, subject, split, licence, contrast, axes, domain)


def _axes(value: object, where: str) -> tuple[tuple[int, int], ...]:
    if value in (None, ""):
        return ((0, 1),)
    try:
        if isinstance(value, str):
            pairs = [[int(a) for a in pair.split(",")] for pair in value.split(";")]
        else:
            pairs = value if isinstance(value[0], list) else [value]
        pairs = tuple(tuple(sorted(int(a) for a in pair)) for pair in pairs)
    except (TypeError, ValueError, IndexError):
        pairs = ()
    if not pairs or any(p not in ((0, 1), (0, 2), (1, 2)) for p in pairs):
        raise BadInput(
            f"{where} has the in-plane axes {value!r}.",
            "Give two of the stored axes 0, 1, 2, for example 0,1.",
        )
    return pairs


def load_dataset(
    manifest: str | Path,
    cache: str | Path,
    *,
    percentile: float = 99.5,
    events: Events | None = None,
) -> Dataset:
    """All volumes of ``manifest``, normalised once into ``cache`` and memory-mapped.

    Args:
        cache: folder of ``.npy`` files; made when it is missing, safe to delete.
        percentile: intensity scale of each file, see :class:`TrainingVolume`.
    """
    events = events or Events()
    entries = read_manifest(manifest)
    dataset = Dataset([], [])
    for number, entry in enumerate(entries):
        events.check_cancelled()
        events.progress(number / len(entries), f"reading {entry.path.name}")
        volume = _cached(entry, Path(cache), percentile)
        getattr(dataset, entry.split).append(volume)
    return dataset


def volume_from_image(
    image: Image,
    *,
    axes: Sequence[Sequence[int]] = ((0, 1),),
    scale: float,
    name: str = "image",
) -> TrainingVolume:
    """An image in memory as a :class:`TrainingVolume` (a prior for fine-tuning, or a test)."""
    array = (as_series(image).array / np.float32(scale)).astype(np.float32)
    pairs = tuple(tuple(sorted(pair)) for pair in axes)
    return TrainingVolume(
        name, array, pairs, _tissue(array), scale, spacing=as_series(image).grid.spacing
    )


def _tissue(array: np.ndarray) -> tuple[np.ndarray, ...]:
    """Per spatial axis the share of tissue of each slice, over all frames."""
    mask = (array > _TISSUE).mean(axis=0, dtype=np.float32)
    others = ((1, 2), (0, 2), (0, 1))
    return tuple(mask.mean(axis=pair) for pair in others)


def _cached(entry: Entry, cache: Path, percentile: float) -> TrainingVolume:
    status = entry.path.stat()
    identity = f"2|{entry.path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{percentile}"
    stem = (
        cache
        / f"{entry.path.name.split('.')[0]}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    )
    data, note = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not (data.is_file() and note.is_file()):
        _write_cache(entry, data, note, percentile)
    facts = json.loads(note.read_text(encoding="utf-8"))
    array = np.load(data, mmap_mode="r")
    tissue = tuple(np.asarray(t, dtype=np.float32) for t in facts["tissue"])
    return TrainingVolume(
        entry.path.name,
        array,
        entry.axes,
        tissue,
        facts["scale"],
        entry.subject,
        entry.licence,
        entry.contrast,
        tuple(facts["spacing"]),
        entry.domain,
    )


def _write_cache(entry: Entry, data: Path, note: Path, percentile: float) -> None:
    from mriforge.io import read
    from mriforge.io.video import is_video, read_video

    video = is_video(entry.path)
    image = as_series(read_video(entry.path) if video else read(entry.path))
    array = image.array.astype(np.float32)
    if not np.isfinite(array).all():
        raise BadInput(f"{entry.path} holds values that are not numbers.", "Leave it out.")
    scale = float(np.percentile(np.abs(array), percentile)) or float(np.abs(array).max())
    if scale <= 0:
        raise BadInput(f"{entry.path} is empty: every voxel is zero.", "Leave it out.")
    array /= scale
    facts = {
        "source": entry.path.name,
        "scale": scale,
        "spacing": list(image.grid.spacing),
        "tissue": [t.tolist() for t in _tissue(array)],
    }
    # Half precision: 0.05 % of the local intensity, below the noise of any MR scan.
    with atomic_path(data) as partial, open(partial, "wb") as handle:
        np.save(handle, np.clip(array, -6e4, 6e4).astype(np.float16))
    with atomic_path(note) as partial:
        partial.write_text(json.dumps(facts), encoding="utf-8")
