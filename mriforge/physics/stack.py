"""A stack of thick slices seen from any finer grid along the same axes."""

from __future__ import annotations

import numpy as np

from mriforge.errors import BadInput
from mriforge.physics.profiles import Profile, profile_matrix
from mriforge.physics.separable import SeparableOperator
from mriforge.volume import Grid

WELL_MEASURED = 0.1
"""Directions measured weaker than this part of the strongest are left alone by ``A_dagger``:
overlapping or badly known profiles would otherwise blow noise up between the slices."""


def slice_centres(high: Grid, low: Grid, axis: int) -> np.ndarray:
    """Where the slices of ``low`` are, in voxel coordinates of ``high`` along stored ``axis``."""
    index = np.zeros((low.stored_shape[axis], 3))
    index[:, axis] = np.arange(len(index))
    return high.world_to_index(low.index_to_world(index))[:, axis]


class SliceStack(SeparableOperator):
    """Thick slices as they were acquired: any ratio, any sub-voxel offset.

    Where :class:`mriforge.physics.slices.SliceProfile` plans a stack inside a sharp image, this
    takes the stack as it is and the sharp grid as it is wanted.

    Args:
        high: grid of the sharp image; as ``low`` in plane.
        low: grid of the stack.
        axis: stored axis (i, j, k = 0, 1, 2) across the slices.
        profile: slice profile in mm.

    Raises:
        BadInput: a slice lies outside of ``high``.
        ValueError: the grids differ in plane.
    """

    def __init__(self, high: Grid, low: Grid, axis: int, profile: Profile) -> None:
        if any(high.stored_shape[a] != low.stored_shape[a] for a in range(3) if a != axis):
            raise ValueError(f"{high.stored_shape} and {low.stored_shape} differ in plane")
        self.axis, self.profile = axis, profile
        self.centres = slice_centres(high, low, axis)
        size = high.stored_shape[axis]
        if self.centres.min() < -0.5 or self.centres.max() > size - 0.5:
            raise BadInput(
                "The wanted grid does not hold all slices of the image.",
                "Choose a grid that covers the whole stack.",
            )
        matrix = profile_matrix(profile, self.centres, size, high.spacing[axis])
        super().__init__(high, low, {-1 - axis: matrix}, condition=WELL_MEASURED)
