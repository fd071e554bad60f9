"""Where things are in a random torso: a grid, and coordinates in which the anatomy stands at rest.

Organs are described once, in mm of a resting torso: the origin is the middle of the first lumbar
vertebra, x to the Left, y to Posterior, z to Superior. A subject is larger or smaller, its spine is
curved, its inside is pushed about and it breathes; all this is a smooth map from the grid to the
resting torso. Blobs are level sets evaluated at mapped coordinates, tubes are drawn along center
lines that were mapped the other way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from mriforge.volume import Grid

Box = tuple[slice, slice, slice]
PERIOD = 24
"""Lattice points after which random fields repeat."""
_STD = 0.331
"""Standard deviation of a cubic B-spline field whose coefficients have the standard deviation 1."""


def spline_rows(mm: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Cubic B-splines on a lattice: ``(n, 4)`` weights and ``(n, 4)`` lattice indices."""
    u = np.asarray(mm, dtype=float) / step
    first = np.floor(u).astype(int)
    t = u - first
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    return weights / 6, first[:, None] + np.arange(-1, 3)


def random_field(
    axes: tuple[np.ndarray, np.ndarray, np.ndarray], step: float, rng: np.random.Generator
) -> np.ndarray:
    """A smooth random field of mean 0 and standard deviation 1 on a rectangular grid.

    Args:
        axes: positions ``(z, y, x)`` in mm. The field belongs to positions: another grid samples
            the same one.
        step: distance of the lattice points in mm; details are about twice as long.
        rng: three numbers and one lattice are taken from it.

    Returns:
        ``(z, y, x)`` float32.
    """
    shift = rng.uniform(0, PERIOD * step, 3)
    field = rng.standard_normal((PERIOD, PERIOD, PERIOD)).astype(np.float32) / _STD
    for axis, (mm, by) in enumerate(zip(axes, shift, strict=True)):
        weights, index = spline_rows(mm + by, step)
        matrix = np.zeros((len(mm), PERIOD), dtype=np.float32)
        np.add.at(matrix, (np.arange(len(mm))[:, None], index % PERIOD), weights)
        field = np.moveaxis(np.tensordot(matrix, field, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(field)


@dataclass(frozen=True)
class Posture:
    """How a subject differs from the torso at rest, as a map.

    Attributes:
        scale: size relative to the torso at rest ``(x, y, z)``.
        side_mm, front_mm: curve of the spine to the left and to posterior at ``knots_mm``.
        knots_mm: heights of these values, rising.
        push_mm: standard deviation of random pushes.
        breath_mm: how far the diaphragm is lower than at end-expiration.
    """

    scale: tuple[float, float, float]
    side_mm: tuple[float, ...]
    front_mm: tuple[float, ...]
    knots_mm: tuple[float, ...]
    push_mm: float
    breath_mm: float


class Space:
    """A grid and its map to the torso at rest.

    Attributes:
        spacing: voxel size in mm.
        axes: positions ``(z, y, x)`` of the voxels in mm; 0 is the first lumbar vertebra.
        shape: ``(z, y, x)``.
        still: resting coordinates ``(x, y, z)`` of every voxel, ``(3, z, y, x)``: spine, walls.
        moved: the same for what moves with the breath.
    """

    def __init__(
        self,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        spacing: float,
        posture: Posture,
        rng: np.random.Generator,
    ) -> None:
        self.spacing = spacing
        counts = [int(np.ceil((b - a) / spacing)) + 1 for a, b in zip(low, high, strict=True)]
        x, y, z = (a + spacing * np.arange(n) for a, n in zip(low, counts, strict=True))
        self.axes = (z, y, x)
        self.shape = (len(z), len(y), len(x))
        self._map(posture, rng)

    def _map(self, posture: Posture, rng: np.random.Generator) -> None:
        z, y, x = (
            axis.astype(np.float32)[tuple(slice(None) if i == a else None for i in range(3))]
            for a, axis in enumerate(self.axes)
        )
        sx, sy, sz = posture.scale
        still = np.empty((3, *self.shape), dtype=np.float32)
        height = z / sz
        knots = np.asarray(posture.knots_mm)
        near = np.exp(-((y / 110) ** 2))
        still[0] = x / sx - smooth(height, knots, posture.side_mm) * near
        still[1] = y / sy - smooth(height, knots, posture.front_mm) * near
        still[2] = height
        inside = np.exp(-(((x / 170) ** 2 + ((y + 30) / 130) ** 2) ** 2))
        for axis, share in enumerate((1.0, 1.0, 0.6)):
            push = random_field(self.axes, 70.0, rng)
            still[axis] += np.float32(posture.push_mm * share) * push * inside
        self.still = still
        self.moved = still.copy()
        self.moved[2] += np.float32(posture.breath_mm) * follows_breath(still)

    def box(self, low: np.ndarray, high: np.ndarray, margin: float = 8.0) -> Box:
        """Voxels that may lie between two corners of the torso at rest (moving coordinates)."""
        low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        corners = np.stack(np.meshgrid(*np.stack([low, (low + high) / 2, high], axis=1)), -1)
        found = self.positions(corners.reshape(-1, 3))
        return self.box_of(found.min(0) - margin, found.max(0) + margin)

    def box_of(self, low: np.ndarray, high: np.ndarray) -> Box:
        """Voxels between two positions ``(x, y, z)`` in mm on the grid."""
        cut = []
        for axis, a, b in zip(self.axes, low[::-1], high[::-1], strict=True):
            start = int(np.clip(np.floor((a - axis[0]) / self.spacing), 0, len(axis) - 1))
            stop = int(np.clip(np.ceil((b - axis[0]) / self.spacing) + 1, start + 1, len(axis)))
            cut.append(slice(start, stop))
        return tuple(cut)

    def positions(self, points: np.ndarray, still: bool = False) -> np.ndarray:
        """Where points of the torso at rest ``(n, 3)`` are on the grid, in mm (fixed point)."""
        field = self.still if still else self.moved
        points = np.asarray(points, dtype=float)
        found = points.copy()
        start = np.array([axis[0] for axis in self.axes])[:, None]
        for _ in range(8):
            index = (found.T[::-1] - start) / self.spacing
            there = np.stack(
                [map_coordinates(field[a], index, order=1, mode="nearest") for a in range(3)], 1
            )
            outside = self._beyond(found)
            found = found - (there + outside - points)
        return found

    def _beyond(self, found: np.ndarray) -> np.ndarray:
        """How far positions are outside the grid: there coordinates go on with slope 1."""
        beyond = np.zeros_like(found)
        for a, axis in enumerate(self.axes[::-1]):
            beyond[:, a] = found[:, a] - np.clip(found[:, a], axis[0], axis[-1])
        return beyond

    def noise(self, box: Box, step: float, rng: np.random.Generator) -> np.ndarray:
        """A random field of standard deviation 1 in a box; see :func:`random_field`."""
        return random_field(
            tuple(axis[cut] for axis, cut in zip(self.axes, box, strict=True)), step, rng
        )

    def grid(self, first: int, count: int) -> Grid:
        """Geometry of ``count`` slices from the one numbered ``first``."""
        origin = tuple(float(axis[0]) for axis in self.axes[::-1])
        shape = (count, *self.shape[1:])
        above = origin[2] + first * self.spacing
        return Grid(shape, (self.spacing,) * 3, (origin[0], origin[1], above))


def smooth(at: np.ndarray, knots: np.ndarray, values: tuple[float, ...]) -> np.ndarray:
    """Smooth curve through ``values`` at ``knots``, constant beyond them; any shape of ``at``."""
    from scipy.interpolate import PchipInterpolator

    curve = PchipInterpolator(knots, values)
    return curve(np.clip(at, knots[0], knots[-1])).astype(np.float32)


def follows_breath(rest: np.ndarray) -> np.ndarray:
    """Share of the diaphragm's motion that a place follows: 1 below it, 0 in the pelvis.

    What lies deep in the back (kidneys) follows by about half.
    """
    lower = np.clip((rest[2] + 150) / 130, 0, 1)
    lower = lower * lower * (3 - 2 * lower)
    back = 1 - 0.55 / (1 + np.exp(-(rest[1] + 12) / 9)) * np.clip((25 - rest[2]) / 40, 0, 1)
    return lower * back
