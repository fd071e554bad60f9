"""Segments as rows of a list: volumes counted by hand, shared and separate labelmaps, edits."""

from __future__ import annotations

import numpy as np
import pytest

SPACING = (2.0, 1.5, 3.0)
VOXEL_ML = 0.009
BOXES = {1: (slice(2, 8), slice(3, 9), slice(4, 6)), 2: (slice(2, 8), slice(3, 9), slice(6, 20))}


@pytest.fixture
def segmentation(scene):
    """Two boxes side by side, and the empty segment "none"."""
    import slicer
    import vtk

    array = np.zeros((12, 16, 24), np.uint8)
    for label, box in BOXES.items():
        array[box] = label
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "boxes")
    slicer.util.updateVolumeFromArray(labels, array)
    labels.SetSpacing(*SPACING)
    labels.SetOrigin(5, -7, 11)
    turn = vtk.vtkTransform()
    turn.RotateZ(30)
    directions = vtk.vtkMatrix4x4()
    directions.DeepCopy(turn.GetMatrix())
    labels.SetIJKToRASDirectionMatrix(directions)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "boxes")
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
    node.CreateDefaultDisplayNodes()
    node.GetSegmentation().AddEmptySegment("empty", "none", (0.1, 0.2, 0.3))
    return node, labels


def test_rows_tell_name_color_and_volume(segmentation) -> None:
    from MRIForgeLib.segments import segment_rows

    node, _labels = segmentation
    rows = segment_rows(node)
    assert [row.ml for row in rows] == pytest.approx([72 * VOXEL_ML, 504 * VOXEL_ML, 0])
    assert (rows[2].name, rows[2].color) == ("none", pytest.approx((0.1, 0.2, 0.3)))
    assert rows[0].color == pytest.approx(node.GetSegmentation().GetNthSegment(0).GetColor())
    assert all(row.shown for row in rows)


def test_volumes_follow_an_edit_and_separate_labelmaps(segmentation) -> None:
    import slicer

    from MRIForgeLib.segments import segment_rows

    node, labels = segmentation
    identity = node.GetSegmentation().GetNthSegmentID(1)
    more = np.zeros((12, 16, 24), np.uint8)
    more[2:8, 3:9, 4:20] = 1  # over the first one: it gets a layer of its own
    node.GetSegmentation().SeparateSegmentLabelmap(identity)
    slicer.util.updateSegmentBinaryLabelmapFromArray(more, node, identity, labels)
    rows = segment_rows(node)
    assert node.GetSegmentation().GetNumberOfLayers() >= 2
    assert [row.ml for row in rows][:2] == pytest.approx([72 * VOXEL_ML, 576 * VOXEL_ML])


def test_a_segment_is_hidden_and_shown(segmentation) -> None:
    from MRIForgeLib.segments import segment_rows, show_segment

    node, _labels = segmentation
    identity = node.GetSegmentation().GetNthSegmentID(0)
    show_segment(node, identity, False)
    assert [row.shown for row in segment_rows(node)] == [False, True, True]
    show_segment(node, identity, True)
    assert all(row.shown for row in segment_rows(node))


def test_the_views_go_to_the_middle_of_a_segment(segmentation) -> None:
    import slicer
    import vtk

    from MRIForgeLib.segments import go_to_segment

    node, labels = segmentation
    matrix = vtk.vtkMatrix4x4()
    labels.GetIJKToRASMatrix(matrix)
    expected = matrix.MultiplyPoint((12.5, 5.5, 4.5, 1.0))[:3]
    assert go_to_segment(node, node.GetSegmentation().GetNthSegmentID(1))
    red = slicer.app.layoutManager().sliceWidget("Red")
    assert red.sliceLogic().GetSliceOffset() == pytest.approx(expected[2], abs=2.0)
    assert not go_to_segment(node, "empty")


def test_a_node_without_scene_has_no_rows(segmentation, scene) -> None:
    from MRIForgeLib.segments import segment_rows

    scene.RemoveNode(segmentation[0])
    assert segment_rows(segmentation[0]) == [] and segment_rows(None) == []
