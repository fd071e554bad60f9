"""From coil images to what maps are computed from: the centre of k-space."""

from __future__ import annotations

import torch


def centre_of_kspace(images: torch.Tensor, size: int | tuple[int, int] = 24) -> torch.Tensor:
    """Cartesian calibration region ``(..., cy, cx)`` of images ``(..., ny, nx)``, complex.

    Args:
        images: coil images in any unit, for instance the density-compensated adjoint of all
            spokes. Only their low frequencies have to be right.
        size: of the region, in samples; at most that of the images. Its centre is
            sample ``c // 2``.
    """
    sizes = (size, size) if isinstance(size, int) else size
    found = images
    for axis, wanted in zip((-2, -1), sizes, strict=True):
        found = found.movedim(axis, -1)
        found = (found @ _waves(found.shape[-1], wanted, found)).movedim(-1, axis)
    return found


def low_resolution(calibration: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Images ``(..., ny, nx)`` of the centre of k-space ``(..., cy, cx)``, Hann-weighted.

    The weighting keeps an edge from ringing into its surroundings, where it would pass for
    sensitivity.
    """
    found = calibration
    for axis, wanted in zip((-2, -1), shape, strict=True):
        found = found.movedim(axis, -1)
        size = found.shape[-1]
        place = (torch.arange(size, device=found.device) - size // 2) / (size + 1)
        hann = torch.cos(torch.pi * place) ** 2
        back = _waves(wanted, size, found).conj().T / wanted
        found = ((found * hann) @ back).movedim(-1, axis)
    return found


def _waves(pixels: int, frequencies: int, like: torch.Tensor) -> torch.Tensor:
    """``(pixels, frequencies)`` of the Fourier transform, both from their centres."""
    pixel = torch.arange(pixels, device=like.device) - pixels // 2
    frequency = torch.arange(frequencies, device=like.device) - frequencies // 2
    turns = (pixel[:, None] * frequency % pixels).to(like.dtype.to_real()) / pixels
    return torch.polar(torch.ones_like(turns), -2 * torch.pi * turns).to(like.dtype)
