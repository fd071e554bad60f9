"""Check a method on your own scan: made coarser once more, sharpened, compared with what it was.

No other image is needed. The method is compared with three interpolations patch by patch, with
paired tests, on one page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput
from mriforge.events import Events, to_json
from mriforge.jobs.device import chosen_device
from mriforge.jobs.images import about, read_image, write_text
from mriforge.jobs.options import option
from mriforge.volume import as_series


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``selfcheck``."""

    input: str = option("input", "volume or series, as it is to be sharpened", positional="IN")
    report: str = option("output", "page with the result", positional="OUT", suffixes=(".html",))
    model: str | None = option("text", "model name or folder", default=None, metavar="NAME|DIR")
    self_supervised: bool = option("flag", "thick slices, as of superres", default=False)
    scale: float | None = option(
        "number", "how many times finer it is to be made", default=None, above=1, at_most=16
    )
    axes: tuple[int, ...] = option(
        "integers", "axes made finer (default 0,1)", default=(0, 1), metavar="A,B"
    )
    max_minutes: float | None = option(
        "number", "thick slices: time budget of the learning", default=None, above=0, metavar="MIN"
    )
    steps: int | None = option(
        "integer", "thick slices: learn for exactly so many steps", default=None, at_least=1
    )
    device: str = option("device", "auto, cpu, cuda, cuda:N or mps", default="auto")
    json: str | None = option("output", "write the figures here", default=None, suffixes=(".json",))


def check(options: Options) -> None:
    """Learning is for thick slices."""
    for name in ("max_minutes", "steps"):
        if getattr(options, name) is not None and not options.self_supervised:
            flag = "--" + name.replace("_", "-")
            raise BadInput(f"{flag} is about thick slices.", "Add --self-supervised as well.")


def run(options: Options, events: Events) -> dict[str, Any]:
    """Reads, checks, writes the page.

    Returns:
        ``report`` and the figures of :class:`mriforge.uncertainty.selfcheck.SelfCheck`, with
        ``method``, ``target`` and ``warnings``.
    """
    from mriforge.report.figures import figure_class
    from mriforge.report.selfcheck import selfcheck_report
    from mriforge.uncertainty.selfcheck import self_check

    figure_class()  # a missing matplotlib is said before any work
    image = read_image(options.input, events)
    frame = len(as_series(image)) // 2
    with about(options.input, [options.input, options.model]):
        prepare = _slices if options.self_supervised else _in_plane
        trials, figures = prepare(image, options, (frame,), events.part(0.0, 0.6))
        found = self_check(trials, events.part(0.6, 0.97))
    events.log(found.figures["sentence"])
    events.check_cancelled()
    name = Path(options.input).name
    summary = {**figures, **found.figures}
    summary["report"] = str(selfcheck_report(options.report, summary, found.pictures, name))
    if options.json is not None:
        summary["json"] = write_text(to_json(summary, indent=2), options.json)
    events.progress(1.0, "done")
    return summary


def _in_plane(image: Any, options: Options, frames: tuple[int, ...], events: Events) -> Any:
    from mriforge.superres.job import SuperresOptions, prepare

    wishes = SuperresOptions(
        model=options.model,
        scale=options.scale,
        axes=options.axes,
        frames=frames,
        device=str(chosen_device(options.device) or "auto"),
    )
    return prepare(image, wishes, events)


def _slices(image: Any, options: Options, frames: tuple[int, ...], events: Events) -> Any:
    from mriforge.interslice.job import SliceOptions, prepare

    wishes = SliceOptions(
        method=options.model,
        scale=options.scale,
        max_minutes=options.max_minutes,
        steps=options.steps,
        frames=frames,
        device=str(chosen_device(options.device) or "auto"),
    )
    return prepare(image, wishes, events)
