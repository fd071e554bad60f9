"""Pictures of a comparison: slices, enlarged detail, SSIM maps, differences.

All pictures of a figure share their grey window; SSIM maps run from 0 to 1, differences over one
symmetric scale.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mriforge.errors import MissingDependency
from mriforge.metrics.compare import Comparison
from mriforge.metrics.ssim import ssim
from mriforge.report.planes import View, sample_nearest
from mriforge.report.scene import Scene

COLUMNS = 7
"""Pictures beside each other, the reference included; more methods go into further blocks."""
_CELL = 1.95  # inches
_GAP = 0.05
_TOP, _LEFT, _RIGHT = 0.52, 0.36, 0.78
_DPI = 130


def figure_class() -> Any:
    """Figure of matplotlib on a memory canvas; never touches a program's own backend.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency(
            "The report needs matplotlib, which is not installed.",
            "Install it with: pip install 'mriforge[report]'  (or: pip install matplotlib).",
        ) from error

    def make(width: float, height: float) -> Any:
        figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        return figure

    return make


def to_png(figure: Any) -> bytes:
    """A figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return stream.getvalue()


@dataclass(frozen=True)
class _Column:
    title: str
    picture: np.ndarray
    similarity: np.ndarray | None = None
    difference: np.ndarray | None = None
    note: str = ""


def slices_figure(
    comparison: Comparison, scene: Scene, difference_limit: float | None = None
) -> bytes:
    """Reference, input and every method: slice, detail, SSIM map, difference; as PNG."""
    columns = _columns(comparison, scene)
    limit = difference_limit or difference_scale([comparison], [scene])
    first, rest = columns[0], columns[1:]
    per_block = COLUMNS - 1
    count = max(1, math.ceil(len(rest) / per_block))
    per_block = max(1, math.ceil(len(rest) / count))
    blocks = [[first, *rest[i * per_block : (i + 1) * per_block]] for i in range(count)]
    height, width = scene.size_mm(scene.crop)
    cell_height = _CELL * min(2.0, max(0.35, height / width))
    block_height = _TOP + 3 * (cell_height + _GAP) + _CELL + 0.15
    total = _LEFT + (per_block + 1) * (_CELL + _GAP) + _RIGHT
    figure = figure_class()(total, block_height * count)
    for number, block in enumerate(blocks):
        _draw_block(figure, block, scene, cell_height, number * block_height, limit)
    return to_png(figure)


def _columns(comparison: Comparison, scene: Scene) -> list[_Column]:
    truth = comparison.reference
    reference = truth.array[scene.frame]
    columns = [_Column("Reference", scene.picture(reference))]
    if comparison.input is not None and scene.frame < len(comparison.input):
        low = comparison.input
        where = scene.view.positions(truth.grid, scene.index)[scene.crop]
        voxel = " x ".join(f"{s:.3g}" for s in low.grid.spacing)
        seen = sample_nearest(low.array[scene.frame], low.grid, where)
        columns.append(_Column("Input", seen, note=f"{voxel} mm"))
    for name, series in comparison.images.items():
        scores = comparison.evaluations[name].frames[scene.frame]
        image = series.array[scene.frame]
        similarity = scene.picture(similarity_map(comparison, name, scene.frame))
        difference = (
            np.subtract(scene.picture(image), columns[0].picture, dtype=np.float64)
            / comparison.scale
        )
        quality = "equal" if math.isinf(scores.psnr) else f"{scores.psnr:.2f} dB"
        note = f"{quality},  SSIM {scores.ssim:.3f}"
        columns.append(_Column(name, scene.picture(image), similarity, difference, note))
    return columns


def similarity_map(comparison: Comparison, name: str, frame: int) -> np.ndarray:
    """The SSIM map of one frame of one method."""
    pair = comparison.images[name].array[frame], comparison.reference.array[frame]
    return ssim(*pair, data_range=comparison.scale, window=comparison.window)[1]


def difference_scale(comparisons: list[Comparison], scenes: list[Scene]) -> float:
    """A round number that 99.5 % of the shown differences of the middling method stay below.

    The worst method would leave the others white; what exceeds the scale is shown as its end.
    """
    extremes = []
    for comparison, scene in zip(comparisons, scenes, strict=True):
        truth = scene.picture(comparison.reference.array[scene.frame])
        for series in comparison.images.values():
            image = scene.picture(series.array[scene.frame])
            gap = np.abs(np.subtract(image, truth, dtype=np.float64)) / comparison.scale
            extremes.append(float(np.percentile(gap, 99.5)))
    middle = float(np.median(extremes))
    if middle <= 0:
        return 0.01
    power = 10.0 ** math.floor(math.log10(middle))
    return next(step * power for step in (1, 2, 3, 5, 10) if step * power >= middle * 0.999)


def _draw_block(
    figure: Any, block: list[_Column], scene: Scene, height: float, top: float, limit: float
) -> None:
    """One row of columns; ``top`` and ``height`` in inches."""
    kinds = ("slice", "detail", "SSIM", "difference")
    heights = (height, _CELL, height, height)
    full = scene.size_mm(scene.crop)
    small = scene.size_mm(scene.detail)
    drawn: dict[str, Any] = {}
    for place, column in enumerate(block):
        y = top + _TOP
        for kind, cell in zip(kinds, heights, strict=True):
            box = (_LEFT + place * (_CELL + _GAP), y, _CELL, cell)
            y += cell + _GAP
            picture, style = _content(column, kind, scene, limit)
            if picture is None:
                continue
            axes = _cell(figure, box)
            extent = small if kind == "detail" else full
            drawn[kind] = show(axes, picture, extent, **style)
            if kind == "slice":
                _title(axes, column)
                _frame_detail(axes, scene)
                if place == 0:
                    _letters(axes, scene.view)
    y = top + _TOP
    for kind, cell in zip(kinds, heights, strict=True):
        name = scene.view.label if kind == "slice" else kind
        centre = 1 - (y + cell / 2) / figure.get_figheight()
        figure.text(
            0.12 / figure.get_figwidth(), centre, name, rotation=90, va="center", fontsize=11
        )
        if kind in drawn and kind in ("SSIM", "difference"):
            x = _LEFT + len(block) * (_CELL + _GAP) + 0.04
            bar = figure.add_axes(_fractions(figure, (x, y + 0.08, 0.11, cell - 0.16)))
            ends = "both" if kind == "difference" else "neither"
            figure.colorbar(drawn[kind], cax=bar, extend=ends)
            bar.tick_params(labelsize=9, length=2, pad=2)
        y += cell + _GAP


def _content(
    column: _Column, kind: str, scene: Scene, limit: float
) -> tuple[np.ndarray | None, dict[str, Any]]:
    low, high = scene.window
    if kind == "slice":
        return column.picture, {"cmap": "gray", "vmin": low, "vmax": high}
    if kind == "detail":
        return column.picture[scene.detail], {"cmap": "gray", "vmin": low, "vmax": high}
    if kind == "SSIM":
        return column.similarity, {"cmap": "viridis", "vmin": 0.0, "vmax": 1.0}
    return column.difference, {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}


def _fractions(figure: Any, box: tuple[float, float, float, float]) -> list[float]:
    """Left, bottom, width, height as fractions, from left, top, width, height in inches."""
    wide, high = figure.get_figwidth(), figure.get_figheight()
    x, y, width, height = box
    return [x / wide, 1 - (y + height) / high, width / wide, height / high]


def _cell(figure: Any, box: tuple[float, float, float, float]) -> Any:
    axes = figure.add_axes(_fractions(figure, box), facecolor="white")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def show(axes: Any, picture: np.ndarray, size_mm: tuple[float, float], **style: Any) -> Any:
    """A picture at its true proportions in mm; every voxel as one even rectangle."""
    return axes.imshow(
        np.asarray(picture, dtype=np.float32),
        extent=(0, size_mm[1], size_mm[0], 0),
        interpolation="nearest",
        aspect="equal",
        **style,
    )


def _title(axes: Any, column: _Column) -> None:
    title = column.title if len(column.title) <= 32 else column.title[:31] + "…"
    small = {"ha": "center", "xycoords": "axes fraction", "textcoords": "offset points"}
    size = min(11.0, 11.0 * 22 / max(22, len(title)))
    above = 17 if column.note else 4
    axes.annotate(title, (0.5, 1), (0, above), fontsize=size, fontweight="bold", **small)
    if column.note:
        axes.annotate(column.note, (0.5, 1), (0, 4), fontsize=9.5, **small)


def _frame_detail(axes: Any, scene: Scene) -> None:
    from matplotlib.patches import Rectangle

    rows, columns = scene.detail
    high, wide = scene.view.pixel
    corner = (columns.start * wide, rows.start * high)
    size = ((columns.stop - columns.start) * wide, (rows.stop - rows.start) * high)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="#ffd400", linewidth=0.9))


def _letters(axes: Any, view: View) -> None:
    left, right, top, bottom = view.letters
    places = ((0.02, 0.5, left, "left", "center"), (0.98, 0.5, right, "right", "center"))
    places += ((0.5, 0.985, top, "center", "top"), (0.5, 0.015, bottom, "center", "bottom"))
    for x, y, letter, ha, va in places:
        axes.text(x, y, letter, transform=axes.transAxes, ha=ha, va=va, color="#ffd400", fontsize=9)
