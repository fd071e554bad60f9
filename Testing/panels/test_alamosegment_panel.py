"""ALAMOSegment from its widgets: choices, the list of organs, 3-D, disagreement, DICOM, cases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

for _folder in (Path(__file__).parent, Path(__file__).parents[1] / "adapter"):
    sys.path.insert(0, str(_folder))

from organs_helpers import add_abdomen, add_cine, add_tiny_model, give_result  # noqa: E402
from panel_helpers import FELT_S, ROOT, Blocking, add_volume  # noqa: E402
from segment_helpers import organ_labels  # noqa: E402

MODULE = ROOT / "ALAMOSegment" / "ALAMOSegment.py"
ORGAN, VOLUME = 0, 1
FOUND = ["Liver", "Spleen", "Right kidney", "Left kidney", "Spinal cord", "Vertebral bodies"]


@pytest.fixture
def ready(organs_panel, tmp_path):
    """The panel with a model and an image."""
    pytest.importorskip("torch")
    add_tiny_model(tmp_path)
    organs_panel.showModels()
    node = add_abdomen()
    organs_panel.ui.inputSelector.setCurrentNode(node)
    return organs_panel, node


@pytest.fixture
def outlined(ready, tmp_path):
    """The panel with a result."""
    panel, node = ready
    return panel, give_result(panel, node, tmp_path / "work")


def settled(seconds: float = 0.2) -> None:
    """Several rounds of events: on a busy machine one may pass without a turn of a timer."""
    import host

    for _round in range(8):
        host.process_events(seconds / 4)


def listed(panel) -> list[str]:
    table = panel.ui.organsTable
    return [table.item(line, ORGAN).text() for line in range(table.rowCount)]


def volumes(panel) -> list[str]:
    table = panel.ui.organsTable
    return [table.item(line, VOLUME).text() for line in range(table.rowCount)]


def composites():
    import slicer

    names = ("Red", "Green", "Yellow")
    manager = slicer.app.layoutManager()
    return [manager.sliceWidget(name).mrmlSliceCompositeNode() for name in names]


def test_the_panel_opens_without_torch() -> None:
    """In a process of its own: this one has imported everything already."""
    code = f"""
import sys
sys.path[:0] = [{str(ROOT / "Testing")!r}]
import host
host.start()
host.load_module({str(MODULE)!r})
host.open_module("ALAMOSegment")
host.process_events()
heavy = {{"torch", "SimpleITK", "scipy", "highdicom", "nibabel"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_the_module_tests_itself(organs_panel) -> None:
    """What "Reload and Test" and CTest run inside Slicer."""
    import slicer

    slicer.selfTests["ALAMOSegment"]()


def test_apply_says_what_is_missing(organs_panel, tmp_path, monkeypatch) -> None:
    pytest.importorskip("torch")
    from mriforge.models import store

    monkeypatch.setattr(store, "search_folders", lambda: [tmp_path / "models"])
    ui = organs_panel.ui
    organs_panel.showModels()
    assert not ui.applyButton.enabled and "Select" in ui.applyButton.toolTip
    ui.inputSelector.setCurrentNode(add_abdomen())
    assert not ui.applyButton.enabled and "not installed" in ui.applyButton.toolTip
    monkeypatch.undo()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    add_tiny_model(tmp_path)
    organs_panel.showModels()
    assert ui.applyButton.enabled and not ui.modelNoteLabel.isHidden()
    assert "research only" in ui.modelNoteLabel.text
    for box in (ui.axialCheckBox, ui.coronalCheckBox, ui.sagittalCheckBox):
        box.click()
    assert not ui.applyButton.enabled and "view" in ui.applyButton.toolTip
    ui.coronalCheckBox.click()
    assert ui.applyButton.enabled and not ui.fusionComboBox.enabled
    assert "With one view nothing is voted on" in ui.warningLabel.text


def test_labels_are_refused_as_input(ready) -> None:
    panel, _node = ready
    labels = add_volume(np.kron(organ_labels(), np.ones((2, 4, 4), np.uint8)), "labels")
    panel.ui.inputSelector.setCurrentNode(labels)
    assert not panel.ui.applyButton.enabled and "holds labels" in panel.ui.applyButton.toolTip


def test_choices_survive_in_the_scene(ready, tmp_path) -> None:
    import slicer

    panel, _node = ready
    ui = panel.ui
    ui.sagittalCheckBox.click()
    ui.fusionComboBox.setCurrentIndex(1)
    ui.holesCheckBox.click()
    ui.minutesSpinBox.value = 7.5
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    assert ui.sagittalCheckBox.checked and ui.fusionComboBox.currentIndex == 0
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert not ui.sagittalCheckBox.checked and ui.holesCheckBox.checked
    assert (ui.fusionComboBox.currentIndex, ui.minutesSpinBox.value) == (1, 7.5)
    assert ui.inputSelector.currentNode().GetName() == "abdomen"


def test_frames_are_asked_for_of_a_series_only(ready) -> None:
    panel, _node = ready
    assert panel.ui.allFramesCheckBox.isHidden()
    panel.ui.inputSelector.setCurrentNode(add_cine()[2])
    assert not panel.ui.allFramesCheckBox.isHidden()
    assert "3 frames" in panel.ui.applyButton.toolTip
    panel.ui.allFramesCheckBox.click()
    assert "frames" not in panel.ui.applyButton.toolTip


# The result


def test_the_organs_are_listed_and_shown(outlined) -> None:
    panel, nodes = outlined
    ui, node = panel.ui, nodes["segmentation"]
    assert ui.segmentationSelector.currentNode() is node
    assert listed(panel) == FOUND
    table = nodes["table"]
    ml = {table.GetCellText(row, 0): float(table.GetCellText(row, 1)) for row in range(10)}
    assert volumes(panel) == [f"{ml[name]:.1f}" for name in FOUND]
    assert "6 of 10 organs" in ui.summaryLabel.text
    assert all(c.GetBackgroundVolumeID() == panel.organsSection.image.GetID() for c in composites())
    assert node.GetDisplayNode().GetVisibility()


def test_the_list_hides_organs_and_follows_edits(outlined) -> None:
    import qt
    import slicer

    panel, nodes = outlined
    node, table = nodes["segmentation"], panel.ui.organsTable
    display = node.GetDisplayNode()
    table.item(1, ORGAN).setCheckState(qt.Qt.Unchecked)
    assert not display.GetSegmentVisibility("spleen") and display.GetSegmentVisibility("liver")
    display.SetSegmentVisibility("liver", False)
    node.GetSegmentation().GetSegment("spleen").SetName("Milz")
    settled()
    assert table.item(0, ORGAN).checkState() == qt.Qt.Unchecked
    assert listed(panel)[1] == "Milz"
    before = volumes(panel)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(
        node, "right_kidney", panel.organsSection.image
    )
    mask[np.nonzero(mask)[0].min()] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask, node, "right_kidney", panel.organsSection.image
    )
    node.GetSegmentation().RemoveSegment("vertebrae")
    settled()
    assert listed(panel) == ["Liver", "Milz", *FOUND[2:5]]
    assert float(volumes(panel)[2]) < float(before[2]) and volumes(panel)[3] == before[3]


def test_a_click_goes_to_the_organ(outlined) -> None:
    import slicer

    panel, nodes = outlined
    panel.ui.organsTable.cellClicked.emit(3, ORGAN)
    centre = nodes["segmentation"].GetSegmentCenterRAS("left_kidney")
    red = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    assert red.GetSliceOffset() == pytest.approx(centre[2], abs=14.0)


def test_3d_is_shown_hidden_and_follows_an_edit(outlined) -> None:
    import slicer
    import vtk

    from MRIForgeLib.surfaces import has_surfaces

    panel, nodes = outlined
    ui, node = panel.ui, nodes["segmentation"]
    settled()
    assert ui.show3DButton.checked and has_surfaces(node), "the run has made them"
    threed = slicer.app.layoutManager().threeDWidget(0).threeDView()
    box = vtk.vtkBoundingBox()
    for key in node.GetSegmentation().GetSegmentIDs():
        surface = vtk.vtkPolyData()
        node.GetClosedSurfaceRepresentation(key, surface)
        box.AddBounds(surface.GetBounds())
    middle = [0.0] * 3
    box.GetCenter(middle)
    np.testing.assert_allclose(threed.cameraNode().GetFocalPoint(), middle, atol=1)
    ui.show3DButton.click()
    assert not node.GetDisplayNode().GetVisibility3D()
    node.RemoveClosedSurfaceRepresentation()
    ui.show3DButton.click()
    settled(0.5)
    assert node.GetDisplayNode().GetVisibility3D() and has_surfaces(node)
    assert ui.show3DButton.checked and ui.show3DButton.text == "Show in 3-D"


def test_a_segmentation_may_go_while_its_surfaces_are_made(outlined) -> None:
    import slicer

    panel, nodes = outlined
    nodes["segmentation"].RemoveClosedSurfaceRepresentation()
    panel.organsSection.show_in_3d(True)
    slicer.mrmlScene.RemoveNode(nodes["segmentation"])
    settled()
    assert not panel.ui.show3DButton.enabled and panel.ui.organsTable.isHidden()


def test_disagreement_is_laid_over_and_taken_off(outlined) -> None:
    panel, nodes = outlined
    ui, display = panel.ui, nodes["segmentation"].GetDisplayNode()
    before = [(c.GetForegroundVolumeID(), c.GetForegroundOpacity()) for c in composites()]
    assert "check there first" in ui.disagreementLabel.text
    ui.disagreementCheckBox.click()
    shown = {c.GetForegroundVolumeID() for c in composites()}
    assert shown == {nodes["disagreement"].GetID()}
    assert all(c.GetForegroundOpacity() > 0.5 for c in composites())
    assert not display.GetVisibility2DFill() and display.GetVisibility2DOutline()
    ui.disagreementCheckBox.click()
    assert [(c.GetForegroundVolumeID(), c.GetForegroundOpacity()) for c in composites()] == before
    assert display.GetVisibility2DFill()


def test_the_overlay_is_that_of_the_chosen_segmentation(outlined, tmp_path) -> None:
    import slicer

    panel, nodes = outlined
    panel.ui.disagreementCheckBox.click()
    other = give_result(panel, add_abdomen("other", 1), tmp_path / "other")
    settled()
    assert panel.ui.segmentationSelector.currentNode() is other["segmentation"]
    assert {c.GetForegroundVolumeID() for c in composites()} == {other["disagreement"].GetID()}
    assert nodes["segmentation"].GetDisplayNode().GetVisibility2DFill()
    slicer.mrmlScene.RemoveNode(other["disagreement"])
    panel.doubtSection.refresh()
    assert not panel.ui.disagreementCheckBox.enabled
    panel.ui.segmentationSelector.setCurrentNode(nodes["segmentation"])
    assert panel.ui.disagreementCheckBox.enabled


def test_a_series_is_browsed(ready, tmp_path) -> None:
    """List, surfaces and map follow the frame; volumes over time are a chart."""
    from MRIForgeLib.surfaces import has_surfaces

    panel, _node = ready
    _sequence, browser, proxy = add_cine()
    nodes = give_result(panel, proxy, tmp_path / "cine")
    settled()
    assert not panel.ui.chartWidget.isHidden()
    table = nodes["table"]
    assert table.GetNumberOfRows() == 3
    if not panel.ui.show3DButton.checked:
        panel.ui.show3DButton.click()
        settled(0.5)
    for frame in (2, 0, 1):
        browser.SetSelectedItemNumber(frame)
        settled(0.6)
        titles = [f"{name} (ml)" for name in FOUND]
        rows = [table.GetTable().GetColumnByName(title).GetValue(frame) for title in titles]
        assert volumes(panel) == [f"{ml:.1f}" if ml else "not found" for ml in rows]
        assert has_surfaces(nodes["segmentation"]) and panel.ui.show3DButton.checked
    panel.ui.disagreementCheckBox.click()
    assert {c.GetForegroundVolumeID() for c in composites()} == {nodes["disagreement"].GetID()}


def test_a_saved_study_is_shown_again(outlined, tmp_path) -> None:
    import slicer

    panel, _nodes = outlined
    expected = volumes(panel)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    assert panel.ui.organsTable.isHidden()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    settled()
    assert (listed(panel), volumes(panel)) == (FOUND, expected)
    panel.ui.disagreementCheckBox.click()
    assert slicer.mrmlScene.GetNodeByID(composites()[0].GetForegroundVolumeID()).GetName() == (
        "abdomen disagreement"
    )


# DICOM


def test_dicom_export_says_why_not(outlined) -> None:
    panel, _nodes = outlined
    assert not panel.ui.exportButton.enabled
    assert "not loaded from DICOM" in panel.ui.exportLabel.text


def test_a_dicom_object_is_written(organs_panel, tmp_path, monkeypatch) -> None:
    import host
    import qt
    import slicer
    from segment_helpers import organ_image
    from test_segment_dicom import GRID, ROWS, Database

    pytest.importorskip("highdicom")
    pydicom = pytest.importorskip("pydicom")
    from scene_helpers import add_image

    from mriforge import io
    from mriforge.volume import Volume

    io.write(Volume(organ_image(), GRID), tmp_path / "series")
    database = Database(tmp_path / "series")
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    node = add_image(slicer.mrmlScene, organ_image(), ROWS, "belly")
    node.SetAttribute("DICOM.instanceUIDs", " ".join(database.files))
    give_result(organs_panel, node, tmp_path / "work")
    ui = organs_panel.ui
    assert ui.exportButton.enabled and ui.exportLabel.isHidden()
    target = tmp_path / "out" / "organs"
    target.parent.mkdir()
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *a: str(target))
    ui.exportButton.click()
    host.wait_until(lambda: organs_panel.session is None, 60)
    assert organs_panel.lastSession.error is None, organs_panel.lastSession.error
    dataset = pydicom.dcmread(target.with_suffix(".dcm"))
    assert [item.SegmentLabel for item in dataset.SegmentSequence] == FOUND
    assert "6 segments" in ui.exportLabel.text


# Labelled cases


def test_pairs_are_added_and_removed(outlined) -> None:
    import slicer

    panel, nodes = outlined
    ui = panel.ui
    ui.tuningSection.collapsed = False
    assert not ui.tuneButton.enabled and "labelled cases" in ui.tuningReasonLabel.text
    ui.caseImageSelector.setCurrentNode(panel.organsSection.image)
    assert not ui.addCaseButton.enabled
    ui.caseLabelsSelector.setCurrentNode(nodes["segmentation"])
    ui.addCaseButton.click()
    ui.addCaseButton.click()
    assert ui.casesList.count == 1 and "name" in ui.tuningReasonLabel.text
    ui.modelNameLineEdit.text = "mine"
    assert ui.tuneButton.enabled and ui.tuningReasonLabel.isHidden()
    ui.casesList.setCurrentRow(0)
    ui.removeCaseButton.click()
    assert ui.casesList.count == 0 and not ui.tuneButton.enabled
    ui.addCaseButton.click()
    slicer.mrmlScene.RemoveNode(nodes["segmentation"])
    panel.onChanged()
    assert not panel.casesSection.pairs and not ui.tuneButton.enabled


def test_a_folder_takes_the_place_of_pairs(ready, tmp_path) -> None:
    panel, _node = ready
    ui = panel.ui
    ui.modelNameLineEdit.text = "mine"
    ui.casesPathLineEdit.currentPath = str(tmp_path / "nowhere")
    assert "no folder" in ui.tuningReasonLabel.text and not ui.casesList.enabled
    (tmp_path / "cases").mkdir()
    ui.casesPathLineEdit.currentPath = str(tmp_path / "cases")
    assert ui.tuneButton.enabled
    ui.casesPathLineEdit.currentPath = ""
    assert ui.casesList.enabled and not ui.tuneButton.enabled


# The scene


def test_a_closed_scene_is_forgotten(outlined) -> None:
    import host

    panel, _nodes = outlined
    panel.ui.disagreementCheckBox.click()
    host.close_scene()
    settled()
    ui = panel.ui
    assert ui.organsTable.isHidden() and not ui.show3DButton.enabled
    assert not ui.disagreementCheckBox.checked and not ui.exportButton.enabled
    assert ui.summaryLabel.text == "Nothing has been computed yet."
    node = add_abdomen()
    ui.inputSelector.setCurrentNode(node)
    assert ui.applyButton.enabled


def test_deleted_nodes_do_no_harm(outlined) -> None:
    import slicer

    panel, nodes = outlined
    slicer.mrmlScene.RemoveNode(panel.organsSection.image)
    settled()
    panel.ui.showButton.click()
    panel.ui.organsTable.cellClicked.emit(0, ORGAN)
    slicer.mrmlScene.RemoveNode(nodes["segmentation"])
    settled()
    assert panel.ui.organsTable.isHidden() and not panel.ui.exportButton.enabled
    assert not panel.ui.disagreementCheckBox.enabled


def test_showing_a_result_never_holds_the_interface(ready, tmp_path) -> None:
    """Views are not drawn meanwhile: here that is done without a graphics card."""
    import slicer

    panel, node = ready
    nodes = give_result(panel, node, tmp_path / "work")
    settled()
    slicer.app.setRenderPaused(True)
    with Blocking() as blocking:
        nodes["segmentation"].RemoveClosedSurfaceRepresentation()
        panel.ui.show3DButton.click()
        settled(0.3)
        panel.ui.disagreementCheckBox.click()
        settled(0.2)
    slicer.app.setRenderPaused(False)
    assert blocking.worst < FELT_S


def test_the_panel_works_without_a_main_window(scene) -> None:
    """As Slicer's generic test opens it."""
    import host

    with host.without_main_window():
        host.load_module(MODULE)
        host.open_module("ALAMOSegment")
        host.close_module("ALAMOSegment")
