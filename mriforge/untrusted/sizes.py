"""What a file says of its size against the bytes that it has, and against the free memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from mriforge.errors import BadInput, OutOfMemory
from mriforge.memory import GIB, free_main_memory

DEFLATED = 1032
"""Deflate (gzip, zlib, zip) cannot make more than 1032 bytes of one."""
_CUT = "The file may be damaged or cut off; copy or export it again."
_SMALL = 64 << 20


def bytes_of(shape: Iterable[int], itemsize: int) -> int:
    """Bytes of an array, however large; without overflow.

    Raises:
        BadInput: a negative length.
    """
    lengths = [int(n) for n in shape]
    if min(lengths, default=0) < 0:
        raise BadInput(f"The sizes {tuple(lengths)} of the image are negative.", _CUT)
    return math.prod(lengths) * itemsize


def refuse_more_than_held(
    path: str | os.PathLike, wanted: int, held: int, *, ratio: float = 1
) -> None:
    """Refuses a header that promises more than its file can hold, and what fits into no memory.

    Args:
        path: for the message.
        wanted: bytes of the voxels (or numbers) in memory.
        held: bytes of the file, or of the part of it that holds them.
        ratio: bytes that one stored byte can become.

    Raises:
        BadInput: more is promised than can be there.
        OutOfMemory: it may be there, but does not fit into the free memory.
    """
    if wanted > held * ratio:
        raise BadInput(
            f"{path} cannot be read: its header promises {_human(wanted)} of data, and the file "
            f"has {_human(max(0, held))}.",
            _CUT,
        )
    if wanted > _SMALL and wanted > free_main_memory():
        raise OutOfMemory(
            f"{path} holds {_human(wanted)} of data, and {_human(free_main_memory())} of memory "
            "are free.",
            "Close other programs, cut the image, or use a computer with more memory.",
        )


def _human(size: int) -> str:
    for unit, name in ((GIB, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{min(size / unit, 1e12):.3g} {name}"
    return f"{size} bytes"
