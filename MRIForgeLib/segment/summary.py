"""What happened, in sentences for the panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from mriforge.anatomy import ORGANS
from MRIForgeLib.segment.measures import OrganMeasure, missing
from MRIForgeLib.text import duration

_DOUBTFUL = 0.2
"""Mean disagreement of an organ above which the panel says so."""


def sentences(figures: Mapping[str, Any], frames: Sequence[Sequence[OrganMeasure]]) -> list[str]:
    """What a finished segmentation says about its result.

    Args:
        figures: the worker's result.
        frames: measures of each frame.
    """
    found = [_done(figures)]
    absent = missing(frames)
    if len(absent) == len(ORGANS):
        found.append(
            _("No organ was found. Is it an image of the abdomen, and is its orientation right?")
        )
        return found
    count = len(ORGANS) - len(absent)
    found.append(_("{count} of {all} organs were found.").format(count=count, all=len(ORGANS)))
    if absent:
        names = ", ".join(organ.title.lower() for organ in absent)
        found.append(_("Not found, and so without a segment: {names}.").format(names=names))
    if doubtful := _doubtful(frames):
        names = ", ".join(title.lower() for title in doubtful)
        found.append(_("The views disagree most on: {names}. Look at these.").format(names=names))
    return found


def tuned(figures: Mapping[str, Any], name: str) -> list[str]:
    """What a finished fine-tuning says.

    Args:
        figures: result of the command ``train``.
        name: of the new model.
    """
    found = [
        _("The model '{name}' was added to your models: {steps} steps in {time}.").format(
            name=name,
            steps=figures.get("steps", 0),
            time=duration(figures.get("seconds", 0)),
        )
    ]
    dice = (figures.get("figures") or {}).get("dice")
    if isinstance(dice, int | float):
        found.append(_("Dice on held-out cases: {dice}.").format(dice=f"{dice:.2f}"))
    else:
        found.append(_("No case was held out: try the model on images that it has not seen."))
    return found


def _done(figures: Mapping[str, Any]) -> str:
    seconds = figures.get("seconds")
    if not isinstance(seconds, int | float):
        return _("Done.")
    if figures.get("device"):
        return _("Done in {time} on {device}.").format(
            time=duration(seconds), device=figures["device"]
        )
    return _("Done in {time}.").format(time=duration(seconds))


def _doubtful(frames: Sequence[Sequence[OrganMeasure]]) -> list[str]:
    found = []
    for number, organ in enumerate(ORGANS):
        values = [
            frame[number].disagreement for frame in frames if frame[number].disagreement is not None
        ]
        if values and sum(values) / len(values) > _DOUBTFUL:
            found.append(organ.title)
    return found
