#!/usr/bin/env python3
"""Draws the icons of the extension and of its module, 128 x 128 pixels each.

    python Resources/Scripts/draw_icons.py [FOLDER]

Writes Resources/MRIForge.png and SuperResMRI/Resources/Icons/SuperResMRI.png in the checkout, or in
FOLDER. Needs numpy and matplotlib; drawn by formulas, so that the pictures have no other source.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.image import imsave
from matplotlib.path import Path as Outline

SIZE = 128
FINE = 8  # drawn this much larger, then averaged: smooth edges
BLOCK = 13  # pixels of one coarse voxel

NIGHT = (0.086, 0.118, 0.180)
DUSK = (0.160, 0.215, 0.310)
STEEL = (0.800, 0.845, 0.890)
SHADE = (0.560, 0.625, 0.700)
EMBER = (1.000, 0.620, 0.180)
GLOW = (1.000, 0.780, 0.380)
COAL = (0.870, 0.400, 0.110)

y, x = np.mgrid[0 : SIZE * FINE, 0 : SIZE * FINE] / FINE + 0.5 / FINE  # in pixels of the icon


def plate() -> np.ndarray:
    """The rounded square behind both icons, RGBA, a little lighter at the top."""
    reach, corner = SIZE / 2 - 4, 24
    far_x = np.maximum(np.abs(x - SIZE / 2) - (reach - corner), 0)
    far_y = np.maximum(np.abs(y - SIZE / 2) - (reach - corner), 0)
    picture = np.zeros((*x.shape, 4))
    weight = (y / SIZE)[..., None]
    picture[..., :3] = np.array(DUSK) * (1 - weight) + np.array(NIGHT) * weight
    picture[..., 3] = np.hypot(far_x, far_y) <= corner
    return picture


def fill(picture: np.ndarray, points: list[tuple[float, float]], color: tuple) -> None:
    """Paints a polygon; its points are in pixels of the icon, y downwards."""
    inside = Outline(points).contains_points(np.c_[x.ravel(), y.ravel()]).reshape(x.shape)
    picture[inside & (picture[..., 3] > 0), :3] = color


def shrunk(picture: np.ndarray) -> np.ndarray:
    """The picture in the icon's size; colors are averaged where there is any."""
    blocks = picture.reshape(SIZE, FINE, SIZE, FINE, 4)
    alpha = blocks[..., 3:].mean(axis=(1, 3))
    color = (blocks[..., :3] * blocks[..., 3:]).mean(axis=(1, 3)) / np.maximum(alpha, 1e-6)
    return np.clip(np.concatenate([color, alpha], axis=-1), 0, 1)


def extension_icon() -> np.ndarray:
    """A glowing voxel on an anvil."""
    picture = plate()
    glow = np.clip(1 - np.hypot((x - 64) / 46, (y - 44) / 40), 0, 1)[..., None] ** 1.5
    picture[..., :3] += 0.45 * glow * (np.array(EMBER) - picture[..., :3])
    fill(picture, [(40, 68), (114, 68), (114, 77), (94, 84), (46, 84), (40, 80)], STEEL)
    fill(picture, [(11, 70), (38, 70), (38, 82), (30, 81), (18, 76)], STEEL)
    fill(picture, [(50, 84), (92, 84), (82, 96), (84, 102), (44, 102), (50, 94)], SHADE)
    fill(picture, [(36, 102), (96, 102), (100, 112), (32, 112)], STEEL)
    side, middle, top = 26, 66, 14
    rise = side / 2
    left, right = middle - side, middle + side
    upper = [(middle, top), (right, top + rise), (middle, top + 2 * rise), (left, top + rise)]
    fill(picture, upper, GLOW)
    floor = top + 2 * rise + side + 2
    fill(picture, [upper[3], upper[2], (middle, floor), (left, floor - rise)], EMBER)
    fill(picture, [upper[2], upper[1], (right, floor - rise), (middle, floor)], COAL)
    return shrunk(picture)


def head(px: np.ndarray, py: np.ndarray) -> np.ndarray:
    """Brightness of a made-up axial slice of a head, 0 to 1; negative outside of it."""
    u, v = (px - 64) / 47, (py - 64) / 53
    radius, angle = np.hypot(u, v), np.arctan2(v, np.abs(u))
    image = np.where(radius < 1.0, 0.95, -1.0)  # scalp
    image = np.where(radius < 0.91, 0.06, image)  # skull
    folds = np.cos(9 * angle) + 0.35 * np.cos(17 * angle + 0.6)
    image = np.where(radius < 0.80 + 0.022 * folds, 0.46, image)  # cortex
    image = np.where(radius < 0.58 + 0.055 * folds, 0.86, image)  # white matter
    horn = np.hypot((np.abs(u) - 0.16 - 0.5 * v**2) / 0.09, v / 0.31)
    return np.where(horn < 1.0, 0.10, image)


def module_icon() -> np.ndarray:
    """A slice of a head, coarse on the left and sharp on the right of a glowing line."""
    picture = plate()
    sharp = head(x, y)
    coarse = np.empty_like(sharp)
    step = BLOCK * FINE
    start = (SIZE // 2 * FINE) % step
    edges = [0, *range(start, SIZE * FINE, step), SIZE * FINE]
    for top, bottom in pairwise(edges):
        for left, right in pairwise(edges):
            block = np.s_[top:bottom, left:right]
            covered = (sharp[block] >= 0).mean()
            level = np.maximum(sharp[block], 0).mean() / max(covered, 1e-6)
            coarse[block] = level if covered > 0.45 else -1.0
    image = np.where(x < SIZE / 2, coarse, sharp)
    shown = (image >= 0) & (picture[..., 3] > 0)
    picture[shown, :3] = image[shown, None] * np.array((0.96, 0.98, 1.0))
    line = (np.abs(x - SIZE / 2) < 2.5) & (y > 8) & (y < SIZE - 8)
    picture[line, :3] = EMBER
    return shrunk(picture)


def main(arguments: list[str]) -> int:
    """Writes both icons; returns the exit code."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[2]
    icons = {
        "Resources/MRIForge.png": extension_icon,
        "SuperResMRI/Resources/Icons/SuperResMRI.png": module_icon,
    }
    for name, draw in icons.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        imsave(path, draw(), metadata={"Software": None})
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
