"""How long a segmentation takes: from the size of network and image, and from earlier runs."""

from __future__ import annotations

import math
import os

from mriforge.jobs.segment import Options
from mriforge.models.card import ModelCard
from mriforge.volume import Grid

_PER_PARAMETER = 0.47
"""Floating-point operations for each parameter and pixel of a slab; of DenseUnet, counted."""
_PER_CORE = 2.5e10
"""Floating-point operations a second of one core in such a network, measured."""
_PER_VOXEL_S = 5e-7
"""Resampling, votes and entropy for each voxel of the image on one core, measured."""
_SHARED = 0.8
"""What cores lose by working together."""
_START_S = 6.0
"""Starting the worker and loading torch."""
_SPACING_MM, _SLICES = 3.0, 8

_paces: dict[str, float] = {}


def work(card: ModelCard, grid: Grid, views: int, frames: int = 1) -> float:
    """Seconds that one core would need."""
    spacing = float(card.input.get("spacing_mm") or _SPACING_MM)
    slices = float(card.input.get("slices") or _SLICES)
    voxels = math.prod(grid.shape)
    pixels = voxels * math.prod(grid.spacing) / spacing**3 / slices * Options.overlap * views
    operations = pixels * _PER_PARAMETER * max(card.parameters, 1)
    return frames * (operations / _PER_CORE + voxels * _PER_VOXEL_S)


def of_this_processor() -> float:
    """How many times faster than one core this computer's processor is expected to be."""
    return max(1.0, _SHARED * (os.cpu_count() or 1))


def seconds(work_s: float, pace: float) -> float:
    """Time of a run, from start to end.

    Args:
        work_s: of :func:`work`.
        pace: how many times faster than one core.
    """
    return _START_S + work_s / pace


def known(device: str) -> float | None:
    """Pace of the last run on ``device`` as it was chosen; None: there was none."""
    return _paces.get(device)


def remember(device: str, work_s: float, took_s: float) -> None:
    """Notes how fast a run was; its time is the worker's own, without its start."""
    if work_s > 0 and took_s > 0:
        _paces[device] = work_s / took_s
