"""A segmentation, and the fine-tuning of a model, from start to end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from MRIForgeLib import view
from MRIForgeLib.segment import advice, pace, summary
from MRIForgeLib.segment.measures import OrganMeasure
from MRIForgeLib.segment.task import SegmentTask
from MRIForgeLib.segment.tuning import TuneTask, TuneWishes
from MRIForgeLib.segment.wishes import Wishes


class Session(view.Session):
    """Does what ``wishes`` say and reports to ``view``.

    ``nodes`` are ``segmentation`` (of a series the proxy), of a series ``sequence``, where the
    views can disagree ``disagreement`` and of a series ``disagreement_sequence``, and ``table``.

    Attributes:
        measures: volumes of the organs, for each frame.
        index: of a series the index of each frame, as text.
    """

    def __init__(self, wishes: Wishes, view: view.View | None = None) -> None:
        super().__init__(view)
        self.wishes = wishes
        self.measures: list[list[OrganMeasure]] = []
        self.index: list[str] = []
        self._task: SegmentTask | None = None

    def _first(self) -> None:
        self._task = SegmentTask(self.wishes)
        self._begin(self._task, self._done)

    def _done(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        self.nodes, self.figures = dict(nodes), dict(figures)
        self._remember_pace()
        self.measures, self.index = self._task.measures, self._task.index
        for sentence in summary.sentences(self.figures, self.measures):
            self._tell("log", sentence)
        self._tell("result", self.nodes, self.figures)
        self._end(None)

    def _remember_pace(self) -> None:
        """For the next estimate; the worker's time counts, not that of the scene."""
        seconds, card = self.figures.get("seconds"), advice.card_of(self.wishes.model)
        if isinstance(seconds, int | float) and card is not None and self._task.grid is not None:
            wishes = self.wishes
            done = pace.work(card, self._task.grid, len(wishes.views), self._task.frames)
            pace.remember(wishes.device.value, done, seconds)


class TuneSession(view.Session):
    """Fine-tunes a model as ``wishes`` say; the new model is among the user's when it ends well.

    There are no ``nodes``. ``figures`` are those of the command ``train``; while it runs, the
    view's ``metric`` gets loss and Dice.

    Attributes:
        model: name of the new model, when done.
    """

    def __init__(self, wishes: TuneWishes, view: view.View | None = None) -> None:
        super().__init__(view)
        self.wishes = wishes
        self.model = ""
        self._task: TuneTask | None = None

    def _first(self) -> None:
        self._task = TuneTask(self.wishes)
        self._begin(self._task, self._done)

    def _done(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        self.nodes, self.figures = {}, dict(figures)
        self.model = self._task.model.name
        for sentence in summary.tuned(self.figures, self.model):
            self._tell("log", sentence)
        self._tell("result", self.nodes, self.figures)
        self._end(None)
