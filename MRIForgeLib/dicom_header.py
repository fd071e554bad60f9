"""What the DICOM files say that a volume was loaded from."""

from __future__ import annotations

import math
from typing import Any

import slicer

_SLICE_THICKNESS = "0018,0050"


def slice_thickness_mm(node: Any) -> float | None:
    """Thickness of the slices of a volume, or of the volume that a sequence shows.

    Args:
        node: a volume that Slicer loaded from its DICOM database, or any other node.

    Returns:
        None where the node is not from DICOM, or its files do not say.
    """
    database = getattr(slicer, "dicomDatabase", None)
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not instances:
        return None
    try:
        thickness = float(database.instanceValue(instances[0], _SLICE_THICKNESS))
    except (TypeError, ValueError):
        return None
    return thickness if math.isfinite(thickness) and thickness > 0 else None
