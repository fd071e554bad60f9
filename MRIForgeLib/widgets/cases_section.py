"""The part of a panel where labelled cases are chosen: a folder of files, or pairs of nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from MRIForgeLib.display import is_in_scene


class CasesSection:
    """Connects the line for the folder, two selectors, two buttons and the list of pairs.

    Args:
        ui: the panel's widgets by name.
        changed: called when the cases are others.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self.ui, self.changed = ui, changed
        self._pairs: list[tuple[str, str]] = []
        ui.casesPathLineEdit.connect("currentPathChanged(QString)", self._changed)
        for selector in (ui.caseImageSelector, ui.caseLabelsSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._changed)
        ui.addCaseButton.connect("clicked(bool)", self.add)
        ui.removeCaseButton.connect("clicked(bool)", self.remove)
        ui.casesList.connect("currentRowChanged(int)", self._changed)

    @property
    def folder(self) -> str:
        """Folder of labelled files; empty: none is chosen."""
        return self.ui.casesPathLineEdit.currentPath.strip()

    @property
    def pairs(self) -> list[tuple[Any, Any]]:
        """Images with their outlines, as far as both are still in the scene."""
        scene = slicer.mrmlScene
        found = [
            (scene.GetNodeByID(image), scene.GetNodeByID(outlines))
            for image, outlines in self._pairs
        ]
        return [pair for pair in found if None not in pair]

    def add(self, checked: bool = False) -> None:
        """The selected nodes become a pair."""
        image, outlines = self._selected()
        if image is None or outlines is None:
            return
        pair = image.GetID(), outlines.GetID()
        if pair not in self._pairs:
            self._pairs.append(pair)
        self._show()

    def remove(self, checked: bool = False) -> None:
        """The selected line goes."""
        line = self.ui.casesList.currentRow
        if 0 <= line < len(self._pairs):
            del self._pairs[line]
        self._show()

    def refresh(self) -> None:
        """Drops pairs whose nodes have gone, and follows renamed ones."""
        there = [(image.GetID(), outlines.GetID()) for image, outlines in self.pairs]
        texts = [self._text(image, outlines) for image, outlines in self.pairs]
        shown = [self.ui.casesList.item(n).text() for n in range(self.ui.casesList.count)]
        if there != self._pairs or texts != shown:
            self._pairs = there
            self._show()

    def forget(self) -> None:
        """The scene was closed."""
        self._pairs.clear()
        self._show()

    def allow(self, free: bool) -> None:
        """Enables what can be done; ``free``: nothing runs."""
        ui = self.ui
        by_hand = free and not self.folder
        image, outlines = self._selected()
        ui.addCaseButton.enabled = by_hand and is_in_scene(image) and is_in_scene(outlines)
        ui.removeCaseButton.enabled = by_hand and 0 <= ui.casesList.currentRow < len(self._pairs)
        for widget in (ui.caseImageSelector, ui.caseLabelsSelector, ui.casesList):
            widget.enabled = by_hand

    def _selected(self) -> tuple[Any, Any]:
        return self.ui.caseImageSelector.currentNode(), self.ui.caseLabelsSelector.currentNode()

    def _show(self) -> None:
        listed = self.ui.casesList
        listed.clear()
        for image, outlines in self.pairs:
            listed.addItem(self._text(image, outlines))
        self.changed()

    def _text(self, image: Any, outlines: Any) -> str:
        return _("{image} with {outlines}").format(
            image=image.GetName(), outlines=outlines.GetName()
        )

    def _changed(self, value: Any = None) -> None:
        self.changed()
