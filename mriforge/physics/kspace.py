"""Cartesian k-space truncation: what a shorter scan would have measured.

Convention: the k-space centre is sample ``N // 2`` (fftshift). Keeping the central ``n`` of ``N``
samples puts low-resolution sample ``j`` at high-resolution coordinate
``(j - n // 2) * N / n + N // 2``. That is *not* where half-pixel interpolation looks for it;
the shift is carried by the low-resolution grid's origin, so nothing downstream has to know.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.physics.operator import LinearOperator
from mriforge.volume import Grid


def kept_matrix(shape: tuple[int, ...], keep: float) -> tuple[int, ...]:
    """Matrix size left when a fraction ``keep`` of the k-space centre is kept.

    The rule of MRUnder's centre-ratio mask, as used by Sarasaen et al. 2021: remove ``i`` lines
    from each side of the first axis until at most ``keep`` of the samples are left; the other
    axes lose lines in the proportion of their length, rounded down. Sizes keep their parity.

    Args:
        shape: matrix size of the encoded axes, one to three of them.
        keep: fraction of k-space samples, in (0, 1].

    Raises:
        BadInput: ``keep`` out of range, or no line would be left.
    """
    if not 0.0 < keep <= 1.0:
        raise BadInput(f"The kept fraction of k-space is between 0 and 1, not {keep:g}.")
    total = 1
    for size in shape:
        total *= size
    for removed in range((shape[0] + 1) // 2):
        sizes = tuple(n - 2 * int(removed * n / shape[0]) for n in shape)
        samples = 1
        for size in sizes:
            samples *= size
        if samples <= keep * total * (1 + 1e-9):
            return sizes
    raise BadInput(
        f"No k-space line is left when {keep:.4g} of a {'x'.join(map(str, shape))} matrix is kept.",
        "Keep a larger fraction, or use a larger image.",
    )


def centred_fft(tensor: Tensor, axes: tuple[int, ...], inverse: bool = False) -> Tensor:
    """Centred, unnormalised FFT (or 1/N-normalised inverse) over ``axes``."""
    transform = torch.fft.ifftn if inverse else torch.fft.fftn
    shifted = torch.fft.ifftshift(tensor, dim=axes)
    return torch.fft.fftshift(transform(shifted, dim=axes), dim=axes)


class KspaceCrop(LinearOperator):
    """Keep the central part of k-space along some stored axes.

    ``A x = (prod n / prod N) Re F_n^-1 C F_N x`` with ``C`` the central crop: an image of mean
    one stays of mean one. ``A_dagger`` is exact, the unpaired Nyquist line of even sizes
    included; ``zero_fill`` is the scanner's zero-filled (sinc) interpolation, which halves it.

    Args:
        high: grid of the sharp image.
        low_shape: stored size ``(i, j, k)`` of the truncated image, at most ``high``'s.
    """

    def __init__(self, high: Grid, low_shape: tuple[int, int, int]) -> None:
        full = high.stored_shape
        if any(n < 1 or n > size for n, size in zip(low_shape, full, strict=True)):
            raise BadInput(
                f"A k-space centre of {tuple(low_shape)} samples does not fit into {full}.",
                "The target grid must not be coarser than the image.",
            )
        self.high = high
        self.axes = tuple(-1 - a for a in range(3) if low_shape[a] < full[a])
        factor = [size / n for n, size in zip(low_shape, full, strict=True)]
        first = [
            size // 2 - (n // 2) * f for n, size, f in zip(low_shape, full, factor, strict=True)
        ]
        spacing = tuple(s * f for s, f in zip(high.spacing, factor, strict=True))
        self.low = high.resampled(tuple(low_shape), spacing, tuple(first))
        self._gain = 1.0
        for f in factor:
            self._gain /= f

    @classmethod
    def from_fraction(cls, high: Grid, keep: float, stored_axes: tuple[int, ...]) -> KspaceCrop:
        """Keep a fraction of k-space by :func:`kept_matrix` over ``stored_axes``."""
        shape = list(high.stored_shape)
        sizes = kept_matrix(tuple(shape[a] for a in stored_axes), keep)
        for axis, size in zip(stored_axes, sizes, strict=True):
            shape[axis] = size
        return cls(high, tuple(shape))

    @classmethod
    def towards(cls, low: Grid, high_shape: tuple[int, int, int]) -> KspaceCrop:
        """The operator that gives ``low`` from a finer grid of stored size ``high_shape``."""
        return cls(low.kspace_refined(tuple(high_shape)), low.stored_shape)

    def _window(self, axis: int) -> tuple[int, int]:
        size, kept = self.high.shape[axis], self.low.shape[axis]
        return size // 2 - kept // 2, kept

    def A_complex(self, image: Tensor) -> Tensor:
        """Truncated image before the real part or the magnitude is taken, complex."""
        if not self.axes:
            return image + 0j
        spectrum = centred_fft(image, self.axes)
        for axis in self.axes:
            start, length = self._window(axis)
            spectrum = spectrum.narrow(axis, start, length)
        return centred_fft(spectrum, self.axes, inverse=True) * self._gain

    def A(self, image: Tensor) -> Tensor:
        return self.A_complex(image).real if self.axes else image

    def _pad(self, data: Tensor, nyquist_gain: float) -> Tensor:
        spectrum = centred_fft(data, self.axes)
        if nyquist_gain != 1.0:
            spectrum = spectrum * self._nyquist_weight(nyquist_gain, data)
        shape = list(data.shape)
        for axis in self.axes:
            shape[axis] = self.high.shape[axis]
        padded = spectrum.new_zeros(shape)
        target = padded
        for axis in self.axes:
            target = target.narrow(axis, *self._window(axis))
        target.copy_(spectrum)
        return centred_fft(padded, self.axes, inverse=True).real

    def _nyquist_weight(self, gain: float, like: Tensor) -> Tensor:
        weight = torch.ones(like.shape[-3:], dtype=like.dtype, device=like.device)
        for axis in self.axes:
            if self.low.shape[axis] % 2 == 0:
                weight.select(axis, 0).fill_(gain)
        return weight

    def A_adjoint(self, data: Tensor) -> Tensor:
        return self._pad(data, 1.0) if self.axes else data

    def zero_fill(self, data: Tensor) -> Tensor:
        """Zero-filled (sinc) interpolation to the high-resolution grid, amplitude kept."""
        return self.A_adjoint(data) / self._gain

    def A_dagger(self, data: Tensor) -> Tensor:
        return self._pad(data, 2.0) / self._gain if self.axes else data
