"""Painting: who comes first has the place. Level sets are in mm, negative inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import label
from scipy.spatial import cKDTree

from mriforge.anatomy import NUMBER
from mriforge.phantoms.abdomen.space import Box, Space

FREE = 255
"""Number of voxels that nothing has been painted into."""
_SLACK_MM = 10.0
_HALVINGS = 8


@dataclass
class Plan:
    """What of a subject is the same in every breath, taken from the breath it was first drawn in.

    What fits between its neighbours depends on how they lie, and so on the breath; a subject's
    organs do not lose volume by breathing, and its bowel stays as it is wound.

    Attributes:
        voxels: volume of every tissue that was painted to a volume, by its key.
        loops: center line and radii of the small bowel in resting coordinates, and the state of
            the random numbers after them.
    """

    voxels: dict[str, int] = field(default_factory=dict)
    loops: tuple[np.ndarray, np.ndarray, Mapping] | None = None


class Canvas:
    """The tissues of a torso while they are painted.

    Attributes:
        made: what was decided while painting.
        keep: what was decided before, in another breath; None: this is the first.
        slack: how much further than in the first breath level sets may shrink and grow, mm.
        space: where things are.
        tissues: ``(z, y, x)`` uint8; :data:`FREE` where nothing is yet.
        cavity: level set ``(z, y, x)`` of everything inside the muscles, lungs included.
        belly: level set ``(z, y, x)`` of what is inside the muscles and below the diaphragm.
    """

    def __init__(
        self, space: Space, cavity: np.ndarray, belly: np.ndarray, keep: Plan | None = None
    ) -> None:
        self.made, self.keep = Plan(), keep
        self.slack = 0.0 if keep is None else _SLACK_MM
        self.space = space
        self.tissues = np.full(space.shape, FREE, dtype=np.uint8)
        self.cavity = cavity
        self.belly = belly

    def paint(
        self,
        tissue: str,
        box: Box,
        level: np.ndarray,
        *,
        millilitres: float | None = None,
        give: tuple[float, float] = (-8.0, 10.0),
        within: np.ndarray | None = None,
        gap: float = 0.0,
        whole: bool = False,
    ) -> np.ndarray:
        """Paints the free voxels of a level set.

        Args:
            tissue: key of :data:`mriforge.anatomy.TISSUES`.
            box: of ``level``.
            level: in mm, negative inside.
            millilitres: volume to reach by growing or shrinking; None: as it is.
            give: how far it may shrink and grow for that, mm.
            within: level set on the whole grid that may not be left.
            gap: distance that is kept from the border of ``within``, mm.
            whole: only the largest connected part is painted.

        Returns:
            The level set after growing, large where nothing was painted.
        """
        part = self.tissues[box]
        may = part == FREE
        if within is not None:
            may &= within[box] < -gap
        if millilitres is not None and self.keep is None:
            level = level - self._grow(level[may], millilitres, give)
        elif millilitres is not None:
            level = level - self._regrow(level, may, self.keep.voxels[tissue], give, whole)
        mask = may & (level < 0)
        if whole:
            mask = largest(mask)
        if millilitres is not None:
            self.made.voxels[tissue] = int(mask.sum())
        part[mask] = NUMBER[tissue]
        return np.where(mask, level, np.float32(99))

    def _grow(self, values: np.ndarray, millilitres: float, give: tuple[float, float]) -> float:
        count = round(1000 * millilitres / self.space.spacing**3)
        if count >= values.size:
            return give[1]
        return float(np.clip(np.partition(values, count)[count], *give))

    def _regrow(
        self, level: np.ndarray, may: np.ndarray, count: int, give: tuple[float, float], whole: bool
    ) -> float:
        """As :meth:`_grow`, to the volume of the first breath, of what will be painted."""
        low, high = give[0] - self.slack, give[1] + self.slack
        values = level[may]
        if count < values.size:
            low = float(np.clip(np.partition(values, count)[count], low, high))
        if not whole:
            return low if count < values.size else high

        def missing(by: float) -> int:
            return count - int(largest(may & (level < by)).sum())

        lacks, has = missing(low), missing(high)
        if lacks <= 0:
            return low
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            found = missing(middle)
            if found > 0:
                low, lacks = middle, found
            else:
                high, has = middle, found
        # Where a piece that lay apart is reached, the volume jumps.
        return low if lacks < -has else high

    def refill(self, tissue: str, box: Box, mask: np.ndarray) -> None:
        """Paints over what is there."""
        self.tissues[box][mask] = NUMBER[tissue]


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest part of a mask that is connected across faces."""
    parts, count = label(mask)
    if count < 2:
        return mask
    return parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))


def line(points: np.ndarray, radii: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """A smooth curve through points ``(n, 3)`` every ``step`` mm, and radii along it."""
    from scipy.interpolate import PchipInterpolator, make_interp_spline

    points = np.asarray(points, dtype=float)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1) ** 0.7)])
    curve = make_interp_spline(along, points, k=min(3, len(points) - 1))
    fine = curve(np.linspace(0, along[-1], 24 * len(points)))
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    at = np.interp(
        np.arange(0, length[-1] + step, step), length, np.linspace(0, along[-1], len(fine))
    )
    return curve(at), PchipInterpolator(along, np.asarray(radii, dtype=float))(at)


def tube(
    space: Space, centers: np.ndarray, radii: np.ndarray, margin: float = 6.0, still: bool = False
) -> tuple[Box, np.ndarray, np.ndarray]:
    """Level set of balls along a center line given in resting coordinates.

    Args:
        space: where things are.
        centers: ``(n, 3)`` resting coordinates ``(x, y, z)``, a few mm apart.
        radii: ``(n,)`` in mm.
        margin: how far outside the level set is right, mm.
        still: the line does not move with the breath.

    Returns:
        Box, level set, and number of the center that each voxel belongs to (int16).
    """
    at = space.positions(centers, still=still)
    reach = radii + margin
    box = space.box_of((at - reach[:, None]).min(0), (at + reach[:, None]).max(0))
    axes = tuple(axis[cut] for axis, cut in zip(space.axes, box, strict=True))
    level = np.full([len(a) for a in axes], np.float32(margin + 1))
    owner = np.zeros(level.shape, dtype=np.int16)
    for number, (center, radius) in enumerate(zip(at, radii, strict=True)):
        cuts, squares = [], []
        for axis, c in zip(axes, center[::-1], strict=True):
            start, stop = np.searchsorted(axis, (c - radius - margin, c + radius + margin))
            cuts.append(slice(start, stop))
            squares.append((axis[start:stop] - c) ** 2)
        if any(cut.start >= cut.stop for cut in cuts):
            continue
        cut = tuple(cuts)
        z, y, x = squares
        far = np.sqrt(z[:, None, None] + y[None, :, None] + x[None, None, :]) - radius
        closer = far < level[cut]
        level[cut][closer] = far[closer]
        owner[cut][closer] = number
    return box, level, owner


def ellipsoid(
    at: np.ndarray,
    center: tuple[float, float, float],
    radii: tuple[float, float, float],
    turn: np.ndarray | None = None,
    power: float = 2.0,
) -> np.ndarray:
    """Level set of a (super-)ellipsoid, in about mm.

    Args:
        at: coordinates ``(3, ...)``.
        center, radii: in mm.
        turn: 3x3, rows are its axes.
        power: 2 is an ellipsoid, more is boxier.
    """
    away = [at[a] - np.float32(center[a]) for a in range(3)]
    if turn is not None:
        away = [sum(np.float32(turn[r, a]) * away[a] for a in range(3)) for r in range(3)]
    relative = [np.abs(d / np.float32(r)) for d, r in zip(away, radii, strict=True)]
    if power == 2.0:
        size = np.sqrt(relative[0] ** 2 + relative[1] ** 2 + relative[2] ** 2)
    else:
        size = sum(r**power for r in relative) ** np.float32(1 / power)
    far = np.sqrt(away[0] ** 2 + away[1] ** 2 + away[2] ** 2)
    radius = far / np.maximum(size, np.float32(1e-3))
    return np.where(size > 1e-3, (size - 1) * radius, -min(radii)).astype(np.float32)


def rotation(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """3x3 rotation about x, then y, then z; degrees. Its rows are axes for :func:`ellipsoid`."""
    a, b, c = np.deg2rad([x, y, z])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (about_z @ about_y @ about_x).T


def join(a: np.ndarray, b: np.ndarray, round_mm: float) -> np.ndarray:
    """Union of two level sets with a rounded seam."""
    h = np.clip(0.5 + 0.5 * (b - a) / round_mm, 0, 1)
    return b + (a - b) * h - round_mm * h * (1 - h)


def spread_points(points: np.ndarray, distance: float, rng: np.random.Generator) -> np.ndarray:
    """Random ones of the points ``(n, 3)``, no two closer than ``distance``."""
    order = rng.permutation(len(points))
    tree = cKDTree(points)
    alive = np.ones(len(points), dtype=bool)
    chosen = []
    for number in order:
        if alive[number]:
            chosen.append(number)
            alive[tree.query_ball_point(points[number], distance)] = False
    return points[chosen]
