"""A method checked on the user's own scan, made coarser once more."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from mriforge.superres.choices import INPLANE, SLICES
from MRIForgeLib.exchange import send
from MRIForgeLib.nodes import grid_of, snapshot_steps
from MRIForgeLib.superres import advice
from MRIForgeLib.superres.wishes import TargetKind, Wishes


class SelfCheckTask:
    """Runs the job ``selfcheck`` on the frame that is shown; a task of MRIForgeLib.run.Run.

    ``collect`` adds nothing to the scene: the figures are the job's result, and its page is in
    Slicer's temporary folder (``report``).
    """

    command = "selfcheck"

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Writes the image into ``folder``; returns the options of the job."""
        wishes = self.wishes
        image = yield from snapshot_steps(wishes.input_node, all_frames=False)
        page = Path(slicer.app.temporaryPath) / f"mriforge-check-{folder.name}.html"
        options: dict[str, Any] = {
            "input": (yield from send(image, folder / "input.npy")),
            "report": str(page),
            "model": wishes.method,
            "device": wishes.device.value,
        }
        if wishes.kind == SLICES:
            options["self_supervised"] = True
            if wishes.minutes is not None and wishes.learns:
                options["max_minutes"] = wishes.minutes
        if (factor := _factor(wishes)) is not None:
            options["scale"] = factor
        return options

    def collect(self, folder: Path, result: dict[str, Any]) -> Generator[Any, None, dict[str, Any]]:
        """Nothing goes into the scene."""
        yield {}
        return {}

    def discard(self, nodes: dict[str, Any]) -> None:
        """Nothing is there to be taken out."""


def why_not(wishes: Wishes) -> str:
    """Why the method cannot be checked, as a sentence; empty when it can."""
    if wishes.kind not in (INPLANE, SLICES):
        return _("Only a method for one image is checked on it.")
    return advice.why_not(wishes)


def sentence(figures: dict[str, Any]) -> str:
    """The outcome, and where the page is."""
    page = figures.get("report", "")
    return figures["sentence"] + " " + _("Page: {page}").format(page=page)


def _factor(wishes: Wishes) -> float | None:
    """How much finer the image is to be, where that is one number; None: as the job has it."""
    low = grid_of(wishes.input_node, labels=False)
    if wishes.kind == SLICES:
        target = wishes.slice_target(low) if wishes.target is TargetKind.FACTOR else {}
        return target.get("scale")
    wanted = advice.target_of(wishes)
    if wanted is None:
        return None
    sizes = zip(wanted.stored_shape[:2], low.stored_shape[:2], strict=True)
    factor = max(fine / coarse for fine, coarse in sizes)
    return factor if factor > 1 else None
