"""The page about outlined organs: pictures with outlines, where views disagree, volumes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput
from mriforge.report.figures import figure_class, to_png
from mriforge.report.html import Report
from mriforge.report.outlines import choose_cuts, outlines_figure
from mriforge.volume import Image, Series, as_series

CAUTION = (
    "Organs were outlined by a network; its card says what it was trained on. Check every outline."
)


def organ_report(
    path: str | Path,
    *,
    volume: Image,
    labels: Image,
    volumes: Mapping[str, float | Sequence[float]],
    entropy: Image | None = None,
    votes: Image | None = None,
    provenance: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    name: str = "",
    frame: int | None = None,
) -> Path:
    """Writes the page.

    Args:
        path: the page, ``.html``.
        volume: the image that organs were outlined in, a volume or a series.
        labels: organ labels on its grid, frame by frame for a series.
        volumes: ml by organ key; for a series a list with a value for each frame.
        entropy: where the views disagree, 0 to 1, on the same grid.
        votes: how many views agree with the answer, on the same grid.
        provenance: facts for the end of the page: input, model, views, fusion.
        warnings: sentences for the top of the page.
        name: of the input, for the title.
        frame: the frame of the pictures; default the middle one.

    Raises:
        BadInput: images that are not on one grid, no such frame, or the file cannot be written.
        MissingDependency: matplotlib is not installed.
    """
    series, outlined = as_series(volume), as_series(labels)
    for other in (labels, *(part for part in (entropy, votes) if part is not None)):
        _same_place(series, as_series(other))
    frame = len(series) // 2 if frame is None else frame
    if not 0 <= frame < len(series):
        raise BadInput(f"There is no frame {frame}; there are {len(series)}.")
    page = Report("MRIForge: abdominal organs", name, CAUTION)
    page.warning(*warnings)
    page.heading("Outlines")
    image, label = series.array[frame], outlined.array[frame]
    doubt, doubt_title = _doubt(entropy, votes, frame)
    cuts = choose_cuts(image, label, series.grid)
    page.picture(
        outlines_figure(image, label, cuts, doubt, doubt_title),
        "Slices that show most of the organs"
        + (f", frame {frame + 1} of {len(series)}" if len(series) > 1 else "")
        + ", at the true proportions of the voxels: the image alone, with outlines, and "
        + ("where the views disagree." if doubt is not None else "the labels.")
        + " The patient's left is on the right of axial and coronal slices.",
        "Slices with the outlines of organs",
    )
    missing = [organ.title.lower() for organ in ORGANS if not (outlined.array == organ.label).any()]
    if missing:
        page.text(f"Not found: {', '.join(missing)}.")
    _volumes(page, volumes, series)
    page.provenance(provenance or {})
    return page.write(path)


def _same_place(series: Series, other: Series) -> None:
    if len(other) != len(series) or not series.grid.matches(other.grid, 0.1):
        raise BadInput("Image, labels and maps of a report must be on one grid.")


def _doubt(entropy: Image | None, votes: Image | None, frame: int) -> tuple[np.ndarray | None, str]:
    """The map of disagreement ``(z, y, x)``, 0 to 1, and what it is."""
    if entropy is not None:
        return as_series(entropy).array[frame], "disagreement (entropy, 0 to 1)"
    if votes is not None:
        counted = as_series(votes).array[frame].astype(np.float32)
        return 1 - counted / max(float(counted.max()), 1.0), "share of views against"
    return None, ""


def _volumes(page: Report, volumes: Mapping[str, float | Sequence[float]], series: Series) -> None:
    """The table, and over time for a series."""
    page.heading("Volumes")
    table = {key: np.atleast_1d(np.asarray(value, float)) for key, value in volumes.items()}
    titles = {organ.key: organ.title for organ in ORGANS}
    if all(len(values) == 1 for values in table.values()):
        rows = [[titles.get(key, key), millilitres(v[0])] for key, v in table.items()]
        page.table(["Organ", "ml"], rows)
        return
    rows = []
    for key, values in table.items():
        found = values[np.isfinite(values)]
        spread = found.std(ddof=1) if len(found) > 1 else math.nan
        cells = (found.mean(), spread, found.min(), found.max()) if len(found) else (math.nan,) * 4
        rows.append([titles.get(key, key), *(millilitres(cell) for cell in cells)])
    page.table(
        ["Organ", "mean (ml)", "SD", "smallest", "largest"],
        rows,
        f"Over {len(series)} frames.",
    )
    page.picture(
        volumes_figure(table, series.times, series.time_name, series.time_unit),
        "Volume of every organ over time, relative to its mean over the frames. Organs keep their "
        "volume while they move: what changes here is the outline.",
        "Organ volumes over time",
    )


def millilitres(value: float) -> str:
    """``1,234``, ``56.7`` or ``–``."""
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def volumes_figure(
    volumes: Mapping[str, np.ndarray], times: np.ndarray, time_name: str, time_unit: str
) -> bytes:
    """Volumes over time, each relative to its mean, as PNG.

    Args:
        volumes: ``(frames,)`` ml by organ key.
        times: of the frames.
        time_name, time_unit: what the times are.
    """
    figure = figure_class()(9.5, 4.2)
    axes = figure.add_subplot(1, 1, 1)
    axes.grid(True, color="#e6e6e6", linewidth=0.7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    styles = _styles()
    for organ in ORGANS:
        values = volumes.get(organ.key)
        if values is None or not np.nansum(values) > 0:
            continue
        mean = np.nanmean(values)
        axes.plot(times, 100 * values / mean, marker=".", linewidth=1.5, **styles[organ.key],
                  label=f"{organ.title}, {millilitres(mean)} ml")  # fmt: skip
    axes.set_ylabel("volume, % of its mean")
    axes.set_xlabel(f"{time_name} ({time_unit})" if time_unit else time_name)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.tight_layout()
    return to_png(figure)


def _styles() -> dict[str, dict[str, Any]]:
    """A line of its own for each organ: several of the organs' colours are too much alike."""
    from mriforge.report.charts import _style

    return {organ.key: _style(number) for number, organ in enumerate(ORGANS)}
