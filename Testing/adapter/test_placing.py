"""Results in the scene: where they lie, how they look, what they leave behind."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk

sys.path.insert(0, str(Path(__file__).parent))

from scene_helpers import (
    OBLIQUE,
    add_image,
    add_linear,
    add_sequence,
    contents,
    finish,
    index_to_world,
)

from mriforge.errors import BadInput, Failed
from mriforge.volume import Grid, Series, Volume

ATTRIBUTES = {"MRIForge.job": "superres", "MRIForge.provenance": '{"use": "research use only"}'}
VALUES = ["0.50", "1e1", "20"]


@pytest.fixture
def placing(app):
    from MRIForgeLib import placing

    return placing


@pytest.fixture
def nodes(app):
    from MRIForgeLib import nodes

    return nodes


@pytest.fixture
def tree(scene):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def ramp(shape=(3, 4, 5), dtype=np.float32):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def sharper(image):
    """What a job might make of an image: finer in plane, on the same axes."""
    grid = image.grid
    i, j, k = grid.stored_shape
    x, y, z = grid.spacing
    fine = grid.resampled((2 * i, 2 * j, k), (x / 2, y / 2, z), (-0.25, -0.25, 0.0))
    array = image.array.repeat(2, axis=-1).repeat(2, axis=-2).astype(np.float32)
    if isinstance(image, Volume):
        return Volume(array, fine)
    return Series(array, fine, image.times, image.time_name, image.time_unit)


def children(tree, parent):
    found = vtk.vtkIdList()
    tree.GetItemChildren(parent, found)
    return [tree.GetItemName(found.GetId(i)) for i in range(found.GetNumberOfIds())]


# ---- volumes ------------------------------------------------------------------------------------


def test_a_result_lies_on_its_input_and_looks_like_it(scene, nodes, placing):
    node = add_image(scene, ramp())
    shift = np.eye(4)
    shift[:3, 3] = (4, 5, 6)
    node.SetAndObserveTransformNodeID(add_linear(scene, shift).GetID())
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(50, 20)
    place = placing.Place.of(node)
    result = placing.add_volume(sharper(nodes.image_from_node(node)), place, "sharp", ATTRIBUTES)
    assert result.GetName() == "sharp"
    assert result.GetTransformNodeID() == node.GetTransformNodeID()
    expected = index_to_world(node) @ [-0.25, -0.25, 0, 1]
    np.testing.assert_allclose(index_to_world(result)[:, 3], expected, atol=1e-9)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(result)[:, ::2, ::2], ramp())
    display = result.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (50, 20)
    assert not display.GetAutoWindowLevel()
    assert display.GetColorNodeID() == "vtkMRMLColorTableNodeGrey"
    assert display.GetInterpolate()
    assert {n: result.GetAttribute(n) for n in ATTRIBUTES} == ATTRIBUTES


def test_the_input_and_its_voxels_are_untouched(scene, nodes, placing):
    node = add_image(scene, ramp())
    image = node.GetImageData()
    placing.add_volume(nodes.image_from_node(node), placing.Place.of(node), "sharp", {})
    assert node.GetImageData() is image
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), ramp())
    assert not [name for name in node.GetAttributeNames() if name.startswith("MRIForge")]


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", ">f4"])
def test_voxels_arrive_in_their_own_dtype(scene, nodes, placing, dtype):
    node = add_image(scene, ramp())
    array = ramp().astype(dtype)
    array.flags.writeable = False
    grid = nodes.grid_of(node)
    result = placing.add_volume(Volume(array, grid), placing.Place.of(node), "r", {})
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(result), array)
    assert slicer.util.arrayFromVolume(result).dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("dtype", ["?", "f2"])
def test_voxels_that_vtk_does_not_know_are_widened(scene, nodes, placing, dtype):
    node = add_image(scene, ramp())
    volume = Volume((ramp() % 2).astype(dtype), nodes.grid_of(node))
    result = placing.add_volume(volume, placing.Place.of(node), "r", {})
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(result), ramp() % 2)


def test_a_result_stands_right_after_its_input_in_the_data_tree(scene, nodes, tree, placing):
    node, other = add_image(scene, ramp(), name="scan"), add_image(scene, ramp(), name="other")
    folder = tree.CreateFolderItem(tree.GetSceneItemID(), "study")
    for each in (node, other):
        own = tree.GetItemByDataNode(each) or tree.CreateItem(folder, each)
        tree.SetItemParent(own, folder)
    volume = nodes.image_from_node(node)
    placing.add_volume(volume, placing.Place.of(node), "sharp", {})
    assert children(tree, folder) == ["scan", "sharp", "other"]
    placing.add_volume(volume, placing.Place.of(other), "last", {})
    assert children(tree, folder) == ["scan", "sharp", "other", "last"]


def test_names_are_made_unique(scene, nodes, placing):
    node = add_image(scene, ramp())
    place, volume = placing.Place.of(node), nodes.image_from_node(node)
    names = {placing.add_volume(volume, place, "sharp", {}).GetName() for _ in range(3)}
    assert len(names) == 3
    assert "sharp" in names


def test_maps_and_labels_do_not_get_the_gray_window_of_the_input(scene, nodes, placing):
    node = add_image(scene, ramp())
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(5000, 2000)
    place, grid = placing.Place.of(node), nodes.grid_of(node)
    quality = placing.add_volume(Volume(ramp() / 100, grid), place, "m", {}, same_look=False)
    assert quality.GetDisplayNode().GetWindow() < 10
    maps = Series(np.stack([ramp() / 100] * 2), grid, [0, 1])
    steps = placing.add_series_steps(maps, place, "maps", {}, same_look=False)
    assert finish(steps)[0][1].GetDisplayNode().GetWindow() < 10
    labels = Volume(ramp(dtype="u1"), grid)
    organs = placing.add_volume(labels, place, "organs", {}, class_name=placing.LABELS)
    assert organs.IsA("vtkMRMLLabelMapVolumeNode")
    assert organs.GetDisplayNode().IsA("vtkMRMLLabelMapVolumeDisplayNode")


# ---- an output that is there already ------------------------------------------------------------


def test_an_output_is_filled_and_keeps_its_name_and_place(scene, nodes, tree, placing):
    node = add_image(scene, ramp())
    output = add_image(scene, np.zeros((2, 2, 2)), np.eye(4), "mine")
    output.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    output.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    output.SetAttribute("MRIForge.model", "of an earlier run")
    folder = tree.CreateFolderItem(tree.GetSceneItemID(), "mine too")
    own = tree.GetItemByDataNode(output) or tree.CreateItem(folder, output)
    tree.SetItemParent(own, folder)
    volume = sharper(nodes.image_from_node(node))
    filled = placing.add_volume(volume, placing.Place.of(node), "sharp", ATTRIBUTES, output=output)
    assert filled is output
    assert output.GetName() == "mine"
    assert tree.GetItemParent(own) == folder
    assert output.GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeRainbow"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), volume.array)
    np.testing.assert_allclose(nodes.grid_of(output).affine(), volume.grid.affine(), atol=1e-9)
    assert output.GetAttribute("DICOM.instanceUIDs") is None
    assert output.GetAttribute("MRIForge.model") is None
    assert output.GetAttribute("MRIForge.job") == "superres"
    placing.remove_result([filled])
    assert output.GetScene() is scene


def test_filling_an_output_does_not_change_others_that_share_its_voxels(scene, nodes, placing):
    node = add_image(scene, ramp())
    output, twin = add_image(scene, ramp() + 1, name="out"), add_image(scene, ramp(), name="twin")
    twin.SetAndObserveImageData(output.GetImageData())
    placing.add_volume(nodes.image_from_node(node), placing.Place.of(node), "", {}, output=output)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(twin), ramp() + 1)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), ramp())


def test_a_new_empty_output_is_treated_as_a_new_node(scene, nodes, tree, placing):
    node = add_image(scene, ramp())
    folder = tree.CreateFolderItem(tree.GetSceneItemID(), "study")
    tree.SetItemParent(tree.GetItemByDataNode(node) or tree.CreateItem(folder, node), folder)
    output = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Volume")
    placing.add_volume(
        nodes.image_from_node(node), placing.Place.of(node), "sharp", {}, output=output
    )
    assert children(tree, folder) == ["scan", "Volume"]


def test_outputs_that_must_not_be_written_are_refused(scene, nodes, placing):
    node = add_image(scene, ramp())
    labels = add_image(scene, ramp(dtype="u1"), name="l", kind="vtkMRMLLabelMapVolumeNode")
    sequence, _, proxy = add_sequence(scene, [ramp()] * 3, VALUES)
    place, volume = placing.Place.of(node), nodes.image_from_node(node)
    before = contents(scene)
    for output, reason in (
        (node, "'scan' is the input"),
        (labels, "'l' cannot hold"),
        (proxy, "frame of a sequence"),
    ):
        with pytest.raises(BadInput, match=reason) as refused:
            placing.add_volume(volume, place, "sharp", {}, output=output)
        assert refused.value.hint
    for input_node in (sequence, proxy):
        with pytest.raises(BadInput, match="is the input"):
            placing.check_output(proxy, placing.Place.of(input_node))
    assert contents(scene) == before
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), ramp())


def test_an_output_that_was_deleted_during_the_run_is_made_anew(scene, nodes, placing):
    node, output = add_image(scene, ramp()), add_image(scene, ramp(), name="mine")
    place, volume = placing.Place.of(node), nodes.image_from_node(node)
    scene.RemoveNode(output)
    assert placing.add_volume(volume, place, "sharp", {}, output=output).GetScene() is scene


# ---- series -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["sequence", "proxy"])
def test_a_series_is_browsed_with_its_input(scene, nodes, placing, start):
    arrays = [ramp() + 100 * number for number in range(3)]
    sequence, browser, proxy = add_sequence(scene, arrays, VALUES)
    browser.SetSelectedItemNumber(1)
    node = {"sequence": sequence, "proxy": proxy}[start]
    place, series = placing.Place.of(node), sharper(nodes.image_from_node(node))
    steps = placing.add_series_steps(series, place, "sharp", ATTRIBUTES)
    before = contents(scene)
    for _ in range(3):
        next(steps)
        assert contents(scene) == before  # a run that stops here leaves nothing
    (made, shown), _ = finish(steps)
    assert [made.GetNthIndexValue(i) for i in range(3)] == VALUES
    assert (made.GetIndexName(), made.GetIndexUnit()) == ("time", "ms")
    assert made.GetIndexType() == sequence.GetIndexType()
    assert browser.GetProxyNode(made) is shown
    assert browser.GetMasterSequenceNode() is sequence
    assert browser.GetSelectedItemNumber() == 1
    for number in (1, 2, 0):
        browser.SetSelectedItemNumber(number)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown), series.array[number])
        assert shown.GetName() == made.GetName() == "sharp"
        assert shown.GetAttribute("MRIForge.job") == "superres"
    np.testing.assert_allclose(nodes.grid_of(made).affine(), series.grid.affine(), atol=1e-9)


def test_playback_and_the_shown_frame_go_on_as_before(scene, nodes, placing):
    sequence, browser, proxy = add_sequence(scene, [ramp()] * 3, VALUES)
    place, series = placing.Place.of(proxy), nodes.image_from_node(sequence)
    browser.SetSelectedItemNumber(2)
    browser.SetPlaybackActive(True)
    made, _ = finish(placing.add_series_steps(series, place, "sharp", {}))[0]
    assert browser.GetPlaybackActive()
    assert browser.GetSelectedItemNumber() == 2
    placing.remove_result([made])
    assert browser.GetPlaybackActive()
    assert browser.GetSelectedItemNumber() == 2


def test_a_recording_browser_does_not_record_the_result(scene, nodes, placing):
    sequence, browser, proxy = add_sequence(scene, [ramp()] * 3, VALUES)
    place, series = placing.Place.of(proxy), nodes.image_from_node(sequence)
    browser.SetRecording(sequence, True)
    browser.SetRecordingActive(True)
    made, _ = finish(placing.add_series_steps(series, place, "sharp", {}))[0]
    assert sequence.GetNumberOfDataNodes() == made.GetNumberOfDataNodes() == 3


@pytest.mark.parametrize("values", [["a", "b"], ["0.0001", "0.0002"], ["3", "1"]])
def test_index_values_that_are_no_ascending_numbers_are_copied_too(scene, nodes, placing, values):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "phases")
    sequence.SetIndexType(sequence.TextIndex)
    for value in values:
        frame = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(frame, ramp())
        sequence.SetDataNodeAtValue(frame, value)
    place, series = placing.Place.of(sequence), nodes.image_from_node(sequence)
    made, _ = finish(placing.add_series_steps(series, place, "sharp", {}))[0]
    assert [made.GetNthIndexValue(i) for i in range(2)] == values


def test_chosen_frames_keep_their_index_texts(scene, nodes, placing):
    sequence, _, _ = add_sequence(scene, [ramp()] * 3, VALUES)
    place, series = placing.Place.of(sequence), nodes.image_from_node(sequence)
    some = Series(series.array[1:], series.grid, series.times[1:], "time", "ms")
    made, _ = finish(placing.add_series_steps(some, place, "sharp", {}))[0]
    assert [made.GetNthIndexValue(i) for i in range(2)] == VALUES[1:]


@pytest.mark.parametrize("times", [[0.0001, 0.0002, 0.0003], [5, 3, 1], [0, 0.1, 0.2]])
def test_other_times_are_written_as_they_are(scene, nodes, placing, times):
    node = add_image(scene, ramp())
    series = Series(np.stack([ramp() + n for n in range(3)]), nodes.grid_of(node), times)
    steps = placing.add_series_steps(series, placing.Place.of(node), "sharp", {})
    made, _ = finish(steps)[0]
    assert [float(made.GetNthIndexValue(i)) for i in range(3)] == times
    frames = [slicer.util.arrayFromVolume(made.GetNthDataNode(i)) for i in range(3)]
    np.testing.assert_array_equal(frames, series.array)


def test_frames_that_cannot_be_told_apart_are_refused_and_leave_nothing(scene, nodes, placing):
    node = add_image(scene, ramp())
    series = Series(np.stack([ramp()] * 2), nodes.grid_of(node), [1, 1])
    place, before = placing.Place.of(node), contents(scene)
    with pytest.raises(Failed, match="'scan' cannot be told apart"):
        finish(placing.add_series_steps(series, place, "sharp", {}))
    assert contents(scene) == before


# ---- what was deleted during the run ------------------------------------------------------------


@pytest.mark.parametrize("gone", ["input", "transform", "folder", "all"])
def test_a_volume_is_placed_whatever_was_deleted(scene, nodes, tree, placing, gone):
    node = add_image(scene, ramp())
    transform = add_linear(scene, np.diag([1, 1, 1, 1.0]))
    node.SetAndObserveTransformNodeID(transform.GetID())
    folder = tree.CreateFolderItem(tree.GetSceneItemID(), "study")
    tree.SetItemParent(tree.GetItemByDataNode(node) or tree.CreateItem(folder, node), folder)
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(50, 20)
    place, volume = placing.Place.of(node), nodes.image_from_node(node)
    if gone in ("folder", "all"):
        tree.RemoveItem(folder, False, False)
    if gone in ("input", "all"):
        scene.RemoveNode(node)
    if gone in ("transform", "all"):
        scene.RemoveNode(transform)
    result = placing.add_volume(volume, place, "sharp", {})
    assert result.GetScene() is scene
    assert tree.GetItemByDataNode(result)
    assert result.GetDisplayNode().GetWindow() == 50
    expected = None if gone in ("transform", "all") else transform
    assert result.GetParentTransformNode() is expected
    if gone == "input":
        assert tree.GetItemParent(tree.GetItemByDataNode(result)) == folder


def test_a_transform_that_changed_during_the_run_is_followed(scene, nodes, placing):
    node, moved = add_image(scene, ramp()), add_linear(scene, np.eye(4))
    place, volume = placing.Place.of(node), nodes.image_from_node(node)
    node.SetAndObserveTransformNodeID(moved.GetID())
    result = placing.add_volume(volume, place, "sharp", {})
    np.testing.assert_allclose(index_to_world(result), index_to_world(node))


def test_a_transform_that_was_hardened_during_the_run_is_not_lost(scene, nodes, placing):
    shift = np.eye(4)
    shift[:3, 3] = (9, 9, 9)
    node, moved = add_image(scene, ramp()), add_linear(scene, shift)
    node.SetAndObserveTransformNodeID(moved.GetID())
    place, volume = placing.Place.of(node), nodes.image_from_node(node)
    node.HardenTransform()
    result = placing.add_volume(volume, place, "sharp", {})
    np.testing.assert_allclose(index_to_world(result), index_to_world(node), atol=1e-9)


@pytest.mark.parametrize("gone", ["browser", "sequence", "proxy", "all"])
def test_a_series_is_placed_whatever_was_deleted(scene, nodes, placing, gone):
    arrays = [ramp() + 100 * number for number in range(3)]
    sequence, browser, proxy = add_sequence(scene, arrays, VALUES)
    place, series = placing.Place.of(proxy), nodes.image_from_node(proxy)
    for name, node in (("proxy", proxy), ("sequence", sequence), ("browser", browser)):
        if gone in (name, "all"):
            scene.RemoveNode(node)
    made, shown = finish(placing.add_series_steps(series, place, "sharp", {}))[0]
    assert [made.GetNthIndexValue(i) for i in range(3)] == VALUES
    source = nodes.sequence_of(shown)
    assert source.sequence is made
    source.browser.SetSelectedItemNumber(2)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown), arrays[2])


def test_a_sequence_without_browser_gets_one(scene, nodes, placing):
    sequence, _, _ = add_sequence(scene, [ramp()] * 3, VALUES, browser=False)
    before = contents(scene)
    place, series = placing.Place.of(sequence), nodes.image_from_node(sequence)
    made, shown = finish(placing.add_series_steps(series, place, "sharp", {}))[0]
    assert nodes.sequence_of(shown).browser.GetSelectedItemNumber() == 0
    placing.remove_result((made, shown))
    assert contents(scene) == before


# ---- removing -----------------------------------------------------------------------------------


def test_removing_results_leaves_the_scene_as_it_was(scene, nodes, placing):
    node = add_image(scene, ramp())
    sequence, browser, proxy = add_sequence(scene, [ramp()] * 3, VALUES)
    browser.SetSelectedItemNumber(1)
    before = contents(scene)
    shown = browser.GetNumberOfSynchronizedSequenceNodes(True)
    place = placing.Place.of(proxy)
    volume = placing.add_volume(nodes.image_from_node(node), placing.Place.of(node), "a", {})
    pair, _ = finish(placing.add_series_steps(nodes.image_from_node(sequence), place, "b", {}))
    assert contents(scene) > before
    placing.remove_result({"volume": volume, "pair": pair, "none": None})
    assert contents(scene) == before
    assert browser.GetNumberOfSynchronizedSequenceNodes(True) == shown
    assert browser.GetSelectedItemNumber() == 1
    placing.remove_result([volume, *pair])  # once more does no harm
    assert contents(scene) == before


def test_a_result_that_fails_half_way_leaves_nothing(scene, placing):
    node = add_image(scene, ramp())
    place, before = placing.Place.of(node), contents(scene)
    volume = Volume(ramp().astype(np.longdouble), Grid((3, 4, 5)))  # VTK does not know these
    with pytest.raises(TypeError):
        placing.add_volume(volume, place, "sharp", {})
    assert contents(scene) == before


def test_the_place_of_a_deleted_node_is_refused(scene, placing):
    node = add_image(scene, ramp())
    scene.RemoveNode(node)
    with pytest.raises(BadInput):
        placing.Place.of(node)
    assert np.linalg.det(np.array(OBLIQUE)[:3, :3]) < 0  # these tests are on a left-handed grid
