"""What of a comparison is shown: chosen from the reference alone, never from the results."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mriforge.metrics.compare import Comparison
from mriforge.report.planes import View, slice_axis, view_across


@dataclass(frozen=True)
class Scene:
    """What of the images is shown: one slice of one frame, cropped to the body, and a detail.

    Attributes:
        view: orientation of the slice.
        frame, index: frame and slice number.
        crop, detail: row and column slices of the whole picture, and of the enlarged detail.
        window: darkest and brightest intensity.
    """

    view: View
    frame: int
    index: int
    crop: tuple[slice, slice]
    detail: tuple[slice, slice]
    window: tuple[float, float]

    def picture(self, volume: np.ndarray) -> np.ndarray:
        """The slice of a ``(z, y, x)`` array, cropped to the body."""
        return self.view.slice(volume, self.index)[self.crop]

    def size_mm(self, region: tuple[slice, slice]) -> tuple[float, float]:
        """Height and width of a region in mm."""
        rows, columns = (r.stop - r.start for r in region)
        return rows * self.view.pixel[0], columns * self.view.pixel[1]


def choose_scene(comparison: Comparison, frame: int | None = None) -> Scene:
    """The slice with most signal, the body in it, and the detail with most edges."""
    truth = comparison.reference
    frame = len(truth) // 2 if frame is None else frame
    volume = truth.array[frame].astype(np.float32)
    axis = slice_axis(truth.grid)
    view = view_across(truth.grid, axis)
    others = tuple(a for a in range(3) if a != axis)
    index = int(np.argmax(np.square(volume).sum(axis=others)))
    picture = view.slice(volume, index)
    crop = body(picture, view.pixel)
    low, high = np.percentile(picture, (0.5, 99.7))
    low = min(0.0, float(low)) if low < 0.2 * high else float(low)
    window = (low, float(high) if high > low else low + 1.0)
    return Scene(view, frame, index, crop, detail(picture, crop, view.pixel), window)


def body(picture: np.ndarray, pixel: tuple[float, float]) -> tuple[slice, slice]:
    """Bounding box of what is not background, with a margin of 4 % and at most 2:1 or 1:2."""
    bright = picture > 0.08 * np.percentile(picture, 99.5)
    box = []
    for axis in range(2):
        found = np.flatnonzero(bright.mean(axis=1 - axis) > 0.01)
        size = picture.shape[axis]
        first, last = (found[0], found[-1] + 1) if len(found) else (0, size)
        margin = max(1, round(0.04 * (last - first)))
        box.append([max(0, first - margin), min(size, last + margin)])
    lengths = [(b - a) * p for (a, b), p in zip(box, pixel, strict=True)]
    short = int(np.argmin(lengths))
    wanted = math.ceil(max(lengths) / 2 / pixel[short])
    missing = max(0, wanted - (box[short][1] - box[short][0]))
    box[short][0] = max(0, box[short][0] - missing // 2)
    box[short][1] = min(picture.shape[short], box[short][1] + missing - missing // 2)
    return slice(*map(int, box[0])), slice(*map(int, box[1]))


def detail(
    picture: np.ndarray, crop: tuple[slice, slice], pixel: tuple[float, float]
) -> tuple[slice, slice]:
    """The square of a third of the body where the reference has most edges."""
    from scipy.ndimage import uniform_filter

    shape = picture[crop].shape
    side = min(n * p for n, p in zip(shape, pixel, strict=True)) * 0.38
    size = [min(n, max(4, round(side / p))) for n, p in zip(shape, pixel, strict=True)]
    edges = np.zeros(shape, np.float32)
    for axis in range(2):
        if shape[axis] > 1:
            edges += np.abs(np.gradient(picture[crop], pixel[axis], axis=axis))
    density = uniform_filter(edges, size, mode="constant")
    start = [s // 2 for s in size]
    inner = tuple(
        slice(a, max(a + 1, n - (s - a) + 1)) for a, s, n in zip(start, size, shape, strict=True)
    )
    centre = np.unravel_index(np.argmax(density[inner]), density[inner].shape)
    return tuple(slice(int(c), int(c) + s) for c, s in zip(centre, size, strict=True))
