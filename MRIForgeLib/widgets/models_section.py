"""The Models section of a panel: list, verify, add, remove, open the folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MRIForgeLib import model_list


class ModelsSection:
    """Connects ``modelsTable``, ``modelDetailsLabel`` and the buttons of a panel.

    Args:
        ui: the panel's widgets by name.
        task: models for something else are not listed.
        changed: called after a model was added or removed.
    """

    def __init__(self, ui: Any, task: str, changed: Callable[[], None]) -> None:
        self.ui, self.task, self.changed = ui, task, changed
        table = ui.modelsTable
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([_("Model"), _("Origin"), _("Size")])
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.verticalHeader().setVisible(False)
        table.connect("itemSelectionChanged()", self.show_details)
        ui.verifyModelsButton.connect("clicked(bool)", self.verify)
        ui.addModelButton.connect("clicked(bool)", self.ask_and_add)
        ui.removeModelButton.connect("clicked(bool)", self.ask_and_remove)
        ui.openModelsFolderButton.connect("clicked(bool)", self.open_folder)

    def refresh(self) -> None:
        """Fill the table anew."""
        rows, table = model_list.rows(self.task), self.ui.modelsTable
        table.setRowCount(len(rows))
        for line, row in enumerate(rows):
            for column, text in enumerate((row.name, row.origin, row.size)):
                table.setItem(line, column, qt.QTableWidgetItem(text))
        self.show_details()

    def selected(self) -> model_list.Row | None:
        """The model of the selected line."""
        rows, line = model_list.rows(self.task), self.ui.modelsTable.currentRow()
        return rows[line] if 0 <= line < len(rows) else None

    def show_details(self) -> None:
        """What is known of the selected model."""
        row = self.selected()
        self.ui.modelDetailsLabel.text = row.details if row else ""
        self.ui.removeModelButton.enabled = bool(row and row.removable)

    def verify(self, checked: bool = False) -> None:
        """Compare every checksum."""
        self.ui.modelDetailsLabel.text = "\n".join(model_list.verify(self.task))

    def ask_and_add(self, checked: bool = False) -> None:
        """Copy a model from a file of this computer; its card and weights lie side by side."""
        file = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(),
            _("Add a model"),
            "",
            _("Models (model.safetensors card.json)"),
        )
        if file:
            with slicer.util.tryWithErrorDisplay(_("The model was not added.")):
                model_list.add_model(file)
            self.changed()

    def ask_and_remove(self, checked: bool = False) -> None:
        """Delete the selected model from the user's folder."""
        row = self.selected()
        question = _("Delete the model '{name}' from your folder?").format(name=row.name)
        if slicer.util.confirmOkCancelDisplay(question):
            with slicer.util.tryWithErrorDisplay(_("The model was not removed.")):
                model_list.remove_model(row.name)
            self.changed()

    def open_folder(self, checked: bool = False) -> None:
        """Show the user's folder of models in the file manager."""
        with slicer.util.tryWithErrorDisplay(_("The folder could not be opened.")):
            folder = str(model_list.models_folder())
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(folder))
