"""The main job on a real MR series that is already here: degrade, sharpen, compare, report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mriforge.events import Events
from mriforge.jobs.options import option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``demo``."""

    out: str = option("folder", "where images and the report are put", default="demo-output")
    minutes: float = option(
        "number", "time that it may take", default=8.0, above=0, at_most=600, metavar="MIN"
    )


def run(options: Options, events: Events) -> dict[str, Any]:
    """Runs the demo; returns its table, the report's path and what to run next."""
    from mriforge.demo import run_demo

    return run_demo(options.out, events, options.minutes)
