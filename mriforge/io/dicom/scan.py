"""Finds the images in a DICOM file or folder and sorts them into series."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput, MRIForgeError
from mriforge.io.common import WHOLE
from mriforge.io.dicom.enhanced import enhanced_frames
from mriforge.io.dicom.frames import Frame, classic_frame, number
from mriforge.io.dicom.siemens import is_mosaic, mosaic_frames
from mriforge.io.dicom.stack import crossed_parts
from mriforge.io.formats import may_be_bare_dicom
from mriforge.io.series import SeriesInfo
from mriforge.untrusted.files import CappedReader
from mriforge.untrusted.sizes import bytes_of, refuse_more_than_held

_NOT_IMAGES = {
    "1.2.840.10008.1.3.10",  # DICOMDIR
    "1.2.840.10008.5.1.4.1.1.4.2",  # MR spectroscopy
    "1.2.840.10008.5.1.4.1.1.66",  # raw data
    "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation
}
_JPEG = 5000
"""More pixels than JPEG and its kin can make of one byte of a picture."""
_DEFLATED = ("1.2.840.10008.1.2.1.99",)
_ENHANCED = {
    "1.2.840.10008.5.1.4.1.1.4.1",  # MR
    "1.2.840.10008.5.1.4.1.1.4.4",  # legacy converted MR
    "1.2.840.10008.5.1.4.1.1.2.1",  # CT
}


@dataclass(frozen=True)
class Part:
    """Frames that belong together, and how a person sees them."""

    info: SeriesInfo
    frames: list[Frame]


def scan(path: Path) -> list[Part]:
    """All series in a file, or in a folder with its subfolders.

    Raises:
        BadInput: when there is no DICOM image.
    """
    files = [path] if path.is_file() else _files(path)
    frames: list[Frame] = []
    seen: set[str] = set()
    for file in files:
        for frame in _read_frames(file, alone=path.is_file()):
            identity = f"{frame.sop_uid}/{frame.index}/{frame.tile}" if frame.sop_uid else ""
            if identity and identity in seen:
                continue
            seen.add(identity)
            frames.append(frame)
    if not frames:
        raise BadInput(
            f"{path} holds no DICOM image." if files else f"The folder {path} is empty.",
            "Give the folder that holds the DICOM files of the scan, or a NIfTI or NRRD file.",
        )
    return _parts(frames)


def choose(parts: list[Part], series: str | None, path: Path) -> Part:
    """The series that was asked for, or the only one.

    Raises:
        BadInput: when there are several and none, or not exactly one, was asked for.
    """
    listing = "; ".join(part.info.one_line() for part in parts)
    if series is None:
        if len(parts) == 1:
            return parts[0]
        raise BadInput(
            f"{path} holds {len(parts)} series: {listing}.",
            f"Choose one with --series, for example --series {parts[0].info.key}.",
        )
    wanted = series.strip().lower()
    tests = (
        lambda info: wanted in (info.key.lower(), info.uid.lower()),
        lambda info: wanted == str(info.number),
        lambda info: bool(wanted) and wanted == info.part.lower(),
        lambda info: bool(wanted) and wanted in info.description.lower(),
    )
    for test in tests:
        found = [part for part in parts if test(part.info)]
        if len(found) == 1:
            return found[0]
        if found:
            parts, listing = found, "; ".join(part.info.one_line() for part in found)
            raise BadInput(
                f"{path} holds {len(found)} series that match {series!r}: {listing}.",
                f"Choose one, for example --series {parts[0].info.key}.",
            )
    raise BadInput(
        f"{path} holds no series {series!r}, but these: {listing}.",
        f"Choose one, for example --series {parts[0].info.key}.",
    )


def _files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(p.startswith(".") for p in file.relative_to(folder).parts)
    )


def _read_frames(path: Path, *, alone: bool) -> list[Frame]:
    """Frames of one file; nothing for a file of another kind, unless it is the only one."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        if path.stat().st_size == 0:
            raise BadInput(f"{path} is empty (0 bytes).", "Copy or export it again.")
        dataset = _header(path)
    except InvalidDicomError:
        if alone:
            raise BadInput(f"{path} is not a DICOM file.", WHOLE) from None
        return []
    except PermissionError as error:
        raise BadInput(
            f"{path} may not be read (permission denied).", "Ask for the right to read it."
        ) from error
    except (MRIForgeError, MemoryError):
        raise
    except Exception as error:
        raise BadInput(f"{path} cannot be read as DICOM ({error}).", WHOLE) from error
    storage = str(dataset.get("SOPClassUID", "") or pydicom.uid.UID(""))
    if storage in _NOT_IMAGES or not dataset.get("Rows") or not dataset.get("Columns"):
        return []
    _refuse_more_than_held(dataset, path)
    if is_mosaic(dataset):
        return mosaic_frames(dataset, path)
    if (dataset.get("NumberOfFrames") or 1) > 1 or storage in _ENHANCED:
        return enhanced_frames(dataset, path)
    return [classic_frame(dataset, path)]


def _refuse_more_than_held(dataset: Any, path: Path) -> None:
    """Refuses a header of more pixels than its file can hold."""
    lengths = [int(number(dataset.get(name), 1)) for name in ("NumberOfFrames", "Rows", "Columns")]
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    packed = syntax is not None and syntax.is_transfer_syntax and syntax.is_compressed
    ratio = _JPEG if packed or syntax in _DEFLATED else 1
    bits = max(1, int(number(dataset.get("BitsAllocated"), 8)))
    held = path.stat().st_size
    refuse_more_than_held(path, bytes_of(lengths, 1) * bits // 8, held, ratio=ratio)


def _header(path: Path) -> Any:
    """Header without pixels; files without the preamble are tried when they look like DICOM."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with CappedReader(path) as handle:
            return pydicom.dcmread(handle, stop_before_pixels=True)
    except InvalidDicomError:
        with open(path, "rb") as handle:
            if not may_be_bare_dicom(handle.read(512)):
                raise
    try:
        with CappedReader(path) as handle:
            dataset = pydicom.dcmread(handle, stop_before_pixels=True, force=True)
    except Exception as error:
        # Not DICOM after all: anything can happen when it is read as such.
        raise InvalidDicomError from error
    if "SOPClassUID" not in dataset or "Rows" not in dataset:
        raise InvalidDicomError
    return dataset


def _parts(frames: list[Frame]) -> list[Part]:
    """Frames by series, matrix and part; contrasts that cross with time are separated too."""
    groups: dict[tuple, list[Frame]] = {}
    for frame in frames:
        key = (frame.number, frame.series_uid, frame.part, frame.rows, frame.columns)
        groups.setdefault(_group_key(key, frame), []).append(frame)
    split = [piece for group in groups.values() for piece in crossed_parts(group)]
    split.sort(key=lambda piece: _rank(piece[0], piece[1][0]))
    keys = _keys([(part, members[0]) for part, members in split])
    return [
        Part(_info(key, part, members), members)
        for key, (part, members) in zip(keys, split, strict=True)
    ]


def _rank(part: str, frame: Frame) -> tuple:
    """Order of the list: by number, magnitude before the other components."""
    return frame.number, frame.series_uid, not part.startswith("M")


def _group_key(key: tuple, frame: Frame) -> tuple:
    """One group for one SeriesInstanceUID, even when its files disagree on the number."""
    return key[1:] if frame.series_uid else key


def _keys(pieces: list[tuple[str, Frame]]) -> list[str]:
    """Short unique names: the series number, with the part and a letter where needed."""
    series = Counter(frame.number for _, frame in pieces)
    names = []
    for part, frame in pieces:
        name = str(frame.number)
        if series[frame.number] > 1 and part:
            name = f"{name}-{re.sub(r'[^A-Za-z0-9.]+', '-', part).strip('-')}"
        names.append(name)
    total = Counter(names)
    used: Counter[str] = Counter()
    for index, name in enumerate(names):
        if total[name] > 1:
            used[name] += 1
            names[index] = f"{name}.{used[name]}"
    return names


def _info(key: str, part: str, frames: list[Frame]) -> SeriesInfo:
    first = frames[0]
    return SeriesInfo(
        key=key,
        uid=first.series_uid,
        number=first.number,
        description=first.description,
        modality=first.modality,
        part=part,
        files=len({frame.path for frame in frames}),
        frames=len(frames),
        rows=first.rows,
        columns=first.columns,
    )
