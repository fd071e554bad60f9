"""The map of disagreement laid over the image, and taken off again."""

from __future__ import annotations

from typing import Any

from MRIForgeLib.display import is_in_scene
from MRIForgeLib.overlay import MapOverlay, link_map, linked_map
from MRIForgeLib.segment.uncertainty import ROLE

_MAP = "MRIForge.disagreement"
"""Role of the reference from a segmentation to its map."""


def link(segmentation: Any, disagreement: Any) -> None:
    """Remembers, in the scene and its file, which map belongs to a segmentation; None: no map."""
    link_map(segmentation, disagreement, _MAP)


def map_of(segmentation: Any) -> Any:
    """The map that belongs to a segmentation; None where there is none (any more)."""
    return linked_map(segmentation, _MAP)


class Overlay(MapOverlay):
    """Shows the map of one segmentation at a time as foreground of the slice views.

    Meanwhile segments are outlines without fill, which would tint the map.
    """

    def __init__(self) -> None:
        super().__init__(ROLE)
        self._segmentation: Any = None
        self._filled = True

    def show(self, segmentation: Any) -> None:
        """Lays the map of ``segmentation`` over what the views show; nothing without a map."""
        found = map_of(segmentation)
        if found is None or found is self.shown:
            return
        self.hide()
        self._segmentation = segmentation
        display = segmentation.GetDisplayNode()
        if display is not None:
            self._filled = bool(display.GetVisibility2DFill())
            display.SetVisibility2DFill(False)
        self.lay(found)

    def hide(self) -> None:
        """Puts back what the views showed before, as far as nobody changed it since."""
        segmentation, self._segmentation = self._segmentation, None
        display = segmentation.GetDisplayNode() if is_in_scene(segmentation) else None
        if display is not None:
            display.SetVisibility2DFill(self._filled)
        super().hide()

    def forget(self) -> None:
        """The scene is being closed: nothing to put back."""
        self._segmentation = None
        super().forget()
