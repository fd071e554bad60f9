"""Gaussian blur and subsampling, as in SynthSR and the works that follow it."""

from __future__ import annotations

import numpy as np

from mriforge.errors import BadInput
from mriforge.physics.profiles import Profile, gaussian, profile_matrix
from mriforge.physics.separable import SeparableOperator
from mriforge.volume import Grid

SYNTHSR_SIGMA = 0.75
"""Standard deviation in low-resolution voxels: sigma = 0.75 * (LR / HR) sharp voxels."""

SYNTHSR_TRUNCATE = 2.5


def centred_positions(high: int, low: int, ratio: float) -> np.ndarray:
    """Sharp-voxel coordinates of ``low`` samples, ``ratio`` apart, about the middle of ``high``."""
    return (high - 1) / 2 + (np.arange(low) - (low - 1) / 2) * ratio


def subsampled_grid(high: Grid, sizes: dict[int, int], ratios: dict[int, float]) -> Grid:
    """Grid of samples ``ratios`` apart along the stored axes given, with the same middle."""
    shape, spacing, first = list(high.stored_shape), list(high.spacing), [0.0, 0.0, 0.0]
    for axis, size in sizes.items():
        first[axis] = float(centred_positions(shape[axis], size, ratios[axis])[0])
        spacing[axis] *= ratios[axis]
        shape[axis] = size
    return high.resampled(tuple(shape), tuple(spacing), tuple(first))


class GaussianBlur(SeparableOperator):
    """Blur with a truncated Gaussian, then take a sample every ``ratio`` voxels.

    The samples lie about the middle of the image: the low-resolution image is centred on the
    sharp one, so with whole ratios that divide the size the outer voxel edges coincide.

    Args:
        high: grid of the sharp image.
        ratios: stored axis to LR / HR voxel size, at least 1, need not be whole.
        sigma: standard deviation in low-resolution voxels (sharp voxels are ``ratio`` times
            smaller).
        truncate: the kernel ends at this many standard deviations.
    """

    def __init__(
        self,
        high: Grid,
        ratios: dict[int, float],
        sigma: float = SYNTHSR_SIGMA,
        truncate: float = SYNTHSR_TRUNCATE,
    ) -> None:
        self.ratios, self.sigma, self.truncate = dict(ratios), sigma, truncate
        sizes, matrices = {}, {}
        for axis, ratio in ratios.items():
            size = high.stored_shape[axis]
            if not 1 <= ratio <= size:
                raise BadInput(
                    f"An axis of {size} voxels cannot be subsampled by {ratio:g}.",
                    "The ratio is between 1 and the number of voxels.",
                )
            sizes[axis] = max(1, round(size / ratio))
            voxel = high.spacing[axis]
            kernel: Profile = gaussian(sigma * ratio * voxel, truncate)
            centres = centred_positions(size, sizes[axis], ratio)
            matrices[-1 - axis] = profile_matrix(kernel, centres, size, voxel)
        super().__init__(high, subsampled_grid(high, sizes, self.ratios), matrices)
