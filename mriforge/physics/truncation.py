"""Truncated k-space on the matrix of the sharp image: zero-filled, or linearly interpolated.

Chen 2021 uses three truncations that are often confused: chapter 3 zero-fills (here
:class:`KspaceZeroFill`), chapter 4 truncates and interpolates linearly (:class:`TruncateLinear`),
chapter 5 truncates without going back (:class:`~mriforge.physics.kspace.KspaceCrop`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mriforge.physics.fermi import Fermi
from mriforge.physics.interpolation import aligned_positions, linear_matrix
from mriforge.physics.kspace import KspaceCrop, centred_fft
from mriforge.physics.operator import LinearOperator
from mriforge.physics.separable import SeparableOperator
from mriforge.volume import Grid


class KspaceZeroFill(LinearOperator):
    """Set the outer k-space to zero, keep the matrix: ``A x = Re F^-1 M F x``.

    For real images that is the real weight ``(M(k) + M(-k)) / 2``: one inside, zero outside, one
    half on the unpaired Nyquist line of an even kept size. ``A`` is its own adjoint.

    Args:
        high: grid of the sharp image; ``low`` is the same grid.
        low_shape: stored size ``(i, j, k)`` of the kept k-space centre.
        fermi: an optional window on the kept part.
        threshold: frequencies weighted less than this are not measured for :meth:`A_dagger`.
    """

    def __init__(
        self,
        high: Grid,
        low_shape: tuple[int, int, int],
        fermi: Fermi | None = None,
        threshold: float = 1e-3,
    ) -> None:
        crop = KspaceCrop(high, low_shape)
        self.high = self.low = high
        self.axes = crop.axes
        self.kept_shape = tuple(low_shape)
        mask = torch.ones(1, 1, 1, dtype=torch.float64)
        for axis in self.axes:
            line = torch.zeros(high.shape[axis], dtype=torch.float64)
            start, length = crop._window(axis)
            line[start : start + length] = 1
            size = [1, 1, 1]
            size[axis] = -1
            mask = mask * line.reshape(size)
        if fermi is not None:
            mask = mask * fermi.weights(high.shape, crop.low.shape, self.axes)
        self._mask = mask
        self._weights = (mask + self._mirrored(mask)) / 2
        measured = self._weights > threshold
        self._inverse = torch.where(measured, 1 / self._weights, torch.zeros(()).double())

    @classmethod
    def from_fraction(
        cls, high: Grid, keep: float, stored_axes: tuple[int, ...], fermi: Fermi | None = None
    ) -> KspaceZeroFill:
        """Keep a fraction of k-space by the rule of ``kept_matrix`` over ``stored_axes``."""
        crop = KspaceCrop.from_fraction(high, keep, stored_axes)
        return cls(high, crop.low.stored_shape, fermi)

    def _mirrored(self, mask: Tensor) -> Tensor:
        """``M(-k)`` of a centred spectrum; the lowest frequency of an even size is its own."""
        for axis in self.axes:
            mask = mask.flip(axis)
            if mask.shape[axis] % 2 == 0:
                mask = mask.roll(1, axis)
        return mask

    def _filter(self, weights: Tensor, image: Tensor) -> Tensor:
        spectrum = centred_fft(image, self.axes) * weights.to(image.real)
        return centred_fft(spectrum, self.axes, inverse=True)

    def A_complex(self, image: Tensor) -> Tensor:
        """The image before the real part or the magnitude is taken, complex."""
        return self._filter(self._mask, image) if self.axes else image + 0j

    def A(self, image: Tensor) -> Tensor:
        return self._filter(self._weights, image).real if self.axes else image

    def A_adjoint(self, data: Tensor) -> Tensor:
        return self.A(data)

    def A_dagger(self, data: Tensor) -> Tensor:
        return self._filter(self._inverse, data).real if self.axes else data


class TruncateLinear(LinearOperator):
    """Truncate k-space, then interpolate linearly back to the matrix: ``A = L A_crop``.

    Interpolation samples where the truncation put the samples (no sub-voxel shift), edges
    replicated. ``L`` is injective and ``A_crop`` surjective, so ``A^+ = A_crop^+ L^+``.

    Args:
        high: grid of the sharp image; ``low`` is the same grid.
        low_shape: stored size ``(i, j, k)`` of the truncated image in between.
    """

    def __init__(self, high: Grid, low_shape: tuple[int, int, int]) -> None:
        self.high = self.low = high
        self.crop = KspaceCrop(high, low_shape)
        self.axes = self.crop.axes
        self.kept_shape = tuple(low_shape)
        matrices = {}
        for axis in self.axes:
            small, large = self.crop.low.shape[axis], high.shape[axis]
            matrices[axis] = linear_matrix(aligned_positions(small, large), small)
        self._linear = SeparableOperator(self.crop.low, high, matrices)

    @classmethod
    def from_fraction(cls, high: Grid, keep: float, stored_axes: tuple[int, ...]) -> TruncateLinear:
        """Keep a fraction of k-space by the rule of ``kept_matrix`` over ``stored_axes``."""
        return cls(high, KspaceCrop.from_fraction(high, keep, stored_axes).low.stored_shape)

    def A(self, image: Tensor) -> Tensor:
        return self._linear.A(self.crop.A(image))

    def A_adjoint(self, data: Tensor) -> Tensor:
        return self.crop.A_adjoint(self._linear.A_adjoint(data))

    def A_dagger(self, data: Tensor) -> Tensor:
        return self.crop.A_dagger(self._linear.A_dagger(data))
