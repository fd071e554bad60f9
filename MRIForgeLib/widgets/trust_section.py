"""The part of a panel that shows how far a sharpened image can be trusted."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MRIForgeLib.display import is_in_scene
from MRIForgeLib.superres.uncertainty import map_of, overlay


class TrustSection:
    """Connects ``showUncertaintyCheckBox`` and the sentence below it.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.overlay = overlay()
        self._result: Any = None
        ui.showUncertaintyCheckBox.connect("toggled(bool)", self._toggle)
        self.refresh()

    def offer(self, result: Any) -> None:
        """There is a new result; its map, if it has one, can be shown."""
        self.overlay.hide()
        self._result = result
        self.refresh()

    def refresh(self) -> None:
        """What can be shown, and whether it is."""
        box, found = self.ui.showUncertaintyCheckBox, map_of(self._result)
        box.enabled = found is not None
        blocked = box.blockSignals(True)
        box.checked = found is not None and self.overlay.shown is found
        box.blockSignals(blocked)
        label = self.ui.uncertaintyLabel
        label.text = self._sentence(found)
        label.setVisible(bool(label.text))

    def forget(self) -> None:
        """The scene was closed."""
        self.overlay.forget()
        self._result = None
        self.refresh()

    def close(self) -> None:
        """The panel goes; the views become what they were."""
        self.overlay.hide()
        self.refresh()

    def _toggle(self, checked: bool) -> None:
        found = map_of(self._result)
        self.overlay.hide()
        if checked and found is not None:
            self.overlay.lay(found)
        self.refresh()

    def _sentence(self, found: Any) -> str:
        if found is not None:
            return _(
                "Bright: the true value may be far from what is shown; check there first. Dark: it "
                "is near, as far as the scan itself can tell."
            )
        if is_in_scene(self._result):
            return _("This result has no map of uncertainty: ask for it under Advanced.")
        return ""
