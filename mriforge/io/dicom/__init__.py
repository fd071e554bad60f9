"""DICOM series: find, choose, stack, read; and write a derived MR series."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mriforge.errors import BadInput
from mriforge.io.common import described, known_metadata, known_times, rescaled
from mriforge.io.dicom.pixels import stored_pixels
from mriforge.io.dicom.scan import Part, choose, scan
from mriforge.io.dicom.stack import Stack, stack
from mriforge.io.dicom.write import write_dicom
from mriforge.io.series import SeriesInfo
from mriforge.untrusted.files import CappedReader
from mriforge.volume import Image, Series, Volume

__all__ = ["list_dicom", "read_dicom", "write_dicom"]


def list_dicom(path: Path) -> list[SeriesInfo]:
    """The series in a DICOM file or folder."""
    with quiet():
        return [part.info for part in scan(path)]


def read_dicom(path: Path, *, series: str | None = None, time: str | None = None) -> Image:
    """Reads one series of a DICOM file or folder as a volume or a time series."""
    with quiet():
        part = choose(scan(path), series, path)
        placed = stack(part.frames, time=time, name=f"{path}, series {part.info.key}")
        array, rescale = _voxels(placed)
        text = described(_comment(part.frames[0].path))
    metadata = {**known_metadata(text), **_metadata(path, part, placed, rescale)}
    known = known_times(text, len(array))
    if placed.times is None and known is None:
        return Volume(array[0], placed.grid, metadata)
    times = known or (placed.times, placed.time_name, placed.time_unit)
    return Series(array, placed.grid, *times, metadata=metadata)


def _comment(path: Path) -> str:
    """What :func:`write_dicom` noted in the header."""
    import pydicom

    with CappedReader(path) as handle:
        header = pydicom.dcmread(handle, specific_tags=["ImageComments"], force=True)
    return str(header.get("ImageComments", "") or "")


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings: scanners break the letter of the standard all the time."""
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        try:
            yield
        finally:
            log.setLevel(level)


def _voxels(placed: Stack) -> tuple[np.ndarray, dict[str, float] | None]:
    """Array ``(t, z, y, x)``: stored integers, or scaled float32 when the header scales."""
    frames = [frame for row in placed.order for frame in row]
    scalings = {(frame.slope, frame.intercept) for frame in frames}
    scaled = scalings != {(1.0, 0.0)}
    shape = (len(placed.order), *placed.grid.shape)
    array: np.ndarray | None = None
    for index, picture in stored_pixels(frames):
        frame = frames[index]
        if scaled:
            picture = rescaled(picture, frame.slope, frame.intercept).astype(np.float32)
        if array is None:
            array = np.empty((len(frames), *shape[2:]), dtype=picture.dtype)
        if picture.shape != shape[2:]:
            raise BadInput(f"{frame.path} has {picture.shape} pixels, not {shape[2:]}.")
        if picture.dtype != array.dtype:
            array = array.astype(np.result_type(array.dtype, picture.dtype))
        array[index] = picture
    assert array is not None
    one = next(iter(scalings)) if scaled and len(scalings) == 1 else None
    return array.reshape(shape), {"slope": one[0], "intercept": one[1]} if one else None


def _metadata(path: Path, part: Part, placed: Stack, rescale: dict | None) -> dict:
    info = part.info
    notes = [placed.note]
    if info.modality != "MR":
        notes.append(f"The modality is {info.modality}, not MR.")
    metadata = {
        "source": str(path),
        "format": "DICOM",
        "modality": info.modality,
        "series": info.to_json(),
        "slice_thickness_mm": placed.order[0][0].thickness or None,
    }
    if rescale:
        metadata["rescale"] = rescale
    note = " ".join(filter(None, notes))
    if note:
        metadata["note"] = note
    return metadata
