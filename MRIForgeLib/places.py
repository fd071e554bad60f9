"""Where a result belongs, remembered before the job that makes it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from mriforge.volume import Series
from MRIForgeLib.hierarchy import HierarchyPlace
from MRIForgeLib.sequences import IndexAxis, sequence_of


@dataclass(frozen=True)
class Look:
    """How a volume is shown: gray window in its units, color node."""

    window: float
    level: float
    color_id: str | None

    @classmethod
    def of(cls, node: slicer.vtkMRMLNode | None) -> Look | None:
        """The look of a scalar volume that has been shown; None for others."""
        display = node.GetDisplayNode() if node and node.IsA("vtkMRMLScalarVolumeNode") else None
        if display is None or not display.IsA("vtkMRMLScalarVolumeDisplayNode"):
            return None
        return cls(display.GetWindow(), display.GetLevel(), display.GetColorNodeID())


@dataclass(frozen=True)
class Place:
    """Where the result of a job about ``node_id`` belongs. Nodes are kept by ID.

    Attributes:
        node_id: the input: a volume, or the proxy of a sequence; None: a sequence without proxy.
        name: of the input; of a sequence the sequence's name.
        index_to_ras: of the input, without transforms: tells whether one was hardened meanwhile.
        transform_id, sequence_id, browser_id: parent transform, sequence and its browser.
        axis: index of the sequence's frames.
        look: how the input is shown.
        beside, beside_sequence: places in the subject hierarchy.
    """

    scene: slicer.vtkMRMLScene
    name: str
    node_id: str | None
    beside: HierarchyPlace
    index_to_ras: tuple[float, ...] | None = None
    transform_id: str | None = None
    sequence_id: str | None = None
    browser_id: str | None = None
    axis: IndexAxis | None = None
    look: Look | None = None
    beside_sequence: HierarchyPlace | None = None

    @classmethod
    def of(cls, node: slicer.vtkMRMLNode) -> Place:
        """The place of a volume, of a sequence or of its proxy.

        Raises:
            BadInput: the node is not in a scene.
        """
        if node is None or node.GetScene() is None:
            raise BadInput(_("The input is no longer in the scene."), _("Choose another volume."))
        source = sequence_of(node)
        shown = node if source is None else source.proxy
        transform = shown.GetParentTransformNode() if shown else None
        place = cls(
            scene=node.GetScene(),
            name=node.GetName(),
            node_id=shown.GetID() if shown else None,
            beside=HierarchyPlace.of(shown or node),
            index_to_ras=_index_to_ras(shown),
            transform_id=transform.GetID() if transform else None,
            look=Look.of(shown),
        )
        if source is None:
            return place
        return replace(
            place,
            name=source.sequence.GetName(),
            sequence_id=source.sequence.GetID(),
            browser_id=source.browser.GetID() if source.browser else None,
            axis=IndexAxis.of(source.sequence),
            beside_sequence=HierarchyPlace.of(source.sequence),
        )

    @classmethod
    def in_scene(cls, scene: slicer.vtkMRMLScene, name: str) -> Place:
        """The place of a result whose input is not a node, but a file called ``name``."""
        return cls(scene, name, None, HierarchyPlace(scene, 0, 0))

    def node(self, node_id: str | None) -> slicer.vtkMRMLNode | None:
        """A remembered node; None when it is gone."""
        return self.scene.GetNodeByID(node_id) if node_id else None

    def transform(self) -> slicer.vtkMRMLTransformNode | None:
        """The transform for the result: the input's, which may have changed during the run.

        If a transform was hardened on the input its voxels have another frame now: then the
        remembered transform is right.
        """
        node = self.node(self.node_id)
        if node is not None and (self.axis or _index_to_ras(node) == self.index_to_ras):
            return node.GetParentTransformNode()
        return self.node(self.transform_id)

    def axis_for(self, series: Series) -> IndexAxis:
        """The index of a result's frames: exactly the input's texts where the times are its."""
        times = [float(time) for time in series.times]
        known = self.axis
        if known is not None:
            values = dict(zip(known.times, known.values, strict=True))
            if len(values) == len(known.values) and all(time in values for time in times):
                return replace(known, values=tuple(values[time] for time in times))
            if len(known.values) == len(times):
                return known
        texts = tuple(f"{time:.12g}" for time in times)
        gaps = np.diff(times)
        tolerance = float(min(1e-3, gaps.min() / 4)) if len(gaps) and gaps.min() > 0 else 1e-3
        return IndexAxis(series.time_name, series.time_unit, texts, True, tolerance)


def _index_to_ras(node: slicer.vtkMRMLVolumeNode | None) -> tuple[float, ...] | None:
    if node is None or not node.IsA("vtkMRMLVolumeNode"):
        return None
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return tuple(slicer.util.arrayFromVTKMatrix(matrix).ravel().tolist())
