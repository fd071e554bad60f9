"""What golden-angle data have in common with a few hundred equispaced spokes.

Seen from an image of radius ``R`` pixels, spokes at any angles are a function of the angle with no
more than ``2 pi k_max R`` harmonics (Jacobi-Anger). Thousands of spokes, each with a weight of its
own, can therefore be resampled, by one-dimensional gridding along the angle, to the few hundred
equispaced ones that have the same harmonics. The adjoint and the kernel of the normal operator
then cost as little as those of a short scan, whatever the number of spokes. Exact to the accuracy
of the gridding kernel (1e-5 and better; tested against the explicit transform).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_WIDTH = 8
_OVERSAMPLING = 1.5
_MARGIN = 12
"""Harmonics beyond ``2 pi k_max R``, where the Bessel functions have died out."""


def smooth_even(number: int) -> int:
    """The next even number at or above, with no prime factor above 5 (fast to transform)."""
    size = number + number % 2
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2


def spokes_of(trajectory: Tensor, tolerance: float = 1e-5) -> tuple[Tensor, Tensor] | None:
    """Angles and sample positions, if all spokes are one straight line turned about the centre.

    Args:
        trajectory: ``(s, n, 2)`` cycles per pixel, ``(kx, ky)``.
        tolerance: largest deviation in cycles per pixel.

    Returns:
        angles ``(s,)`` float64 in ``[0, 2 pi)`` and positions ``(n,)`` float64, or None.
    """
    points = trajectory.double()
    far = int(points[0].square().sum(-1).argmax())
    ends = points[:, far]
    angles = torch.atan2(ends[:, 1], ends[:, 0])
    directions = torch.stack([angles.cos(), angles.sin()], -1)
    along = (points * directions[:, None]).sum(-1)
    positions = along.mean(0)
    if (points - positions[:, None] * directions[:, None]).abs().max() > tolerance:
        return None
    return angles.remainder(2 * math.pi), positions


def harmonics(positions: Tensor, radius: float) -> int:
    """Number of angular harmonics of spokes with these ``positions`` within ``radius`` pixels."""
    return math.ceil(2 * math.pi * float(positions.abs().max()) * radius) + _MARGIN


@dataclass(frozen=True)
class AngleGridding:
    """One-dimensional gridding of values at any angles onto ``nodes`` equispaced ones.

    Attributes:
        nodes: number of angles on the full circle, even; node ``j`` lies at ``2 pi j / nodes``.
        order: ``(s,)`` the spokes by ascending angle.
        first, last: ``(fine,)`` range of the ordered spokes that reach each node of the fine grid;
            they may run beyond both ends, meaning once more around the circle.
        angles: ``(s,)`` ascending.
        correction: ``(2 M + 1,)`` what divides the harmonics ``-M .. M``.
    """

    nodes: int
    fine: int
    order: Tensor
    first: np.ndarray
    last: np.ndarray
    angles: Tensor
    correction: Tensor

    @classmethod
    def plan(cls, angles: Tensor, highest: int) -> AngleGridding:
        """Gridding of values at ``angles`` (radians) that keeps the harmonics up to ``highest``."""
        nodes = smooth_even(2 * highest + 2)
        fine = smooth_even(int(nodes * _OVERSAMPLING))
        order = torch.argsort(angles.cpu().double())
        ascending = angles.cpu().double()[order]
        step = 2 * math.pi / fine
        half = _WIDTH / 2 * step
        centres = np.arange(fine) * step
        around = ascending.numpy()
        around = np.concatenate([around - 2 * math.pi, around, around + 2 * math.pi])
        first = np.searchsorted(around, centres - half, "left") - len(ascending)
        last = np.searchsorted(around, centres + half, "right") - len(ascending)
        orders = torch.arange(-highest, highest + 1, dtype=torch.float64)
        return cls(
            nodes, fine, order.to(angles.device), first, last, ascending, _transform(orders / fine)
        )

    def coefficients(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Ordered spokes that reach the fine nodes ``begin .. end``, and how much.

        Returns:
            indices ``(k,)`` into :attr:`order`, and coefficients ``(end - begin, k)`` float64.
        """
        count = len(self.angles)
        indices = torch.arange(int(self.first[begin]), int(self.last[end - 1]))
        turns = torch.div(indices, count, rounding_mode="floor")
        angles = self.angles[indices.remainder(count)] + turns * (2 * math.pi)
        centres = torch.arange(begin, end, dtype=torch.float64) * (2 * math.pi / self.fine)
        offset = (centres[:, None] - angles) * (self.fine / (2 * math.pi))
        return indices.remainder(count), _kaiser_bessel(offset)

    def finish(self, gridded: Tensor) -> Tensor:
        """Divides the harmonics by the kernel's and drops those beyond: ``(fine, ...)`` complex.

        Returns:
            ``(nodes, ...)`` values at the equispaced angles.
        """
        highest = len(self.correction) // 2
        spectrum = torch.fft.fft(gridded, dim=0)
        scale = (1 / self.correction).to(gridded.device, torch.float32)
        scale = scale.reshape(-1, *(1,) * (gridded.ndim - 1))
        kept = spectrum.new_zeros(self.nodes, *gridded.shape[1:])
        kept[: highest + 1] = spectrum[: highest + 1] * scale[highest:]
        kept[-highest:] = spectrum[-highest:] * scale[:highest]
        return torch.fft.ifft(kept, dim=0)


def _beta() -> float:
    return math.pi * math.sqrt((_WIDTH / _OVERSAMPLING * (_OVERSAMPLING - 0.5)) ** 2 - 0.8)


def _kaiser_bessel(offset: Tensor) -> Tensor:
    """The kernel at ``offset`` nodes from its centre (Jackson 1991)."""
    inside = 1 - (2 * offset / _WIDTH) ** 2
    values = torch.special.i0(_beta() * inside.clamp(min=0).sqrt())
    return torch.where(inside >= 0, values, torch.zeros_like(values))


def _transform(frequency: Tensor) -> Tensor:
    """Fourier transform of the kernel at ``frequency`` cycles per node."""
    argument = _beta() ** 2 - (math.pi * _WIDTH * frequency) ** 2
    root = argument.clamp(min=1e-12).sqrt()
    return _WIDTH * torch.sinh(root) / root


def fold(values: Tensor) -> Tensor:
    """Spokes of the full circle to those of the half circle: antipodes are one line.

    Args:
        values: ``(nodes, ..., n)``; sample ``i`` lies ``i - n // 2`` sample distances from the
            centre, n is even.

    Returns:
        ``(nodes // 2, ..., n + 1)``; samples ``-n // 2 .. n // 2``.
    """
    half = values.shape[0] // 2
    result = values.new_zeros(half, *values.shape[1:-1], values.shape[-1] + 1)
    result[..., :-1] = values[:half]
    result[..., 1:] += values[half:].flip(-1)
    return result
