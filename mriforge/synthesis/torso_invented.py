"""A body around organs of which nothing but labels is known."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mriforge.anatomy import NUMBER
from mriforge.synthesis.torso import discs_and_fluid, hollow_organs, renal_medulla

_DIRECTIONS = 48
_SMOOTH_MM = 25.0
_DOME = ("liver", "spleen", "stomach")
_MIDDLE = ("aorta", "inferior_vena_cava", "oesophagus", "heart", "vertebrae", "spinal_cord")


def filled_by_invention(tissues: np.ndarray, spacing: float) -> np.ndarray:
    """The tissue map with a torso around and between what is labelled.

    A smooth hull of the labels, slice by slice, holds fat and loops of bowel; muscle, subcutaneous
    fat and skin lie about it; what is above liver, spleen and stomach is lung, but for the middle.
    Behind the great vessels stands a spine of discs and of bone that is no organ of ours: nothing
    that is invented has a label.

    Args:
        tissues: numbers ``(z, y, x)``, uint8, 0 where nothing is labelled; axes point to
            Superior, Posterior, Left. Some of it is labelled.
        spacing: voxel size, mm.

    Returns:
        a new map; labelled voxels keep their organ.
    """
    hull = Hull(tissues > 0, spacing)
    cavity = hull.mask(4.0, 10.0)
    muscle = hull.mask(16.0, 45.0)
    skin = hull.mask(38.0 + max(2.5, spacing), 62.0 + max(2.5, spacing))
    fat = hull.mask(38.0, 62.0)
    free = tissues == 0
    result = tissues.copy()
    result[skin & free] = NUMBER["skin"]
    result[fat & free] = NUMBER["subcutaneous_fat"]
    result[muscle & free] = NUMBER["muscle"]
    result[cavity & free] = NUMBER["visceral_fat"]
    above = _above_the_dome(tissues, spacing)
    bowel(result, cavity & free & ~above, spacing)
    result[above & cavity & free] = NUMBER["lung"]
    if not np.isin(tissues, [NUMBER["vertebrae"], NUMBER["spinal_cord"]]).any():
        spine(result, free & fat, spine_line(tissues, hull.middle, spacing), spacing)
    hollow_organs(result, None, spacing)
    renal_medulla(result, spacing)
    discs_and_fluid(result, free & cavity & ~above, spacing)
    return result


def bowel(tissues: np.ndarray, free: np.ndarray, spacing: float) -> None:
    """Loops of bowel in front of the kidneys, in place: level sets of smooth noise.

    The noise is always the same one: an invented body is a function of its labels.
    """
    noise = np.random.default_rng(0).standard_normal(tissues.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, 11 / spacing)
    noise /= noise.std()
    back = [NUMBER[key] for key in ("right_kidney", "left_kidney", "aorta", "inferior_vena_cava")]
    behind = np.isin(tissues, back)
    row = np.argwhere(behind)[:, 1].mean() if behind.any() else tissues.shape[1] * 0.6
    room = free & (np.arange(tissues.shape[1])[None, :, None] < row)
    room &= ndimage.distance_transform_edt(free) * spacing > 4
    tissues[room & (noise > 0.3)] = NUMBER["colon"]
    tissues[room & (noise > 0.5)] = NUMBER["colon_contents"]


def spine_line(tissues: np.ndarray, middle: np.ndarray, spacing: float) -> np.ndarray:
    """Row and column of the middle of a vertebral body in each slice, ``(slices, 2)``.

    It is behind aorta and vena cava; else between the kidneys; else behind the middle.
    """
    vessel = np.isin(tissues, [NUMBER["aorta"], NUMBER["inferior_vena_cava"]])
    kidney = np.isin(tissues, [NUMBER["right_kidney"], NUMBER["left_kidney"]])
    mark, behind = (vessel, 24.0) if vessel.any() else (kidney, 5.0)
    place = np.full((len(tissues), 2), np.nan)
    for number in np.flatnonzero(mark.any(axis=(1, 2))):
        row, column = np.nonzero(mark[number])
        place[number] = row.mean() + behind / spacing, (column.min() + column.max()) / 2
    there = np.isfinite(place[:, 0])
    if not there.any():
        return np.tile(middle + np.array([40.0 / spacing, 0.0]), (len(tissues), 1))
    number = np.arange(len(tissues))
    line = np.stack([np.interp(number, number[there], one[there]) for one in place.T], axis=1)
    return ndimage.gaussian_filter1d(line, 30 / spacing, axis=0, mode="nearest")


def spine(tissues: np.ndarray, free: np.ndarray, line: np.ndarray, spacing: float) -> None:
    """A spine with its canal, discs, arches and the muscles beside it, in place."""
    z, y, x = np.ogrid[tuple(slice(n) for n in tissues.shape)]
    y = (y - line[:, 0][:, None, None]) * spacing
    x = (x - line[:, 1][:, None, None]) * spacing
    level = (z * spacing) % 36.0
    for inside, key in (
        ((y - 28) ** 2 / 38**2 + x**2 / 60**2 < 1, "muscle"),
        ((y - 2) ** 2 + (np.abs(x) - 38) ** 2 < 17**2, "muscle"),
        ((y - 27) ** 2 + x**2 < 14**2, "other_bone"),
        ((np.abs(x) < 4) & (y > 30) & (y < 62) & (level > 9) & (level < 27), "other_bone"),
        ((y / 17) ** 2 + (x / 23) ** 2 < 1, "other_bone"),
        (((y / 17) ** 2 + (x / 23) ** 2 < 1) & (level < 9), "intervertebral_disc"),
        ((y - 26) ** 2 + x**2 < 9**2, "cerebrospinal_fluid"),
    ):
        tissues[free & inside] = NUMBER[key]


class Hull:
    """The convex outline of a mask in each axial slice, smoothed from slice to slice.

    Args:
        mask: ``(z, y, x)``, not empty.
        spacing: mm.
    """

    def __init__(self, mask: np.ndarray, spacing: float) -> None:
        self.spacing, self.shape = spacing, mask.shape
        turn = np.arange(_DIRECTIONS) * 2 * np.pi / _DIRECTIONS
        self.normals = np.stack([np.sin(turn), np.cos(turn)], axis=1)
        y, x = np.nonzero(mask.any(axis=0))
        self.middle = np.array([(y.min() + y.max()) / 2, (x.min() + x.max()) / 2])
        support = np.full((mask.shape[0], _DIRECTIONS), np.nan)
        for number in np.flatnonzero(mask.any(axis=(1, 2))):
            edge = np.argwhere(mask[number] & ~ndimage.binary_erosion(mask[number]))
            support[number] = ((edge - self.middle) @ self.normals.T).max(axis=0) * spacing
        self.support = self._smoothed(support)

    def _smoothed(self, support: np.ndarray) -> np.ndarray:
        """Reach in mm ``(slices, directions)``: never much less than it is in the middle slices."""
        there = np.flatnonzero(np.isfinite(support[:, 0]))
        number = np.arange(len(support))
        whole = np.stack([np.interp(number, there, line[there]) for line in support.T], axis=1)
        whole = np.maximum(whole, 0.92 * np.nanpercentile(support, 75, axis=0))
        window = 2 * round(_SMOOTH_MM / self.spacing) + 1
        whole = ndimage.maximum_filter1d(whole, window, axis=0, mode="nearest")
        whole = ndimage.gaussian_filter1d(whole, window / 3, axis=0, mode="nearest")
        return ndimage.gaussian_filter1d(whole, 1.5, axis=1, mode="wrap")

    def mask(self, margin: float, behind: float) -> np.ndarray:
        """Inside the outline and so many mm around it, ``behind`` mm toward the back."""
        back = np.clip(self.normals[:, 0], 0, 1) ** 2
        reach = (self.support + margin + (behind - margin) * back) / self.spacing
        ny, nx = self.shape[1:]
        y, x = (np.arange(n) - c for n, c in zip((ny, nx), self.middle, strict=True))
        inside = np.ones(self.shape, dtype=bool)
        for normal, limit in zip(self.normals, reach.T, strict=True):
            along = normal[0] * y[:, None] + normal[1] * x[None, :]
            inside &= along[None] <= limit[:, None, None]
        return inside


def _above_the_dome(tissues: np.ndarray, spacing: float) -> np.ndarray:
    """What lies above the upper surface of liver, spleen and stomach, and not in the middle."""
    under = np.isin(tissues, [NUMBER[key] for key in _DOME])
    if not under.any():
        return np.zeros(tissues.shape, dtype=bool)
    nz = len(tissues)
    top = np.where(under.any(axis=0), nz - 1 - under[::-1].argmax(axis=0), -1).astype(float)
    there = top >= 0
    # Beside the organs the diaphragm falls off.
    far, (row, column) = ndimage.distance_transform_edt(~there, return_indices=True)
    top = top[row, column] - 1.5 * far
    highest = top[there].max()
    top = ndimage.gaussian_filter(np.maximum(top, highest - 110 / spacing), 12 / spacing)
    above = np.arange(nz)[:, None, None] > top[None] + 4 / spacing
    middle = np.isin(tissues, [NUMBER[key] for key in _MIDDLE]).any(axis=0)
    near = ndimage.distance_transform_edt(~middle) * spacing < 25 if middle.any() else False
    return above & ~near
