"""Outline ten abdominal organs in an MR volume or series, by three views of one network.

Labels: 1 liver, 2 spleen, 3 pancreas, 4 right kidney, 5 left kidney, 6 stomach, 7 duodenum,
8 small intestine, 9 spinal cord, 10 vertebral bodies. They are on the grid of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriforge import anatomy
from mriforge.errors import BadInput
from mriforge.events import Events, to_json
from mriforge.jobs.images import about, read_image, write_image, write_text
from mriforge.jobs.options import option
from mriforge.volume import Image, as_series

if TYPE_CHECKING:
    from mriforge.models.card import ModelCard
    from mriforge.segment.job import Outlined
    from mriforge.segment.outline import Settings

VIEWS = tuple(anatomy.VIEWS)


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
        "output",
        "write where the views disagree or are unsure: entropy of their mean probabilities, 0 to 1",
        default=None,
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
    """Reads, outlines, writes.

    Returns:
        paths of what was written; ``volumes_ml`` by organ key (of a series lists with a value for
        each frame), ``warnings``, ``method``, ``views``, ``device``, ``seconds``.
    """
    from mriforge.device import choose_device
    from mriforge.segment.doubts import refuse
    from mriforge.segment.job import model_for_organs, outline_image

    if options.report is not None:
        from mriforge.report.figures import figure_class

        figure_class()  # a missing matplotlib is said before any work
    choose_device(options.device)
    events.progress(0.0, f"reading {options.input}")
    model, card = model_for_organs(options.model)
    image = read_image(options.input, events)
    refuse(as_series(image), options.input)
    with about(options.input, [options.input, options.model]):
        made = outline_image(image, model, card, _settings(options, card), events.part(0.02, 0.95))
    for warning in made.figures["warnings"]:
        events.log(warning)
    summary: dict[str, Any] = {}
    maps = {"output": made.labels, "disagreement": made.entropy, "votes": made.votes}
    events.check_cancelled()  # not later: all files are there after it, or none
    for name, one in maps.items():
        if (path := getattr(options, name)) is not None:
            events.progress(0.95, f"writing {path}")
            summary[name] = write_image(one, path, options.input)
    summary |= made.figures
    if options.report is not None:
        events.progress(0.97, f"writing {options.report}")
        summary["report"] = _report(options, image, made)
    if options.dicom_seg is not None:
        summary["dicom_seg"] = _dicom_seg(options, summary, events)
    if options.json is not None:
        summary["json"] = write_text(to_json(summary, indent=2), options.json)
    events.progress(1.0, "done")
    return summary


def _settings(options: Options, card: ModelCard) -> Settings:
    from mriforge.segment.outline import Settings

    views = views_of(options)
    return Settings.of(
        card,
        views=views,
        fusion=options.fusion,
        overlap=options.overlap,
        # The page shows it where there is something to disagree about.
        disagreement=options.disagreement is not None
        or (options.report is not None and len(views) > 1),
        largest=options.largest,
        holes=options.holes,
        device=options.device,
        memory_gib=options.memory,
    )


def _report(options: Options, image: Image, made: Outlined) -> str:
    from mriforge.report.organs import organ_report

    facts = ("method", "views", "fusion", "overlap", "cleaned", "working", "device")
    page = organ_report(
        options.report,
        volume=image,
        labels=made.labels,
        volumes=made.figures["volumes_ml"],
        entropy=made.entropy,
        votes=made.votes,
        provenance={"input": options.input, **{key: made.figures[key] for key in facts}},
        warnings=made.figures["warnings"],
        name=Path(options.input).name,
    )
    return str(page)


def _dicom_seg(options: Options, summary: dict[str, Any], events: Events) -> str | None:
    """The labels as a DICOM segmentation of the input; None where no organ was found."""
    from mriforge.io.dicom.seg import write_beside

    method = summary["method"]
    about_it = {"model": method["name"], "sha256": method["sha256"]}
    source, labels = Path(options.input), Path(summary["output"])
    written = write_beside(labels, source, Path(options.dicom_seg), **about_it)
    if written is None:
        events.log("No organ was found: no DICOM segmentation is written.")
    return None if written is None else str(written)
