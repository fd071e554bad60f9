"""What to tell the user before anything runs: why Apply is disabled, what will come out, doubts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from mriforge.interslice.wish import SlicePlan
from mriforge.metrics.noise import appearance
from mriforge.superres.choices import FUSION, SLICES, Choice, choice_named
from mriforge.superres.scope import doubtful_range, outside_scope, unlike_training
from mriforge.superres.wish import Target
from mriforge.volume import Grid
from MRIForgeLib.dicom_header import modality
from MRIForgeLib.nodes import grid_of, sequence_of
from MRIForgeLib.superres import fuse, labels, slices
from MRIForgeLib.superres.task import TUNED_MODEL
from MRIForgeLib.superres.wishes import TargetKind, Wishes

_looks: dict[tuple, dict[str, float]] = {}


def why_not(wishes: Wishes) -> str:
    """Why the job cannot start, as one sentence that says what to do; empty when it can."""
    return (
        _missing_node(wishes)
        or _labels(wishes)
        or _unusable_method(wishes)
        or _bad_name(wishes)
        or _bad_grid(wishes)
    )


def ready(wishes: Wishes) -> str:
    """What Apply will do."""
    if wishes.kind == SLICES:
        return _("Make the slices finer. The input is not changed.")
    if wishes.kind == FUSION:
        return _("Fuse the stacks into one volume. They are not changed.")
    return _("Sharpen the image. The input is not changed.")


def preview(wishes: Wishes) -> str:
    """Size of the result, where it can be known already; otherwise empty."""
    if labels.holds_labels(wishes.input_node):
        return _labels_preview(wishes)
    if wishes.kind == FUSION:
        ready = wishes.input_node is not None and not why_not(wishes)
        return _size_text(fuse.plan(wishes), 1) if ready else ""
    wanted = target_of(wishes)
    if wanted is None:
        return ""
    text = _size_text(wanted.grid, _frames(wishes))
    if isinstance(wanted, SlicePlan):
        return f"{text} {slices.preview(wanted)}"
    share = f"{100 * wanted.kspace_fraction(grid_of(wishes.input_node)):.2g}"
    return _("{text} The image holds {share} % of its k-space.").format(text=text, share=share)


def doubts(wishes: Wishes) -> list[str]:
    """Sentences about what the model has not seen, or what will probably disappoint."""
    choice = wishes.choice
    if choice is None or labels.holds_labels(wishes.input_node):
        return []
    if choice.kind == FUSION:
        return [] if why_not(wishes) else fuse.doubts(wishes)
    wanted = target_of(wishes)
    if wanted is None:
        return []
    found = doubtful_range(*_range(wishes.input_node), modality(wishes.input_node))
    if isinstance(wanted, SlicePlan):
        return slices.doubts(wishes, wanted) + found
    return _model_doubts(wishes, choice, wanted) + found + _prior_doubts(wishes, choice)


def _model_doubts(wishes: Wishes, choice: Choice, wanted: Target) -> list[str]:
    if choice.card is None:
        return []
    found = outside_scope(choice.card, grid_of(wishes.input_node), wanted)
    return found + unlike_training(choice.card, _appearance(wishes.input_node))


def _prior_doubts(wishes: Wishes, choice: Choice) -> list[str]:
    found = []
    prior = wishes.prior_node
    adapted = prior.GetAttribute(TUNED_MODEL) if prior is not None else None
    if choice.subject_tuned and adapted not in (None, choice.name):
        found.append(_("This model was adapted to another prior scan than the one selected."))
    kept = remembered_model(prior)
    if kept and kept != choice.name:
        found.append(
            _("A model adapted to this prior is there: choose '{name}' to use it again.").format(
                name=kept
            )
        )
    elif prior is not None and not wishes.finetune and choice.learned and not choice.subject_tuned:
        found.append(_("A prior is selected but fine-tuning is off: it only sets the voxel size."))
    return found


def describe(choice: Choice | None) -> str:
    """Text below the list of methods."""
    return "" if choice is None else f"{choice.sentence} {choice.needs}".strip()


def limits(choice: Choice | None) -> str:
    """What the model was trained for and what it has never seen."""
    return choice.card.limits if choice is not None and choice.card is not None else ""


def remembered_model(prior_node: Any) -> str:
    """Name of the installed model that was adapted to a prior; empty when there is none."""
    name = prior_node.GetAttribute(TUNED_MODEL) if prior_node is not None else None
    choice = choice_named(name) if name else None
    return choice.name if choice is not None else ""


def _missing_node(wishes: Wishes) -> str:
    if wishes.input_node is None:
        return _("Select an image to sharpen.")
    if wishes.finetune and wishes.prior_node is None:
        return _("Select a sharp prior scan of the subject, or switch fine-tuning off.")
    if wishes.target is TargetKind.LIKE and wishes.like_node is None:
        return _("Select the volume whose voxel grid is wanted, or choose another target.")
    for node, what in (
        (wishes.prior_node, _("prior")),
        (wishes.output_node, _("output volume")),
    ):
        if node is not None and node is wishes.input_node:
            return _("The {what} is the image itself: select another one.").format(what=what)
    stacks = wishes.stack_nodes if wishes.kind == FUSION else ()
    for node in (wishes.prior_node, wishes.reference_node, wishes.like_node, *stacks):
        if node is not None and node is wishes.output_node:
            return _("The output volume is one of the inputs: select another one.")
    return ""


def _labels(wishes: Wishes) -> str:
    """Labels are not sharpened."""
    for node in wishes.stacks if wishes.kind == FUSION else (wishes.input_node,):
        if labels.holds_labels(node):
            return labels.why_not_as_image(node)
    return ""


def _labels_preview(wishes: Wishes) -> str:
    try:
        grid = labels.target_grid(wishes)
    except BadInput:
        return ""
    return "" if grid is None else _size_text(grid, 1)


def _size_text(grid: Grid, frames: int) -> str:
    """A sentence about the size of the result."""
    size = " x ".join(str(n) for n in grid.stored_shape)
    gigabytes = 4 * frames * math.prod(grid.shape) / 1e9
    text = _("{size} voxels of {spacing} mm").format(size=size, spacing=slices.sizes(grid))
    if frames > 1:
        text = _("{frames} frames of {text}").format(frames=frames, text=text)
    if gigabytes >= 0.1:
        text = _("{text}, {gigabytes} GB").format(text=text, gigabytes=f"{gigabytes:.1f}")
    return _("Result: {text}.").format(text=text)


def _unusable_method(wishes: Wishes) -> str:
    choice = wishes.choice
    if choice is None:
        return _("The method '{name}' is not installed: choose another one.").format(
            name=wishes.method
        )
    if choice.needs:
        return choice.needs
    if wishes.finetune and choice.kind == FUSION:
        return _("The fusion of stacks is not fine-tuned: switch it off.")
    if wishes.finetune and not choice.learned:
        return _("An interpolation cannot be fine-tuned: choose a model, or switch it off.")
    return ""


def _bad_name(wishes: Wishes) -> str:
    """Why the tuned model cannot be kept under its name."""
    name = wishes.keep_model_as
    if not wishes.finetune or not name:
        return ""
    if any(letter in name for letter in '/\\:*?"<>|') or name.strip(". ") != name:
        return _("A model's name is letters, digits, spaces, - and _: change it.")
    other = choice_named(name)
    if other is not None and not other.subject_tuned:
        return _("There is a method called '{name}' already: choose another name.").format(
            name=name
        )
    return ""


def _bad_grid(wishes: Wishes) -> str:
    try:
        if wishes.kind == FUSION:
            return fuse.why_not(wishes)
        if wishes.kind == SLICES and (reason := slices.why_not(wishes)):
            return reason
        _plan(wishes)
    except BadInput as error:
        return f"{error.message} {error.hint or ''}".strip()
    return ""


def _plan(wishes: Wishes) -> Target | SlicePlan:
    """The grid that will come out.

    Raises:
        BadInput: impossible wishes.
    """
    if wishes.kind == SLICES:
        return slices.plan(wishes)
    node = wishes.input_node
    prior, like = wishes.prior_node, wishes.like_node
    return wishes.plan(
        grid_of(node, labels=False),
        None if prior is None else grid_of(prior, relative_to=node, labels=False),
        None if like is None else grid_of(like, relative_to=node),
    )


def target_of(wishes: Wishes) -> Target | SlicePlan | None:
    """The grid that will come out; None where it cannot be known yet."""
    if wishes.input_node is None or wishes.kind == FUSION or _missing_node(wishes):
        return None
    try:
        return _plan(wishes)
    except BadInput:
        return None


def _frames(wishes: Wishes) -> int:
    source = sequence_of(wishes.input_node) if wishes.all_frames else None
    return source.sequence.GetNumberOfDataNodes() if source else 1


def _appearance(node: Any) -> dict[str, float]:
    """Noise and contrast of the frame that is shown; remembered until its voxels change."""
    shown = _shown(node)
    image = shown.GetImageData() if shown is not None else None
    if image is None or image.GetNumberOfScalarComponents() != 1:
        return {}
    key = (shown.GetID(), image.GetAddressAsString(""), image.GetMTime())
    if key not in _looks:
        _looks.clear()
        voxels = slicer.util.arrayFromVolume(shown)
        _looks[key] = appearance(voxels) if np.isfinite(voxels).all() else {}
    return _looks[key]


def _shown(node: Any) -> Any:
    """The volume, or the first of a sequence; None where there is none."""
    if hasattr(node, "GetImageData"):
        return node
    first = node.GetNthDataNode(0) if node.GetNumberOfDataNodes() else None
    return first if hasattr(first, "GetImageData") else None


def _range(node: Any) -> tuple[float, float]:
    """Smallest and largest voxel of the frame that is shown; VTK remembers it."""
    shown = _shown(node)
    image = shown.GetImageData() if shown is not None else None
    return tuple(image.GetScalarRange()) if image is not None else (0.0, 0.0)
