"""What a kernel that is being learned is held to (Huang et al. 2021, equation 3), and how strongly.

Kernels are tensors of one to three axes, all of one odd length: the response of a downsampling
operator to an impulse. Terms are scalars.

Sums over taps are printed in the equation for the boundaries and the sparsity. Here they are means,
as in the public code of KernelGAN: added up over 169 taps the sparsity alone would be some hundred
times what a judge can say.

The weights change with what was reached: first bicubic downsampling leads the way to some low-pass
filter; when that is near, it loses its weight step by step, and centring and sparsity come in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mriforge.recipes.kernel import KernelSpec

POWER = 0.2
_STEEPEST = 1e-6
"""Taps are told apart from zero down to here: the slope of ``|k|^0.2`` has no limit."""


def bicubic_kernel(size: int, ratio: int, dimensions: int = 2) -> Tensor:
    """Keys' cubic (a = -1/2) stretched for downsampling by ``ratio``; ``(size, ...)``, sum 1.

    Centred on the middle tap, as all kernels here are: low-resolution samples lie on
    high-resolution ones, where truncated k-space has them.
    """
    t = (torch.arange(size, dtype=torch.double) - size // 2).abs() / ratio
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    line = torch.where(t < 1, near, torch.where(t < 2, far, torch.zeros(())))
    found = line / line.sum()
    kernel = torch.ones([1] * dimensions, dtype=torch.double)
    for axis in range(dimensions):
        kernel = kernel * found.reshape([-1 if a == axis else 1 for a in range(dimensions)])
    return kernel.float()


def downscale_loss(made: Tensor, bicubic: Tensor, distance: str = "absolute") -> Tensor:
    """How far a downsampled image is from bicubic downsampling.

    Args:
        distance: ``absolute`` as printed, or ``square`` as in the public code of KernelGAN.
    """
    difference = made - bicubic
    return difference.abs().mean() if distance == "absolute" else difference.square().mean()


def sum_to_one(kernel: Tensor) -> Tensor:
    """``|1 - sum k|``: brightness is kept."""
    return (1 - kernel.sum()).abs()


def boundary_mask(size: int, dimensions: int = 2, scale: float = 30.0) -> Tensor:
    """Zero in the middle, growing towards the corners: ``scale (1 - exp(-r^2 / (2 size^2)))``.

    The outer sixth on each side counts as boundary: two taps of thirteen.
    """
    rim = size // 6
    line = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    square = torch.zeros([1] * dimensions)
    outside = torch.zeros([1] * dimensions, dtype=torch.bool)
    for axis in range(dimensions):
        shape = [-1 if a == axis else 1 for a in range(dimensions)]
        square = square + line.square().reshape(shape)
        outside = outside | (line.abs() > (size - 1) / 2 - rim).reshape(shape)
    return scale * (1 - torch.exp(-0.5 * square / size**2)) * outside


def boundaries(kernel: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``|k m|``: nothing at the rim."""
    return (kernel * mask).abs().mean()


def sparsity(kernel: Tensor) -> Tensor:
    """Mean of ``|k|^0.2``: few taps rather than many, so that it does not blur too much."""
    return (kernel.abs() + _STEEPEST).pow(POWER).mean()


def centre_of_mass(kernel: Tensor) -> Tensor:
    """Where the kernel's weight lies, in taps from the first, one number for each axis."""
    places = []
    for axis in range(kernel.ndim):
        shape = [-1 if a == axis else 1 for a in range(kernel.ndim)]
        at = torch.arange(kernel.shape[axis], dtype=kernel.dtype, device=kernel.device)
        places.append((kernel * at.reshape(shape)).sum())
    return torch.stack(places) / kernel.sum()


def off_centre(kernel: Tensor) -> Tensor:
    """Distance of the centre of mass from the middle tap, in taps."""
    middle = kernel.new_tensor([(n - 1) / 2 for n in kernel.shape])
    return torch.linalg.vector_norm(middle - centre_of_mass(kernel))


@dataclass(frozen=True)
class KernelWeights:
    """Weights of the five terms, and how far their game has come.

    Attributes:
        near: steps in a row in which the bicubic distance was small enough.
        decaying: the bicubic term has begun to lose its weight.
    """

    bicubic: float
    sum_to_one: float
    boundaries: float
    centre: float = 0.0
    sparse: float = 0.0
    near: int = 0
    decaying: bool = False

    @classmethod
    def first(cls, spec: KernelSpec) -> KernelWeights:
        """Those of the first step."""
        return cls(spec.bicubic, spec.sum_to_one, spec.boundaries)

    def after(self, step: int, distance: float, spec: KernelSpec) -> KernelWeights:
        """Those of the step behind ``step`` (counted from 0), in which the distance was this."""
        near = self.near + 1 if distance < spec.reached else 0
        decaying = self.decaying or near >= spec.checks
        found = replace(self, near=near, decaying=decaying)
        if decaying and (step + 1) % spec.every == 0 and self.bicubic > spec.floor:
            found = replace(found, bicubic=max(spec.floor, self.bicubic * spec.decay))
        if found.bicubic < spec.small:
            found = replace(found, centre=spec.centre, sparse=spec.sparse)
        return found


def weights_after(distances: Iterable[float], spec: KernelSpec) -> KernelWeights:
    """The weights after steps with these bicubic distances: a function of them alone."""
    found = KernelWeights.first(spec)
    for step, distance in enumerate(distances):
        found = found.after(step, distance, spec)
    return found


@dataclass(frozen=True)
class KernelTerms:
    """The five terms of one step.

    Attributes:
        total: weighted by ``weights``.
        bicubic, sum_to_one, boundaries, centre, sparse: as they are.
    """

    total: Tensor
    bicubic: Tensor
    sum_to_one: Tensor
    boundaries: Tensor
    centre: Tensor
    sparse: Tensor


def kernel_terms(
    kernel: Tensor,
    distance: Tensor,
    weights: KernelWeights,
    mask: Tensor,
) -> KernelTerms:
    """``R`` of equation 3.

    Args:
        distance: :func:`downscale_loss`.
        mask: :func:`boundary_mask`.
    """
    one, rim = sum_to_one(kernel), boundaries(kernel, mask)
    aside, many = off_centre(kernel), sparsity(kernel)
    total = weights.bicubic * distance + weights.sum_to_one * one + weights.boundaries * rim
    # A kernel whose sum is about zero has no centre: it is not looked at before it counts.
    if weights.centre > 0:
        total = total + weights.centre * aside
    if weights.sparse > 0:
        total = total + weights.sparse * many
    return KernelTerms(total, distance, one, rim, aside, many)
