"""Orthonormal periodic wavelets in the plane, as products with two dense matrices.

At the sizes of MR images a dense matrix product beats a filter bank: it runs at the speed of the
processor, on any device, and its inverse is its transpose. The filters are computed here from
their definition (Daubechies 1992, "Ten Lectures on Wavelets", chapters 6 and 8), nothing is
tabulated.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
import torch


@lru_cache
def scaling_filter(name: str = "db4") -> np.ndarray:
    """Low-pass filter of an orthonormal wavelet, float64, of ``2 n`` taps, sum ``sqrt(2)``.

    Args:
        name: ``haar``, ``db<n>`` (Daubechies, minimal phase) or ``sym<n>`` (symlets: of the same
            length, with the phase that is nearest to linear); ``n`` vanishing moments, 1 to 10.

    Raises:
        ValueError: another name.
    """
    kind, moments = ("db", "1") if name == "haar" else (name.rstrip("0123456789"), name[-2:])
    moments = "".join(filter(str.isdigit, moments))
    if kind not in ("db", "sym") or not moments or not 1 <= int(moments) <= 10:
        raise ValueError(f"{name!r} is not haar, db1 to db10, or sym1 to sym10")
    count = int(moments)
    # |H|^2 = 2 cos(w/2)^(2n) P(sin(w/2)^2), P(y) = sum_k C(n-1+k, k) y^k (Daubechies, 6.1.12).
    roots_y = np.roots([math.comb(count - 1 + k, k) for k in reversed(range(count))])
    # y = (2 - z - 1/z) / 4: each root y is a pair z, 1/z, of which one is kept.
    half = 1 - 2 * roots_y
    inside = half - np.sqrt(half - 1 + 0j) * np.sqrt(half + 1 + 0j)
    groups = [[z] for z in inside if abs(z.imag) < 1e-9]
    groups += [[z, z.conj()] for z in inside if z.imag >= 1e-9]
    if kind == "db":
        return _filter_of(groups, count)
    choices = itertools.product((1, -1), repeat=len(groups))
    candidates = [
        _filter_of([[z**s for z in g] for g, s in zip(groups, signs, strict=True)], count)
        for signs in choices
    ]
    return min(candidates, key=_phase_error)


def _filter_of(groups: list[list[complex]], count: int) -> np.ndarray:
    roots = [-1.0] * count + [z for group in groups for z in group]
    taps = np.real(np.poly(roots))
    return taps * (math.sqrt(2) / taps.sum())


def _phase_error(taps: np.ndarray) -> float:
    """How far the phase of the response is from a straight line, in rad."""
    frequency = np.linspace(0, 0.9 * np.pi, 128)
    response = np.exp(-1j * np.outer(frequency, np.arange(len(taps)))) @ taps
    phase = np.unwrap(np.angle(response))
    slope = (phase @ frequency) / (frequency @ frequency)
    return float(np.abs(phase - slope * frequency).max())


def levels_possible(size: int, levels: int) -> int:
    """How often ``size`` can be halved without a remainder, at most ``levels`` times."""
    possible = 0
    while possible < levels and size % 2 == 0 and size > 1:
        size //= 2
        possible += 1
    return possible


def analysis_matrix(size: int, name: str = "db4", levels: int = 4) -> np.ndarray:
    """Orthonormal ``(size, size)`` float64: coefficients of the coarsest scale first.

    Args:
        size: number of samples of the periodic line.
        name: see :func:`scaling_filter`.
        levels: at most; as many as ``size`` can be halved without a remainder.
    """
    low = scaling_filter(name)
    high = low[::-1] * (-1.0) ** np.arange(len(low))
    whole = np.eye(size)
    for level in range(levels_possible(size, levels)):
        length = size >> level
        step = np.zeros((length, length))
        for row in range(length // 2):
            # Centred on its samples, so that a coefficient lies where its cause does.
            columns = (2 * row + np.arange(len(low)) - len(low) // 2 + 1) % length
            np.add.at(step[row], columns, low)
            np.add.at(step[length // 2 + row], columns, high)
        whole[:length] = step @ whole[:length]
    return whole


class Wavelet:
    """Separable orthonormal wavelet transform of the last two axes.

    Args:
        shape: ``(ny, nx)`` in pixels; any size. A size that cannot be halved without a remainder
            ``levels`` times has fewer levels, an odd one none.
        name: see :func:`scaling_filter`.
        levels: at most.
        isotropic: each level halves what is coarse along both axes (Mallat 1989); otherwise each
            axis is transformed whole, ``W_y X W_x^T``, which is one product less but has
            wavelets that are long and thin: thresholded, they show as faint streaks.

    Attributes:
        details: ``(ny, nx)`` bool on the CPU: coefficients that are not approximations along
            both axes; sparsity is asked of these.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        name: str = "db4",
        levels: int = 4,
        isotropic: bool = False,
    ) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.name = name
        self.levels = tuple(levels_possible(size, levels) for size in self.shape)
        coarse = [
            torch.arange(n) < n >> level for n, level in zip(self.shape, self.levels, strict=True)
        ]
        self.details = ~(coarse[0][:, None] & coarse[1][None, :])
        # Products one after the other, each on the corner that its matrices fill.
        if isotropic and max(self.levels) > 0:
            self._exact = [
                [
                    _one_level(n, depth, most, name)
                    for n, most in zip(self.shape, self.levels, strict=True)
                ]
                for depth in range(max(self.levels))
            ]
        else:
            self._exact = [[torch.from_numpy(analysis_matrix(n, name, levels)) for n in self.shape]]
        self._held: dict[tuple, list[list[torch.Tensor]]] = {}

    def forward(self, image: torch.Tensor, shift: tuple[int, int] = (0, 0)) -> torch.Tensor:
        """Coefficients of images ``(..., ny, nx)``, real or complex; same shape and type.

        Args:
            image: in any unit; the transform keeps the norm.
            shift: the image is transformed as if rolled by ``(y, x)`` pixels (cycle spinning:
                Coifman and Donoho 1995). The adjoint needs the same one.
        """
        first, *deeper = self._matrices(image, shift)
        found = _both_sides(first[0], _planes(image), first[1].T)
        for wy, wx in deeper:
            corner = (..., slice(len(wy)), slice(len(wx)))
            found[corner] = _both_sides(wy, found[corner], wx.T)
        return _joined(found, image)

    def adjoint(self, coefficients: torch.Tensor, shift: tuple[int, int] = (0, 0)) -> torch.Tensor:
        """Images of coefficients ``(..., ny, nx)``: the transpose, which is the inverse."""
        first, *deeper = self._matrices(coefficients, shift)
        found = _planes(coefficients)
        if deeper and found is coefficients:
            found = found.clone()
        for wy, wx in reversed(deeper):
            corner = (..., slice(len(wy)), slice(len(wx)))
            found[corner] = _both_sides(wy.T, found[corner], wx)
        return _joined(_both_sides(first[0].T, found, first[1]), coefficients)

    def random_shift(self, generator: torch.Generator | None = None) -> tuple[int, int]:
        """A shift ``(y, x)`` in pixels for one iteration of cycle spinning."""
        return tuple(
            int(torch.randint(1 << level, (), generator=generator)) for level in self.levels
        )

    def _matrices(self, like: torch.Tensor, shift: tuple[int, int]) -> list[list[torch.Tensor]]:
        key = (like.device, like.dtype.to_real())
        if key not in self._held:
            self._held[key] = [
                [side.to(device=key[0], dtype=key[1]) for side in pair] for pair in self._exact
            ]
        # Rolling the matrix costs a thousandth of rolling the images.
        first, *deeper = self._held[key]
        return [
            [m.roll(-s, 1) if s else m for m, s in zip(first, shift, strict=True)],
            *deeper,
        ]


def _one_level(size: int, depth: int, most: int, name: str) -> torch.Tensor:
    """What halves a line that was halved ``depth`` times; the identity beyond ``most``."""
    length = size >> min(depth, most)
    return torch.from_numpy(analysis_matrix(length, name, 1 if depth < most else 0))


def _planes(values: torch.Tensor) -> torch.Tensor:
    """Real and imaginary parts apart: a product of real matrices costs a quarter."""
    if not values.is_complex():
        return values
    return torch.view_as_real(values).movedim(-1, 0).contiguous()


def _joined(planes: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return torch.complex(planes[0], planes[1]) if like.is_complex() else planes


def _both_sides(left: torch.Tensor, planes: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left @ (planes @ right)
