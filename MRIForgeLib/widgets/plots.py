"""Plot views inside a panel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer

from MRIForgeLib.charts import Charts, plot_view_node, show_chart


class PlotStrip:
    """Plot views one below the other, made when first needed: each costs a graphics context.

    Args:
        widget: where they are put; hidden while there is nothing to show.
        owner: gives the node that the views belong to.
        numbers: of the views, see :func:`MRIForgeLib.charts.plot_view_node`; of its own for each
            strip of each module.
    """

    def __init__(self, widget: Any, owner: Callable[[], Any], numbers: Sequence[int]) -> None:
        self.widget, self.owner, self.numbers = widget, owner, tuple(numbers)
        self.plots: list[Any] = []
        widget.setVisible(False)

    def show(self, charts: Charts) -> None:
        """Shows each chart in a view of its own."""
        nodes = [plot_view_node(number, self.owner()) for number in self.numbers]
        if not self.plots:
            for node in nodes:
                plot = slicer.qMRMLPlotView()
                plot.setMRMLScene(slicer.mrmlScene)
                plot.setMRMLPlotViewNode(node)
                self.widget.layout().addWidget(plot)
                self.plots.append(plot)
        for chart, node in zip(charts.shown, nodes, strict=False):
            show_chart(chart, node)
        self.fit()

    def fit(self) -> None:
        """The axes as long as the lines: plot views keep the range that they began with."""
        self.widget.setVisible(True)
        for plot in self.plots:
            plot.fitToContent()

    def hide(self) -> None:
        """Nothing to show any more."""
        self.widget.setVisible(False)
