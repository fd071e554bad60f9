"""Line plots over time and over degradation levels, SSIM maps over time, temporal profiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mriforge.metrics.compare import Comparison
from mriforge.metrics.evaluate import Evaluation
from mriforge.report.figures import figure_class, show, similarity_map, to_png
from mriforge.report.scene import Scene

_PLOTTED = (("ssim", "SSIM"), ("psnr", "PSNR (dB)"))
# Okabe and Ito's colours: told apart by colour-blind readers and in grey print.
_COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
    "#8C6D31",
)
_DASHES = ("-", "--", ":")
MAPS_OVER_TIME = 3


def _style(number: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _DASHES[number // len(_COLOURS) % len(_DASHES)],
    }


def _panel(figure: Any, place: int, label: str) -> Any:
    axes = figure.add_subplot(1, 2, place + 1)
    axes.set_ylabel(label)
    axes.grid(True, color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def _legend(figure: Any, axes: Any, bottom: float) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = min(4, len(labels))
    rows = math.ceil(len(labels) / columns)
    figure.legend(
        handles,
        labels,
        loc="lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
        columnspacing=1.6,
    )
    figure.subplots_adjust(
        left=0.075, right=0.985, top=0.95, wspace=0.2, bottom=bottom + 0.062 * rows
    )


def time_figure(comparison: Comparison) -> bytes:
    """SSIM and PSNR of every method over the frames, with 95 % intervals over slices, as PNG."""
    figure = figure_class()(11.0, 3.9)
    truth = comparison.reference
    for place, (name, label) in enumerate(_PLOTTED):
        axes = _panel(figure, place, label)
        for number, (method, scores) in enumerate(comparison.evaluations.items()):
            times = np.array([frame.time for frame in scores.frames])
            values = _visible(scores.values(name))
            style = _style(number)
            axes.plot(times, values, label=method, linewidth=1.6, marker=".", markersize=4, **style)
            low, high = _intervals(scores, name)
            axes.fill_between(times, low, high, color=style["color"], alpha=0.15, linewidth=0)
        unit = f" ({truth.time_unit})" if truth.time_unit else ""
        axes.set_xlabel(f"{truth.time_name}{unit}")
        axes.margins(x=0.02)
    _legend(figure, axes, 0.15)
    return to_png(figure)


def _visible(values: np.ndarray) -> np.ndarray:
    """Infinite PSNR (equal images) leaves a gap in the line."""
    return np.where(np.isfinite(values), values, np.nan)


def _intervals(scores: Evaluation, name: str) -> tuple[np.ndarray, np.ndarray]:
    found = [getattr(frame, f"{name}_interval") or (math.nan, math.nan) for frame in scores.frames]
    low, high = np.array(found).T
    return low, high


def methods_figure(comparison: Comparison) -> bytes:
    """SSIM and PSNR of a single frame: a dot with its 95 % interval over slices, as PNG."""
    names = list(comparison.evaluations)
    figure = figure_class()(11.0, 1.3 + 0.3 * len(names))
    rows = np.arange(len(names))
    for place, (name, label) in enumerate(_PLOTTED):
        axes = _panel(figure, place, "")
        axes.set_xlabel(label)
        axes.grid(False, axis="y")
        for row, method in enumerate(names):
            scores = comparison.evaluations[method]
            value = float(_visible(scores.values(name))[0])
            low, high = (float(v[0]) for v in _intervals(scores, name))
            colour = _style(row)["color"]
            axes.plot([low, high], [row, row], color=colour, linewidth=2.2, alpha=0.6)
            axes.plot([value], [row], "o", color=colour, markersize=6)
        axes.set_yticks(rows, names if place == 0 else [""] * len(names), fontsize=9)
        axes.set_ylim(len(names) - 0.5, -0.5)
    longest = max(len(name) for name in names)
    figure.subplots_adjust(
        left=min(0.35, 0.02 + 0.0068 * longest),
        right=0.985,
        top=0.97,
        bottom=0.55 / figure.get_figheight(),
        wspace=0.05,
    )
    return to_png(figure)


def levels_figure(levels: Mapping[str, Comparison]) -> bytes:
    """SSIM and PSNR of every method at every level, with 95 % intervals, as PNG.

    The interval is that of the mean over frames; for a single frame, that over slices.
    """
    figure = figure_class()(11.0, 4.2)
    labels = list(levels)
    methods = list(dict.fromkeys(m for level in levels.values() for m in level.evaluations))
    for place, (name, label) in enumerate(_PLOTTED):
        axes = _panel(figure, place, label)
        for number, method in enumerate(methods):
            shift = (number - (len(methods) - 1) / 2) * min(0.05, 0.5 / len(methods))
            at, values, low, high = [], [], [], []
            for position, level in enumerate(levels.values()):
                scores = level.evaluations.get(method)
                if scores is None or not math.isfinite(scores.mean(name)):
                    continue
                if len(scores.frames) > 1:
                    interval = scores.interval(name)
                else:
                    interval = getattr(scores.frames[0], f"{name}_interval") or (math.nan,) * 2
                at.append(position + shift)
                values.append(scores.mean(name))
                low.append(interval[0])
                high.append(interval[1])
            style = _style(number)
            axes.plot(at, values, label=method, linewidth=1.6, marker="o", markersize=4, **style)
            axes.vlines(at, low, high, color=style["color"], linewidth=1.4, alpha=0.6)
        axes.set_xticks(range(len(labels)), labels)
    _legend(figure, axes, 0.1)
    return to_png(figure)


def maps_over_time_figure(comparison: Comparison, scene: Scene) -> bytes:
    """First, middle and last frame: images and SSIM maps of baseline and last method, as PNG."""
    frames = sorted({0, len(comparison.reference) // 2, len(comparison.reference) - 1})
    names = list(dict.fromkeys((comparison.baseline, list(comparison.images)[-1])))
    height, width = scene.size_mm(scene.crop)
    cell, gap, left, top, right = 1.95, 0.05, 0.75, 0.5, 0.75
    tall = cell * min(2.0, max(0.35, height / width))
    columns = 1 + 2 * len(names)
    size = (left + columns * (cell + gap) + right, top + len(frames) * (tall + gap) + 0.1)
    figure = figure_class()(*size)
    grey = {"cmap": "gray", "vmin": scene.window[0], "vmax": scene.window[1]}
    for row, frame in enumerate(frames):
        bottom = 1 - (top + row * (tall + gap) + tall) / size[1]
        cells = [("Reference", scene.picture(comparison.reference.array[frame]), grey)]
        for name in names:
            cells.append((name, scene.picture(comparison.images[name].array[frame]), grey))
        for name in names:
            picture = scene.picture(similarity_map(comparison, name, frame))
            cells.append((f"SSIM: {name}", picture, {"cmap": "viridis", "vmin": 0, "vmax": 1}))
        for column, (title, picture, style) in enumerate(cells):
            x = (left + column * (cell + gap)) / size[0]
            axes = figure.add_axes([x, bottom, cell / size[0], tall / size[1]])
            axes.set_axis_off()
            drawn = show(axes, picture, (height, width), **style)
            if row == 0:
                axes.set_title(_short(title, 26), fontsize=9, fontweight="bold")
            if column > len(names):
                value = comparison.evaluations[names[column - 1 - len(names)]].frames[frame].ssim
                axes.text(
                    0.03,
                    0.03,
                    f"{value:.3f}",
                    transform=axes.transAxes,
                    color="white",
                    fontsize=9,
                    bbox={"facecolor": "black", "alpha": 0.65, "linewidth": 0, "pad": 2},
                )
        figure.text(
            0.1 / size[0],
            bottom + tall / size[1] / 2,
            _when(comparison, frame),
            fontsize=9,
            rotation=90,
            va="center",
        )
    bar = figure.add_axes([1 - (right - 0.05) / size[0], 0.06, 0.11 / size[0], 0.8])
    figure.colorbar(drawn, cax=bar).ax.tick_params(labelsize=8)
    return to_png(figure)


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _when(comparison: Comparison, frame: int) -> str:
    truth = comparison.reference
    unit = f" {truth.time_unit}" if truth.time_unit else ""
    return f"frame {frame + 1}\n{truth.times[frame]:.4g}{unit}"


def profile_figure(comparison: Comparison, scene: Scene) -> bytes:
    """One column of the detail over time (M-mode): reference, baseline, last method, as PNG."""
    names = list(dict.fromkeys((comparison.baseline, list(comparison.images)[-1])))
    column = (scene.detail[1].start + scene.detail[1].stop) // 2
    rows = scene.picture(comparison.reference.array[0]).shape[0]
    figure = figure_class()(11.0, 2.9)
    series = {"Reference": comparison.reference, **{n: comparison.images[n] for n in names}}
    frames = len(comparison.reference)
    height = rows * scene.view.pixel[0]
    for place, (name, images) in enumerate(series.items()):
        axes = figure.add_subplot(1, len(series), place + 1)
        lines = np.stack([scene.picture(frame)[:, column] for frame in images.array], axis=1)
        axes.imshow(
            lines.astype(np.float32),
            cmap="gray",
            vmin=scene.window[0],
            vmax=scene.window[1],
            extent=(0.5, frames + 0.5, height, 0),
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_title(_short(name, 40), fontsize=9, fontweight="bold")
        axes.set_xlabel("frame", fontsize=9)
        axes.tick_params(labelsize=8)
        if place == 0:
            axes.set_ylabel("mm", fontsize=9)
        else:
            axes.set_yticklabels([])
    figure.subplots_adjust(left=0.06, right=0.99, top=0.9, bottom=0.17, wspace=0.05)
    return to_png(figure)
