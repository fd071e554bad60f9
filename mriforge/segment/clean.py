"""Parts and holes of outlined organs.

Organs are cleaned one by one and never grow into each other: removed parts become background, and
a hole is filled only where nothing but one organ surrounds it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from scipy import ndimage

from mriforge.anatomy import ORGANS
from mriforge.events import Events

LABELS = tuple(organ.label for organ in ORGANS)
PIECES = {8: 0.1, 9: 0.1, 10: 0.1}
"""Organs of several parts (small intestine, spinal cord that a scan or a gap cuts, vertebral
bodies): parts of at least this share of the largest are kept. Of the others the largest alone."""

_ANY_NEIGHBOUR = np.ones((3, 3, 3), dtype=bool)


def clean(
    labels: np.ndarray,
    *,
    largest: bool | Collection[int] = False,
    holes: bool | Collection[int] = False,
    events: Events | None = None,
) -> np.ndarray:
    """Label map without stray parts and holes.

    Args:
        labels: organ labels ``(z, y, x)``, uint8.
        largest: keep the largest part of these organs (True: of all). Voxels that share a face,
            an edge or a corner belong to one part. For organs of several parts see
            :data:`PIECES`.
        holes: fill the holes of these organs (True: of all): background that does not reach the
            border of the image and touches no other organ. It is one hole where voxels share
            faces.
        events: for cancelling.

    Returns:
        a new array; the first is done before the second.
    """
    result = labels.copy()
    events = events or Events()
    for label in _chosen(largest):
        events.check_cancelled()
        _keep_parts(result, label)
    events.check_cancelled()
    if wanted := _chosen(holes):
        _fill(result, wanted)
    return result


def _chosen(which: bool | Collection[int]) -> tuple[int, ...]:
    if isinstance(which, bool):
        return LABELS if which else ()
    return tuple(which)


def _keep_parts(labels: np.ndarray, label: int) -> None:
    """Removes the parts of an organ that are too small; of equal ones the first stays."""
    box = ndimage.find_objects(labels == label, max_label=1)[0]
    if box is None:
        return
    inner = labels[box]
    parts, count = ndimage.label(inner == label, structure=_ANY_NEIGHBOUR)
    if count < 2:
        return
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    stays = np.zeros(count + 1, dtype=bool)
    stays[sizes.argmax()] = True
    if label in PIECES:
        stays |= sizes >= PIECES[label] * sizes.max()
    stays[0] = True
    inner[~stays[parts]] = 0


def _fill(labels: np.ndarray, wanted: Collection[int]) -> None:
    """Fills background that one wanted organ encloses alone."""
    box = ndimage.find_objects(labels > 0, max_label=1)[0]
    if box is None:
        return
    # With a margin of one voxel, cut at the border of the image: what touches the border of this
    # box is either outside all organs or at the border of the image.
    box = tuple(
        slice(max(0, part.start - 1), min(n, part.stop + 1))
        for part, n in zip(box, labels.shape, strict=True)
    )
    inner = labels[box]
    parts, _ = ndimage.label(inner == 0)
    open_ones = {0}
    for axis in range(3):
        for end in (0, -1):
            open_ones |= set(np.unique(parts.take(end, axis)).tolist())
    for number, place in enumerate(ndimage.find_objects(parts), start=1):
        if number in open_ones:
            continue
        around = tuple(slice(part.start - 1, part.stop + 1) for part in place)
        hole = parts[around] == number
        touched = np.unique(inner[around][ndimage.binary_dilation(hole) & ~hole])
        if len(touched) == 1 and touched[0] in wanted:
            inner[around][hole] = touched[0]
