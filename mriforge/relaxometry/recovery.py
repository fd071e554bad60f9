"""T1 of every voxel from a series of images after an inversion.

Real, complex (one phase in every voxel, the best one is taken) and magnitude images (the images
before the zero crossing get their sign back: every place for the crossing is tried, and the one
with the smallest residual is taken; Nekolla et al. 1992, Xue et al. 2013 for the several places).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.relaxometry.models import RecoveryModel
from mriforge.relaxometry.result import Flag, T1Map
from mriforge.relaxometry.varpro import (
    CurveTable,
    Estimate,
    best_curves,
    compact_basis,
    curve_table,
    time_grid,
)

SIGNALS = ("magnitude", "real", "complex")
_CHUNK = 1 << 14  # voxels; the table of products then takes a few ten MiB
_SHORT = 32
"""Images up to which the fit is done in double precision and without a compact basis."""
_SINGLE = 1e-7
_FLAT = {torch.float64: 1e-12, torch.float32: 3e-6}
"""Power of the change over the series, relative to all of it, that is only rounding."""


@dataclass(frozen=True)
class _Reader:
    """The coordinates of a series in which it is fitted.

    Attributes:
        basis: ``(D, T)`` orthonormal rows, or None for the series itself.
        dtype: real type of the computation.
        samples: independent values of a series, for the degrees of freedom.
    """

    basis: torch.Tensor | None
    dtype: torch.dtype
    samples: int


def fit_recovery(
    series: np.ndarray,
    times_s: np.ndarray,
    model: RecoveryModel | None = None,
    signal: str | None = None,
    mask: np.ndarray | None = None,
    device: torch.device | str = "cpu",
    events: Events | None = None,
) -> T1Map:
    """T1 by least squares over all images, in every voxel.

    Args:
        series: ``(T, ...)`` real or complex images.
        times_s: ``(T,)`` seconds since the inversion, any order. For ``irflash`` that is the
            number of the pulse times the repetition time.
        model: which recovery; default plain inversion recovery.
        signal: one of :data:`SIGNALS`; default: complex for complex, magnitude for real images.
        mask: ``(...)`` where to fit; default everywhere.
        device: where to compute.
        events: progress and cancellation.

    Returns:
        maps of the shape of an image.

    Raises:
        BadInput: fewer than three images, times that do not fit, nothing but zeros.
    """
    model, events = model or RecoveryModel(), events or Events()
    series, times_s = np.asarray(series), np.asarray(times_s, np.float64)
    signal = _check(series, times_s, model, signal, mask)
    order = np.argsort(times_s, kind="stable")
    short = len(times_s) <= _SHORT and torch.device(device).type != "mps"
    dtype = torch.float64 if short else torch.float32
    log_times = time_grid(model.apparent_bounds_s)
    ordered = times_s[order]
    basis = None if short else compact_basis(ordered, log_times, _SINGLE)
    table = curve_table(ordered, log_times, basis, model.inversion, device)
    rows = None if basis is None else torch.as_tensor(basis, dtype=dtype, device=device)
    reader = _Reader(rows, dtype, len(times_s))
    flat = series.reshape(len(series), -1)
    flags = np.full(flat.shape[1], Flag.FITTED, np.uint8)
    if mask is not None:
        flags[~np.asarray(mask, bool).ravel()] = Flag.OUTSIDE
    maps = np.zeros((5, flat.shape[1]), np.float32)
    sorted_already = bool((np.diff(order) == 1).all())
    for start in range(0, flat.shape[1], _CHUNK):
        events.check_cancelled()
        piece = slice(start, min(start + _CHUNK, flat.shape[1]))
        voxels = np.flatnonzero(flags[piece] == Flag.FITTED)
        if len(voxels):
            block = flat[:, piece] if sorted_already else flat[order, piece]
            block = block if len(voxels) == block.shape[1] else block[:, voxels]
            found, state = _fit_block(_tensor(block, dtype, device), table, reader, signal)
            store(maps, flags, start + voxels, model, found, state, reader.samples)
        events.progress(piece.stop / flat.shape[1], "fitting T1")
    about = about_fit(model, signal, len(times_s))
    return as_map(maps, flags, series.shape[1:], about)


def as_map(maps: np.ndarray, flags: np.ndarray, shape: tuple[int, ...], about: dict) -> T1Map:
    """A :class:`T1Map` of ``shape`` from ``(5, V)`` rows and ``(V,)`` flags."""
    maps[:, flags != Flag.FITTED] = 0
    t1, r_squared, error, amplitude, inversion = (row.reshape(shape) for row in maps)
    return T1Map(t1, r_squared, error, amplitude, inversion, flags.reshape(shape), about)


def about_fit(model: RecoveryModel, signal: str, images: int) -> dict:
    """What a map says of its own making, JSON types."""
    about = {"model": model.kind, "signal": signal, "images": images}
    about["t1_range_ms"] = [1000 * bound for bound in model.bounds_s]
    if model.inversion is not None:
        about["inversion"] = model.inversion
    if model.kind == "irflash":
        about |= {"repetition_ms": 1000 * model.repetition_s, "flip_deg": model.flip_deg}
    return about


def _check(
    series: np.ndarray,
    times_s: np.ndarray,
    model: RecoveryModel,
    signal: str | None,
    mask: np.ndarray | None,
) -> str:
    """Refuses what cannot be fitted; the kind of signal."""
    complex_ = series.dtype.kind == "c"
    signal = signal or ("complex" if complex_ else "magnitude")
    if signal not in SIGNALS:
        raise ValueError(f"{signal!r} is not one of {SIGNALS}")
    if complex_ != (signal == "complex"):
        raise BadInput(
            f"The images are {'complex' if complex_ else 'real'}, "
            f"and cannot be fitted as {signal} images."
        )
    check_series(series, mask)
    if times_s.shape != series.shape[:1]:
        raise BadInput(
            f"There are {len(series)} images and {times_s.size} inversion times.",
            "Give one time for each image.",
        )
    if not np.isfinite(times_s).all() or (times_s < 0).any():
        raise BadInput("Inversion times must be numbers, and not negative.")
    distinct = len(np.unique(times_s))
    if distinct < model.parameters:
        raise BadInput(
            f"The model has {model.parameters} parameters and there are only "
            f"{distinct} different inversion times.",
            "Take more images.",
        )
    return signal


def check_series(series: np.ndarray, mask: np.ndarray | None, least: int = 3) -> None:
    """Refuses too few images, images without signal and masks of another shape or of nothing."""
    if series.ndim < 2 or len(series) < least:
        count = len(series) if series.ndim >= 2 else 1
        raise BadInput(
            f"A T1 map needs at least {least} images, not {count}.",
            "Give the whole series.",
        )
    if mask is not None and np.shape(mask) != series.shape[1:]:
        raise BadInput(f"The mask has shape {np.shape(mask)}, the images {series.shape[1:]}.")
    if mask is not None and not np.any(mask):
        raise BadInput("The mask is empty.")
    if not np.any(series):
        raise BadInput("All images are zero.", "Check that the right series was exported.")


def _tensor(block: np.ndarray, dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
    """``(T, v)`` on the device; real or complex of the wanted precision."""
    if block.dtype.kind == "c":
        wanted = np.complex128 if dtype == torch.float64 else np.complex64
    else:
        wanted = np.float64 if dtype == torch.float64 else np.float32
    return torch.from_numpy(np.ascontiguousarray(block, wanted)).to(device)


def _fit_block(
    block: torch.Tensor, table: CurveTable, reader: _Reader, signal: str
) -> tuple[Estimate, torch.Tensor]:
    """Best curves of ``(T, v)``, and the flag of every voxel before T1 is known."""
    finite = torch.isfinite(block).all(0)
    if signal == "magnitude":
        finite &= (block >= 0).all(0)
    block = torch.where(finite, block, 0) if not finite.all() else block
    if signal == "complex":
        found, total = in_phase(_coordinates(block, reader), *_powers(block), table)
    else:
        energy = (block * block).sum(0)
        data, total = _coordinates(block, reader), energy
        if signal == "real":
            found = upright(best_curves(data, energy, table, 1 if not table.free else 0))
        else:
            found = _with_polarity(block, data, energy, table, reader)
    state = torch.where(finite, int(Flag.FITTED), int(Flag.BAD_INPUT)).to(torch.uint8)
    state[finite & (found.total <= _FLAT[reader.dtype] * total)] = int(Flag.NO_SIGNAL)
    return found, state


def _coordinates(block: torch.Tensor, reader: _Reader) -> torch.Tensor:
    """``(v, D)`` of ``(T, v)``."""
    if reader.basis is None:
        return block.T.contiguous()
    if block.is_complex():
        return torch.complex(block.real.T @ reader.basis.T, block.imag.T @ reader.basis.T)
    return block.T @ reader.basis.T


def _powers(block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of ``|y|^2`` and of ``y^2`` over the first axis."""
    real, imag = block.real, block.imag
    a, b = real.square().sum(0), imag.square().sum(0)
    return a + b, torch.complex(a - b, 2 * (real * imag).sum(0))


def in_phase(
    data: torch.Tensor, energy: torch.Tensor, squares: torch.Tensor, table: CurveTable
) -> tuple[Estimate, torch.Tensor]:
    """Best real curve times one phase of complex coordinates ``(v, D)``.

    For noise that is equal in both channels the likeliest phase of a real curve of any shape is
    half the argument of the sum of ``y^2``; the energy in that phase is (|sum y^2| + sum |y|^2)/2.

    Args:
        data: complex, in the coordinates of the table.
        energy: ``(v,)`` sum of ``|y|^2`` over the series.
        squares: ``(v,)`` complex, sum of ``y^2`` over the series.
        table: the curves.

    Returns:
        the estimate, and the energy in the phase.
    """
    turn = torch.polar(torch.ones_like(energy), -squares.angle() / 2)[:, None]
    rotated = data.real * turn.real - data.imag * turn.imag
    kept = (energy + squares.abs()) / 2
    return upright(best_curves(rotated, kept, table)), kept


def upright(found: Estimate) -> Estimate:
    """The same with the sign that lets the curve rise; the sign of the data is not known."""
    if found.end is found.change:  # one amplitude
        end = found.change.abs()
        return _changed(found, end=end, change=end)
    sign = -found.change.sign()
    return _changed(
        found,
        end=found.end * sign,
        change=found.change * sign,
        unit_amplitude=found.unit_amplitude * sign,
    )


def _changed(found: Estimate, **values: torch.Tensor) -> Estimate:
    return Estimate(**{**vars(found), **values})


def _with_polarity(
    block: torch.Tensor,
    data: torch.Tensor,
    energy: torch.Tensor,
    table: CurveTable,
    reader: _Reader,
) -> Estimate:
    """The best of all places where the magnitudes may have crossed zero."""
    sign = -1 if table.free else 1
    best = best_curves(data, energy, table, sign)
    data = data.clone()
    for image in range(len(block)):
        if reader.basis is None:
            data[:, image] = -block[image]
        else:
            data -= 2 * block[image][:, None] * reader.basis[:, image]
        other = best_curves(data, energy, table, sign)
        # A curve with the wrong sign is no candidate as long as there is another.
        possible = other.unit_amplitude * sign > 0
        better = possible & ((other.residual < best.residual) | (best.unit_amplitude * sign <= 0))
        best = other.where(better, best)
    return best


def store(
    maps: np.ndarray,
    flags: np.ndarray,
    where: np.ndarray,
    model: RecoveryModel,
    found: Estimate,
    state: torch.Tensor,
    samples: int,
) -> None:
    """T1 and its quality into the rows of ``maps``, and why not into ``flags``."""
    t1, unit_error = model.t1(found)
    free = samples - model.parameters
    noise = (found.residual / free).sqrt() if free > 0 else torch.full_like(t1, torch.nan)
    low, high = model.bounds_s
    margin = 1 + 1e-6
    at_bound = ~found.inside | (t1 < low / margin) | (t1 > high * margin)
    ratio = found.change / found.end
    physical = (found.end > 0) & torch.isfinite(t1) & torch.isfinite(unit_error)
    if model.inversion is None:
        physical &= found.change < 0
    fitted = state == int(Flag.FITTED)
    state[fitted & at_bound] = int(Flag.AT_BOUND)
    state[fitted & ~physical] = int(Flag.UNPHYSICAL)
    explained = 1 - found.residual / found.total
    start = 1 + ratio if model.inversion is None else torch.full_like(t1, model.inversion or 0.0)
    rows = torch.stack(
        [1000 * t1, explained.clamp(0, 1), 1000 * noise * unit_error, found.end, start]
    )
    maps[:, where] = rows.to(torch.float32).cpu().numpy()
    flags[where] = state.cpu().numpy()
