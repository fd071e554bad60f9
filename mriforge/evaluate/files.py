"""Files of an evaluation: what goes in and what comes out, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mriforge.errors import BadInput
from mriforge.io import check_output, read
from mriforge.io.atomic import atomic_path, check_writable
from mriforge.io.checks import check_image
from mriforge.metrics.no_reference.quality import Judge
from mriforge.volume import Image

IMAGE = "image"
"""What the image to judge is called beside the other methods."""
REFERENCE = "reference"
"""What the reference is called there."""


def checked_names(
    compare_with: Mapping[str, str | Path] | None, no_reference: Judge | None
) -> dict[str, str | Path]:
    """The other methods; refuses names that are taken."""
    others = dict(compare_with or {})
    for name in (IMAGE, REFERENCE) if no_reference is not None else (IMAGE,):
        if name in others:
            raise BadInput(f"'{name}' is the name of the {name} itself.", "Choose another name.")
    return others


def read_checked(path: str | Path, what: str) -> Image:
    """An image file that can be compared; ``what`` is its role, for messages."""
    image = read(path)
    check_image(image, path, what=what)
    return image


def check_outputs(
    images: Mapping[str, str | Path | None], texts: Mapping[str, str | Path | None]
) -> None:
    """Refuse outputs that could not be written, before any work."""
    for path in images.values():
        if path is not None:
            check_output(path)
    for path in texts.values():
        if path is not None:
            check_writable(path)
            if Path(path).is_dir():
                raise BadInput(f"{path} is a folder, not a file.", "Give the name of a file.")
    given = [Path(p).absolute() for p in (*images.values(), *texts.values()) if p is not None]
    if len(set(given)) < len(given):
        raise BadInput("Two outputs have the same name.", "Give each output its own name.")


def write_text(path: str | Path, text: str) -> None:
    """Writes a text whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
