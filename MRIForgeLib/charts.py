"""Plot nodes: charts that go together, and the quality of a series frame by frame.

A chart node has one vertical axis: PSNR and SSIM therefore get a chart each. Charts that grow
while a job runs are in :mod:`MRIForgeLib.live_charts`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from MRIForgeLib.display import is_in_scene
from MRIForgeLib.figures import number_column, set_columns
from MRIForgeLib.hierarchy import forget

BLUE, GREEN, ORANGE = (0.12, 0.47, 0.71), (0.17, 0.63, 0.17), (0.90, 0.45, 0.10)
GRAY = (0.35, 0.35, 0.35)
Color = tuple[float, float, float]
_VIEW_TAG = "MRIForgeCharts"


class Charts:
    """Plot nodes that belong together, in a subject hierarchy folder "MRIForge charts".

    They work without a main window; nodes that the user deletes stay deleted.
    """

    def __init__(self) -> None:
        self._nodes: list[slicer.vtkMRMLNode] = []
        self._undrawn: list[tuple[slicer.vtkMRMLNode, slicer.vtkMRMLNode]] = []

    @property
    def shown(self) -> list[slicer.vtkMRMLPlotChartNode]:
        """The charts that are still in the scene, in the order in which they were made."""
        return [node for node in self.nodes if node.IsA("vtkMRMLPlotChartNode")]

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
        line: tuple[str, Color],
        *,
        markers: bool = False,
        joined: bool = True,
    ) -> slicer.vtkMRMLPlotChartNode:
        """A chart of one line: columns ``axes`` of ``table``, with its name and color."""
        chart = self._add("vtkMRMLPlotChartNode", title)
        chart.SetTitle(title)
        chart.SetXAxisTitle(axes[0])
        chart.SetYAxisTitle(axes[1])
        chart.LegendVisibilityOff()
        # The defaults are made for a whole view; a module panel is 430 pixels wide.
        chart.SetTitleFontSize(14)
        chart.SetAxisTitleFontSize(12)
        chart.SetAxisLabelFontSize(11)
        self._line(chart, table, axes, line, markers=markers, joined=joined)
        return chart

    def _line(
        self,
        chart: slicer.vtkMRMLPlotChartNode,
        table: slicer.vtkMRMLTableNode,
        columns: tuple[str, str],
        line: tuple[str, Color],
        *,
        markers: bool = False,
        joined: bool = True,
        dashed: bool = False,
    ) -> slicer.vtkMRMLPlotSeriesNode:
        """One more line, or cloud of points, in a chart."""
        name, color = line
        series = self._add("vtkMRMLPlotSeriesNode", name)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(columns[0])
        series.SetYColumnName(columns[1])
        series.SetPlotType(series.PlotTypeScatter)
        style = series.LineStyleDash if dashed else series.LineStyleSolid
        series.SetLineStyle(style if joined else series.LineStyleNone)
        series.SetMarkerStyle(series.MarkerStyleCircle if markers else series.MarkerStyleNone)
        series.SetColor(*color)
        self._undrawn.append((chart, series))
        self._draw_lines()
        return series

    def _draw_lines(self) -> None:
        """Puts lines into their charts once they have two points: VTK logs an error before."""
        for pair in list(self._undrawn):
            chart, series = pair
            table = series.GetTableNode()
            if is_in_scene(chart) and table is not None and table.GetNumberOfRows() > 1:
                chart.AddAndObservePlotSeriesNodeID(series.GetID())
                self._undrawn.remove(pair)


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
            axis: [finite(frame.get("time")) for frame in frames],
            psnr: [finite(frame.get("psnr")) for frame in frames],
            ssim: [finite(frame.get("ssim")) for frame in frames],
        }
        self.table = self._table(_("{name}: frames").format(name=name), columns)
        self.psnr_node = self._frames_chart(name, (axis, psnr), ORANGE)
        self.ssim_node = self._frames_chart(name, (axis, ssim), BLUE)

    def show_in(self, view: slicer.vtkMRMLPlotViewNode, *, ssim: bool = False) -> None:
        """Shows PSNR, or SSIM, in a plot view."""
        show_chart(self.ssim_node if ssim else self.psnr_node, view)

    def _frames_chart(
        self, name: str, axes: tuple[str, str], color: Color
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


def finite(value: Any) -> float | None:
    """A finite number as float, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
