"""Coil maps by adaptive combination: the strongest direction of what a neighbourhood measures."""

from __future__ import annotations

import torch
from torch.nn.functional import avg_pool2d, pad

_ROWS = 1 << 16


def walsh_maps(images: torch.Tensor, block: int = 7, noise_variance: float = 0.0) -> torch.Tensor:
    """Sensitivities ``(C, [z,] ny, nx)`` of unit length at each pixel.

    At each pixel the covariance between coils over a block around it has one large eigenvector:
    the sensitivities there (Walsh, Gmitro and Marcellin 2000). Their common phase, which no
    measurement tells, is that of :func:`reference_phase`.

    Args:
        images: ``(C, [z,] ny, nx)`` complex coil images, prewhitened; those of low resolution
            have less noise.
        block: side of the block in pixels, odd.
        noise_variance: of a pixel; below three times that there is no signal, and the maps are 0.
    """
    if block % 2 == 0 or block < 1:
        raise ValueError(f"a block has an odd side, not {block}")
    coils, shape = images.shape[0], images.shape[1:]
    stack = images.reshape(coils, -1, *shape[-2:])
    maps = torch.empty_like(stack)
    for z in range(stack.shape[1]):
        covariance = _block_covariance(stack[:, z], block)
        vectors, values = strongest(covariance)
        vectors[values < 3 * noise_variance] = 0
        maps[:, z] = vectors.movedim(-1, 0)
    return reference_phase(maps.reshape(coils, *shape), images)


def _block_covariance(images: torch.Tensor, block: int) -> torch.Tensor:
    """``(ny, nx, C, C)``: mean over the block of ``image image^H``; mirrored at the edges."""
    ny, nx = images.shape[-2:]
    half = min(block // 2, ny - 1, nx - 1)
    found = images.new_empty((ny, nx, images.shape[0], images.shape[0]))
    for coil in range(images.shape[0]):
        # The lower triangle; the rest is its conjugate.
        product = images[coil:] * images[coil].conj()
        planes = pad(torch.view_as_real(product).movedim(-1, 0), (half,) * 4, mode="reflect")
        mean = avg_pool2d(planes, 2 * half + 1, stride=1)
        column = torch.complex(mean[0], mean[1]).movedim(0, -1)
        found[..., coil:, coil] = column
        found[..., coil, coil:] = column.conj()
    return found


def strongest(matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest eigenvalue ``(...)`` and its unit eigenvector ``(..., C)`` of Hermitian matrices.

    Args:
        matrices: ``(..., C, C)`` complex, positive semi-definite.

    Returns:
        Vectors, then values.
    """
    size = matrices.shape[-1]
    flat = matrices.reshape(-1, size, size)
    vectors = flat.new_empty((len(flat), size))
    values = flat.new_empty(len(flat), dtype=flat.dtype.to_real())
    for start in range(0, len(flat), _ROWS):
        rows = slice(start, start + _ROWS)
        # MPS has no eigh of complex matrices.
        piece = flat[rows].cpu() if flat.device.type == "mps" else flat[rows]
        found, basis = torch.linalg.eigh(piece)
        values[rows], vectors[rows] = found[:, -1].to(values), basis[:, :, -1].to(vectors)
    return vectors.reshape(matrices.shape[:-1]), values.reshape(matrices.shape[:-2])


def reference_phase(maps: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    """Maps ``(C, ...)`` turned so that the strongest virtual coil has none of the phase.

    A single coil may be blind somewhere, and its phase jumps there; the first principal
    component of all coils is seen nearly everywhere (as in BART's ``ecalib``).

    Args:
        maps: ``(C, ...)`` complex.
        data: ``(C, ...)`` images or k-space of the same coils.
    """
    flat = data.reshape(data.shape[0], -1)
    weights, _ = strongest((flat @ flat.conj().T)[None])
    virtual = torch.einsum("c,c...->...", weights[0].conj(), maps)
    size = virtual.abs()
    turn = torch.where(size > 0, virtual.conj() / size.clamp(min=1e-20), torch.ones_like(virtual))
    return maps * turn
