"""A small random subspace acquisition, for the tests of operators and solvers."""

from __future__ import annotations

import numpy as np
import torch

from mriforge.physics.subspace import SubspaceOperator
from mriforge.physics.trajectory import apply_delays, delays_matrix, golden_angles, radial


def loops(coils: int, ny: int, nx: int) -> torch.Tensor:
    """Sensitivities of coils around the field of view, with a phase of their own."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, ny), torch.linspace(-1, 1, nx), indexing="ij")
    turns = torch.arange(coils) * (2 * torch.pi / coils)
    away = [(x - 1.3 * turn.cos()) ** 2 + (y - 1.3 * turn.sin()) ** 2 for turn in turns]
    phases = [x * turn.cos() - y * turn.sin() + turn for turn in turns]
    pairs = zip(away, phases, strict=True)
    return torch.stack([torch.polar(1 / (0.3 + d), phase) for d, phase in pairs])


def operator(
    shape=(32, 32),
    spokes=260,
    samples=64,
    rank=3,
    coils=2,
    partitions=1,
    delays=None,
    seed=0,
    smooth=False,
) -> SubspaceOperator:
    generator = torch.Generator().manual_seed(seed)
    trajectory = radial(golden_angles(spokes), samples)
    if delays is not None:
        trajectory = apply_delays(trajectory, delays_matrix(*delays))
    maps = torch.randn(coils, partitions, *shape, dtype=torch.complex64, generator=generator)
    if smooth:
        maps = loops(coils, *shape)[:, None].expand(-1, partitions, -1, -1)
    return SubspaceOperator(
        torch.from_numpy(np.asarray(trajectory, np.float32)),
        torch.randn(spokes, rank, generator=generator),
        maps / maps.abs().square().sum(0).sqrt(),
        torch.arange(spokes) % partitions,
        tolerance=1e-6,
    )


def random_factors(op: SubspaceOperator, seed=1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (op.rank, *op.maps.shape[1:])
    return torch.randn(shape, dtype=torch.complex64, generator=generator)
