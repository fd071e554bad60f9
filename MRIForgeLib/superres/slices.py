"""Thick slices: the task, and what to tell the user before it runs."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from mriforge.errors import BadInput
from mriforge.interslice.wish import SlicePlan, anisotropy, is_thick, thickest_axis
from mriforge.superres.choices import DEFAULT_MODEL, DEFAULT_SLICES, INPLANE, SLICES, Choice
from mriforge.volume import Grid, Image
from MRIForgeLib.nodes import grid_of, sequence_of
from MRIForgeLib.superres.task import ImageTask
from MRIForgeLib.superres.wishes import Merge, Profile, TargetKind, Wishes

FEW_SLICES = 8
"""With fewer, little can be learned and hardly anything checked."""
MANY_TIMES = 8.0
"""Published results end at about this factor."""
AS_LARGE = 1.05
"""Slices that are this little farther apart than the pixels are as close together."""


class SlicesTask(ImageTask):
    """Makes the slices of the input of ``wishes`` finer; learns from the image itself."""

    def _name(self) -> str:
        return _("{input} fine slices").format(input=self.input_name)

    def _special(self, image: Image, folder: Path) -> Generator[None, None, dict[str, Any]]:
        yield from ()  # a generator, as that of other kinds
        wishes = self.wishes
        options = {
            "self_supervised": True,
            "profile": getattr(wishes.profile, "value", wishes.profile),
            **wishes.slice_target(image.grid),
            **self._learning(),
        }
        if wishes.merge is not Merge.AUTO:
            options["merge"] = wishes.merge.value
        if wishes.thickness_mm > 0:
            options["slice_thickness"] = wishes.thickness_mm
        return options


def plan(wishes: Wishes) -> SlicePlan:
    """The grid that will come out.

    Raises:
        BadInput: impossible wishes, or no image.
    """
    node = wishes.input_node
    like = None if wishes.like_node is None else grid_of(wishes.like_node, relative_to=node)
    return wishes.slice_plan(grid_of(node, labels=False), like)


def why_not(wishes: Wishes) -> str:
    """Why a method for thick slices makes no sense, beyond what the plan itself refuses."""
    if wishes.finetune or wishes.prior_node is not None:
        return _("Thick slices are learned from the image itself: leave out the prior.")
    low = grid_of(wishes.input_node, labels=False)
    alike = anisotropy(low) < AS_LARGE and wishes.slice_axis is None
    if alike and wishes.target is TargetKind.AUTOMATIC:
        return _(
            "The slices are as close together as the pixels ({size} mm): there is nothing to make "
            "finer across them. Choose a method that sharpens in plane."
        ).format(size=sizes(low))
    return ""


def preview(wanted: SlicePlan) -> str:
    """What the plan does, after the sentence about its size."""
    return _("Slices become {factor} times finer: {before} to {after} mm apart.").format(
        factor=f"{wanted.factor:.3g}",
        before=f"{wanted.low.spacing[wanted.axis]:.3g}",
        after=f"{wanted.working.spacing[wanted.axis]:.3g}",
    )


def doubts(wishes: Wishes, wanted: SlicePlan) -> list[str]:
    """Sentences about what will probably disappoint."""
    found = []
    low = wanted.low
    count = low.stored_shape[wanted.axis]
    if count < FEW_SLICES:
        found.append(_("There are only {count} slices: little to learn from.").format(count=count))
    if wanted.factor > MANY_TIMES:
        found.append(
            _("{factor} times is a lot: most of what lies between the slices is guessed.").format(
                factor=f"{wanted.factor:.3g}"
            )
        )
    thickness, distance = wishes.thickness_mm, low.spacing[wanted.axis]
    if thickness > 2 * distance:
        found.append(
            _(
                "Slices of {thickness} mm at a distance of {distance} mm overlap by more than half."
            ).format(thickness=f"{thickness:.3g}", distance=f"{distance:.3g}")
        )
    if wishes.profile is Profile.ESTIMATE and thickness > 0:
        found.append(_("The slice thickness is not used: the profile is estimated."))
    return found


def note(wishes: Wishes, choice: Choice | None) -> str:
    """Why the method is the right one, or another one may be; empty where nothing is to say."""
    grid = _grid(wishes.input_node)
    if grid is None or choice is None or not is_thick(grid):
        return ""
    axis = thickest_axis(grid)
    pixel = max(grid.spacing[a] for a in range(3) if a != axis)
    apart = _("Slices are {slices} mm apart, pixels {pixel} mm").format(
        slices=f"{grid.spacing[axis]:.3g}", pixel=f"{pixel:.3g}"
    )
    if choice.kind == SLICES:
        return _("{apart}: what lies between the slices is made finer.").format(apart=apart)
    if choice.kind == INPLANE:
        return _(
            "{apart}: this method sharpens within the slices; those for thick slices are in the "
            "list too."
        ).format(apart=apart)
    return ""


def suggested_method(node: Any, current: Choice | None) -> str:
    """The method for a newly chosen input.

    Stacks of thick slices get the one for thick slices, unless it is a time series, which are
    mostly sharpened with a prior. A method of the right kind, and a fusion, stays.
    """
    kind = INPLANE if current is None else current.kind
    grid = _grid(node)
    thick = grid is not None and is_thick(grid) and sequence_of(node) is None
    if kind == INPLANE and thick:
        return DEFAULT_SLICES
    if kind == SLICES and not thick and grid is not None:
        return DEFAULT_MODEL
    return DEFAULT_MODEL if current is None else current.name


def sizes(grid: Grid) -> str:
    """Voxel sizes as text."""
    return " x ".join(f"{size:.3g}" for size in grid.spacing)


def _grid(node: Any) -> Grid | None:
    """The grid of an image; None where it is none."""
    try:
        return None if node is None else grid_of(node, labels=False)
    except BadInput:
        return None
