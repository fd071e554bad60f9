"""Super-resolution as a task of :class:`MRIForgeLib.run.Run`: nodes out, job, nodes in."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from mriforge.models.store import user_folder
from mriforge.volume import Grid, Image, Volume
from MRIForgeLib.dicom_header import slice_thickness_mm
from MRIForgeLib.exchange import receive, send
from MRIForgeLib.nodes import grid_of, snapshot_steps
from MRIForgeLib.placing import Place, add_result_steps, provenance_attributes, remove_result
from MRIForgeLib.superres.uncertainty import add_uncertainty_steps
from MRIForgeLib.superres.wishes import TargetKind, Wishes

TUNED_MODEL = "MRIForge.tunedModel"
"""Attribute of a prior: name of the model that was adapted to it."""


class ImageTask:
    """What all kinds of super-resolution have in common: gives ``result`` and, of a series,
    ``sequence``.

    Grids of other nodes are taken relative to one node, the input or another ``leader``, so that
    transforms which they share do not matter and the result lies where that node lies.
    """

    command = "superres"

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes
        self.leader = wishes.input_node
        self.place = Place.of(self.leader)
        self.input_name = wishes.input_node.GetName()

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Writes the images into ``folder``; returns the options of the job."""
        wishes = self.wishes
        image = yield from snapshot_steps(wishes.input_node, all_frames=wishes.all_frames)
        thickness = slice_thickness_mm(wishes.input_node)
        if thickness is not None:
            image = image.with_array(image.array, slice_thickness_mm=thickness)
        options: dict[str, Any] = {
            "input": (yield from send(image, folder / "input.npy")),
            "output": str(folder / "output.npy"),
            "model": wishes.method,
            "consistency": wishes.consistency,
            "gate": wishes.gate,
            "device": wishes.device.value,
        }
        if wishes.target is TargetKind.LIKE:
            options["like"] = yield from self._like(folder)
        options.update((yield from self._special(image, folder)))
        if wishes.uncertainty:
            options["uncertainty"] = str(folder / "uncertainty.npy")
        return options

    def collect(
        self, folder: Path, result: dict[str, Any]
    ) -> Generator[None, None, dict[str, Any]]:
        """Puts the result into the scene, beside the input."""
        image = yield from receive(Path(result["output"]))
        attributes = provenance_attributes(self.command, result, self.input_name)
        output = self.wishes.output_node
        name = self._name()
        nodes = yield from add_result_steps(image, self.place, name, attributes, output)
        if result.get("uncertainty"):
            yield dict(nodes)
            half = yield from receive(Path(result["uncertainty"]))
            made = add_uncertainty_steps(half, self.place, nodes["result"], attributes)
            nodes.update((yield from made))
        return nodes

    def discard(self, nodes: dict[str, Any]) -> None:
        """Takes a result out of the scene again."""
        remove_result(nodes)

    def _name(self) -> str:
        """Name of the result."""
        return _("{input} sharpened").format(input=self.input_name)

    def _special(self, image: Image, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Further options of a kind; none here."""
        yield from ()
        return {}

    def _like(self, folder: Path) -> Generator[None, None, str]:
        grid = grid_of(self.wishes.like_node, relative_to=self.leader)
        return (yield from send_grid(grid, folder / "like.npy"))

    def _learning(self) -> dict[str, Any]:
        """Options that say how long to learn."""
        wishes = self.wishes
        limits = {"max_minutes": wishes.minutes, "epochs": wishes.epochs, "steps": wishes.steps}
        return {name: limit for name, limit in limits.items() if limit is not None}


class SuperresTask(ImageTask):
    """Sharpens the input of ``wishes`` in plane, with a model that may be adapted to a prior."""

    def _special(self, image: Image, folder: Path) -> Generator[None, None, dict[str, Any]]:
        wishes, options = self.wishes, {}
        if wishes.prior_node is not None:
            prior = yield from snapshot_steps(
                wishes.prior_node, relative_to=wishes.input_node, all_frames=False
            )
            options["prior"] = yield from send(prior, folder / "prior.npy")
            options["register"] = wishes.register
        if wishes.memory_gib > 0:
            options["memory"] = wishes.memory_gib
        if (spacing := wishes.wanted_spacing(image.grid)) is not None:
            options["spacing"] = spacing
        if wishes.finetune:
            options.update(finetune=True, **self._learning())
            if wishes.keep_model_as:
                options["save_model"] = str(user_folder() / wishes.keep_model_as)
        return options

    def collect(
        self, folder: Path, result: dict[str, Any]
    ) -> Generator[None, None, dict[str, Any]]:
        """Puts the result into the scene; a prior remembers the model that was kept for it."""
        nodes = yield from super().collect(folder, result)
        prior = self.wishes.prior_node
        if result.get("model") and prior is not None and prior.GetScene() is not None:
            prior.SetAttribute(TUNED_MODEL, Path(result["model"]).name)
        return nodes


def send_grid(grid: Grid, path: Path) -> Generator[None, None, str]:
    """Writes an empty image on ``grid`` to ``path``; returns the path as text."""
    return (yield from send(Volume(np.zeros(grid.shape, np.uint8), grid), path))
