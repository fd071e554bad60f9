"""Surfaces for 3-D views, segment by segment: the same as Slicer's own."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def segmentation(scene):
    """Three balls that touch, and a segment that is empty."""
    import slicer

    z, y, x = np.indices((20, 30, 40))
    array = np.zeros((20, 30, 40), np.uint8)
    for label, centre in ((1, 10), (2, 19), (3, 30)):
        array[(z - 10) ** 2 + (y - 15) ** 2 + (x - centre) ** 2 < 36] = label
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "balls")
    slicer.util.updateVolumeFromArray(labels, array)
    labels.SetSpacing(2.0, 1.5, 3.0)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "balls")
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
    scene.RemoveNode(labels)
    node.CreateDefaultDisplayNodes()
    return node


def points(node) -> list[np.ndarray]:
    from vtk.util.numpy_support import vtk_to_numpy

    segmentation = node.GetSegmentation()
    found = []
    for number in range(segmentation.GetNumberOfSegments()):
        surface = segmentation.GetNthSegment(number).GetRepresentation("Closed surface")
        found.append(vtk_to_numpy(surface.GetPoints().GetData()).copy())
    return found


@pytest.mark.parametrize("smoothing", ["0.0", "0.5"])
def test_the_surfaces_are_those_of_slicer(segmentation, smoothing) -> None:
    from MRIForgeLib.surfaces import has_surfaces, surface_steps

    segmentation.GetSegmentation().SetConversionParameter("Smoothing factor", smoothing)
    assert not has_surfaces(segmentation)
    steps = sum(1 for _step in surface_steps(segmentation))
    assert steps == 3 and has_surfaces(segmentation)
    found = points(segmentation)
    segmentation.RemoveClosedSurfaceRepresentation()
    segmentation.CreateClosedSurfaceRepresentation()
    for ours, theirs in zip(found, points(segmentation), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_there_is_not_made_again(segmentation) -> None:
    from MRIForgeLib.surfaces import surface_steps

    segmentation.CreateClosedSurfaceRepresentation()
    assert list(surface_steps(segmentation)) == []


def test_a_segmentation_may_go_or_change_meanwhile(segmentation, scene) -> None:
    from MRIForgeLib.surfaces import has_surfaces, surface_steps

    steps = surface_steps(segmentation)
    next(steps)
    inside = segmentation.GetSegmentation()
    inside.RemoveSegment(inside.GetNthSegmentID(1))
    assert len(list(steps)) <= 1 and has_surfaces(segmentation)
    segmentation.RemoveClosedSurfaceRepresentation()
    steps = surface_steps(segmentation)
    next(steps)
    scene.RemoveNode(segmentation)
    assert list(steps) == []


def test_an_empty_segmentation_has_no_surface(scene) -> None:
    from MRIForgeLib.surfaces import has_surfaces, surface_steps

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert list(surface_steps(node)) == [] and not has_surfaces(node)
