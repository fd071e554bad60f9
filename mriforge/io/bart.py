"""Arrays of the BART toolbox (``.cfl`` with ``.hdr``), and radial raw data made of them.

A ``.cfl`` file holds complex64 in Fortran order, its ``.hdr`` the dimensions. Numpy sees them
reversed here, as everywhere in this package: BART's ``[x, y, z, coil]`` is ``(coil, z, y, x)``.

Radial raw data are two arrays and a small description beside them::

    scan.cfl, scan.hdr            [1, samples, readouts, coils]
    scan_traj.cfl, scan_traj.hdr  [3, samples, readouts]: kx, ky, kz in cycles per field of view
    scan.toml (or scan.json)      repetition_s, flip_deg, fov_mm, matrix, and for each readout
                                  navigator, since_inversion, time_s (each may be left out where
                                  it follows from the others)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.io.atomic import atomic_path
from mriforge.rawdata import RawData
from mriforge.untrusted.texts import from_json, from_toml
from mriforge.volume import Grid

DIMENSIONS = 16
_TRAJECTORY = "_traj"
_DESCRIPTIONS = (".toml", ".json")
_NEEDED = ("repetition_s", "flip_deg", "fov_mm", "matrix")


def read_cfl(path: str | os.PathLike) -> np.ndarray:
    """A BART array, mapped into memory: only what is used is read.

    Args:
        path: of the ``.cfl``, the ``.hdr``, or without ending.

    Returns:
        complex64, BART's dimensions reversed and those of length one at its end (first here)
        left out: ``[x, y, z, coil]`` comes as ``(coil, z, y, x)``. Read-only.

    Raises:
        BadInput: a file is missing, damaged, or does not have the size that its header says.
    """
    base = _base(path)
    header, data = base.with_name(base.name + ".hdr"), base.with_name(base.name + ".cfl")
    for file in (header, data):
        if not file.is_file():
            raise BadInput(
                f"There is no file {file}.", "A BART array needs its .cfl and its .hdr file."
            )
    shape = _shape(header)
    expected, size = 8 * int(np.prod(shape, dtype=object)), data.stat().st_size
    if size != expected:
        raise BadInput(
            f"{data} has {size} bytes; its header says {expected}.", "Copy both files again."
        )
    return np.memmap(data, np.complex64, "r", shape=shape[::-1])


def write_cfl(path: str | os.PathLike, array: np.ndarray) -> None:
    """Writes an array; BART sees its axes reversed, ``(coil, z, y, x)`` as ``[x, y, z, coil]``.

    The header comes last: without it there is no array.

    Raises:
        BadInput: more than 16 axes, or an unwritable path.
    """
    array = np.asarray(array)
    if array.ndim > DIMENSIONS or array.size == 0:
        raise BadInput(f"BART arrays have 1 to {DIMENSIONS} axes, not {array.shape}.")
    base = _base(path)
    shape = [*array.shape[::-1], *[1] * (DIMENSIONS - array.ndim)]
    text = "# Dimensions\n" + " ".join(map(str, shape)) + "\n"
    with (
        atomic_path(base.with_name(base.name + ".hdr")) as header,
        atomic_path(base.with_name(base.name + ".cfl")) as data,
    ):
        np.ascontiguousarray(array, "<c8").tofile(data)
        header.write_text(text, encoding="ascii")


def read_cartesian(path: str | os.PathLike) -> np.ndarray:
    """Plain Cartesian k-space of one slice ``(coil, y, x)``, complex64.

    Raises:
        BadInput: other than ``[x, y, 1, coil]`` or ``[1, x, y, coil]``.
    """
    array = read_cfl(path)
    shape = (*(1,) * (4 - array.ndim), *array.shape)
    if len(shape) == 4 and 1 in (shape[1], shape[3]) and min(shape[0], shape[2]) > 0:
        found = array.reshape(shape)[:, 0] if shape[1] == 1 else array.reshape(shape)[..., 0]
        if min(found.shape[1:]) > 1:
            return np.array(found)
    raise BadInput(
        f"{os.fspath(path)} is {list(array.shape[::-1])}, not Cartesian k-space of one slice.",
        "[x, y, 1, coils] is needed.",
    )


def read_radial(path: str | os.PathLike) -> RawData:
    """Radial raw data with their trajectory and description, see the top of this module.

    Raises:
        BadInput: a file or entry is missing, or they do not fit together.
    """
    base = _base(path)
    about = _description(base)
    lacking = [name for name in _NEEDED if name not in about]
    if lacking:
        raise BadInput(f"The description of {base} lacks {', '.join(lacking)}.")
    kspace = read_cfl(base)
    shape = (*(1,) * (4 - kspace.ndim), *kspace.shape)
    if len(shape) != 4 or shape[3] != 1 or min(shape[1:3]) < 2:
        raise BadInput(
            f"{base}.cfl is {list(kspace.shape[::-1])}, not [1, samples, readouts, coils].",
            "Cartesian k-space has no trajectory; read it as such.",
        )
    coils, readouts, samples = shape[:3]
    trajectory = read_cfl(base.with_name(base.name + _TRAJECTORY))
    if trajectory.shape != (readouts, samples, 3):
        raise BadInput(
            f"{base}{_TRAJECTORY}.cfl is {list(trajectory.shape[::-1])}; "
            f"{[3, samples, readouts]} is needed."
        )
    try:
        return _radial(kspace.reshape(coils, readouts, samples), trajectory.real, about)
    except BadInput as error:
        error.message = f"{base}: {error.message}"
        error.args = (error.message,)
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"The description of {base} has a wrong value ({error}).") from error


def write_radial(path: str | os.PathLike, raw: RawData) -> None:
    """Writes what :func:`read_radial` reads; ``bart nufft`` and ``bart pics`` can use both arrays.

    Raises:
        BadInput: an unwritable path.
    """
    base = _base(path)
    nz, ny, nx = raw.grid.shape
    across = np.broadcast_to((raw.partition - nz // 2)[:, None], raw.trajectory.shape[:2])
    positions = np.stack([raw.trajectory[..., 0] * nx, raw.trajectory[..., 1] * ny, across], -1)
    about = {
        "repetition_s": raw.repetition_s,
        "flip_deg": raw.flip_deg,
        "matrix": [nx, ny, nz],
        "fov_mm": [n * s for n, s in zip((nx, ny, nz), raw.grid.spacing, strict=True)],
        "origin_lps_mm": raw.grid.origin,
        "direction_lps": raw.grid.direction,
        "navigator": np.flatnonzero(raw.navigator).tolist(),
        "since_inversion": raw.since_inversion.tolist(),
        "time_s": raw.time_s.tolist(),
        **{name: np.asarray(values).tolist() for name, values in raw.physiology.items()},
    }
    write_cfl(base, raw.kspace.transpose(1, 0, 2)[..., None])
    write_cfl(base.with_name(base.name + _TRAJECTORY), positions)
    with atomic_path(base.with_name(base.name + ".json")) as partial:
        partial.write_text(json.dumps(about) + "\n", encoding="utf-8")


def _radial(kspace: np.ndarray, trajectory: np.ndarray, about: Mapping[str, Any]) -> RawData:
    """From ``(coil, readout, sample)`` and ``(readout, sample, 3)``."""
    readouts = kspace.shape[1]
    nx, ny, nz = (int(n) for n in [*np.atleast_1d(about["matrix"]), 1][:3])
    fov_mm = [float(mm) for mm in about["fov_mm"]]
    if len(fov_mm) != 3:
        raise BadInput(f"'fov_mm' needs x, y and z in mm, not {len(fov_mm)} numbers.")
    repetition_s = float(about["repetition_s"])
    spacing = tuple(mm / n for mm, n in zip(fov_mm, (nx, ny, nz), strict=True))
    middle = (nx // 2, ny // 2, nz // 2)
    centred = [-n * mm for n, mm in zip(middle, spacing, strict=True)]
    origin = about.get("origin_lps_mm", centred)
    direction = about.get("direction_lps", np.eye(3).ravel().tolist())
    time_s = np.asarray(about.get("time_s", np.arange(readouts) * repetition_s), np.float64)
    physiology = {}
    if "cardiac_trigger_s" in about:
        physiology["cardiac_trigger_s"] = np.asarray(about["cardiac_trigger_s"], np.float64)
    across = np.round(trajectory[:, 0, 2]).astype(np.int32) + nz // 2
    if across.min() < 0 or across.max() >= nz:
        raise BadInput(f"kz of the trajectory is beyond the {nz} partitions.")
    return RawData(
        kspace=np.ascontiguousarray(kspace.transpose(1, 0, 2)),
        trajectory=(trajectory[..., :2] / np.array([nx, ny])).astype(np.float32),
        navigator=_navigator(about, readouts),
        since_inversion=_since_inversion(about, time_s, repetition_s),
        time_s=time_s,
        grid=Grid((nz, ny, nx), spacing, tuple(origin), tuple(direction)),
        repetition_s=repetition_s,
        flip_deg=float(about["flip_deg"]),
        partition=across,
        physiology=physiology,
        header={"source": "BART"},
    )


def _navigator(about: Mapping[str, Any], readouts: int) -> np.ndarray:
    """A list of readouts, or "every N" as a number: readouts 0, N, 2 N, ..."""
    if "navigator_every" in about:
        return np.arange(readouts) % int(about["navigator_every"]) == 0
    marked = np.zeros(readouts, bool)
    index = np.asarray(about.get("navigator", []), np.int64)
    if index.size == 0 or index.min() < 0 or index.max() >= readouts:
        raise BadInput(
            "The description names no navigators, or ones that are not there.",
            "Give 'navigator' (list of readouts) or 'navigator_every'.",
        )
    marked[index] = True
    return marked


def _since_inversion(
    about: Mapping[str, Any], time_s: np.ndarray, repetition_s: float
) -> np.ndarray:
    if "since_inversion" in about:
        return np.asarray(about["since_inversion"], np.int32)
    if "inversion_times_s" not in about:
        raise BadInput(
            "The description does not say when the inversions were.",
            "Give 'since_inversion' for each readout, or 'inversion_times_s'.",
        )
    inversions = np.sort(np.asarray(about["inversion_times_s"], np.float64))
    last = np.searchsorted(inversions, time_s + 1e-9, "right") - 1
    if last.min() < 0:
        raise BadInput("There are readouts before the first of 'inversion_times_s'.")
    return np.round((time_s - inversions[last]) / repetition_s).astype(np.int32)


def _base(path: str | os.PathLike) -> Path:
    path = Path(path)
    known = path.suffix.lower() in (".cfl", ".hdr")
    return path.with_suffix("") if known else path


def _shape(header: Path) -> tuple[int, ...]:
    """Dimensions of a header; those of length one at the end left out."""
    try:
        lines = header.read_text(encoding="utf-8").splitlines()
        place = next(n for n, line in enumerate(lines) if line.strip() == "# Dimensions")
        shape = [int(word) for word in lines[place + 1].split()]
    except (StopIteration, IndexError, ValueError, OSError) as error:
        raise BadInput(f"{header} is not the header of a BART array, or is damaged.") from error
    if not shape or min(shape) < 1 or len(shape) > 2 * DIMENSIONS:
        raise BadInput(f"{header} has wrong dimensions ({shape}).")
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _description(base: Path) -> Mapping[str, Any]:
    for ending in _DESCRIPTIONS:
        file = base.with_name(base.name + ending)
        if not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8")
            about = from_toml(text) if ending == ".toml" else from_json(text, once=True)
        except (ValueError, OSError) as error:
            raise BadInput(f"{file} is damaged ({error}).") from error
        if not isinstance(about, Mapping):
            raise BadInput(f"{file} does not hold names and values.")
        return about
    raise BadInput(
        f"The times of {base}.cfl are not known: there is no {base}.toml and no {base}.json.",
        "It says repetition_s, flip_deg, fov_mm, matrix, navigators and inversions.",
    )
