"""SSIM and difference maps of two volumes or series, as nodes beside the judged one."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from mriforge.volume import Image, Series
from MRIForgeLib.display import style_difference, style_ssim
from MRIForgeLib.exchange import receive, send
from MRIForgeLib.nodes import snapshot_steps
from MRIForgeLib.placing import (
    Place,
    add_series_steps,
    add_volume,
    provenance_attributes,
    remove_result,
)
from MRIForgeLib.sequences import sequence_of

MAP_ROLE = "MRIForge.map"
"""Attribute of a map: "ssim" or "difference"."""

_FILES = {"ssim": "ssim_map", "difference": "difference_map"}


class EvaluateTask:
    """Judges a volume or series against a reference, as a task of :class:`MRIForgeLib.run.Run`.

    ``collect`` gives the nodes "ssim" and "difference" (of a series their proxy volumes) and
    "ssim_sequence" and "difference_sequence" where there are any. The figures are the job's
    result: :meth:`MRIForgeLib.comparison.Comparison.metrics_table` shows them.

    Two series are compared frame by frame. A series and a volume cannot be: then the frame counts
    that is shown.

    Args:
        node: what to judge.
        reference: what it should look like; need not be on the same grid.
        others: further images to judge, by name (the roles of a comparison, or titles).
        mask: where to compare; default: everywhere.
    """

    command = "evaluate"

    def __init__(
        self,
        node: slicer.vtkMRMLNode,
        reference: slicer.vtkMRMLNode,
        others: Mapping[str, slicer.vtkMRMLNode] | None = None,
        mask: slicer.vtkMRMLNode | None = None,
    ) -> None:
        self.node, self.reference = node, reference
        self.others, self.mask = dict(others or {}), mask
        self.place = Place.of(node)
        self.name = node.GetName()

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Writes the images into ``folder``; returns the options of the job.

        Everything is taken relative to the judged node, so that the maps lie where it lies.

        Raises:
            BadInput: an image cannot be taken out of the scene.
        """
        judged = {"input": self.node, "reference": self.reference}
        frames = all(_is_series(node) for node in (*judged.values(), *self.others.values()))
        options: dict[str, Any] = {"resample": True}
        for key, node in judged.items():
            options[key] = yield from self._send(node, folder / f"{key}.npy", frames)
        if self.others:
            options["compare"] = {}
            for number, (name, node) in enumerate(self.others.items()):
                path = folder / f"other-{number}.npy"
                options["compare"][name] = yield from self._send(node, path, frames)
        if self.mask is not None:
            path = folder / "mask.npy"
            options["mask"] = yield from self._send(self.mask, path, False, labels=True)
        for key in _FILES.values():
            options[key] = str(folder / f"{key}.npy")
        return options

    def collect(
        self, folder: Path, result: Mapping[str, Any]
    ) -> Generator[Any, None, dict[str, slicer.vtkMRMLNode]]:
        """Puts the maps into the scene, beside what was judged."""
        return (yield from add_maps_steps(result, self.place, self.name))

    def discard(self, nodes: Mapping[str, Any]) -> None:
        """Takes the maps out of the scene again."""
        remove_result(nodes)

    def _send(
        self, node: slicer.vtkMRMLNode, path: Path, frames: bool, labels: bool = False
    ) -> Generator[None, None, str]:
        image = yield from snapshot_steps(
            node, relative_to=self.node, all_frames=frames, labels=labels
        )
        return (yield from send(image, path))


def add_maps_steps(
    result: Mapping[str, Any], place: Place, name: str
) -> Generator[Any, None, dict[str, slicer.vtkMRMLNode]]:
    """The maps that the ``evaluate`` job wrote, as nodes with their colors.

    Yields the nodes made so far, as :class:`MRIForgeLib.tasks.Task` has it.

    Args:
        result: of the job; ``ssim_map`` and ``difference_map`` are files, both may be missing.
        place: of what was judged.
        name: of what was judged.

    Raises:
        BadInput: a file is damaged.
    """
    titles = {
        "ssim": _("{name} SSIM map").format(name=name),
        "difference": _("{name} difference").format(name=name),
    }
    nodes: dict[str, slicer.vtkMRMLNode] = {}
    for role, key in _FILES.items():
        if not result.get(key):
            continue
        image = yield from receive(Path(result[key]))
        attributes = {**provenance_attributes("evaluate", result, name), MAP_ROLE: role}
        if isinstance(image, Series):
            sequence, node = yield from add_series_steps(image, place, titles[role], attributes)
            nodes[f"{role}_sequence"] = sequence
        else:
            node = add_volume(image, place, titles[role], attributes, same_look=False)
        nodes[role] = node
        style = style_ssim if role == "ssim" else style_difference
        style(node)
        yield dict(nodes)
    return nodes


def add_map_steps(
    image: Image, place: Place, name: str, role: str, attributes: Mapping[str, str]
) -> Generator[Any, None, dict[str, slicer.vtkMRMLNode]]:
    """A map as nodes beside its input, not styled yet.

    Args:
        role: of the map; nodes carry it, and the result is called after it.
        attributes: of the run.

    Returns:
        ``role`` (of a series its proxy volume), and of a series ``role_sequence``.
    """
    attributes = {**attributes, MAP_ROLE: role}
    if not isinstance(image, Series):
        return {role: add_volume(image, place, name, attributes, same_look=False)}
    made = yield from add_series_steps(image, place, name, attributes, same_look=False)
    return dict(zip((f"{role}_sequence", role), made, strict=True))


def _is_series(node: slicer.vtkMRMLNode) -> bool:
    source = sequence_of(node)
    return source is not None and source.sequence.GetNumberOfDataNodes() > 1
