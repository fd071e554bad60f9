"""The button and list of a panel that show a result beside what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer
from slicer.i18n import tr as _

from MRIForgeLib.comparison import Comparison


class CompareSection:
    """Connects ``compareButton`` (checkable) and ``orientationComboBox`` of a panel.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.comparison: Comparison | None = None
        self._nodes: Mapping[str, Any] = {}
        self._figures: Mapping[str, Any] | None = None
        for text, value in (
            (_("As acquired"), ""),
            (_("Axial"), "Axial"),
            (_("Sagittal"), "Sagittal"),
            (_("Coronal"), "Coronal"),
        ):
            ui.orientationComboBox.addItem(text, value)
        ui.compareButton.connect("toggled(bool)", self.show)
        ui.orientationComboBox.connect("currentIndexChanged(int)", self._turn)
        self.forget()

    def offer(self, nodes: Mapping[str, Any], figures: Mapping[str, Any] | None = None) -> None:
        """There is something to compare; an earlier comparison is closed.

        Args:
            nodes: volumes by role, see :class:`MRIForgeLib.comparison.Comparison`; those that are
                missing or gone are left out.
            figures: of the ``evaluate`` job, for the table.
        """
        self.forget()
        self._nodes, self._figures = dict(nodes), figures
        self.ui.compareButton.enabled = slicer.app.layoutManager() is not None

    def show(self, checked: bool = True) -> None:
        """Show the volumes side by side, or go back to the layout before."""
        if not checked:
            self.close()
            return
        if self.comparison is None:
            present = {role: node for role, node in self._nodes.items() if node and node.GetScene()}
            if "result" not in present:
                self.forget()
                return
            self.comparison = Comparison(present)
        shown = self.comparison.show(self.ui.orientationComboBox.currentData or None)
        if shown and self._figures:
            self.comparison.metrics_table(self._figures)

    def close(self) -> None:
        """Restore the layout and the displays of the compared volumes."""
        if self.comparison is not None:
            self.comparison.close()

    def forget(self) -> None:
        """Close, and offer nothing any more."""
        self.close()
        self.comparison, self._nodes, self._figures = None, {}, None
        self.ui.compareButton.checked = False
        self.ui.compareButton.enabled = False

    def _turn(self, index: int) -> None:
        if self.ui.compareButton.checked:
            self.show()
