"""NumPy's ``.npy`` and ``.npz`` files, whose headers may lie."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from mriforge.untrusted.sizes import DEFLATED, bytes_of, refuse_more_than_held

_LONGEST_HEADER = 10_000
_LONGEST_REASON = 120


def load_array(path: str | os.PathLike) -> np.ndarray:
    """The array in a ``.npy`` file.

    Raises:
        ValueError: not such a file, Python objects, or more than one array.
        BadInput: it says that it holds more than it has bytes.
        OutOfMemory: it does not fit into the free memory.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        _check_header(path, file, os.fstat(file.fileno()).st_size)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def load_arrays(
    path: str | os.PathLike, names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Arrays of a ``.npz`` file by name.

    Args:
        path: a file that ``numpy.savez`` wrote.
        names: those that are wanted, as far as they are there; default: all.

    Raises:
        ValueError: not such a file, damaged, or Python objects.
        BadInput: an array says that it holds more than it has bytes.
        OutOfMemory: one does not fit into the free memory.
        OSError: it cannot be read.
    """
    wanted = None if names is None else set(names)
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if wanted is None or name in wanted:
                    found[name] = _member(path, archive, member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: an encrypted archive.
        raise ValueError(str(error)[:_LONGEST_REASON] or "it ends early") from error
    return found


def _member(path: Any, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    held = min(member.file_size, member.compress_size * DEFLATED)
    with archive.open(member) as file:
        _check_header(path, file, held)
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _check_header(path: Any, file: IO[bytes], held: int) -> None:
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"version {version} of the format is not known")
        shape, _, dtype = read(file, max_header_size=_LONGEST_HEADER)
    except ValueError as error:
        raise ValueError(str(error)[:_LONGEST_REASON]) from error
    except (
        SyntaxError,
        TokenError,
        TypeError,
        KeyError,
        RecursionError,
        MemoryError,
        OverflowError,
    ) as error:
        raise ValueError("its header is damaged") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if dtype.itemsize == 0 or len(shape) > 32 or min(shape, default=0) < 0:
        raise ValueError(f"its header says {shape} of {dtype}")
    refuse_more_than_held(path, bytes_of(shape, dtype.itemsize), held)
