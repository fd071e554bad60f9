"""One use of super-resolution from start to end: sharpen, then measure where there is a reference.

A session knows no widgets. It tells a :class:`View` what to show, so that a panel, a script and a
test follow a run in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from mriforge.errors import Cancelled, MRIForgeError
from MRIForgeLib.maps import EvaluateTask
from MRIForgeLib.run import Listener, Run, State
from MRIForgeLib.superres import summary
from MRIForgeLib.superres.task import SuperresTask
from MRIForgeLib.superres.wishes import Wishes

_MEASURING = 0.9
"""Fraction of the progress at which measuring against the reference begins."""


class View:
    """What a session tells; every method does nothing here. Times are in seconds."""

    def busy(self, running: bool, cancelling: bool) -> None:
        """The session started, is being cancelled, or ended."""

    def progress(self, fraction: float, text: str) -> None:
        """``fraction`` 0..1 of the whole session."""

    def metric(self, values: Mapping[str, Any]) -> None:
        """Live figures of the fine-tuning."""

    def log(self, text: str) -> None:
        """One sentence for the log."""

    def result(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """The sharpened image is in the scene."""

    def measured(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """The maps are in the scene."""

    def ended(self, error: MRIForgeError | None) -> None:
        """Nothing runs any more; ``error`` tells why there is less than was asked for."""


class Session:
    """Runs what ``wishes`` say and reports to ``view``.

    Attributes:
        nodes: ``result``, of a series ``sequence``, and where measured ``ssim``, ``difference``.
        figures: of the job; ``measured`` holds those against the reference.
        error: why it ended early.
    """

    def __init__(self, wishes: Wishes, view: View | None = None) -> None:
        self.wishes = wishes
        self.view = view or View()
        self.nodes: dict[str, Any] = {}
        self.figures: dict[str, Any] = {}
        self.error: MRIForgeError | None = None
        self._run: Run | None = None
        self._waiting = False

    @property
    def running(self) -> bool:
        """Whether something runs."""
        return self._run is not None

    def start(self) -> None:
        """Starts and returns at once; needs Qt's event loop.

        Raises:
            BadInput: the input cannot be used.
        """
        self._begin(SuperresTask(self.wishes), self._sharpened, 0.0)
        self._run.start()

    def execute(self) -> dict[str, Any]:
        """Runs to the end without the event loop; returns the nodes.

        Raises:
            MRIForgeError: what went wrong; nothing is left in the scene then, unless only the
                measuring failed.
        """
        self._waiting = True
        self._begin(SuperresTask(self.wishes), self._sharpened, 0.0)
        while self._run is not None:
            self._run.wait()
        return self.nodes

    def measure(self, result: Any) -> None:
        """Starts with the measuring, for a ``result`` that is in the scene already."""
        self.nodes = {"result": result}
        self._begin_measuring()
        if self._run is not None:
            self._run.start()

    def cancel(self) -> None:
        """Asks whatever runs to stop; the end is reported."""
        if self._run is not None:
            self.view.busy(True, True)
            self._run.cancel()

    def _begin(self, task: Any, finished: Any, start: float) -> None:
        stop = _MEASURING if self._measures and start < _MEASURING else 1.0
        self._run = Run(
            task,
            Listener(
                state=self._state,
                progress=lambda fraction, message, eta: self.view.progress(
                    start + (stop - start) * fraction,
                    summary.progress_text(fraction, message, eta),
                ),
                metric=self.view.metric,
                log=self.view.log,
                finished=finished,
                failed=self._failed,
            ),
        )

    @property
    def _measures(self) -> bool:
        return self.wishes.reference_node is not None

    def _state(self, state: State) -> None:
        if state in (State.PREPARING, State.RUNNING, State.COLLECTING):
            self.view.busy(True, False)

    def _sharpened(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        self.nodes, self.figures = dict(nodes), dict(figures)
        for sentence in summary.sentences(figures):
            self.view.log(sentence)
        self.view.result(self.nodes, self.figures)
        if not self._measures:
            self._end(None)
            return
        self._begin_measuring()
        if self._run is not None and not self._waiting:
            self._run.start()

    def _begin_measuring(self) -> None:
        reference, low = self.wishes.reference_node, self.wishes.input_node
        if reference.GetScene() is None:
            self.view.log(_("The reference is no longer in the scene: nothing is measured."))
            self._end(None)
            return
        others = {summary.INPUT: low} if low is not None and low.GetScene() is not None else {}
        task = EvaluateTask(self.nodes["result"], reference, others)
        self._begin(task, self._was_measured, _MEASURING if self.figures else 0.0)

    def _was_measured(self, nodes: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        self.nodes.update(nodes)
        self.figures["measured"] = dict(figures)
        self.view.log(summary.measured(figures))
        self.view.measured(self.nodes, figures)
        self._end(None)

    def _failed(self, error: MRIForgeError) -> None:
        """A result that could not be measured is still a result."""
        if self.nodes and not isinstance(error, Cancelled):
            self.view.log(_("The result could not be measured: {why}").format(why=error.one_line()))
        self._end(error)

    def _end(self, error: MRIForgeError | None) -> None:
        self._run = None
        self.error = error
        self.view.busy(False, False)
        self.view.ended(error)
