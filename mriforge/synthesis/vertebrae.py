"""Vertebral bodies apart from what is behind them: arches and processes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_PART = 0.2
"""Pieces in front of the canal smaller than this part of the body are not of the body."""


def posterior_elements(levels: np.ndarray, cord: np.ndarray) -> np.ndarray:
    """Voxels of vertebrae that do not belong to their bodies.

    Where the spinal cord (or its canal) is labelled, a body is what lies in front of it in the same
    axial slice and not far from its thickest part, which leaves out transverse processes.
    Pedicles beside the canal count as posterior elements. Where no cord is labelled, a body is
    what lies about the thickest part of its vertebra.

    Args:
        levels: ``(z, y, x)``, each vertebra with its own number; 0 elsewhere. Axes point to
            Superior, Posterior, Left.
        cord: where the spinal cord is.

    Returns:
        bool, of the same shape.
    """
    front = canal_front(cord)
    behind = np.zeros(levels.shape, dtype=bool)
    rows = np.arange(levels.shape[1])[None, :, None]
    for number, box in enumerate(ndimage.find_objects(levels.astype(np.int32)), start=1):
        if box is None:
            continue
        vertebra = levels[box] == number
        limit = front[box[0]]
        if np.isfinite(limit).mean() >= 0.5:
            limit = np.where(np.isfinite(limit), limit, np.nanmean(limit))
            body = vertebra & (rows[:, box[1]] < limit[:, None, None])
            body = _main_pieces(body & _near_core(body, 0.8)) if body.any() else body
        else:
            body = _main_pieces(vertebra & _near_core(vertebra, 0.6))
        behind[box] |= vertebra & ~body
    return behind


def canal_front(cord: np.ndarray) -> np.ndarray:
    """Row of the front of the cord for each slice, less one voxel for what surrounds it; NaN
    where there is none.
    """
    front = np.full(len(cord), np.nan)
    for number in np.flatnonzero(cord.any(axis=(1, 2))):
        rows = np.nonzero(cord[number])[0]
        front[number] = np.percentile(rows, 10) - 1
    there = np.isfinite(front)
    if there.sum() > 1:
        inside = slice(np.flatnonzero(there)[0], np.flatnonzero(there)[-1] + 1)
        number = np.arange(len(front))
        filled = np.interp(number[inside], number[there], front[there])
        front[inside] = ndimage.gaussian_filter1d(filled, 1.0, mode="nearest")
    return front


def _main_pieces(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return (sizes >= _PART * sizes.max())[pieces]


def _near_core(mask: np.ndarray, reach: float) -> np.ndarray:
    """What is not farther from where a mask is thickest than ``reach`` of its depth there."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    pieces, _ = ndimage.label(depth > 0.6 * depth.max())
    core = pieces == pieces[np.unravel_index(depth.argmax(), depth.shape)]
    return ndimage.distance_transform_edt(~core) <= reach * depth.max() + 1
