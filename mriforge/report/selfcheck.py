"""The page about a method on the user's own scan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.metrics.statistics import p_text
from mriforge.report.figures import figure_class, show, to_png
from mriforge.report.html import Report

_WIDTH = 2.6  # inches


def selfcheck_report(
    path: str | Path,
    figures: Mapping[str, Any],
    pictures: Mapping[str, np.ndarray],
    name: str,
) -> Path:
    """Writes the page.

    Args:
        figures: of the job: those of :class:`mriforge.uncertainty.selfcheck.SelfCheck`, ``method``
            and ``warnings``.
        pictures: slices by title; the first is the scan as it is.
        name: of the input.

    Raises:
        MissingDependency: matplotlib is not installed.
        BadInput: the file cannot be written there.
    """
    page = Report("MRIForge: a method checked on your scan", name)
    page.warning(*figures.get("warnings", []))
    page.heading("What was found")
    page.text(
        figures["sentence"],
        "The scan was made coarser by the same factor as it is to be made finer, and sharpened "
        "again. What was lost was known, so every method could be measured. At the voxel size "
        "of the scan itself nobody knows: gains are usually alike, not the same.",
    )
    page.table(
        ["", "PSNR (dB)", "gain (dB)", "patches where it is better", "Wilcoxon (Holm)"],
        _rows(figures),
        f"{figures['patches']} patches of tissue. Gain, patches and paired tests: the method "
        "against each interpolation.",
    )
    page.picture(
        _picture(pictures),
        "Above: the scan as it is, and what was made of its coarser copy. Below: the absolute "
        "difference, on one scale.",
        "The scan, the method and interpolations",
    )
    page.provenance({"Input": name, "Method": figures["method"].get("name", "")})
    return page.write(path)


def _rows(figures: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for name, values in figures["methods"].items():
        cells = ["–", "–", "–"]
        if name in figures["against"]:
            one = figures["against"][name]
            p = one["wilcoxon_p"]
            cells = [
                f"{one['gain_db']:+.2f}",
                f"{one['better_patches']:.0%}",
                "–" if p is None else p_text(p),
            ]
        rows.append([name, f"{values['psnr']:.2f}", *cells])
    return rows


def _picture(pictures: Mapping[str, np.ndarray]) -> bytes:
    truth, *_ = pictures.values()
    height = _WIDTH * min(1.6, max(0.4, truth.shape[0] / truth.shape[1]))
    total = 2 * height + 0.4
    figure = figure_class()(_WIDTH * len(pictures), total)
    bright = float(np.percentile(truth, 99.7)) or 1.0
    gaps = {name: np.abs(image - truth) for name, image in pictures.items()}
    limit = max(float(np.percentile(gap, 99)) for gap in gaps.values()) or 1.0
    for place, (name, image) in enumerate(pictures.items()):
        for row, (shown, colours, top) in enumerate(
            ((image, "gray", bright), (gaps[name], "inferno", limit))
        ):
            if row and place == 0:
                continue
            bottom = (1 - row) * height / total
            box = (place / len(pictures), bottom, 0.98 / len(pictures), 0.98 * height / total)
            axes = figure.add_axes(box)
            axes.set_axis_off()
            show(axes, shown, shown.shape, cmap=colours, vmin=0.0, vmax=top)
            if row == 0:
                axes.set_title(name, fontsize=11)
    return to_png(figure)
