"""Volumes and series judged without a reference: figures per frame and their means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.metrics.evaluate import check_finite, mask_array
from mriforge.metrics.no_reference.niqe import NiqeModel
from mriforge.metrics.no_reference.slices import score_slices, usual_plane
from mriforge.volume import Image, as_series

FIGURES = ("niqe", "piqe", "brisque", "mscn_distance")
"""The figures in their order everywhere; the lower, the better."""


@dataclass(frozen=True)
class Judge:
    """How images are judged.

    Attributes:
        model: pristine model of NIQE.
        plane: ``axial``, ``coronal`` or ``sagittal``; None: that of the slices, see
            :func:`mriforge.metrics.no_reference.slices.usual_plane`.
        brisque: scores a slice, or None for no BRISQUE.
    """

    model: NiqeModel
    plane: str | None = None
    brisque: Callable[[np.ndarray], float] | None = None


@dataclass(frozen=True)
class FrameQuality:
    """The figures of one frame: means over its slices; not a number where there is none.

    Attributes:
        index, time: of the frame.
        slices: how many slices had enough foreground.
        niqe, piqe, brisque, mscn_distance: see the modules of these names; the last is NaN without
            a reference, BRISQUE where it was not asked for.
    """

    index: int
    time: float
    slices: int
    niqe: float
    piqe: float
    brisque: float = math.nan
    mscn_distance: float = math.nan


@dataclass(frozen=True)
class Quality:
    """What :func:`judge` found.

    Attributes:
        frames: one entry per frame.
        plane: of the slices.
        figures: those of :data:`FIGURES` that were asked for.
    """

    frames: list[FrameQuality]
    plane: str
    figures: tuple[str, ...]

    def mean(self, figure: str) -> float:
        """Mean over the frames that have the figure; not a number where none has."""
        values = np.array([getattr(frame, figure) for frame in self.frames])
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else math.nan

    @property
    def slices(self) -> int:
        """How many slices were judged, over all frames."""
        return sum(frame.slices for frame in self.frames)

    def to_json(self) -> dict[str, Any]:
        """JSON types; figures that do not exist are None."""
        result: dict[str, Any] = {f: _finite(self.mean(f)) for f in self.figures}
        result["slices"] = self.slices
        result["frames"] = [
            {"index": frame.index, "time": frame.time, "slices": frame.slices}
            | {figure: _finite(getattr(frame, figure)) for figure in self.figures}
            for frame in self.frames
        ]
        return result


def judge(
    image: Image,
    how: Judge,
    *,
    reference: Image | None = None,
    mask: Image | np.ndarray | None = None,
    events: Events | None = None,
) -> Quality:
    """Judge a volume or a series, frame by frame and slice by slice.

    Args:
        image: real voxels.
        how: the pristine model, the plane, BRISQUE.
        reference: on the image's grid, with as many frames; foreground and scale are taken from
            it, and the MSCN distance is to it.
        mask: volume on that grid; it counts as foreground.
        events: progress and cancelling.

    Raises:
        BadInput: voxels that are no numbers, slices too small, no positive voxels, a mask or a
            reference that does not fit.
    """
    events = events or Events()
    series = as_series(image)
    truth = None if reference is None else as_series(reference)
    check_finite(series, "image")
    if truth is not None:
        check_finite(truth, "reference")
        if truth.array.shape != series.array.shape:
            raise BadInput("Image and reference are not of one size.", "Resample the image first.")
    inside = mask_array(mask, series.grid)
    plane = how.plane or usual_plane(series.grid)
    frames = []
    for index, array in enumerate(series.array):
        events.progress(index / len(series), f"judging frame {index + 1} of {len(series)}")
        found = score_slices(
            array,
            series.grid,
            how.model,
            reference=None if truth is None else truth.array[index],
            mask=inside,
            plane=plane,
            brisque=how.brisque,
            check=events.check_cancelled,
        )
        means = {figure: found.mean(figure) for figure in found.scores}
        if found.mscn_distance is not None:
            means["mscn_distance"] = found.mscn_distance
        frames.append(FrameQuality(index, float(series.times[index]), len(found.indices), **means))
    asked = {"niqe": True, "piqe": True, "brisque": how.brisque is not None}
    asked["mscn_distance"] = truth is not None
    return Quality(frames, plane, tuple(figure for figure in FIGURES if asked[figure]))


def figures_of(qualities: Mapping[str, Quality]) -> list[str]:
    """The figures that any of the methods has, in their order."""
    return [f for f in FIGURES if any(f in quality.figures for quality in qualities.values())]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
