"""Complex components of a sequence as the real feature maps of a network, and their scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_SMALLEST = 1e-12


def to_maps(factors: Tensor) -> Tensor:
    """``(..., L, h, w)`` complex to ``(..., 2 L, h, w)`` real: real parts, then imaginary parts."""
    return torch.cat([factors.real, factors.imag], dim=-3)


def to_factors(maps: Tensor) -> Tensor:
    """The inverse of :func:`to_maps`."""
    real, imaginary = maps.chunk(2, dim=-3)
    return torch.complex(real.contiguous(), imaginary.contiguous())


@dataclass(frozen=True)
class Scaling:
    """What was subtracted from feature maps, and what they were then divided by.

    Attributes:
        shift, scale: ``(b, 1 or 2 L, 1, 1)``.
    """

    shift: Tensor
    scale: Tensor

    @classmethod
    def of(cls, maps: Tensor, kind: str) -> Scaling:
        """The scaling that maps ``(b, 2 L, h, w)`` have by themselves.

        Args:
            kind: ``instance``: mean and standard deviation of all maps of one instance
                (Chen 2021, section 6.3.2); ``component``: root mean square of each complex
                component, nothing subtracted, so that its phase stays.
        """
        if kind == "instance":
            shift = maps.mean(dim=(1, 2, 3), keepdim=True)
            scale = (maps - shift).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        else:
            power = maps.square().mean(dim=(2, 3), keepdim=True)
            half = power.shape[1] // 2
            scale = ((power[:, :half] + power[:, half:]) / 2).sqrt().repeat(1, 2, 1, 1)
            shift = torch.zeros_like(scale)
        return cls(shift, scale.clamp_min(_SMALLEST))

    @classmethod
    def fitted(cls, normalised: Tensor, maps: Tensor, kind: str) -> Scaling:
        """The scaling that brings ``normalised`` nearest to ``maps`` (least squares).

        For networks trained on labels that were normalised by themselves: how large the label of
        a new scan is, is not known, but the gridded factors are the true ones plus what is nearly
        uncorrelated with them.
        """
        axes = (1, 2, 3) if kind == "instance" else (2, 3)
        if kind == "instance":
            means = [part.mean(dim=axes, keepdim=True) for part in (normalised, maps)]
        else:
            means = [torch.zeros_like(normalised[:, :, :1, :1])] * 2
        centred = normalised - means[0]
        along = (centred * (maps - means[1])).sum(dim=axes, keepdim=True)
        power = centred.square().sum(dim=axes, keepdim=True)
        if kind != "instance":
            half = power.shape[1] // 2
            along, power = (
                (part[:, :half] + part[:, half:]).repeat(1, 2, 1, 1) for part in (along, power)
            )
        scale = (along / power.clamp_min(_SMALLEST)).clamp_min(_SMALLEST)
        return cls(means[1] - scale * means[0], scale)

    def normalise(self, maps: Tensor) -> Tensor:
        """``(maps - shift) / scale``."""
        return (maps - self.shift) / self.scale

    def restore(self, maps: Tensor) -> Tensor:
        """The inverse of :meth:`normalise`."""
        return maps * self.scale + self.shift
