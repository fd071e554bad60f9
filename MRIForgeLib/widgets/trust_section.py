"""The part of a panel that shows how far a sharpened image can be trusted."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MRIForgeLib.superres.uncertainty import map_of, overlay
from MRIForgeLib.widgets.map_section import MapSection


class TrustSection(MapSection):
    """Connects ``showUncertaintyCheckBox`` and the sentence below it.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        super().__init__(ui.showUncertaintyCheckBox, ui.uncertaintyLabel, overlay(), map_of)

    def offer(self, result: Any) -> None:
        """There is a new result; its map, if it has one, can be shown."""
        self.overlay.hide()
        self._node = result
        self.refresh()

    def refresh(self) -> None:
        """What can be shown, and whether it is."""
        super().refresh()
        self._label.setVisible(bool(self._label.text))

    def close(self) -> None:
        """The panel goes; the views become what they were."""
        super().close()
        self.refresh()

    def _lay(self, found: Any) -> None:
        self.overlay.hide()
        self.overlay.lay(found)

    def _explained(self) -> str:
        return _(
            "Bright: the true value may be far from what is shown; check there first. Dark: it "
            "is near, as far as the scan itself can tell."
        )

    def _without_map(self) -> str:
        return _("This result has no map of uncertainty: ask for it under Advanced.")
