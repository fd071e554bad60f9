"""What an image must be before a job may use it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mriforge.errors import BadInput
from mriforge.volume import Image


def check_image(image: Image, path: str | Path, *, what: str = "image") -> None:
    """Refuses voxels that no method can use.

    Args:
        image: a volume or a series.
        path: where it came from, for the message.
        what: its role, for the message: ``"image"``, ``"prior"``, ``"reference"``, ``"mask"``.

    Raises:
        BadInput: no voxels, NaN or infinite voxels, or the same value everywhere. A frame of a
            series may be constant (black frames occur at the ends of a scan), not all of them.
    """
    array = image.array
    if array.size < 1:
        raise BadInput(f"The {what} {path} has no voxels.", "Export it again.")
    if array.dtype.kind not in "biuf":
        raise BadInput(
            f"The voxels of the {what} {path} are not real numbers.",
            "Save the magnitude image and use that.",
        )
    low, high = _range(array)
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise BadInput(
            f"The {what} {path} has {bad} voxels that are not numbers (NaN or infinite).",
            "Replace them, for example by 0, and save it again.",
        )
    if low == high:
        raise BadInput(
            f"The {what} {path} has the same value ({low:g}) in every voxel.",
            "Check that the right file was exported.",
        )


def _range(array: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value without a copy; NaN if there is one."""
    return float(array.min()), float(array.max())
