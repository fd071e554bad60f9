"""A coarse copy of an image, as a shorter scan would have given it, to try a method on."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from MRIForgeLib.exchange import receive, send
from MRIForgeLib.nodes import snapshot_steps
from MRIForgeLib.placing import Place, add_result_steps, provenance_attributes, remove_result


class CoarseTask:
    """Keeps the centre of in-plane k-space, or makes thick slices.

    A task of :class:`MRIForgeLib.run.Run`.

    ``collect`` gives ``result`` and, of a series, ``sequence``.

    Args:
        node: volume, sequence or its proxy.
        keep: fraction of k-space, above 0 and at most 1.
        all_frames: of a sequence; otherwise the frame that is shown.
        thickness: of slices along the third axis, in mm; None: they stay as they are.
    """

    command = "degrade"

    def __init__(
        self, node: Any, keep: float, all_frames: bool = True, thickness: float | None = None
    ) -> None:
        self.node, self.keep, self.all_frames = node, keep, all_frames
        self.thickness = thickness
        self.place = Place.of(node)

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Writes the image into ``folder``; returns the options of the job."""
        image = yield from snapshot_steps(self.node, all_frames=self.all_frames)
        options = {
            "input": (yield from send(image, folder / "input.npy")),
            "output": str(folder / "output.npy"),
        }
        if self.thickness:
            return {**options, "slice_thickness": self.thickness, "axis": 2}
        return {**options, "keep": self.keep, "axes": (0, 1)}

    def collect(self, folder: Path, result: dict[str, Any]) -> Generator[Any, None, dict[str, Any]]:
        """Puts the coarse image into the scene, beside its original."""
        image = yield from receive(Path(result["output"]))
        title = _("{input} thick slices") if self.thickness else _("{input} coarse")
        name = title.format(input=self.place.name)
        attributes = provenance_attributes(self.command, result, self.place.name)
        return (yield from add_result_steps(image, self.place, name, attributes))

    def discard(self, nodes: dict[str, Any]) -> None:
        """Takes the coarse image out of the scene again."""
        remove_result(nodes)
