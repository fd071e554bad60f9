"""The part of a panel that shows where the views of a segmentation disagree."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MRIForgeLib.display import is_in_scene
from MRIForgeLib.segment.overlay import Overlay, map_of


class DoubtSection:
    """Connects ``disagreementCheckBox`` and the sentence below it.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.overlay = Overlay()
        self._segmentation: Any = None
        ui.disagreementCheckBox.connect("toggled(bool)", self._toggle)
        self.refresh()

    def select(self, segmentation: Any) -> None:
        """Another segmentation: its map takes the place of the one that is shown."""
        if segmentation is not self._segmentation:
            self._segmentation = segmentation
            if map_of(segmentation) is None:
                self.overlay.hide()
            elif self.ui.disagreementCheckBox.checked:
                self.overlay.show(segmentation)
        self.refresh()

    def refresh(self) -> None:
        """What can be shown, and whether it is."""
        box, found = self.ui.disagreementCheckBox, map_of(self._segmentation)
        box.enabled = found is not None
        shown = found is not None and self.overlay.shown is found
        blocked = box.blockSignals(True)
        box.checked = shown
        box.blockSignals(blocked)
        self.ui.disagreementLabel.text = self._sentence(found)

    def forget(self) -> None:
        """The scene was closed."""
        self.overlay.forget()
        self._segmentation = None
        self.refresh()

    def close(self) -> None:
        """The panel goes; the views become what they were."""
        self.overlay.hide()

    def _toggle(self, checked: bool) -> None:
        if checked and is_in_scene(self._segmentation):
            self.overlay.show(self._segmentation)
        else:
            self.overlay.hide()
        self.refresh()

    def _sentence(self, found: Any) -> str:
        if found is not None:
            return _(
                "Bright: the views disagree or are unsure; check there first. Dark or clear: they "
                "are sure of the same label, which may still be wrong."
            )
        if is_in_scene(self._segmentation):
            return _("There is no map of disagreement of this segmentation.")
        return ""
