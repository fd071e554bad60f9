"""The part of a panel that judges T1 maps: figures of regions, agreement of two maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from MRIForgeLib.display import is_in_scene, show_volume
from MRIForgeLib.recon.agreement import AgreementChart, agreement_of
from MRIForgeLib.recon.t1 import fill_regions_table, region_figures
from MRIForgeLib.widgets.plots import PlotStrip


class T1Section:
    """Connects the selectors of the map, of the regions and of another map, and three buttons.

    Args:
        ui: the panel's widgets by name.
        owner: gives the node that the panel's plot views belong to.
        views: number of the plot view, see :class:`MRIForgeLib.widgets.plots.PlotStrip`.
    """

    def __init__(self, ui: Any, owner: Callable[[], Any], views: tuple[int]) -> None:
        self.ui = ui
        self.table: slicer.vtkMRMLTableNode | None = None
        self.chart: AgreementChart | None = None
        self._view: Any = None
        self._strip = PlotStrip(ui.agreementWidget, owner, views)
        ui.regionsTableWidget.setVisible(False)
        ui.showT1Button.connect("clicked(bool)", self._show_in_views)
        ui.regionsButton.connect("clicked(bool)", self.measure_regions)
        ui.agreementButton.connect("clicked(bool)", self.compare)

    def allow(self, node: Any, regions: Any, other: Any) -> None:
        """Enables what can be done with the chosen nodes."""
        ui, there = self.ui, is_in_scene(node)
        ui.showT1Button.enabled = there
        ui.regionsButton.enabled = there and is_in_scene(regions)
        ui.agreementButton.enabled = there and is_in_scene(other) and other is not node
        ui.regionsButton.toolTip = (
            _("Mean, standard deviation and median of T1 in each region.")
            if ui.regionsButton.enabled
            else _("Select a T1 map, and a segmentation or label map of regions.")
        )
        ui.agreementButton.toolTip = (
            _("Bland-Altman chart of both maps, inside the regions if there are any.")
            if ui.agreementButton.enabled
            else _("Select two different maps.")
        )

    def forget(self) -> None:
        """The scene was closed."""
        self.table = self.chart = None
        self.ui.regionsTableWidget.setVisible(False)
        self.ui.agreementLabel.text = ""
        self._strip.hide()

    def measure_regions(self, checked: bool = False) -> None:
        """A table of T1 in each region."""
        node, regions = self.ui.t1Selector.currentNode(), self.ui.regionsSelector.currentNode()
        with slicer.util.tryWithErrorDisplay(_("The regions could not be measured.")):
            figures = region_figures(node, regions)
            if not is_in_scene(self.table):
                name = _("{name} regions").format(name=node.GetName())
                self.table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
            fill_regions_table(self.table, figures)
            self._show_table()

    def compare(self, checked: bool = False) -> None:
        """A Bland-Altman chart of two maps."""
        ui = self.ui
        first, second = ui.t1Selector.currentNode(), ui.otherSelector.currentNode()
        with slicer.util.tryWithErrorDisplay(_("The maps could not be compared.")):
            found = agreement_of(first, second, ui.regionsSelector.currentNode())
            if self.chart is not None:
                self.chart.remove()
            self.chart = AgreementChart(found)
            self._strip.show(self.chart)
            ui.agreementLabel.text = found.sentence()

    def _show_in_views(self, checked: bool = False) -> None:
        show_volume(self.ui.t1Selector.currentNode(), fit=True)

    def _show_table(self) -> None:
        widget = self.ui.regionsTableWidget
        if self._view is None:
            self._view = slicer.qMRMLTableView()
            self._view.setMRMLScene(slicer.mrmlScene)
            widget.layout().addWidget(self._view)
        self._view.setMRMLTableNode(self.table)
        widget.setVisible(True)
