"""Apply, Cancel, progress, live chart and log of a panel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from mriforge.errors import Cancelled, MRIForgeError
from MRIForgeLib import dependencies
from MRIForgeLib.charts import Charts
from MRIForgeLib.live_charts import LiveCharts
from MRIForgeLib.widgets.plots import PlotStrip


class RunSection:
    """Connects ``applyButton``, ``progressBar``, ``statusLabel``, ``chartWidget`` and the log.

    Args:
        ui: the panel's widgets by name.
        locked: sections whose contents must not be changed while a job runs.
        owner: gives the node that the panel's plot views belong to.
        views: numbers of the plot views, see :class:`MRIForgeLib.widgets.plots.PlotStrip`.
    """

    def __init__(
        self,
        ui: Any,
        locked: Iterable[Any],
        owner: Callable[[], Any],
        views: Sequence[int] = (1, 2),
    ) -> None:
        self.ui, self.locked = ui, tuple(locked)
        self.chart: LiveCharts | None = None
        self.strip = PlotStrip(ui.chartWidget, owner, views)
        ui.copyLogButton.connect("clicked(bool)", self.copy_log)
        ui.clearLogButton.connect("clicked(bool)", lambda checked: ui.logTextEdit.clear())
        self.show_busy(False, False)

    def install_packages(self, requester: str, more: Sequence[str] = ()) -> bool:
        """Asks to install what is missing; whether all is there now.

        Args:
            requester: name of the module that asks.
            more: requirements beside those of every job.

        Raises:
            MRIForgeError: what the user has not been told yet.
        """
        try:
            dependencies.ensure(requester, interactive=True, more=more)
        except Cancelled:
            return False
        except dependencies.InstallationFailed as error:
            if not error.shown:
                raise
            self.add_log(error.one_line())
            return False
        return True

    def allow(self, reason: str, ready: str) -> None:
        """Enables Apply, or says in its tooltip why it is not.

        Args:
            reason: why not; empty when it can start.
            ready: what Apply will do.
        """
        self.ui.applyButton.toolTip = reason or ready
        self.ui.applyButton.enabled = not reason

    def show_busy(self, running: bool, cancelling: bool) -> None:
        """Turns Apply into Cancel and back."""
        ui = self.ui
        ui.applyButton.text = _("Cancel") if running else _("Apply")
        ui.progressBar.setVisible(running)
        ui.statusLabel.setVisible(running)
        if running:
            ui.applyButton.enabled = not cancelling
            ui.applyButton.toolTip = _("Stop the job; nothing is added to the scene.")
        if cancelling:
            ui.statusLabel.text = _("Cancelling...")
        for section in self.locked:
            # Not the section itself: its header folds and unfolds it, also while a job runs.
            for child in section.children():
                if hasattr(child, "enabled"):
                    child.enabled = not running

    def show_progress(self, fraction: float, text: str) -> None:
        """``fraction`` 0..1, and what is being done."""
        self.ui.progressBar.value = int(1000 * fraction)
        self.ui.statusLabel.text = text

    def add_log(self, text: str) -> None:
        """One line more."""
        self.ui.logTextEdit.appendPlainText(text)

    def copy_log(self, checked: bool = False) -> None:
        """The log, with the versions that are needed to understand it elsewhere."""
        text = f"{dependencies.versions_text()}\n{self.ui.logTextEdit.plainText}"
        slicer.app.clipboard().setText(text)
        slicer.util.showStatusMessage(_("The log was copied."), 3000)

    def show_error(self, error: MRIForgeError) -> None:
        """Why a job ended early; a dialog unless the user wanted it to end."""
        self.add_log(error.one_line())
        if isinstance(error, Cancelled):
            return
        self.ui.logSection.collapsed = False
        slicer.util.errorDisplay("\n\n".join(filter(None, (error.message, error.hint))))

    def follow(self, chart: LiveCharts) -> None:
        """Shows charts that grow with :meth:`add_to_chart`; earlier ones go."""
        self.drop_charts()
        self.chart = chart
        self.strip.show(chart)

    def show_charts(self, charts: Charts) -> None:
        """Shows other charts, instead of those that have grown."""
        self.strip.show(charts)

    def add_to_chart(self, values: Mapping[str, Any]) -> None:
        """Live figures of a job."""
        if self.chart is not None and self.chart.add(dict(values)):
            self.strip.fit()

    def flush_chart(self) -> None:
        """Draw what has not been drawn yet."""
        if self.chart is not None:
            self.chart.flush()
            self.strip.fit()

    def drop_charts(self, scene_closed: bool = False) -> None:
        """Hide the chart and remove its nodes, which a closed scene has removed itself."""
        if self.chart is not None and not scene_closed:
            self.chart.remove()
        self.chart = None
        self.strip.hide()
