"""What an image must not be to be sharpened: a label map. Without torch, for the panels too."""

from __future__ import annotations

import numpy as np

MOST_LABELS = 1000
_FLAT = 0.75
_LOOK_AT = 500_000

REFUSAL = "The image looks like a label map: sharpening would invent labels."
HINT = "Resample it by the shapes of its labels instead: --labels."


def looks_like_labels(array: np.ndarray) -> bool:
    """Whether voxels are labels: few whole numbers, most of them like their neighbour.

    Looks at some rows of some slices: milliseconds for any size.

    Args:
        array: ``(z, y, x)``, any dtype.
    """
    if array.ndim != 3 or array.dtype.kind not in "iufb":
        return False
    step = max(1, round((array.size / _LOOK_AT) ** 0.5))
    part = array[::step, ::step]
    inside = part[part != 0]
    if not inside.size or not np.array_equal(inside, np.round(inside)):
        return False
    if len(np.unique(inside)) > MOST_LABELS:
        return False
    here, right = part[..., :-1], part[..., 1:]
    counted = here != 0
    return bool(counted.any() and (here == right)[counted].mean() > _FLAT)
