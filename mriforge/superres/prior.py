"""The subject's sharp scan, brought to the voxel size and axis order of the target.

No registration is needed: fine-tuning learns local structure, not positions. Only what the network
sees has to agree: which axis is which, and how large a voxel is.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mriforge.errors import BadInput
from mriforge.physics.interpolation import resample
from mriforge.superres.wish import closest_axes
from mriforge.volume import Grid, Volume

_SAME_SPACING = 0.05
"""Relative difference of voxel size below which a prior is used without resampling."""


def along_axes_of(prior: Volume, target: Grid) -> Volume:
    """``prior`` with its axes permuted and flipped to run as ``target``'s. Voxels are kept."""
    axes, signs = closest_axes(target, prior.grid)
    array = np.transpose(prior.array, [2 - axes[2], 2 - axes[1], 2 - axes[0]])
    flips = tuple(2 - a for a in range(3) if signs[a] < 0)
    array = np.flip(array, flips) if flips else array
    shape = array.shape[::-1]
    first = np.zeros(3)
    for a in range(3):
        if signs[a] < 0:
            first[axes[a]] = shape[a] - 1
    direction = prior.grid.direction_matrix[:, list(axes)] * np.asarray(signs)
    spacing = tuple(prior.grid.spacing[axes[a]] for a in range(3))
    origin = tuple(prior.grid.index_to_world(first))
    grid = Grid(array.shape, spacing, origin, tuple(direction.ravel()))
    return Volume(np.ascontiguousarray(array), grid, prior.metadata)


def match_prior(prior: Volume, target: Grid) -> Volume:
    """``prior`` as float32 with the axis order and voxel size of ``target``.

    Axes whose voxel size already agrees within 5 % are not interpolated. Where the prior is finer
    it is smoothed first, so that a thin-slice prior stands in for the target's thick slices.

    Raises:
        BadInput: the prior is coarser than the target in-plane, so it has nothing to teach.
    """
    prior = along_axes_of(prior, target)
    array = prior.array.astype(np.float32)
    shape, spacing = list(prior.grid.stored_shape), list(prior.grid.spacing)
    changed = False
    for a in range(3):
        ratio = target.spacing[a] / prior.grid.spacing[a]
        if shape[a] == 1 or abs(ratio - 1) <= _SAME_SPACING:
            continue
        if ratio < 0.5:
            raise BadInput(
                f"The prior's voxels ({prior.grid.spacing[a]:.2f} mm along axis {a}) are much "
                f"coarser than the target's ({target.spacing[a]:.2f} mm).",
                "Choose a sharper prior or a coarser target spacing.",
            )
        if ratio > 1:
            # Gaussian of the target voxel's width less what the prior's own voxel already has.
            sigma = 0.5 * np.sqrt(ratio**2 - 1)
            array = ndimage.gaussian_filter1d(array, sigma, axis=2 - a, mode="nearest")
        shape[a] = max(1, round(shape[a] / ratio))
        spacing[a] = target.spacing[a]
        changed = True
    if not changed:
        return Volume(array, prior.grid, prior.metadata)
    centre = (np.asarray(prior.grid.stored_shape) - 1) / 2
    half = (np.asarray(shape) - 1) / 2 * np.asarray(spacing) / np.asarray(prior.grid.spacing)
    grid = prior.grid.resampled(tuple(shape), tuple(spacing), tuple(centre - half))
    return resample(Volume(array, prior.grid, prior.metadata), grid, order=3, outside="nearest")
