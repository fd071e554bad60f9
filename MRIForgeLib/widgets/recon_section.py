"""The choices of a reconstruction in a panel, and which of them belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MRIForgeLib.recon import advice
from MRIForgeLib.recon.wishes import Method, ReconWishes, Source, recon_wishes_of

_PATHS = {"rawPathLineEdit": "rawFile", "factorsPathLineEdit": "factorsFile"} | {
    "folderPathLineEdit": "folder"
}
"""Lines for paths and their parameters: text, because an empty path is not a path."""

_OF_SOURCE = {
    Source.RAW: ("rawLabel", "rawPathLineEdit", "folderLabel", "folderPathLineEdit"),
    Source.SIMULATED: ("seedLabel", "seedSpinBox", "folderLabel", "folderPathLineEdit"),
    Source.FACTORS: ("factorsLabel", "factorsPathLineEdit"),
}
_ITERATIONS = (
    "outerLabel",
    "outerSpinBox",
    "innerSpinBox",
    "sparsityLabel",
    "sparsityComboBox",
    "regularisationLabel",
    "regularisationSpinBox",
)
_OF_METHOD = {
    Method.GRIDDING: (),
    Method.ADMM: _ITERATIONS,
    Method.FISTA: tuple(name for name in _ITERATIONS if name != "innerSpinBox"),
    Method.MALIBU: ("modelLabel", "modelComboBox", "consistencyLabel", "consistencySpinBox"),
}


class ReconSection:
    """Connects the lines for paths and the list of models; shows what belongs to the choices.

    Args:
        ui: the panel's widgets by name.

    Attributes:
        report: of the last reconstruction; None: there is none.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.report: Path | None = None
        self._node: Any = None
        for widget, parameter in _PATHS.items():
            line = getattr(ui, widget)
            line.connect(
                "currentPathChanged(QString)", lambda path, name=parameter: self._put(name, path)
            )
        ui.modelComboBox.connect("currentIndexChanged(int)", self._choose_model)

    def use(self, node: Any) -> None:
        """The parameter node whose choices are shown and changed from now on."""
        self._node = node

    def fill_models(self, node: Any) -> None:
        """Lists the installed models; that of the parameter node is selected, if there."""
        combo, names = self.ui.modelComboBox, advice.model_names()
        blocked = combo.blockSignals(True)
        combo.clear()
        for name in names:
            combo.addItem(name, name)
        if node is not None:
            combo.setCurrentIndex(combo.findData(node.model))
        combo.blockSignals(blocked)

    def show(self, node: Any) -> ReconWishes:
        """Shows what belongs to the choices; returns them as plain values."""
        ui, wishes = self.ui, recon_wishes_of(node)
        for widget, parameter in _PATHS.items():
            line = getattr(ui, widget)
            if line.currentPath != getattr(node, parameter):
                line.currentPath = getattr(node, parameter)
        ui.modelComboBox.setCurrentIndex(ui.modelComboBox.findData(node.model))
        _show_only(ui, _OF_SOURCE, wishes.source)
        _show_only(ui, _OF_METHOD, wishes.method)
        for section in (ui.methodSection, ui.advancedSection):
            section.setVisible(wishes.source is not Source.FACTORS)
        ui.previewLabel.text = advice.preview(wishes)
        found = advice.doubts(wishes)
        ui.warningLabel.text = "\n".join(_("Note: {text}").format(text=text) for text in found)
        ui.warningLabel.setVisible(bool(found))
        return wishes

    def remember_paths(self) -> None:
        """Paths that were used are offered again."""
        for widget in _PATHS:
            line = getattr(self.ui, widget)
            if line.currentPath:
                line.addCurrentPathToHistory()

    def open_report(self) -> None:
        """Shows the report in the web browser."""
        if self.report is not None and self.report.is_file():
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.report)))
        else:
            slicer.util.showStatusMessage(_("The report is not there any more."), 3000)

    def _put(self, name: str, path: str) -> None:
        if self._node is not None and getattr(self._node, name) != path:
            setattr(self._node, name, path)

    def _choose_model(self, index: int) -> None:
        name = self.ui.modelComboBox.itemData(index)
        if self._node is not None and name:
            self._node.model = name


def _show_only(ui: Any, groups: dict[Any, tuple[str, ...]], chosen: Any) -> None:
    """Shows the widgets of one group, and no other of the groups."""
    for name in {name for names in groups.values() for name in names}:
        getattr(ui, name).setVisible(name in groups[chosen])
