"""Labels: recognised, refused as images, and put on another grid as what they are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scene_helpers import OBLIQUE, add_image, add_linear, index_to_world

LABELMAP = "vtkMRMLLabelMapVolumeNode"


@pytest.fixture
def python(tmp_path, monkeypatch):
    import launcher_helpers

    launcher_helpers.install(tmp_path, monkeypatch)


def organs(shape=(8, 24, 24)) -> np.ndarray:
    """Two balls, labels 1 and 5, that touch."""
    z, y, x = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) / 2
    z = 3 * z
    found = np.zeros(shape, np.uint8)
    found[(x + 5) ** 2 + y**2 + z**2 < 64] = 1
    found[(x - 5) ** 2 + y**2 + z**2 < 64] = 5
    return found


def add_segmentation(scene, names=("liver", "spleen")):
    """A segmentation of two organs with names, colors and terminology."""
    import slicer

    labels = add_image(scene, organs(), np.diag([1, 1, 3, 1.0]), "drawn", LABELMAP)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
    scene.RemoveNode(labels)
    for number, name in enumerate(names):
        segment = node.GetSegmentation().GetNthSegment(number)
        segment.SetName(name)
        segment.SetColor(0.25, 0.5, 0.25 * (number + 1))
        segment.SetTag(
            segment.GetTerminologyEntryTagName(), f"list~SCT^1^Organ~SCT^{number}^{name}"
        )
    return node


def test_labels_are_told_from_images(scene) -> None:
    import slicer

    from MRIForgeLib.superres.labels import holds_labels

    image = 100 + 20 * np.random.default_rng(0).normal(size=(8, 24, 24))
    assert holds_labels(add_image(scene, organs(), name="map", kind=LABELMAP))
    assert holds_labels(add_image(scene, organs().astype(np.float32), name="as image"))
    assert holds_labels(add_segmentation(scene))
    assert not holds_labels(add_image(scene, image.astype(np.float32)))
    assert not holds_labels(add_image(scene, image.astype(np.int16)))
    # Few values, but neighbours differ: coarse, not labels.
    assert not holds_labels(add_image(scene, (image / 10).astype(np.int16)))
    assert not holds_labels(add_image(scene, np.zeros((8, 24, 24), np.int16)))
    assert not holds_labels(None)
    node = add_image(scene, organs())
    assert holds_labels(node)
    slicer.util.updateVolumeFromArray(node, image.astype(np.float32))
    assert not holds_labels(node), "judged anew when the voxels change"


def test_every_kind_of_method_refuses_them(scene) -> None:
    from MRIForgeLib.superres.advice import doubts, preview, why_not
    from MRIForgeLib.superres.wishes import Wishes

    nodes = [
        add_image(scene, organs(), name="map", kind=LABELMAP),
        add_image(scene, organs(), name="as image"),
        add_segmentation(scene),
    ]
    for node in nodes:
        for method in ("unet3d_small", "smore_small", "fuse"):
            wishes = Wishes(node, method=method)
            assert "Resample labels" in why_not(wishes)
            assert doubts(wishes) == []
    assert "Result: 24 x 24 x 27 voxels" in preview(Wishes(nodes[0]))
    assert preview(Wishes(nodes[2])) == ""


def test_what_cannot_be_done_with_labels_is_said(scene) -> None:
    from MRIForgeLib.superres.advice import preview
    from MRIForgeLib.superres.labels import why_not
    from MRIForgeLib.superres.wishes import TargetKind, Wishes

    cubes = add_image(scene, organs(), np.eye(4), "cubes", LABELMAP)
    assert "cubes already" in why_not(Wishes(cubes))
    slices = add_image(scene, organs(), np.diag([1, 1, 3, 1.0]), "slices", LABELMAP)
    assert why_not(Wishes(slices)) == ""
    twice = Wishes(slices, target=TargetKind.FACTOR, factors=(9.0, 9.0, 2.0))
    assert why_not(twice) == "" and "24 x 24 x 16" in preview(twice)
    assert "Select" in why_not(Wishes(slices, target=TargetKind.LIKE))
    assert "Select a label map" in why_not(Wishes(None))
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    assert "no segments" in why_not(Wishes(empty))


def test_a_label_map_keeps_its_labels_place_and_colors(scene, python) -> None:
    import slicer

    from MRIForgeLib.superres.labels import LabelTask
    from MRIForgeLib.superres.wishes import Wishes
    from MRIForgeLib.view import Single

    node = add_image(scene, organs(), OBLIQUE, "organs", LABELMAP)
    node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    moved = add_linear(scene, np.array([[0, -1, 0, 30], [1, 0, 0, -9], [0, 0, 1, 4], [0, 0, 0, 1]]))
    node.SetAndObserveTransformNodeID(moved.GetID())
    session = Single(LabelTask(Wishes(node)))
    result = session.execute()["result"]
    assert result.IsA(LABELMAP) and result.GetName() == "organs resampled"
    assert result.GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeRainbow"
    assert result.GetParentTransformNode() is moved
    array = slicer.util.arrayFromVolume(result)
    assert set(np.unique(array)) == {0, 1, 5}
    assert array.shape == (27, 24, 24)
    size = np.abs(np.linalg.det(index_to_world(result)[:3, :3]))
    before = np.abs(np.linalg.det(index_to_world(node)[:3, :3]))
    for label in (1, 5):
        volume = size * (array == label).sum()
        assert volume == pytest.approx(before * (organs() == label).sum(), rel=0.15)


def test_a_segmentation_keeps_names_colors_and_meaning(scene, python) -> None:
    import slicer

    from MRIForgeLib.superres.labels import LabelTask, Segment
    from MRIForgeLib.superres.wishes import Wishes
    from MRIForgeLib.view import Single

    node = add_segmentation(scene)
    tables = len(slicer.util.getNodesByClass("vtkMRMLColorTableNode"))
    result = Single(LabelTask(Wishes(node))).execute()["result"]
    assert result.IsA("vtkMRMLSegmentationNode") and result.GetName() == "organs resampled"
    before, after = node.GetSegmentation(), result.GetSegmentation()
    assert after.GetNumberOfSegments() == 2
    for number in range(2):
        found = Segment.of(after.GetNthSegment(number))
        assert found == Segment.of(before.GetNthSegment(number))
        assert found.terminology.endswith(found.name)
    assert result.GetAttribute("MRIForge.job") == "superres"
    assert scene.GetNumberOfNodesByClass(LABELMAP) == 0
    assert len(slicer.util.getNodesByClass("vtkMRMLColorTableNode")) == tables


def test_overlapping_segments_are_refused(scene) -> None:
    import slicer

    from MRIForgeLib.superres.labels import why_not
    from MRIForgeLib.superres.wishes import Wishes

    node = add_segmentation(scene)
    both = add_image(scene, (organs() > 0).astype(np.uint8), np.diag([1, 1, 3, 1.0]), "x", LABELMAP)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(both, node)
    assert "overlap" in why_not(Wishes(node))
