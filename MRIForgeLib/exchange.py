"""Images to and from the worker: uncompressed ``.npy`` with exact geometry beside it.

Reading and writing happen in a thread: they touch neither the scene nor a widget, and half a
gigabyte on a slow disk must not freeze the application.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from mriforge.volume import Image
from MRIForgeLib.tasks import in_background


def send(image: Image, path: Path) -> Generator[None, None, str]:
    """Writes ``image`` to ``path`` (``.npy``); returns the path as text.

    Raises:
        Failed: the disk is full. BadInput: the folder cannot be written.
    """
    from mriforge.io import write

    return str((yield from in_background(write, image, path)))


def receive(path: Path) -> Generator[None, None, Image]:
    """Reads what the worker wrote.

    Raises:
        BadInput: the file is damaged.
    """
    from mriforge.io import read

    return (yield from in_background(read, path))
