"""Super-resolution from start to end: sharpen, then measure where there is a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from mriforge.errors import Cancelled, MRIForgeError
from mriforge.superres.choices import FUSION, SLICES
from MRIForgeLib.maps import EvaluateTask
from MRIForgeLib.superres import summary
from MRIForgeLib.superres.fuse import RESIDUALS, FuseTask
from MRIForgeLib.superres.slices import SlicesTask
from MRIForgeLib.superres.task import ImageTask, SuperresTask
from MRIForgeLib.superres.wishes import Wishes
from MRIForgeLib.view import Session, View

_MEASURING = 0.9
"""Fraction of the progress at which measuring against the reference begins."""


def task_for(wishes: Wishes) -> ImageTask:
    """The task that does what ``wishes`` say, by the kind of their method."""
    return {SLICES: SlicesTask, FUSION: FuseTask}.get(wishes.kind, SuperresTask)(wishes)


class SuperresSession(Session):
    """Runs what ``wishes`` say and reports to ``view``.

    ``nodes`` are ``result``, of a series ``sequence``, of a fusion ``residual1``, ``residual2``,
    ..., and where measured ``ssim`` and ``difference``; ``figures`` are those of the job, with
    those against the reference under ``measured``. If only the measuring fails, the result stays.
    """

    def __init__(self, wishes: Wishes, view: View | None = None) -> None:
        super().__init__(view)
        self.wishes = wishes

    def _first(self) -> None:
        stop = 1.0 if self.wishes.reference_node is None else _MEASURING
        self._begin(task_for(self.wishes), self._sharpened, 0.0, stop)

    def _sharpened(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        self.nodes, self.figures = dict(nodes), dict(figures)
        for sentence in summary.sentences(figures):
            self._tell("log", sentence)
        self._tell("result", self.nodes, self.figures)
        reference, low = self.wishes.reference_node, self.wishes.input_node
        if reference is None:
            self._end(None)
        elif reference.GetScene() is None:
            self._tell("log", _("The reference is no longer in the scene: nothing is measured."))
            self._end(None)
        else:
            others = {} if low.GetScene() is None else {summary.INPUT: low}
            task = EvaluateTask(self.nodes["result"], reference, others)
            self._begin(task, self._was_measured, _MEASURING)

    def _was_measured(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        self.nodes.update(nodes)
        self.figures["measured"] = dict(figures)
        self._tell("log", summary.measured(figures))
        self._tell("measured", self.nodes, figures)
        self._end(None)

    def _end(self, error: MRIForgeError | None) -> None:
        if error is not None and self.nodes and not isinstance(error, Cancelled):
            text = _("The result could not be measured: {why}").format(why=error.one_line())
            self._tell("log", text)
        super()._end(error)


def compared(wishes: Wishes, nodes: Mapping[str, Any]) -> dict[str, Any]:
    """The volumes of a session by their role in :class:`MRIForgeLib.comparison.Comparison`."""
    if wishes.kind == FUSION:
        roles = ("result", *RESIDUALS)
        first, *others = wishes.stacks
        stacks = {f"stack{number}": node for number, node in enumerate(others, start=2)}
        found = {"low": first, **stacks}
    else:
        roles = ("result", "ssim", "difference")
        found = {"low": wishes.input_node}
    return {
        **found,
        "reference": wishes.reference_node,
        **{role: nodes.get(role) for role in roles},
    }
