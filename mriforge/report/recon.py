"""The report of a reconstruction: what moves, what recovers, how sure T1 is, how it was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mriforge.report.figures import figure_class, show, to_png
from mriforge.report.html import Report
from mriforge.volume import some_of

if TYPE_CHECKING:
    from mriforge.factors import Factors
    from mriforge.relaxometry.result import T1Map

_SHOWN = 6
_T1_LIMIT_MS = 2500


def recon_report(result: Any, source: str) -> Report:
    """Pictures and figures of one reconstruction.

    Args:
        result: a :class:`mriforge.recon.job.Reconstruction`.
        source: the input file.
    """
    report = Report("MR Multitasking reconstruction", source)
    factors = result.factors
    cardiac, respiratory, inversion = factors.bins
    report.text(
        f"{factors.frames:,} frames: {cardiac} cardiac phases, {respiratory} respiratory phases, "
        f"{inversion} inversion times, held as {factors.rank} spatial and temporal factors."
    )
    report.heading("The three times")
    report.picture(
        frames_figure(factors),
        "Rows: heartbeat, breathing, inversion time. All pictures of a row have one scale.",
    )
    if result.t1 is not None:
        report.heading("T1")
        report.picture(
            t1_figure(result.t1, factors),
            "T1 in ms, and R squared of the fit; dark where nothing was fitted.",
        )
        report.text(_counts(result.t1))
    report.heading("How it was found")
    report.picture(
        signals_figure(result),
        "Motion signals of the navigator, iterations, and the temporal model's singular values.",
    )
    seconds = {name: value for name, value in result.seconds.items() if value > 0.0005}
    report.table(["stage", "seconds"], [[name, f"{value:.2f}"] for name, value in seconds.items()])
    settings = result.info["settings"]
    flat = {k: v for k, v in settings.items() if not isinstance(v, dict)} | settings["spatial"]
    report.provenance({"input": source, "program": result.info["program"], **flat})
    return report


def _counts(t1: T1Map) -> str:
    counts = t1.counts()
    fitted = counts.pop("fitted")
    left = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items())
    return f"{fitted} voxels were fitted; left out: {left}."


def _middle(volume: np.ndarray) -> np.ndarray:
    return volume[volume.shape[0] // 2]


def _some(count: int, most: int = _SHOWN) -> list[int]:
    return some_of(count, most)


def frames_figure(factors: Factors) -> bytes:
    """Six images along each of the three times, in the middle slice."""
    cardiac, respiratory, inversion = factors.bins
    rest = inversion - 1
    rows = [
        ("cardiac phase", [(c, 0, rest) for c in _some(cardiac)], 0),
        ("respiratory phase", [(0, r, rest) for r in _some(respiratory)], 1),
        ("inversion time", [(0, 0, t) for t in _some(inversion)], 2),
    ]
    spacing = factors.grid.spacing
    size = (factors.grid.shape[1] * spacing[1], factors.grid.shape[2] * spacing[0])
    figure = figure_class()(13, 7.2)
    for number, (name, indices, axis) in enumerate(rows):
        images = [_middle(np.abs(factors.frame(*index))) for index in indices]
        limit = float(np.percentile(images, 99.7)) or 1.0
        for place, (index, image) in enumerate(zip(indices, images, strict=True)):
            axes = figure.add_subplot(3, _SHOWN, number * _SHOWN + place + 1)
            show(axes, image, size, cmap="gray", vmin=0, vmax=limit)
            axes.set_xticks([])
            axes.set_yticks([])
            value = str(index[axis] + 1)
            if axis == 2:
                value = f"{factors.inversion_times_s[index[2]] * 1000:.0f} ms"
            axes.set_title(f"{name} {value}" if place == 0 else value, fontsize=9)
    figure.tight_layout()
    return to_png(figure)


def t1_figure(t1: T1Map, factors: Factors) -> bytes:
    """T1 and the quality of its fit in the middle slice."""
    spacing = factors.grid.spacing
    size = (factors.grid.shape[1] * spacing[1], factors.grid.shape[2] * spacing[0])
    figure = figure_class()(11, 4.6)
    parts = (
        ("T1 (ms)", t1.t1_ms, "viridis", 0, _T1_LIMIT_MS),
        ("R squared", np.where(t1.fitted, t1.r_squared, 0), "magma", 0, 1),
    )
    for number, (title, values, colours, low, high) in enumerate(parts):
        axes = figure.add_subplot(1, 2, number + 1)
        picture = show(axes, _middle(values), size, cmap=colours, vmin=low, vmax=high)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(title)
        figure.colorbar(picture, ax=axes, fraction=0.045)
    figure.tight_layout()
    return to_png(figure)


def signals_figure(result: Any) -> bytes:
    """Motion signals, residuals of the iterations, spectrum of the temporal model."""
    figure = figure_class()(13, 3.4)
    axes = figure.add_subplot(1, 3, 1)
    gating = result.model.gating
    if gating is None:
        axes.text(0.5, 0.5, "bins were given", ha="center", transform=axes.transAxes)
    else:
        shown = gating.time_s < gating.time_s[0] + 20
        axes.plot(gating.time_s[shown], gating.respiratory[shown] + 3, label="breathing")
        axes.plot(gating.time_s[shown], gating.cardiac[shown] - 2, label="heart", linewidth=0.8)
        axes.set_xlabel("seconds")
        axes.legend(fontsize=8, loc="upper right")
    axes.set_yticks([])
    axes = figure.add_subplot(1, 3, 2)
    progress = result.spatial.progress
    if progress is None:
        axes.text(0.5, 0.5, "no iterations", ha="center", transform=axes.transAxes)
    else:
        numbers = np.arange(1, len(progress.changes) + 1)
        axes.semilogy(numbers, np.sqrt(progress.costs), "o-", label="residual / data")
        axes.semilogy(numbers, progress.changes, "s-", label="relative change")
        axes.legend(fontsize=8)
    axes.set_xlabel("iteration")
    axes = figure.add_subplot(1, 3, 3)
    axes.semilogy(np.arange(1, len(result.model.singular_values) + 1), result.model.singular_values)
    axes.axvline(result.factors.rank, color="gray", linestyle=":")
    axes.set_xlabel("component (dotted: rank)")
    figure.tight_layout()
    return to_png(figure)
