"""T1 from factors: the recoveries are never formed, only their few coefficients."""

from __future__ import annotations

import numpy as np
import torch

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.factors import Factors
from mriforge.relaxometry.models import BOUNDS_S, RecoveryModel
from mriforge.relaxometry.recovery import about_fit, as_map, check_series, in_phase, store, upright
from mriforge.relaxometry.result import Flag, T1Map
from mriforge.relaxometry.varpro import (
    CurveTable,
    Estimate,
    best_curves,
    compact_basis,
    curve_table,
    time_grid,
)

_CHUNK = 1 << 14
_TOLERANCE = 1e-6
_FLAT = 3e-6
"""Power of the change over the series, relative to all of it, that is only rounding."""


def t1_from_factors(
    factors: Factors,
    cardiac: int,
    respiratory: int,
    repetition_s: float,
    flip_deg: float,
    pulses: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    *,
    inversion: float | None = None,
    bounds_s: tuple[float, float] = BOUNDS_S,
    device: torch.device | str = "cpu",
    events: Events | None = None,
) -> T1Map:
    """T1 of one cardiac and respiratory phase, by least squares over all its inversion times.

    The temporal factor ``(L, T)`` is multiplied once by the ten or so vectors ``(D, T)`` that the
    curves need; ``(D, L)`` times the spatial factor is what is fitted. The estimates are those of
    a fit to the T images.

    Args:
        factors: the reconstruction.
        cardiac: cardiac phase.
        respiratory: respiratory phase.
        repetition_s: time between pulses in seconds.
        flip_deg: flip angle in degrees.
        pulses: ``(T,)`` number of the pulse since the inversion of every inversion bin; default
            from the inversion times.
        mask: ``(z, y, x)`` where to fit.
        inversion: starting magnetisation relative to the steady state, where it is known.
        bounds_s: range of T1 in seconds.
        device: where to compute.
        events: progress and cancellation.

    Raises:
        BadInput: no such phase, fewer than three inversion times, only zeros.
    """
    phases, breaths, images = factors.bins
    if not (0 <= cardiac < phases and 0 <= respiratory < breaths):
        raise BadInput(
            f"There is no cardiac phase {cardiac} with respiratory phase {respiratory}.",
            f"There are {phases} and {breaths}, counted from 0.",
        )
    if pulses is None:
        pulses = np.asarray(factors.inversion_times_s) / repetition_s
    if np.shape(pulses) != (images,):
        raise BadInput(f"There are {images} inversion times and {np.size(pulses)} pulse numbers.")
    model = RecoveryModel("irflash", bounds_s, inversion, repetition_s, flip_deg)
    times_s = np.asarray(pulses, np.float64) * repetition_s
    basis = compact_basis(times_s, time_grid(model.apparent_bounds_s), _TOLERANCE)
    temporal = factors.temporal[:, cardiac, respiratory].astype(np.float64)
    # Coordinates in which lengths of whole series are those of their coefficients:
    lengths = np.linalg.qr(temporal.T, mode="r")
    return t1_from_coefficients(
        factors.spatial,
        basis,
        pulses,
        model,
        mask,
        mix=basis @ temporal.T,
        lengths=lengths,
        device=device,
        events=events,
    )


def t1_from_coefficients(
    coefficients: np.ndarray,
    basis: np.ndarray,
    pulses: np.ndarray,
    model: RecoveryModel,
    mask: np.ndarray | None = None,
    *,
    mix: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    device: torch.device | str = "cpu",
    events: Events | None = None,
) -> T1Map:
    """T1 from products of a series with a few orthonormal vectors, such as a dictionary's.

    Args:
        coefficients: ``(K, ...)`` real or complex; of complex ones the likeliest phase is taken.
        basis: ``(D, T)`` orthonormal rows.
        pulses: ``(T,)`` number of the pulse of every inversion time.
        model: of kind ``irflash``.
        mask: ``(...)`` where to fit.
        mix: ``(D, K)`` from coefficients to products with ``basis``; default: they are those.
        lengths: ``(K', K)`` matrix under which coefficients have the length of the whole series;
            default: the series is in the span of ``basis``.
        device: where to compute.
        events: progress and cancellation.

    Raises:
        BadInput: shapes that do not fit, only zeros.
    """
    events = events or Events()
    coefficients = np.asarray(coefficients)
    check_series(coefficients, mask, least=1)
    inner = basis.shape[0] if mix is None else mix.shape[1]
    if len(coefficients) != inner or basis.shape[1] != len(pulses):
        raise BadInput(
            f"{len(coefficients)} coefficients and {len(pulses)} inversion times "
            f"do not belong to a basis of shape {basis.shape}."
        )
    if len(pulses) < model.parameters:
        raise BadInput(f"A T1 map needs at least {model.parameters} inversion times.")
    times_s = np.asarray(pulses, np.float64) * model.repetition_s
    log_times = time_grid(model.apparent_bounds_s)
    table = curve_table(times_s, log_times, basis, model.inversion, device)
    matrices = [None if m is None else _real(m, device) for m in (mix, lengths)]
    samples = min(len(pulses), inner)
    flat = coefficients.reshape(len(coefficients), -1)
    flags = np.full(flat.shape[1], Flag.FITTED, np.uint8)
    if mask is not None:
        flags[~np.asarray(mask, bool).ravel()] = Flag.OUTSIDE
    maps = np.zeros((5, flat.shape[1]), np.float32)
    for start in range(0, flat.shape[1], _CHUNK):
        events.check_cancelled()
        voxels = np.flatnonzero(flags[start : start + _CHUNK] == Flag.FITTED)
        block = flat[:, start : start + _CHUNK]
        if not len(voxels):
            continue
        block = block if len(voxels) == block.shape[1] else block[:, voxels]
        found, state = _fit(_channels(block, device), *matrices, table)
        store(maps, flags, start + voxels, model, found, state, samples)
        events.progress(min(1.0, (start + _CHUNK) / flat.shape[1]), "fitting T1")
    signal = "complex" if coefficients.dtype.kind == "c" else "real"
    about = {**about_fit(model, signal, len(pulses)), "coefficients": len(basis)}
    return as_map(maps, flags, coefficients.shape[1:], about)


def _real(matrix: np.ndarray, device: torch.device | str) -> torch.Tensor:
    return torch.as_tensor(np.asarray(matrix), dtype=torch.float32, device=device)


def _channels(block: np.ndarray, device: torch.device | str) -> torch.Tensor:
    """``(1 or 2, K, v)`` float32: real, and imaginary part where there is one."""
    parts = (block.real, block.imag) if block.dtype.kind == "c" else (block,)
    return torch.stack([torch.from_numpy(np.array(p, np.float32, order="C")) for p in parts]).to(
        device
    )


def _fit(
    parts: torch.Tensor,
    mix: torch.Tensor | None,
    lengths: torch.Tensor | None,
    table: CurveTable,
) -> tuple[Estimate, torch.Tensor]:
    """Best curves of ``(channel, K, v)``, and flags."""
    finite = torch.isfinite(parts).all(0).all(0)
    parts = parts if finite.all() else torch.where(finite, parts, 0)
    data = parts if mix is None else mix @ parts
    whole = parts if lengths is None else lengths @ parts
    powers = whole.square().sum(1)
    data = data.transpose(1, 2)
    if len(parts) == 1:
        energy = powers[0]
        found = upright(best_curves(data[0].contiguous(), energy, table))
    else:
        cross = torch.complex(powers[0] - powers[1], 2 * (whole[0] * whole[1]).sum(0))
        found, energy = in_phase(
            torch.complex(data[0].contiguous(), data[1].contiguous()),
            powers[0] + powers[1],
            cross,
            table,
        )
    state = torch.where(finite, int(Flag.FITTED), int(Flag.BAD_INPUT)).to(torch.uint8)
    state[finite & (found.total <= _FLAT * energy)] = int(Flag.NO_SIGNAL)
    return found, state
