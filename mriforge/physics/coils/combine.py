"""One image from those of all coils."""

from __future__ import annotations

import torch


def combine(images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """``S^+ images = S^H images / (S^H S)``: the least-squares image, ``(..., ny, nx)``.

    For prewhitened coils it has the smallest noise (Roemer et al. 1990). Where no coil sees
    anything it is zero.

    Args:
        images: ``(..., C, ny, nx)`` complex, or with ``z`` where the maps have it.
        maps: ``(C, ny, nx)`` or ``(C, z, ny, nx)`` complex.
    """
    power = maps.abs().square().sum(0)
    summed = (maps.conj() * images).sum(-maps.ndim)
    return torch.where(power > 0, summed / power.clamp(min=1e-20), torch.zeros_like(summed))
