"""Images side by side in linked views: input, result, reference, maps; fused stacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from MRIForgeLib import layout
from MRIForgeLib.display import (
    DisplayMemory,
    add_legend,
    is_in_scene,
    same_window,
    show_voxels,
    style_difference,
    style_residuals,
    style_ssim,
)
from MRIForgeLib.figures import fill_metrics_table
from MRIForgeLib.hierarchy import HierarchyPlace
from MRIForgeLib.sequences import sequence_of

ORIENTATIONS = ("Sagittal", "Coronal", "Axial")
"""The planes whose normals are the axes R, A, S, in this order."""

_GRAY_ROLES = ("reference", "result", "low", "stack2", "stack3")
_TRUE_VOXELS = ("low", "stack2", "stack3")
_RESIDUALS = ("residual1", "residual2", "residual3")
_MAPS = ("ssim", "difference", *_RESIDUALS)
_MARGIN = 1.03
_THICKER = 1.1
"""A voxel axis this much longer than both others is the slice axis; else it is the third."""


class Comparison:
    """Shows up to five images (of fused stacks eight) in views that scroll, zoom and pan together.

    ::

        comparison = Comparison({"low": scan, "result": sharpened, "reference": truth})
        comparison.show()                   # False when there is no main window
        comparison.metrics_table(figures)   # appears below the views
        comparison.close()                  # everything as it was

    One comparison is open at a time: showing another closes the first. Nodes that are deleted in
    the meantime and a layout that the user chose himself are left alone.

    Args:
        nodes: volumes (or sequences, or their proxy volumes) by role, see
            :data:`MRIForgeLib.layout.ROLES` and ``STACK_ROLES``; ``None`` counts as missing. Only
            "result" must be there. The grids may differ: the views show positions in the patient.

    Raises:
        ValueError: an unknown role, or no result.
    """

    _open: ClassVar[Comparison | None] = None

    def __init__(self, nodes: Mapping[str, slicer.vtkMRMLNode | None]) -> None:
        unknown = set(nodes) - set(layout.TAGS)
        if unknown:
            raise ValueError(f"roles are {tuple(layout.TAGS)}, not {sorted(unknown)}")
        given = {role: _shown_volume(nodes.get(role)) for role in layout.TAGS}
        self._nodes = {role: node for role, node in given.items() if node is not None}
        if "result" not in self._nodes:
            raise ValueError("a comparison needs a result")
        self._memory = DisplayMemory()
        self._table: slicer.vtkMRMLTableNode | None = None
        self._previous_layout: int | None = None
        self._crosshair_mode: int | None = None
        self._followed: list[tuple[slicer.vtkMRMLNode, int]] = []

    @property
    def nodes(self) -> dict[str, slicer.vtkMRMLNode]:
        """The volumes that are still in the scene, by role."""
        return {role: node for role, node in self._nodes.items() if is_in_scene(node)}

    @property
    def is_open(self) -> bool:
        """Whether it was shown and not closed since."""
        return Comparison._open is self

    def show(
        self,
        orientation: str | None = None,
        *,
        crosshair: bool = False,
        difference_limit: float | None = None,
    ) -> bool:
        """Arranges the views, or arranges them anew.

        Args:
            orientation: "Axial", "Sagittal", "Coronal", or ``None`` for the plane in which the
                low-resolution image was acquired. The views are turned to the nearest plane of
                the result's voxels.
            crosshair: show the crosshair, which all views share.
            difference_limit: end of the color scale of the difference map, in its units; default:
                99.5 % of the differences are within.

        Returns:
            Whether there was something to show it in: False without a main window, or when the
            result was deleted.

        Raises:
            ValueError: an unknown orientation.
        """
        if orientation not in (None, *ORIENTATIONS):
            raise ValueError(f"orientation is one of {ORIENTATIONS}, not {orientation!r}")
        manager = slicer.app.layoutManager()
        if manager is None or "result" not in self.nodes:
            return False
        # Everything is drawn once, at the end.
        with slicer.util.RenderBlocker():
            self._take_over(manager)
            self._style(difference_limit)
            self._arrange(manager)
            self._turn(manager, orientation or self._acquisition_plane())
            self._fit(manager)
            if crosshair:
                self._show_crosshair()
            self._follow_browsers()
        return True

    def close(self) -> None:
        """Puts the layout and the display of the images back; harmless when not open."""
        if Comparison._open is not self:
            return
        Comparison._open = None
        for browser, tag in self._followed:
            browser.RemoveObserver(tag)
        self._followed.clear()
        with slicer.util.RenderBlocker():
            self._memory.restore()
            self._hide_crosshair()
            self._leave_views()

    def metrics_table(self, figures: Mapping[str, Any]) -> slicer.vtkMRMLTableNode:
        """The figures as a table beside the result, shown below the views if they are open.

        Args:
            figures: what the ``evaluate`` job returned; its other images ("compare") are called
                as our volumes are if their keys are our roles.

        Returns:
            The table; the same one when called again.
        """
        nodes = self._nodes
        names = {role: node.GetName() for role, node in nodes.items()}
        result = nodes["result"]
        if not is_in_scene(self._table):
            title = _("{result} figures").format(result=names["result"])
            self._table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", title)
            if is_in_scene(result):
                HierarchyPlace.of(result).put(self._table)
        reference = names.get("reference", _("reference"))
        fill_metrics_table(self._table, figures, names["result"], reference, names)
        self._table.SetAttribute("MRIForge.figuresOf", names["result"])
        manager = slicer.app.layoutManager()
        if self.is_open and manager is not None and layout.is_ours(manager.layout):
            with slicer.util.RenderBlocker():
                self._arrange(manager)
                self._fit(manager)
        return self._table

    def _take_over(self, manager: Any) -> None:
        """Closes another comparison and remembers the layout to go back to."""
        if Comparison._open is self:
            if not layout.is_ours(manager.layout):
                self._previous_layout = manager.layout
            return
        if Comparison._open is not None:
            Comparison._open.close()
        before = manager.layout
        # A scene that was saved with a comparison open starts in our layout.
        four_up = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
        self._previous_layout = four_up if layout.is_ours(before) else before
        Comparison._open = self

    def _style(self, difference_limit: float | None) -> None:
        nodes = self.nodes
        same_window([nodes[role] for role in _GRAY_ROLES if role in nodes], self._memory)
        for role in _TRUE_VOXELS:
            if role in nodes:
                show_voxels(nodes[role], self._memory)
        if "ssim" in nodes:
            style_ssim(nodes["ssim"], self._memory)
        if "difference" in nodes:
            style_difference(nodes["difference"], difference_limit, self._memory)
        style_residuals([nodes[role] for role in _RESIDUALS if role in nodes], self._memory)

    def _arrange(self, manager: Any) -> None:
        """Our layout, with each image in its view and the views linked."""
        nodes = self.nodes
        table = self._table if is_in_scene(self._table) else None
        layout_node = manager.layoutLogic().GetLayoutNode()
        # With five images the table's place is there anyway: without it the views of the second
        # row would be wider, and the images in the first row smaller.
        below = "table" if table is not None or len(nodes) == len(layout.ROLES) else None
        manager.setLayout(layout.describe(layout_node, list(nodes), below))
        # The views get their sizes now; fitting needs them.
        slicer.app.processEvents()
        names = layout.labels(nodes)
        for role, widget in self._widgets(manager).items():
            # A view that was there before may have been put into another group by the user, or
            # have shown something else.
            widget.mrmlSliceNode().SetViewGroup(layout.VIEW_GROUP)
            widget.mrmlSliceNode().SetLayoutLabel(names[role])
            composite = widget.mrmlSliceCompositeNode()
            composite.SetBackgroundVolumeID(nodes[role].GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)
            # A volume that is loaded meanwhile is shown in other views, not under our labels.
            composite.SetDoPropagateVolumeSelection(False)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
            if role in _MAPS:
                add_legend(nodes[role], role, self._memory)
        view = slicer.mrmlScene.GetSingletonNode(layout.TABLE_TAG, "vtkMRMLTableViewNode")
        if view is not None:
            view.SetDoPropagateTableSelection(False)
            view.SetTableNodeID(table.GetID() if table is not None else None)

    def _widgets(self, manager: Any) -> dict[str, Any]:
        found = {role: manager.sliceWidget(layout.TAGS[role]) for role in self.nodes}
        return {role: widget for role, widget in found.items() if widget is not None}

    def _turn(self, manager: Any, orientation: str) -> None:
        """All views in one plane, through the middle voxel of the result."""
        result = self._nodes["result"]
        size = result.GetImageData().GetDimensions() if result.GetImageData() else (1, 1, 1)
        # A voxel's centre: between two slices the result would be shown smoother than it is.
        middle = _voxel_to_world(result) @ [*(n // 2 for n in size), 1.0]
        for widget in self._widgets(manager).values():
            node = widget.mrmlSliceNode()
            node.SetOrientation(orientation)
            if _has_linear_place(result):
                node.RotateToVolumePlane(result)
            widget.sliceLogic().FitSliceToBackground()
            node.JumpSliceByCentering(*middle[:3])

    def _fit(self, manager: Any) -> None:
        """The whole result in every view, at one field of view, at the slice it is shown at.

        Linked zooming hands the width of the field of view to the other views, so one width it
        is; the view with the least room for the result decides.
        """
        result = self._nodes["result"]
        slices = {role: w.mrmlSliceNode() for role, w in self._widgets(manager).items()}
        if "result" not in slices:
            return
        plane = slices["result"].GetSliceToRAS()
        to_world = slicer.util.arrayFromVTKMatrix(plane)
        to_slice = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(plane, to_slice)
        bounds = [0.0] * 6
        result.GetSliceBounds(bounds, to_slice)
        extent = np.subtract(bounds[1::2], bounds[::2])
        middle = np.array([np.mean(bounds[0:2]), np.mean(bounds[2:4]), 0.0, 1.0])
        center = to_world @ middle
        width = max(
            max(extent[0], extent[1] * node.GetDimensions()[0] / max(1, node.GetDimensions()[1]))
            for node in slices.values()
        )
        if not width > 0:
            return
        for node in slices.values():
            columns, rows = node.GetDimensions()[:2]
            blocked = node.StartModify()
            node.SetXYZOrigin(0.0, 0.0, 0.0)
            across = _MARGIN * width
            node.SetFieldOfView(across, across * rows / max(1, columns), node.GetFieldOfView()[2])
            node.JumpSliceByCentering(*center[:3])
            node.EndModify(blocked)

    def _acquisition_plane(self) -> str:
        """The plane across the thickest axis of the low-resolution image's voxels."""
        node = self.nodes.get("low", self._nodes["result"])
        spacing = np.array(node.GetSpacing())
        order = np.argsort(spacing)
        axis = int(order[2]) if spacing[order[2]] > _THICKER * spacing[order[1]] else 2
        normal = _voxel_to_world(node)[:3, axis]
        return ORIENTATIONS[int(np.argmax(np.abs(normal)))]

    def _show_crosshair(self) -> None:
        crosshair = _crosshair()
        if crosshair is None:
            return
        if self._crosshair_mode is None:
            self._crosshair_mode = crosshair.GetCrosshairMode()
        crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowSmallBasic)

    def _hide_crosshair(self) -> None:
        crosshair = _crosshair()
        if self._crosshair_mode is not None and crosshair is not None:
            crosshair.SetCrosshairMode(self._crosshair_mode)
        self._crosshair_mode = None

    def _leave_views(self) -> None:
        """Back to the layout of before, unless the user has chosen another himself."""
        manager = slicer.app.layoutManager()
        if manager is None:
            return
        if layout.is_ours(manager.layout):
            manager.setLayout(self._previous_layout)
        # The views stay alive, hidden: they need not follow the volumes any more.
        for tag in layout.TAGS.values():
            widget = manager.sliceWidget(tag)
            if widget is not None:
                widget.mrmlSliceCompositeNode().SetBackgroundVolumeID(None)

    def _follow_browsers(self) -> None:
        """Images of series on other sequence browsers show the same frame as the result."""
        for browser, tag in self._followed:
            browser.RemoveObserver(tag)
        self._followed.clear()
        sources = {role: sequence_of(node) for role, node in self.nodes.items()}
        browsers = {role: s.browser for role, s in sources.items() if s is not None and s.browser}
        leader = browsers.get("result") or browsers.get("low")
        if leader is None:
            return
        sequences = getattr(slicer.modules, "sequences", None)
        if sequences is not None:
            sequences.toolBar().setActiveBrowserNode(leader)
        followers = [browser for browser in browsers.values() if browser is not leader]
        if followers:

            def follow(_caller: Any = None, _event: str = "") -> None:
                for browser in followers:
                    if browser.GetNumberOfItems() == leader.GetNumberOfItems():
                        browser.SetSelectedItemNumber(leader.GetSelectedItemNumber())

            self._followed.append(
                (leader, leader.AddObserver(vtk.vtkCommand.ModifiedEvent, follow))
            )
            follow()


def _shown_volume(node: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLNode | None:
    """The volume of a sequence that can be shown; other nodes as they are."""
    if node is None or not node.IsA("vtkMRMLSequenceNode"):
        return node
    source = sequence_of(node)
    if source is None or source.proxy is None:
        raise ValueError(f"the sequence {node.GetName()} is on no sequence browser")
    return source.proxy


def _has_linear_place(node: slicer.vtkMRMLVolumeNode) -> bool:
    parent = node.GetParentTransformNode()
    return parent is None or bool(parent.IsTransformToWorldLinear())


def _voxel_to_world(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """4x4 matrix from voxel index (i, j, k) to RAS mm; without transforms that are not linear."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    local = slicer.util.arrayFromVTKMatrix(matrix)
    parent = node.GetParentTransformNode()
    if parent is None or not parent.IsTransformToWorldLinear():
        return local
    parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix) @ local


def _crosshair() -> slicer.vtkMRMLCrosshairNode | None:
    return slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
