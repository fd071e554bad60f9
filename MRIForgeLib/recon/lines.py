"""A line through a reconstruction as a sequence of volumes: a cine, a breath, a recovery."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from mriforge.factors import AXES, Factors
from mriforge.volume import Grid, Series
from MRIForgeLib.nodes import grid_of
from MRIForgeLib.placing import Place, add_series_steps, remove_result
from MRIForgeLib.provenance import PREFIX
from MRIForgeLib.recon.frames import FACTORS, PART, POSITION, Frames, Position, part_of
from MRIForgeLib.tasks import in_background

LINE = PREFIX + "line"
"""Attribute of a sequence: axis, and every how manyth image."""


def axis_titles() -> dict[str, str]:
    """What each axis of the tensor is called."""
    return {
        "cardiac": _("cardiac phase"),
        "respiratory": _("respiratory phase"),
        "inversion": _("inversion time"),
    }


class LineTask:
    """Makes a sequence of all images along one axis; needs no worker.

    A task of :class:`MRIForgeLib.run.Run`; ``collect`` gives ``result`` (the proxy volume) and
    ``sequence``. The index is the inversion time in ms, or the number of the phase from 1.

    Args:
        frames: of the reconstruction.
        axis: one of :data:`mriforge.factors.AXES`.
        position: where on the other two axes.
        step: every how manyth image.
    """

    command = ""

    def __init__(self, frames: Frames, axis: str, position: Position, step: int = 1) -> None:
        if axis not in AXES:
            raise BadInput(f"'{axis}' is not an axis.", f"Choose one of {', '.join(AXES)}.")
        self.frames, self.axis, self.step = frames, axis, max(1, int(step))
        self.position = position.within(frames.factors.bins)
        self.place = Place.of(frames.node)
        self.grid = grid_of(frames.node)
        self.part = frames.part

    def export(self, folder: Path) -> Generator[None, None, dict[str, Any]]:
        """Nothing is needed."""
        yield from ()
        return {}

    def collect(self, folder: Path, result: Mapping[str, Any]) -> Generator[Any, None, dict]:
        """Computes the images and puts them into the scene."""
        series = yield from in_background(self._series, self.frames.factors, self.grid)
        name = self._name()
        steps = add_series_steps(series, self.place, name, self._attributes())
        sequence, proxy = yield from steps
        return {"result": proxy, "sequence": sequence}

    def discard(self, nodes: dict[str, Any]) -> None:
        """Takes the sequence out of the scene again."""
        remove_result(nodes)

    def _series(self, factors: Factors, grid: Grid) -> Series:
        others = {axis: self.position[axis] for axis in AXES}
        images = factors.line(self.axis, **others, step=self.step)
        if self.axis == "inversion":
            index, unit = 1000.0 * factors.inversion_times_s, "ms"
        else:
            index, unit = np.arange(1.0, factors.bins[AXES.index(self.axis)] + 1), ""
        title = axis_titles()[self.axis]
        return Series(part_of(images, self.part), grid, index[:: self.step], title, unit)

    def _name(self) -> str:
        fixed = ", ".join(
            f"{title} {self.position[axis] + 1}"
            for axis, title in axis_titles().items()
            if axis != self.axis
        )
        return _("{name}: {axis} ({fixed})").format(
            name=self.place.name, axis=axis_titles()[self.axis], fixed=fixed
        )

    def _attributes(self) -> dict[str, str]:
        node = self.frames.node
        names = [name for name in node.GetAttributeNames() if name.startswith(PREFIX)]
        found = {name: node.GetAttribute(name) for name in names}
        # These would make each frame look like a volume to browse.
        for name in (FACTORS, POSITION, PART):
            found.pop(name, None)
        return {
            **found,
            PREFIX + "input": self.place.name,
            LINE: f"{self.axis}, every {self.step}, from {self.position.text()}",
        }
