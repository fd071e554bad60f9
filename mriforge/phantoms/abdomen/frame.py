"""What holds everything: cavity, diaphragm, spine with cord, ribs, pelvis, muscles, fat, skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mriforge.anatomy import NUMBER
from mriforge.phantoms.abdomen.build import Build, Dice
from mriforge.phantoms.abdomen.canvas import FREE, Canvas, ellipsoid
from mriforge.phantoms.abdomen.space import Space, smooth

VERTEBRAE = (
    ("L5", -136.0), ("L4", -102.0), ("L3", -68.0), ("L2", -34.0), ("L1", 0.0), ("T12", 32.0),
    ("T11", 61.0), ("T10", 88.0), ("T9", 113.0), ("T8", 137.0), ("T7", 160.0), ("T6", 183.0),
)  # fmt: skip
"""Names and heights of the middles of the vertebral bodies at rest."""


@dataclass(frozen=True)
class Walls:
    """Level sets ``(z, y, x)`` in about mm, negative inside.

    Attributes:
        skin: the body.
        muscle: what lies under the subcutaneous fat.
        cavity: what lies inside the muscles.
        belly: the cavity below the diaphragm.
        deep: how far below the diaphragm, mm, negative below it.
    """

    skin: np.ndarray
    muscle: np.ndarray
    cavity: np.ndarray
    belly: np.ndarray
    deep: np.ndarray


def _ring(
    x: np.ndarray,
    y: np.ndarray,
    wide: np.ndarray,
    front: np.ndarray,
    back: np.ndarray,
    power: float,
) -> np.ndarray:
    """Distance along the ray to a superellipse between ``front`` and ``back``, about mm."""
    middle, half = (front + back) / 2, (back - front) / 2
    v = y - middle
    size = (np.abs(x / wide) ** power + np.abs(v / half) ** power) ** np.float32(1 / power)
    far = np.sqrt(x * x + v * v)
    return np.where(size > 1e-2, far * (1 - 1 / np.maximum(size, 1e-2)), -wide).astype(np.float32)


def walls(build: Build, space: Space) -> Walls:
    """Skin, muscles, cavity and diaphragm of a subject."""
    dice = build.dice(1)
    everything = tuple(slice(0, n) for n in space.shape)
    x, y, z = space.still
    line = z[:, :1, :1]  # heights differ little within a slice; outlines need no more
    knots = np.array([-210.0, -150.0, -90.0, -30.0, 30.0, 90.0, 140.0])
    waist = dice.about(0.97, 0.03)
    wide = build.half_width * smooth(
        line, knots, (0.86, 0.9, 0.5 * (waist + 0.96), waist, 1.0, 0.97, 0.93)
    )
    down = build.belly
    front = build.front + smooth(line, knots, (8.0, -0.8 * down, -down, -0.4 * down, 0, 8, 16))
    back = smooth(line, knots, (30.0, 30, 34, 42, 50, 56, 60)) + dice.about(0, 3)
    power = dice.between(2.1, 2.7)
    wavy = space.noise(everything, 60.0, dice.rng) * np.float32(2.0)
    cavity = _ring(x, y, wide, front, back, power) + wavy
    cavity = np.maximum(cavity, -_bulge(build, space))
    flank = smooth(line, knots, (18.0, 14, 5, 1, 1, 1, 1))
    muscle = (
        _ring(x, y, wide + build.wall[1] + flank, front - build.wall[0], back + 31, power)
        + 0.6 * wavy
    )
    lumbar = smooth(line, knots, (1.6, 1.4, 1.15, 1.0, 0.8, 0.6, 0.5))
    ahead, beside, behind = (np.float32(f) * lumbar for f in build.fat)
    skin = _ring(
        x, y, wide + build.wall[1] + flank + beside, front - build.wall[0] - ahead,
        back + 31 + behind, dice.between(2.1, 2.5),
    )  # fmt: skip
    skin = np.minimum(skin, muscle + 3)
    deep = space.moved[2] - _diaphragm(build, space, wide, front, back)
    belly = np.maximum(cavity, 0.7 * deep)
    return Walls(skin, muscle, cavity, belly, deep)


def _bulge(build: Build, space: Space) -> np.ndarray:
    """Spine and the muscles beside it, which stand forward into the cavity."""
    x, y, z = space.still
    knots = np.array([-200.0, -130.0, -70.0, -10.0, 40.0, 90.0])
    wide = smooth(z, knots, (74.0, 68, 60, 48, 36, 30))
    half = smooth(z, knots, (62.0, 60, 58, 60, 62, 64))
    size = np.sqrt((x / wide) ** 2 + ((y - 42) / half) ** 2)
    return (size - 1) * 45


def _diaphragm(
    build: Build, space: Space, wide: np.ndarray, front: np.ndarray, back: np.ndarray
) -> np.ndarray:
    """Height of the diaphragm over every place, ``(z, y, x)``."""
    dice = build.dice(2)
    x, y = space.still[:2]
    right, left = build.dome
    u = np.clip(x / wide, -1.1, 1.1)
    top = left + (right - left) * (0.5 - 0.5 * np.tanh(2.2 * u))
    top = top - dice.between(4, 12) * np.exp(-((u / 0.3) ** 2))
    middle = front + 0.46 * (back - front)
    v = np.where(y > middle, (y - middle) / (back - middle), 0.8 * (y - middle) / (front - middle))
    from_middle = np.abs(u) ** 2.4 + np.abs(v) ** 2.4
    height = top - (88 + dice.about(0, 6)) * np.clip(from_middle, 0, 1.2)
    everything = tuple(slice(0, n) for n in space.shape)
    return height + space.noise(everything, 45.0, dice.rng) * np.float32(2.5)


def paint_spine(build: Build, canvas: Canvas) -> None:
    """Vertebral bodies, discs, canal with cord, arches and processes."""
    dice = build.dice(3)
    space = canvas.space
    box = space.box(np.array([-62, -34, -190]), np.array([62, 84, 200]))
    box = (slice(0, space.shape[0]), *box[1:])
    x, y, z = (space.still[a][box] for a in range(3))
    size = dice.about(1.0, 0.06)
    centers = np.array([h for _, h in VERTEBRAE])[::1]
    knots = np.array([-190.0, -136.0, 0.0, 61.0, 160.0])
    half_x = size * smooth(z, knots, (27.0, 26, 22, 19, 16))
    half_y = size * smooth(z, knots, (18.0, 18, 17, 16.5, 15))
    which = np.clip(np.searchsorted((centers[1:] + centers[:-1]) / 2, z), 0, len(centers) - 1)
    above = z - centers[which]
    pitch = np.gradient(centers)[which]
    waist = 1 - 0.09 * np.cos(np.clip(above / pitch, -0.5, 0.5) * 2 * np.pi)
    noise = space.noise(box, 16.0, dice.rng)
    rim = (np.sqrt((x / half_x) ** 2 + (y / half_y) ** 2) - waist) * 18
    rim = np.maximum(rim, y - half_y * 0.8) + 0.5 * noise
    column = np.maximum(rim, -153 - z)
    disc_mm = dice.between(6.0, 10.0)
    is_disc = np.abs(above) > (pitch - disc_mm * pitch / 34) / 2 + 0.5 * noise
    _paint_canal(dice, canvas, box, half_y)
    canvas.paint("intervertebral_disc", box, np.where(is_disc, column, 9))
    canvas.paint("vertebrae", box, np.where(is_disc, 9, column))
    _paint_arches(dice, canvas, box, half_x, half_y, above, pitch)


def _paint_canal(dice: Dice, canvas: Canvas, box: tuple, half_y: np.ndarray) -> None:
    """Cerebrospinal fluid, and the cord down to its conus."""
    x, y, z = (canvas.space.still[a][box] for a in range(3))
    back = half_y * 0.8 + dice.between(8.0, 9.5)
    wide, deep = dice.between(9.5, 12), dice.between(7.5, 9)
    cord_x, cord_y = dice.between(5.2, 6.4), dice.between(4.5, 5.3)
    conus = dice.between(-36, 0)
    taper = np.clip((z - conus) / 26, 0, 1) ** 0.5
    swell = 1 + 0.12 * np.exp(-(((z - conus - 45) / 25) ** 2))
    lean = y - back + dice.between(-1.2, 1.2)
    ratio = np.maximum(taper * swell, 1e-3)
    cord = np.sqrt((x / (cord_x * ratio)) ** 2 + (lean / (cord_y * ratio)) ** 2) - 1
    cord = np.where(z > conus, cord * 5, 9)
    canal = (np.sqrt((x / wide) ** 2 + ((y - back) / deep) ** 2) - 1) * deep
    canvas.paint("spinal_cord", box, np.maximum(cord, canal))
    canvas.paint("cerebrospinal_fluid", box, canal)


def _paint_arches(
    dice: Dice, canvas: Canvas, box: tuple, half_x: np.ndarray, half_y: np.ndarray,
    above: np.ndarray, pitch: np.ndarray,
) -> None:  # fmt: skip
    """Laminae, spinous and transverse processes; the sacrum below the fifth lumbar vertebra."""
    x, y, z = (canvas.space.still[a][box] for a in range(3))
    back = half_y * 0.8 + 8.5
    ring = np.abs(np.sqrt((x / 15) ** 2 + ((y - back) / 12) ** 2) - 1) * 12 - 3.5
    ring = np.maximum(ring, np.abs(above + 2) - 0.36 * pitch)
    spinous = np.maximum(np.abs(x) - 3.5, np.abs(y - back - 24) - 17)
    spinous = np.maximum(spinous, np.abs(above + 7) - 0.3 * pitch)
    across = np.maximum(np.abs(y - back + 1) - 4, np.abs(above) - 5)
    across = np.maximum(across, np.abs(x) - half_x - 16)
    bone = np.minimum(np.minimum(ring, spinous), across)
    bone = np.where(z > -153, bone, 9)
    sacrum = ellipsoid((x, y - np.clip(-150 - z, 0, 80) * 0.45, z), (0, 12, -185), (52, 24, 60))
    canvas.paint("other_bone", box, np.minimum(bone, np.where(z < -153, sacrum, 9)))


def paint_walls(build: Build, canvas: Canvas, walls: Walls) -> None:
    """Everything that is left: ribs, pelvis, muscles, fat, skin, lungs' place, air outside."""
    space, tissues = canvas.space, canvas.tissues
    dice = build.dice(4)
    _paint_bones(dice, build, canvas, walls)
    free = tissues == FREE

    tissues[free & (walls.skin >= 0)] = NUMBER["air"]
    thick = max(1.8, 0.75 * space.spacing)
    under = free & (walls.skin < 0)
    tissues[under] = NUMBER["subcutaneous_fat"]
    tissues[under & (walls.skin > -thick)] = NUMBER["skin"]
    inside = free & (walls.muscle < 0) & (walls.skin < -thick)
    tissues[inside] = NUMBER["muscle"]
    _paint_gaps_of_muscles(dice, build, canvas, walls, inside)
    tissues[free & (walls.cavity < 0)] = NUMBER["visceral_fat"]
    diaphragm = free & (walls.cavity < 0) & (np.abs(walls.deep) < max(1.5, 0.5 * space.spacing))
    tissues[diaphragm] = NUMBER["muscle"]


def _paint_gaps_of_muscles(
    dice: Dice, build: Build, canvas: Canvas, walls: Walls, inside: np.ndarray
) -> None:
    """Fat between the muscles of the back."""
    space = canvas.space
    box = space.box(np.array([-110, -30, -230]), np.array([110, 100, 160]))
    box = (slice(0, space.shape[0]), *box[1:])
    x, y, z = (space.still[a][box] for a in range(3))
    side = np.abs(x)
    down = np.clip(-z, 0, 200)
    psoas = np.sqrt(
        ((side - 34 - 0.14 * down) / (11 + 0.09 * down)) ** 2 + ((y - 2) / (13 + 0.07 * down)) ** 2
    )
    psoas = np.where(z < 18, (psoas - 1) * 15, 9)
    erector = (np.sqrt(((side - 36) / 34) ** 2 + ((y - 52) / 22) ** 2) - 1) * 22
    quadratus = (np.sqrt(((side - 66) / 20) ** 2 + ((y - 26) / 9) ** 2) - 1) * 10
    quadratus = np.where(z < 5, quadratus, 9)
    muscle = np.minimum(np.minimum(psoas, erector), quadratus)
    muscle = muscle + 1.2 * space.noise(box, 14.0, dice.rng) - 1
    bulge = (np.sqrt((x / 85) ** 2 + ((y - 42) / 62) ** 2) - 1) * 45
    fat = inside[box] & (muscle > 0) & (bulge < 0) & (y < 76)
    canvas.refill("visceral_fat", box, fat & (np.abs(walls.cavity[box]) > 1.5))


def _paint_bones(dice: Dice, build: Build, canvas: Canvas, walls: Walls) -> None:
    """Ribs within the wall of the chest, wings of the pelvis."""
    space = canvas.space
    x, y, z = space.still
    middle = (walls.cavity + walls.muscle) / 2
    in_wall = (walls.cavity > 0) & (walls.muscle < -1) & (canvas.tissues == FREE)
    at = np.nonzero(in_wall)
    xs, ys, zs = x[at], y[at], z[at]
    turn = np.abs(np.arctan2(xs, ys - 5))  # 0 at the back, pi in front
    fall = 62 * (1 - np.cos(np.minimum(turn, 2.4))) / 2 + 14 * turn
    reach = {0: 0.9, 1: 1.75, 2: 2.3}
    bone = np.zeros(len(xs), dtype=bool)
    cartilage = np.zeros(len(xs), dtype=bool)
    thick = dice.between(4.8, 6.5)
    radial = np.abs(middle[at]) < max(4.0, 0.9 * space.spacing)
    for number, height in enumerate((32, 61, 88, 113, 137, 160, 183, 206)):
        near = (np.abs(zs - (height - fall + 2)) < thick) & radial & (turn > 0.55)
        end = reach.get(number, 2.45)
        bone |= near & (turn < end)
        if number > 1:
            cartilage |= near & (turn >= end)
    painted = canvas.tissues
    painted[tuple(a[bone] for a in at)] = NUMBER["other_bone"]
    painted[tuple(a[cartilage] for a in at)] = NUMBER["other_soft_tissue"]
    shell = np.abs(np.sqrt(((np.abs(xs) - 20) / 92) ** 2 + ((ys + 5) / 60) ** 2) - 1) * 60
    crest = -104 + 0.0035 * (ys - 5) ** 2
    wing = (shell < 7) & (zs < crest) & (ys > -70) & (np.abs(xs) > 35)
    painted[tuple(a[wing] for a in at)] = NUMBER["other_bone"]
