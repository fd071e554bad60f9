"""What the panel says before anything runs: whether it can, what will come out, doubts."""

from __future__ import annotations

from typing import Any

import numpy as np
from slicer.i18n import tr as _

from mriforge.errors import BadInput, MissingModel
from mriforge.models.card import ModelCard
from mriforge.models.store import find_model
from mriforge.segment.doubts import refuse, too_narrow, too_short
from mriforge.superres.scope import doubtful_range
from mriforge.volume import Grid, Series
from MRIForgeLib import model_list
from MRIForgeLib.dicom_header import body_part, modality
from MRIForgeLib.nodes import grid_of
from MRIForgeLib.segment import pace
from MRIForgeLib.segment.wishes import Wishes
from MRIForgeLib.superres.labels import holds_labels
from MRIForgeLib.text import duration

TASK = "organs"
"""Models for this are offered."""

_THICK_MM, _FINE_MM = 5.0, 0.5
"""Slices thicker, voxels finer than what was simulated for training."""
_TRUNK = ("ABDOMEN", "PELVIS", "LIVER", "KIDNEY", "CHEST", "SPINE", "WHOLEBODY", "BODY", "TRUNK")


def why_not(wishes: Wishes) -> str:
    """Why it cannot start, and what to do; empty when it can."""
    if wishes.input_node is None:
        return _("Select an MR volume of the abdomen.")
    if holds_labels(wishes.input_node):
        return _("'{name}' holds labels, not an image: select the image.").format(
            name=wishes.input_node.GetName()
        )
    try:
        grid = grid_of(wishes.input_node, labels=False)
        nothing = np.broadcast_to(np.uint8(0), (1, *grid.shape))
        refuse(Series(nothing, grid, np.zeros(1)), f"'{wishes.input_node.GetName()}'")
    except BadInput as error:
        return f"{error.message} {error.hint or ''}".strip()
    if not wishes.views:
        return _("Choose at least one view.")
    if card_of(wishes.model) is None:
        return _("The model '{name}' is not installed: add it below, or choose another.").format(
            name=wishes.model
        )
    return ""


def ready(wishes: Wishes) -> str:
    """What Apply will do."""
    if wishes.frames > 1:
        return _("Outline organs in {count} frames. The input is not changed.").format(
            count=wishes.frames
        )
    return _("Outline organs. The input is not changed.")


def preview(wishes: Wishes) -> str:
    """How long it will take, as far as that can be known; otherwise empty."""
    card = card_of(wishes.model)
    grid = _grid(wishes)
    if card is None or grid is None or not wishes.views:
        return ""
    work = pace.work(card, grid, len(wishes.views), wishes.frames)
    known = pace.known(wishes.device.value)
    if known is not None:
        return _("Will take about {time}, as the last run did.").format(
            time=duration(pace.seconds(work, known))
        )
    return _("Will take about {time} on this processor, much less on a graphics card.").format(
        time=duration(pace.seconds(work, pace.of_this_processor()))
    )


def doubts(wishes: Wishes) -> list[str]:
    """What the user should know about this image and these choices, one sentence each."""
    found = []
    grid = _grid(wishes)
    if grid is not None and not holds_labels(wishes.input_node):
        found += _about_image(wishes.input_node, grid)
    return found + _about_views(wishes)


def model_names() -> list[str]:
    """The installed models that outline organs, by name."""
    return [row.name for row in model_list.rows(TASK)]


def model_note(name: str) -> str:
    """What a model was trained on, how it scored there, and what that does not say."""
    card = card_of(name)
    if card is None:
        return ""
    found = [f"{card.title}." if card.title else ""]
    if _is_simulated(card):
        found.append(_("Trained on simulated images, not on scans of patients."))
    dice = card.figures.get("dice")
    if isinstance(dice, int | float):
        found.append(_("Dice on held-out cases: {dice}.").format(dice=f"{dice:.2f}"))
    found.append(card.limits or _("It has not been validated on patients."))
    found.append(_("For research only: look at every outline."))
    return " ".join(filter(None, found))


def card_of(name: str) -> ModelCard | None:
    """The card of an installed model that outlines organs; None when there is none."""
    try:
        card = find_model(name).card
    except MissingModel:
        return None
    return card if card.task == TASK else None


def _grid(wishes: Wishes) -> Grid | None:
    if wishes.input_node is None:
        return None
    try:
        return grid_of(wishes.input_node, labels=False)
    except BadInput:
        return None


def _is_simulated(card: ModelCard) -> bool:
    return bool(card.trained_on) and all(
        entry.get("kind") == "tissue map" for entry in card.trained_on
    )


def _about_image(node: Any, grid: Grid) -> list[str]:
    low, high = _range(node)
    found = doubtful_range(low, high, modality(node))
    part = body_part(node)
    if part and not any(word in part for word in _TRUNK):
        found.append(
            _("The DICOM files say that this is the {part}, not the abdomen.").format(
                part=part.lower()
            )
        )
    else:
        found.append(too_narrow(grid))
    found.append(too_short(grid))
    thickest, finest = max(grid.spacing), min(grid.spacing)
    if thickest > _THICK_MM:
        found.append(
            _("Voxels are {size} mm long: outlines are coarse along that direction.").format(
                size=f"{thickest:.1f}"
            )
        )
    if finest < _FINE_MM:
        found.append(
            _("Voxels of {size} mm are finer than what the model has seen.").format(
                size=f"{finest:.2f}"
            )
        )
    return [sentence for sentence in found if sentence]


def _about_views(wishes: Wishes) -> list[str]:
    if len(wishes.views) == 1:
        return [_("With one view nothing is voted on, and there is no map of disagreement.")]
    if len(wishes.views) == 2:
        return [_("With two views a vote has no majority where they differ: three are better.")]
    return []


def _range(node: Any) -> tuple[float, float]:
    """Smallest and largest voxel of the frame that is shown; VTK remembers it."""
    if not hasattr(node, "GetImageData") and node.GetNumberOfDataNodes():
        node = node.GetNthDataNode(0)
    image = node.GetImageData() if hasattr(node, "GetImageData") else None
    return tuple(image.GetScalarRange()) if image is not None else (0.0, 1.0)
