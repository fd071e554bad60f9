"""The map of disagreement laid over the image, and taken off again."""

from __future__ import annotations

from typing import Any

import slicer

from MRIForgeLib.display import is_in_scene
from MRIForgeLib.segment.uncertainty import add_disagreement_legend

_MAP = "MRIForge.disagreement"
"""Role of the reference from a segmentation to its map."""
_OPACITY = 0.75


def link(segmentation: Any, disagreement: Any) -> None:
    """Remembers, in the scene and its file, which map belongs to a segmentation; None: no map."""
    identity = disagreement.GetID() if disagreement is not None else None
    segmentation.SetNodeReferenceID(_MAP, identity)


def map_of(segmentation: Any) -> Any:
    """The map that belongs to a segmentation; None where there is none (any more)."""
    return segmentation.GetNodeReference(_MAP) if is_in_scene(segmentation) else None


class Overlay:
    """Shows one map at a time as foreground of the slice views.

    Meanwhile segments are outlines without fill, which would tint the map. Views that do not follow
    the application's choice of volumes, such as those of a comparison, are left alone.
    """

    def __init__(self) -> None:
        self._map: Any = None
        self._segmentation: Any = None
        self._filled = True
        self._selected: str | None = None
        self._before: list[tuple[Any, str | None, float]] = []

    @property
    def shown(self) -> Any:
        """The map that is shown; None: none is."""
        return self._map if is_in_scene(self._map) else None

    def show(self, segmentation: Any) -> None:
        """Lays the map of ``segmentation`` over what the views show; nothing without a map."""
        found = map_of(segmentation)
        if found is None or found is self.shown:
            return
        self.hide()
        self._map, self._segmentation = found, segmentation
        display = segmentation.GetDisplayNode()
        if display is not None:
            self._filled = bool(display.GetVisibility2DFill())
            display.SetVisibility2DFill(False)
        add_disagreement_legend(found)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        self._selected = selection.GetSecondaryVolumeID()
        # Whoever shows another image now tells all views to show this in front of it.
        selection.SetSecondaryVolumeID(found.GetID())
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if not composite.GetDoPropagateVolumeSelection():
                continue
            state = composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()
            self._before.append((composite, *state))
            blocked = composite.StartModify()
            composite.SetForegroundVolumeID(found.GetID())
            composite.SetForegroundOpacity(_OPACITY)
            composite.EndModify(blocked)
        _wake_legends()

    def hide(self) -> None:
        """Puts back what the views showed before, as far as nobody changed it since."""
        shown, self._map = self._map, None
        segmentation, self._segmentation = self._segmentation, None
        before, self._before = self._before, []
        if shown is None:
            return
        selection = slicer.app.applicationLogic().GetSelectionNode()
        if selection.GetSecondaryVolumeID() == shown.GetID():
            selection.SetSecondaryVolumeID(_if_there(self._selected))
        display = segmentation.GetDisplayNode() if is_in_scene(segmentation) else None
        if display is not None:
            display.SetVisibility2DFill(self._filled)
        for composite, volume, opacity in before:
            if is_in_scene(composite) and composite.GetForegroundVolumeID() == shown.GetID():
                blocked = composite.StartModify()
                composite.SetForegroundVolumeID(_if_there(volume))
                composite.SetForegroundOpacity(opacity)
                composite.EndModify(blocked)
        _wake_legends()

    def forget(self) -> None:
        """The scene is being closed: nothing to put back."""
        self._map = self._segmentation = None
        self._before.clear()


def _if_there(identity: str | None) -> str | None:
    """A node's ID; None when it is gone."""
    return identity if identity and slicer.mrmlScene.GetNodeByID(identity) is not None else None


def _wake_legends() -> None:
    """Legends look at what their view shows only when they change themselves."""
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        legend.Modified()
