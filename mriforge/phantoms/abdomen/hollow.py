"""Hollow organs with walls, contents and gas: oesophagus, stomach, duodenum, bowel; heart,
lungs.
"""

from __future__ import annotations

import numpy as np

from mriforge.anatomy import NUMBER
from mriforge.phantoms.abdomen.build import Build, Dice
from mriforge.phantoms.abdomen.canvas import FREE, Canvas, ellipsoid, line, spread_points, tube
from mriforge.phantoms.abdomen.frame import Walls


def _fill(
    canvas: Canvas, box: tuple, level: np.ndarray, wall: float, contents: str,
    gas: str | None = None, gas_share: float = 0.0,
) -> None:  # fmt: skip
    """Contents inside a painted organ, gas where it is highest (towards the front)."""
    inner = level < -wall
    canvas.refill(contents, box, inner)
    if gas is None or gas_share <= 0 or not inner.any():
        return
    y = canvas.space.axes[1][box[1]]
    heights = np.broadcast_to(y[None, :, None], inner.shape)[inner]
    surface = np.quantile(heights, min(gas_share, 1.0))
    canvas.refill(gas, box, inner & (y[None, :, None] < surface))


def paint_stomach(build: Build, canvas: Canvas) -> np.ndarray:
    """Oesophagus and stomach; returns where the pylorus is (resting coordinates)."""
    dice = build.dice(60)
    points = np.array([
        (56, -8, 52), (64, -22, 34), (62, -52, 10), (48, -82, -16), (20, -94, -28),
        (-8, -92, -24), (-28, -82, -14),
    ], dtype=float)  # fmt: skip
    drop = dice.about(4, 12)  # from steer horn to J
    points[:, 2] -= drop * np.array([0, 0.2, 0.6, 1.3, 1.7, 1.0, 0.3])
    points[1:-1] += np.vstack([dice.shift(4, 4, 4) for _ in points[1:-1]])
    points = build.place(points)
    aim = float(np.clip(np.exp(dice.about(np.log(260), 0.5)), 100, 640))
    shape = np.array([29.0, 31, 29, 25, 20, 16, 8.0])
    tone = np.array([dice.factor(0.1) for _ in shape])
    centers, radii = line(points, shape * tone * (aim / 430) ** 0.45, 3.0)
    space = canvas.space
    box, level, _ = tube(space, centers, radii, margin=16 + 1.5 * canvas.slack)
    level = level + np.float32(2.0) * space.noise(box, 26.0, dice.rng)
    _paint_oesophagus(dice, canvas, points[0])
    painted = canvas.paint(
        "stomach",
        box,
        level,
        millilitres=aim,
        give=(-14, 15),
        within=canvas.belly,
        gap=1.5,
        whole=True,
    )
    full = float(np.clip((aim - 100) / 250, 0, 1))
    folds = np.float32(1.2) * space.noise(box, 7.0, dice.rng)
    wall = dice.between(2.5, 4.0) + 2.5 * (1 - full)
    gas = dice.between(0.0, 0.45) if dice.chance(0.75) else 0.0
    _fill(
        canvas,
        box,
        painted + np.where(painted < 0, folds, 0),
        wall,
        "stomach_contents",
        "stomach_gas",
        gas,
    )
    return points[-1]


def _paint_oesophagus(dice: Dice, canvas: Canvas, fundus: np.ndarray) -> None:
    cardia = fundus + (-26, -12, -14)
    points = np.array([cardia, (14.0, -40, 62), (6, -38, 90), (2, -36, 150)])
    centers, radii = line(points, np.array([6.5, 7, 7.5, 8]) * dice.factor(0.1), 3.0)
    box, level, _ = tube(canvas.space, centers, radii)
    canvas.paint("oesophagus", box, level)


def paint_duodenum(build: Build, canvas: Canvas, pylorus: np.ndarray) -> np.ndarray:
    """The C from the pylorus round the head of the pancreas; returns its end (Treitz)."""
    dice = build.dice(70)
    points = build.place(np.array([
        (-28, -82, -14), (-42, -74, -8), (-52, -60, -20), (-53, -50, -46), (-44, -48, -70),
        (-18, -56, -79), (14, -57, -72), (32, -54, -56), (38, -64, -40),
    ], dtype=float))  # fmt: skip
    points[0] = pylorus + (-3, 2, 2)
    points[1] = (points[0] + points[2]) / 2 + (-3, -3, 6)
    points[2:, 2] += dice.about(0, 5)
    points[3:6, 2] += dice.about(0, 6)
    points[1:] += np.vstack([dice.shift(2.5, 2.0, 3) for _ in points[1:]])
    aim = float(np.clip(66 * dice.factor(0.28), 38, 118))
    shape = np.array([9.0, 11.5, 11, 11, 11, 10, 10, 10, 9.5]) * (aim / 85) ** 0.45
    centers, radii = line(points, shape, 2.5)
    space = canvas.space
    box, level, owner = tube(space, centers, radii, margin=9 + 1.5 * canvas.slack)
    level = level + np.float32(1.2) * space.noise(box, 10.0, dice.rng)
    painted = canvas.paint(
        "duodenum",
        box,
        level,
        millilitres=aim,
        give=(-5, 6),
        within=canvas.belly,
        gap=1,
        whole=True,
    )
    wet = space_of(dice, len(centers), 0.55)[owner]
    _fill(canvas, box, np.where(wet, painted, 9), dice.between(2.6, 3.6), "duodenum_contents")
    return points[-1]


def space_of(dice: Dice, count: int, share: float) -> np.ndarray:
    """Which of ``count`` places along a tube are filled: runs of random length."""
    runs = np.repeat(dice.rng.random(count // 12 + 2) < share, 12)
    return runs[:count]


def paint_colon(build: Build, canvas: Canvas) -> None:
    """Colon from the caecum to the sigmoid, with haustra, stool and gas."""
    dice = build.dice(80)
    points = np.array([
        (-88, -48, -168), (-103, -26, -138), (-104, -16, -98), (-100, -20, -66), (-86, -52, -56),
        (-58, -92, -66), (-18, -104, -80), (30, -102, -72), (66, -84, -44), (96, -36, -18),
        (108, -4, -42), (110, -4, -88), (106, -18, -138), (84, -48, -176), (50, -40, -205),
    ], dtype=float)  # fmt: skip
    sag = dice.about(4, 17)
    points[5:9, 2] -= sag * np.array([0.7, 1.2, 1.1, 0.5])
    points[1:-1] += np.vstack([dice.shift(4, 4, 6) for _ in points[1:-1]])
    points = build.place(points)
    shape = np.array([25.0, 26, 24, 22, 20, 20, 20, 19, 18, 17, 15, 14, 14, 15, 15])
    tone = dice.factor(0.13) * np.array([dice.factor(0.16) for _ in shape])
    centers, radii = line(points, np.clip(shape * tone, 9, 32), 3.0)
    along = np.arange(len(centers)) * 3.0
    radii = radii * (0.9 + 0.16 * np.abs(np.sin(np.pi * along / dice.between(24, 34))))
    space = canvas.space
    box, level, owner = tube(space, centers, radii, margin=5)
    level = level + np.float32(1.6) * space.noise(box, 14.0, dice.rng)
    painted = canvas.paint("colon", box, level, within=canvas.belly, gap=1.0)
    wall = dice.between(2.2, 3.2)
    _fill(canvas, box, painted, wall, "colon_contents")
    gas = space_of(dice, len(centers), dice.between(0.0, 0.6))[owner] & (painted < -wall)
    at = space.positions(centers)[:, 1] + dice.between(-14, 4)
    canvas.refill("bowel_gas", box, gas & (space.axes[1][box[1]][None, :, None] < at[owner]))


def paint_small_bowel(build: Build, canvas: Canvas, treitz: np.ndarray) -> None:
    """Loops of a long tube through random points of what is free inside the frame of the colon."""
    dice = build.dice(90)
    space = canvas.space
    if canvas.keep is None:
        centers, radii, aim = _wind(dice, build, canvas, treitz)
        canvas.made.loops = (centers, radii, dice.rng.bit_generator.state)
    else:
        centers, radii, state = canvas.keep.loops
        dice.rng.bit_generator.state = state
        aim = 0.0
    box, level, owner = tube(space, centers, radii, margin=5 + 1.5 * canvas.slack)
    level = level + np.float32(1.0) * space.noise(box, 10.0, dice.rng)
    painted = canvas.paint(
        "small_intestine", box, level, millilitres=aim, give=(-3, 4), within=canvas.belly, gap=1.0
    )
    wall = dice.between(2.3, 3.2)
    wet = space_of(dice, len(centers), dice.between(0.45, 0.95))[owner]
    inner = np.where(wet, painted, 9)
    _fill(canvas, box, inner, wall, "small_intestine_contents")
    gas = space_of(dice, len(centers), dice.between(0, 0.18))[owner] & (painted < -wall)
    middle = space.positions(centers)[:, 1]
    canvas.refill(
        "small_intestine_gas", box, gas & (space.axes[1][box[1]][None, :, None] < middle[owner] - 1)
    )


def _wind(
    dice: Dice, build: Build, canvas: Canvas, treitz: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Center line, radii and millilitres of the small bowel in what is free."""
    space = canvas.space
    radius = dice.about(11.5, 1.3, 9)
    low, high = build.place(np.array([(-100.0, -104, -230), (96, -34, -24)]))
    step = 5.0
    grid = np.stack(
        np.meshgrid(
            *(np.arange(a, b, step) for a, b in zip(low, high, strict=True)), indexing="ij"
        ),
        -1,
    ).reshape(-1, 3)
    at = space.positions(grid)
    index = np.rint((at[:, ::-1] - [axis[0] for axis in space.axes]) / space.spacing).astype(int)
    ok = np.all((index >= 0) & (index < space.shape), axis=1)
    index, grid = index[ok], grid[ok]
    voxel = tuple(index.T)
    free = (canvas.tissues[voxel] == FREE) & (canvas.belly[voxel] < -radius)
    free &= grid[:, 2] < -30 - 0.25 * np.abs(grid[:, 0] - 40)
    points = spread_points(grid[free], 2.05 * radius, dice.rng)
    aim = float(np.clip(620 * dice.factor(0.32), 330, 1180))
    return *_loops(dice, points, treitz, radius, 1.15 * aim), aim


def _loops(
    dice: Dice, points: np.ndarray, start: np.ndarray, radius: float, millilitres: float
) -> tuple[np.ndarray, np.ndarray]:
    """A way through the points, nearest first, as long as the volume asks for."""
    left = points.copy()
    here, way = start, [start]
    ways, length = [], 0.0
    wanted = 1000 * millilitres / (np.pi * radius**2)
    while len(left) and length < wanted:
        far = np.linalg.norm(left - here, axis=1) * np.exp(
            0.15 * dice.rng.standard_normal(len(left))
        )
        nearest = int(np.argmin(far))
        if far[nearest] > 4.2 * radius and len(way) > 1:
            ways.append(way)
            way = []
        else:
            length += float(np.linalg.norm(left[nearest] - here))
        here = left[nearest]
        way.append(here)
        left = np.delete(left, nearest, axis=0)
    ways.append(way)
    centers, radii = [], []
    for way in ways:
        if len(way) < 2:
            continue
        shape = radius * np.array([dice.factor(0.13) for _ in way])
        c, r = line(np.array(way), shape, 3.0)
        centers.append(c)
        radii.append(r)
    return np.concatenate(centers), np.clip(np.concatenate(radii), 6.5, 19)


def paint_chest(build: Build, canvas: Canvas, walls: Walls) -> None:
    """Heart on the diaphragm, lungs above it."""
    dice = build.dice(100)
    space = canvas.space
    center = build.place(np.array([(22.0, -70, build.dome[1] + 32)]))[0] + dice.shift(5, 5, 4)
    box = space.box(center - (90, 80, 75), center + (90, 80, 75))
    at = space.moved[(slice(None), *box)]
    heart = ellipsoid(at, tuple(center), (58, 46, 48)) + np.float32(2) * space.noise(
        box, 25.0, dice.rng
    )
    above = np.where(walls.deep[box] > 1, heart, 9)
    canvas.paint("heart", box, above, within=canvas.cavity, gap=4)
    around = np.maximum(ellipsoid(at, tuple(center), (68, 56, 52)), 1 - walls.deep[box])
    x, y, _ = space.still
    middle = ((np.abs(x - 4) < 22) & (y < 12)) & (np.abs(y + 30) < 40)
    chest = (canvas.tissues == FREE) & (walls.cavity < -1.5) & (walls.deep > 1.5)
    fat = chest & middle
    fat[box] |= chest[box] & (around < 0)
    canvas.tissues[fat] = NUMBER["visceral_fat"]
    canvas.tissues[chest & ~fat] = NUMBER["lung"]
