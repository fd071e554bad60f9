"""Segmentations in the views of the stand-in: in slices, in 3-D, and gone with the scene."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

COLOR = (0.9, 0.2, 0.1)


@pytest.fixture
def ball(scene):
    """A ball of 128 mm as a segmentation with a surface."""
    import slicer

    grid = np.indices((24, 24, 24)) - 12
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "ball")
    slicer.util.updateVolumeFromArray(labels, ((grid**2).sum(0) < 64).astype(np.uint8))
    labels.SetSpacing(8, 8, 8)
    labels.SetOrigin(-96, -96, -96)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "ball")
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
    scene.RemoveNode(labels)
    node.CreateDefaultDisplayNodes()
    node.GetSegmentation().GetNthSegment(0).SetColor(COLOR)
    node.CreateClosedSurfaceRepresentation()
    return node


def reddish(view, tmp_path) -> int:
    """Pixels of a view that have the ball's hue."""
    import host
    from PIL import Image

    host.process_events(0.3)
    host.grab(view, str(tmp_path / "view.png"))
    red, green, blue = np.moveaxis(
        np.asarray(Image.open(tmp_path / "view.png").convert("RGB")).astype(int), 2, 0
    )
    return int(np.count_nonzero((red > 60) & (red > 2 * green) & (red > 2 * blue)))


def test_a_segmentation_is_seen_in_slices_and_in_3d(ball, scene, tmp_path) -> None:
    import slicer

    manager = slicer.app.layoutManager()
    threed, red = manager.threeDWidget(0).threeDView(), manager.sliceWidget("Red").sliceView()
    logic = manager.sliceWidget("Red").sliceLogic()
    logic.SetSliceOffset(0.0)
    logic.GetSliceNode().SetFieldOfView(250, 250, 1)
    threed.resetFocalPoint()
    assert reddish(threed, tmp_path) > 300 and reddish(red, tmp_path) > 300
    ball.GetDisplayNode().SetVisibility3D(False)
    assert reddish(threed, tmp_path) == 0 and reddish(red, tmp_path) > 300
    ball.GetDisplayNode().SetVisibility(False)
    assert reddish(red, tmp_path) == 0


def test_the_camera_goes_to_what_is_there(ball, tmp_path) -> None:
    import slicer
    import vtk

    threed = slicer.app.layoutManager().threeDWidget(0).threeDView()
    far = vtk.vtkMatrix4x4()
    far.SetElement(0, 3, 4000.0)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetMatrixTransformToParent(far)
    ball.SetAndObserveTransformNodeID(transform.GetID())
    threed.resetFocalPoint()
    assert threed.cameraNode().GetFocalPoint()[0] == pytest.approx(4000, abs=5)


def test_a_closed_scene_empties_the_3d_view(ball, tmp_path) -> None:
    import host
    import slicer

    threed = slicer.app.layoutManager().threeDWidget(0).threeDView()
    threed.resetFocalPoint()
    assert reddish(threed, tmp_path) > 300
    host.close_scene()
    assert reddish(threed, tmp_path) == 0


def test_a_view_that_is_removed_is_let_go(scene) -> None:
    import host
    import slicer

    node = slicer.vtkMRMLViewNode()
    node.SetLayoutName("Second")
    node.SetSingletonTag("Second")
    node = scene.AddNode(node)
    host.process_events(0.05)
    manager = slicer.app.layoutManager()
    count = manager.threeDViewCount
    pipeline = weakref.ref(manager.threeDWidget(count - 1)._pipeline)
    assert count == 2 and pipeline().get_view_node() is node
    scene.RemoveNode(node)
    host.process_events(0.05)
    gc.collect()
    assert manager.threeDViewCount == 1
    assert pipeline() is None
