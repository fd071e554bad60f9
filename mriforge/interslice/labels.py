"""Label maps resampled across thick slices by their shapes.

Shape-based interpolation (Raya and Udupa 1990, IEEE TMI 9:32): each label is turned into the
in-plane distance from its outline, positive inside; the distances are interpolated between the
slices (cubic). First that of all labels together says what is background; inside, a voxel gets the
label that is deepest there, so that labels which touch leave no gap between them.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.interslice.recognise import MOST_LABELS
from mriforge.interslice.rows import along_first
from mriforge.interslice.wish import SlicePlan
from mriforge.physics.interpolation import cubic_matrix, resample
from mriforge.physics.stack import slice_centres
from mriforge.volume import Volume


def resample_labels(volume: Volume, plan: SlicePlan, events: Events | None = None) -> Volume:
    """A label map on the grid of ``plan``; same dtype, no labels that were not there.

    Raises:
        BadInput: not whole numbers, or too many different ones.
    """
    events = events or Events()
    labels = np.unique(volume.array)
    if not np.array_equal(labels, np.round(labels)) or len(labels) > MOST_LABELS:
        raise BadInput(
            "The image is not a label map: its values are no labels.",
            "Leave out --labels to sharpen an image.",
        )
    first = 2 - plan.axis
    array = np.moveaxis(volume.array, first, 0)
    pixel = [volume.grid.spacing[2 - a] for a in range(3) if a != first]
    centres = slice_centres(plan.working, plan.low, plan.axis)
    fine = plan.working.stored_shape[plan.axis]
    ratio = plan.factor
    positions = np.clip((np.arange(fine) - centres[0]) / ratio, 0, len(centres) - 1)
    between = cubic_matrix(positions, len(centres)).float()

    def depth_of(mask: np.ndarray) -> np.ndarray:
        return along_first(between, torch.from_numpy(_depths(mask, pixel))).numpy()

    inside = depth_of(array != 0) > 0 if (array == 0).any() else True
    deepest = np.full((fine, *array.shape[1:]), -np.inf, dtype=np.float32)
    result = np.zeros(deepest.shape, dtype=volume.array.dtype)
    for number, label in enumerate(labels[labels != 0]):
        events.check_cancelled()
        events.progress(number / len(labels), f"label {number + 1} of {len(labels)}")
        depth = depth_of(array == label)
        wins = inside & (depth > deepest)
        deepest[wins] = depth[wins]
        result[wins] = label
    metadata = {**volume.metadata, "labels_resampled": "shape-based"}
    made = Volume(np.ascontiguousarray(np.moveaxis(result, 0, first)), plan.working, metadata)
    return made if plan.final is None else resample(made, plan.final, order=0, outside="nearest")


def _depths(mask: np.ndarray, pixel: list[float]) -> np.ndarray:
    """Signed in-plane distance from the outline in mm, for every slice ``(slices, b, c)``.

    Where a label is absent from a slice it is as far outside as it is deep in the slices beside
    it, so that it tapers to a point halfway.
    """
    depth = np.zeros(mask.shape, dtype=np.float32)
    half = min(pixel) / 2
    there = mask.any(axis=(1, 2))
    for k in np.flatnonzero(there):
        inside = ndimage.distance_transform_edt(mask[k], sampling=pixel)
        outside = ndimage.distance_transform_edt(~mask[k], sampling=pixel)
        depth[k] = np.where(mask[k], inside - half, half - outside)
        if mask[k].all():
            depth[k] = max(n * s for n, s in zip(mask.shape[1:], pixel, strict=True))
    for k in np.flatnonzero(~there):
        beside = [depth[j].max() for j in (k - 1, k + 1) if 0 <= j < len(mask) and there[j]]
        depth[k] = -max(beside, default=sum(pixel))
    return depth
