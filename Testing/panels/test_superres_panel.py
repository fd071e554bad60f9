"""SuperResMRI from its widgets: what can be chosen, and what the panel says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from panel_helpers import (
    DATA,
    MODULE,
    ROOT,
    add_volume,
    finish,
    head,
    with_prior,
)


def test_the_panel_opens_quickly_and_without_torch() -> None:
    """In a process of its own: this one has imported everything already."""
    code = f"""
import sys, time
sys.path[:0] = [{str(ROOT / "Testing")!r}]
import host
host.start()
import slicer, vtk, qt, ctk
started = time.process_time()
host.load_module({str(MODULE)!r})
host.open_module("SuperResMRI")
host.process_events()
print("SECONDS", time.process_time() - started)
assert "torch" not in sys.modules and "SimpleITK" not in sys.modules
"""
    assert _seconds(code) < 5.0


def _seconds(code: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split("SECONDS")[1].split()[0])


def test_apply_says_why_it_is_disabled(panel) -> None:
    ui = panel.ui
    assert not ui.applyButton.enabled
    assert "Select an image" in ui.applyButton.toolTip
    ui.inputSelector.setCurrentNode(add_volume(head(), "scan"))
    assert ui.applyButton.enabled
    assert "128 x 128 x 6" in ui.previewLabel.text
    ui.finetuneCheckBox.checked = True
    assert not ui.applyButton.enabled and "prior" in ui.applyButton.toolTip
    ui.priorSelector.setCurrentNode(add_volume(head((6, 128, 128)), "prior", (1.0, 1.0, 5.0)))
    assert ui.applyButton.enabled
    ui.methodComboBox.setCurrentIndex(ui.methodComboBox.findData("sinc"))
    assert not ui.applyButton.enabled and "interpolation" in ui.applyButton.toolTip


def test_choices_show_what_belongs_to_them(panel) -> None:
    ui = panel.ui
    ui.inputSelector.setCurrentNode(add_volume(head(), "scan"))
    shown = {"factor": ui.factorWidget, "spacing": ui.spacingWidget, "like": ui.likeSelector}
    for index, expected in enumerate(("", "factor", "spacing", "like")):
        ui.targetComboBox.setCurrentIndex(index)
        assert [name for name, widget in shown.items() if not widget.isHidden()] == (
            [expected] if expected else []
        )
    ui.targetComboBox.setCurrentIndex(1)
    ui.factorISpinBox.value = 3
    assert "192 x 128 x 6" in ui.previewLabel.text
    ui.factorKSpinBox.value = 2
    assert "slices" in ui.warningLabel.text
    assert ui.allFramesCheckBox.isHidden()
    ui.finetuneCheckBox.checked = True
    ui.tuningStopSlider.value = 3
    assert ui.tuningLengthLabel.text == "30 minutes" and ui.epochsSpinBox.isHidden()
    ui.tuningStopSlider.value = 4
    assert not ui.epochsSpinBox.isHidden()


def test_choices_survive_in_the_scene(panel, tmp_path) -> None:
    import slicer

    ui = panel.ui
    ui.inputSelector.setCurrentNode(add_volume(head(), "scan"))
    ui.targetComboBox.setCurrentIndex(1)
    ui.factorISpinBox.value = 3.5
    ui.methodComboBox.setCurrentIndex(ui.methodComboBox.findData("cubic_bspline"))
    slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Clear()
    assert ui.methodComboBox.currentData == "unet3d_small"
    slicer.util.loadScene(str(tmp_path / "scene.mrml"))
    assert ui.factorISpinBox.value == 3.5
    assert ui.methodComboBox.currentData == "cubic_bspline"
    assert ui.inputSelector.currentNode().GetName() == "scan"


def test_the_module_tests_itself(panel) -> None:
    """What "Reload and Test" and CTest run inside Slicer."""
    import slicer

    slicer.selfTests["SuperResMRI"]()


def test_label_maps_are_not_chosen_by_themselves(panel) -> None:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "organs")
    slicer.util.updateVolumeFromArray(node, np.ones((4, 8, 8), np.uint8))
    panel.initializeParameterNode()
    assert panel.ui.inputSelector.currentNode() is None
    assert panel.ui.priorSelector.nodeCount() == panel.ui.stack2Selector.nodeCount() == 0


def test_the_panel_works_without_a_main_window(scene) -> None:
    """As Slicer's generic test opens it."""
    import host

    with host.without_main_window():
        host.load_module(MODULE)
        widget = host.open_module("SuperResMRI").self()
        widget.ui.inputSelector.setCurrentNode(add_volume(head(), "scan"))
        assert widget.ui.applyButton.enabled
        host.close_module("SuperResMRI")


def test_models_are_added_and_removed_in_the_panel(panel, tmp_path, monkeypatch) -> None:
    import shutil

    import qt
    import slicer

    from mriforge.models.store import find_model

    shutil.copytree(find_model("unet3d_small").path, tmp_path / "knee")
    answers = [str(tmp_path / "knee" / "model.safetensors"), ""]
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", lambda *a, **k: answers.pop(0))
    ui = panel.ui
    count = ui.modelsTable.rowCount
    ui.addModelButton.click()
    assert ui.modelsTable.rowCount == count + 1
    assert ui.methodComboBox.findData("knee") >= 0
    ui.addModelButton.click()  # nothing chosen
    names = [ui.modelsTable.item(row, 0).text() for row in range(count + 1)]
    ui.modelsTable.selectRow(names.index("unet3d_small"))
    assert not ui.removeModelButton.enabled
    ui.verifyModelsButton.click()
    assert "knee: the checksum is right." in ui.modelDetailsLabel.text
    ui.modelsTable.selectRow(names.index("knee"))
    assert ui.removeModelButton.enabled
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *a, **k: True)
    ui.removeModelButton.click()
    assert ui.modelsTable.rowCount == count
    assert ui.methodComboBox.findData("knee") == -1


def test_a_tuned_model_is_kept_and_offered_again(panel) -> None:
    low, prior = with_prior(panel)
    session = panel.logic.process(
        low, prior, finetune=True, steps=3, keep_model_as="this head", waitForCompletion=False
    )
    import host

    host.wait_until(lambda: not session.running, 60)
    assert session.error is None
    assert prior.GetAttribute("MRIForge.tunedModel") == "this head"
    panel.showMethods()
    assert "this head" in panel.ui.warningLabel.text
    panel.ui.methodComboBox.setCurrentIndex(panel.ui.methodComboBox.findData("this head"))
    panel.ui.finetuneCheckBox.checked = False
    panel.ui.applyButton.click()
    finish(panel)
    assert panel.lastSession.figures["method"]["name"] == "this head"


def test_a_coarse_copy_to_try_it_out(panel) -> None:
    import slicer

    truth = add_volume(head((6, 64, 64)), "scan", oblique=True)
    ui = panel.ui
    ui.inputSelector.setCurrentNode(truth)
    ui.coarseSpinBox.value = 25
    ui.coarseButton.click()
    finish(panel)
    assert ui.referenceSelector.currentNode() is truth
    coarse = ui.inputSelector.currentNode()
    assert coarse.GetName() == "scan coarse"
    assert slicer.util.arrayFromVolume(coarse).shape == (6, 32, 32)
    assert ui.applyButton.enabled


def test_the_sample_data(panel, app) -> None:
    """Registered with its checksum; from a file of the data folder, where there is one."""
    import hashlib

    import SampleData
    import slicer

    from MRIForgeLib import sample_data

    app.startupCompleted.emit()
    sources = [s for group in slicer.modules.sampleDataSources.values() for s in group]
    source = next(s for s in sources if s.sampleName == sample_data.SERIES_NAME)
    assert source.checksums == ["SHA256:" + sample_data.SPINE_SHA256]
    assert Path(source.thumbnailFileName).is_file()
    assert SampleData.SampleDataLogic is not None
    path = DATA / "dynamic" / "sct_cspine_fmri_4D.nii.gz"
    if not path.is_file():
        pytest.skip("the data folder is not there")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sample_data.SPINE_SHA256
    series, prior = sample_data.add_spine(path)
    panel.ui.inputSelector.setCurrentNode(series)
    assert "29 frames" in panel.ui.previewLabel.text
    assert prior.GetName() == "SpinePrior"
