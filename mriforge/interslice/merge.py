"""Two proposals for one volume, from lines in two orientations, become one.

*Mean*: half of each, which also averages what is random in them. *Fourier burst accumulation*
(Delbracio and Sapiro 2015, IEEE TIP 24:3293) takes every spatial frequency from whoever has more
of it: the weight of volume ``i`` is ``|F_i|**p / sum_j |F_j|**p``. SMORE (Zhao et al. 2021) merges
its orientations so; a large ``p`` is the maximum of the magnitudes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Merge = Literal["mean", "fba"]

_SLAB_SAMPLES = 4_000_000
_REACH = 3.0
"""A Gaussian is cut at this many standard deviations."""


def merge(
    a: Tensor,
    b: Tensor,
    how: Merge = "mean",
    *,
    power: float = math.inf,
    smoothing: float = 0.0,
) -> Tensor:
    """One volume from two of the same shape.

    Args:
        a, b: ``(high, b, c)``, real.
        how: ``"mean"`` or ``"fba"``.
        power: the exponent ``p`` of Fourier burst accumulation; 0 is the mean, infinity (the
            default) takes the larger magnitude. Delbracio and Sapiro use 11.
        smoothing: standard deviation, in frequency samples, of a Gaussian that smooths the
            magnitudes before they are compared; 0: none. Delbracio and Sapiro smooth by a fiftieth
            of the shorter image side, because camera shake has a smooth spectrum.

    Returns:
        ``(high, b, c)``, float32. Beside the volumes themselves about four more of their size are
        held in memory.

    Raises:
        ValueError: different shapes, an unknown name, a negative exponent or smoothing.
    """
    if a.shape != b.shape or a.dim() != 3:
        raise ValueError(f"two volumes of one shape are merged, not {a.shape} and {b.shape}")
    if how not in ("mean", "fba") or not power >= 0 or not smoothing >= 0:
        raise ValueError(f"no merging {how!r} with power {power} and smoothing {smoothing}")
    if how == "mean":
        return torch.lerp(a.float(), b.float(), 0.5)
    shape = a.shape
    spectra = [torch.fft.rfftn(volume.float()) for volume in (a, b)]
    _accumulate(*spectra, shape[-1], power, smoothing)
    return torch.fft.irfftn(spectra[0], s=shape)


def _accumulate(mine: Tensor, other: Tensor, width: int, power: float, smoothing: float) -> None:
    """Puts the weighted sum of two half spectra into the first, some planes at a time."""
    planes, rows, columns = mine.shape
    reach = math.ceil(_REACH * smoothing) if smoothing else 0
    count = max(1, _SLAB_SAMPLES // (rows * columns))
    # Planes before and behind are needed unchanged after they were overwritten.
    magnitudes = [spectrum.abs() for spectrum in (mine, other)] if reach else None
    for start in range(0, planes, count):
        stop = min(planes, start + count)
        if magnitudes is None:
            compared = [spectrum[start:stop].abs() for spectrum in (mine, other)]
        else:
            index = torch.arange(start - reach, stop + reach) % planes
            compared = [
                _smoothed(magnitude, index, width, smoothing, reach) for magnitude in magnitudes
            ]
        weight = _weight(*compared, power)
        mine[start:stop] = torch.lerp(other[start:stop], mine[start:stop], weight.to(mine.dtype))


def _weight(mine: Tensor, other: Tensor, power: float) -> Tensor:
    """``mine**p / (mine**p + other**p)`` without overflow; a half where both are the same."""
    if math.isinf(power):
        return 0.5 * (1.0 + torch.sign(mine - other))
    tiny = torch.finfo(mine.dtype).tiny
    ratio = mine.clamp(min=tiny).log() - other.clamp(min=tiny).log()
    return torch.sigmoid(power * ratio)


def _smoothed(
    magnitude: Tensor, planes: Tensor, width: int, smoothing: float, reach: int
) -> Tensor:
    """Planes of a half spectrum's magnitude, smoothed; the outer ``reach`` planes are used up.

    A spectrum is periodic. What is beyond the half that is stored is the mirror image of it, as
    the volume is real.
    """
    offsets = torch.arange(-reach, reach + 1, dtype=magnitude.dtype, device=magnitude.device)
    kernel = torch.exp(-0.5 * (offsets / smoothing).square())
    kernel = kernel / kernel.sum()
    total_planes, rows, columns = magnitude.shape
    beyond = torch.arange(-reach, columns + reach, device=magnitude.device) % width
    stored = beyond < columns
    taken = torch.where(stored, beyond, (width - beyond) % width)
    # -k modulo n: the mirror image of index k.
    there = magnitude[planes][:, :, taken]
    mirrored_planes = (-planes) % total_planes
    mirrored_rows = (-torch.arange(rows, device=magnitude.device)) % rows
    here = magnitude[mirrored_planes][:, mirrored_rows][:, :, taken]
    padded = torch.where(stored, there, here)
    around = torch.arange(-reach, rows + reach, device=magnitude.device) % rows
    padded = padded[:, around]
    for axis in (0, 1, 2):
        padded = _convolved(padded, kernel, axis)
    return padded


def _convolved(tensor: Tensor, kernel: Tensor, axis: int) -> Tensor:
    """``tensor`` with ``kernel`` along one axis; only where the kernel fits."""
    moved = tensor.movedim(axis, -1)
    lines = moved.reshape(-1, 1, moved.shape[-1])
    result = functional.conv1d(lines, kernel[None, None])
    return result.reshape(*moved.shape[:-1], -1).movedim(-1, axis)
