"""One intensity scale for a whole series, known before the result is.

Sarasaen et al. divide the low- and the high-resolution image each by its own maximum; the latter
is unknown at inference. Here the scale is a high percentile of the low-resolution input over all
frames; it is applied before the network and undone after it.
"""

from __future__ import annotations

import numpy as np

from mriforge.errors import BadInput

_SAMPLE = 4_000_000


def intensity_scale(array: np.ndarray, percentile: float) -> float:
    """The value that maps to 1 in the network, from the input alone.

    Args:
        array: voxels of all frames.
        percentile: 100 is the maximum; lower values ignore a few hot voxels.

    Raises:
        BadInput: the image has no signal above zero.
    """
    # Very long series are sampled evenly: the percentile of 4 million voxels is exact enough.
    step = max(1, array.size // _SAMPLE)
    values = np.abs(array.reshape(-1)[::step].astype(np.float32))
    scale = float(np.percentile(values, percentile)) or float(values.max())
    if not np.isfinite(scale) or scale <= 0:
        raise BadInput("The image holds no signal: every voxel is zero.")
    return scale
