"""Volumes of organs over time as charts, in ml and relative to their mean."""

from __future__ import annotations

import numpy as np
import slicer
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from mriforge.anatomy import ORGANS
from MRIForgeLib.charts import Charts, show_chart
from MRIForgeLib.segment.tables import volume_title

_LEGEND = 0.8
"""Room to the right of the last frame, relative to the length, where the legend hides nothing."""
# One color for each organ that can be told from the others on white, unlike those of anatomy.
_COLORS = (
    (0.55, 0.24, 0.20),
    (0.50, 0.30, 0.70),
    (1.00, 0.50, 0.05),
    (0.84, 0.15, 0.16),
    (0.12, 0.47, 0.71),
    (0.89, 0.47, 0.76),
    (0.74, 0.74, 0.13),
    (0.17, 0.63, 0.17),
    (0.09, 0.75, 0.81),
    (0.40, 0.40, 0.40),
)


class VolumesChart(Charts):
    """How the volume of each organ changes over a series.

    Organs that no frame has are left out.

    Args:
        table: of a series, see :func:`MRIForgeLib.segment.tables.add_volume_table`.
        name: of the charts, for example that of the input.

    Attributes:
        volumes_node: chart in ml.
        changes_node: chart in percent of each organ's mean: breathing is seen in a pancreas too.
    """

    def __init__(self, table: slicer.vtkMRMLTableNode, name: str) -> None:
        super().__init__()
        axis = table.GetTable().GetColumnName(0)
        times = _column(table, axis)
        volumes = {organ: _column(table, volume_title(organ)) for organ in ORGANS}
        there = {organ: values for organ, values in volumes.items() if values.max(initial=0) > 0}
        changes = {organ.title: 100 * v / v.mean() for organ, v in there.items()}
        relative = self._table(
            _("{name}: relative organ volumes").format(name=name), {axis: times, **changes}
        )
        ends = float(times.min()), float(times.max())
        self.volumes_node = self._empty(_("{name}: organ volumes").format(name=name), axis, ends)
        self.volumes_node.SetYAxisTitle(_("Volume (ml)"))
        self.changes_node = self._empty(_("{name}: relative volumes").format(name=name), axis, ends)
        self.changes_node.SetYAxisTitle(_("Volume (% of mean)"))
        for organ in there:
            line = organ.title, _COLORS[organ.label - 1]
            columns = axis, volume_title(organ)
            self._line(self.volumes_node, table, columns, line, markers=True)
            self._line(self.changes_node, relative, (axis, organ.title), line, markers=True)

    def show_in(self, view: slicer.vtkMRMLPlotViewNode, *, changes: bool = False) -> None:
        """Shows volumes, or their changes, in a plot view."""
        show_chart(self.changes_node if changes else self.volumes_node, view)

    def _empty(
        self, title: str, axis: str, ends: tuple[float, float]
    ) -> slicer.vtkMRMLPlotChartNode:
        """A chart without lines, small enough for a panel."""
        chart = self._add("vtkMRMLPlotChartNode", title)
        chart.SetTitle(title)
        chart.SetXAxisTitle(axis)
        chart.LegendVisibilityOn()
        chart.SetXAxisRangeAuto(False)
        chart.SetXAxisRange(ends[0], ends[1] + _LEGEND * (ends[1] - ends[0]))
        chart.SetTitleFontSize(14)
        chart.SetLegendFontSize(11)
        chart.SetAxisTitleFontSize(12)
        chart.SetAxisLabelFontSize(11)
        return chart


def volumes_chart(nodes: dict, name: str) -> VolumesChart | None:
    """Charts of a finished session on a series; None when there is nothing to draw.

    Args:
        nodes: of the session.
        name: of the charts.
    """
    table = nodes.get("table")
    if "sequence" not in nodes or table is None or table.GetTable().GetNumberOfRows() < 2:
        return None
    return VolumesChart(table, name)


def _column(table: slicer.vtkMRMLTableNode, title: str) -> np.ndarray:
    return np.array(vtk_to_numpy(table.GetTable().GetColumnByName(title)), float)
