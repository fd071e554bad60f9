"""Outlined organs as nodes: segments one by one, their place, map, table, sequence."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import slicer
import vtk
from scene_helpers import (
    OBLIQUE,
    add_image,
    add_linear,
    add_sequence,
    contents,
    finish,
    index_to_world,
)
from segment_helpers import LABELS, SHAPE, organ_image, organ_labels, voxels_of, worker_left

from mriforge.anatomy import ORGANS
from mriforge.jobs.options import parse
from mriforge.jobs.segment import Options

MOVED = ((0, -1, 0, 30), (1, 0, 0, -9), (0, 0, 1, 4), (0, 0, 0, 1))


@pytest.fixture
def lib(app, scene):
    from MRIForgeLib.segment import task, wishes

    class Lib:
        SegmentTask = task.SegmentTask
        Wishes = wishes.Wishes
        Fusion = wishes.Fusion

    return Lib


def run(lib, node, folder, **more):
    """Nodes of a task whose worker left the known organs."""
    task = lib.SegmentTask(lib.Wishes(node, surfaces=False, **more))
    finish(task.export(folder))
    from mriforge.io import read

    nodes, _ = finish(task.collect(folder, worker_left(folder, read(folder / "input.npy"))))
    return task, nodes


def test_the_command_knows_every_option(lib, scene, tmp_path) -> None:
    node = add_image(scene, organ_image())
    wishes = lib.Wishes(
        node, views=("axial", "sagittal"), fusion=lib.Fusion.PROBABILITY, largest=True, memory_gib=2
    )
    options, _ = finish(lib.SegmentTask(wishes).export(tmp_path))
    parsed = parse(Options, options)
    assert parsed.views == "axial,sagittal" and parsed.fusion == "probability"
    assert parsed.largest and parsed.memory == 2.0 and parsed.disagreement
    alone, _ = finish(lib.SegmentTask(lib.Wishes(node, views=("axial",))).export(tmp_path))
    assert "disagreement" not in alone


def test_every_segment_has_its_name_color_meaning_and_voxels(lib, scene, tmp_path) -> None:
    node = add_image(scene, organ_image(), OBLIQUE, "belly")
    _task, nodes = run(lib, node, tmp_path)
    made = nodes["segmentation"]
    segmentation = made.GetSegmentation()
    organs = [organ for organ in ORGANS if organ.label in LABELS]
    assert list(segmentation.GetSegmentIDs()) == [organ.key for organ in organs]
    logic, entry = slicer.modules.terminologies.logic(), slicer.vtkSlicerTerminologyEntry()
    for organ in organs:
        segment = segmentation.GetSegment(organ.key)
        assert segment.GetName() == organ.title
        assert np.allclose(np.array(segment.GetColor()) * 255, organ.colour, atol=0.5)
        text = vtk.reference("")
        assert segment.GetTag(segment.GetTerminologyEntryTagName(), text)
        assert logic.DeserializeTerminologyEntry(str(text), entry)
        assert logic.SerializeTerminologyEntry(entry) == str(text)
        assert entry.GetTypeObject().GetCodeValue() == organ.code[0]
        assert entry.GetCategoryObject().GetCodeValue() == "123037004"
        modifier = entry.GetTypeModifierObject()
        assert (modifier.GetCodeMeaning() or "") == organ.side
        assert np.array_equal(voxels_of(made, organ.key), organ_labels() == organ.label)
    assert segmentation.GetNumberOfLayers() == 1, "one image for all"


def test_the_segments_lie_where_the_volume_lies(lib, scene, tmp_path) -> None:
    node = add_image(scene, organ_image(), OBLIQUE, "belly")
    moved = add_linear(scene, MOVED)
    node.SetAndObserveTransformNodeID(moved.GetID())
    _task, nodes = run(lib, node, tmp_path)
    made = nodes["segmentation"]
    assert made.GetParentTransformNode() is moved
    to_index = np.linalg.inv(index_to_world(node))
    for label, key in ((1, "liver"), (5, "left_kidney")):
        middle = np.argwhere(organ_labels() == label).mean(0)[::-1]
        found = (to_index @ [*made.GetSegmentCenterRAS(key), 1])[:3]
        assert np.abs(found - middle).max() <= 0.51, "a voxel in the middle of the organ"
    # What DICOM export asks for.
    role = made.GetReferenceImageGeometryReferenceRole()
    assert made.GetNodeReferenceID(role) == node.GetID()


def test_the_reference_geometry_is_the_grid_of_the_input(lib, scene, tmp_path) -> None:
    from MRIForgeLib.nodes import grid_of
    from MRIForgeLib.segmentations import reference_grid

    node = add_image(scene, organ_image(), OBLIQUE)
    _task, nodes = run(lib, node, tmp_path)
    assert reference_grid(nodes["segmentation"]).matches(grid_of(node))
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert reference_grid(empty) is None


def test_results_are_beside_the_input_and_say_where_they_come_from(lib, scene, tmp_path) -> None:
    node = add_image(scene, organ_image(), name="belly")
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "somebody")
    study = tree.CreateStudyItem(patient, "abdomen")
    tree.CreateItem(study, node)
    _task, nodes = run(lib, node, tmp_path)
    assert set(nodes) == {"segmentation", "disagreement", "table"}
    for made in nodes.values():
        assert tree.GetItemParent(tree.GetItemByDataNode(made)) == study
        assert made.GetAttribute("MRIForge.model") == "denseunet_small"
        assert made.GetAttribute("MRIForge.modelSha256") == "abc"
        assert made.GetAttribute("MRIForge.input") == "belly"
        assert made.GetName().startswith("belly ")
        assert '"job": "segment"' in made.GetAttribute("MRIForge.provenance")


def test_the_file_of_a_segmentation_names_the_model(lib, scene, tmp_path) -> None:
    _task, nodes = run(lib, add_image(scene, organ_image()), tmp_path)
    path = tmp_path / "kept.seg.nrrd"
    assert slicer.util.saveNode(nodes["segmentation"], str(path))
    again = slicer.util.loadSegmentation(str(path))
    segment, text = again.GetSegmentation().GetSegment("liver"), vtk.reference("")
    assert segment.GetTag("MRIForge.modelSha256", text) and str(text) == "abc"
    assert np.array_equal(voxels_of(again, "liver"), organ_labels() == 1)


def test_an_earlier_segmentation_stays(lib, scene, tmp_path) -> None:
    node = add_image(scene, organ_image(), name="belly")
    _task, first = run(lib, node, tmp_path)
    first["segmentation"].GetSegmentation().RemoveSegment("liver")
    _task, second = run(lib, node, tmp_path)
    assert second["segmentation"] is not first["segmentation"]
    assert first["segmentation"].GetSegmentation().GetNumberOfSegments() == len(LABELS) - 1
    assert second["segmentation"].GetSegmentation().GetNumberOfSegments() == len(LABELS)
    assert second["segmentation"].GetName() != first["segmentation"].GetName()


def test_surfaces_are_made_for_3d_views(lib, scene, tmp_path) -> None:
    from mriforge.io import read

    task = lib.SegmentTask(lib.Wishes(add_image(scene, organ_image())))
    finish(task.export(tmp_path))
    nodes, _ = finish(task.collect(tmp_path, worker_left(tmp_path, read(tmp_path / "input.npy"))))
    made = nodes["segmentation"]
    name = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
    for key in made.GetSegmentation().GetSegmentIDs():
        surface = made.GetSegmentation().GetSegment(key).GetRepresentation(name)
        assert surface is not None and surface.GetNumberOfPoints() > 0
    display = made.GetDisplayNode()
    assert display.GetVisibility() and display.GetVisibility3D()
    assert 0.2 < display.GetOpacity2DFill() < 0.6 and display.GetOpacity2DOutline() == 1


def test_the_map_of_disagreement_is_clear_where_the_views_agree(lib, scene, tmp_path) -> None:
    from MRIForgeLib.segment.uncertainty import add_disagreement_legend

    node = add_image(scene, organ_image(), OBLIQUE, "belly")
    _task, nodes = run(lib, node, tmp_path)
    unsure = nodes["disagreement"]
    values = slicer.util.arrayFromVolume(unsure)
    assert np.array_equal(values > 0, organ_labels() == 4)
    assert np.allclose(index_to_world(unsure), index_to_world(node))
    display = unsure.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
    assert display.GetApplyThreshold() and display.GetLowerThreshold() > 0
    assert display.GetColorNodeID() == "vtkMRMLColorTableNodeFileInferno.txt"
    assert add_disagreement_legend(unsure).GetTitleText() == "Disagreement"


def test_the_table_has_a_row_for_each_organ(lib, scene, tmp_path) -> None:
    node = add_image(scene, organ_image(), OBLIQUE)
    task, nodes = run(lib, node, tmp_path)
    table = nodes["table"].GetTable()
    titles = [table.GetColumnName(i) for i in range(table.GetNumberOfColumns())]
    assert titles == ["Organ", "Volume (ml)", "Voxels", "Disagreement", "Found"]
    assert table.GetNumberOfRows() == 10
    for row, organ in enumerate(ORGANS):
        count = int((organ_labels() == organ.label).sum())
        value = [table.GetValue(row, i) for i in range(5)]
        assert value[0].ToString() == organ.title
        assert value[1].ToDouble() == pytest.approx(count * 1.5 * 2 * 5 / 1000, abs=0.006)
        assert value[2].ToInt() == count
        assert value[4].ToString() == ("yes" if count else "no")
        assert np.isnan(value[3].ToDouble()) == (count == 0)
        assert task.measures[0][row].voxels == count
    assert table.GetValue(3, 3).ToDouble() == 0.5, "right kidney, where the views disagree"


def test_nothing_found_is_no_segment_and_a_sentence(lib, scene, tmp_path) -> None:
    from mriforge.io import read, write
    from MRIForgeLib.segment.summary import sentences

    task = lib.SegmentTask(lib.Wishes(add_image(scene, organ_image())))
    finish(task.export(tmp_path))
    image = read(tmp_path / "input.npy")
    write(image.with_array(np.zeros(SHAPE, np.uint8)), tmp_path / "labels.npy")
    answer = {"output": str(tmp_path / "labels.npy"), "seconds": 1.0}
    nodes, _ = finish(task.collect(tmp_path, answer))
    assert nodes["segmentation"].GetSegmentation().GetNumberOfSegments() == 0
    assert "No organ was found" in sentences(answer, task.measures)[1]


def test_what_was_not_found_and_what_is_doubtful_is_said(lib, scene, tmp_path) -> None:
    from MRIForgeLib.segment.summary import sentences

    task, _nodes = run(lib, add_image(scene, organ_image()), tmp_path)
    text = " ".join(sentences({"seconds": 3.0, "device": "cpu"}, task.measures))
    assert "Done in 3 s on cpu. 6 of 10 organs" in text
    assert "pancreas, stomach, duodenum, small intestine" in text
    assert "disagree most on: right kidney" in text


def test_a_run_that_is_stopped_leaves_nothing(lib, scene, tmp_path) -> None:
    node = add_image(scene, organ_image())
    before = contents(scene)
    task, nodes = run(lib, node, tmp_path)
    assert contents(scene) != before
    task.discard(nodes)
    assert contents(scene) == before


def test_the_input_may_be_deleted_meanwhile(lib, scene, tmp_path) -> None:
    from mriforge.io import read

    node = add_image(scene, organ_image(), OBLIQUE)
    task = lib.SegmentTask(lib.Wishes(node, surfaces=False))
    finish(task.export(tmp_path))
    image = read(tmp_path / "input.npy")
    scene.RemoveNode(node)
    nodes, _ = finish(task.collect(tmp_path, worker_left(tmp_path, image)))
    made = nodes["segmentation"]
    assert made.GetSegmentation().GetNumberOfSegments() == len(LABELS)
    assert made.GetNodeReferenceID(made.GetReferenceImageGeometryReferenceRole()) is None
    assert np.array_equal(voxels_of(made, "spleen"), organ_labels() == 2)


def test_a_series_gives_a_sequence_on_the_same_browser(lib, scene, tmp_path) -> None:
    arrays = [organ_image(t, t) for t in range(3)]
    _sequence, browser, proxy = add_sequence(scene, arrays, ("0", "12.5", "40"), name="cine")
    before = contents(scene)
    browser.SetSelectedItemNumber(2)
    task, nodes = run(lib, proxy, tmp_path)
    made, shown = nodes["sequence"], nodes["segmentation"]
    assert [made.GetNthIndexValue(i) for i in range(3)] == ["0", "12.5", "40"]
    assert (made.GetIndexName(), made.GetIndexUnit()) == ("time", "ms")
    assert browser.GetProxyNode(made) is shown and browser.GetSelectedItemNumber() == 2
    assert scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode") == 1
    keys = [organ.key for organ in ORGANS if organ.label in LABELS]
    display = shown.GetDisplayNode()
    display.SetOpacity2DFill(0.2)
    for number in (2, 0, 1):
        browser.SetSelectedItemNumber(number)
        assert list(shown.GetSegmentation().GetSegmentIDs()) == keys, "also the empty ones"
        assert np.array_equal(voxels_of(shown, "vertebrae"), organ_labels(number) == 10)
        assert voxels_of(shown, "spleen").any() == (number > 0)
        assert shown.GetDisplayNode() is display
        assert display.GetOpacity2DFill() == 0.2, "choices stay from frame to frame"
        assert shown.GetNodeReferenceID(shown.GetReferenceImageGeometryReferenceRole()) == (
            proxy.GetID()
        )
    unsure = nodes["disagreement_sequence"]
    assert browser.GetProxyNode(unsure) is nodes["disagreement"]
    assert nodes["disagreement"].GetDisplayNode().GetWindowLevelMax() == 1
    table = nodes["table"].GetTable()
    assert table.GetNumberOfRows() == 3 and table.GetNumberOfColumns() == 11
    assert [table.GetValue(i, 0).ToDouble() for i in range(3)] == [0, 12.5, 40]
    assert table.GetValue(0, 2).ToDouble() == 0 < table.GetValue(1, 2).ToDouble()
    assert task.index == ["0", "12.5", "40"]
    browser.SetSelectedItemNumber(2)
    task.discard(nodes)
    assert contents(scene) == before


def test_one_frame_of_a_series_may_be_outlined_alone(lib, scene, tmp_path) -> None:
    arrays = [organ_image(t, t) for t in range(3)]
    _sequence, browser, proxy = add_sequence(scene, arrays, ("0", "1", "2"))
    browser.SetSelectedItemNumber(1)
    assert lib.Wishes(proxy).frames == 3 and lib.Wishes(proxy, all_frames=False).frames == 1
    _task, nodes = run(lib, proxy, tmp_path, all_frames=False)
    assert "sequence" not in nodes and nodes["table"].GetNumberOfRows() == 10


def test_what_is_hidden_stays_hidden_in_other_frames(lib, scene, tmp_path) -> None:
    arrays = [organ_image(t, t) for t in range(3)]
    _sequence, browser, proxy = add_sequence(scene, arrays, ("0", "1", "2"))
    _task, nodes = run(lib, proxy, tmp_path)
    shown = nodes["segmentation"]
    display = shown.GetDisplayNode()
    display.SetSegmentVisibility("liver", False)
    display.SetSegmentVisibility3D("vertebrae", False)
    display.SetSegmentOpacity2DFill("spleen", 0.25)
    for number in (1, 0, 2):
        browser.SetSelectedItemNumber(number)
        assert not display.GetSegmentVisibility("liver")
        assert display.GetSegmentVisibility("spleen")
        assert not display.GetSegmentVisibility3D("vertebrae")
        assert display.GetSegmentOpacity2DFill("spleen") == 0.25
    display.SetSegmentVisibility("liver", True)
    browser.SetSelectedItemNumber(1)
    assert display.GetSegmentVisibility("liver"), "the last choice counts"
