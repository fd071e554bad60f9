"""Segmentation as a task of :class:`MRIForgeLib.run.Run`: image out, job, segments in."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from mriforge.volume import Grid, Image, Series, as_series
from MRIForgeLib.exchange import receive, send
from MRIForgeLib.nodes import snapshot_steps
from MRIForgeLib.placing import Place, provenance_attributes, remove_result
from MRIForgeLib.segment.measures import OrganMeasure, measure
from MRIForgeLib.segment.tables import add_volume_table
from MRIForgeLib.segment.uncertainty import add_disagreement_steps
from MRIForgeLib.segment.wishes import Wishes
from MRIForgeLib.segmentations import add_segmentation, add_segmentation_steps
from MRIForgeLib.surfaces import surface_steps
from MRIForgeLib.tasks import in_background

Nodes = dict[str, Any]


class SegmentTask:
    """Outlines organs in the input of ``wishes``.

    ``collect`` gives ``segmentation`` (of a series the proxy), of a series ``sequence``, where
    views can disagree ``disagreement`` (and ``disagreement_sequence``), and ``table``.

    Attributes:
        measures: of each frame, when done.
        index: of a series the index of each frame, as text, when done.
        grid, frames: of what was outlined, when exported.
    """

    command = "segment"

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes
        self.place = Place.of(wishes.input_node)
        self.measures: list[list[OrganMeasure]] = []
        self.index: list[str] = []
        self.grid: Grid | None = None
        self.frames = 0

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Writes the image into ``folder``; returns the options of the job."""
        wishes = self.wishes
        image = yield from snapshot_steps(wishes.input_node, all_frames=wishes.all_frames)
        self.grid, self.frames = image.grid, len(as_series(image))
        options = {
            "input": (yield from send(image, folder / "input.npy")),
            "output": str(folder / "labels.npy"),
            **wishes.options(),
        }
        if wishes.has_map:
            options["disagreement"] = str(folder / "disagreement.npy")
        return options

    def collect(self, folder: Path, result: dict[str, Any]) -> Generator[Any, None, Nodes]:
        """Puts segments, map and table into the scene, beside the input."""
        labels = yield from receive(Path(result["output"]))
        disagreement = None
        if result.get("disagreement"):
            disagreement = yield from receive(Path(result["disagreement"]))
        self.measures = yield from in_background(_measures, labels, disagreement)
        attributes = provenance_attributes(self.command, result, self.place.name)
        nodes: Nodes = {}
        yield from self._segments(labels, attributes, nodes)
        yield dict(nodes)
        if disagreement is not None:
            nodes.update((yield from add_disagreement_steps(disagreement, self.place, attributes)))
            yield dict(nodes)
        axis = self.place.axis_for(labels) if isinstance(labels, Series) else None
        self.index = list(axis.values) if axis is not None else []
        nodes["table"] = add_volume_table(self.measures, self.place, attributes, axis)
        return nodes

    def discard(self, nodes: Nodes) -> None:
        """Takes everything out of the scene again."""
        remove_result(nodes)

    def _segments(
        self, labels: Image, attributes: Mapping[str, str], nodes: Nodes
    ) -> Generator[Any, None, None]:
        name = _("{input} organs").format(input=self.place.name)
        if isinstance(labels, Series):
            made = yield from add_segmentation_steps(labels, self.place, name, attributes)
            nodes["sequence"], nodes["segmentation"] = made
            return
        node = nodes["segmentation"] = add_segmentation(labels, self.place, name, attributes)
        yield dict(nodes)
        if self.wishes.surfaces:
            yield from surface_steps(node)


def _measures(labels: Image, disagreement: Image | None) -> list[list[OrganMeasure]]:
    frames = as_series(labels)
    maps = [None] * len(frames) if disagreement is None else as_series(disagreement).array
    return [
        measure(array, frames.grid, values)
        for array, values in zip(frames.array, maps, strict=True)
    ]
