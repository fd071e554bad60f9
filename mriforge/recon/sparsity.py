"""What is sparse in a spatial factor, as a transform and the shrinkage that goes with it.

Spatial factors are ``(z, y, x, L)`` complex here, as the normal operator takes them. The
components of a real orthonormal basis all have one scale, so that one threshold serves them all.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mriforge.physics.wavelets import analysis_matrix, levels_possible


class Sparsity(Protocol):
    """``Psi`` and its shrinkage, for ``min f(U) + lambda ||Psi U||``."""

    def forward(self, factors: Tensor) -> Tensor:
        """``Psi U``."""
        ...

    def adjoint(self, coefficients: Tensor) -> Tensor:
        """``Psi^H z``."""
        ...

    def shrink(self, coefficients: Tensor, threshold: float) -> Tensor:
        """The proximal map of ``threshold`` times the norm."""
        ...

    def energy(self, factors: Tensor) -> Tensor:
        """Spectrum of ``Psi^H Psi`` on the grid ``(z * y * x,)``, for the preconditioner."""
        ...


def soft(values: Tensor, threshold: float, size: Tensor | None = None) -> Tensor:
    """Complex soft thresholding; ``size`` replaces the modulus for a joint one."""
    size = values.abs() if size is None else size
    return values * (1 - threshold / size.clamp(min=threshold or 1e-30))


class WaveletSparsity:
    """Orthonormal wavelets in the plane; approximations are left alone.

    The transform is orthonormal, so that the proximal map acts on the image itself. It may be
    shifted at random each time (cycle spinning, Coifman 1995).

    Args:
        grid: ``(z, y, x)``.
        name: see :func:`mriforge.physics.wavelets.scaling_filter`.
        levels: at most.
        joint: all components of a coefficient shrink together (group sparsity).
        seed: of the shifts; None: no shifts, so that iterations settle.
    """

    def __init__(
        self,
        grid: tuple[int, int, int],
        name: str = "sym4",
        levels: int = 4,
        joint: bool = False,
        seed: int | None = None,
    ) -> None:
        self.joint = joint
        self._sides = [torch.from_numpy(analysis_matrix(n, name, levels)).float() for n in grid[1:]]
        self._depths = [levels_possible(n, levels) for n in grid[1:]]
        coarse = [torch.arange(n) < n >> d for n, d in zip(grid[1:], self._depths, strict=True)]
        self._kept = (coarse[0][:, None] & coarse[1][None, :])[None, :, :, None]
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)

    def forward(self, factors: Tensor) -> Tensor:
        """The factors themselves."""
        return factors

    def adjoint(self, coefficients: Tensor) -> Tensor:
        """The factors themselves."""
        return coefficients

    def shrink(self, coefficients: Tensor, threshold: float) -> Tensor:
        """Soft thresholding of the details, and back."""
        sides = [side.to(coefficients.device) for side in self._sides]
        if self._generator is not None:
            sides = [
                side.roll(int(torch.randint(1 << depth, (), generator=self._generator)), 1)
                for side, depth in zip(sides, self._depths, strict=True)
            ]
        details = _both(sides[0], sides[1], coefficients)
        size = details.abs()
        if self.joint:
            size = size.square().sum(-1, keepdim=True).sqrt()
        kept = self._kept.to(size.device)
        return _both(
            sides[0].T, sides[1].T, torch.where(kept, details, soft(details, threshold, size))
        )

    def energy(self, factors: Tensor) -> Tensor:
        """Ones: the transform is orthonormal."""
        return torch.ones(factors[..., 0].numel(), device=factors.device)


def _both(left: Tensor, right: Tensor, values: Tensor) -> Tensor:
    """``left`` along y and ``right`` along x of ``(z, y, x, L)`` complex."""
    z, y, x, rank = values.shape
    real = torch.view_as_real(values.contiguous())
    along_y = torch.matmul(left, real.reshape(z, y, -1))
    along_x = torch.matmul(right, along_y.reshape(z * y, x, -1))
    return torch.view_as_complex(along_x.reshape(z, y, x, rank, 2))


class TotalVariation:
    """Isotropic total variation in the plane, periodic (Rudin 1992)."""

    def forward(self, factors: Tensor) -> Tensor:
        """Differences along y and x, ``(2, z, y, x, L)``."""
        return torch.stack([factors.roll(-1, axis) - factors for axis in (1, 2)])

    def adjoint(self, coefficients: Tensor) -> Tensor:
        """Negative divergence."""
        parts = [part.roll(1, axis) - part for part, axis in zip(coefficients, (1, 2), strict=True)]
        return parts[0] + parts[1]

    def shrink(self, coefficients: Tensor, threshold: float) -> Tensor:
        """Both differences of a pixel shrink together."""
        size = coefficients.abs().square().sum(0, keepdim=True).sqrt()
        return soft(coefficients, threshold, size)

    def energy(self, factors: Tensor) -> Tensor:
        """Spectrum of the (negative) Laplacian."""
        z, y, x = factors.shape[:3]
        along = [
            2 - 2 * torch.cos(2 * torch.pi * torch.arange(n, device=factors.device) / n)
            for n in (y, x)
        ]
        return (along[0][:, None] + along[1]).reshape(-1).repeat(z)


class LocallyLowRank:
    """Blocks of pixels whose components have low rank (Trzasko 2011; Zhang 2015).

    Two tilings of blocks, half a block apart, are averaged, so that no borders show. (Shifts at
    random, the usual way, keep the iterations from ever settling.)

    Args:
        block: side in pixels.
    """

    def __init__(self, block: int = 8) -> None:
        self.block = block

    def forward(self, factors: Tensor) -> Tensor:
        """The factors themselves."""
        return factors

    def adjoint(self, coefficients: Tensor) -> Tensor:
        """The factors themselves."""
        return coefficients

    def shrink(self, coefficients: Tensor, threshold: float) -> Tensor:
        """Soft thresholding of the singular values of each block's ``(pixels, L)`` matrix."""
        tilings = [self._shrink(coefficients, threshold, s) for s in (0, self.block // 2)]
        return (tilings[0] + tilings[1]) / 2

    def _shrink(self, coefficients: Tensor, threshold: float, shift: int) -> Tensor:
        z, y, x, rank = coefficients.shape
        side = self.block
        padded = coefficients.roll((shift, shift), (1, 2))
        over = [(-n) % side for n in (y, x)]
        padded = torch.nn.functional.pad(padded, (0, 0, 0, over[1], 0, over[0]))
        tall, wide = padded.shape[1] // side, padded.shape[2] // side
        blocks = padded.reshape(z, tall, side, wide, side, rank).transpose(2, 3)
        matrices = blocks.reshape(-1, side * side, rank)
        # The Gram matrix is L x L: its eigenvectors cost less than a singular value decomposition.
        values, vectors = torch.linalg.eigh(matrices.mH @ matrices)
        singular = values.clamp(min=0).sqrt()
        scale = (1 - threshold / singular.clamp(min=threshold or 1e-30)).to(matrices.dtype)
        matrices = matrices @ (vectors * scale[:, None, :]) @ vectors.mH
        blocks = matrices.reshape(z, tall, wide, side, side, rank).transpose(2, 3)
        whole = blocks.reshape(padded.shape)[:, :y, :x]
        return whole.roll((-shift, -shift), (1, 2))

    def energy(self, factors: Tensor) -> Tensor:
        """Ones."""
        return torch.ones(factors[..., 0].numel(), device=factors.device)


class Together:
    """Wavelets first, then locally low rank: one asks each image, the other their relations.

    The two proximal maps in turn are not the proximal map of the sum, but near it for the small
    thresholds of an iteration; measured in Docs/multitasking.md.

    Args:
        grid: ``(z, y, x)``.
        share: threshold of the singular values relative to that of the wavelets.
    """

    def __init__(self, grid: tuple[int, int, int], share: float = 3.0) -> None:
        self._wavelets, self._low_rank = WaveletSparsity(grid), LocallyLowRank()
        self._share = share

    def forward(self, factors: Tensor) -> Tensor:
        """The factors themselves."""
        return factors

    def adjoint(self, coefficients: Tensor) -> Tensor:
        """The factors themselves."""
        return coefficients

    def shrink(self, coefficients: Tensor, threshold: float) -> Tensor:
        """One after the other."""
        wavelets = self._wavelets.shrink(coefficients, threshold)
        return self._low_rank.shrink(wavelets, threshold * self._share)

    def energy(self, factors: Tensor) -> Tensor:
        """Ones."""
        return self._wavelets.energy(factors)


KINDS = ("wavelet+llr", "wavelet", "tv", "llr", "none")


def sparsity_named(name: str, grid: tuple[int, int, int]) -> Sparsity | None:
    """One of :data:`KINDS`; None for ``none``."""
    makers = {
        "wavelet+llr": lambda: Together(grid),
        "wavelet": lambda: WaveletSparsity(grid),
        "tv": TotalVariation,
        "llr": LocallyLowRank,
        "none": lambda: None,
    }
    return makers[name]()
