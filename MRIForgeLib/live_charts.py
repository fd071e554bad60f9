"""Charts that grow while a job runs: a training, an iterative reconstruction.

Loss (any unit, best on a logarithmic scale) and quality (dB, may be negative) get a chart each.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from MRIForgeLib.charts import BLUE, GREEN, ORANGE, Charts, Color, finite, show_chart
from MRIForgeLib.display import is_in_scene

_MOST_POINTS = 2000
_SECONDS_BETWEEN_UPDATES = 0.2
_DECADES = 20.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""

_QUALITY_KEYS = ("gain_db", "psnr", "ssim", "dice", "accuracy")
"""Held-out quality that validations report; the first that is there is drawn."""


class LiveCharts(Charts, ABC):
    """Charts of one line each, which :meth:`add` makes longer.

    The nodes change at most five times a second, and a line has at most 2000 points: of a longer
    one neighbors are averaged.
    """

    def __init__(self) -> None:
        super().__init__()
        self._drawn_at = -math.inf
        self._growing: list[tuple[_Curve, slicer.vtkMRMLNode, slicer.vtkMRMLNode, bool]] = []

    def add(self, metric: Mapping[str, Any]) -> bool:
        """Takes a ``metric`` event; what is missing or not a finite number is left out.

        Returns:
            whether the charts were drawn anew.
        """
        if not self._take(metric):
            return False
        if time.monotonic() - self._drawn_at < _SECONDS_BETWEEN_UPDATES:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Draws everything that was added."""
        self._drawn_at = time.monotonic()
        for curve, table, chart, decades in self._growing:
            if curve.changed and decades and is_in_scene(chart):
                # A logarithmic axis shows nothing at all of zero, and crowds its labels on a
                # short one.
                chart.SetYAxisLogScale(0 < curve.smallest * _DECADES < curve.largest)
            if curve.changed and is_in_scene(table):
                _refill(table, curve)
            curve.changed = False
        self._draw_lines()

    @abstractmethod
    def _take(self, metric: Mapping[str, Any]) -> bool:
        """Adds the points of an event to the curves; whether it held any."""

    def _grow(
        self,
        curve: _Curve,
        table: slicer.vtkMRMLTableNode,
        title: str,
        line: tuple[str, Color],
        *,
        markers: bool = False,
        decades: bool = False,
    ) -> slicer.vtkMRMLPlotChartNode:
        """A chart of a curve; with ``decades`` its axis is logarithmic where that helps."""
        chart = self._chart(title, table, curve.titles, line, markers=markers)
        self._growing.append((curve, table, chart, decades))
        return chart


class TuningChart(LiveCharts):
    """The loss and the held-out quality of a training while it runs.

    ::

        chart = TuningChart("Adapting to T1")
        chart.show_in(plot_view_node(1, parameter_node))
        chart.add(metric)                   # of every "metric" event
        chart.flush()                       # at the end: draws what is waiting

    Events need a ``step``, with ``loss``, with a held-out figure, or with both.

    Args:
        name: of the charts; also begins the names of the other nodes.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        step = _("Step")
        self._loss = _Curve(step, _("Training loss"))
        self._quality = _Curve(step, _("Held-out gain (dB)"))
        self._quality_key: str | None = None
        loss_table = self._table(_("{name}: loss").format(name=name), self._loss.columns)
        self._quality_table = self._table(
            _("{name}: quality").format(name=name), self._quality.columns
        )
        title = _("{name}: training loss").format(name=name)
        self.node = self._grow(self._loss, loss_table, title, (title, BLUE), decades=True)
        self.quality_node = self._grow(
            self._quality,
            self._quality_table,
            _("{name}: held-out quality").format(name=name),
            (_("{name}: held-out data").format(name=name), GREEN),
            markers=True,
        )

    def _take(self, metric: Mapping[str, Any]) -> bool:
        step = finite(metric.get("step"))
        if step is None:
            return False
        loss = finite(metric.get("loss"))
        if loss is not None:
            self._loss.add(step, loss)
        if self._quality_key is None:
            self._choose_quality(metric)
        quality = finite(metric.get(self._quality_key))
        if quality is not None:
            self._quality.add(step, quality)
        return True

    def show_in(self, view: slicer.vtkMRMLPlotViewNode, *, quality: bool = False) -> None:
        """Shows the loss, or the held-out quality, in a plot view."""
        show_chart(self.quality_node if quality else self.node, view)

    def _choose_quality(self, metric: Mapping[str, Any]) -> None:
        """Fixes which figure is drawn, when the first validation comes."""
        key = next((k for k in _QUALITY_KEYS if finite(metric.get(k)) is not None), None)
        if key is None:
            return
        self._quality_key = key
        title = {
            "gain_db": _("Held-out gain (dB)"),
            "psnr": _("Held-out PSNR (dB)"),
            "ssim": _("Held-out SSIM"),
            "dice": _("Held-out Dice"),
            "accuracy": _("Held-out accuracy"),
        }[key]
        if title == self._quality.titles[1] or not is_in_scene(self._quality_table):
            return
        self._quality.titles = (self._quality.titles[0], title)
        self._quality_table.RenameColumn(1, title)
        if is_in_scene(self.quality_node):
            self.quality_node.SetYAxisTitle(title)
        for node in self.nodes:
            if node.IsA("vtkMRMLPlotSeriesNode") and node.GetTableNode() is self._quality_table:
                node.SetYColumnName(title)


class ResidualChart(LiveCharts):
    """What the iterations of a reconstruction have not explained yet.

    Events need ``iteration`` and ``residual`` (relative to the data; no unit).

    Args:
        name: of the chart; also begins the names of the other nodes.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._residual = _Curve(_("Iteration"), _("Relative residual"))
        table = self._table(_("{name}: iterations").format(name=name), self._residual.columns)
        title = _("{name}: residual").format(name=name)
        self.node = self._grow(
            self._residual, table, title, (title, ORANGE), markers=True, decades=True
        )

    def _take(self, metric: Mapping[str, Any]) -> bool:
        iteration, residual = finite(metric.get("iteration")), finite(metric.get("residual"))
        if iteration is None or residual is None:
            return False
        self._residual.add(iteration, residual)
        return True


class _Curve:
    """Points of one line, thinned out by averaging neighbors when there are too many."""

    def __init__(self, x_title: str, y_title: str) -> None:
        self.titles = (x_title, y_title)
        self.changed = False
        self.smallest, self.largest = math.inf, -math.inf
        self._x: list[float] = []
        self._y: list[float] = []
        self._together = 1
        self._waiting: list[tuple[float, float]] = []

    @property
    def columns(self) -> dict[str, list[float]]:
        """Both axes by title; the points that still wait for neighbors count as one."""
        x, y = list(self._x), list(self._y)
        if self._waiting:
            last = self._mean()
            x.append(last[0])
            y.append(last[1])
        return {self.titles[0]: x, self.titles[1]: y}

    def add(self, x: float, y: float) -> None:
        """One more point."""
        self.changed = True
        self.smallest, self.largest = min(self.smallest, y), max(self.largest, y)
        self._waiting.append((x, y))
        if len(self._waiting) < self._together:
            return
        point = self._mean()
        self._x.append(point[0])
        self._y.append(point[1])
        self._waiting.clear()
        if len(self._x) >= _MOST_POINTS:
            self._x = np.reshape(self._x, (-1, 2)).mean(axis=1).tolist()
            self._y = np.reshape(self._y, (-1, 2)).mean(axis=1).tolist()
            self._together *= 2

    def _mean(self) -> tuple[float, float]:
        x, y = np.mean(self._waiting, axis=0)
        return float(x), float(y)


def _refill(table: slicer.vtkMRMLTableNode, curve: _Curve) -> None:
    """Writes a curve into the columns that the plot observes; the table object stays."""
    for number, values in enumerate(curve.columns.values()):
        column = table.GetTable().GetColumn(number)
        column.SetNumberOfTuples(len(values))
        vtk_to_numpy(column)[:] = values
        column.Modified()
    table.GetTable().Modified()
