"""The part of a page that says how far a sharpened image can be trusted: maps and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mriforge.report.figures import figure_class, show, to_png
from mriforge.report.html import Report
from mriforge.report.planes import View, view_across
from mriforge.report.scene import body
from mriforge.volume import Image, Series, as_series

TITLES = {
    "half_width": "half-width of the intervals",
    "spread": "spread of answers",
    "unmeasured": "not measured",
}
_WIDTH, _TOP, _BAR = 3.6, 0.45, 0.9  # inches


def add_trust(
    page: Report, after: Image, maps: Mapping[str, Series], figures: Mapping[str, Any], axis: int
) -> None:
    """A section with the maps and what was measured of them; nothing without maps.

    Args:
        after: the result; ``maps`` lie on its grid and are in its units.
        figures: of the job, with ``trust``.
        axis: array axis across the slices that are shown.
    """
    found = figures.get("trust")
    if not found or not maps:
        return
    page.heading("How far it can be trusted")
    if "interval" in found:
        page.text(found["interval"]["sentence"])
        page.table(["", ""], _rows(found["interval"]))
    if "unmeasured" in found:
        page.text(
            f"{100 * found['unmeasured']['share']:.1f} % of the result (root mean square) was not "
            "measured by the scan: it was estimated."
        )
    if "spread" in found:
        page.text(
            f"Spread of answers: {found['spread']['answers']} answers of the method to the image "
            "turned over, which ought to agree; where they do, they may still be wrong together."
        )
    page.picture(
        _picture(after, maps, axis),
        "The slice with most signal, and the maps of it in the units of the image.",
        "Maps of uncertainty beside the result",
    )


def _rows(interval: Mapping[str, Any]) -> list[list[str]]:
    measured = interval["measured_coverage"]
    share, error, width = (measured[name] for name in ("share", "error", "mean_width"))
    rows = [["wanted", f"{100 * interval['confidence']:g} % of the voxels inside"]]
    if share is not None:
        rows += [
            ["measured on other patches", f"{100 * share:.1f} % (± {196 * (error or 0):.1f})"],
            ["mean width there", f"{100 * width:.1f} % of bright tissue"],
        ]
    rows.append(["calibrated on", interval["calibrated_on"]])
    if interval["scale_correction"] != 1:
        rows.append(["made narrower for smaller voxels", f"x {interval['scale_correction']:.2f}"])
    return rows


def _picture(after: Image, maps: Mapping[str, Series], axis: int) -> bytes:
    series = as_series(after)
    frame = len(series) // 2
    volume = series.array[frame]
    view = view_across(series.grid, axis)
    others = tuple(a for a in range(3) if a != axis)
    index = int(np.argmax(np.square(volume.astype(np.float32)).sum(axis=others)))
    picture = view.slice(volume, index)
    crop = body(picture, view.pixel)
    columns = [("result", picture[crop], "gray")]
    for name, one in maps.items():
        columns.append((TITLES[name], _slice(view, one, frame, index)[crop], "inferno"))
    size = [(r.stop - r.start) * p for r, p in zip(crop, view.pixel, strict=True)]
    height = _WIDTH * min(1.6, size[0] / size[1])
    total = (_WIDTH + _BAR) * len(columns)
    figure = figure_class()(total, height + _TOP)
    for place, (title, shown, colours) in enumerate(columns):
        left = place * (_WIDTH + _BAR) / total
        tall = height / (height + _TOP)
        axes = figure.add_axes((left, 0, 0.98 * _WIDTH / total, tall))
        axes.set_axis_off()
        top = float(np.percentile(shown, 99.7)) or 1.0
        drawn = show(axes, shown, (size[0], size[1]), cmap=colours, vmin=0.0, vmax=top)
        axes.set_title(title, fontsize=12)
        bar = figure.add_axes((left + _WIDTH / total, 0.08, 0.1 / total, tall - 0.16))
        figure.colorbar(drawn, cax=bar)
        bar.tick_params(labelsize=9)
    return to_png(figure)


def _slice(view: View, one: Series, frame: int, index: int) -> np.ndarray:
    return view.slice(one.array[min(frame, len(one) - 1)], index)
