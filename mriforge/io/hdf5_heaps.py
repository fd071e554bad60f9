"""The heaps of an HDF5 file, where values of different length are: looked at before the library.

HDF5 1.14 never comes back from a heap whose free space says that it has no bytes. Layout: HDF5 File
Format Specification 3.0, III.E (global heap).
"""

from __future__ import annotations

import mmap
import os
import struct

from mriforge.errors import BadInput

_HEAP = b"GCOL\x01\0\0\0"
_OBJECT = struct.Struct("<HHIQ")


def check_heaps(path: str | os.PathLike) -> None:
    """Refuses a file with a heap that contradicts itself.

    Raises:
        BadInput: there is one.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if not _usual(data):
            return
        at = data.find(_HEAP)
        while at >= 0:
            if not _is_whole(data, at):
                name = os.fspath(path)
                raise BadInput(
                    f"{name} is damaged or was not copied whole (the heap at byte {at}).",
                    "Copy the file again.",
                )
            at = data.find(_HEAP, at + len(_HEAP))


def _usual(data: mmap.mmap) -> bool:
    """Whether lengths have eight bytes, as nearly all programs write them."""
    return len(data) > 16 and data[14 if data[8] < 2 else 10] == 8


def _is_whole(data: mmap.mmap, start: int) -> bool:
    """Whether the objects of a heap and its free space fill it."""
    if start + 16 > len(data):
        return False
    end = start + struct.unpack_from("<Q", data, start + 8)[0]
    if end > len(data):
        return False
    at = start + 16
    while at + _OBJECT.size <= end:
        index, _, _, size = _OBJECT.unpack_from(data, at)
        if index == 0:
            return at + size == end
        at += _OBJECT.size + (size + 7) // 8 * 8
    return at <= end
