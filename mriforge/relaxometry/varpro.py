"""Variable projection for curves with one time constant: many voxels, one matrix product.

The model is ``y(t) = p0 + p1 exp(-t / T)`` or ``y(t) = p1 [1 + (B - 1) exp(-t / T)]``. For every T
of a fine logarithmic grid the amplitudes are eliminated (Golub and Pereyra 1973): what is left of
the curve is a unit vector ``q(T)``, and the residual is ``|y|^2 - (e y)^2 - (q(T) y)^2``. Between
the two grid points around the best one ``q(T) y`` is a cubic through values and slopes, so that
its extreme is the root of a quadratic and needs no iterations.

Every curve of the family lies, to single precision, in a space of about ten dimensions. Long
series are projected to it first, which changes no estimate: the residual outside is a constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

STEP = 0.04
"""Of the grid, in the logarithm of the time constant; what is left of an interpolation error is
a few 1e-6 of T1 (tested)."""


@dataclass(frozen=True)
class CurveTable:
    """Curves with one time constant, in the coordinates of the data.

    Attributes:
        log_times: ``(G,)`` logarithms of the time constants (s), equally spaced.
        constant: ``(D,)`` unit vector of the constant.
        length: Euclidean length of the constant curve ``1`` in these coordinates.
        free: the model has an amplitude of the constant of its own (``p0``).
        search: ``(G, D)`` unit vectors ``q``, float32: enough to find the best of the grid.
        unit: the same; what follows is in double precision where the device has it.
        slope: ``(G, D)`` derivative of ``q`` with respect to the logarithm of the time constant.
        size: ``(G, 2)`` length of the curve before it was made a unit vector, and its derivative.
        offset: ``(G, 2)`` product of curve and ``constant``, and its derivative.
    """

    log_times: torch.Tensor
    constant: torch.Tensor
    length: float
    free: bool
    search: torch.Tensor
    unit: torch.Tensor
    slope: torch.Tensor
    size: torch.Tensor
    offset: torch.Tensor

    @property
    def step(self) -> float:
        """Between neighbours of :attr:`log_times`."""
        return float(self.log_times[1] - self.log_times[0])


@dataclass(frozen=True)
class Estimate:
    """Best curve of every voxel ``(V,)``.

    Attributes:
        log_time: logarithm of the time constant (s).
        end: ``p0``; without a free constant the same as ``change``.
        change: ``p1``.
        unit_amplitude: ``q y``.
        unit_slope: length of ``dq / d log T``.
        residual: squared, summed over the series.
        total: squared distance of the series from its mean.
        inside: the best time constant is not at an end of the grid.
        size: ``(V, 2)``, see :class:`CurveTable`, at the estimate.
        offset: ``(V, 2)``, see :class:`CurveTable`, at the estimate.
        length: see :class:`CurveTable`.
    """

    log_time: torch.Tensor
    end: torch.Tensor
    change: torch.Tensor
    unit_amplitude: torch.Tensor
    unit_slope: torch.Tensor
    residual: torch.Tensor
    total: torch.Tensor
    inside: torch.Tensor
    size: torch.Tensor
    offset: torch.Tensor
    length: float

    def where(self, better: torch.Tensor, other: Estimate) -> Estimate:
        """This estimate where ``better`` ``(V,)``, elsewhere ``other``."""
        chosen = {}
        for name, value in vars(self).items():
            if name == "length":
                chosen[name] = value
                continue
            choice = better if value.ndim == 1 else better[:, None]
            chosen[name] = torch.where(choice, value, getattr(other, name))
        return Estimate(**chosen)


def exact_dtype(device: torch.device | str) -> torch.dtype:
    """Double precision, which Apple's GPU does not have."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64


def time_grid(bounds_s: tuple[float, float], step: float = STEP) -> np.ndarray:
    """Logarithms of time constants, equally spaced, from one bound to the other."""
    low, high = (math.log(bound) for bound in bounds_s)
    return np.linspace(low, high, max(4, math.ceil((high - low) / step) + 1))


def curves(times_s: np.ndarray, log_times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``exp(-t / T)`` and its derivative with respect to ``log T``, both ``(G, T)`` float64."""
    ratio = np.asarray(times_s, np.float64) * np.exp(-np.asarray(log_times, np.float64))[:, None]
    decay = np.exp(-ratio)
    return decay, ratio * decay


def compact_basis(times_s: np.ndarray, log_times: np.ndarray, tolerance: float) -> np.ndarray:
    """Orthonormal rows ``(D, T)`` that hold the constant and all curves to ``tolerance``.

    The first row is the constant; the others are singular vectors of the unit curves.
    """
    decay, _ = curves(times_s, log_times)
    decay -= decay.mean(1, keepdims=True)
    decay /= np.maximum(np.linalg.norm(decay, axis=1, keepdims=True), np.finfo(float).tiny)
    _, values, vectors = np.linalg.svd(decay, full_matrices=False)
    kept = vectors[values > tolerance * values[0]]
    constant = np.full((1, len(times_s)), 1 / math.sqrt(len(times_s)))
    return np.concatenate([constant, kept])


def curve_table(
    times_s: np.ndarray,
    log_times: np.ndarray,
    basis: np.ndarray | None = None,
    inversion: float | None = None,
    device: torch.device | str = "cpu",
) -> CurveTable:
    """The curves of all time constants of a grid.

    Args:
        times_s: ``(T,)`` in seconds.
        log_times: ``(G,)``, see :func:`time_grid`.
        basis: ``(D, T)`` orthonormal rows; the data are given as products with them. None: the
            data are the curves themselves.
        inversion: B where it is known: the model then has one amplitude and no free constant.
        device: where the tables are.
    """
    decay, change = curves(times_s, log_times)
    one = np.ones(len(times_s))
    if inversion is not None:
        decay, change = 1 + (inversion - 1) * decay, (inversion - 1) * change
    if basis is not None:
        decay, change, one = decay @ basis.T, change @ basis.T, basis @ one
    length = float(np.linalg.norm(one))
    constant = one / length
    offset = np.stack([decay @ constant, change @ constant], axis=1)
    if inversion is None:
        decay = decay - offset[:, :1] * constant
        change = change - offset[:, 1:] * constant
    size = np.linalg.norm(decay, axis=1, keepdims=True)
    unit = decay / size
    growth = (unit * change).sum(1, keepdims=True)
    slope = (change - growth * unit) / size

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, dtype=exact_dtype(device), device=device)

    return CurveTable(
        torch.as_tensor(np.asarray(log_times), dtype=torch.float64),
        tensor(constant),
        length,
        inversion is None,
        torch.as_tensor(unit, dtype=torch.float32, device=device),
        tensor(unit),
        tensor(slope),
        tensor(np.concatenate([size, growth], axis=1)),
        tensor(offset),
    )


def best_curves(
    data: torch.Tensor, energy: torch.Tensor, table: CurveTable, sign: int = 0
) -> Estimate:
    """The least-squares curve of every voxel.

    Args:
        data: ``(V, D)`` real, in the coordinates of the table.
        energy: ``(V,)`` squared length of the whole series, also what the coordinates leave out.
        table: the curves.
        sign: 1 or -1 allows only amplitudes ``p1`` of this sign; 0 allows both.
    """
    product = data.to(torch.float32) @ table.search.T
    data = data.to(table.unit.dtype)
    energy = energy.to(table.unit.dtype)
    node = (product * sign if sign else product.abs()).argmax(1)
    last = len(table.unit) - 1
    at_node = (data * table.unit[node]).sum(1)
    rise = (data * table.slope[node]).sum(1)
    # To the right of the node if |q y| grows there:
    up = rise * at_node > 0
    left = node + up.long() - 1
    inside = (left >= 0) & (left < last)
    if sign:
        inside &= at_node * sign > 0
    left.clamp_(0, last - 1)
    other = torch.where(left == node, left + 1, left)
    beyond = (data * table.unit[other]).sum(1), (data * table.slope[other]).sum(1)
    at_left = left == node
    values = [torch.where(at_left, *p) for p in ((at_node, beyond[0]), (beyond[0], at_node))]
    slopes = [table.step * torch.where(at_left, *p) for p in ((rise, beyond[1]), (beyond[1], rise))]
    part = _extreme(*values, *slopes).clamp(0, 1)
    part = torch.where(torch.isfinite(part) & inside, part, (node - left).to(part.dtype))
    amplitude = _cubic(part, *values, *slopes)
    size = _between(table.size, left, part, table.step)
    offset = _between(table.offset, left, part, table.step)
    change = amplitude / size[:, 0]
    level = data @ table.constant
    end = (level - change * offset[:, 0]) / table.length if table.free else change
    total = energy - level.square()
    residual = (total if table.free else energy) - amplitude.square()
    steepness = table.slope.norm(dim=1)
    return Estimate(
        float(table.log_times[0]) + table.step * (left + part),
        end,
        change,
        amplitude,
        torch.lerp(steepness[left], steepness[left + 1], part),
        residual.clamp_min(0),
        total.clamp_min(0),
        inside,
        size,
        offset,
        table.length,
    )


def _cubic(
    s: torch.Tensor, a: torch.Tensor, b: torch.Tensor, da: torch.Tensor, db: torch.Tensor
) -> torch.Tensor:
    """Hermite cubic on [0, 1] with values ``a``, ``b`` and slopes ``da``, ``db``."""
    jump = b - a
    return a + s * (da + s * ((3 * jump - 2 * da - db) + s * (da + db - 2 * jump)))


def _extreme(a: torch.Tensor, b: torch.Tensor, da: torch.Tensor, db: torch.Tensor) -> torch.Tensor:
    """Where the cubic of :func:`_cubic` has the extreme that its larger end points to."""
    jump = b - a
    third, second = 3 * (da + db - 2 * jump), 3 * jump - 2 * da - db
    # A maximum of |cubic|: the slope falls where the cubic is positive, and rises where negative.
    sign = torch.where(a.abs() > b.abs(), a, b).sign()
    root = (second.square() - third * da).clamp_min(0).sqrt()
    # Stable form of (-second - sign * root) / third, which must also hold for third = 0.
    return da / (sign * root - second)


def _between(
    pairs: torch.Tensor, left: torch.Tensor, part: torch.Tensor, step: float
) -> torch.Tensor:
    """``(V, 2)``: value and derivative, interpolated from a table of both."""
    (a, da), (b, db) = pairs[left].unbind(1), pairs[left + 1].unbind(1)
    value = _cubic(part, a, b, step * da, step * db)
    return torch.stack([value, torch.lerp(da, db, part)], 1)
