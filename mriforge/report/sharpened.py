"""The page about an image that was sharpened in plane: before and after, warnings, trust."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mriforge.physics.interpolation import resample
from mriforge.report.html import Report
from mriforge.report.planes import slice_axis
from mriforge.report.slices import before_and_after
from mriforge.report.trust import add_trust
from mriforge.volume import Image, Series, as_series


def sharpened_report(
    path: str | Path,
    before: Image,
    after: Image,
    figures: Mapping[str, Any],
    name: str,
    maps: Mapping[str, Series] | None = None,
) -> Path:
    """Writes the page; arguments as of :func:`mriforge.report.slices.slices_report`."""
    frame = len(as_series(after)) // 2
    low, high = as_series(before), as_series(after)[frame]
    low = low[min(frame, len(low) - 1)]
    axis = slice_axis(high.grid)
    page = Report("MRIForge: sharper in plane", name)
    page.warning(*figures.get("warnings", []))
    page.heading("Before and after")
    cubic = resample(low, high.grid, order=3, outside="nearest")
    columns = {"as acquired": None, "cubic interpolation": cubic.array, "result": high.array}
    page.picture(
        before_and_after(axis, low, high, columns),
        "The slice through the middle of the body, and the enlarged detail with most edges. One "
        "grey window for all; voxels at their true proportions.",
        "A slice before and after",
    )
    consistency = figures.get("consistency", {})
    if consistency.get("restored"):
        page.text(
            "What was measured is in the result: the difference between the image and what the "
            f"result would give is {100 * consistency['residual_after']:.2g} %."
        )
    add_trust(page, after, maps or {}, figures, axis)
    target = figures.get("target", {})
    page.provenance(
        {
            "Input": name,
            "Method": figures["method"].get("name", ""),
            "Weights (SHA-256)": figures["method"].get("sha256", "none"),
            "Factor (i, j, k)": ", ".join(f"{f:.3g}" for f in target.get("factor", [])),
        }
    )
    return page.write(path)
