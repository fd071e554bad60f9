"""Undersampled Cartesian k-space of several coils to one image: ESPIRiT and sparse wavelets.

``min_x 1/2 ||M F S x - d||^2 + lambda ||Psi x||_1`` (Lustig, Donoho and Pauly 2007; Uecker et al.
2014), solved by accelerated proximal gradients with randomly shifted wavelets.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.physics.coils import espirit_maps, low_resolution, walsh_maps
from mriforge.physics.wavelets import Wavelet
from mriforge.recon.solvers import Problem, Progress, fista
from mriforge.recon.sparsity import soft

_WAVELET_LEVELS = 4
_SHIFTS = 2  # of the wavelets in each iteration; one is noisier, four are no better
_CROP = 0.95  # of ESPIRiT's eigenvalues: what the coils do not see is not to be filled with noise


def reconstruct_cartesian(
    kspace: torch.Tensor,
    *,
    regularisation: float = 0.002,
    iterations: int = 40,
    tolerance: float = 1e-3,
    coil_maps: str = "espirit",
    wavelet: str = "sym4",
    calibration: int = 24,
    seed: int = 0,
    events: Events | None = None,
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """Image, coil maps, and what was done.

    Args:
        kspace: ``(C, ny, nx)`` complex with its centre at sample ``n // 2`` and zeros where
            nothing was acquired; any unit, prewhitened for the best result.
        regularisation: lambda, relative to the largest value of the zero-filled image.
        iterations: at most.
        tolerance: stop when the image changes less in an iteration, relatively.
        coil_maps: ``espirit`` or ``walsh``.
        wavelet: see :func:`mriforge.physics.wavelets.scaling_filter`.
        calibration: at most so many samples along each side of the centre make the maps.
        seed: of the wavelets' shifts.
        events: progress, and the switch that cancels.

    Returns:
        ``(ny, nx)`` complex64 in units of k-space over ``sqrt(nx ny)``; maps ``(C, ny, nx)``;
        and ``{"acquired", "calibration", "iterations", "change", "lambda", "maps_s",
        "iterations_s"}``.

    Raises:
        BadInput: not k-space of coils, not finite, or its centre is not fully sampled.
        Cancelled: the user asked for it.
    """
    events = events or Events()
    mask = sampling_mask(kspace)
    kspace = kspace.to(torch.complex64)
    began = time.monotonic()
    events.progress(0.0, "coil maps")
    region = kspace[(slice(None), *centre_region(mask, calibration))]
    shape = tuple(mask.shape)
    if coil_maps == "walsh":
        maps = walsh_maps(low_resolution(region, shape))
    else:
        maps, _ = espirit_maps(region, shape, crop=_CROP)
    found_maps = time.monotonic()
    target = (maps.conj() * _to_image(kspace)).sum(0)[None, :, :, None]
    scale = float(target.abs().max())

    def watch(estimate: torch.Tensor, progress: Progress) -> None:
        done = len(progress.changes)
        events.progress(0.1 + 0.9 * done / iterations, f"iteration {done} of {iterations}")
        events.metric(iteration=done, change=progress.changes[-1], data_error=progress.costs[-1])

    problem = Problem(
        SenseNormal(maps, mask),
        target,
        float(kspace.abs().square().sum()),
        watch,
        events.check_cancelled,
    )
    sparsity = ShiftedWavelet(shape, wavelet, seed)
    image, progress = fista(
        problem, sparsity, regularisation * scale, iterations=iterations, tolerance=tolerance
    )
    # Where no coil sees anything only the wavelets have been at work.
    image = image[0, :, :, 0] * (maps.abs().amax(0) > 0)
    info = {
        "acquired": float(mask.float().mean()),
        "calibration": tuple(region.shape[1:]),
        "iterations": len(progress.changes),
        "change": progress.changes[-1],
        "lambda": regularisation * scale,
        "maps_s": found_maps - began,
        "iterations_s": time.monotonic() - found_maps,
    }
    return image, maps, info


def sampling_mask(kspace: torch.Tensor) -> torch.Tensor:
    """``(ny, nx)`` bool: where any coil of ``(C, ny, nx)`` holds something.

    Raises:
        BadInput: not complex, not of three axes, not finite, or empty.
    """
    if kspace.ndim != 3 or not kspace.is_complex() or 0 in kspace.shape:
        raise BadInput(
            f"Cartesian k-space is (coil, ny, nx) and complex, not {tuple(kspace.shape)} "
            f"{str(kspace.dtype).removeprefix('torch.')}."
        )
    if not bool(torch.isfinite(torch.view_as_real(kspace)).all()):
        raise BadInput("The k-space holds values that are not finite.")
    mask = (kspace != 0).any(0)
    if not bool(mask.any()):
        raise BadInput("The k-space is empty.")
    return mask


def centre_region(mask: torch.Tensor, largest: int = 24) -> tuple[slice, slice]:
    """The fully sampled rectangle about the centre of k-space, grown side by side.

    Args:
        mask: ``(ny, nx)`` bool.
        largest: no side becomes longer, in samples.

    Raises:
        BadInput: not even 8 x 8 samples are complete.
    """
    sides = [[n // 2, n // 2 + 1] for n in mask.shape]
    grows = bool(mask[sides[0][0], sides[1][0]])
    while grows:
        grows = False
        for axis in (0, 1):
            for end, step in ((0, -1), (1, 1)):
                wanted = [list(side) for side in sides]
                wanted[axis][end] += step
                low, high = wanted[axis]
                if low < 0 or high > mask.shape[axis] or high - low > largest:
                    continue
                if bool(mask[wanted[0][0] : wanted[0][1], wanted[1][0] : wanted[1][1]].all()):
                    sides, grows = wanted, True
    region = []
    for n, (low, high) in zip(mask.shape, sides, strict=True):
        # Its own centre, sample c // 2, has to be the centre of k-space.
        before, after = n // 2 - low, high - 1 - n // 2
        half = min(before, after)
        region.append(slice(n // 2 - half - (before > half), n // 2 + half + 1))
    if min(side.stop - side.start for side in region) < 8:
        raise BadInput(
            "The centre of the k-space is not fully sampled, so that no coil maps can be found.",
            "Is sample n // 2 its centre, and are samples that were not acquired zero?",
        )
    return tuple(region)


class SenseNormal:
    """``S^H F^H M F S`` on ``(1, ny, nx, 1)``; its largest eigenvalue is at most one.

    Args:
        maps: ``(C, ny, nx)`` complex, of at most unit length at each pixel.
        mask: ``(ny, nx)`` bool, centre at ``n // 2``.
    """

    lipschitz = 1.0

    def __init__(self, maps: torch.Tensor, mask: torch.Tensor) -> None:
        self._maps, self._conjugate = maps, maps.conj().resolve_conj()
        # A product with a spectrum commutes with shifts: images stay where they are.
        self._mask = torch.fft.ifftshift(mask).to(maps.dtype)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.fft2(self._maps * image[0, :, :, 0])
        coils = torch.fft.ifft2(spectrum.mul_(self._mask))
        return coils.mul_(self._conjugate).sum(0)[None, :, :, None]


class ShiftedWavelet:
    """Wavelets of ``(1, ny, nx, 1)``, at other random shifts in each iteration.

    Sizes are rounded up with zeros, so that all levels exist.
    """

    def __init__(self, shape: tuple[int, int], name: str, seed: int) -> None:
        step = 1 << _WAVELET_LEVELS
        self._shape = shape
        padded = tuple(-(-n // step) * step for n in shape)
        self._wavelet = Wavelet(padded, name, _WAVELET_LEVELS, isotropic=True)
        self._generator = torch.Generator().manual_seed(seed)
        self._shifts: list[tuple[int, int]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Coefficients ``(shifts, ny', nx')`` at new shifts: a tight frame."""
        self._shifts = [self._wavelet.random_shift(self._generator) for _ in range(_SHIFTS)]
        padded = image.new_zeros(self._wavelet.shape)
        padded[: self._shape[0], : self._shape[1]] = image[0, :, :, 0]
        return torch.stack([self._wavelet.forward(padded, shift) for shift in self._shifts])

    def adjoint(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Image of coefficients at the shifts of the last :meth:`forward`, on average."""
        parts = zip(coefficients, self._shifts, strict=True)
        image = sum(self._wavelet.adjoint(part, shift) for part, shift in parts) / _SHIFTS
        return image[: self._shape[0], : self._shape[1]][None, :, :, None]

    def shrink(self, coefficients: torch.Tensor, threshold: float) -> torch.Tensor:
        """Soft thresholding of the details."""
        details = self._wavelet.details.to(coefficients.device)
        return torch.where(details, soft(coefficients, threshold), coefficients)

    def energy(self, factors: torch.Tensor) -> torch.Tensor:
        """Ones."""
        return torch.ones(factors.numel(), device=factors.device)


def _to_image(kspace: torch.Tensor) -> torch.Tensor:
    shifted = torch.fft.ifftshift(kspace, dim=(-2, -1))
    return torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=(-2, -1))


def predict(image: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """K-space ``(C, ny, nx)`` that the coils would have measured of an image ``(ny, nx)``."""
    shifted = torch.fft.ifftshift(maps * image, dim=(-2, -1))
    return torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=(-2, -1))
