"""A box that lays the map of a node over the image, and the sentence below it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from MRIForgeLib.display import is_in_scene
from MRIForgeLib.overlay import MapOverlay


class MapSection(ABC):
    """Connects a check box and a label.

    Args:
        box: shows and hides the map.
        label: of the sentence.
        overlay: what lays maps over the image.
        map_of: the map of a node, or None.
    """

    def __init__(
        self, box: Any, label: Any, overlay: MapOverlay, map_of: Callable[[Any], Any]
    ) -> None:
        self.overlay = overlay
        self._box, self._label, self._map_of = box, label, map_of
        self._node: Any = None
        box.connect("toggled(bool)", self._toggle)
        self.refresh()

    def refresh(self) -> None:
        """What can be shown, and whether it is."""
        box, found = self._box, self._map_of(self._node)
        box.enabled = found is not None
        blocked = box.blockSignals(True)
        box.checked = found is not None and self.overlay.shown is found
        box.blockSignals(blocked)
        if found is not None:
            self._label.text = self._explained()
        else:
            self._label.text = self._without_map() if is_in_scene(self._node) else ""

    def forget(self) -> None:
        """The scene was closed."""
        self.overlay.forget()
        self._node = None
        self.refresh()

    def close(self) -> None:
        """The panel goes; the views become what they were."""
        self.overlay.hide()

    def _toggle(self, checked: bool) -> None:
        found = self._map_of(self._node)
        if checked and found is not None:
            self._lay(found)
        else:
            self.overlay.hide()
        self.refresh()

    @abstractmethod
    def _lay(self, found: Any) -> None:
        """Shows the map of the node."""

    @abstractmethod
    def _explained(self) -> str:
        """What the map shows."""

    @abstractmethod
    def _without_map(self) -> str:
        """That the node has no map."""
