"""Coil maps by ESPIRiT: sensitivities as eigenvectors of what the calibration data obey."""

from __future__ import annotations

import torch

from mriforge.errors import BadInput
from mriforge.physics.coils.walsh import reference_phase, strongest


def espirit_maps(
    calibration: torch.Tensor,
    shape: tuple[int, int],
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.9,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sensitivities ``(C, [z,] ny, nx)`` of unit length, and eigenvalues ``([z,] ny, nx)``.

    All windows of ``kernel x kernel`` samples of the calibration data lie in a subspace.
    Projecting every window of k-space onto it and averaging is a convolution, which in the image
    is a small Hermitian matrix at each pixel; where there is signal, the sensitivities are its
    eigenvector of eigenvalue one (Uecker et al. 2014, equations 14 to 20). Only the sum of all
    kernels' products is needed, so memory does not grow with their number.

    Args:
        calibration: ``(C, [z,] cy, cx)`` complex k-space about its centre ``c // 2``, prewhitened.
        shape: ``(ny, nx)`` of the maps in pixels.
        kernel: side of a window in samples.
        threshold: singular values of the calibration matrix below this part of the largest are
            noise.
        crop: maps are zero where the eigenvalue is smaller.

    Raises:
        BadInput: the region is smaller than the kernel, or empty of signal.
    """
    coils = calibration.shape[0]
    stack = calibration.reshape(coils, -1, *calibration.shape[-2:])
    if min(stack.shape[-2:]) < kernel + 1:
        raise BadInput(
            f"The calibration region ({stack.shape[-2]} x {stack.shape[-1]}) is too small "
            f"for windows of {kernel} x {kernel}.",
            "Use Walsh's coil maps, or a smaller kernel.",
        )
    if not bool(stack.abs().max() > 0):
        raise BadInput("The calibration region holds no signal.")
    maps = stack.new_empty((coils, stack.shape[1], *shape))
    values = stack.new_empty(stack.shape[1:2] + tuple(shape), dtype=stack.dtype.to_real())
    for z in range(stack.shape[1]):
        products = _kernel_products(stack[:, z], kernel, threshold)
        vectors, values[z] = strongest(_to_image(products, shape))
        vectors[values[z] < crop] = 0
        maps[:, z] = vectors.movedim(-1, 0)
    maps = reference_phase(maps, stack)
    lead = calibration.shape[1:-2]
    return maps.reshape(coils, *lead, *shape), values.reshape(*lead, *shape)


def _kernel_products(calibration: torch.Tensor, kernel: int, threshold: float) -> torch.Tensor:
    """``(C, C, 2 k - 1, 2 k - 1)``: the averaged projection, as a convolution between coils."""
    coils = calibration.shape[0]
    windows = calibration.unfold(1, kernel, 1).unfold(2, kernel, 1)
    windows = windows.permute(1, 2, 0, 3, 4).reshape(-1, coils * kernel * kernel)
    # The Gram matrix has the singular vectors, and is much smaller than the list of windows;
    # in double precision, because its values are squares.
    windows = windows.cpu().to(torch.complex128)
    squares, basis = torch.linalg.eigh(windows.T @ windows.conj())
    basis = basis[:, squares.clamp(min=0).sqrt() > threshold * squares[-1].sqrt()]
    projection = (basis @ basis.conj().T).reshape(coils, kernel, kernel, coils, kernel, kernel)
    side = 2 * kernel - 1
    found = projection.new_zeros((coils, coils, side, side))
    for y in range(kernel):
        for x in range(kernel):
            # Entry (p, p') of the projection moves a sample by p - p'.
            moved = projection[:, y, x].flip(2, 3)
            found[:, :, y : y + kernel, x : x + kernel] += moved
    return (found / kernel**2).to(calibration)


def _to_image(products: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """``(ny, nx, C, C)``: the convolution as a matrix at each pixel."""
    found = products
    for axis, pixels in zip((-2, -1), shape, strict=True):
        found = found.movedim(axis, -1)
        side = found.shape[-1]
        pixel = torch.arange(pixels, device=found.device) - pixels // 2
        step = torch.arange(side, device=found.device) - side // 2
        turns = (pixel * step[:, None]).to(found.dtype.to_real()) / pixels
        waves = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)
        found = (found @ waves.to(found)).movedim(-1, axis)
    return found.permute(2, 3, 0, 1)
