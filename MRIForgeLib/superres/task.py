"""Super-resolution as a task of :class:`MRIForgeLib.run.Run`: nodes out, job, nodes in."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from mriforge.models.store import user_folder
from mriforge.volume import Volume
from MRIForgeLib.exchange import receive, send
from MRIForgeLib.nodes import grid_of, snapshot_steps
from MRIForgeLib.placing import Place, add_result_steps, provenance_attributes, remove_result
from MRIForgeLib.superres.wishes import TargetKind, Wishes

TUNED_MODEL = "MRIForge.tunedModel"
"""Attribute of a prior: name of the model that was adapted to it."""


class SuperresTask:
    """Sharpens the input of ``wishes``; gives the node ``result`` and, of a series, ``sequence``.

    The grids of the prior and of the volume to be like are taken relative to the input, so that
    transforms which they share do not matter and the result lies where the input lies.
    """

    command = "superres"

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes
        self.place = Place.of(wishes.input_node)
        self.input_name = wishes.input_node.GetName()

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Writes the images into ``folder``; returns the options of the job."""
        wishes, node = self.wishes, self.wishes.input_node
        image = yield from snapshot_steps(node, all_frames=wishes.all_frames)
        options: dict[str, Any] = {
            "input": (yield from send(image, folder / "input.npy")),
            "output": str(folder / "output.npy"),
            "model": wishes.method,
            "consistency": wishes.consistency,
            "gate": wishes.gate,
            "device": wishes.device.value,
        }
        if wishes.memory_gib > 0:
            options["memory"] = wishes.memory_gib
        if wishes.prior_node is not None:
            prior = yield from snapshot_steps(wishes.prior_node, relative_to=node, all_frames=False)
            options["prior"] = yield from send(prior, folder / "prior.npy")
            options["register"] = wishes.register
        if wishes.target is TargetKind.LIKE:
            grid = grid_of(wishes.like_node, relative_to=node)
            place = Volume(np.zeros(grid.shape, np.uint8), grid)
            options["like"] = yield from send(place, folder / "like.npy")
        elif (spacing := wishes.wanted_spacing(image.grid)) is not None:
            options["spacing"] = spacing
        options.update(self._tuning())
        return options

    def _tuning(self) -> dict[str, Any]:
        wishes = self.wishes
        if not wishes.finetune:
            return {}
        options: dict[str, Any] = {"finetune": True}
        limits = {"max_minutes": wishes.minutes, "epochs": wishes.epochs, "steps": wishes.steps}
        options.update({name: limit for name, limit in limits.items() if limit is not None})
        if wishes.keep_model_as:
            options["save_model"] = str(user_folder() / wishes.keep_model_as)
        return options

    def collect(
        self, folder: Path, result: dict[str, Any]
    ) -> Generator[None, None, dict[str, Any]]:
        """Puts the result into the scene, beside the input."""
        image = yield from receive(Path(result["output"]))
        name = _("{input} sharpened").format(input=self.input_name)
        attributes = provenance_attributes(self.command, result, self.input_name)
        output = self.wishes.output_node
        nodes = yield from add_result_steps(image, self.place, name, attributes, output)
        prior = self.wishes.prior_node
        if result.get("model") and prior is not None and prior.GetScene() is not None:
            prior.SetAttribute(TUNED_MODEL, Path(result["model"]).name)
        return nodes

    def discard(self, nodes: dict[str, Any]) -> None:
        """Takes a result out of the scene again."""
        remove_result(nodes)
