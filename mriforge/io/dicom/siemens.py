"""Siemens mosaics: all slices of a volume as tiles of one picture.

How many tiles there are and which way they go through the patient stands in two private binary
headers ("CSA"): directly in that of the image, else in the protocol within that of the series.
Layout: optional ``SV10`` and four bytes, number of tags, 4 bytes; then for each
tag a name of 64 bytes, vm, vr, type, number of items, 4 bytes; then for each item four integers
(the length among them) and text padded to four bytes.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.io.dicom.frames import Frame, classic_frame

_MOST_TAGS = 1000
_NO_HEADER = (
    "is a mosaic whose private Siemens header was removed, so the place of its slices is unknown",
    "Export it again without removing private tags.",
)


def is_mosaic(dataset: Any) -> bool:
    """Whether the file is one picture of many slices."""
    kinds = [str(item).upper() for item in dataset.get("ImageType", []) or []]
    return "MOSAIC" in kinds


def read_csa(raw: bytes) -> dict[str, list[str]]:
    """Tags of a CSA header with their texts; empty when ``raw`` is something else.

    Raises:
        ValueError: when the header ends too early.
    """
    second = raw[:4] == b"SV10"
    at = 8 if second else 0
    if len(raw) < at + 8:
        return {}
    count = struct.unpack_from("<i", raw, at)[0]
    if not 0 < count <= _MOST_TAGS:
        return {}
    at += 8
    tags: dict[str, list[str]] = {}
    offset = 0
    try:
        for number in range(count):
            name = raw[at : at + 64].split(b"\0")[0].decode("latin-1")
            items = struct.unpack_from("<i", raw, at + 76)[0]
            at += 84
            if number == 0 and not second:
                # The first version adds the number of items of the first tag to all lengths.
                offset = items
            texts = []
            for _ in range(items):
                lengths = struct.unpack_from("<4i", raw, at)
                at += 16
                length = lengths[1] if second else lengths[0] - offset
                if length < 0 or at + length > len(raw):
                    if second:
                        raise ValueError("the private Siemens header is cut off")
                    length = max(0, min(length, len(raw) - at))
                text = raw[at : at + length].split(b"\0")[0].decode("latin-1").strip()
                at += 4 * math.ceil(length / 4)
                if text:
                    texts.append(text)
            tags[name] = texts
    except struct.error as error:
        raise ValueError("the private Siemens header is cut off") from error
    return tags


def mosaic_frames(dataset: Any, path: Path) -> list[Frame]:
    """The slices of a mosaic as frames, each at its own position.

    Without the private headers there is one frame, whose ``problem`` says so.
    """
    base = classic_frame(dataset, path)
    image, series = _csa(dataset, 0x1010), _csa(dataset, 0x1020)
    protocol = "\n".join(series.get("MrPhoenixProtocol", []) + series.get("MrProtocol", []))
    count = _count(dataset, image, protocol)
    if count < 1 or base.orientation is None or base.position is None:
        return [replace(base, problem=_NO_HEADER)]
    side = math.ceil(math.sqrt(count))
    rows, columns = base.rows // side, base.columns // side
    if min(rows, columns) < 1:
        return [replace(base, problem=_NO_HEADER)]
    across, down = base.orientation[:3], base.orientation[3:]
    pixel = base.pixel or (1.0, 1.0)
    # The position is that of a slice as large as the whole mosaic, centred like the real one.
    first = (
        base.position
        + across * pixel[1] * (base.columns - columns) / 2
        + down * pixel[0] * (base.rows - rows) / 2
    )
    centre = first + across * pixel[1] * columns / 2 + down * pixel[0] * rows / 2
    normal = _normal(image) if image else _protocol_normal(protocol, count, centre)
    if normal is None:
        return [replace(base, problem=_NO_HEADER)]
    step = normal * (base.gap or base.thickness)
    return [
        replace(
            base,
            rows=rows,
            columns=columns,
            position=first + index * step,
            tile=((index // side) * rows, (index % side) * columns, rows, columns),
            times=dict(base.times),
        )
        for index in range(count)
    ]


def _csa(dataset: Any, element: int) -> dict[str, list[str]]:
    found = dataset.get((0x0029, element))
    raw = found.value if found is not None else None
    try:
        return read_csa(raw) if isinstance(raw, bytes) else {}
    except ValueError:
        return {}


def _count(dataset: Any, tags: dict[str, list[str]], protocol: str) -> int:
    """Number of tiles that are slices; the last tiles of a mosaic may be empty."""
    element = dataset.get((0x0019, 0x100A))
    listed = re.search(r"sSliceArray\.lSize\s*=\s*(\d+)", protocol)
    candidates = (
        (tags.get("NumberOfImagesInMosaic") or [None])[0],
        None if element is None else element.value,
        None if listed is None else listed.group(1),
    )
    for value in candidates:
        try:
            return int(value)
        except (TypeError, ValueError):
            continue
    return 0


def _normal(tags: dict[str, list[str]]) -> np.ndarray | None:
    """Direction from one tile to the next."""
    texts = tags.get("SliceNormalVector", [])
    try:
        normal = np.array([float(text) for text in texts[:3]])
    except ValueError:
        return None
    if normal.shape != (3,) or np.linalg.norm(normal) < 0.5:
        return None
    return normal / np.linalg.norm(normal)


def _protocol_normal(protocol: str, count: int, first: np.ndarray) -> np.ndarray | None:
    """Direction from one tile to the next, by the planned slice positions.

    The protocol lists the slices in one order and the mosaic shows them in the same or the
    opposite one: the end that is nearer to the ``first`` tile tells which.
    """
    begin = _planned(protocol, 0, "sPosition")
    end = _planned(protocol, count - 1, "sPosition")
    if np.linalg.norm(end - begin) <= 0:
        return None
    normal = (end - begin) / np.linalg.norm(end - begin)
    nearer_end = np.linalg.norm(first - end) < np.linalg.norm(first - begin)
    return -normal if nearer_end else normal


def _planned(protocol: str, index: int, name: str) -> np.ndarray:
    """A vector of one planned slice (LPS); components that are zero are not listed."""
    values = []
    for axis in ("dSag", "dCor", "dTra"):
        pattern = rf"sSliceArray\.asSlice\[{index}\]\.{name}\.{axis}\s*=\s*([-+.\deE]+)"
        found = re.search(pattern, protocol)
        values.append(float(found.group(1)) if found else 0.0)
    return np.array(values)
