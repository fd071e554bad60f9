"""A reconstruction from start to end: simulate where there is no file, reconstruct, or open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from mriforge.errors import MRIForgeError
from MRIForgeLib.recon import summary
from MRIForgeLib.recon.tasks import OpenTask, ReconTask, SimulateTask
from MRIForgeLib.recon.wishes import ReconWishes, Source
from MRIForgeLib.view import Session, View

_SIMULATED = 0.2
"""Fraction of the progress at which a subject has been simulated."""


class ReconSession(Session):
    """Does what ``wishes`` say and reports to ``view``.

    ``nodes`` are ``frames``, where there are any the maps ``t1`` and ``t1_quality``, and of a
    simulated subject ``true_t1`` and ``tissues``; ``files`` are where the results are kept. A
    session that ends early leaves neither.
    """

    def __init__(self, wishes: ReconWishes, view: View | None = None) -> None:
        super().__init__(view)
        self.wishes = wishes
        self.files: dict[str, Path] = {}
        self._simulation: SimulateTask | None = None
        self._task: ReconTask | OpenTask | None = None

    def _first(self) -> None:
        wishes = self.wishes
        if wishes.source is Source.SIMULATED:
            self._simulation = SimulateTask(wishes)
            self._begin(self._simulation, self._simulated, 0.0, _SIMULATED)
        elif wishes.source is Source.FACTORS:
            self._task = OpenTask(Path(wishes.factors_file))
            self._begin(self._task, self._done)
        else:
            self._reconstruct(Path(wishes.raw_file), 0.0)

    def _simulated(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        self.nodes = dict(nodes)
        raw = self._simulation.raw
        self._tell("log", _("The raw data are kept in {path}.").format(path=raw))
        self._reconstruct(raw, _SIMULATED)

    def _reconstruct(self, raw: Path, start: float) -> None:
        self._task = ReconTask(self.wishes, raw)
        self._begin(self._task, self._done, start)

    def _done(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        self.nodes.update(nodes)
        self.figures = dict(figures)
        self.files = dict(self._task.files)
        for sentence in summary.sentences(figures, self.files):
            self._tell("log", sentence)
        self._tell("result", self.nodes, self.figures)
        self._end(None)

    def _end(self, error: MRIForgeError | None) -> None:
        if error is not None and self._simulation is not None:
            self._simulation.discard(self.nodes)
            self.nodes = {}
        super()._end(error)
