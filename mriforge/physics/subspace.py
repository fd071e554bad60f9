"""The encoding operator of MR Multitasking: ``d = Omega(F S U Phi)`` (Chen 2021, section 6.2.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from mriforge.physics.kernel import build_spectra
from mriforge.physics.nufft import Nufft
from mriforge.physics.radial import AngleGridding, fold, harmonics, spokes_of
from mriforge.physics.toeplitz import ToeplitzNormal

_NODES_AT_ONCE = 4


class SubspaceOperator:
    """Spatial factors of one slice, or of a stack of stars, to radial multi-coil data.

    ``d_c(s, n) = sum_l phi_l(s) sum_r S_c(r) u_l(r) exp(-2 pi i k_sn r)``, without normalisation.

    Args:
        trajectory: ``(s, n, 2)`` cycles per pixel.
        weights: ``(s, L)`` real, the temporal basis at each readout.
        maps: ``(C, z, ny, nx)`` complex64 coil sensitivities.
        partition: ``(s,)`` for a stack of stars of ``z`` partitions.
        tolerance: of the non-uniform transform.
        backend: of :class:`~mriforge.physics.nufft.Nufft`.
        radial: resample straight spokes along the angle; None: when they are straight.
    """

    def __init__(
        self,
        trajectory: Tensor,
        weights: Tensor,
        maps: Tensor,
        partition: Tensor | None = None,
        *,
        tolerance: float = 1e-5,
        backend: str = "auto",
        radial: bool | None = None,
    ) -> None:
        self.trajectory, self.weights, self.maps = trajectory, weights.float(), maps
        self.partitions = maps.shape[1]
        self.partition = partition if self.partitions > 1 else None
        self.tolerance, self.backend, self.radial = tolerance, backend, radial

    @property
    def rank(self) -> int:
        """L."""
        return self.weights.shape[1]

    def _groups(self):
        """Readouts of each partition, with the partition's place in an unshifted transform."""
        for number in range(self.partitions):
            mine = slice(None) if self.partition is None else self.partition == number
            yield (number - self.partitions // 2) % self.partitions, mine

    def A(self, factors: Tensor) -> Tensor:
        """Data ``(C, s, n)`` of factors ``(L, z, ny, nx)``; slow, by explicit transforms."""
        samples = self.trajectory.shape[1]
        data = factors.new_zeros(self.maps.shape[0], len(self.trajectory), samples)
        shape = tuple(self.maps.shape[2:])
        transforms = [
            (place, mine, Nufft(self.trajectory[mine].reshape(-1, 2), shape, self.tolerance,
                                self.backend))
            for place, mine in self._groups()
        ]  # fmt: skip
        for coil, sensitivity in enumerate(self.maps):
            images = factors * sensitivity
            if self.partitions > 1:
                images = torch.fft.fft(torch.fft.ifftshift(images, dim=1), dim=1)
            for place, mine, transform in transforms:
                lines = transform.forward(images[:, place]).unflatten(-1, (-1, samples))
                data[coil, mine] = (self.weights[mine].T[:, :, None] * lines).sum(0)
        return data

    def A_adjoint(self, data: Tensor, density: Tensor | None = None) -> Tensor:
        """``E^H W d`` ``(L, z, ny, nx)`` of data ``(C, s, n)``; exact adjoint without ``density``.

        Args:
            data: measured or residual samples.
            density: ``(n,)`` compensation W along a readout.
        """
        result = self.maps.new_zeros(self.rank, *self.maps.shape[1:])
        if density is not None:
            data = data * density
        planned = [(place, mine, self._transposed(mine)) for place, mine in self._groups()]
        for coil, sensitivity in enumerate(self.maps):
            images = torch.empty_like(result)
            for place, mine, transposed in planned:
                images[:, place] = transposed(data[coil, mine])
            if self.partitions > 1:
                images = torch.fft.ifft(images, dim=1) * self.partitions
                images = torch.fft.fftshift(images, dim=1)
            result += images * sensitivity.conj()
        return result

    def _transposed(self, mine):
        """From one coil's readouts ``(s, n)`` to the images of all components, before the coils."""
        lines, weights = self.trajectory[mine], self.weights[mine]
        shape = tuple(self.maps.shape[2:])
        spokes = spokes_of(lines) if self.radial is not False else None
        if spokes is not None and _foldable(spokes[1]):
            return _RadialAdjoint(*spokes, weights, shape, self.tolerance, self.backend)
        transform = Nufft(lines.reshape(-1, 2), shape, self.tolerance, self.backend)

        def adjoint(values: Tensor) -> Tensor:
            return transform.adjoint((weights.T[:, :, None] * values).flatten(1))

        return adjoint

    def normal(self, density: Tensor | None = None, working_bytes: int = 1 << 28) -> ToeplitzNormal:
        """``E^H W E`` as a Toeplitz operator; all its transforms are done here, once."""
        spectrum, circulant = build_spectra(
            self.trajectory,
            self.weights,
            tuple(self.maps.shape[2:]),
            density=density,
            partition=self.partition,
            partitions=self.partitions,
            radial=self.radial,
            tolerance=self.tolerance,
        )
        return ToeplitzNormal(spectrum, circulant, self.maps, working_bytes)


def _foldable(positions: Tensor) -> bool:
    """Whether antipodal spokes share their sample positions, but for the first one."""
    count = len(positions)
    mirrored = -positions[1:].flip(0)
    return count % 2 == 0 and float((positions[1:] - mirrored).abs().max()) < 1e-6


class _RadialAdjoint:
    """Readouts of one coil to the images of all components, by way of equispaced spokes."""

    def __init__(
        self,
        angles: Tensor,
        positions: Tensor,
        weights: Tensor,
        shape: tuple[int, int],
        tolerance: float,
        backend: str,
    ) -> None:
        ny, nx = shape
        radius = ((ny // 2) ** 2 + (nx // 2) ** 2) ** 0.5
        self._rank = weights.shape[1]
        gridding = self._gridding = AngleGridding.plan(angles, harmonics(positions, radius))
        ordered = weights[gridding.order]
        self._blocks = []
        for begin in range(0, gridding.fine, _NODES_AT_ONCE):
            end = min(begin + _NODES_AT_ONCE, gridding.fine)
            which, much = gridding.coefficients(begin, end)
            which = which.to(weights.device)
            dense = much.to(ordered)[:, None, :] * ordered[which].T
            self._blocks.append((begin, end, which, dense.flatten(0, 1)))
        half = gridding.nodes // 2
        turn = torch.arange(half, dtype=torch.float64) * (2 * torch.pi / gridding.nodes)
        folded = torch.cat([positions.cpu(), -positions[:1].cpu()])
        points = folded[:, None] * torch.stack([turn.cos(), turn.sin()], -1)[:, None]
        points = points.reshape(-1, 2).to(weights.device, torch.float32)
        self._transform = Nufft(points, shape, tolerance, backend)

    def __call__(self, values: Tensor) -> Tensor:
        ordered = torch.view_as_real(values[self._gridding.order]).flatten(1)
        count = values.shape[1]
        fine = ordered.new_empty(self._gridding.fine, self._rank, 2 * count)
        for begin, end, which, dense in self._blocks:
            fine[begin:end] = (dense @ ordered[which]).unflatten(0, (-1, self._rank))
        gridded = torch.view_as_complex(fine.unflatten(-1, (count, 2)))
        lines = fold(self._gridding.finish(gridded))
        return self._transform.adjoint(lines.transpose(0, 1).flatten(1))
