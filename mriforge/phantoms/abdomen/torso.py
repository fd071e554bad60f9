"""A random torso, painted organ by organ."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mriforge.anatomy import TissueMap
from mriforge.errors import BadInput
from mriforge.phantoms.abdomen import frame, hollow, solid
from mriforge.phantoms.abdomen.build import Build, build
from mriforge.phantoms.abdomen.canvas import Canvas, Plan
from mriforge.phantoms.abdomen.space import Space
from mriforge.volume import Grid

SPACINGS = (0.8, 6.0)
"""Voxel sizes in mm that a torso can be drawn at."""


def draw(seed: int, *, spacing: float = 3.0, breath: float | None = None) -> TissueMap:
    """A random torso from the dome of the liver to the crest of the pelvis.

    Args:
        seed: the subject. The same seed is the same anatomy at every spacing and in every breath.
        spacing: isotropic voxel size in mm.
        breath: 0 end-expiration .. 1 deep inspiration; None: drawn with the subject. In another
            breath than its own a subject keeps the volumes of its organs (as far as there is room)
            and the loops of its bowel; for that its own is drawn first, at the same spacing.

    Returns:
        All tissues ``(z, y, x)``; every one of the ten organs is there.

    Raises:
        BadInput: a negative seed, a spacing or breath out of range.
    """
    if seed < 0:
        raise BadInput(f"The seed of a torso is 0 or more, not {seed}.")
    if not SPACINGS[0] <= spacing <= SPACINGS[1]:
        raise BadInput(
            f"A torso cannot be drawn with voxels of {spacing} mm.",
            f"Choose a spacing from {SPACINGS[0]} to {SPACINGS[1]} mm.",
        )
    if breath is not None and not 0 <= breath <= 1:
        raise BadInput(f"The breath is a number from 0 to 1, not {breath}.")
    who = build(int(seed), breath)
    space = _space(who, spacing)
    own = breath is None or who.posture == build(int(seed), None).posture
    canvas = paint(who, space, None if own else _plan(int(seed), spacing))
    z = space.axes[0]
    first = int(np.searchsorted(z, who.low))
    count = int(np.searchsorted(z, who.high)) - first
    rows, columns = _around(canvas.tissues[first : first + count], round(6 / spacing))
    array = np.ascontiguousarray(canvas.tissues[first : first + count, rows, columns])
    whole = space.grid(first, count)
    corner = whole.index_to_world(np.array([columns.start, rows.start, 0.0]))
    grid = Grid(array.shape, whole.spacing, tuple(corner.tolist()))
    return TissueMap(
        array,
        grid,
        f"abdomen-{seed}",
        source={"from": "mriforge.phantoms.abdomen", "seed": str(seed), "licence": "none needed"},
    )


@lru_cache(maxsize=4)
def _plan(seed: int, spacing: float) -> Plan:
    """What a subject keeps in every breath."""
    who = build(seed, None)
    return paint(who, _space(who, spacing)).made


def _space(who: Build, spacing: float) -> Space:
    """A grid that holds the whole body, from below the field of view to above the dome."""
    sx, sy, _ = who.posture.scale
    side = sx * (who.half_width + who.wall[1] + 1.6 * who.fat[1]) + 24
    front = sy * (who.front - who.belly - who.wall[0] - 1.6 * who.fat[0]) - 16
    back = sy * (60 + 31 + 1.6 * who.fat[2]) + 12
    low = (-side, front, min(who.low, -175.0))
    high = (side, back, max(who.high, 112.0))
    return Space(low, high, spacing, who.posture, who.dice(5).rng)


def paint(who: Build, space: Space, keep: Plan | None = None) -> Canvas:
    """Paints a subject. Who comes first has the place: the order is the table of priorities.

    Args:
        keep: what was decided in the subject's own breath.
    """
    walls = frame.walls(who, space)
    canvas = Canvas(space, walls.cavity, walls.belly, keep)
    frame.paint_spine(who, canvas)
    solid.paint_great_vessels(who, canvas)
    solid.paint_kidneys(who, canvas)
    solid.paint_liver(who, canvas)
    solid.paint_spleen(who, canvas)
    pylorus = hollow.paint_stomach(who, canvas)
    treitz = hollow.paint_duodenum(who, canvas, pylorus)
    solid.paint_pancreas(who, canvas)
    hollow.paint_colon(who, canvas)
    hollow.paint_small_bowel(who, canvas, treitz)
    hollow.paint_chest(who, canvas, walls)
    frame.paint_walls(who, canvas, walls)
    return canvas


def _around(tissues: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the body with a margin of air."""
    body = tissues != 0
    cuts = []
    for axes in ((0, 2), (0, 1)):
        there = np.flatnonzero(body.any(axis=axes))
        cuts.append(slice(max(there[0] - margin, 0), there[-1] + margin + 1))
    return tuple(cuts)
