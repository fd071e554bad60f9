"""Outline ten abdominal organs in an MR volume or series, by three views of one network.

Labels: 1 liver, 2 spleen, 3 pancreas, 4 right kidney, 5 left kidney, 6 stomach, 7 duodenum,
8 small intestine, 9 spinal cord, 10 vertebral bodies. They are on the grid of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.jobs.options import option

VIEWS = ("axial", "coronal", "sagittal")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``segment``."""

    input: str = option("input", "image to outline organs in", positional="IN")
    output: str = option("output", "label map", positional="OUT")
    model: str = option("text", "trained model", default="denseunet_small", metavar="NAME|DIR")
    views: str = option(
        "text", "views that vote, separated by commas", default="axial,coronal,sagittal",
        metavar="VIEW,...",
    )  # fmt: skip
    fusion: str = option(
        "text", "how views become one answer", default="vote", choices=("vote", "probability")
    )
    overlap: int = option("integer", "slabs that see each slice", default=2, at_least=1, at_most=20)
    disagreement: str | None = option(
        "output", "write where the views disagree: entropy, 0 to 1", default=None
    )
    votes: str | None = option("output", "write how many views agree with the answer", default=None)
    largest: bool = option("flag", "keep the largest part of each organ", default=False)
    holes: bool = option("flag", "fill holes in organs", default=False)
    json: str | None = option(
        "output", "write volumes in ml here", default=None, suffixes=(".json",)
    )
    report: str | None = option(
        "output", "write a page with pictures here", default=None, suffixes=(".html", ".htm")
    )
    dicom_seg: str | None = option(
        "output", "write the organs of a DICOM volume as a DICOM segmentation too", default=None,
        suffixes=(".dcm",),
    )  # fmt: skip
    memory: float | None = option("number", "GiB at most", default=None, above=0, metavar="GIB")
    device: str = option("device", "auto, cpu, cuda, cuda:N or mps", default="auto")


def views_of(options: Options) -> tuple[str, ...]:
    """The views that are asked for, each once.

    Raises:
        BadInput: none, an unknown one, or one twice.
    """
    names = tuple(name.strip().lower() for name in options.views.split(","))
    if not set(names) <= set(VIEWS) or len(set(names)) != len(names):
        raise BadInput(f"--views are some of {', '.join(VIEWS)}, each once, not '{options.views}'.")
    return names


def check(options: Options) -> None:
    """Unknown views, and references to images that are not DICOM, are refused before any work."""
    views_of(options)
    if options.dicom_seg is not None:
        from mriforge.io.dicom.seg import check_source

        check_source(Path(options.input))


def run(options: Options, events: Events) -> dict[str, Any]:
    """Outlines and writes; returns paths, and each organ's volume in ml."""
    from mriforge.segment.job import segment_file

    result = segment_file(options, views_of(options), events)
    if options.dicom_seg is not None:
        from mriforge.io.dicom.seg import write_beside

        method = result.get("method") or {}
        about = {"model": method.get("name", ""), "sha256": method.get("sha256", "")}
        source, labels = Path(options.input), Path(result["output"])
        written = write_beside(labels, source, Path(options.dicom_seg), **about)
        if written is None:
            events.log("No organ was found: no DICOM segmentation is written.")
        result["dicom_seg"] = None if written is None else str(written)
    return result
