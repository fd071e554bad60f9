"""Density compensation: the area of k-space for which each sample stands.

Weights are in (cycles per pixel)^2, so that the adjoint transform of weighted samples is an image
in the units of the object: on a full radial acquisition they add up to ``pi / 4``, the disc.
"""

from __future__ import annotations

import math

import torch

from mriforge.physics.nufft import Nufft

_SAME_ANGLE = 1e-6  # rad: repeated spokes, as navigators are


def radial_density(trajectory: torch.Tensor, partition: torch.Tensor | None = None) -> torch.Tensor:
    """Analytic weights ``(s, n)`` float32 of straight spokes at any angles.

    The integral over a sector, ``angle |k| dk``, as a sum over samples. ``|k|`` has a kink at the
    centre, for which the Euler-Maclaurin formula gives what a plain sum lacks: ``B2(a)`` samples'
    worth of the value at the centre, which lies ``a`` of a sample from its neighbour. A sample
    at the centre then weighs 1/6, not the 1/4 of its disc, which would add a constant to the
    image (2 % of a disc of half the field of view). The angle of a spoke is half of the gaps to
    the spokes beside it (a Voronoi cell of the circle); spokes along the same direction share it.

    Args:
        trajectory: ``(s, n, 2)`` in cycles per pixel; spokes through the centre, shifted along
            themselves or not, or from the centre outwards.
        partition: ``(s,)`` of a stack of stars; each partition has its own circle.
    """
    if partition is not None:
        weights = trajectory.new_empty(trajectory.shape[:2], dtype=torch.float32)
        for number in partition.unique():
            members = partition == number
            weights[members] = radial_density(trajectory[members])
        return weights
    accurate = torch.float32 if trajectory.device.type == "mps" else torch.float64
    k = trajectory.to(accurate)
    along = k[:, -1] - k[:, 0]
    length = along.norm(dim=-1, keepdim=True)
    along, step = along / length, length / (k.shape[1] - 1)
    radius = torch.einsum("snd,sd->sn", k, along)
    outwards = bool((radius.min() > -step.max()).item())
    angles = torch.atan2(along[:, 1], along[:, 0])
    share = angular_shares(angles, 2 * math.pi if outwards else math.pi)
    away = radius.abs() / step
    bernoulli = away**2 - away + 1 / 6
    # Shared by the samples on both sides of the centre, or all on the side that there is.
    kink = torch.where(away < 1, bernoulli * (0.5 if outwards else 1 - away), 0)
    area = share[:, None] * step**2 * (away + kink)
    return area.to(torch.float32)


def angular_shares(angles: torch.Tensor, period: float) -> torch.Tensor:
    """Part ``(s,)`` of a circle, in rad, that belongs to each of the angles; sums to ``period``.

    Args:
        angles: ``(s,)`` in rad, any order, repeated or not.
        period: ``pi`` for spokes through the centre, ``2 pi`` for spokes from it.
    """
    # The seam is put into a gap, or nearly equal angles on both of its sides would seem apart.
    wrapped = torch.remainder(angles, period)
    ordered = wrapped.sort().values
    gaps = torch.cat((ordered[1:], ordered[:1] + period)) - ordered
    seam = ordered[(gaps.argmax() + 1) % len(ordered)]
    wrapped = torch.remainder(wrapped - seam + _SAME_ANGLE, period)
    ordered, order = wrapped.sort()
    group = torch.zeros(len(order), dtype=torch.int64, device=angles.device)
    group[1:] = (ordered.diff() > _SAME_ANGLE).cumsum(0)
    count = torch.bincount(group).to(angles.dtype)
    place = torch.zeros_like(count).index_add_(0, group, ordered) / count
    gaps = torch.cat((place[1:], place[:1] + period)) - place
    share = (gaps + gaps.roll(1)) / 2 / count
    found = torch.empty_like(angles)
    found[order] = share[group]
    return found


def iterative_density(
    trajectory: torch.Tensor,
    shape: tuple[int, int],
    iterations: int = 20,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """Weights of any trajectory, by fixed-point iteration: float32, shape of the positions.

    ``w <- w / (w * kernel)`` at the samples (Pipe and Menon 1999). The kernel is the Fourier
    transform of a triangle over twice the image, the overlap of the field of view with itself:
    the largest support at which no error reaches the image (Johnson and Pipe 2009), and for a
    rectangle a positive kernel.

    Args:
        trajectory: ``(..., 2)`` in cycles per pixel.
        shape: ``(ny, nx)`` of the image in pixels.
        iterations: number of steps.
        start: first weights ``(...)``; default all equal.
    """
    ny, nx = shape
    nufft = Nufft(trajectory, (2 * ny, 2 * nx), 1e-4)
    lines = [1 - (torch.arange(2 * n) - n).abs() / n for n in (ny, nx)]
    taper = (lines[0][:, None] * lines[1]).to(nufft.device)
    weights = torch.ones(nufft.samples, device=nufft.device)
    if start is not None:
        weights = start.reshape(-1).to(weights)
    for _ in range(iterations):
        smooth = nufft.forward(taper * nufft.adjoint(weights)).real
        weights = weights / smooth.clamp(min=1e-6 * float(smooth.max()))
    return weights.reshape(trajectory.shape[:-1])
