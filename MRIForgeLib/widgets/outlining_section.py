"""The choices of a segmentation in a panel: model, views, and what is known of the model."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from MRIForgeLib.segment import advice
from MRIForgeLib.segment.wishes import Wishes, wishes_of
from MRIForgeLib.sequences import sequence_of


class OutliningSection:
    """Connects the list of models; shows what belongs to the choices.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._node: Any = None
        ui.modelComboBox.connect("currentIndexChanged(int)", self._choose_model)

    def use(self, node: Any) -> None:
        """The parameter node whose choices are shown and changed from now on."""
        self._node = node

    def fill_models(self, node: Any) -> None:
        """Lists the installed models; that of the parameter node is selected, if there."""
        combo = self.ui.modelComboBox
        blocked = combo.blockSignals(True)
        combo.clear()
        for name in advice.model_names():
            combo.addItem(name, name)
        if node is not None:
            combo.setCurrentIndex(combo.findData(node.model))
        combo.blockSignals(blocked)

    def show(self, node: Any) -> Wishes:
        """Shows what belongs to the choices; returns them as plain values."""
        ui, wishes = self.ui, wishes_of(node)
        ui.modelComboBox.setCurrentIndex(ui.modelComboBox.findData(node.model))
        for label, text in (
            (ui.modelNoteLabel, advice.model_note(node.model)),
            (ui.previewLabel, advice.preview(wishes)),
        ):
            label.text = text
            label.setVisible(bool(text))
        ui.allFramesCheckBox.setVisible(
            wishes.input_node is not None and sequence_of(wishes.input_node) is not None
        )
        ui.fusionComboBox.enabled = len(wishes.views) > 1
        found = advice.doubts(wishes)
        ui.warningLabel.text = "\n".join(_("Note: {text}").format(text=text) for text in found)
        ui.warningLabel.setVisible(bool(found))
        return wishes

    def _choose_model(self, index: int) -> None:
        name = self.ui.modelComboBox.itemData(index)
        if self._node is not None and name:
            self._node.model = name
