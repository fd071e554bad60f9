"""The non-uniform Fourier transform by its definition: slow, and exact to rounding."""

from __future__ import annotations

import torch

_MOST_VALUES = 1 << 24


class ExactDft:
    """``d(k) = sum image[y, x] exp(-2 pi i (kx (x - nx//2) + ky (y - ny//2)))``, in pieces.

    Args:
        points: ``(M, 2)`` positions ``(kx, ky)`` in cycles per pixel.
        shape: ``(ny, nx)`` in pixels.
        tolerance: not used; for the signature that the fast ones have.
    """

    def __init__(
        self, points: torch.Tensor, shape: tuple[int, int], tolerance: float = 0.0
    ) -> None:
        self._points = points
        self._shape = shape

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Samples ``(b, M)`` of images ``(b, ny, nx)``, complex."""
        pieces = []
        for piece in self._pieces(images.shape[0]):
            wave_y, wave_x = self._waves(piece, images.dtype)
            rows = images @ wave_x.T  # (b, ny, m)
            pieces.append((rows * wave_y.T).sum(1))
        return torch.cat(pieces, 1)

    def adjoint(self, data: torch.Tensor) -> torch.Tensor:
        """Images ``(b, ny, nx)`` of samples ``(b, M)``, complex."""
        found = data.new_zeros((data.shape[0], *self._shape))
        for piece in self._pieces(data.shape[0]):
            wave_y, wave_x = self._waves(piece, data.dtype)
            rows = data[:, None, piece] * wave_y.conj().T  # (b, ny, m)
            found += rows @ wave_x.conj()
        return found

    def _pieces(self, count: int) -> list[slice]:
        length = max(1, _MOST_VALUES // (count * self._shape[0] + self._shape[1]))
        total = self._points.shape[0]
        return [slice(start, min(start + length, total)) for start in range(0, total, length)]

    def _waves(self, piece: slice, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        waves = []
        # MPS has no float64.
        accurate = torch.float32 if self._points.device.type == "mps" else torch.float64
        for axis, size in ((1, self._shape[0]), (0, self._shape[1])):
            pixel = torch.arange(size, device=self._points.device, dtype=accurate) - size // 2
            cycles = self._points[piece, axis, None].to(accurate) * pixel
            # Whole turns are taken away while there are digits for them.
            angle = ((cycles - cycles.round()) * (-2 * torch.pi)).to(dtype.to_real())
            waves.append(torch.polar(torch.ones_like(angle), angle))
        return waves[0], waves[1]
