"""Point-spread functions of a subspace acquisition: from any trajectory, or fast from spokes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mriforge.physics.nufft import Nufft
from mriforge.physics.radial import AngleGridding, harmonics, spokes_of
from mriforge.physics.toeplitz import SpectrumBuilder, pairs

_TABLE_STEPS = 1024
"""Table entries per pixel: linear interpolation is then exact to 1e-6."""
_TILE = 1 << 18
_BATCH_BYTES = 1 << 29
_NODES_AT_ONCE = 4


def build_spectra(
    trajectory: Tensor,
    weights: Tensor,
    shape: tuple[int, int],
    *,
    density: Tensor | None = None,
    partition: Tensor | None = None,
    partitions: int = 1,
    radial: bool | None = None,
    tolerance: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Spectra of the normal operator and of its nearest circulant.

    Args:
        trajectory: ``(s, n, 2)`` cycles per pixel.
        weights: ``(s, L)`` real temporal weights of each readout.
        shape: ``(ny, nx)``.
        density: ``(n,)`` density compensation along a readout, or none.
        partition: ``(s,)`` partition of each readout of a stack of stars.
        partitions: how many there are.
        radial: resample straight spokes along the angle; None: when they are straight.
        tolerance: of the non-uniform transform otherwise.

    Returns:
        ``(4, partitions * ny * nx, L, L)`` and ``(partitions * ny * nx, L, L)`` float32, see
        :class:`~mriforge.physics.toeplitz.ToeplitzNormal`.
    """
    rank = weights.shape[1]
    rows, columns = pairs(rank)
    builder = SpectrumBuilder(rank, shape, partitions, str(weights.device))
    batch = max(1, _BATCH_BYTES // (32 * shape[0] * shape[1]))
    for number in range(partitions):
        mine = slice(None) if partition is None or partitions == 1 else partition == number
        lines, their = trajectory[mine], weights[mine].float()
        # An unshifted transform holds partition p at p - partitions // 2.
        place = (number - partitions // 2) % partitions
        spokes = spokes_of(lines) if radial is not False and len(lines) else None
        if spokes is None:
            source = _nufft_psf(lines, density, shape, tolerance)
        else:
            source = _RadialPsf(*spokes, density, shape, their)
        for first in range(0, len(rows), batch):
            part = slice(first, min(first + batch, len(rows)))
            if spokes is None:
                psf = source(their[:, rows[part]] * their[:, columns[part]])
            else:
                psf = source(part)
            # The transform along z is not unitary: its adjoint is `partitions` times its inverse.
            builder.put(place, first, psf * partitions)
    return builder.finish()


def _nufft_psf(lines: Tensor, density: Tensor | None, shape: tuple[int, int], tolerance: float):
    ny, nx = shape
    count, samples = lines.shape[:2]
    transform = Nufft(lines.reshape(-1, 2), (2 * ny, 2 * nx), tolerance)
    along = torch.ones(samples, device=lines.device) if density is None else density

    def psf(products: Tensor) -> Tensor:
        values = (products.T[:, :, None] * along).reshape(-1, count * samples)
        return transform.adjoint(values.to(torch.complex64))[:, 1:, nx:]

    return psf


class _RadialPsf:
    """Back-projection of the weights' equispaced angles, as matrix products.

    A spoke's own psf depends on the position along its direction only,
    ``D(r . e) = sum_n w_n exp(2 pi i k_n r . e)``: a table.
    """

    def __init__(
        self,
        angles: Tensor,
        positions: Tensor,
        density: Tensor | None,
        shape: tuple[int, int],
        weights: Tensor,
    ) -> None:
        ny, nx = shape
        self._shape = shape
        self._radius = math.hypot(ny - 1, nx - 1)
        gridding = AngleGridding.plan(angles, harmonics(positions, self._radius))
        nodes = self._nodes(gridding, weights)
        half = gridding.nodes // 2
        self._even = (nodes[:half] + nodes[half:]).T.contiguous()
        self._odd = (nodes[:half] - nodes[half:]).T.contiguous()
        turn = torch.arange(half, dtype=torch.float64) * (2 * math.pi / gridding.nodes)
        self._directions = torch.stack([turn.sin(), turn.cos()]).float().to(weights.device)
        self._rows = self._table(positions, density, weights.device)

    def _nodes(self, gridding: AngleGridding, weights: Tensor) -> Tensor:
        rows, columns = pairs(weights.shape[1])
        ordered = weights[gridding.order]
        products = ordered[:, rows] * ordered[:, columns]
        fine = weights.new_empty(gridding.fine, len(rows))
        for begin in range(0, gridding.fine, _NODES_AT_ONCE):
            end = min(begin + _NODES_AT_ONCE, gridding.fine)
            which, much = gridding.coefficients(begin, end)
            which = which.to(weights.device)
            fine[begin:end] = much.to(products) @ products[which]
        return gridding.finish(fine.to(torch.complex64)).real

    def _table(self, positions: Tensor, density: Tensor | None, device) -> Tensor:
        """``(pixels, 4)``: even part, its step to the next entry, odd part, its step.

        Rows lie together in memory, so that each look-up costs one access.
        """
        along = torch.ones(len(positions)) if density is None else density.cpu()
        at = 2 * math.pi * positions.cpu().double()
        coarse = torch.arange(math.ceil(self._radius) + 1).double()[:, None] * at
        fine = torch.arange(_TABLE_STEPS).double()[:, None] * at / _TABLE_STEPS
        real, imaginary = coarse.cos() * along, coarse.sin() * along
        even = (real @ fine.cos().T - imaginary @ fine.sin().T).reshape(-1)
        odd = (imaginary @ fine.cos().T + real @ fine.sin().T).reshape(-1)
        columns = [even[:-1], even.diff(), odd[:-1], odd.diff()]
        return torch.stack(columns, -1).float().to(device)

    def __call__(self, part: slice) -> Tensor:
        ny, nx = self._shape
        even, odd = self._even[part], self._odd[part]
        psf = torch.empty(
            even.shape[0], (2 * ny - 1) * nx, dtype=torch.complex64, device=even.device
        )
        for begin, along_even, along_odd in self._tiles():
            end = begin + along_even.shape[1]
            psf.real[:, begin:end] = even @ along_even
            psf.imag[:, begin:end] = odd @ along_odd
        return psf.reshape(-1, 2 * ny - 1, nx)

    def _tiles(self):
        ny, nx = self._shape
        half = self._directions.shape[1]
        device = self._directions.device
        y = torch.arange(-(ny - 1), ny, device=device, dtype=torch.float32)
        x = torch.arange(nx, device=device, dtype=torch.float32)
        lags = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
        tile = max(1, _TILE // half)
        for begin in range(0, len(lags), tile):
            at = self._directions.T @ lags[begin : begin + tile].T
            yield begin, *self._along(at)

    def _along(self, at: Tensor) -> tuple[Tensor, Tensor]:
        scaled = at.abs() * _TABLE_STEPS
        index = scaled.to(torch.int32)
        share = scaled - index
        found = self._rows[index.reshape(-1)].reshape(*at.shape, 4)
        even = torch.addcmul(found[..., 0], share, found[..., 1])
        return even, torch.addcmul(found[..., 2], share, found[..., 3]) * at.sign()
