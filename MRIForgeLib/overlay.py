"""A map laid over the image in the slice views, and taken off again."""

from __future__ import annotations

from typing import Any

import slicer

from MRIForgeLib.display import add_legend, is_in_scene

_OPACITY = 0.75


def link_map(node: Any, one: Any, role: str) -> None:
    """Remembers, in the scene and its file, which map belongs to a node; None: no map.

    Args:
        role: of the reference, "MRIForge.disagreement" for example.
    """
    node.SetNodeReferenceID(role, one.GetID() if one is not None else None)


def linked_map(node: Any, role: str) -> Any:
    """The map that belongs to a node; None where there is none (any more)."""
    return node.GetNodeReference(role) if is_in_scene(node) else None


class MapOverlay:
    """Shows one map at a time as foreground of the slice views.

    Views that do not follow the application's choice of volumes, such as those of a comparison, are
    left alone.

    Args:
        role: of the map's legend, see :func:`MRIForgeLib.display.add_legend`.
    """

    def __init__(self, role: str) -> None:
        self._role = role
        self._map: Any = None
        self._selected: str | None = None
        self._before: list[tuple[Any, str | None, float]] = []

    @property
    def shown(self) -> Any:
        """The map that is shown; None: none is."""
        return self._map if is_in_scene(self._map) else None

    def lay(self, found: Any) -> None:
        """Lays a map over what the views show."""
        self._map = found
        add_legend(found, self._role)
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
        before, self._before = self._before, []
        if shown is None:
            return
        selection = slicer.app.applicationLogic().GetSelectionNode()
        if selection.GetSecondaryVolumeID() == shown.GetID():
            selection.SetSecondaryVolumeID(_if_there(self._selected))
        for composite, volume, opacity in before:
            if is_in_scene(composite) and composite.GetForegroundVolumeID() == shown.GetID():
                blocked = composite.StartModify()
                composite.SetForegroundVolumeID(_if_there(volume))
                composite.SetForegroundOpacity(opacity)
                composite.EndModify(blocked)
        _wake_legends()

    def forget(self) -> None:
        """The scene is being closed: nothing to put back."""
        self._map = None
        self._before.clear()


def _if_there(identity: str | None) -> str | None:
    """A node's ID; None when it is gone."""
    return identity if identity and slicer.mrmlScene.GetNodeByID(identity) is not None else None


def _wake_legends() -> None:
    """Legends look at what their view shows only when they change themselves."""
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        legend.Modified()
