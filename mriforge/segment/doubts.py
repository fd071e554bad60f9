"""What cannot be outlined, what the model was not made for, and answers that look wrong."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput
from mriforge.models.card import ModelCard
from mriforge.superres.scope import doubtful_range
from mriforge.volume import Grid, Series

_FEWEST_SLICES = 2
_SMALLEST_MM = 60.0
"""Of the second-longest side: less holds no organ to recognise."""
_NARROW_MM = 250.0
"""Fields of view of an abdomen are wider than this, those of a head are not."""
_SHORT_MM = 100.0
"""Less from feet to head shows some organs only in part."""
_COARSE = 2.5
"""Voxels this many times larger than the network's hold little of some of its views."""
_LARGEST_ML = {
    "liver": 4000.0,
    "spleen": 1500.0,
    "pancreas": 300.0,
    "right_kidney": 600.0,
    "left_kidney": 600.0,
    "stomach": 2500.0,
    "duodenum": 400.0,
    "small_intestine": 3000.0,
    "spinal_cord": 200.0,
    "vertebrae": 1500.0,
}
"""Beyond what adults have, with room for disease."""
_LEAST_OF_IMAGE = 0.002
"""Part of the image that organs take at least in any picture of an abdomen."""


def refuse(series: Series, path: str) -> None:
    """Refuses images in which there is nothing to outline.

    Raises:
        BadInput: pictures instead of volumes, and fields of view that hold no organ.
    """
    grid = series.grid
    if min(grid.shape) < _FEWEST_SLICES:
        raise BadInput(
            f"The image {path} is a single slice: organs are outlined in volumes.",
            "Give the whole stack of slices.",
        )
    sides = sorted(n * s for n, s in zip(grid.stored_shape, grid.spacing, strict=True))
    if sides[1] < _SMALLEST_MM:
        size = " x ".join(f"{side:.0f}" for side in sides[::-1])
        raise BadInput(
            f"The image {path} covers {size} mm: too little to hold an abdomen.",
            "Check the voxel size in its header, or give a larger field of view.",
        )


def before(card: ModelCard, series: Series, spacing: float) -> list[str]:
    """Ways in which an image is not what the model was made for, one sentence each.

    Args:
        card: of the model.
        series: to be outlined.
        spacing: voxel size that the network works at, mm.
    """
    modality = series.metadata.get("modality")
    low, high = float(series.array.min()), float(series.array.max())
    found = doubtful_range(low, high, modality if isinstance(modality, str) else None)
    coarsest = max(series.grid.spacing)
    if coarsest > _COARSE * spacing:
        found.append(
            f"Voxels are {coarsest:.1f} mm long, the model '{card.name}' works at {spacing:g} mm: "
            "outlines are coarse along that direction, and views along it hold little."
        )
    return [*found, *filter(None, (too_narrow(series.grid), too_short(series.grid)))]


def too_narrow(grid: Grid) -> str:
    """What makes an image unlike an abdomen from left to right; empty when nothing does."""
    across, _, _ = extent_mm(grid)
    if across >= _NARROW_MM:
        return ""
    return f"The image is {across:.0f} mm from left to right: is it an abdomen?"


def too_short(grid: Grid) -> str:
    """What an image lacks from feet to head; empty when it lacks nothing."""
    _, _, along = extent_mm(grid)
    if along >= _SHORT_MM:
        return ""
    return (
        f"The image is {along:.0f} mm from feet to head: organs that are cut are found less well."
    )


def after(labels: np.ndarray, grid: Grid, volumes: Mapping[str, float]) -> list[str]:
    """What makes an answer look unlike an abdomen, one sentence each.

    Args:
        labels: of one volume, ``(z, y, x)``.
        grid: of it.
        volumes: ml by organ key.
    """
    found = []
    whole = float(np.prod(grid.shape)) * float(np.prod(grid.spacing)) / 1000
    if sum(volumes.values()) < _LEAST_OF_IMAGE * whole:
        return ["Almost nothing was found: is it an MR image of the abdomen, rightly oriented?"]
    if volumes["liver"] == 0:
        found.append("No liver was found: is it an image of the abdomen?")
    for organ in ORGANS:
        if volumes[organ.key] > _LARGEST_ML[organ.key]:
            found.append(
                f"{organ.title}: {volumes[organ.key]:.0f} ml is more than anybody has. Check the "
                "outline, and the voxel size in the header."
            )
    right, left = (_middle(labels, grid, label) for label in (4, 5))
    if right is not None and left is not None and right[0] > left[0]:
        found.append(
            "The right kidney was found on the left of the left one: is the orientation in the "
            "header right?"
        )
    return found


def volumes_ml(labels: np.ndarray, grid: Grid) -> dict[str, float]:
    """Volume of every organ in ml by its key.

    Args:
        labels: ``(z, y, x)``.
    """
    count = np.bincount(labels.ravel(), minlength=len(ORGANS) + 1)
    voxel = float(np.prod(grid.spacing)) / 1000
    return {organ.key: round(float(count[organ.label]) * voxel, 3) for organ in ORGANS}


def extent_mm(grid: Grid) -> tuple[float, float, float]:
    """Size of the box around a grid in mm: left to right, front to back, feet to head."""
    sides = np.abs(grid.direction_matrix) * np.array(grid.spacing) * np.array(grid.stored_shape)
    return tuple(float(size) for size in sides.sum(axis=1))


def _middle(labels: np.ndarray, grid: Grid, label: int) -> np.ndarray | None:
    """LPS mm of the middle of an organ."""
    k, j, i = np.nonzero(labels == label)
    if not len(k):
        return None
    return grid.index_to_world(np.array([i.mean(), j.mean(), k.mean()]))


def as_sentences(frames: list[list[str]]) -> list[str]:
    """The sentences of all frames, each once, with the frames that it is about."""
    if len(frames) == 1:
        return frames[0]
    where: dict[str, list[int]] = {}
    for number, sentences in enumerate(frames):
        for sentence in sentences:
            where.setdefault(sentence, []).append(number)
    found = []
    for sentence, numbers in where.items():
        if len(numbers) == len(frames):
            found.append(sentence)
        else:
            shown = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
            found.append(f"Frame {shown}: {sentence}")
    return found
