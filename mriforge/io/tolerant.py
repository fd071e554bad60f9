"""A file for libraries that end the process when a disk takes no more: HDF5."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TolerantFile(io.FileIO):
    """A new file that takes everything, and remembers what went wrong.

    After the first error writes lead nowhere, so that the library can finish in order;
    :meth:`check` raises what happened.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(path, "w+")
        self._error: OSError | None = None

    def write(self, data: bytes, /) -> int:
        """As of every file, but whole."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while len(left) and self._error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self._error = error
        if self._error is not None and len(left):
            self.seek(len(left), os.SEEK_CUR)
        return size

    def truncate(self, size: int | None = None, /) -> int:
        """As of every file."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def check(self) -> None:
        """Raises the first error (OSError)."""
        if self._error is not None:
            raise self._error


@contextmanager
def tolerant(path: Path) -> Iterator[TolerantFile]:
    """A :class:`TolerantFile`, checked at the end.

    Raises:
        OSError: the first that happened, in the place of what the library says of it.
    """
    with TolerantFile(path) as file:
        try:
            yield file
        except OSError:
            file.check()
            raise
        file.check()
