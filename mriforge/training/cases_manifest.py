"""Cases to learn organs from, and manifests of them.

A manifest is JSON (a list of cases, or ``{"cases": [...]}``) or CSV with the columns

    labels    label map, relative to the manifest; ``${VARIABLE}`` is replaced
    image     MR image with the same voxels; without it, images are simulated from the label map
    ct        without ``image``: CT in Hounsfield units that shows what the map leaves out
    scheme    what the numbers of the label map mean: ``organs`` (ours, the default), ``tissues``,
              ``totalsegmentator``, ``btcv``, ``amos``, ... (:mod:`mriforge.synthesis.label_maps`)
    organs    which organs are outlined, where it is fewer than the scheme has: keys as a list, or
              separated by ``;``
    subject   who it is; all cases of one subject are in one split
    split     ``train`` or ``validation``; without any, some subjects are held out
    licence   terms of use, copied into the model's card (optional)
    contrast  free text, e.g. ``T1 VIBE`` (optional)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput
from mriforge.synthesis.label_maps import SCHEMES, scheme_of
from mriforge.training.manifest import SPLITS, beside, manifest_rows

SIMULATED = "simulated"
"""Contrast of tissue maps that no person belongs to."""


_COLUMNS = (
    "labels", "image", "ct", "scheme", "organs", "subject", "split", "licence", "contrast"
)  # fmt: skip


_EXAMPLE = '{"cases": [{"image": ..., "labels": ..., "subject": ...}, ...]}'


@dataclass(frozen=True)
class Case:
    """A label map, with its MR image or without.

    Attributes:
        labels: label map; a folder of pictures where the image is a DICOM series.
        subject: who it is.
        split: ``train`` or ``validation``.
        image: MR image with the same voxels; None: images are simulated.
        ct: CT of what ``labels`` outlines, where there is no ``image``.
        scheme: a key of :data:`mriforge.synthesis.label_maps.SCHEMES`.
        meaning: our organ label (0: none) of each number of the map, in the place of ``scheme``.
        organs: our labels that are outlined; others cannot be learned from it. Without any: all
            that the scheme, or ``meaning``, has.
        remarks: what its reader wants to be known, one sentence each.

    Raises:
        BadInput: an unknown scheme.
    """

    labels: Path
    subject: str
    split: str = ""
    image: Path | None = None
    ct: Path | None = None
    scheme: str = "organs"
    meaning: tuple[tuple[int, int], ...] = ()
    organs: tuple[int, ...] = ()
    licence: str = ""
    contrast: str = ""
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = scheme_of(self.scheme).organs
        if self.meaning:
            known = tuple(sorted({organ for _, organ in self.meaning if organ}))
        object.__setattr__(self, "organs", self.organs or known)


def cases_of_manifest(path: Path) -> list[Case]:
    """Cases of a manifest as they are written there, splits and files unchecked."""
    rows = manifest_rows(path, "cases", _EXAMPLE)
    return [_case(row, f"Case {n} of the manifest {path}", path) for n, row in enumerate(rows, 1)]


def _case(row: dict[str, Any], where: str, manifest: Path) -> Case:
    unknown = [str(key) for key in row if key not in _COLUMNS]
    if unknown:
        raise BadInput(
            f"{where} has the unknown column '{unknown[0]}'.", f"Columns: {', '.join(_COLUMNS)}."
        )
    texts = {key: str(row.get(key) or "").strip() for key in _COLUMNS if key != "organs"}
    for key in ("labels", "subject"):
        if not texts[key]:
            raise BadInput(f"{where} has no '{key}'.")
    split = texts["split"].lower()
    if split and split not in SPLITS:
        raise BadInput(f"{where} has the split '{split}'.", f"Use one of: {', '.join(SPLITS)}.")
    if texts["ct"] and texts["image"]:
        raise BadInput(
            f"{where} has an MR image and a CT.", "Give the image; a CT helps where there is none."
        )
    scheme = texts["scheme"] or "organs"
    if scheme not in SCHEMES:
        raise BadInput(f"{where} has the scheme '{scheme}'.", f"Use one of: {', '.join(SCHEMES)}.")
    files = {
        key: beside(manifest, texts[key]) if texts[key] else None
        for key in ("labels", "image", "ct")
    }
    return Case(
        **files,
        subject=texts["subject"],
        split=split,
        scheme=scheme,
        organs=_outlined(row.get("organs"), scheme, where),
        licence=texts["licence"],
        contrast=texts["contrast"],
    )


def _outlined(value: Any, scheme: str, where: str) -> tuple[int, ...]:
    """Our labels of organs that a manifest names; all of the scheme without names."""
    known = scheme_of(scheme).organs
    if not value:
        return known
    keys = value.split(";") if isinstance(value, str) else value
    numbers = {ORGANS[label - 1].key: label for label in known}
    found = []
    for key in keys if isinstance(keys, list) else [keys]:
        name = str(key).strip().lower()
        if name not in numbers:
            raise BadInput(
                f"{where}: '{key}' is not an organ of the scheme '{scheme}'.",
                f"Its organs are {', '.join(numbers)}.",
            )
        found.append(numbers[name])
    return tuple(sorted(set(found)))
