"""Surfaces of segmentations for 3-D views, one segment a step.

What ``CreateClosedSurfaceRepresentation`` does at once takes a second for a whole abdomen.
"""

from __future__ import annotations

from typing import Any

import slicer

from MRIForgeLib.tasks import Steps


def has_surfaces(node: Any) -> bool:
    """Whether every segment of a segmentation node has a surface; false where there is none."""
    segmentation = node.GetSegmentation()
    name = _surface_name()
    count = segmentation.GetNumberOfSegments()
    segments = (segmentation.GetNthSegment(number) for number in range(count))
    return count > 0 and all(segment.GetRepresentation(name) is not None for segment in segments)


def surface_steps(node: Any) -> Steps[None]:
    """Makes the surfaces that are missing; ends early when the node leaves its scene.

    The settings (smoothing, decimation) are those of the segmentation.

    Args:
        node: segmentation node of binary labelmaps.
    """
    segmentation, name = node.GetSegmentation(), _surface_name()
    voxels = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    rule = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule()
    for key in (
        rule.GetSmoothingFactorParameterName(),
        rule.GetDecimationFactorParameterName(),
        rule.GetComputeSurfaceNormalsParameterName(),
        rule.GetConversionMethodParameterName(),
    ):
        rule.SetConversionParameter(key, segmentation.GetConversionParameter(key))
    # Those who show the segmentation make all surfaces at once as soon as one is there: so they
    # get them together. By identity, because segments may come and go in between.
    made = {}
    for identity in list(segmentation.GetSegmentIDs()):
        if node.GetScene() is None:
            return
        segment = segmentation.GetSegment(identity)
        if segment is None or segment.GetRepresentation(name) is not None:
            continue
        apart = slicer.vtkSegment()
        apart.AddRepresentation(voxels, segment.GetRepresentation(voxels))
        apart.SetLabelValue(segment.GetLabelValue())
        rule.Convert(apart)
        made[identity] = segment.GetRepresentation(voxels), apart.GetRepresentation(name)
        yield
    if node.GetScene() is None:
        return
    blocked = node.StartModify()
    for identity, (source, surface) in made.items():
        segment = segmentation.GetSegment(identity)
        if segment is not None and segment.GetRepresentation(voxels) is source:
            segment.AddRepresentation(name, surface)
    node.EndModify(blocked)
    segmentation.CreateRepresentation(name)  # there already: tells those who show it


def _surface_name() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
