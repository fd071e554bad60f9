"""One volume from several stacks: the task, and what to tell the user before it runs."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from mriforge.interslice.wish import anisotropy, thickest_axis
from mriforge.superres.choices import FUSIONS
from mriforge.volume import Grid
from MRIForgeLib.display import style_residuals
from MRIForgeLib.exchange import receive, send
from MRIForgeLib.nodes import grid_of, snapshot_steps
from MRIForgeLib.placing import add_volume, provenance_attributes
from MRIForgeLib.superres.slices import sizes
from MRIForgeLib.superres.task import ImageTask
from MRIForgeLib.superres.wishes import TargetKind, Wishes

MOST_STACKS = 3
RESIDUALS = tuple(f"residual{number}" for number in range(1, MOST_STACKS + 1))
"""Roles of the residual maps, in the order of the stacks."""
_LEAST_ANISOTROPY = 1.3
"""As the job has it: slices this many times as far apart as the pixels are worth fusing."""
_PARALLEL = np.cos(np.radians(20.0))


class FuseTask(ImageTask):
    """Fuses the stacks of ``wishes``.

    ``collect`` gives ``result`` and, one for each stack that gave data, ``residual1``, ... on the
    stack's own grid: how far what the result predicts for the stack is from what was measured.

    All stacks are taken relative to the first: the result lies where that one lies.
    """

    command = "fuse"

    def __init__(self, wishes: Wishes) -> None:
        super().__init__(wishes)
        self.names = [node.GetName() for node in wishes.stacks]

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Writes the stacks into ``folder``; returns the options of the job."""
        wishes = self.wishes
        inputs = []
        for number, node in enumerate(wishes.stacks, start=1):
            stack = yield from snapshot_steps(node, relative_to=self.leader, all_frames=False)
            inputs.append((yield from send(stack, folder / f"stack{number}.npy")))
        options: dict[str, Any] = {
            "inputs": inputs,
            "output": str(folder / "output.npy"),
            "method": FUSIONS[wishes.method][2],
            "register": wishes.align,
            "slice_motion": wishes.slice_motion,
            "residuals": str(folder / "residuals"),
            "device": wishes.device.value,
        }
        if wishes.target_stack:
            options["target"] = wishes.target_stack
        if wishes.minutes is not None:
            options["max_minutes"] = wishes.minutes
        if wishes.thickness_mm > 0:
            options["slice_thickness"] = wishes.thickness_mm
        if wishes.target is TargetKind.LIKE:
            options["like"] = yield from self._like(folder)
        elif wishes.target is TargetKind.SPACING:
            options["spacing"] = wishes.spacing[0]
        return options

    def collect(
        self, folder: Path, result: dict[str, Any]
    ) -> Generator[None, None, dict[str, Any]]:
        """Puts the volume and the residual maps into the scene."""
        nodes = yield from super().collect(folder, result)
        yield dict(nodes)
        files = result.get("residuals") or ()
        first = self.wishes.target_stack or 1
        for number, file in enumerate(files, start=first):
            image = yield from receive(Path(file))
            name = self.names[number - 1]
            attributes = provenance_attributes(self.command, result, name)
            title = _("{name} residual").format(name=name)
            node = add_volume(image, self.place, title, attributes, same_look=False)
            nodes[RESIDUALS[number - 1]] = node
            yield dict(nodes)
        style_residuals([nodes[role] for role in RESIDUALS if role in nodes])
        return nodes

    def _name(self) -> str:
        return _("{input} fused").format(input=self.input_name)


def plan(wishes: Wishes) -> Grid:
    """The grid that will come out.

    Raises:
        BadInput: impossible wishes, or a stack that is no image.
    """
    from mriforge.fusion.geometry import target_grid

    grids = _grids(wishes)
    if wishes.target is TargetKind.LIKE:
        return grid_of(wishes.like_node, relative_to=wishes.input_node)
    size = wishes.spacing[0] if wishes.target is TargetKind.SPACING else None
    return target_grid(grids, size)


def why_not(wishes: Wishes) -> str:
    """Why the stacks cannot be fused, as one sentence that says what to do.

    Raises:
        BadInput: impossible wishes, or a stack that is no image.
    """
    stacks = wishes.stacks
    if len(stacks) < 2:
        return _("Select a second stack of the same subject, in another orientation.")
    if any(one is other for one, other in combinations(stacks, 2)):
        return _("The same stack is selected twice: select another one.")
    if wishes.target_stack > len(stacks):
        return _("There is no stack 3: select one, or choose the contrast of another stack.")
    if wishes.target is TargetKind.FACTOR:
        return _("The voxels of a fused volume are given by their size: choose another target.")
    for number, grid in enumerate(_grids(wishes), start=1):
        if anisotropy(grid) < _LEAST_ANISOTROPY:
            return _(
                "Stack {number} has no thick slices ({size} mm): fusion is for stacks of thick "
                "slices in different orientations."
            ).format(number=number, size=sizes(grid))
    if wishes.slice_motion and (wishes.target_stack or not wishes.align):
        return _(
            "Motion between slices is found against stacks of the same contrast that are aligned: "
            "switch it off, or choose the same contrast and the alignment."
        )
    if wishes.target_stack and FUSIONS[wishes.method][2] == "implicit":
        return _("The implicit network needs stacks of the same contrast: choose that.")
    plan(wishes)
    return ""


def doubts(wishes: Wishes) -> list[str]:
    """Sentences about what will probably disappoint."""
    found = []
    grids = _grids(wishes)
    normals = [grid.direction_matrix[:, thickest_axis(grid)] for grid in grids]
    for one, other in combinations(range(len(normals)), 2):
        if abs(float(normals[one] @ normals[other])) > _PARALLEL:
            found.append(
                _(
                    "Stacks {one} and {other} have nearly the same orientation: across their "
                    "slices they have little to tell each other."
                ).format(one=one + 1, other=other + 1)
            )
    return found


def sentences(figures: Mapping[str, Any]) -> list[str]:
    """What a finished fusion says: of each stack how it was moved and how well it is explained."""
    found = []
    for number, stack in enumerate(figures.get("stacks") or (), start=1):
        parts = []
        angle, shift = stack.get("rotation_deg"), stack.get("shift_mm")
        if number > 1 and None not in (angle, shift):
            parts.append(
                _("turned by {angle} degrees and shifted by {shift} mm").format(
                    angle=f"{angle:.2g}", shift=f"{shift:.2g}"
                )
            )
        # The job has no number where an image is flat: JSON knows no NaN.
        residual, correlation = stack.get("relative_residual"), stack.get("correlation")
        if residual is not None:
            parts.append(
                _("residual {percent} %, correlation {correlation}").format(
                    percent=f"{100 * residual:.3g}",
                    correlation="-" if correlation is None else f"{correlation:.3f}",
                )
            )
        if parts:
            text = _("Stack {number}: {what}.")
            found.append(text.format(number=number, what="; ".join(parts)))
    return found


def _grids(wishes: Wishes) -> list[Grid]:
    node = wishes.input_node
    return [grid_of(stack, relative_to=node, labels=False) for stack in wishes.stacks]
