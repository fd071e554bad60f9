"""T1 from steady states at several flip angles (DESPOT1, variable flip angle).

``S = M sin a (1 - E) / (1 - E cos a)``, ``E = exp(-TR / T1)``. The straight line
``S / sin a = E S / tan a + M (1 - E)`` (Fram 1987; Deoni 2003) starts the search but weighs the
noise wrongly; Gauss-Newton steps on the logarithm of T1, with M eliminated, end it.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.relaxometry.models import BOUNDS_S
from mriforge.relaxometry.recovery import as_map, check_series
from mriforge.relaxometry.result import Flag, T1Map
from mriforge.relaxometry.varpro import exact_dtype

_CHUNK = 1 << 15
_STARTS = 12
_STEPS = 50
_CONVERGED = 1e-8
_FLAT = 1e-6


def fit_flip_angles(
    series: np.ndarray,
    flip_deg: np.ndarray,
    repetition_s: float,
    mask: np.ndarray | None = None,
    b1: np.ndarray | None = None,
    bounds_s: tuple[float, float] = BOUNDS_S,
    device: torch.device | str = "cpu",
    events: Events | None = None,
) -> T1Map:
    """T1 by least squares over all flip angles, in every voxel.

    Args:
        series: ``(A, ...)`` real spoiled gradient-echo images.
        flip_deg: ``(A,)`` nominal flip angles in degrees, any order.
        repetition_s: time between pulses in seconds.
        mask: ``(...)`` where to fit; default everywhere.
        b1: ``(...)`` true flip angle relative to the nominal one; default 1.
        bounds_s: range of T1 in seconds.
        device: where to compute.
        events: progress and cancellation.

    Returns:
        maps of the shape of an image; ``amplitude`` is M, ``inversion`` 1.

    Raises:
        BadInput: fewer than three images or two angles, angles that do not fit, only zeros.
    """
    events = events or Events()
    series, flip_deg = np.asarray(series), np.asarray(flip_deg, np.float64)
    _check(series, flip_deg, repetition_s, mask, b1, bounds_s)
    flat = series.reshape(len(series), -1)
    flags = np.full(flat.shape[1], Flag.FITTED, np.uint8)
    if mask is not None:
        flags[~np.asarray(mask, bool).ravel()] = Flag.OUTSIDE
    scale = None if b1 is None else np.asarray(b1, np.float64).ravel()
    if scale is not None:
        flags[(flags == Flag.FITTED) & ~(np.isfinite(scale) & (scale > 0))] = Flag.BAD_INPUT
    maps = np.zeros((5, flat.shape[1]), np.float32)
    dtype = exact_dtype(device)
    angles = torch.as_tensor(np.deg2rad(flip_deg), dtype=dtype, device=device)
    for start in range(0, flat.shape[1], _CHUNK):
        events.check_cancelled()
        voxels = start + np.flatnonzero(flags[start : start + _CHUNK] == Flag.FITTED)
        if len(voxels):
            block = torch.as_tensor(flat[:, voxels].T, dtype=dtype, device=device)
            own = angles.expand(len(voxels), -1)
            if scale is not None:
                own = own * torch.as_tensor(scale[voxels], dtype=dtype, device=device)[:, None]
            rows, state = _fit(block, own, repetition_s, bounds_s)
            maps[:, voxels] = rows.to(torch.float32).cpu().numpy()
            flags[voxels] = state.cpu().numpy()
        events.progress(min(1.0, (start + _CHUNK) / flat.shape[1]), "fitting T1")
    about = {
        "model": "vfa",
        "images": len(series),
        "repetition_ms": 1000 * repetition_s,
        "flip_angles_deg": flip_deg.tolist(),
        "b1": b1 is not None,
        "t1_range_ms": [1000 * bound for bound in bounds_s],
    }
    return as_map(maps, flags, series.shape[1:], about)


def _check(
    series: np.ndarray,
    flip_deg: np.ndarray,
    repetition_s: float,
    mask: np.ndarray | None,
    b1: np.ndarray | None,
    bounds_s: tuple[float, float],
) -> None:
    check_series(series, mask)
    if series.dtype.kind == "c":
        raise BadInput("The images are complex; flip angles are fitted to magnitudes.")
    if flip_deg.shape != series.shape[:1]:
        raise BadInput(
            f"There are {len(series)} images and {flip_deg.size} flip angles.",
            "Give one angle for each image.",
        )
    if not ((flip_deg > 0) & (flip_deg < 180)).all():
        raise BadInput("Flip angles must be between 0 and 180 degrees.")
    if len(np.unique(flip_deg)) < 2:
        raise BadInput("All images have the same flip angle.", "T1 needs at least two angles.")
    if not repetition_s > 0:
        raise BadInput("The time between pulses (TR) must be positive.")
    if b1 is not None and np.shape(b1) != series.shape[1:]:
        raise BadInput(f"The B1 map has shape {np.shape(b1)}, the images {series.shape[1:]}.")
    low, high = bounds_s
    if not 0 < low < high < math.inf:
        raise BadInput(f"T1 cannot be searched between {low:g} and {high:g} s.")


def _fit(
    block: torch.Tensor, flip: torch.Tensor, repetition_s: float, bounds_s: tuple[float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the map ``(5, v)`` and flags ``(v,)`` of ``(v, A)`` signals and angles (radians)."""
    finite = torch.isfinite(block).all(1)
    block = torch.where(finite[:, None], block, 0)
    low, high = (math.log(bound) for bound in bounds_s)
    turn = flip.sin(), flip.cos()
    log_t1 = _search(block, turn, repetition_s, low, high)
    size, _, slope, amplitude = _reduced(block, turn, repetition_s, log_t1)
    energy = block.square().sum(1)
    residual = (energy - amplitude.square()).clamp_min(0)
    total = energy - block.sum(1).square() / block.shape[1]
    noise = (residual / (block.shape[1] - 2)).sqrt()
    t1 = log_t1.exp()
    error = t1 * noise / (amplitude.abs() * slope.norm(dim=1))
    explained = (1 - residual / total).clamp(0, 1)
    rows = torch.stack([1000 * t1, explained, 1000 * error, amplitude / size, torch.ones_like(t1)])
    state = torch.full((len(block),), int(Flag.FITTED), dtype=torch.uint8, device=block.device)
    edge = 1e-6 * (high - low)
    state[(log_t1 <= low + edge) | (log_t1 >= high - edge)] = int(Flag.AT_BOUND)
    state[~(amplitude > 0) | ~torch.isfinite(error)] = int(Flag.UNPHYSICAL)
    state[total <= _FLAT**2 * energy] = int(Flag.NO_SIGNAL)
    state[~finite] = int(Flag.BAD_INPUT)
    return rows, state


def _search(
    block: torch.Tensor,
    turn: tuple[torch.Tensor, torch.Tensor],
    repetition_s: float,
    low: float,
    high: float,
) -> torch.Tensor:
    """Damped Gauss-Newton steps on log T1; voxels that have converged are left alone."""
    log_t1 = _start(block, turn, repetition_s, low, high)
    active = torch.arange(len(block), device=block.device)
    damping = torch.full_like(log_t1, 1e-3)
    tiny = torch.finfo(block.dtype).tiny
    for _ in range(_STEPS):
        data, flip, now = block[active], tuple(part[active] for part in turn), log_t1[active]
        _, _, slope, amplitude = _reduced(data, flip, repetition_s, now)
        steep = (amplitude.square() * slope.square().sum(1)).clamp_min(tiny)
        step = amplitude * (data * slope).sum(1) / (steep * (1 + damping[active]))
        tried = (now + step.nan_to_num(0).clamp(-1, 1)).clamp(low, high)
        better = _reduced(data, flip, repetition_s, tried)[3] >= amplitude
        log_t1[active] = torch.where(better, tried, now)
        damping[active] *= torch.where(better, 0.1, 10.0)
        # Rejected steps shrink until they are below what counts.
        active = active[(tried - now).abs() > _CONVERGED]
        if not len(active):
            break
    return log_t1


def _reduced(
    block: torch.Tensor,
    turn: tuple[torch.Tensor, torch.Tensor],
    repetition_s: float,
    log_t1: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Length of the unit-M signal, unit vector, its derivative by log T1, and its product."""
    ratio = repetition_s * torch.exp(-log_t1)[:, None]
    decay = torch.exp(-ratio)
    sine, cosine = turn
    below = 1 - decay * cosine
    signal = sine * -torch.expm1(-ratio) / below
    # dS/dE = sin a (cos a - 1) / (1 - E cos a)^2, dE/dlogT1 = E TR / T1
    change = sine * (cosine - 1) / below.square() * decay * ratio
    size = signal.norm(dim=1)
    unit = signal / size[:, None]
    change = change / size[:, None]
    slope = change - (change * unit).sum(1, keepdim=True) * unit
    return size, unit, slope, (block * unit).sum(1)


def _start(
    block: torch.Tensor,
    turn: tuple[torch.Tensor, torch.Tensor],
    repetition_s: float,
    low: float,
    high: float,
) -> torch.Tensor:
    """The straight line's T1, or a better one of a few spread over the range."""
    x, y = block * turn[1] / turn[0], block / turn[0]
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    decay = ((x * y).sum(1) / x.square().sum(1)).nan_to_num(0.5).clamp(1e-6, 1 - 1e-9)
    best = (-repetition_s / decay.log()).log().clamp(low, high)
    score = _reduced(block, turn, repetition_s, best)[3]
    for other in torch.linspace(low, high, _STARTS + 2)[1:-1].tolist():
        tried = torch.full_like(best, other)
        found = _reduced(block, turn, repetition_s, tried)[3]
        best, score = torch.where(found > score, tried, best), torch.maximum(found, score)
    return best
