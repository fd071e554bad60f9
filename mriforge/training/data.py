"""Volumes to learn from: a manifest of files, split by subject, cached as memory-mapped arrays.

The files are named by a manifest (:mod:`mriforge.training.manifest`).
A folder in place of a manifest is read as one of :mod:`mriforge.training.layouts`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.io.atomic import atomic_path
from mriforge.training.layouts import entries_of_folder
from mriforge.training.manifest import Entry, check_split, entries_of_manifest
from mriforge.volume import Image, as_series

_TISSUE = 0.1
"""Share of the intensity scale above which a voxel counts as tissue, for drawing patches."""


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
    entries = entries_of_folder(path) if path.is_dir() else entries_of_manifest(path)
    check_split(entries, str(path))
    return entries


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
