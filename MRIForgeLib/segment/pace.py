"""How long a segmentation takes: from the size of network and image, and from earlier runs."""

from __future__ import annotations

import math
import os

from mriforge.jobs.segment import Options
from mriforge.models.card import ModelCard
from mriforge.volume import Grid

_PER_PARAMETER = 24.0
"""Floating-point operations for each parameter and voxel; of DenseUnet, counted."""
_PER_CORE = 4e10
"""Floating-point operations a second of one core in such a network, measured with some slack."""
_START_S = 6.0
"""Starting the worker and loading torch."""
_SPACING_MM = 1.2

_paces: dict[str, float] = {}


def work(card: ModelCard, grid: Grid, views: int, frames: int = 1) -> float:
    """Floating-point operations of a run."""
    spacing = float(card.input.get("spacing_mm") or _SPACING_MM)
    voxels = math.prod(grid.shape) * math.prod(grid.spacing) / spacing**3
    return voxels * frames * views * Options.overlap * _PER_PARAMETER * max(card.parameters, 1)


def of_this_processor() -> float:
    """Operations a second to expect of this computer's processor."""
    return _PER_CORE * max(1, os.cpu_count() or 1)


def seconds(operations: float, pace: float) -> float:
    """Time of a run, from start to end."""
    return _START_S + operations / pace


def known(device: str) -> float | None:
    """Operations a second of the last run on ``device`` as it was chosen; None: there was none."""
    return _paces.get(device)


def remember(device: str, operations: float, took_s: float) -> None:
    """Notes how fast a run was; its time is the worker's own, without its start."""
    if operations > 0 and took_s > 0:
        _paces[device] = operations / took_s
