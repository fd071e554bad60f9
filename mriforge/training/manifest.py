"""Manifests: lists of files to learn from, as tables or JSON.

A manifest of images is JSON (a list of entries, or ``{"volumes": [...]}``) or CSV with the columns

    path      image file, relative to the manifest; ``${VARIABLE}`` is replaced; also a video,
              or a folder of its frames
    subject   who it is; all volumes of one subject are in one split
    split     ``train`` or ``validation``
    licence   terms of use, copied into the model's card
    contrast  free text, e.g. ``T1w`` (optional)
    axes      in-plane stored axes: ``[0, 1]``, or several pairs that may be drawn from for 3-D
              scans: ``[[0, 1], [0, 2], [1, 2]]``; in CSV ``0,1`` or ``0,1;0,2;1,2`` (default 0,1)
    domain    free text, e.g. ``brain``: for trainings on two kinds of images (optional)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput
from mriforge.untrusted.texts import csv_entries, from_json

SPLITS = ("train", "validation")


_COLUMNS = ("path", "subject", "split", "licence", "contrast", "axes", "domain")


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


def entries_of_manifest(path: Path) -> list[Entry]:
    """Entries of a manifest file, splits of subjects unchecked.

    Raises:
        BadInput: unreadable, empty, unknown columns, missing files.
    """
    rows = manifest_rows(
        path, "volumes", '[{"path": ..., "subject": ..., "split": "train", "licence": ...}, ...]'
    )
    if not rows:
        raise BadInput(f"The manifest {path} names no volumes.", "Add at least one training image.")
    return [_entry(row, number, path) for number, row in enumerate(rows, 1)]


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
