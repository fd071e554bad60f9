"""Frames of a series: which ones, on which grid, and with their origin written on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mriforge import __version__
from mriforge.errors import BadInput
from mriforge.physics.interpolation import resample
from mriforge.volume import Grid, Series


def chosen_frames(series: Series, frames: tuple[int, ...] | None) -> Series:
    """Only the ``frames`` that are asked for; None: all.

    Raises:
        BadInput: the series does not have them.
    """
    if frames is None:
        return series
    if any(f < 0 or f >= len(series) for f in frames) or not frames:
        raise BadInput(f"The frames {frames} are not all among the {len(series)} of the series.")
    chosen = list(frames)
    return dataclasses.replace(series, array=series.array[chosen], times=series.times[chosen])


def with_provenance(
    array: np.ndarray, grid: Grid, series: Series, job: str, figures: Mapping[str, Any]
) -> Series:
    """A job's result ``(t, z, y, x)`` with the times of ``series`` and how it was made."""
    provenance = {
        "software": f"MRIForge {__version__}",
        "use": "research use only",
        "job": job,
        **{name: value for name, value in figures.items() if name != "seconds"},
    }
    metadata = {**series.metadata, "provenance": provenance}
    return dataclasses.replace(series, array=array, grid=grid, metadata=metadata)


def resampled(series: Series, grid: Grid) -> Series:
    """Every frame on another grid, by cubic interpolation."""
    frames = np.stack([resample(frame, grid, order=3).array for frame in series])
    return dataclasses.replace(series, array=frames, grid=grid)
