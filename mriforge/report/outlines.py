"""Pictures of organ labels: outlines on the image, colours beside it, where views disagree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mriforge.anatomy import CLASSES, ORGANS
from mriforge.report.figures import figure_class, show, to_png
from mriforge.report.planes import View, view_across
from mriforge.report.scene import body
from mriforge.volume import Grid

_CELL = 3.6  # inches
_GAP, _TOP, _LEFT, _RIGHT, _BOTTOM = 0.06, 0.36, 0.34, 0.62, 0.62
_LEAST = 6
"""Pictures with fewer rows or columns of voxels are not shown,"""
_STRIP = 0.3
"""and none whose sides are less alike than this."""
_AROUND = 60.0
_NAMED = 0.004
"""Share of the picture from which an organ is named in it."""
_PLANES = ("axial", "coronal", "sagittal")
_DOUBT = {"cmap": "inferno", "vmin": 0.0, "vmax": 1.0}
_WRONG = (214, 39, 40)


@dataclass(frozen=True)
class Cut:
    """One slice that is shown.

    Attributes:
        view: its orientation.
        index: its number along the view's axis.
        crop: rows and columns of the body in its picture.
    """

    view: View
    index: int
    crop: tuple[slice, slice]

    def picture(self, volume: np.ndarray) -> np.ndarray:
        """The slice of a ``(z, y, x)`` array, cropped to the body."""
        return self.view.slice(volume, self.index)[self.crop]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height and width in mm."""
        rows, columns = (r.stop - r.start for r in self.crop)
        return rows * self.view.pixel[0], columns * self.view.pixel[1]


def choose_cuts(image: np.ndarray, labels: np.ndarray, grid: Grid) -> list[Cut]:
    """Slices through the middle of the organs: two axial ones, one coronal, one sagittal.

    A slice counts, for every organ, the share of the organ's largest cross-section that it shows.
    Where several slices of a plane are shown each is the best of its part of what the organs span.
    Without any label: the middle slices. Planes in which a stack of few slices would be a strip
    are left out; of a plane that is alone three slices are shown.

    Args:
        image: ``(z, y, x)``; the pictures are cropped to what is bright in it.
        labels: ``(z, y, x)``.
        grid: of both.
    """
    views = [view_across(grid, axis) for axis in range(3)]
    views.sort(key=lambda view: _PLANES.index(view.plane))
    shown = [view for view in views if _is_picture(view, grid)]
    shown = shown or [max(views, key=lambda view: min(_sides_mm(view, grid)))]
    wanted = {view: 2 if view.plane == "axial" else 1 for view in shown}
    if len(shown) == 1:
        wanted = {shown[0]: 3}
    return [
        Cut(view, index, _crop(view, image, labels, index))
        for view, count in wanted.items()
        for index in _indices(view, labels, grid, count)
    ]


def _sides_mm(view: View, grid: Grid) -> tuple[float, float]:
    """Height and width of the plane's pictures."""
    return grid.shape[view.down] * view.pixel[0], grid.shape[view.right] * view.pixel[1]


def _is_picture(view: View, grid: Grid) -> bool:
    """Whether the plane's pictures are more than a strip of a few voxels."""
    sides = _sides_mm(view, grid)
    voxels = min(grid.shape[view.down], grid.shape[view.right])
    return voxels >= _LEAST and min(sides) >= _STRIP * max(sides)


def _indices(view: View, labels: np.ndarray, grid: Grid, count: int) -> list[int]:
    others = tuple(axis for axis in range(3) if axis != view.axis)
    areas = np.stack([(labels == n).sum(axis=others) for n in range(1, CLASSES)]).astype(float)
    areas = areas[areas.any(axis=1)]
    if not len(areas):
        return [labels.shape[view.axis] // 2]
    score = (areas / areas.max(axis=1, keepdims=True)).sum(axis=0)
    there = np.flatnonzero(score)
    edges = np.linspace(there[0], there[-1] + 1, count + 1)
    between = (edges[1] - edges[0]) / 5 if count > 1 else 0.0  # parts keep apart from each other
    best = set()
    for low, high in itertools.pairwise(edges):
        first = int(np.ceil(low + between))
        part = score[first : max(first + 1, int(np.floor(high - between)))]
        if part.any():
            best.add(first + int(part.argmax()))
    lps = _PLANES.index(view.plane)
    upwards = bool(grid.direction_matrix[2 - lps, 2 - view.axis] > 0)
    return sorted(best, reverse=upwards and view.plane == "axial")


def _crop(view: View, image: np.ndarray, labels: np.ndarray, index: int) -> tuple[slice, slice]:
    """The body in the picture, no further than ``_AROUND`` mm from any organ of the volume."""
    bounds = body(np.asarray(view.slice(image, index), np.float32), view.pixel)
    there = view.slice((labels > 0).any(axis=view.axis, keepdims=True), 0)
    result = []
    for axis, found in enumerate(bounds):
        lines = np.flatnonzero(there.any(axis=1 - axis))
        first, last = found.start, found.stop
        if len(lines):
            margin = round(_AROUND / view.pixel[axis])
            low, high = int(lines[0]), int(lines[-1]) + 1
            first = min(max(first, low - margin), low)
            last = max(min(last, high + margin), high)
        result.append(slice(first, last))
    return tuple(result)


def outlines_figure(
    image: np.ndarray,
    labels: np.ndarray,
    cuts: Sequence[Cut],
    doubt: np.ndarray | None = None,
    doubt_title: str = "disagreement",
) -> bytes:
    """A row for each slice: the image, the image with outlines, disagreement or labels; as PNG.

    Args:
        image: ``(z, y, x)``.
        labels: organ labels of the same shape.
        cuts: the slices.
        doubt: map from 0 to 1 of the same shape; the labels are shown in colour without it.
        doubt_title: what the map is.
    """
    shown = np.concatenate([np.ravel(cut.picture(image)) for cut in cuts]).astype(np.float32)
    low, high = (float(v) for v in np.percentile(shown, (0.5, 99.7)))
    window = {"vmin": min(0.0, low), "vmax": high if high > low else low + 1.0}

    def draw(axes: Any, cut: Cut, place: int) -> Any:
        picture, label = cut.picture(image), cut.picture(labels)
        if place < 2 or doubt is None:
            show(axes, picture, cut.size_mm, cmap="gray", **window)
        if place == 1:
            draw_outlines(axes, label, cut.view.pixel)
        if place == 2 and doubt is None:
            draw_colours(axes, label, cut.size_mm, 0.75)
        if place == 2 and doubt is not None:
            drawn = show(axes, cut.picture(doubt), cut.size_mm, **_DOUBT)
            draw_outlines(axes, label, cut.view.pixel, colour="#56B4E9", width=0.6)
            return drawn
        return None

    return _rows(cuts, ("image", "outlines", doubt_title if doubt is not None else "labels"),
                 draw, labels)  # fmt: skip


def labels_figure(
    found: np.ndarray, truth: np.ndarray, cuts: Sequence[Cut], judged: Sequence[int]
) -> bytes:
    """A row for each slice: the reference's labels, the found ones, where they differ; as PNG.

    Args:
        found, truth: organ labels ``(z, y, x)``.
        cuts: the slices.
        judged: labels that are compared; others are shown as background.
    """
    keep = np.zeros(256, np.uint8)
    keep[list(judged)] = list(judged)
    found, truth = keep[found], keep[truth]

    def draw(axes: Any, cut: Cut, place: int) -> None:
        one, other = cut.picture(truth), cut.picture(found)
        dark = np.zeros(one.shape)
        show(axes, dark, cut.size_mm, cmap="gray", vmin=0, vmax=1)
        if place < 2:
            draw_colours(axes, (one, other)[place], cut.size_mm, 1.0)
            return
        draw_colours(axes, one, cut.size_mm, 0.25)
        _wash(axes, one != other, cut.size_mm, _WRONG)

    return _rows(cuts, ("reference", "found", "difference (red)"), draw, np.maximum(found, truth))


def _rows(
    cuts: Sequence[Cut], titles: tuple[str, str, str], draw: Any, labels: np.ndarray
) -> bytes:
    """Three pictures for each slice, a colour scale where ``draw`` gives one, a legend."""
    heights = [_CELL * min(1.6, max(0.25, cut.size_mm[0] / cut.size_mm[1])) for cut in cuts]
    wide = _LEFT + 3 * (_CELL + _GAP) + _RIGHT
    tall = _TOP + sum(height + _GAP for height in heights) + _BOTTOM
    figure = figure_class()(wide, tall)
    top = _TOP
    for row, (cut, height) in enumerate(zip(cuts, heights, strict=True)):
        bottom = 1 - (top + height) / tall
        for place, title in enumerate(titles):
            x = _LEFT + place * (_CELL + _GAP)
            axes = figure.add_axes([x / wide, bottom, _CELL / wide, height / tall])
            axes.set_axis_off()
            drawn = draw(axes, cut, place)
            if row == 0:
                axes.set_title(title, fontsize=11)
            if place == 0:
                _edges(axes, cut.view)
            if drawn is not None:
                box = [(x + _CELL + _GAP) / wide, bottom + 0.05 * height / tall,
                       0.11 / wide, 0.9 * height / tall]  # fmt: skip
                figure.colorbar(drawn, cax=figure.add_axes(box)).ax.tick_params(labelsize=8)
        text = f"{cut.view.plane}, slice {cut.index + 1}"
        figure.text(0.1 / wide, bottom + height / 2 / tall, text, rotation=90, va="center")
        top += height + _GAP
    _legend(figure, labels)
    return to_png(figure)


def _edges(axes: Any, view: View) -> None:
    left, right, top, bottom = view.letters
    places = ((0.015, 0.5, left), (0.985, 0.5, right), (0.5, 0.97, top), (0.5, 0.03, bottom))
    for x, y, letter in places:
        axes.text(x, y, letter, transform=axes.transAxes, ha="center", va="center",
                  color="#ffd400", fontsize=9)  # fmt: skip


def draw_outlines(
    axes: Any,
    labels: np.ndarray,
    pixel: tuple[float, float],
    colour: str | None = None,
    width: float = 1.3,
) -> None:
    """The border of every organ, and the names of large ones.

    Args:
        axes: with a picture drawn by :func:`mriforge.report.figures.show`.
        labels: organ labels ``(rows, columns)``.
        pixel: height and width of a voxel, mm.
        colour: of all lines; default each organ's own, with names.
        width: of the lines.
    """
    rows, columns = (np.arange(-1, n + 1) + 0.5 for n in labels.shape)
    axes.autoscale(False)  # the picture keeps its edges
    for organ in ORGANS:
        inside = labels == organ.label
        if not inside.any():
            continue
        own = colour or tuple(c / 255 for c in organ.colour)
        axes.contour(
            columns * pixel[1], rows * pixel[0], np.pad(inside, 1).astype(np.float32),
            levels=[0.5], colors=[own], linewidths=width,
        )  # fmt: skip
        if colour is None and inside.mean() > _NAMED:
            _name(axes, inside, pixel, organ.key.replace("_", " "))


def _name(axes: Any, inside: np.ndarray, pixel: tuple[float, float], title: str) -> None:
    """A name in the thickest place of an organ."""
    from matplotlib import patheffects
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(inside, 1), sampling=pixel)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    text = axes.text(
        (column + 0.5) * pixel[1],
        (row + 0.5) * pixel[0],
        title,
        color="white",
        fontsize=7,
        ha="center",
        va="center",
    )
    text.set_path_effects([patheffects.withStroke(linewidth=1.6, foreground="black")])


def draw_colours(
    axes: Any, labels: np.ndarray, size_mm: tuple[float, float], opacity: float
) -> None:
    """Organs in their colours over what is drawn."""
    table = np.zeros((CLASSES, 4), np.float32)
    for organ in ORGANS:
        table[organ.label] = (*(c / 255 for c in organ.colour), opacity)
    show(axes, table[labels.astype(np.intp)], size_mm)


def _wash(
    axes: Any, where: np.ndarray, size_mm: tuple[float, float], colour: tuple[int, int, int]
) -> None:
    layer = np.zeros((*where.shape, 4), np.float32)
    layer[where] = (*(c / 255 for c in colour), 1.0)
    show(axes, layer, size_mm)


def _legend(figure: Any, labels: np.ndarray) -> None:
    from matplotlib.patches import Patch

    there = set(np.unique(labels).tolist())
    patches = [
        Patch(color=tuple(c / 255 for c in organ.colour), label=organ.title)
        for organ in ORGANS
        if organ.label in there
    ]
    if patches:
        figure.legend(handles=patches, loc="lower center", ncols=5, frameon=False, fontsize=9)
