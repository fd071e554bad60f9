"""Pairs of spatial factors to learn from: gridded and reconstructed, one NPZ file each.

Arrays of a file, each ``(L, y, x)``: ``input`` (gridded), and of ``label`` (iterative) and
``truth`` (of a simulation) at least one. Either complex64, or half precision ``(L, y, x, 2)``
beside ``<name>_scale`` ``(L,)`` that multiplies it. A manifest lists them (see
:mod:`mriforge.training.data`); a folder is read by the ``pairs.json`` in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.io.atomic import atomic_path
from mriforge.training.data import read_manifest
from mriforge.training.manifest import Entry
from mriforge.untrusted.arrays import load_arrays

MANIFEST = "pairs.json"
LABELS = {"iterative": "label", "truth": "truth"}
"""Name of the array for each kind of label."""


@dataclass(frozen=True)
class Pair:
    """One file of a manifest."""

    entry: Entry

    @property
    def subject(self) -> str:
        """Who it is."""
        return self.entry.subject

    def arrays(self, *names: str) -> list[Tensor]:
        """``(L, y, x)`` complex64 each.

        Raises:
            BadInput: damaged, or an array is missing.
        """
        held = read_pair(self.entry.path, names)
        return [torch.from_numpy(held[name]) for name in names]


@dataclass(frozen=True)
class PairSet:
    """All pairs of a manifest by split."""

    train: list[Pair]
    validation: list[Pair] = field(default_factory=list)
    shape: tuple[int, int, int] = (0, 0, 0)

    def provenance(self) -> list[dict[str, Any]]:
        """What a model trained on this saw, for its card: one entry for each subject."""
        seen: dict[str, dict[str, Any]] = {}
        for pair in self.train:
            about = seen.setdefault(
                pair.subject,
                {
                    "subject": pair.subject,
                    "licence": pair.entry.licence,
                    "contrast": pair.entry.contrast,
                    "matrix": list(self.shape[:0:-1]),
                    "pairs": 0,
                },
            )
            about["pairs"] += 1
        return list(seen.values())


def load_pairs(source: str | Path, labels: str, rank: int) -> PairSet:
    """The pairs that a folder or a manifest names, checked by the first of them.

    Args:
        source: folder with ``pairs.json``, or a manifest.
        labels: a key of :data:`LABELS`.
        rank: of the network.

    Raises:
        BadInput: no such manifest, no such labels, or pairs of another rank.
    """
    source = Path(source)
    if source.is_dir():
        source = source / MANIFEST
        if not source.is_file():
            raise BadInput(
                f"{source.parent} holds no {MANIFEST}.",
                "Make pairs with: mriforge simulate factors FOLDER",
            )
    pairs: dict[str, list[Pair]] = {"train": [], "validation": []}
    for entry in read_manifest(source):
        pairs[entry.split].append(Pair(entry))
    first = pairs["train"][0]
    shape = tuple(first.arrays("input", LABELS[labels])[0].shape)
    if shape[0] != rank:
        raise BadInput(
            f"The pairs of {source} have {shape[0]} components, the recipe's network {rank}.",
            "Set rank in [network.options] of the recipe, or make other pairs.",
        )
    return PairSet(pairs["train"], pairs["validation"], shape)


def write_pair(path: str | Path, arrays: Mapping[str, np.ndarray], exact: bool = False) -> None:
    """Writes a pair, atomically.

    Args:
        path: NPZ file.
        arrays: ``(L, y, x)`` complex, by name.
        exact: complex64; otherwise half precision, 0.05 % of the largest value of a component.
    """
    held: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        if exact:
            held[name] = values.astype(np.complex64)
            continue
        parts = np.stack([values.real, values.imag], -1).astype(np.float32)
        scale = np.abs(parts).max((1, 2, 3))
        scale[scale == 0] = 1.0
        held[name] = (parts / scale[:, None, None, None]).astype(np.float16)
        held[f"{name}_scale"] = scale
    with atomic_path(Path(path)) as partial, open(partial, "wb") as handle:
        np.savez(handle, **held)


def read_pair(path: str | Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Arrays of a pair ``(L, y, x)`` complex64, by name.

    Raises:
        BadInput: not such a file, damaged, without one of the arrays, or of shapes that differ.
    """
    try:
        held = load_arrays(path)
        missing = [name for name in names if name not in held]
        if missing:
            raise BadInput(f"{path} has no '{missing[0]}'.", f"It holds {', '.join(held)}.")
        found = {name: _complex(held, name) for name in names}
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise BadInput(f"{path} is not a pair of factors, or is damaged ({error}).") from error
    shapes = {values.shape for values in found.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise BadInput(f"The arrays of {path} are not (L, y, x) of one size: {shapes}.")
    if not all(np.isfinite(values.view(np.float32)).all() for values in found.values()):
        raise BadInput(f"{path} holds values that are not finite.")
    return found


def _complex(file: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    values = file[name]
    if not np.iscomplexobj(values):
        scale = file[f"{name}_scale"].astype(np.float32)
        values = np.ascontiguousarray(values.astype(np.float32) * scale[:, None, None, None])
        values = values.view(np.complex64)[..., 0]
    return np.ascontiguousarray(values, dtype=np.complex64)
