"""NIfTI (``.nii``, ``.nii.gz``, ``.hdr``/``.img``) and MGH (``.mgz``, ``.mgh``) through nibabel.

The exact geometry, the times and the provenance travel in a JSON comment (header extension 6):
NIfTI-1 keeps positions in single precision, only equal time steps and 80 letters of text.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from struct import pack, unpack_from
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.io.common import (
    describe,
    described,
    exact_grid,
    known_metadata,
    known_times,
    real_native,
    rescaled,
    storable,
)
from mriforge.io.formats import suffix
from mriforge.untrusted.sizes import DEFLATED, bytes_of, refuse_more_than_held
from mriforge.volume import Grid, Image, Series, Volume

_COMMENT = 6
_SPACE_MM = {"mm": 1.0, "meter": 1000.0, "micron": 1e-3, "unknown": 1.0}
_TIME_UNITS = {"sec": ("s", 1.0), "msec": ("ms", 1.0), "usec": ("ms", 1e-3)}
_LARGEST_NIFTI1 = 32767
_PACKED = (".nii.gz", ".mgz", ".hdr.gz", ".img.gz")
_LONGEST_EXTENSION = 64 << 20


def read_nifti(path: Path) -> Image:
    """A volume, or a series where the file has four axes; integers stay as stored."""
    import nibabel

    _check_extensions(path)
    image = nibabel.load(path)
    header = image.header
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti1Pair)):
        raise BadInput(
            f"This is {type(image).__name__} data, which has no orientation in space.",
            "Convert it to NIfTI first.",
        )
    space, time = header.get_xyzt_units()
    array, note = _voxels(image, _slope(image))
    affine = np.array(image.affine, dtype=float)
    affine[:3] *= _SPACE_MM.get(space, 1.0)
    text = _comment(header)
    grid = exact_grid(Grid.from_affine(array.shape[-3:], affine, "RAS"), text)
    metadata = {**known_metadata(text), "source": str(path), "format": "NIfTI", **note}
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        metadata["note"] = "The file has no orientation; the axes are assumed to be R, A, S."
    if array.ndim == 3:
        return Volume(array, grid, metadata)
    times = known_times(text, len(array)) or _times(header, len(array), time)
    return Series(array, grid, *times, metadata=metadata)


def read_mgh(path: Path) -> Image:
    """FreeSurfer's format; the repetition time of a series is in ms."""
    import nibabel

    image = nibabel.load(path)
    array, note = _voxels(image, (1.0, 0.0))
    grid = Grid.from_affine(array.shape[-3:], image.affine, "RAS")
    metadata = {"source": str(path), "format": "MGH", **note}
    if array.ndim == 3:
        return Volume(array, grid, metadata)
    step = float(image.header.get_zooms()[3])
    times = step * np.arange(len(array)) if step > 0 else np.arange(len(array))
    name, unit = ("time", "ms") if step > 0 else ("frame", "")
    return Series(array, grid, times, name, unit, metadata)


def write_nifti(image: Image, path: Path) -> None:
    """Writes sform and qform, units mm and s, and the comment; not atomic by itself."""
    import nibabel
    from nibabel.nifti1 import Nifti1Extension

    array = storable(image.array)
    small = max(array.shape) <= _LARGEST_NIFTI1
    kind = nibabel.Nifti1Image if small else nibabel.Nifti2Image
    file = kind(array.T, image.grid.affine("RAS"), dtype=array.dtype)
    header = file.header
    header.set_data_dtype(array.dtype)
    file.set_sform(image.grid.affine("RAS"), code=1)
    file.set_qform(image.grid.affine("RAS"), code=1, strip_shears=True)
    header.set_xyzt_units("mm", "sec")
    header["descrip"] = _short(image.metadata.get("provenance", "MRIForge"))
    if isinstance(image, Series):
        _set_times(header, image)
    comment = json.dumps(describe(image)).encode()
    header.extensions.append(Nifti1Extension(_COMMENT, comment))
    nibabel.save(file, path)


def _slope(image: Any) -> tuple[float, float]:
    """Scale factors of the header; nibabel gives NaN where none are stored."""
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    return (float(slope), float(intercept))


def _voxels(image: Any, scaling: tuple[float, float]) -> tuple[np.ndarray, dict[str, Any]]:
    """Array ``(z, y, x)`` or ``(t, z, y, x)`` and what there is to note about it."""
    shape = tuple(int(n) for n in image.shape)
    note: dict[str, Any] = {}
    if min(shape, default=0) < 1:
        raise BadInput(f"The image has no voxels (shape {shape}).")
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 4:
        raise BadInput(
            f"The image has {len(shape)} axes {shape}: vectors, tensors or several contrasts.",
            "Save one image, or one time series of images, for each file.",
        )
    unscaled = getattr(image.dataobj, "get_unscaled", None)
    _check_size(image)
    raw = real_native(np.asanyarray(unscaled() if unscaled else image.dataobj))
    if len(shape) < 3:
        shape = (*shape, *(1,) * (3 - len(shape)))
        note["note"] = "A two-dimensional image, read as a volume of one slice."
    array = rescaled(raw.reshape(shape, order="F").T, *scaling)
    if scaling != (1.0, 0.0):
        note["rescale"] = {"slope": scaling[0], "intercept": scaling[1]}
    return array, note


def _check_size(image: Any) -> None:
    """Refuses an image whose header says more voxels than its file can hold."""
    held = Path(image.file_map["image"].filename)
    stored, packed = image.dataobj, suffix(held) in _PACKED
    size = held.stat().st_size - (0 if packed else int(stored.offset))
    wanted = bytes_of(stored.shape, stored.dtype.itemsize)
    refuse_more_than_held(held, wanted, size, ratio=DEFLATED if packed else 1)


def _check_extensions(path: Path) -> None:
    """Refuses header extensions that are longer than the file.

    nibabel asks for the memory that an extension says it needs before it reads it.
    """
    packed = suffix(path) in _PACKED
    with gzip.open(path) if packed else open(path, "rb") as file:
        start = file.read(544)
        order = next((o for o in "<>" if start[:4] in (pack(o + "i", 348), pack(o + "i", 540))), "")
        if len(start) < 352:
            return
        if not order:
            # nibabel mends a wrong size of the header, and finds the byte order in another place.
            order = "<" if 0 < unpack_from("<h", start, 40)[0] < 8 else ">"
        second = unpack_from(order + "i", start)[0] == 540
        end = unpack_from(order + ("q" if second else "f"), start, 168 if second else 108)[0]
        at = 540 if second else 348
        file.seek(at)
        flag = file.read(4)
        at += 4
        # Detached headers have no offset of voxels: their extensions go on to the end.
        end = end if start[344:348] != b"ni1\0" and end > at else float("inf")
        while flag[:1] not in (b"", b"\0") and at < end:
            head = file.read(8)
            if len(head) < 8:
                return
            size = unpack_from(order + "i", head)[0]
            most = _LONGEST_EXTENSION if packed else _left(file) + 8
            # Past the first voxel nibabel would go on and take voxels for extensions.
            if size < 8 or size > most or at + size > end:
                raise BadInput(f"It cannot be read: a header extension of {size} bytes cannot be.")
            file.seek(size - 8, os.SEEK_CUR)
            at += size


def _left(file: Any) -> int:
    return os.fstat(file.fileno()).st_size - file.tell()


def _times(header: Any, frames: int, unit: str) -> tuple[np.ndarray, str, str]:
    """Times from the header; plain frame numbers where it has none."""
    step = float(header.get_zooms()[3])
    start = float(header["toffset"])
    if not np.isfinite(step) or step <= 0:
        return np.arange(frames, dtype=float), "frame", ""
    if not np.isfinite(start):
        start = 0.0
    name, factor = _TIME_UNITS.get(unit, ("s", 1.0))
    return factor * (start + step * np.arange(frames)), "time", name


def _set_times(header: Any, series: Series) -> None:
    """Mean time step in seconds; the exact times are in the comment."""
    factor = 1e-3 if series.time_unit == "ms" else 1.0
    steps = np.diff(series.times)
    step = float(np.abs(steps).mean()) * factor if steps.size else 0.0
    header.set_zooms((*header.get_zooms()[:3], step or 1.0))
    header["toffset"] = float(series.times[0]) * factor


def _comment(header: Any) -> dict[str, Any]:
    for extension in getattr(header, "extensions", ()):
        if extension.get_code() == _COMMENT:
            content = extension.get_content()
            raw = content.encode() if isinstance(content, str) else bytes(content)
            text = described(raw.rstrip(b"\0"))
            if text:
                return text
    return {}


def _short(provenance: Any) -> bytes:
    text = provenance if isinstance(provenance, str) else json.dumps(provenance, default=str)
    return text.encode("ascii", "replace")[:79]
