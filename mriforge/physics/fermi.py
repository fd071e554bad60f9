"""Fermi window on truncated k-space: less ringing, a little less sharp.

``w(k) = 1 / (1 + exp((|k| - k0) / width))`` with ``k0 = 0.9`` and ``width = 0.05`` of the largest
kept frequency. Huang et al. 2021 name the window but state no parameters: these two are a
proposal. ``|k|`` is relative to the kept half-width of each axis, so the window is elliptical on
non-cubic voxels and the corners of the kept rectangle are all but suppressed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.physics.kspace import KspaceCrop, centred_fft
from mriforge.volume import Grid


@dataclass(frozen=True)
class Fermi:
    """The window's shape, both parts relative to the largest kept frequency.

    Attributes:
        cutoff: radius where the window is one half.
        width: how soft it falls; 88 % to 12 % within four widths.
    """

    cutoff: float = 0.9
    width: float = 0.05

    def __post_init__(self) -> None:
        if not (0 < self.cutoff <= 2 and 0 < self.width <= 1):
            raise BadInput(
                f"A Fermi window of cutoff {self.cutoff:g} and width {self.width:g} is not usable.",
                "The cutoff is between 0 and 2, the width between 0 and 1; 0.9 and 0.05 are usual.",
            )

    def weights(
        self, shape: tuple[int, ...], kept: tuple[int, ...], axes: tuple[int, ...]
    ) -> Tensor:
        """Window on a centred spectrum of ``shape`` (z, y, x) of which ``kept`` is measured.

        Returns:
            float64, of size one along the axes that are not in ``axes``; one at the centre.
        """
        radius2 = torch.zeros(1, 1, 1, dtype=torch.float64)
        for axis in axes:
            k = torch.arange(shape[axis], dtype=torch.float64) - shape[axis] // 2
            size = [1, 1, 1]
            size[axis] = -1
            radius2 = radius2 + (k / (kept[axis] / 2)).square().reshape(size)
        centre = torch.tensor(self.cutoff / self.width, dtype=torch.float64).sigmoid()
        return ((self.cutoff - radius2.sqrt()) / self.width).sigmoid() / centre


class FermiCrop(KspaceCrop):
    """:class:`KspaceCrop` followed by a Fermi window, ``A = W A_crop``.

    ``W`` is a real symmetric circulant of the truncated grid, so ``A^+ = A_crop^+ W^-1``.
    ``zero_fill`` does not undo the window: it is what the scanner shows.

    Args:
        high: grid of the sharp image.
        low_shape: stored size ``(i, j, k)`` of the truncated image.
        fermi: the window.
        threshold: frequencies weighted less than this are treated as not measured by
            :meth:`A_dagger`; dividing by their weight would only blow up noise.
    """

    def __init__(
        self,
        high: Grid,
        low_shape: tuple[int, int, int],
        fermi: Fermi | None = None,
        threshold: float = 1e-3,
    ) -> None:
        super().__init__(high, low_shape)
        self.fermi = fermi or Fermi()
        shape = self.low.shape
        self._weights = self.fermi.weights(shape, shape, self.axes)
        measured = self._weights > threshold
        self._inverse = torch.where(measured, 1 / self._weights, torch.zeros(()).double())

    def _filter(self, weights: Tensor, data: Tensor) -> Tensor:
        if not self.axes:
            return data
        spectrum = centred_fft(data, self.axes) * weights.to(data.real)
        filtered = centred_fft(spectrum, self.axes, inverse=True)
        return filtered if data.is_complex() else filtered.real

    def A_complex(self, image: Tensor) -> Tensor:
        return self._filter(self._weights, super().A_complex(image))

    def A_adjoint(self, data: Tensor) -> Tensor:
        return super().A_adjoint(self._filter(self._weights, data))

    def zero_fill(self, data: Tensor) -> Tensor:
        return super().A_adjoint(data) / self._gain

    def A_dagger(self, data: Tensor) -> Tensor:
        return super().A_dagger(self._filter(self._inverse, data))
