"""Scans as the game wants them: images of one pixel size, bright tissue about 1, little noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mriforge.blind.denoise import nonlocal_means
from mriforge.blind.spectra import richest_numbers
from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.metrics.noise import noise_level
from mriforge.physics.interpolation import resample
from mriforge.training.data import slices_first
from mriforge.volume import Grid, Volume

_PERCENTILE = 99.5
_SAME = 0.01
_NEAR = (0.6, 1.6)
_MOST_SLICES = 32
"""Of each scan; more slices cost time to denoise and show the same."""


@dataclass(frozen=True)
class Scans:
    """What a game is played with.

    Attributes:
        low, high: images, slices or whole volumes, with the in-plane axes last.
        raw: ``low`` before its noise was removed.
        noise: standard deviation of that noise, of all scans together; 0 where it was not removed.
        spacing: of the sharp pixels in mm, per axis of the images.
        figures: noise that was found, resampling that was done, for the provenance.
    """

    low: list[np.ndarray]
    high: list[np.ndarray]
    raw: list[np.ndarray]
    noise: float
    spacing: tuple[float, ...]
    figures: dict[str, Any] = field(default_factory=dict)


def prepare(
    low: Sequence[Volume],
    high: Sequence[Volume],
    *,
    ratio: Sequence[int],
    axes: tuple[int, int] = (0, 1),
    denoise: float = 0.0,
    events: Events | None = None,
) -> Scans:
    """Slices (or volumes, for a ratio of three axes) of both kinds.

    Low-resolution scans are denoised first, then interpolated by cubic splines so that their
    pixels are ``ratio`` times the sharp ones. (Published the other way round; interpolated noise
    is no longer independent from pixel to pixel, which non-local means take for granted.)

    Args:
        ratio: per axis of the images, in array order.
        axes: in-plane stored axes; looked at in plane only.
        denoise: strength of the non-local means; 0: none.

    Raises:
        BadInput: pixels that do not fit, or an image of one value.
    """
    events = events or Events()
    order = slices_first(axes) if len(ratio) == 2 else (0, 1, 2)
    used = order[-len(ratio) :]
    spacing = tuple(_sizes(high[0])[a] for a in used)
    for number, scan in enumerate(high, 1):
        found = tuple(_sizes(scan)[a] for a in used)
        if any(abs(a / b - 1) > _SAME for a, b in zip(found, spacing, strict=True)):
            raise BadInput(
                f"Sharp scan {number} has pixels of {_mm(found)}, the first one {_mm(spacing)}.",
                "Resample them to one pixel size first.",
            )
    wanted = tuple(s * r for s, r in zip(spacing, ratio, strict=True))
    figures: dict[str, Any] = {"noise": [], "resampled_from_mm": []}
    small: list[np.ndarray] = []
    raw: list[np.ndarray] = []
    for number, scan in enumerate(low):
        part = events.part(number / len(low), (number + 1) / len(low))
        quiet, given = _low(scan, number, order, used, wanted, denoise, figures, part)
        small += quiet
        raw += given
    large: list[np.ndarray] = []
    for number, scan in enumerate(high, 1):
        stack = np.transpose(_scaled(scan, f"Sharp scan {number}"), order)
        few = richest_numbers(list(stack), _MOST_SLICES) if len(ratio) == 2 else None
        large += _images(stack, few)
    noise = float(np.sqrt(np.mean(np.square(figures["noise"])))) if figures["noise"] else 0.0
    return Scans(small, large, raw, noise, spacing, figures)


def _low(
    scan: Volume,
    number: int,
    order: tuple[int, ...],
    used: tuple[int, ...],
    wanted: tuple[float, ...],
    denoise: float,
    figures: dict[str, Any],
    events: Events,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images of one low-resolution scan, without noise and as they are."""
    name = f"Low-resolution scan {number + 1}"
    have = tuple(_sizes(scan)[a] for a in used)
    parts = [a / b for a, b in zip(have, wanted, strict=True)]
    if any(not _NEAR[0] <= part <= _NEAR[1] for part in parts):
        raise BadInput(
            f"{name} has pixels of {_mm(have)}; beside the sharp ones {_mm(wanted)} are needed.",
            "Choose scans whose pixel sizes fit, or a recipe with another ratio.",
        )
    raw = scan.with_array(_scaled(scan, name))
    quiet = raw
    chosen = list(range(scan.array.shape[order[0]]))
    if len(used) == 2:
        chosen = richest_numbers(list(np.transpose(raw.array, order)), _MOST_SLICES)
    if denoise > 0:
        stack = np.transpose(raw.array, order)
        sigma = noise_level(stack)
        figures["noise"].append(round(sigma, 5))
        clean = np.zeros_like(stack)
        for done, index in enumerate(chosen):
            events.progress(done / len(chosen), f"denoising scan {number + 1}")
            clean[index] = nonlocal_means(
                stack[index], sigma, strength=denoise, cancel=events.check_cancelled
            )
        quiet = scan.with_array(np.transpose(clean, np.argsort(order)))
    if any(abs(part - 1) > _SAME for part in parts):
        figures["resampled_from_mm"].append([round(s, 4) for s in have])
        grid = _grid_of(scan.grid, used, wanted)
        quiet, raw = (resample(one, grid, order=3, outside="nearest") for one in (quiet, raw))
    return tuple(
        _images(np.transpose(one.array, order), chosen if len(used) == 2 else None)
        for one in (quiet, raw)
    )


def _grid_of(grid: Grid, used: tuple[int, ...], wanted: tuple[float, ...]) -> Grid:
    """``grid`` with other pixel sizes about the same middle; array axes ``used``."""
    shape, spacing, first = list(grid.stored_shape), list(grid.spacing), [0.0] * 3
    for axis, size in zip(used, wanted, strict=True):
        stored = 2 - axis
        n, step = shape[stored], size / spacing[stored]
        shape[stored] = max(1, int((n - 1) / step) + 1)
        first[stored] = (n - 1) / 2 - (shape[stored] - 1) / 2 * step
        spacing[stored] = size
    return grid.resampled(tuple(shape), tuple(spacing), tuple(first))


def _scaled(scan: Volume, name: str) -> np.ndarray:
    array = np.asarray(scan.array, dtype=np.float32)
    scale = float(np.percentile(np.abs(array), _PERCENTILE)) or float(np.abs(array).max())
    if not scale > 0:
        raise BadInput(f"{name} is empty: every voxel is zero.", "Leave it out.")
    return array / np.float32(scale)


def _images(stack: np.ndarray, chosen: Sequence[int] | None) -> list[np.ndarray]:
    """The slices that were chosen, or the volume."""
    if chosen is None:
        return [np.ascontiguousarray(stack)]
    return [np.ascontiguousarray(stack[number]) for number in chosen]


def _sizes(scan: Volume) -> tuple[float, ...]:
    """Voxel sizes in array order."""
    return scan.grid.spacing[::-1]


def _mm(sizes: Sequence[float]) -> str:
    return " x ".join(f"{s:.4g}" for s in reversed(sizes)) + " mm"
