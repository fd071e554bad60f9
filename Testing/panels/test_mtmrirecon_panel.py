"""MTMRIRecon from its widgets: choices, three sliders, playback, export, T1."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

for _folder in (Path(__file__).parent, Path(__file__).parents[1] / "adapter"):
    sys.path.insert(0, str(_folder))

from panel_helpers import ROOT, finish  # noqa: E402
from recon_helpers import write_result  # noqa: E402

MODULE = ROOT / "MTMRIRecon" / "MTMRIRecon.py"
RAW, SIMULATED, FACTORS = range(3)


@pytest.fixture
def opened(recon_panel, tmp_path):
    """The panel with an earlier reconstruction, and its images."""
    _factors, images = write_result(tmp_path / "study")
    ui = recon_panel.ui
    ui.sourceComboBox.setCurrentIndex(FACTORS)
    ui.factorsPathLineEdit.currentPath = str(tmp_path / "study" / "factors.npz")
    ui.applyButton.click()
    finish(recon_panel)
    return recon_panel, images


def shown(panel) -> np.ndarray:
    import slicer

    return np.array(slicer.util.arrayFromVolume(panel.ui.framesSelector.currentNode()))


def moved(panel) -> None:
    """The move that waits is carried out."""
    import host

    host.process_events(0.05)


def test_the_panel_opens_without_torch() -> None:
    """In a process of its own: this one has imported everything already."""
    code = f"""
import sys
sys.path[:0] = [{str(ROOT / "Testing")!r}]
import host
host.start()
host.load_module({str(MODULE)!r})
host.open_module("MTMRIRecon")
host.process_events()
heavy = {{"torch", "SimpleITK", "scipy", "h5py", "nibabel"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_the_module_tests_itself(recon_panel) -> None:
    """What "Reload and Test" and CTest run inside Slicer."""
    import slicer

    slicer.selfTests["MTMRIRecon"]()


def test_choices_show_what_belongs_to_them(recon_panel, tmp_path) -> None:
    ui = recon_panel.ui
    sources = {RAW: ui.rawPathLineEdit, SIMULATED: ui.seedSpinBox, FACTORS: ui.factorsPathLineEdit}
    for index, widget in sources.items():
        ui.sourceComboBox.setCurrentIndex(index)
        assert [w for w in sources.values() if not w.isHidden()] == [widget]
    assert ui.methodSection.isHidden()
    ui.sourceComboBox.setCurrentIndex(RAW)
    assert not ui.applyButton.enabled and "raw data" in ui.applyButton.toolTip
    (tmp_path / "scan.h5").touch()
    ui.rawPathLineEdit.currentPath = str(tmp_path / "scan.h5")
    assert ui.applyButton.enabled
    assert str(tmp_path) in ui.previewLabel.text
    for method, iterates, network in (("GRIDDING", 0, 0), ("ADMM", 1, 0), ("MALIBU", 0, 1)):
        recon_panel._parameterNode.method = type(recon_panel._parameterNode.method)[method]
        assert ui.outerSpinBox.isHidden() != bool(iterates)
        assert ui.modelComboBox.isHidden() != bool(network)


def test_choices_survive_in_the_scene(recon_panel, tmp_path) -> None:
    import slicer

    ui = recon_panel.ui
    ui.rawPathLineEdit.currentPath = str(tmp_path / "scan.h5")
    ui.rankSpinBox.value = 17
    ui.methodComboBox.setCurrentIndex(2)
    slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Clear()
    assert ui.rawPathLineEdit.currentPath == "" and ui.rankSpinBox.value == 32
    slicer.util.loadScene(str(tmp_path / "scene.mrml"))
    assert ui.rawPathLineEdit.currentPath == str(tmp_path / "scan.h5")
    assert (ui.rankSpinBox.value, ui.methodComboBox.currentIndex) == (17, 2)


def test_the_sliders_move_the_images(opened) -> None:
    panel, images = opened
    ui = panel.ui
    ranges = [s.maximum for s in (ui.cardiacSlider, ui.respiratorySlider, ui.inversionSlider)]
    assert ranges == list(images.shape[:3])
    rng = np.random.default_rng(2)
    for cardiac, respiratory, inversion in rng.integers(0, images.shape[:3], (6, 3)):
        ui.cardiacSlider.value = cardiac + 1
        ui.respiratorySlider.value = respiratory + 1
        ui.inversionSlider.value = inversion + 1
        moved(panel)
        wanted = np.abs(images[cardiac, respiratory, inversion])
        np.testing.assert_allclose(shown(panel), wanted, atol=2e-4)
        time = 1000 * panel.framesSection.frames.factors.inversion_times_s[inversion]
        assert ui.inversionTimeLabel.text.startswith(f"{time:.0f} ms")
    ui.phaseCheckBox.checked = True
    moved(panel)
    bright = wanted > 0.05
    expected = np.angle(images[cardiac, respiratory, inversion])[bright]
    np.testing.assert_allclose(shown(panel)[bright], expected, atol=1e-2)


def test_the_views_follow(opened) -> None:
    import host
    import slicer

    panel, _images = opened
    view = slicer.app.layoutManager().sliceWidget("Red")
    node = panel.ui.framesSelector.currentNode()
    assert view.mrmlSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()
    host.process_events(0.2)
    before = shown(panel)
    panel.ui.inversionSlider.value = 1
    moved(panel)
    resliced = view.sliceLogic().GetBackgroundLayer().GetReslice()
    resliced.Update()
    assert not np.array_equal(before, shown(panel))
    _low, high = resliced.GetOutput().GetScalarRange()
    assert high == pytest.approx(shown(panel).max(), rel=0.05)


def test_the_legend_comes_with_the_t1_map_and_goes_with_it(opened, tmp_path) -> None:
    import host
    import slicer
    from PIL import Image

    panel, _images = opened
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()

    def colored() -> int:
        """Pixels beside the body that have a color."""
        host.process_events(0.4)
        host.grab(view, str(tmp_path / "view.png"))
        pixels = np.asarray(Image.open(tmp_path / "view.png").convert("RGB")).astype(int)
        strip = pixels[:, int(0.93 * pixels.shape[1]) :]
        return int(np.count_nonzero(np.ptp(strip, axis=2) > 40))

    def becomes(wanted) -> bool:
        """A busy machine draws late."""
        return any(wanted(colored()) for _ in range(15))

    assert becomes(lambda count: count == 0)
    panel.ui.t1Section.collapsed = False
    panel.ui.showT1Button.click()
    assert becomes(lambda count: count > 100)
    panel.ui.showFramesButton.click()
    assert becomes(lambda count: count == 0)


def test_dragging_never_queues(opened, monkeypatch) -> None:
    """Hundreds of moves before the event loop comes round are one image."""
    panel, images = opened
    count = []
    frames = panel.framesSection.frames
    usual = frames.show
    monkeypatch.setattr(frames, "show", lambda *a: (count.append(1), usual(*a)))
    for _ in range(20):
        for number in range(1, images.shape[2] + 1):
            panel.ui.inversionSlider.value = number
    moved(panel)
    assert len(count) == 1
    np.testing.assert_allclose(shown(panel), np.abs(images[0, 0, -1]), atol=2e-4)


def test_playback_runs_loops_and_stops(opened) -> None:
    import host

    panel, images = opened
    ui = panel.ui
    ui.axisComboBox.setCurrentIndex(ui.axisComboBox.findData("cardiac"))
    ui.rateSpinBox.value = 60
    seen = []
    ui.cardiacSlider.connect("valueChanged(double)", seen.append)
    ui.playButton.click()
    host.wait_until(lambda: len(seen) > images.shape[0] + 2, 10)
    ui.playButton.click()
    assert seen[: images.shape[0]] == [2, 3, 4, 5, 6, 1]
    count = len(seen)
    host.process_events(0.2)
    assert len(seen) == count and ui.playButton.text == "Play"
    ui.loopCheckBox.checked = False
    ui.playButton.click()
    host.wait_until(lambda: not ui.playButton.checked, 10)
    assert ui.cardiacSlider.value == images.shape[0]
    moved(panel)
    np.testing.assert_allclose(shown(panel), np.abs(images[-1, 0, -1]), atol=2e-4)


def test_a_line_is_exported(opened) -> None:
    import slicer

    panel, images = opened
    ui = panel.ui
    ui.axisComboBox.setCurrentIndex(ui.axisComboBox.findData("inversion"))
    ui.cardiacSlider.value, ui.respiratorySlider.value = 3, 2
    ui.exportStepSpinBox.value = 3
    ui.exportButton.click()
    finish(panel)
    sequence = panel.lastSession.nodes["sequence"]
    count = sequence.GetNumberOfDataNodes()
    found = [slicer.util.arrayFromVolume(sequence.GetNthDataNode(i)) for i in range(count)]
    np.testing.assert_allclose(found, np.abs(images[2, 1, ::3]), atol=2e-4)
    assert ui.framesSelector.nodeCount() == 1, "the exported images are not to be browsed"
    assert ui.exportButton.enabled


def test_regions_and_agreement(opened) -> None:
    import slicer

    panel, _images = opened
    ui, scene = panel.ui, slicer.mrmlScene
    ui.t1Section.collapsed = False
    t1 = ui.t1Selector.currentNode()
    values = slicer.util.arrayFromVolume(t1)
    assert not ui.regionsButton.enabled and not ui.agreementButton.enabled
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "tissue")
    slicer.util.updateVolumeFromArray(labels, (values > 1000).astype(np.uint8))
    labels.CopyOrientation(t1)
    ui.regionsSelector.setCurrentNode(labels)
    ui.regionsButton.click()
    table = panel.t1Section.table
    expected = values[values > 1000].mean()
    assert float(table.GetCellText(0, 1)) == pytest.approx(expected, abs=0.1)
    other = slicer.modules.volumes.logic().CloneVolume(scene, t1, "other")
    slicer.util.updateVolumeFromArray(other, values - 50)
    ui.otherSelector.setCurrentNode(other)
    ui.agreementButton.click()
    assert panel.t1Section.chart.figures.bias == pytest.approx(50, abs=1e-3)
    assert "bias +50 ms" in ui.agreementLabel.text
    assert not ui.agreementWidget.isHidden() and not ui.regionsTableWidget.isHidden()


def test_a_closed_scene_is_forgotten(opened) -> None:
    import host
    import slicer

    panel, _images = opened
    panel.ui.playButton.click()
    host.close_scene()
    host.process_events(0.2)
    ui = panel.ui
    assert not ui.cardiacSlider.enabled and not ui.exportButton.enabled
    assert not ui.playButton.checked and panel.framesSection.frames is None
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is None


def test_a_saved_study_is_browsed_again(opened, tmp_path) -> None:
    import slicer

    panel, images = opened
    panel.ui.cardiacSlider.value = 4
    moved(panel)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert panel.ui.cardiacSlider.value == 4
    panel.ui.respiratorySlider.value = 3
    moved(panel)
    np.testing.assert_allclose(shown(panel), np.abs(images[3, 2, -1]), atol=2e-4)


def test_a_deleted_node_does_no_harm(opened) -> None:
    import slicer

    panel, _images = opened
    slicer.mrmlScene.RemoveNode(panel.ui.framesSelector.currentNode())
    panel.ui.cardiacSlider.value = 2
    moved(panel)
    assert not panel.ui.exportButton.enabled


def test_the_panel_works_without_a_main_window(scene) -> None:
    """As Slicer's generic test opens it."""
    import host

    with host.without_main_window():
        host.load_module(MODULE)
        host.open_module("MTMRIRecon")
        host.close_module("MTMRIRecon")
