"""Compare an image with a reference: PSNR, SSIM, NRMSE, MAE, SD of the difference, per frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mriforge.events import Events
from mriforge.jobs.images import about
from mriforge.jobs.options import option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``evaluate``."""

    input: str = option("input", "image to judge", positional="IN")
    reference: str = option("input", "what it should look like")
    mask: str | None = option("input", "where to compare", default=None)
    compare: Mapping[str, str] | None = option(
        "inputs", "another method's image, for paired tests (repeatable)", default=None
    )
    resample: bool = option("flag", "bring images on other grids to the reference's", default=False)
    ssim_map: str | None = option("output", "write the SSIM map here", default=None)
    difference_map: str | None = option("output", "write the difference here", default=None)
    json: str | None = option("output", "write the figures here", default=None, suffixes=(".json",))
    csv: str | None = option(
        "output", "write the figures per frame here", default=None, suffixes=(".csv",)
    )
    report: str | None = option(
        "output", "write a page with pictures here", default=None, suffixes=(".html", ".htm")
    )


def run(options: Options, events: Events) -> dict[str, Any]:
    """Compares and writes; returns the figures of ``evaluate --json`` and the files' names."""
    from mriforge.evaluate import evaluate_files

    files = [options.input, options.reference, *([options.mask] if options.mask else [])]
    with about(" and ".join(files) if len(files) < 3 else ", ".join(files), files):
        return evaluate_files(
            options.input,
            options.reference,
            mask=options.mask,
            ssim_map=options.ssim_map,
            difference_map=options.difference_map,
            json_path=options.json,
            csv_path=options.csv,
            report=options.report,
            compare_with=options.compare,
            resample=options.resample,
            events=events,
        )
