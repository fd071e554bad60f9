"""A small reconstruction whose images are known: a heart that beats, breathes and recovers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mriforge.factors import Factors
from mriforge.volume import Grid

T1_S = {"body": 0.8, "wall": 1.25, "blood": 1.9}


def recovery(times_s: np.ndarray, t1_s: float) -> np.ndarray:
    """Inversion recovery, ``(inversion,)``; negative at first."""
    return 1.0 - 1.95 * np.exp(-times_s / t1_s)


def moving_heart(
    size: int = 40,
    bins: tuple[int, int, int] = (6, 3, 12),
    rank: int | None = 10,
    slices: int = 1,
    last_s: float = 4.0,
) -> tuple[Factors, np.ndarray]:
    """Factors, and the images ``(cardiac, respiratory, inversion, z, y, x)`` that they give.

    The factors are the singular vectors of the images; ``rank`` None keeps all.
    """
    times = np.linspace(0.02, last_s, bins[2])
    curves = np.stack([recovery(times, t1) for t1 in T1_S.values()])
    y, x = np.indices((size, size)) - size / 2
    images = np.zeros((*bins, slices, size, size), np.complex64)
    phase = np.exp(1j * (0.4 + x / size))
    for c in range(bins[0]):
        radius = size * (0.14 + 0.05 * np.cos(2 * np.pi * c / bins[0]))
        for r in range(bins[1]):
            far = np.hypot(y - 0.06 * size * r, x)
            blood, body = far < radius, np.hypot(y, x) < 0.45 * size
            wall = (far < 1.5 * radius) & ~blood
            masks = np.stack([body & ~wall & ~blood, wall, blood]).astype(float)
            images[c, r] = np.einsum("mt,myx->tyx", curves, masks)[:, None] * phase
    flat = images.reshape(np.prod(bins), -1).T
    _, _, right = np.linalg.svd(
        np.concatenate([flat.real, flat.imag]).astype(np.float64), full_matrices=False
    )
    keep = slice(rank)
    temporal = right[keep].astype(np.float32)
    spatial = (flat @ temporal.T).T.reshape(-1, slices, size, size).astype(np.complex64)
    grid = Grid((slices, size, size), (1.7, 1.7, 8.0), (-30.0, 12.0, 45.0))
    info = {"method": "admm", "rank": len(temporal), "seed": 3}
    factors = Factors(spatial, temporal.reshape(-1, *bins), grid, times, info)
    shown = (spatial.reshape(len(temporal), -1).T @ temporal).T
    return factors, shown.reshape(images.shape)


def t1_map(factors: Factors) -> np.ndarray:
    """T1 in ms ``(z, y, x)`` of the first phases, by the brightest late image's outline."""
    late = np.abs(factors.frame(0, 0, factors.bins[2] - 1))
    size = factors.grid.shape[1]
    y, x = np.indices((size, size)) - size / 2
    far = np.hypot(y, x)
    radius = 0.19 * size
    found = np.where(late[0] > 0.1, 1000 * T1_S["body"], 0.0)
    found = np.where(far < 1.5 * radius, 1000 * T1_S["wall"], found)
    found = np.where(far < radius, 1000 * T1_S["blood"], found)
    return found[None].astype(np.float32)


def write_result(folder: Path, with_t1: bool = True, **options) -> tuple[Factors, np.ndarray]:
    """The files of a reconstruction, as the worker leaves them; returns what they hold."""
    from mriforge.io import write
    from mriforge.volume import Volume

    folder.mkdir(parents=True, exist_ok=True)
    factors, images = moving_heart(**options)
    factors.save(folder / "factors.npz")
    if with_t1:
        write(Volume(t1_map(factors), factors.grid), folder / "t1_ms.nii.gz")
    return factors, images
