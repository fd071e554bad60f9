"""What an image must not be to be sharpened: a label map. Without torch, for the panels too."""

from __future__ import annotations

import numpy as np

MOST_LABELS = 1000
_UNIFORM = 0.7
_SAMPLE = 2_000_000

REFUSAL = "The image looks like a label map: sharpening would invent labels."
HINT = "Resample it by the shapes of its labels instead: --labels."


def looks_like_labels(array: np.ndarray) -> bool:
    """Whether voxels are labels: few whole numbers, in patches of the same one."""
    rows = array.reshape(-1, array.shape[-1])
    rows = rows[:: max(1, array.size // _SAMPLE)]
    if rows.dtype.kind == "f" and not np.array_equal(rows, np.round(rows)):
        return False
    left, right = rows[:, :-1], rows[:, 1:]
    seen = (left != 0) | (right != 0)
    if not seen.any() or len(np.unique(rows)) > MOST_LABELS:
        return False
    return float((left == right)[seen].mean()) > _UNIFORM
