"""One HTML file with everything in it: figures, tables, tests, where it all came from."""

from __future__ import annotations

import base64
import math
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from mriforge import __version__
from mriforge.io.atomic import atomic_path
from mriforge.metrics.compare import Comparison
from mriforge.metrics.evaluate import FIGURES
from mriforge.metrics.statistics import SMALLEST_SAMPLE, PairedTest, p_text, smallest_p_text
from mriforge.report import charts
from mriforge.report.figures import difference_scale, figure_class, slices_figure
from mriforge.report.scene import choose_scene

_HEADS = {
    "psnr": ("PSNR (dB)", "↑", 2),
    "ssim": ("SSIM", "↑", 4),
    "nrmse": ("NRMSE", "↓", 4),
    "mae": ("MAE", "↓", 4),
    "diff_sd": ("SD of difference", "↓", 4),
}
SUPER_RESOLVED = "Super-resolved images contain detail that was estimated, not measured."
PROFILE_FRAMES = 8
"""From this many frames on a temporal profile is drawn."""

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #1a1a1a;
  background: #fff; max-width: 1240px; margin: 0 auto; padding: 24px 32px 48px; }
h1 { font-size: 1.7em; margin: 0 0 .1em; } h2 { font-size: 1.25em; margin: 2em 0 .5em;
  border-bottom: 1px solid #ddd; padding-bottom: .2em; }
.sub { color: #555; margin: 0 0 1em; } .warn { background: #fff6e0; border-left: 4px solid #e69f00;
  padding: .5em .9em; margin: 1em 0; }
figure { margin: 1em 0 1.6em; } figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: #444; font-size: .9em; margin-top: .4em; max-width: 68em; }
table { border-collapse: collapse; margin: .8em 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #444; font-size: .9em; padding-bottom: .4em; }
th, td { padding: .3em .8em; text-align: right; border-bottom: 1px solid #e4e4e4; }
th { border-bottom: 2px solid #999; font-weight: 600; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.best { font-weight: 700; } .small { color: #777; font-size: .85em; }
.facts td { border: 0; padding: .12em .8em .12em 0; text-align: left; vertical-align: top; }
.facts td:first-child { color: #555; white-space: nowrap; }
footer { margin-top: 3em; color: #555; font-size: .9em; border-top: 1px solid #ddd; }
@media print { h2, figure, table { break-inside: avoid; } }
"""


class Report:
    """A report that grows section by section and is written once.

    Args:
        title: heading of the page.
        subtitle: one line under it.
        caution: what the reader must not forget, beside that this is for research only.

    Raises:
        MissingDependency: matplotlib is not installed (before any work is done).
    """

    def __init__(self, title: str, subtitle: str = "", caution: str = SUPER_RESOLVED) -> None:
        figure_class()
        self.title, self.subtitle, self.caution = title, subtitle, caution
        self._parts: list[str] = []
        self._facts: dict[str, str] = {}

    def heading(self, text: str) -> None:
        """A section's heading."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def warning(self, *sentences: str) -> None:
        """Sentences that stand out."""
        self._parts += [f'<p class="warn">{escape(sentence)}</p>' for sentence in sentences]

    def text(self, *paragraphs: str) -> None:
        """Plain paragraphs."""
        self._parts += [f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs]

    def picture(self, png: bytes, caption: str, description: str = "") -> None:
        """A PNG with its caption."""
        data = base64.b64encode(png).decode("ascii")
        self._parts.append(
            f'<figure><img alt="{escape(description or caption, quote=True)}" '
            f'src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
        )

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
        """A plain table; cells are text."""
        lines = [[escape(str(cell)) for cell in row] for row in rows]
        self._parts.append(_table([escape(head) for head in heads], lines, caption))

    def provenance(self, facts: Mapping[str, Any]) -> None:
        """Where images and results came from; shown at the end of the page."""
        self._facts.update({str(key): str(value) for key, value in facts.items()})

    def comparison(
        self,
        comparison: Comparison,
        heading: str = "Comparison with the reference",
        *,
        frame: int | None = None,
        difference_limit: float | None = None,
    ) -> None:
        """Table, tests, pictures and plots of one comparison.

        Args:
            comparison: from :func:`mriforge.metrics.compare.compare`.
            heading: of the section.
            frame: the frame of the pictures; default the middle one.
            difference_limit: end of the difference scale, to share it between sections (see
                :func:`shared_difference_limit`).
        """
        self.heading(heading)
        self._scores(comparison)
        self._tests(comparison)
        scene = choose_scene(comparison, frame)
        limit = difference_limit or difference_scale([comparison], [scene])
        frames = len(comparison.reference)
        which = f"frame {scene.frame + 1} of {frames}, " if frames > 1 else ""
        self.picture(
            slices_figure(comparison, scene, limit),
            f"{scene.view.title} slice {scene.index + 1}, {which}shown at the true "
            "proportions of its voxels; the slice with most signal. Yellow: the enlarged detail, "
            "the place where the reference has most edges. One grey window for all. SSIM maps on "
            f"one scale from 0 to 1; difference = image - reference, from -{limit:g} to "
            f"+{limit:g} of the reference's maximum. Figures under the names are those of the "
            "whole frame.",
            "Slices, details, SSIM maps and difference maps of every method",
        )
        if frames == 1:
            self.picture(
                charts.methods_figure(comparison),
                "SSIM and PSNR of every method; bars are 95 % intervals over the slices of the "
                "image (none for a single slice).",
            )
            return
        self.picture(
            charts.time_figure(comparison),
            "SSIM and PSNR of every method over time. Shaded: 95 % interval over the slices of "
            "each frame (none for a single slice).",
        )
        self.picture(
            charts.maps_over_time_figure(comparison, scene),
            "The same slice over time, with SSIM maps on one scale from 0 to 1; the number in a "
            "map is the SSIM of the whole frame.",
        )
        if frames >= PROFILE_FRAMES:
            self.picture(
                charts.profile_figure(comparison, scene),
                "Temporal profile: the vertical line through the middle of the detail, over time.",
            )

    def levels(self, levels: Mapping[str, Comparison], heading: str = "All levels") -> None:
        """One plot over several comparisons, for example fractions of k-space."""
        self.heading(heading)
        several = any(len(level.reference) > 1 for level in levels.values())
        what = "of the mean over frames" if several else "over the slices of the image"
        self.picture(
            charts.levels_figure(levels),
            f"SSIM and PSNR of every method at every level; bars are 95 % intervals {what}.",
        )

    def _scores(self, comparison: Comparison) -> None:
        heads = ["Method", *(f"{_HEADS[f][0]} {_HEADS[f][1]}" for f in FIGURES)]
        base = comparison.evaluations[comparison.baseline]
        several = len(comparison.evaluations) > 1
        if several:
            heads.append(f"PSNR gain over {escape(comparison.baseline)}")
        rows = []
        for row in comparison.table():
            cells = [escape(row["method"])]
            cells += [_score(row[figure], _HEADS[figure][2]) for figure in FIGURES]
            if several:
                gain = row["psnr"]["mean"] - base.psnr
                cells.append(f"{gain:+.2f} dB" if math.isfinite(gain) else "–")
            rows.append(cells)
        frames = len(comparison.reference)
        over = f"mean ± standard deviation over {frames} frames" if frames > 1 else "one frame"
        where = "inside the mask" if comparison.mask is not None else "over the whole image"
        window = {"uniform7": "7-voxel box", "gaussian": "Gaussian, sigma 1.5 voxels"}
        caption = (
            f"{over.capitalize()}, {where}. Images divided by the reference's maximum "
            f"({comparison.scale:.6g}), data range 1; SSIM window: "
            f"{window.get(comparison.window, comparison.window)}. NRMSE = ‖x − y‖ / ‖y‖."
        )
        caption += " Best in bold." if several else ""
        self._parts.append(_table(heads, rows, caption))

    def _tests(self, comparison: Comparison) -> None:
        if not comparison.tests:
            return
        if len(comparison.reference) < 2:
            self.text("One frame: no paired tests between methods are possible.")
            return
        rows, remarks = [], {}
        for name, tests in comparison.tests.items():
            for figure, test in tests.items():
                rows.append([escape(name), *_test_cells(figure, test)])
                if not math.isfinite(test.t):
                    remarks[f"{name}, {figure.upper()}: {test.statement}"] = None
                if 2 <= test.n < SMALLEST_SAMPLE:
                    remarks[smallest_p_text(test.n)] = None
        base = escape(comparison.baseline)
        heads = ["Method", "Figure", f"Difference to {base}", "95 % interval", "paired t-test"]
        self._parts.append(
            _table(
                [*heads, "Wilcoxon signed-rank"],
                rows,
                f"Paired by frame (n = {len(comparison.reference)}), two-sided, not corrected for "
                "the number of methods. Frames of one series are not independent: the tests speak "
                "about this series, not about other patients.",
            )
        )
        if remarks:
            self.text(" ".join(remarks))

    def html(self) -> str:
        """The whole page."""
        facts = {
            **self._facts,
            "Made by": f"MRIForge {__version__}, Python {platform.python_version()}",
            "Date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        }
        lines = "".join(
            f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>"
            for key, value in facts.items()
        )
        subtitle = f'<p class="sub">{escape(self.subtitle)}</p>' if self.subtitle else ""
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head><body>"
            f"<h1>{escape(self.title)}</h1>{subtitle}"
            '<p class="warn"><b>Research use only.</b> Not a medical device; not for diagnosis. '
            f"{escape(self.caution)}</p>"
            + "\n".join(self._parts)
            + f'<h2>Provenance</h2><table class="facts">{lines}</table>'
            "<footer><p>Research use only.</p></footer></body></html>\n"
        )

    def write(self, path: str | Path) -> Path:
        """The page as one file, whole or not at all.

        Raises:
            BadInput: the file cannot be written there.
        """
        text = self.html()
        with atomic_path(path) as partial:
            partial.write_text(text, encoding="utf-8")
        return Path(path)


def shared_difference_limit(comparisons: Sequence[Comparison], frame: int | None = None) -> float:
    """One difference scale for several comparisons of one report."""
    return difference_scale(list(comparisons), [choose_scene(c, frame) for c in comparisons])


def _test_cells(figure: str, test: PairedTest) -> list[str]:
    digits = _HEADS[figure][2]
    values = [f"{v:+.{digits}f}" for v in (test.mean_difference, *test.interval)]
    tests = (test.t_p, test.wilcoxon_p)
    p_values = [p_text(p) if math.isfinite(p) else "–" for p in tests]
    return [figure.upper(), values[0], f"{values[1]} to {values[2]}", *p_values]


def _score(cell: Mapping[str, Any], digits: int) -> str:
    mean, sd = cell["mean"], cell["sd"]
    if math.isinf(mean):
        text = "equal"
    elif math.isnan(mean):
        text = "–"
    else:
        text = f"{mean:.{digits}f}"
        text += f' <span class="small">± {sd:.{digits}f}</span>' if math.isfinite(sd) else ""
    return f'<span class="best">{text}</span>' if cell["best"] else text


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table of ready HTML cells."""
    top = "".join(f"<th>{head}</th>" for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
