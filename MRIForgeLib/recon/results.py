"""The files of a reconstruction: from the worker's folder to where the user keeps them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from mriforge.errors import BadInput

FACTORS_FILE = "factors.npz"
T1_FILE = "t1_ms.nii.gz"
FILES = ("factors", "t1", "t1_quality", "report")
"""Keys of the command's result that name files."""


def keep(result: Mapping[str, Any], parent: Path, name: str) -> dict[str, Path]:
    """Moves the results into a new folder below ``parent``; returns where each is now.

    Args:
        result: of the command ``recon``.
        parent: made if it is missing.
        name: of the new folder; a number is added when there is one already.

    Raises:
        BadInput: the folder cannot be made.
    """
    made = _new_folder(parent, name)
    source = Path(result["factors"]).parent
    try:
        for path in sorted(source.iterdir()):
            shutil.move(path, made / path.name)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        raise _cannot_write(made, error) from error
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    kept = ((key, result.get(key)) for key in FILES)
    return {key: made / Path(path).relative_to(source) for key, path in kept if path}


def keep_files(folder: Path, parent: Path) -> list[Path]:
    """Moves all files of a folder below ``parent``, which is made; replaces those of the same name.

    Raises:
        BadInput: they cannot be written.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.move(path, parent / path.name)) for path in sorted(folder.iterdir())]
    except OSError as error:
        raise _cannot_write(parent, error) from error


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
