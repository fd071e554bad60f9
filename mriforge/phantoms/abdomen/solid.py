"""Solid organs: liver with gallbladder and vessels, spleen, kidneys, adrenals, pancreas;
vessels.
"""

from __future__ import annotations

import numpy as np

from mriforge.phantoms.abdomen.build import Build, Dice
from mriforge.phantoms.abdomen.canvas import Canvas, ellipsoid, join, line, rotation, tube


def paint_great_vessels(build: Build, canvas: Canvas) -> None:
    """Aorta with its division, inferior vena cava."""
    dice = build.dice(10)
    move = dice.shift(3, 2, 0)
    radius = dice.about(9.5, 1.3, 7)
    split = dice.about(-112, 8)
    trunk = np.array([(-2, -24, 160), (2, -26, 80), (7, -30, 20), (7, -33, -40), (3, -32, split)])
    _vessel(canvas, "aorta", trunk + move, [1.15, 1.1, 1.0, 0.95, 0.9], radius)
    vein = np.array(
        [(-16, -62, 85), (-19, -52, 45), (-20, -38, 0), (-17, -34, -60), (-12, -32, split - 8)]
    )
    cava = dice.about(10.5, 1.8, 6.5)
    _vessel(canvas, "inferior_vena_cava", vein + move, [1.1, 1.1, 1.0, 0.95, 0.9], cava)
    for side in (-1, 1):
        leg = np.array(
            [(0, -32, split), (26 * side, -30, split - 38), (55 * side, -22, split - 90)]
        )
        _vessel(canvas, "aorta", leg + move + (3, 0, 0), [0.65, 0.6, 0.5], radius)
        behind = leg + move + (-12 + 8 * side, 9, -8)
        _vessel(canvas, "inferior_vena_cava", behind, [0.75, 0.65, 0.55], cava)


def _vessel(canvas: Canvas, tissue: str, points: np.ndarray, shape: list, radius: float) -> None:
    centers, radii = line(points, np.array(shape) * radius, 3.0)
    box, level, _ = tube(canvas.space, centers, radii, still=True)
    canvas.paint(tissue, box, level)


def paint_kidneys(build: Build, canvas: Canvas) -> None:
    """Both kidneys with medulla, sinus and pelvis, and the adrenals above them."""
    shared = build.dice(20)
    size = shared.factor(0.16)
    for side, name in ((-1, "right"), (1, "left")):
        dice = build.dice(21 if side < 0 else 22)
        _paint_kidney(dice, build, canvas, side, name, size)


def _paint_kidney(
    dice: Dice, build: Build, canvas: Canvas, side: int, name: str, size: float
) -> None:
    height = -36 if side < 0 else -20
    center = np.array([side * (68 + 5 * build.fatness), 2.0, height]) + dice.shift(5, 4, 9)
    center = build.place(center[None])[0]
    half = np.array([29.0, 25.0, 54.0]) * dice.factor(0.05) * size ** (1 / 3)
    turn = rotation(x=dice.about(-9, 5), y=side * dice.about(13, 6), z=side * dice.about(-28, 14))
    space = canvas.space
    reach = np.array([48, 48, 68])
    box = space.box(center - reach, center + reach)
    at = np.stack([space.moved[a][box] - np.float32(center[a]) for a in range(3)])
    along = np.einsum("ra,azyx->rzyx", turn.astype(np.float32), at)
    along[0] *= side  # now the hilum is at negative values
    bent = along.copy()
    bent[0] = along[0] + np.float32(dice.between(5, 9)) * (along[2] / half[2]) ** 2 - 2
    level = ellipsoid(bent, (0, 0, 0), tuple(half), power=2.2)
    level = level + np.float32(1.1) * space.noise(box, 18.0, dice.rng)
    hilum = ellipsoid(
        along, (-half[0] * 0.78, -2, 0), (half[0] * 0.78, half[1] * 0.42, half[2] * 0.42)
    )
    hilum = hilum + np.float32(0.8) * space.noise(box, 9.0, dice.rng)
    body = np.maximum(level, -hilum)
    aim = 168 * size * dice.factor(0.1)
    painted = canvas.paint(
        f"{name}_kidney", box, body, millilitres=float(np.clip(aim, 105, 262)),
        within=canvas.cavity, gap=1.0, whole=True,
    )  # fmt: skip
    depth = float(dice.between(5, 7.5))
    pyramids = _pyramids(dice, bent, half)
    medulla = (painted < 0) & (level < -depth) & (pyramids < 0) & (hilum > 1)
    canvas.refill(f"{name}_renal_medulla", box, medulla)
    pelvis = ellipsoid(along, (-half[0] * 0.8, 0, -4), (half[0] * 0.6, 6.5, dice.between(8, 17)))
    canvas.paint("urine", box, np.maximum(pelvis, hilum + 1.5))
    top = center + turn.T @ np.array([0, 0, half[2]]) + (-side * 14.0, -6.0, 10.0)
    _paint_adrenal(dice, canvas, top, side)


def _pyramids(dice: Dice, bent: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Level set of 8 to 13 balls on a shell inside a kidney."""
    count = int(dice.rng.integers(8, 14))
    level = np.full(bent.shape[1:], np.float32(9))
    for number in range(count):
        z = -0.85 + 1.7 * (number + 0.5) / count
        turn = 1.05 * (1 if number % 2 else -1) * dice.between(0.5, 1.2)
        ring = np.sqrt(1 - z * z)
        center = 0.6 * half * (ring * np.cos(turn), ring * np.sin(turn), z)
        ball = ellipsoid(bent, tuple(center), (7.5, 7.0, 7.0))
        level = np.minimum(level, ball)
    return level


def _paint_adrenal(dice: Dice, canvas: Canvas, top: np.ndarray, side: int) -> None:
    for spread in (-1, 1):
        end = top + (spread * 5 + side * 3, spread * 7 + 9, -16)
        centers, radii = line(
            np.array([top + (0, 0, 10), top, end]), np.array([2.2, 2.8, 2.0]), 2.5
        )
        box, level, _ = tube(canvas.space, centers, radii)
        canvas.paint("adrenal_gland", box, level, within=canvas.belly)


def paint_liver(build: Build, canvas: Canvas) -> None:
    """Liver below the right dome, gallbladder in its fossa, vessels inside."""
    dice = build.dice(30)
    space = canvas.space
    low = build.place(np.array([(-150, -150, -110)]))[0]
    box = space.box(low - (25, 45, 0), np.array([130, 75, 110]))
    at = space.moved[(slice(None), *box)]
    right = build.place(np.array([(-72.0, -34, 18)]))[0] + dice.shift(4, 5, 5)
    left = build.place(np.array([(14.0, -78, 44)]))[0] + dice.shift(10, 5, 6)
    long_lobe = dice.about(0, 9)
    main = ellipsoid(
        at, tuple(right), (80, 92 + 20 * build.fatness, 92 + long_lobe), rotation(y=14), 2.5
    )
    wing = ellipsoid(
        at, tuple(left), (66 * dice.factor(0.18), 46, 36 * dice.factor(0.12)),
        rotation(y=dice.about(14, 7), z=dice.about(-10, 8)),
    )  # fmt: skip
    level = join(main, wing, 14.0)
    lower = -84 - long_lobe + 0.50 * (at[0] + 128) + 0.0017 * np.clip(at[0] + 128, 0, None) ** 2
    lower = lower + 0.16 * np.clip(-at[1] - 40, 0, None) * np.clip((at[0] + 90) / 60, -0.3, 0.5)
    level = np.maximum(level, 0.85 * (lower - at[2]))
    kidney = ellipsoid(at, (-62, 10, -42), (48, 38, 64))
    level = np.maximum(level, -kidney)
    column = ellipsoid(at, (8, 10, 30), (40, 62, 400))
    level = np.maximum(level, -column)
    level = level + np.float32(3.2) * space.noise(box, 38.0, dice.rng)
    level = level + np.float32(1.0) * space.noise(box, 14.0, dice.rng)
    _paint_gallbladder(build.dice(31), build, canvas)
    aim = float(np.clip(1480 * dice.factor(0.2) * (0.9 + 0.25 * build.fatness), 960, 2280))
    painted = canvas.paint(
        "liver",
        box,
        level,
        millilitres=aim,
        give=(-14.0, 16.0),
        within=canvas.belly,
        gap=1.5,
        whole=True,
    )
    _paint_hepatic_vessels(build.dice(32), build, canvas, box, painted)


def _paint_gallbladder(dice: Dice, build: Build, canvas: Canvas) -> None:
    neck = build.place(np.array([(-38.0, -66, -4)]))[0] + dice.shift(4, 4, 4)
    fundus = build.place(np.array([(-58.0, -96, -34)]))[0] + dice.shift(7, 6, 7)
    centers, radii = line(
        np.array([neck, (neck + fundus) / 2, fundus]),
        np.array([4, 11, 12.5]) * dice.factor(0.2),
        2.5,
    )
    box, level, _ = tube(canvas.space, centers, radii)
    canvas.paint("gallbladder", box, level, within=canvas.belly, gap=3)


def _paint_hepatic_vessels(
    dice: Dice, build: Build, canvas: Canvas, box: tuple, painted: np.ndarray
) -> None:
    """Three hepatic veins from the vena cava, branches of the portal vein from the hilum."""
    cava, hilum = np.array([-19.0, -54, 52]), np.array([-32.0, -58, 8])
    trees = [
        (cava, (-60, -20, 45), (-100, 0, 20), 4.2), (cava, (-48, -80, 40), (-75, -100, 10), 4.0),
        (cava, (-2, -85, 52), (25, -100, 45), 3.6), (hilum, (-62, -45, 5), (-105, -30, -25), 5.0),
        (hilum, (-60, -75, 10), (-90, -95, 25), 4.2), (hilum, (-8, -85, 30), (22, -95, 35), 4.2),
        (np.array([-62.0, -45, 5]), (-85, -10, 20), (-105, 10, 40), 3.6),
    ]  # fmt: skip
    inside = np.zeros(canvas.space.shape, dtype=bool)
    inside[box] = painted < -1.5
    for start, middle, end, radius in trees:
        points = build.place(np.array([start, middle, end])) + dice.shift(4, 4, 4)
        wiggle = np.vstack([np.zeros(3), dice.shift(6, 6, 6), dice.shift(8, 8, 8)])
        centers, radii = line(points + wiggle, radius * np.array([1.15, 0.9, 0.55]), 2.5)
        part, level, _ = tube(canvas.space, centers, radii)
        canvas.refill("hepatic_vessels", part, inside[part] & (level < 0))


def paint_spleen(build: Build, canvas: Canvas) -> None:
    """Spleen between the left flank, the diaphragm and the stomach."""
    dice = build.dice(40)
    space = canvas.space
    center = build.place(np.array([(98.0, 6, 18)]))[0] + dice.shift(5, 6, 8)
    half = np.array([34.0, 52, 58]) * dice.factor(0.08)
    box = space.box(center - half - 28, center + half + 28)
    at = space.moved[(slice(None), *box)]
    turn = rotation(x=dice.about(18, 9), y=dice.about(10, 7), z=dice.about(24, 12))
    level = ellipsoid(at, tuple(center), tuple(half), turn, 2.3)
    hollow = center + (-48 * dice.factor(0.06), -22, -4)
    level = np.maximum(level, -ellipsoid(at, tuple(hollow), (44, 46, 72)))
    level = level + np.float32(2.2) * space.noise(box, 26.0, dice.rng)
    aim = float(np.clip(205 * dice.factor(0.4), 95, 470))
    canvas.paint(
        "spleen",
        box,
        level,
        millilitres=aim,
        give=(-14, 18),
        within=canvas.belly,
        gap=1.5,
        whole=True,
    )


def paint_pancreas(build: Build, canvas: Canvas) -> None:
    """Pancreas from the loop of the duodenum to the spleen, veins behind it."""
    dice = build.dice(50)
    points = np.array([
        (-22, -58, -44), (-24, -62, -26), (-8, -68, -14), (12, -67, -6), (36, -55, 2),
        (62, -34, 10), (88, -14, 16),
    ], dtype=float)  # fmt: skip
    lift = dice.about(0, 9)
    points[2:, 2] += lift * np.linspace(0.2, 1.0, 5)
    points[3:5, 2] += dice.about(3, 5)
    points += np.vstack([dice.shift(2, 2, 3) for _ in points])
    points = build.place(points)
    shape = np.array([11.0, 14.5, 8.5, 9.5, 9.5, 9.0, 7.0])
    aim = float(np.clip(84 * dice.factor(0.24), 48, 150))
    centers, radii = line(points, shape * (aim / 84) ** 0.4, 2.5)
    _paint_veins(build.dice(51), canvas, points)
    box, level, _ = tube(canvas.space, centers, radii, margin=9 + 1.5 * canvas.slack)
    level = level + np.float32(1.6) * canvas.space.noise(box, 8.0, dice.rng)
    canvas.paint(
        "pancreas",
        box,
        level,
        millilitres=aim,
        give=(-4, 7),
        within=canvas.belly,
        gap=1,
        whole=True,
    )


def _paint_veins(dice: Dice, canvas: Canvas, along: np.ndarray) -> None:
    """Splenic vein behind the pancreas, portal vein to the liver, superior mesenteric vein."""
    behind = along[2:] + (0, 9, 2)
    joint = along[2] + (-2, 6, 0)
    roads = [
        (behind, 3.6), (np.array([joint, joint + (-12, 0, 16), (-32.0, -58, 8)]), 6.2),
        (np.array([joint, joint + (2, -2, -40), joint + (4, -14, -95)]), 4.8),
    ]  # fmt: skip
    wide = dice.factor(0.14)
    for points, radius in roads:
        centers, radii = line(points, np.full(len(points), radius * wide), 2.5)
        box, level, _ = tube(canvas.space, centers, radii)
        canvas.paint("portal_and_other_veins", box, level, within=canvas.belly)
    artery = np.array([(6.0, -38, -8), (6, -52, -26), (8, -60, -95)])
    centers, radii = line(artery, np.array([4.0, 4.0, 3.2]), 2.5)
    box, level, _ = tube(canvas.space, centers, radii)
    canvas.paint("aorta", box, level)
