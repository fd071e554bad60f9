"""The fused volume as a network that maps positions to intensities, fitted to the stacks' voxels.

After NeSVoR (Xu et al. 2023, IEEE TMI 42:1707): batches of voxels are drawn from all stacks; each
is predicted as the mean of the network at points drawn from its slice profile, where the stack
really is. The prior is the one of the variational method, on finite differences of one voxel.
Without the published per-slice variances and bias fields; intensities are matched before. [D]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mriforge.events import Events
from mriforge.fusion.edges import EdgePrior
from mriforge.fusion.stack import Stack
from mriforge.networks.feature_grid import FeatureGrid
from mriforge.physics.moved_stack import slice_normals
from mriforge.volume import Grid

_SPACINGS = (16, 8, 4, 2, 1)
"""Voxels between two features, coarse to fine. [?]"""
_BATCH = 4096
"""Voxels drawn for a step, as in NeSVoR. [R]"""
_POINTS = 8
"""Points of a slice profile, stratified; NeSVoR draws 256. [D] a CPU has to do with fewer."""
_RATE = 1e-2
"""Adam; divided by 3 at 50, 75 and 90 % of the budget, as NeSVoR does. [R]"""
_MILESTONES = (0.5, 0.75, 0.9)
_PRIOR_PART = 8
"""One in so many drawn voxels is where the prior is evaluated. [?]"""
_CHUNK = 500_000


@dataclass(frozen=True)
class Fitted:
    """Attributes:
    image: ``(z, y, x)`` on the grid.
    figures: steps, seconds, last loss, parameters (JSON types only).
    """

    image: Tensor
    figures: dict[str, Any] = field(default_factory=dict)


class _Voxels:
    """Draws voxels of all stacks and points of their slice profiles."""

    def __init__(
        self, stacks: Sequence[Stack], weights: Sequence[float], grid: Grid, device: torch.device
    ) -> None:
        self.device = device
        into = np.linalg.inv(grid.affine())
        self.size = torch.tensor(grid.stored_shape, dtype=torch.float32, device=device) - 1
        self.stacks = []
        for stack, weight in zip(stacks, weights, strict=True):
            affine = into @ stack.transforms @ stack.grid.affine()
            normals = slice_normals(stack.grid, stack.transforms, stack.axis) @ into[:3, :3].T
            density = np.diff(stack.profile.cumulative)
            share = np.concatenate([[0], np.cumsum(np.abs(density))])
            # Lobes below zero of a measured profile are drawn too, and count negatively.
            self.stacks.append(
                {
                    "values": stack.data.to(device),
                    "affine": torch.from_numpy(affine).float().to(device),
                    "normal": torch.from_numpy(normals).float().to(device),
                    "share": share / share[-1],
                    "position": stack.profile.position,
                    "sign": np.sign(density) * share[-1],
                    "axis": stack.axis,
                    "weight": weight,
                }
            )
        sizes = np.array([stack.data.numel() for stack in stacks], float)
        self.chances = sizes / sizes.sum()
        self.total = float(sizes.sum())

    def draw(self, count: int, random: np.random.Generator) -> tuple[Tensor, ...]:
        """Positions ``(n, points, 3)`` in voxels of the grid, their weights, values, weights."""
        parts = []
        for number, stack in zip(random.multinomial(count, self.chances), self.stacks, strict=True):
            shape = stack["values"].shape
            flat = torch.from_numpy(random.integers(0, stack["values"].numel(), number))
            z, y, x = (torch.from_numpy(a) for a in np.unravel_index(flat.numpy(), shape))
            index = torch.stack([x, y, z], dim=1).to(self.device)
            k = index[:, stack["axis"]]
            affine = stack["affine"][k]
            centre = (affine[:, :3, :3] @ index.float()[..., None])[..., 0] + affine[:, :3, 3]
            level = (np.arange(_POINTS) + random.random((number, _POINTS))) / _POINTS
            along = np.interp(level, stack["share"], stack["position"])
            piece = np.searchsorted(stack["share"], level, side="right") - 1
            sign = stack["sign"][np.clip(piece, 0, len(stack["sign"]) - 1)]
            offset = torch.from_numpy(along).float().to(self.device)[..., None]
            points = centre[:, None] + offset * stack["normal"][k][:, None]
            values = stack["values"].reshape(-1)[flat.to(self.device)]
            share = torch.from_numpy(sign / _POINTS).float().to(self.device)
            parts.append((points, share, values, torch.full_like(values, stack["weight"])))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def fit(
    stacks: Sequence[Stack],
    weights: Sequence[float],
    grid: Grid,
    prior: EdgePrior,
    *,
    max_minutes: float,
    device: torch.device,
    steps: int | None = None,
    seed: int = 0,
    events: Events | None = None,
) -> Fitted:
    """Fits the network for a time budget and evaluates it on the grid.

    Args:
        stacks: of one contrast, placed and matched in intensity.
        weights: of the stacks.
        prior: without a guide.
        steps: exactly so many instead (reproducible).

    Raises:
        Cancelled: the caller asked to stop.
    """
    events, started = events or Events(), time.monotonic()
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    shapes = [tuple(max(2, round((n - 1) / s) + 1) for n in grid.shape) for s in _SPACINGS]
    network = FeatureGrid(shapes).to(device)
    voxels = _Voxels(stacks, weights, grid, device)
    optimiser = torch.optim.Adam(network.parameters(), lr=_RATE, betas=(0.9, 0.99), eps=1e-15)
    balance = float(np.prod(grid.shape)) / voxels.total
    number, loss = 0, torch.zeros(())
    while True:
        events.check_cancelled()
        done = number / steps if steps else (time.monotonic() - started) / (60 * max_minutes)
        if done >= 1:
            break
        events.progress(0.95 * done, f"step {number}")
        for group in optimiser.param_groups:
            group["lr"] = _RATE / 3 ** sum(done >= m for m in _MILESTONES)
        loss = _loss(network, voxels, random, prior, balance)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        number += 1
        if number % 50 == 0:
            events.metric(step=number, loss=float(loss.detach()))
    image = _evaluated(network, grid, device, events)
    return Fitted(
        image,
        {
            "steps": number,
            "loss": float(loss.detach()),
            "parameters": sum(p.numel() for p in network.parameters()),
            "device": str(device),
            "seconds": round(time.monotonic() - started, 1),
        },
    )


def _loss(
    network: FeatureGrid,
    voxels: _Voxels,
    random: np.random.Generator,
    prior: EdgePrior,
    balance: float,
) -> Tensor:
    """Half the mean squared residual, and the prior per measured voxel."""
    points, share, values, weight = voxels.draw(_BATCH, random)
    place = 2 * points / voxels.size - 1
    found = network(place.reshape(-1, 3)).reshape(share.shape)
    data = 0.5 * (weight * ((found * share).sum(dim=1) - values).square()).mean()
    base = place[::_PRIOR_PART, _POINTS // 2]
    ahead = base[:, None] + torch.diag(2 / voxels.size)
    steps = network(ahead.reshape(-1, 3)).reshape(-1, 3) - network(base)[:, None]
    size = steps.square().sum(dim=1).add(1e-12).sqrt()
    small = size.square() / (2 * prior.delta)
    edges = torch.where(size < prior.delta, small, size - prior.delta / 2).mean()
    return data + prior.weight * balance * edges


@torch.no_grad()
def _evaluated(network: FeatureGrid, grid: Grid, device: torch.device, events: Events) -> Tensor:
    nx, ny, nz = grid.stored_shape
    axes = [torch.linspace(-1, 1, n, device=device) for n in (nx, ny, nz)]
    slices = []
    per = max(1, _CHUNK // (nx * ny))
    for start in range(0, nz, per):
        events.check_cancelled()
        z, y, x = torch.meshgrid(axes[2][start : start + per], axes[1], axes[0], indexing="ij")
        place = torch.stack([x, y, z], dim=-1)
        slices.append(network(place.reshape(-1, 3)).reshape(place.shape[:3]).cpu())
    return torch.cat(slices).clamp_(min=0)
