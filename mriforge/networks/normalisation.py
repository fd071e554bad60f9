"""Normalisation of feature maps by name, in two and three dimensions."""

from __future__ import annotations

from torch import nn

from mriforge.errors import BadInput

NORMALISATIONS = ("none", "batch", "batch_train", "instance", "layer")
"""``batch_train``: statistics of the batch also at inference (Chen 2021, section 4.4.1 and table
7-2, "BN_TrainMode"); ``layer``: over all maps and pixels of an image."""


def normaliser(kind: str, channels: int, dimensions: int = 2) -> nn.Module:
    """A layer that normalises ``(b, channels, ...)``, with a scale and a shift of each map.

    Args:
        kind: one of :data:`NORMALISATIONS`.
        channels: of the maps.
        dimensions: 2 for ``(b, channels, h, w)``, 3 for ``(b, channels, d, h, w)``.

    Raises:
        BadInput: ``kind`` is not one of :data:`NORMALISATIONS`.
    """
    batch = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimensions]
    instance = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dimensions]
    if kind == "none":
        return nn.Identity()
    if kind == "batch":
        return batch(channels)
    if kind == "batch_train":
        return batch(channels, track_running_stats=False)
    if kind == "instance":
        return instance(channels, affine=True)
    if kind == "layer":
        return nn.GroupNorm(1, channels)
    raise BadInput(
        f"There is no normalisation called '{kind}'.", f"Known are {', '.join(NORMALISATIONS)}."
    )


def sees_a_whole_image(kind: str) -> bool:
    """Whether an output voxel depends on every voxel of what is looked at: no tile is exact."""
    return kind in ("batch_train", "instance", "layer")
