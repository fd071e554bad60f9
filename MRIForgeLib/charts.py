"""Plot nodes: a training as it runs, and the quality of a series frame by frame.

A chart node has one vertical axis. Loss (any unit, best on a logarithmic scale) and quality (dB,
may be negative) therefore get a chart each, and so do PSNR and SSIM.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from MRIForgeLib.display import is_in_scene
from MRIForgeLib.figures import number_column, set_columns
from MRIForgeLib.hierarchy import forget

_MOST_POINTS = 2000
_SECONDS_BETWEEN_UPDATES = 0.2
_DECADES = 20.0
"""Ratio of the largest to the smallest loss from which its axis is logarithmic."""
_BLUE, _GREEN, _ORANGE = (0.12, 0.47, 0.71), (0.17, 0.63, 0.17), (0.90, 0.45, 0.10)
_VIEW_TAG = "MRIForgeCharts"

_QUALITY_KEYS = ("gain_db", "psnr", "ssim", "dice", "accuracy")
"""Held-out quality that validations report; the first that is there is drawn."""


class Charts:
    """Plot nodes that belong together, in a subject hierarchy folder "MRIForge charts".

    They work without a main window; nodes that the user deletes stay deleted.
    """

    def __init__(self) -> None:
        self._nodes: list[slicer.vtkMRMLNode] = []
        self._undrawn: list[tuple[slicer.vtkMRMLNode, slicer.vtkMRMLNode]] = []

    @property
    def nodes(self) -> list[slicer.vtkMRMLNode]:
        """What was made and is still in the scene: tables, series, charts."""
        return [node for node in self._nodes if is_in_scene(node)]

    def remove(self) -> None:
        """Removes all nodes that were made, and the folder when nothing else is in it."""
        for node in reversed(self.nodes):
            forget(node)
            node.GetScene().RemoveNode(node)
        self._nodes.clear()
        hierarchy, folder = _folder(create=False)
        if folder and hierarchy.GetNumberOfItemChildren(folder) == 0:
            hierarchy.RemoveItem(folder)

    def _add(self, class_name: str, name: str) -> slicer.vtkMRMLNode:
        node = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
        self._nodes.append(node)
        hierarchy, folder = _folder(create=True)
        if hierarchy is not None:
            # Slicer's plug-ins have made an item already, but not for every kind of node.
            item = hierarchy.GetItemByDataNode(node)
            if item:
                hierarchy.SetItemParent(item, folder)
            else:
                hierarchy.CreateItem(folder, node)
        return node

    def _table(self, name: str, columns: Mapping[str, Iterable[float]]) -> slicer.vtkMRMLTableNode:
        table = self._add("vtkMRMLTableNode", name)
        table.SetLocked(True)
        set_columns(table, [number_column(title, values) for title, values in columns.items()])
        return table

    def _chart(
        self,
        title: str,
        table: slicer.vtkMRMLTableNode,
        axes: tuple[str, str],
        line: tuple[str, tuple[float, float, float]],
        *,
        markers: bool = False,
    ) -> slicer.vtkMRMLPlotChartNode:
        """A chart of one line: columns ``axes`` of ``table``, with its name and color."""
        name, color = line
        series = self._add("vtkMRMLPlotSeriesNode", name)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(axes[0])
        series.SetYColumnName(axes[1])
        series.SetPlotType(series.PlotTypeScatter)
        series.SetLineStyle(series.LineStyleSolid)
        series.SetMarkerStyle(series.MarkerStyleCircle if markers else series.MarkerStyleNone)
        series.SetColor(*color)
        chart = self._add("vtkMRMLPlotChartNode", title)
        chart.SetTitle(title)
        chart.SetXAxisTitle(axes[0])
        chart.SetYAxisTitle(axes[1])
        chart.LegendVisibilityOff()
        # The defaults are made for a whole view; a module panel is 430 pixels wide.
        chart.SetTitleFontSize(14)
        chart.SetAxisTitleFontSize(12)
        chart.SetAxisLabelFontSize(11)
        self._undrawn.append((chart, series))
        self._draw_lines()
        return chart

    def _draw_lines(self) -> None:
        """Puts lines into their charts once they have two points: VTK logs an error before."""
        for pair in list(self._undrawn):
            chart, series = pair
            table = series.GetTableNode()
            if is_in_scene(chart) and table is not None and table.GetNumberOfRows() > 1:
                chart.AddAndObservePlotSeriesNodeID(series.GetID())
                self._undrawn.remove(pair)


class TuningChart(Charts):
    """The loss and the held-out quality of a training while it runs.

    ::

        chart = TuningChart("Adapting to T1")
        chart.show_in(plot_view_node(1, parameter_node))
        chart.add(metric)                   # of every "metric" event
        chart.flush()                       # at the end: draws what is waiting

    The nodes change at most five times a second, and a curve has at most 2000 points: of a longer
    one neighbors are averaged.

    Args:
        name: of the charts; also begins the names of the other nodes.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        step = _("Step")
        self._loss = _Curve(step, _("Training loss"))
        self._quality = _Curve(step, _("Held-out gain (dB)"))
        self._quality_key: str | None = None
        self._drawn_at = -math.inf
        self._loss_table = self._table(_("{name}: loss").format(name=name), self._loss.columns)
        self._quality_table = self._table(
            _("{name}: quality").format(name=name), self._quality.columns
        )
        self.node = self._chart(
            _("{name}: training loss").format(name=name),
            self._loss_table,
            self._loss.titles,
            (_("{name}: training loss").format(name=name), _BLUE),
        )
        self.quality_node = self._chart(
            _("{name}: held-out quality").format(name=name),
            self._quality_table,
            self._quality.titles,
            (_("{name}: held-out data").format(name=name), _GREEN),
            markers=True,
        )

    def add(self, metric: Mapping[str, Any]) -> bool:
        """Takes a ``metric`` event: ``step`` with ``loss``, with a held-out figure, or with both.

        Events without a step, and values that are not finite numbers, are left out.

        Returns:
            whether the charts were drawn anew.
        """
        step = _number(metric.get("step"))
        if step is None:
            return False
        loss = _number(metric.get("loss"))
        if loss is not None:
            self._loss.add(step, loss)
        if self._quality_key is None:
            self._choose_quality(metric)
        quality = _number(metric.get(self._quality_key))
        if quality is not None:
            self._quality.add(step, quality)
        if time.monotonic() - self._drawn_at < _SECONDS_BETWEEN_UPDATES:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Draws everything that was added."""
        self._drawn_at = time.monotonic()
        if self._loss.changed and is_in_scene(self.node):
            # A logarithmic axis shows nothing at all of zero, and crowds its labels on a short one.
            self.node.SetYAxisLogScale(0 < self._loss.smallest * _DECADES < self._loss.largest)
        for curve, table in ((self._loss, self._loss_table), (self._quality, self._quality_table)):
            if curve.changed and is_in_scene(table):
                _refill(table, curve)
            curve.changed = False
        self._draw_lines()

    def show_in(self, view: slicer.vtkMRMLPlotViewNode, *, quality: bool = False) -> None:
        """Shows the loss, or the held-out quality, in a plot view."""
        show_chart(self.quality_node if quality else self.node, view)

    def _choose_quality(self, metric: Mapping[str, Any]) -> None:
        """Fixes which figure is drawn, when the first validation comes."""
        key = next((k for k in _QUALITY_KEYS if _number(metric.get(k)) is not None), None)
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


class QualityChart(Charts):
    """PSNR and SSIM of a series frame by frame; see :func:`quality_chart`.

    Attributes:
        psnr_node, ssim_node: the charts.
        table: frame number, index value, PSNR, SSIM.
    """

    def __init__(self, name: str, frames: Sequence[Mapping[str, Any]], axis: str) -> None:
        super().__init__()
        psnr, ssim = _("PSNR (dB)"), _("SSIM")
        columns = {
            axis: [_number(frame.get("time")) for frame in frames],
            psnr: [_number(frame.get("psnr")) for frame in frames],
            ssim: [_number(frame.get("ssim")) for frame in frames],
        }
        self.table = self._table(_("{name}: frames").format(name=name), columns)
        self.psnr_node = self._frames_chart(name, (axis, psnr), _ORANGE)
        self.ssim_node = self._frames_chart(name, (axis, ssim), _BLUE)

    def show_in(self, view: slicer.vtkMRMLPlotViewNode, *, ssim: bool = False) -> None:
        """Shows PSNR, or SSIM, in a plot view."""
        show_chart(self.ssim_node if ssim else self.psnr_node, view)

    def _frames_chart(
        self, name: str, axes: tuple[str, str], color: tuple[float, float, float]
    ) -> slicer.vtkMRMLPlotChartNode:
        title = _("{name}: {figure}").format(name=name, figure=axes[1])
        return self._chart(title, self.table, axes, (title, color), markers=True)


def quality_chart(
    frames: Sequence[Mapping[str, Any]],
    index_name: str = "",
    index_unit: str = "",
    name: str = "",
) -> QualityChart:
    """Charts of PSNR and of SSIM over the index values of a series.

    Args:
        frames: ``figures["frames"]`` of the ``evaluate`` job.
        index_name, index_unit: of the sequence, for the axis; default: the frame's number.
        name: of the charts, for example that of the result.
    """
    axis = index_name or _("Frame")
    if index_unit:
        axis = _("{name} ({unit})").format(name=axis, unit=index_unit)
    return QualityChart(name or _("Quality"), frames, axis)


def show_chart(chart: slicer.vtkMRMLPlotChartNode, view: slicer.vtkMRMLPlotViewNode) -> None:
    """Shows a chart in the plot view of ``view``; nothing happens when either is gone."""
    if is_in_scene(chart) and is_in_scene(view):
        view.SetPlotChartNodeID(chart.GetID())


def plot_view_node(number: int, owner: slicer.vtkMRMLNode) -> slicer.vtkMRMLPlotViewNode:
    """The node of a panel's plot view, made when it is missing.

    Args:
        number: tells the views of a panel apart.
        owner: node of the panel, for example its parameter node. A view with an owner is left
            alone by the layout manager, which would make a second widget for it.
    """
    tag = f"{_VIEW_TAG}{number}"
    view = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLPlotViewNode")
    added = view is not None
    if not added:
        view = slicer.vtkMRMLPlotViewNode()
        view.SetSingletonTag(tag)
        view.SetLayoutName(tag)
        view.SetName(tag)
    # Each time: closing the scene resets singletons. Other modules' charts stay out.
    view.SetDoPropagatePlotChartSelection(False)
    view.SetAndObserveParentLayoutNodeID(owner.GetID())
    return view if added else slicer.mrmlScene.AddNode(view)


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


def _folder(create: bool) -> tuple[slicer.vtkMRMLSubjectHierarchyNode | None, int]:
    """The subject hierarchy and our folder in it; 0 where there is none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return None, 0
    name = _("MRIForge charts")
    folder = hierarchy.GetItemChildWithName(hierarchy.GetSceneItemID(), name)
    if not folder and create:
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), name)
    return hierarchy, folder


def _number(value: Any) -> float | None:
    """A finite number as float, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
