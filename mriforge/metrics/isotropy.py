"""Without a reference: is the detail the same in all directions, are there stripes, is it in place?

Power spectra are means over lines of windowed tissue. A stack that was interpolated has nothing
beyond half a cycle per slice; a stack that was sharpened well has as much there as in plane.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mriforge.volume import Volume

_LINES = 40_000
_SMALLEST = 16
_UNSEEN = 1e-2
"""Part of the in-plane power below which a stripe drowns in the detail around it."""


def line_spectrum(volume: Volume, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean power spectrum of the lines along stored ``axis``.

    Returns:
        frequencies in cycles/mm from 0 to the highest, and power (arbitrary units, the same for
        all axes of a volume).
    """
    lines = np.moveaxis(volume.array, 2 - axis, -1)
    size = lines.shape[-1]
    lines = lines.reshape(-1, size)
    lines = lines[:: max(1, len(lines) // _LINES)].astype(np.float32)
    lines = lines[lines.std(axis=1) > 0.05 * lines.std()]
    window = np.hanning(size + 2)[1:-1].astype(np.float32)
    centred = (lines - lines.mean(axis=1, keepdims=True)) * window
    power = (np.abs(np.fft.rfft(centred, axis=1)) ** 2).mean(axis=0) if len(lines) else np.zeros(1)
    step = volume.grid.spacing[axis]
    return np.fft.rfftfreq(size, step)[: len(power)], power * step**2 / (size * step)


def isotropy(volume: Volume, axis: int, factor: float) -> float | None:
    """Amplitude of detail across the slices over that in plane: 1 is the same, 0 is none.

    Counted are frequencies between half a cycle per thick slice, beyond which an interpolated
    stack has nothing, and the highest that all axes have.

    Args:
        volume: the result, on its fine grid.
        axis: stored axis across the slices.
        factor: how many fine slices there are for a thick one.

    Returns:
        None where the volume is too small to say.
    """
    if min(volume.grid.shape) < _SMALLEST:
        return None
    lowest = 0.5 / (factor * volume.grid.spacing[axis])
    highest = min(0.5 / s for s in volume.grid.spacing)
    band = np.linspace(lowest, highest, 64)[1:-1]
    if highest <= lowest:
        return None
    totals = [
        float(np.interp(band, *line_spectrum(volume, a)).mean()) for a in range(3)
    ]  # fmt: skip
    in_plane = np.mean([totals[a] for a in range(3) if a != axis])
    return float(np.sqrt(totals[axis] / in_plane)) if in_plane > 0 else None


def stripes(volume: Volume, axis: int, factor: float) -> float | None:
    """How far the power at one cycle per thick slice stands out of its neighbours: 1 is not at all.

    Every thick slice looking unlike the voxels between them would be a stripe in each. Where there
    is less than 1 % of the in-plane power nothing could be seen, and nothing is counted.
    """
    if volume.grid.shape[2 - axis] < 2 * _SMALLEST or factor < 2:
        return None
    frequency, power = line_spectrum(volume, axis)
    in_plane = np.mean(
        [np.interp(frequency, *line_spectrum(volume, a)) for a in range(3) if a != axis], axis=0
    )
    size = volume.grid.shape[2 - axis]
    worst = 0.0
    for harmonic in range(1, int(factor / 2) + 1):
        at = round(harmonic * size / factor)
        if at + 2 > len(power) - 1 or power[at] < _UNSEEN * in_plane[at]:
            break
        near = np.arange(max(1, at - 6), min(len(power), at + 7))
        around = near[np.abs(near - at) > 2]
        if len(around) < 4:
            continue
        # Spectra fall steeply: what stands out does so against the slope.
        slope = np.polyfit(around, np.log(power[around] + 1e-30), 1)
        peak = np.arange(at - 1, at + 2)
        above = np.log(power[peak] + 1e-30) - np.polyval(slope, peak)
        worst = max(worst, float(np.exp(above.max())))
    return worst or 1.0


def displacement(low: Volume, high: Volume, axis: int) -> list[float] | None:
    """How far ``high`` is shifted against the acquired slices, in voxels of ``high`` (i, j, k).

    Least squares on the gradients: the mean of ``high`` over every slice's extent is compared with
    the slice. Edges that stay in place give zero.
    """
    ratio = low.grid.spacing[axis] / high.grid.spacing[axis]
    array = np.moveaxis(high.array, 2 - axis, 0).astype(np.float32)
    acquired = np.moveaxis(low.array, 2 - axis, 0).astype(np.float32)
    smooth = ndimage.gaussian_filter1d(array, ratio / 2.355, axis=0, mode="nearest")
    index = np.zeros((len(acquired), 3))
    index[:, axis] = np.arange(len(acquired))
    at = high.grid.world_to_index(low.grid.index_to_world(index))[:, axis]
    inside = (at >= 0) & (at <= len(array) - 1)
    below = np.minimum(at[inside].astype(int), len(array) - 2)
    part = (at[inside] - below)[:, None, None].astype(np.float32)
    gradients = np.gradient(smooth, axis=0), *np.gradient(smooth, axis=(1, 2))
    seen, *slopes = (g[below] * (1 - part) + g[below + 1] * part for g in (smooth, *gradients))
    inner = (slice(1, -1) if len(seen) > 4 else slice(None), slice(2, -2), slice(2, -2))
    table = np.stack([s[inner].ravel() for s in slopes], axis=1).astype(np.float64)
    gap = (acquired[inside] - seen)[inner].ravel().astype(np.float64)
    table = np.column_stack([table, seen[inner].ravel(), np.ones(len(gap))])
    if np.linalg.matrix_rank(table.T @ table) < table.shape[1]:
        return None
    found = np.linalg.lstsq(table.T @ table, table.T @ gap, rcond=None)[0][:3]
    order = [2 - axis, *(a for a in range(3) if a != 2 - axis)]
    shift = np.empty(3)
    for array_axis, value in zip(order, found, strict=True):
        # a shift of the image by +d subtracts d times the slope
        shift[2 - array_axis] = value
    return [round(float(s), 4) for s in shift]
