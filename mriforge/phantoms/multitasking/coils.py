"""Sensitivities of a ring of receiver loops around the chest."""

from __future__ import annotations

import numpy as np

from mriforge.phantoms.multitasking.anatomy import Subject

_DISTANCE = 1.05
"""Of the loops from the centre, in half fields of view."""


def coil_maps(subject: Subject, coils: int, pixels: int) -> np.ndarray:
    """Sensitivities ``(coil, pixels, pixels)`` complex64, root sum of squares one everywhere.

    Each is ``1 / (0.25 + d^2)`` of the distance to its loop in half fields of view, with a linear
    phase. Pixel ``x`` has the coordinate ``x - pixels // 2``, so that maps of grids of two sizes
    agree. A single coil is one everywhere but for its phase.
    """
    rng = np.random.default_rng([subject.coil_phases, 8])
    axis = (np.arange(pixels) - pixels // 2) / (pixels / 2)
    x, y = axis[None, :], axis[:, None]
    angles = subject.coil_turn + 2 * np.pi * np.arange(coils) / coils
    maps = np.empty((coils, pixels, pixels), np.complex128)
    for coil, angle in enumerate(angles):
        squared = (x - _DISTANCE * np.cos(angle)) ** 2 + (y - _DISTANCE * np.sin(angle)) ** 2
        offset, along, across = rng.uniform(-1, 1, 3) * (np.pi, 1.0, 1.0)
        maps[coil] = np.exp(1j * (offset + along * x + across * y)) / (0.25 + squared)
    maps /= np.sqrt((np.abs(maps) ** 2).sum(0))
    return maps.astype(np.complex64)
