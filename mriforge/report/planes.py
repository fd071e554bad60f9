"""Slices as a radiologist expects them: orientation from the direction matrix, size in mm.

Axial and coronal slices have the patient's left on the right of the picture, sagittal slices the
front on the left; the head or the front is at the top. Oblique grids are shown along their own
axes and named after the nearest plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mriforge.volume import Grid

_PLANES = ("sagittal", "coronal", "axial")
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
# LPS axis and sign that point right and down in each plane's picture.
_RIGHT = {"sagittal": (1, 1), "coronal": (0, 1), "axial": (0, 1)}
_DOWN = {"sagittal": (2, -1), "coronal": (2, -1), "axial": (1, 1)}


@dataclass(frozen=True)
class View:
    """How slices across one array axis of a volume are shown.

    Attributes:
        plane: ``"axial"``, ``"coronal"`` or ``"sagittal"``.
        axis: array axis (0, 1, 2 = z, y, x) that the slices are stacked along.
        down, right: array axes that run down and to the right in the picture.
        flip_down, flip_right: whether they run against it.
        letters: what is at the left, right, top and bottom edge.
        pixel: height and width of one voxel in mm.
        tilt: angle in degrees between the slices and the plane they are named after.
    """

    plane: str
    axis: int
    down: int
    right: int
    flip_down: bool
    flip_right: bool
    letters: tuple[str, str, str, str]
    pixel: tuple[float, float]
    tilt: float = 0.0

    @property
    def label(self) -> str:
        """``axial``, or ``oblique``."""
        return self.plane if self.tilt < 5 else "oblique"

    @property
    def title(self) -> str:
        """``Axial``, or ``Oblique (32 degrees from sagittal)``."""
        if self.tilt < 5:
            return self.plane.capitalize()
        return f"Oblique ({self.tilt:.0f} degrees from {self.plane})"

    def slice(self, volume: np.ndarray, index: int) -> np.ndarray:
        """Slice ``index`` of a ``(z, y, x)`` array as a picture (rows down, columns right)."""
        picture = np.take(volume, index, axis=self.axis)
        if self.down > self.right:
            picture = picture.T
        return picture[:: -1 if self.flip_down else 1, :: -1 if self.flip_right else 1]

    def positions(self, grid: Grid, index: int) -> np.ndarray:
        """LPS mm of every pixel of slice ``index``, ``(rows, columns, 3)``."""
        shape = [1 if a == self.axis else n for a, n in enumerate(grid.shape)]
        indices = np.indices(shape)
        indices[self.axis] += index
        world = grid.index_to_world(np.stack(indices[::-1], axis=-1))
        return np.stack([self.slice(world[..., k], 0) for k in range(3)], axis=-1)


def slice_axis(grid: Grid) -> int:
    """The array axis that slices are stacked along: a single slice, thick slices, or the first."""
    if 1 in grid.shape:
        return grid.shape.index(1)
    spacing = grid.spacing[::-1]
    thickest = int(np.argmax(spacing))
    return thickest if spacing[thickest] > 1.2 * min(spacing) else 0


def view_across(grid: Grid, axis: int) -> View:
    """The radiological view of slices stacked along array axis ``axis``."""
    names = _nearest_axes(grid.direction_matrix)
    plane = _PLANES[names[2 - axis]]
    (right_lps, right_sign), (down_lps, down_sign) = _RIGHT[plane], _DOWN[plane]
    right, down = 2 - names.index(right_lps), 2 - names.index(down_lps)
    signs = [np.sign(grid.direction_matrix[names[a], a]) for a in range(3)]
    left_right = _LETTERS[right_lps][:: 1 if right_sign > 0 else -1]
    top_bottom = _LETTERS[down_lps][:: 1 if down_sign > 0 else -1]
    spacing = grid.spacing[::-1]
    normal = grid.direction_matrix[:, 2 - axis]
    return View(
        plane,
        axis,
        down,
        right,
        bool(signs[2 - down] * down_sign < 0),
        bool(signs[2 - right] * right_sign < 0),
        (*left_right, *top_bottom),
        (spacing[down], spacing[right]),
        float(np.degrees(np.arccos(np.clip(np.abs(normal).max(), 0, 1)))),
    )


def _nearest_axes(direction: np.ndarray) -> list[int]:
    """The LPS axis nearest to each stored axis, each used once."""
    strength = np.abs(direction).copy()
    nearest = [0, 0, 0]
    for _ in range(3):
        lps, stored = np.unravel_index(np.argmax(strength), strength.shape)
        nearest[stored] = int(lps)
        strength[lps, :] = -1
        strength[:, stored] = -1
    return nearest


def sample_nearest(volume: np.ndarray, grid: Grid, positions: np.ndarray) -> np.ndarray:
    """Nearest voxels of a volume on any grid at LPS mm positions; 0 outside."""
    index = np.rint(grid.world_to_index(positions)).astype(int)
    limits = np.array(grid.stored_shape) - 1
    # Half a voxel of slack: the grids of a cropped spectrum do not end on the same edge.
    near = np.clip(index, 0, limits)
    inside = (np.abs(index - near) <= 1).all(axis=-1)
    values = volume[near[..., 2], near[..., 1], near[..., 0]]
    return np.where(inside, values, 0)
