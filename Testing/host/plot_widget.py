"""Plot views: MRML charts drawn with VTK, as Slicer draws them."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .canvas import Canvas, window_image
from .mrml_widgets import Observations, qMRMLWidget
from .pythonqt import plain

_Series = slicer.vtkMRMLPlotSeriesNode
_FONTS = {"Arial": vtk.VTK_ARIAL, "Courier": vtk.VTK_COURIER, "Times": vtk.VTK_TIMES}
_AXES = (vtk.vtkAxis.BOTTOM, vtk.vtkAxis.LEFT)
_MARKERS = {
    _Series.MarkerStyleNone: vtk.vtkPlotPoints.NONE,
    _Series.MarkerStyleCross: vtk.vtkPlotPoints.CROSS,
    _Series.MarkerStylePlus: vtk.vtkPlotPoints.PLUS,
    _Series.MarkerStyleSquare: vtk.vtkPlotPoints.SQUARE,
    _Series.MarkerStyleCircle: vtk.vtkPlotPoints.CIRCLE,
    _Series.MarkerStyleDiamond: vtk.vtkPlotPoints.DIAMOND,
}
_PENS = {
    _Series.LineStyleNone: vtk.vtkPen.NO_PEN,
    _Series.LineStyleSolid: vtk.vtkPen.SOLID_LINE,
    _Series.LineStyleDash: vtk.vtkPen.DASH_LINE,
    _Series.LineStyleDot: vtk.vtkPen.DOT_LINE,
    _Series.LineStyleDashDot: vtk.vtkPen.DASH_DOT_LINE,
    _Series.LineStyleDashDotDot: vtk.vtkPen.DASH_DOT_DOT_LINE,
}


@plain
class qMRMLPlotView(Canvas):
    """Draws the chart that a plot view node selects, and follows every node it is made of."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._scene = None
        self._node = None
        self._view = vtk.vtkContextView()
        self._view.GetRenderWindow().SetOffScreenRendering(1)
        self._view.GetRenderWindow().SetMultiSamples(8)
        self._view.GetRenderer().SetBackground(1.0, 1.0, 1.0)
        self._chart = vtk.vtkChartXY()
        self._view.GetScene().AddItem(self._chart)
        self._node_events = Observations(self)
        self._content_events = Observations(self)
        self._watched: list[vtk.vtkObject] = []
        self._to_fit = True
        self._drawn: dict[tuple[str, int], vtk.vtkPlot] = {}
        self._drawn_size = (0, 0)
        self.setMinimumSize(120, 90)

    def chart(self):
        return self._chart

    def scene(self):
        return self._view.GetScene()

    def renderWindow(self):
        return self._view.GetRenderWindow()

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def setMRMLPlotViewNode(self, node):
        self._node_events.clear()
        self._node = node
        self._node_events.add(node, vtk.vtkCommand.ModifiedEvent, self._follow)
        self._follow()

    def fitToContent(self):
        self._to_fit = True
        self._request()

    # Nodes

    def _chart_node(self):
        return self._node.GetPlotChartNode() if self._node is not None else None

    def _series_nodes(self) -> list:
        node = self._chart_node()
        count = node.GetNumberOfPlotSeriesNodes() if node is not None else 0
        found = [node.GetNthPlotSeriesNode(index) for index in range(count)]
        return [series for series in found if series is not None]

    def _follow(self) -> None:
        """Observe the chart, its series and their tables, and draw them again."""
        series = self._series_nodes()
        tables = [each.GetTableNode() for each in series]
        watched = [n for n in (self._chart_node(), *series, *tables) if n is not None]
        if watched != self._watched:
            self._content_events.clear()
            for node in watched:
                self._content_events.add(node, vtk.vtkCommand.ModifiedEvent, self._follow)
            self._watched = watched
        self._request()

    # Drawing

    def _draw(self, width, height):
        self._fill()
        # As in Slicer: nobody but fitToContent() and a new size changes the range again.
        if self._to_fit or (width, height) != self._drawn_size:
            self._chart.RecalculateBounds()
            self._to_fit = self._chart.GetNumberOfPlots() == 0
        self._drawn_size = (width, height)
        window = self._view.GetRenderWindow()
        window.SetSize(width, height)
        self._view.GetRenderer().GetRenderWindow().Render()
        return window_image(window)

    def _fill(self) -> None:
        chart, node = self._chart, self._chart_node()
        wanted = [s for s in self._series_nodes() if _has_columns(s)] if node is not None else []
        if [(s.GetID(), s.GetPlotType()) for s in wanted] != list(self._drawn):
            # A line that stays is kept, as Slicer keeps it: a new one would set the range anew.
            chart.ClearPlots()
            self._drawn = {(s.GetID(), s.GetPlotType()): _add_plot(chart, s) for s in wanted}
        chart.SetVisible(node is not None)
        if node is None:
            return
        font = _FONTS.get(node.GetFontType(), vtk.VTK_ARIAL)
        chart.SetTitle((node.GetTitle() or "") if node.GetTitleVisibility() else "")
        chart.GetTitleProperties().SetFontFamily(font)
        chart.GetTitleProperties().SetFontSize(node.GetTitleFontSize())
        chart.SetShowLegend(bool(node.GetLegendVisibility()))
        legend = chart.GetLegend()
        legend.SetLabelSize(node.GetLegendFontSize())
        legend.GetLabelProperties().SetFontFamily(font)
        for series, plot in zip(wanted, self._drawn.values(), strict=True):
            _dress_plot(plot, series)
        self._dress_axis(vtk.vtkAxis.BOTTOM, node, "X", font)
        self._dress_axis(vtk.vtkAxis.LEFT, node, "Y", font)

    def _dress_axis(self, position: int, node, letter: str, font: int) -> None:
        axis = self._chart.GetAxis(position)

        def value(name: str):
            return getattr(node, f"Get{letter}Axis{name}")()

        axis.SetTitle((value("Title") or "") if value("TitleVisibility") else "")
        axis.GetTitleProperties().SetFontFamily(font)
        axis.GetTitleProperties().SetFontSize(node.GetAxisTitleFontSize())
        axis.GetLabelProperties().SetFontFamily(font)
        axis.GetLabelProperties().SetFontSize(node.GetAxisLabelFontSize())
        axis.SetGridVisible(bool(node.GetGridVisibility()))
        axis.SetLogScale(bool(value("LogScale")))
        if value("RangeAuto"):
            axis.SetBehavior(vtk.vtkAxis.AUTO)
        else:
            axis.SetBehavior(vtk.vtkAxis.FIXED)
            axis.SetRange(*value("Range"))


def _has_columns(series) -> bool:
    table = series.GetTableNode().GetTable() if series.GetTableNode() is not None else None
    return table is not None and table.GetColumnByName(series.GetYColumnName() or "") is not None


def _add_plot(chart, series):
    is_bar = series.GetPlotType() == _Series.PlotTypeBar
    return chart.AddPlot(vtk.vtkChart.BAR if is_bar else vtk.vtkChart.LINE)


def _dress_plot(plot, series) -> None:
    """What a line shows and how, from its node."""
    table = series.GetTableNode().GetTable()
    y_name, x_name = series.GetYColumnName() or "", series.GetXColumnName() or ""
    if x_name and series.IsXColumnRequired():
        plot.SetInputData(table, x_name, y_name)
    else:
        plot.SetInputData(table, y_name, y_name)
        plot.SetUseIndexForXSeries(True)
    plot.SetLabel(series.GetName())
    color = [round(255 * channel) for channel in series.GetColor()]
    plot.SetColor(*color, round(255 * series.GetOpacity()))
    plot.SetWidth(series.GetLineWidth())
    if series.GetPlotType() != _Series.PlotTypeBar:
        plot.GetPen().SetLineType(_PENS[series.GetLineStyle()])
        plot.SetMarkerStyle(_MARKERS[series.GetMarkerStyle()])
        plot.SetMarkerSize(series.GetMarkerSize())


@plain
class qMRMLPlotWidget(qMRMLWidget):
    """A plot view under a bar with its name; also made by panels, with no layout around it."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._view = qMRMLPlotView(self)
        self._controller = ViewBar(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._controller)
        layout.addWidget(self._view, 1)

    def plotView(self):
        return self._view

    def viewWidget(self):
        return self._view

    def plotController(self):
        return self._controller

    def controllerWidget(self):
        return self._controller

    def setMRMLScene(self, scene):
        super().setMRMLScene(scene)
        self._view.setMRMLScene(scene)

    def mrmlPlotViewNode(self):
        return self._view._node

    def mrmlAbstractViewNode(self):
        return self._view._node

    def setMRMLPlotViewNode(self, node):
        self._view.setMRMLPlotViewNode(node)
        self._controller.show_name_of(node)

    def setMRMLAbstractViewNode(self, node):
        self.setMRMLPlotViewNode(node)

    def setRenderPaused(self, pause):
        self._view._set_paused(pause)


class ViewBar(QtWidgets.QLabel):
    """The gray bar over plot and table views."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self.setFixedHeight(22)
        self.setStyleSheet("background: #e6e6e6; color: black; font-weight: bold; padding: 0 6px")

    def show_name_of(self, node) -> None:
        self.setText((node.GetLayoutLabel() or "") if node is not None else "")
