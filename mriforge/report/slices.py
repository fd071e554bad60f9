"""The page about thick slices made thin: reformats before and after, and what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.metrics.isotropy import isotropy, line_spectrum
from mriforge.physics.interpolation import resample
from mriforge.report.figures import figure_class, show, to_png
from mriforge.report.html import Report
from mriforge.report.planes import sample_nearest, view_across
from mriforge.report.scene import body, detail
from mriforge.report.trust import add_trust
from mriforge.volume import Image, Series, Volume, as_series

_WIDTH = 3.9  # inches
_TOP = 0.4


def slices_report(
    path: str | Path,
    before: Image,
    after: Image,
    figures: Mapping[str, Any],
    name: str,
    maps: Mapping[str, Series] | None = None,
) -> Path:
    """Writes the page.

    Args:
        before: the stack as it was acquired.
        after: the result on its fine grid.
        figures: of the job.
        name: of the input, for the title.
        maps: of uncertainty, on the grid of ``after``.

    Raises:
        MissingDependency: matplotlib is not installed.
        BadInput: the file cannot be written there.
    """
    frame = len(as_series(after)) // 2
    low, high = as_series(before), as_series(after)[frame]
    low = low[min(frame, len(low) - 1)]
    axis = int(figures["target"]["slice_axis"]) if "slice_axis" in figures["target"] else 2
    page = Report("MRIForge: thin slices from thick ones", name)
    page.heading("Before and after")
    cubic = resample(low, high.grid, order=3, outside="nearest")
    columns = {
        f"as acquired, {low.grid.spacing[axis]:.3g} mm": None,
        "cubic interpolation": cubic.array,
        f"result, {high.grid.spacing[axis]:.3g} mm": high.array,
    }
    for array_axis in (a for a in range(3) if a != 2 - axis):
        view = view_across(high.grid, array_axis)
        page.picture(
            before_and_after(array_axis, low, high, columns),
            f"{view.title} reformat through the middle of the body, and the enlarged detail with "
            "most edges. One grey window for all; voxels at their true proportions.",
            f"{view.title} reformats before and after",
        )
    page.heading("What was measured")
    page.text(*_sentences(figures))
    page.table(["", "as acquired, cubic", "result"], _rows(figures, cubic, axis))
    page.picture(
        _spectra(cubic, high, axis, float(figures["target"].get("factor", 1.0))),
        "Power spectra of lines across the slices and in plane. Beyond half a cycle per thick "
        "slice (dotted) interpolation has nothing; a peak at a whole cycle per slice (dashed) "
        "would be a stripe in every slice.",
    )
    add_trust(page, after, maps or {}, figures, next(a for a in range(3) if a != 2 - axis))
    page.provenance({"Input": name, "Method": figures["method"].get("name", "")})
    return page.write(path)


def before_and_after(
    array_axis: int, low: Volume, high: Volume, columns: Mapping[str, np.ndarray | None]
) -> bytes:
    """Rows: the slice across ``array_axis`` and its detail; columns: the images, as PNG.

    Args:
        columns: voxels on the grid of ``high`` by title; None: ``low`` as it is.
    """
    view = view_across(high.grid, array_axis)
    energy = np.square(high.array.astype(np.float32))
    others = tuple(a for a in range(3) if a != view.axis)
    weight = energy.sum(axis=others)
    index = int(np.searchsorted(np.cumsum(weight), weight.sum() / 2))
    picture = view.slice(high.array, index)
    crop = body(picture, view.pixel)
    zoom = detail(picture, crop, view.pixel)
    floor, ceiling = np.percentile(picture, (0.5, 99.7))
    grey = {"cmap": "gray", "vmin": min(0.0, float(floor)), "vmax": float(ceiling) or 1.0}
    sizes = [
        tuple((r.stop - r.start) * p for r, p in zip(box, view.pixel, strict=True))
        for box in (crop, zoom)
    ]
    heights = [_WIDTH * min(1.6, size[0] / size[1]) for size in sizes]
    total = _TOP + sum(heights) + 0.1
    figure = figure_class()(_WIDTH * len(columns), total)
    for place, (title, array) in enumerate(columns.items()):
        if array is None:
            where = view.positions(high.grid, index)
            shown = sample_nearest(low.array, low.grid, where)
        else:
            shown = view.slice(array, index)
        shown = shown[crop]
        top = total - _TOP
        for row, (piece, size) in enumerate(zip((shown, shown[zoom]), sizes, strict=True)):
            top -= heights[row] + (0.05 if row else 0.0)
            box = (place / len(columns), top / total, 0.985 / len(columns), heights[row] / total)
            axes = figure.add_axes(box)
            axes.set_axis_off()
            show(axes, piece, size, **grey)
            if row == 0:
                axes.set_title(title, fontsize=12)
    return to_png(figure)


def _spectra(cubic: Volume, high: Volume, axis: int, factor: float) -> bytes:
    figure = figure_class()(8.4, 3.6)
    axes = figure.add_subplot(1, 1, 1)
    in_plane = [line_spectrum(high, a) for a in range(3) if a != axis]
    shortest = min(len(power) for _, power in in_plane)
    at = in_plane[0][0][:shortest]
    mean = np.mean([np.interp(at, *pair) for pair in in_plane], axis=0)
    lines = {
        "in plane": (at, mean, "#000000"),
        "across, cubic": (*line_spectrum(cubic, axis), "#E69F00"),
        "across, result": (*line_spectrum(high, axis), "#0072B2"),
    }
    for label, (frequency, power, colour) in lines.items():
        axes.semilogy(frequency[1:], power[1:] + 1e-30, label=label, color=colour, linewidth=1.3)
    thick = factor * high.grid.spacing[axis]
    axes.axvline(0.5 / thick, color="#888888", linestyle=":")
    for cycle in range(1, math.floor(factor / 2) + 1):
        axes.axvline(cycle / thick, color="#888888", linestyle="--", linewidth=0.7)
    axes.set_ylim(bottom=max(1e-6 * mean[1:].max(), mean[1:].min() * 0.03))
    axes.set_xlabel("cycles per mm")
    axes.set_ylabel("power")
    axes.legend(frameon=False)
    figure.tight_layout()
    return to_png(figure)


def _sentences(figures: Mapping[str, Any]) -> list[str]:
    found = [figures.get(part, {}).get("sentence", "") for part in ("profile", "gate")]
    consistency = figures.get("consistency", {})
    if consistency.get("restored"):
        found.append(
            "What the slices saw is in the result: the difference between the acquired slices and "
            f"those that the result would give is {100 * consistency['residual_after']:.2g} % "
            f"({100 * consistency['residual_before']:.2g} % before it was restored)."
        )
    return [text for text in [*found, *figures.get("warnings", [])] if text]


def _rows(figures: Mapping[str, Any], cubic: Volume, axis: int) -> list[list[str]]:
    check = figures.get("check", {})
    factor = float(figures["target"].get("factor", 1.0))
    before = isotropy(cubic, axis, factor)
    shift = check.get("displacement_voxels")
    moved = "–" if shift is None else ", ".join(f"{s:+.3f}" for s in shift)
    return [
        [
            "detail across the slices over that in plane (1 = the same)",
            _number(before),
            _number(check.get("isotropy")),
        ],
        ["power at one cycle per slice over its neighbours (1 = none)", "–",
         _number(check.get("stripes"))],
        ["displacement against the slices, voxels (i, j, k)", "–", moved],
    ]  # fmt: skip


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
