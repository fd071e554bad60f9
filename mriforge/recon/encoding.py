"""One acquisition with its temporal model and coil maps, and what solvers want of it."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mriforge.errors import BadInput
from mriforge.physics.radial import spokes_of
from mriforge.physics.subspace import SubspaceOperator
from mriforge.physics.toeplitz import ToeplitzNormal
from mriforge.rawdata import RawData

_TOLERANCE = 1e-4


def last(factors: Tensor) -> Tensor:
    """``(L, z, y, x)`` to ``(z, y, x, L)``, as solvers take it."""
    return factors.movedim(0, -1).contiguous()


def first(factors: Tensor) -> Tensor:
    """``(z, y, x, L)`` to ``(L, z, y, x)``."""
    return factors.movedim(-1, 0).contiguous()


def ramp(positions: Tensor) -> Tensor:
    """Density compensation ``(n,)`` along spokes that cover all angles evenly, for one spoke.

    ``pi |k| dk``, to be divided by the number of spokes, with a sixth of a sample's worth at the
    centre (see :func:`mriforge.physics.density.radial_density`, which also knows uneven angles).
    """
    step = float((positions[-1] - positions[0]).abs()) / (len(positions) - 1)
    return torch.pi * step * positions.abs().clamp(min=step / 6)


class Encoding:
    """``E``, its data and what is computed from both, each once and only when asked for.

    Args:
        raw: conditioned, see :func:`mriforge.recon.setup.prepare`.
        weights: ``(s, L)`` temporal basis at each imaging readout.
        frames: number of frames over which the rows of the basis are orthonormal.
        maps: ``(C, z, y, x)`` complex64; its device is where everything happens.
        working_bytes: of the normal operator's buffer.
    """

    def __init__(
        self,
        raw: RawData,
        weights: np.ndarray,
        frames: int,
        maps: Tensor,
        working_bytes: int = 1 << 28,
    ) -> None:
        imaging = raw.imaging
        device = maps.device
        self.frames, self.maps = frames, maps
        self._working_bytes = working_bytes
        self.data = torch.from_numpy(raw.kspace[imaging].transpose(1, 0, 2).copy()).to(device)
        trajectory = torch.from_numpy(raw.trajectory[imaging]).to(device)
        partition = torch.from_numpy(raw.partition[imaging]).long().to(device)
        self.operator = SubspaceOperator(
            trajectory,
            torch.from_numpy(weights).to(device),
            maps,
            partition,
            tolerance=_TOLERANCE,
        )

    @property
    def rank(self) -> int:
        """L."""
        return self.operator.rank

    def density(self) -> Tensor:
        """Compensation ``(n,)`` along a readout, in units that make the gridded factors right."""
        trajectory = self.operator.trajectory
        spokes = spokes_of(trajectory)
        positions = trajectory.norm(dim=-1).mean(0) if spokes is None else spokes[1]
        # On average over the spokes the products of weights are those of all frames, thinned.
        thinned = len(trajectory) / self.frames
        return (ramp(positions) / thinned).float().to(self.maps.device)

    @cached_property
    def gridded(self) -> Tensor:
        """``U0 = S^+ F^H W Omega*(d) Phi^T`` ``(L, z, y, x)`` (Chen 2021, section 6.3.1)."""
        adjoint = self.operator.A_adjoint(self.data, self.density())
        power = self.maps.abs().square().sum(0)
        return torch.where(power > 1e-6, adjoint / power.clamp(min=1e-6), 0)

    @cached_property
    def target(self) -> Tensor:
        """``E^H d`` ``(z, y, x, L)``."""
        return last(self.operator.A_adjoint(self.data))

    @cached_property
    def normal(self) -> ToeplitzNormal:
        """``E^H E``."""
        return self.operator.normal(working_bytes=self._working_bytes)

    @property
    def data_energy(self) -> float:
        """``||d||^2``."""
        return float(torch.view_as_real(self.data).square().sum())


def memory_needed(rank: int, grid: tuple[int, int, int], coils: int) -> int:
    """Bytes at the peak of building and using the normal operator, roughly."""
    points = math.prod(grid)
    spectra = 5 * points * rank * rank * 4
    packed = 5 * points * rank * (rank + 1) // 2 * 4
    one_psf = 10 * grid[1] * grid[2] * rank * (rank + 1) // 2 * 8
    factors = 12 * points * rank * 8
    return spectra + packed + min(one_psf, 1 << 30) + factors + 5 * coils * points * 8


def check_memory(
    rank: int, grid: tuple[int, int, int], coils: int, available: int, set_by_user: bool
) -> None:
    """Refuses what would not fit.

    Raises:
        BadInput: with what would fit.
    """
    needed = memory_needed(rank, grid, coils)
    if needed <= available:
        return
    fitting = rank
    while fitting > 1 and memory_needed(fitting, grid, coils) > available:
        fitting -= 1
    limit = "--memory allows" if set_by_user else "there are"
    raise BadInput(
        f"{rank} components on {grid[2]} x {grid[1]} x {grid[0]} voxels need "
        f"{needed / 2**30:.1f} GiB; {limit} {available / 2**30:.1f} GiB.",
        f"Use --rank {fitting} or less, or --method gridding.",
    )
