"""NumPy arrays (``.npy``) with a JSON file of the same name that says where the voxels are.

``scan.npy`` holds ``(z, y, x)`` or ``(t, z, y, x)``; ``scan.json`` holds at least
``{"spacing": [x, y, z]}`` in mm, and if known ``origin`` (LPS, mm), ``direction`` (nine numbers,
row-major), ``times``, ``time_name``, ``time_unit`` and ``metadata``.

Two files cannot be renamed at once. The JSON file goes first and still carries the description
of the array it replaces; the checksum tells which of the two the array beside it is.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.errors import BadInput, MRIForgeError
from mriforge.io.common import plain, real_native, storable
from mriforge.untrusted.arrays import load_array
from mriforge.untrusted.texts import from_json
from mriforge.volume import Grid, Image, Series, Volume

_EXAMPLE = '{"spacing": [1.0, 1.0, 3.0], "origin": [0, 0, 0], "direction": [1,0,0, 0,1,0, 0,0,1]}'
_UNIT_MATRIX = [1, 0, 0, 0, 1, 0, 0, 0, 1]


def sidecar(path: Path) -> Path:
    """The JSON file that belongs to an array."""
    return path.with_suffix(".json")


def read_npy(path: Path) -> Image:
    """A volume from three axes, a series from four."""
    array = load_array(path)
    if array.dtype.kind == "c":
        raise BadInput(
            f"The array holds complex numbers (raw k-space data {array.shape}), not an image.",
            "Reconstruct it first and save the magnitude image.",
        )
    array = real_native(array)
    beside = sidecar(path)
    if not beside.is_file():
        raise BadInput(
            f"A bare array (shape {array.shape}) does not say how large its voxels are.",
            f"Put a file {beside.name} beside it: {_EXAMPLE}.",
        )
    known = _matching(_known(beside), array, beside)
    if array.ndim not in (3, 4):
        raise BadInput(
            f"The array has shape {array.shape}; an image has axes (z, y, x) or (t, z, y, x).",
            "Save it with three or four axes.",
        )
    try:
        about = dict(known.get("metadata") or {})
        metadata = {**about, "source": str(path), "format": "NumPy"}
        grid = Grid(
            array.shape[-3:],
            known["spacing"],
            known.get("origin", (0.0, 0.0, 0.0)),
            tuple(known.get("direction", _UNIT_MATRIX)),
        )
        if array.ndim == 3:
            return Volume(array, grid, metadata)
        times = known.get("times", range(len(array)))
        name = str(known.get("time_name", "time" if "times" in known else "frame"))
        unit = str(known.get("time_unit", "s" if "times" in known else ""))
        return Series(array, grid, np.asarray(times, dtype=float), name, unit, metadata)
    except (TypeError, ValueError, OverflowError, BadInput) as error:
        reason = error.message if isinstance(error, BadInput) else str(error)
        raise BadInput(
            f"{beside} holds wrong values ({reason:.200}).", f"Example: {_EXAMPLE}."
        ) from error


def write_npy(image: Image, path: Path, beside: Path, final: Path) -> None:
    """Writes the array to ``path`` and its description to ``beside``; not atomic by itself.

    Args:
        final: name that ``path`` will get; the description of what is there now is kept.
    """
    array = storable(np.ascontiguousarray(image.array))
    grid = image.grid
    known: dict[str, Any] = {
        "axes": "t,z,y,x" if isinstance(image, Series) else "z,y,x",
        "spacing": list(grid.spacing),
        "origin": list(grid.origin),
        "direction": list(grid.direction),
        "crc32": _crc(array),
    }
    if isinstance(image, Series):
        known["times"] = image.times.tolist()
        known["time_name"] = image.time_name
        known["time_unit"] = image.time_unit
    known["metadata"] = plain(image.metadata)
    previous = _previous(final)
    if previous is not None:
        known["previous"] = previous
    with open(path, "wb") as handle:
        np.save(handle, array, allow_pickle=False)
    beside.write_text(json.dumps(known, indent=1), encoding="utf-8")


def _matching(known: dict[str, Any], array: np.ndarray, beside: Path) -> dict[str, Any]:
    """The description of this array: the current one, or that of the array it replaces."""
    if "crc32" not in known:
        return known
    previous = known.get("previous")
    for candidate in (known, previous if isinstance(previous, dict) else {}):
        if candidate.get("crc32") == _crc(array):
            return candidate
    raise BadInput(
        f"The array is not the one that {beside.name} describes.", "Write both files again."
    )


def _previous(final: Path) -> dict[str, Any] | None:
    """Description, with checksum, of the array that is about to be replaced."""
    try:
        known = _known(sidecar(final))
        known.pop("previous", None)
        if "crc32" not in known:
            known["crc32"] = _crc(real_native(load_array(final)))
    except (MRIForgeError, OSError, ValueError, EOFError):
        return None
    return known


def _known(beside: Path) -> dict[str, Any]:
    try:
        known = from_json(beside.read_bytes(), once=True)
    except (ValueError, OSError) as error:
        raise BadInput(
            f"{beside} is not valid JSON ({error!s:.200}).", f"Example: {_EXAMPLE}."
        ) from error
    if not isinstance(known, dict) or "spacing" not in known:
        raise BadInput(f"{beside} does not give the voxel size.", f"Example: {_EXAMPLE}.")
    return known


def _crc(array: np.ndarray) -> int:
    return zlib.crc32(memoryview(np.ascontiguousarray(array)).cast("B"))
