"""The files of a reconstruction: from the worker's folder to where the user keeps them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from slicer.i18n import tr as _

from mriforge.errors import BadInput

T1_FILE = "t1_ms.nii.gz"
FILES = ("factors", "t1", "t1_quality", "report")
"""Keys of the command's result that name files."""


def keep(files: Mapping[str, Path], made: Path, parent: Path, name: str) -> dict[str, Path]:
    """Moves a folder of results into a new one below ``parent``.

    Args:
        files: some files in ``made``.
        made: the folder that the worker has written.
        parent: made if it is missing.
        name: of the new folder; a number is added when there is one already.

    Returns:
        where each of ``files`` is now.

    Raises:
        BadInput: the folder cannot be made.
    """
    kept = _new_folder(parent, name)
    try:
        for path in sorted(made.iterdir()):
            shutil.move(path, kept / path.name)
    except OSError as error:
        shutil.rmtree(kept, ignore_errors=True)
        raise _cannot_write(kept, error) from error
    except BaseException:
        shutil.rmtree(kept, ignore_errors=True)
        raise
    return {key: kept / path.relative_to(made) for key, path in files.items()}


def drop(folder: Path) -> None:
    """Removes the results again, and the folder above when nothing else is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def found_beside(factors: Path) -> dict[str, Path]:
    """The files of an earlier reconstruction, by the place of its factors."""
    named = {
        "t1": T1_FILE,
        "t1_quality": "t1_quality.nii.gz",
        "report": "report.html",
    }
    there = {key: factors.with_name(name) for key, name in named.items()}
    return {"factors": factors, **{k: path for k, path in there.items() if path.is_file()}}


def _new_folder(parent: Path, name: str) -> Path:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            folder = parent / (name if number == 1 else f"{name} {number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise _cannot_write(parent, error) from error
    raise BadInput(_("There are too many results called '{name}'.").format(name=name))


def _cannot_write(folder: Path, error: OSError) -> BadInput:
    return BadInput(
        _("The results cannot be written to {folder} ({reason}).").format(
            folder=folder, reason=error.strerror or error
        ),
        _("Choose another folder for the results."),
    )
