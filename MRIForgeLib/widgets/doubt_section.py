"""The part of a panel that shows where the views of a segmentation disagree."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MRIForgeLib.segment.overlay import Overlay, map_of
from MRIForgeLib.widgets.map_section import MapSection


class DoubtSection(MapSection):
    """Connects ``disagreementCheckBox`` and the sentence below it.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        super().__init__(ui.disagreementCheckBox, ui.disagreementLabel, Overlay(), map_of)

    def select(self, segmentation: Any) -> None:
        """Another segmentation: its map takes the place of the one that is shown."""
        if segmentation is not self._node:
            self._node = segmentation
            if map_of(segmentation) is None:
                self.overlay.hide()
            elif self._box.checked:
                self.overlay.show(segmentation)
        self.refresh()

    def _lay(self, found: Any) -> None:
        self.overlay.show(self._node)

    def _explained(self) -> str:
        return _(
            "Bright: the views disagree or are unsure; check there first. Dark or clear: they "
            "are sure of the same label, which may still be wrong."
        )

    def _without_map(self) -> str:
        return _("There is no map of disagreement of this segmentation.")
