"""Open files that no length in them can make ask for more memory than they have bytes."""

from __future__ import annotations

import io
import os

_SMALL = 1 << 16


class CappedReader(io.BufferedReader):
    """A binary file whose ``read(n)`` never asks for more memory than is left of it.

    Python makes room for ``n`` bytes before it looks whether there are so many.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(io.FileIO(path, "r"))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """As of every file."""
        if size is not None and size > _SMALL:
            size = min(size, max(0, self._size - self.tell()))
        return super().read(size)
