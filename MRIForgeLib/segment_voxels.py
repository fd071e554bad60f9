"""Segmentation nodes as label maps of the core: voxels on a grid, and what each segment means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from mriforge.anatomy import ORGANS, Organ
from mriforge.errors import BadInput
from mriforge.volume import Grid, Volume
from MRIForgeLib.nodes import grid_matrix
from MRIForgeLib.segmentations import grid_from_text, reference_grid

Code = tuple[str, str, str]


@dataclass(frozen=True)
class Meaning:
    """What a segment says it is: scheme, value and meaning of each code; None: it does not say.

    Attributes:
        category, type, modifier: as in Slicer's terminologies.
    """

    category: Code | None = None
    type: Code | None = None
    modifier: Code | None = None

    @classmethod
    def of(cls, segment: Any) -> Meaning:
        """That of a ``vtkSegment``."""
        text = tag(segment, segment.GetTerminologyEntryTagName())
        parts = [_code(part) for part in text.split("~")[1:4]]
        return cls(*parts) if len(parts) == 3 else cls()

    @property
    def known(self) -> bool:
        """Whether it says of what kind it is and what."""
        return self.category is not None and self.type is not None


def tag(segment: Any, name: str) -> str:
    """A tag of a ``vtkSegment``; empty when it has none of that name."""
    text = vtk.reference("")
    return str(text) if segment.GetTag(name, text) else ""


def organ_of(segment: Any) -> Organ | None:
    """Which of the ten organs a ``vtkSegment`` is: by its meaning, else by its name."""
    meaning = Meaning.of(segment)
    if meaning.type is not None:
        side = "" if meaning.modifier is None else meaning.modifier[2]
        for organ in ORGANS:
            if organ.code[0] == meaning.type[1] and organ.side == side:
                return organ
    name = _plain(segment.GetName())
    for organ in ORGANS:
        if name in _names(organ):
            return organ
    return None


def labels_of(
    node: slicer.vtkMRMLSegmentationNode,
    labels: dict[str, int],
    grid: Grid | None = None,
) -> Volume:
    """Segments as a label map; of those that overlap the last one wins.

    Args:
        node: the segmentation.
        labels: label of each segment, by its ID.
        grid: where voxels are wanted, in the frame of ``node``; default: what it was drawn on.

    Raises:
        BadInput: there is no grid, or the segments cannot be made voxels.
    """
    name = node.GetName()
    grid = grid or reference_grid(node)
    if grid is None:
        raise BadInput(
            _("'{name}' does not say on which image it was drawn.").format(name=name),
            _("Choose a source geometry for it in the Segmentations module."),
        )
    if not labels:
        raise BadInput(
            _("'{name}' has no segments.").format(name=name), _("Choose another segmentation.")
        )
    segmentation = node.GetSegmentation()
    voxels = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    if not segmentation.CreateRepresentation(voxels):
        raise BadInput(
            _("The segments of '{name}' cannot be made voxels.").format(name=name),
            _("Create a binary labelmap of it in the Segmentations module."),
        )
    geometry, merged = _geometry(grid), slicer.vtkOrientedImageData()
    keys, numbers = _strings(labels), vtk.vtkIntArray()
    for label in labels.values():
        numbers.InsertNextValue(label)
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    node.GenerateMergedLabelmapForAllSegments(merged, extent, geometry, keys, numbers)
    if merged.GetDimensions()[::-1] != grid.shape:
        return Volume(np.zeros(grid.shape, np.uint8), grid)
    array = vtk_to_numpy(merged.GetPointData().GetScalars()).reshape(grid.shape)
    dtype = np.uint8 if max(labels.values()) < 256 else np.uint16
    return Volume(array.astype(dtype), grid)


def filled(node: slicer.vtkMRMLSegmentationNode, keys: Sequence[str]) -> list[str]:
    """Those of the segments that have a voxel, or whose surface has a point."""
    return [key for key in keys if not _is_empty(node.GetSegmentation().GetSegment(key))]


def overlapping(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether two segments have a voxel in common.

    Segments that were edited are in images of their own, whether they overlap or not.
    """
    segmentation = node.GetSegmentation()
    layers = segmentation.GetNumberOfLayers()
    if layers < 2:
        return False
    common = slicer.vtkSegmentation.EXTENT_UNION_OF_SEGMENTS
    keys = _strings(segmentation.GetSegmentIDs())
    grid = grid_from_text(segmentation.DetermineCommonLabelmapGeometry(common, keys))
    if grid is None:
        return False
    taken = None
    for layer in range(layers):
        keys = segmentation.GetSegmentIDsForLayer(layer)
        here = labels_of(node, dict.fromkeys(keys, 1), grid).array > 0
        if taken is not None and (taken & here).any():
            return True
        taken = here if taken is None else taken | here
    return False


def _is_empty(segment: Any) -> bool:
    voxels = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    image = segment.GetRepresentation(voxels)
    if image is None:
        surface = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
        points = segment.GetRepresentation(surface)
        return points is None or points.GetNumberOfPoints() == 0
    scalars = image.GetPointData().GetScalars()
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return True
    return not (vtk_to_numpy(scalars) == segment.GetLabelValue()).any()


def _geometry(grid: Grid) -> slicer.vtkOrientedImageData:
    """An image without voxels on ``grid``."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*grid.stored_shape)
    image.SetGeometryFromImageToWorldMatrix(grid_matrix(grid))
    return image


def _strings(texts: Iterable[str]) -> vtk.vtkStringArray:
    array = vtk.vtkStringArray()
    for text in texts:
        array.InsertNextValue(text)
    return array


def _code(text: str) -> Code | None:
    parts = text.split("^")
    return tuple(parts) if len(parts) == 3 and all(parts[:2]) else None


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _names(organ: Organ) -> set[str]:
    """What people and other programs call an organ."""
    names = {_plain(organ.key), _plain(organ.title)}
    if organ.side:
        kind = organ.code[1].lower()
        names |= {f"{kind} {organ.side.lower()}", f"{organ.side.lower()} {kind}"}
    more = {
        "small_intestine": {"small bowel"},
        "vertebrae": {"vertebra", "vertebral body", "spine"},
        "spinal_cord": {"cord"},
    }
    return names | more.get(organ.key, set())
