"""Images of a job: read and checked, written where the user said."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.volume import Image, Volume, as_series


@contextmanager
def about(called: str, files: Sequence[str] = ()) -> Iterator[None]:
    """Errors that name no file get it: whoever computes does not know where voxels came from.

    Args:
        called: file or files, as the message should call them.
        files: every file that the message may name already; default ``called``.
    """
    try:
        yield
    except BadInput as error:
        known = files or (called,)
        if not any(path in error.message for path in known):
            error.message = f"{called}: {error.message}"
            error.args = (error.message,)
        raise


def read_image(
    path: str,
    events: Events,
    *,
    what: str = "image",
    series: str | None = None,
    time: str | None = None,
) -> Image:
    """A file or DICOM folder, refused when no method could use its voxels.

    Args:
        what: its role, for messages: ``"image"``, ``"prior"``, ``"reference"``, ``"mask"``.
        series, time: which series of a DICOM folder, and what its time axis is.
    """
    from mriforge.io import read
    from mriforge.io.checks import check_image

    events.check_cancelled()
    image = read(path, series=series, time=time)
    check_image(image, path, what=what)
    return image


def read_volume(path: str, events: Events, *, what: str, frame: int | None = None) -> Volume:
    """One volume; of a series, the frame that is asked for, or its only one.

    Raises:
        BadInput: a series of several frames and no ``frame``, or no such frame.
    """
    series = as_series(read_image(path, events, what=what))
    if frame is None and len(series) > 1:
        raise BadInput(
            f"The {what} {path} is a series of {len(series)} frames.",
            f"Choose one with --{what}-frame N, counted from 0.",
        )
    chosen = frame or 0
    if chosen >= len(series):
        raise BadInput(f"The {what} {path} has no frame {chosen}; it has {len(series)} frames.")
    return Volume(series.array[chosen], series.grid, series.metadata)


def write_image(image: Image, output: str, source: str | None = None) -> str:
    """Writes an output image atomically; returns its path.

    Args:
        source: the input it was made from; a DICOM output takes patient and study from it when
            it is DICOM.
    """
    from mriforge.io import write
    from mriforge.io.formats import Format, format_of_output, recognise

    derived = (
        source is not None
        and format_of_output(output) is Format.DICOM
        and recognise(Path(source)) is Format.DICOM
    )
    return os.fspath(write(image, output, source=source if derived else None))


def write_text(text: str, output: str) -> str:
    """Writes a text file atomically; returns its path."""
    from mriforge.io.atomic import atomic_path

    with atomic_path(output) as partial:
        partial.write_text(text, encoding="utf-8")
    return output
