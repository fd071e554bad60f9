"""Stacks of thick slices of one small object, in three orientations."""

from __future__ import annotations

import numpy as np
from scene_helpers import add_image

SIZE = 32
THICK = 4


def blob(size: int = SIZE) -> np.ndarray:
    """An object with edges and texture in every direction, ``(z, y, x)``."""
    z, y, x = np.indices((size,) * 3) - (size - 1) / 2
    inside = np.sqrt(x**2 + (1.2 * y) ** 2 + (1.1 * z) ** 2) < 0.42 * size
    texture = 40 * np.sin(x / 2.0) * np.cos(y / 2.5) * np.cos(z / 2.2)
    noise = np.random.default_rng(0).normal(0, 1, inside.shape)
    return ((150 + texture) * inside + 20 + noise).astype(np.float32)


def thick(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The object in slices across an array axis (z, y, x), and 4x4 from index to RAS mm."""
    shape = list(array.shape)
    shape[axis : axis + 1] = [shape[axis] // THICK, THICK]
    rows = np.eye(4)
    stored = 2 - axis
    rows[stored, stored], rows[stored, 3] = THICK, (THICK - 1) / 2
    return array.reshape(shape).mean(axis=axis + 1).astype(np.float32), rows


def add_stacks(scene) -> list:
    """Axial, coronal and sagittal stack as volume nodes."""
    names = {"axial": 0, "coronal": 1, "sagittal": 2}
    return [add_image(scene, *thick(blob(), axis), name) for name, axis in names.items()]
