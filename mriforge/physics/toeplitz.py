"""The normal operator of a subspace reconstruction, without any non-uniform transform.

``E^H E`` maps spatial factors to spatial factors. For spokes with weights ``phi_l(s)`` it is a
convolution of the coil images with ``L x L`` point-spread functions,
``psf_lm(r) = sum_s phi_l(s) phi_m(s) sum_n w_n exp(2 pi i k_sn r)`` (Fessler 2005; Tamir 2017;
Mani 2015 for the subspace). A real basis makes the psf Hermitian and its spectrum real and
symmetric, which halves memory and arithmetic.

The transform of twice the size that a linear convolution needs splits into four of the single
size, one for each combination of even and odd frequencies. Nothing is padded or cropped, and the
working memory is a quarter. Components and coils are the last axes throughout, so that transforms
and matrix products run over the same memory without a transposition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import scipy.fft
import torch
from torch import Tensor

PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Even (0) or odd (1) frequencies of the doubled grid, along y and x."""


def transform(values: Tensor, axes: Sequence[int], inverse: bool = False) -> Tensor:
    """Fourier transform along ``axes``; ``values`` may be overwritten.

    On a CPU by SciPy: torch transposes the memory of whatever is not transformed along its last
    axes, which costs more than the transform.
    """
    if values.device.type != "cpu":
        run = torch.fft.ifftn if inverse else torch.fft.fftn
        return run(values, dim=tuple(axes))
    run = scipy.fft.ifftn if inverse else scipy.fft.fftn
    array = values.contiguous().numpy()
    workers = torch.get_num_threads()
    return torch.from_numpy(run(array, axes=tuple(axes), workers=workers, overwrite_x=True))


def hermitian_transform(half: Tensor, shape: tuple[int, int]) -> Tensor:
    """Real spectra ``(p, *shape)`` of Hermitian ``half`` ``(p, ny, nx // 2 + 1)``."""
    if half.device.type != "cpu":
        return torch.fft.hfft2(half, s=shape)
    workers = torch.get_num_threads()
    return torch.from_numpy(scipy.fft.hfft2(half.numpy(), s=shape, workers=workers))


def pairs(rank: int) -> tuple[Tensor, Tensor]:
    """Row and column of the upper triangle, ``L (L + 1) / 2`` entries."""
    rows, columns = torch.triu_indices(rank, rank)
    return rows, columns


def unpacked(packed: Tensor, rank: int) -> Tensor:
    """Symmetric matrices ``(..., L, L)`` of their upper triangles ``(..., L (L + 1) / 2)``."""
    rows, columns = pairs(rank)
    where = torch.empty(rank, rank, dtype=torch.long)
    where[rows, columns] = torch.arange(len(rows))
    where[columns, rows] = torch.arange(len(rows))
    flat = where.reshape(-1).to(packed.device)
    return packed.index_select(-1, flat).unflatten(-1, (rank, rank))


class SpectrumBuilder:
    """Collects the spectra of psfs, pair by pair, in the layout that the operator reads.

    Args:
        rank: L.
        shape: ``(ny, nx)``.
        partitions: of a stack of stars, each with a psf of its own.
        device: where the spectra are kept.
    """

    def __init__(
        self, rank: int, shape: tuple[int, int], partitions: int = 1, device: str = "cpu"
    ) -> None:
        self.rank, self.shape = rank, shape
        count = rank * (rank + 1) // 2
        points = shape[0] * shape[1]
        self._packed = torch.empty(4, partitions, count, points, device=device)
        self._circulant = torch.empty(partitions, count, points, device=device)

    def put(self, partition: int, first: int, psf: Tensor) -> None:
        """Psfs of the pairs from ``first`` on.

        Args:
            partition: which one.
            first: index into :func:`pairs`.
            psf: ``(p, 2 ny - 1, nx)`` complex; lags ``-(ny - 1) .. ny - 1`` and ``0 .. nx - 1``,
                the other half follows from the symmetry.
        """
        count, (ny, nx) = psf.shape[0], self.shape
        half = psf.new_zeros(count, 2 * ny, nx + 1)
        half[:, :ny, :nx] = psf[:, ny - 1 :]
        half[:, ny + 1 :, :nx] = psf[:, : ny - 1]
        spectrum = hermitian_transform(half, (2 * ny, 2 * nx))
        for number, (a, b) in enumerate(PHASES):
            part = spectrum[:, a::2, b::2].reshape(count, ny * nx)
            self._packed[number, partition, first : first + count] = part
        self._circulant[partition, first : first + count] = self._nearest_circulant(half)

    def _nearest_circulant(self, half: Tensor) -> Tensor:
        """Spectrum of the circulant nearest to the Toeplitz operator (T. Chan 1988)."""
        ny, nx = self.shape
        lags_y = torch.arange(2 * ny, device=half.device)
        lags_y = torch.minimum(lags_y, 2 * ny - lags_y)
        lags_x = torch.arange(nx + 1, device=half.device)
        taper = ((1 - lags_y / ny)[:, None] * (1 - lags_x / nx)).to(half.real.dtype)
        spectrum = hermitian_transform(half * taper, (2 * ny, 2 * nx))
        # Every second frequency of the doubled grid: the lags that differ by n are added.
        return spectrum[:, ::2, ::2].reshape(-1, ny * nx)

    def finish(self) -> tuple[Tensor, Tensor]:
        """Spectra ``(4, partitions * ny * nx, L, L)``, and the circulant's (without the 4)."""
        full = torch.stack([self._matrices(self._packed[number]) for number in range(4)])
        return full, self._matrices(self._circulant)

    def _matrices(self, packed: Tensor) -> Tensor:
        last = packed.transpose(1, 2).reshape(-1, packed.shape[1])
        return unpacked(last, self.rank)


class ToeplitzNormal:
    """``E^H E`` of spatial factors, with components last.

    Args:
        spectrum: ``(4, z * ny * nx, L, L)`` float32, of :class:`SpectrumBuilder`; partitions in
            the order of an unshifted transform.
        circulant: ``(z * ny * nx, L, L)``, the same for the preconditioner.
        maps: coil sensitivities ``(C, z, ny, nx)`` complex64.
        working_bytes: of the buffer that holds some coils of one phase.
    """

    def __init__(
        self, spectrum: Tensor, circulant: Tensor, maps: Tensor, working_bytes: int = 1 << 28
    ) -> None:
        self.spectrum, self.circulant = spectrum, circulant
        self.rank = spectrum.shape[-1]
        self.grid = tuple(maps.shape[1:])
        coils = maps.shape[0]
        per_coil = 8 * self.rank * math.prod(self.grid)
        self._coils = max(1, min(coils, working_bytes // per_coil))
        modulated = torch.stack([maps * _modulation(self.grid, phase, maps) for phase in PHASES])
        self._maps = modulated.permute(0, 2, 3, 4, 1).contiguous()
        self._axes = (0, 1, 2) if self.grid[0] > 1 else (1, 2)
        self.support = (maps.abs().sum(0) > 0)[..., None]
        self.lipschitz = self._largest_eigenvalue()

    def _largest_eigenvalue(self) -> float:
        """Upper bound of ``||E^H E||`` for coil maps of unit sum of squares (power iteration)."""
        step = max(1, self.circulant.shape[0] // 4096)
        some = self.circulant[::step]
        vector = torch.ones(*some.shape[:2], 1, device=some.device)
        for _ in range(12):
            vector = some @ vector
            size = vector.norm(dim=1, keepdim=True)
            vector = vector / size.clamp(min=torch.finfo(size.dtype).tiny)
        return float(size.max())

    def _blocks(self) -> Iterator[tuple[int, Tensor]]:
        coils = self._maps.shape[-1]
        for number in range(4):
            for start in range(0, coils, self._coils):
                yield number, self._maps[number, ..., start : start + self._coils]

    def __call__(self, factors: Tensor) -> Tensor:
        """``E^H E`` times ``factors`` ``(z, y, x, L)`` complex64."""
        result = torch.zeros_like(factors)
        for number, maps in self._blocks():
            coil_images = factors[..., :, None] * maps[..., None, :]
            mixed = mix(self.spectrum[number], transform(coil_images, self._axes))
            del coil_images
            mixed = transform(mixed, self._axes, inverse=True)
            result += (mixed @ maps[..., None].conj())[..., 0]
        return result / 4

    def preconditioner(self, weight: float | Tensor) -> Preconditioner:
        """``(C + weight I)^-1`` with the nearest circulant ``C`` of the psf.

        Args:
            weight: one for all frequencies, or ``(z * ny * nx,)``.
        """
        return Preconditioner(self.circulant, weight, self.support)


def _modulation(grid: tuple[int, ...], phase: tuple[int, int], like: Tensor) -> Tensor:
    """Half a frequency step along y or x, or both; ``(ny, nx)``."""
    ny, nx = grid[-2:]
    y = torch.arange(ny, device=like.device, dtype=torch.float64) * (phase[0] / ny / 2)
    x = torch.arange(nx, device=like.device, dtype=torch.float64) * (phase[1] / nx / 2)
    angle = -2 * math.pi * (y[:, None] + x)
    return torch.polar(torch.ones_like(angle), angle).to(like.dtype)


def mix(matrices: Tensor, values: Tensor) -> Tensor:
    """Real ``(k, L, L)`` times complex ``(z, y, x, L, c)``, at each of the k frequencies."""
    shape = values.shape
    flat = torch.view_as_real(values).reshape(matrices.shape[0], shape[-2], 2 * shape[-1])
    product = torch.bmm(matrices, flat)
    return torch.view_as_complex(product.reshape(*shape, 2))


class Preconditioner:
    """An approximate inverse of the normal operator that two small transforms apply.

    It keeps to the support of the coil maps. Elsewhere the operator sees nothing, and what a
    convolution spreads there would never be taken back.
    """

    def __init__(self, circulant: Tensor, weight: float | Tensor, support: Tensor) -> None:
        loaded = circulant.clone()
        diagonal = loaded.diagonal(dim1=-2, dim2=-1)
        diagonal += weight[:, None] if isinstance(weight, Tensor) else weight
        self._inverse = torch.linalg.inv(loaded)
        self._support = support
        self._axes = (0, 1, 2) if support.shape[0] > 1 else (1, 2)

    def __call__(self, factors: Tensor) -> Tensor:
        """Applies it to ``factors`` ``(z, y, x, L)``."""
        values = transform(factors * self._support, self._axes)
        values = mix(self._inverse, values[..., None])[..., 0]
        return transform(values, self._axes, inverse=True) * self._support
