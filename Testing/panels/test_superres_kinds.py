"""SuperResMRI from its widgets: thick slices, fusion of stacks, labels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from panel_helpers import add_series, add_volume, finish, head

THICK = (1.0, 1.0, 4.0)


def stack(name="stack", shape=(8, 24, 24), spacing=THICK):
    """Eight slices of 4 mm, pixels of 1 mm."""
    return add_volume(head(shape), name, spacing)


def method(panel):
    return panel.ui.methodComboBox.currentData


def choose(panel, name):
    """As a user does: by the list, which tells its index."""
    combo = panel.ui.methodComboBox
    combo.setCurrentIndex(combo.findData(name))


def shown(panel, *names):
    return [name for name in names if not getattr(panel.ui, name).isHidden()]


def test_thick_slices_are_recognised_and_said(panel) -> None:
    ui = panel.ui
    thick, cube = stack(), add_volume(head((8, 24, 24)), "cube", (1.0, 1.0, 1.0))
    ui.inputSelector.setCurrentNode(thick)
    assert method(panel) == "smore_small"
    assert ui.methodNoteLabel.text.startswith("Slices are 4 mm apart, pixels 1 mm:")
    assert "24 x 24 x 32 voxels of 1 x 1 x 1 mm" in ui.previewLabel.text
    assert ui.applyButton.enabled and "slices finer" in ui.applyButton.toolTip
    ui.inputSelector.setCurrentNode(cube)
    assert method(panel) == "unet3d_small"
    assert ui.methodNoteLabel.isHidden()


def test_a_method_that_the_user_chose_stays(panel) -> None:
    ui = panel.ui
    thick, other = stack(), stack("other")
    cube = add_volume(head((8, 24, 24)), "cube", (1.0, 1.0, 1.0))
    ui.inputSelector.setCurrentNode(thick)
    choose(panel, "unet3d_small")
    assert method(panel) == "unet3d_small"
    assert "thick slices are in the list" in ui.methodNoteLabel.text
    ui.targetComboBox.setCurrentIndex(1)  # another choice decides nothing anew
    assert method(panel) == "unet3d_small"
    ui.targetComboBox.setCurrentIndex(0)
    ui.inputSelector.setCurrentNode(other)
    assert method(panel) == "smore_small"
    ui.inputSelector.setCurrentNode(thick)
    assert method(panel) == "unet3d_small", "chosen for this input"
    choose(panel, "smore")
    ui.inputSelector.setCurrentNode(cube)
    assert method(panel) == "unet3d_small"
    choose(panel, "smore_small")
    assert not ui.applyButton.enabled and "in plane" in ui.applyButton.toolTip


def test_a_choice_is_kept_with_the_scene(panel, tmp_path) -> None:
    import slicer

    ui = panel.ui
    ui.inputSelector.setCurrentNode(stack())
    choose(panel, "sinc")
    ui.thicknessSpinBox.value = 3.5
    slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Clear()
    assert method(panel) == "unet3d_small"
    slicer.util.loadScene(str(tmp_path / "scene.mrml"))
    assert method(panel) == "sinc" and ui.thicknessSpinBox.value == 3.5
    assert ui.inputSelector.currentNode().GetName() == "stack"


def test_a_time_series_stays_in_plane_with_a_word(panel) -> None:
    frames = [head((6, 24, 24), phase) for phase in (0.0, 0.5)]
    _sequence, _browser, proxy = add_series(frames, "cine", (0, 1), spacing=(1.0, 1.0, 8.0))
    panel.ui.inputSelector.setCurrentNode(proxy)
    assert method(panel) == "unet3d_small"
    assert "Slices are 8 mm apart" in panel.ui.methodNoteLabel.text
    choose(panel, "smore_small")
    assert "2 frames" in panel.ui.previewLabel.text


def test_each_kind_shows_its_own_widgets(panel) -> None:
    ui = panel.ui
    ui.inputSelector.setCurrentNode(stack())
    ui.advancedSection.collapsed = False
    names = (
        "priorSelector",
        "finetuneCheckBox",
        "keepModelLineEdit",
        "profileComboBox",
        "thicknessSpinBox",
        "mergeComboBox",
        "stack2Selector",
        "stack3Selector",
        "targetStackComboBox",
        "sliceMotionCheckBox",
        "gateCheckBox",
        "tuningSection",
        "labelsButton",
    )
    assert shown(panel, *names) == [
        "profileComboBox",
        "thicknessSpinBox",
        "mergeComboBox",
        "gateCheckBox",
        "tuningSection",
    ]
    assert ui.tuningSection.text == "Learn from the scan"
    assert ui.tuningStopSlider.enabled and ui.tuningStopSlider.maximum == 2
    choose(panel, "cubic")
    assert shown(panel, "tuningSection") == []
    choose(panel, "unet3d_small")
    assert shown(panel, *names) == [
        "priorSelector",
        "finetuneCheckBox",
        "keepModelLineEdit",
        "gateCheckBox",
        "tuningSection",
    ]
    assert ui.tuningStopSlider.maximum == 4 and not ui.tuningStopSlider.enabled
    choose(panel, "fuse")
    assert shown(panel, *names) == [
        "thicknessSpinBox",
        "stack2Selector",
        "stack3Selector",
        "targetStackComboBox",
        "sliceMotionCheckBox",
    ]
    assert ui.inputLabel.text == "Stack 1:"
    choose(panel, "fuse_implicit")
    assert shown(panel, "tuningSection") == ["tuningSection"]


def test_what_a_hidden_widget_says_does_not_count(panel) -> None:
    from MRIForgeLib.superres.wishes import wishes_of

    ui = panel.ui
    ui.inputSelector.setCurrentNode(stack())
    choose(panel, "unet3d_small")
    ui.priorSelector.setCurrentNode(add_volume(head((8, 48, 48)), "prior", (0.5, 0.5, 4.0)))
    ui.finetuneCheckBox.checked = True
    ui.tuningStopSlider.value = 4
    choose(panel, "smore_small")
    wishes = wishes_of(panel._parameterNode)
    assert not wishes.finetune and wishes.prior_node is None
    assert (wishes.minutes, wishes.epochs) == (10.0, None)
    assert ui.applyButton.enabled, ui.applyButton.toolTip


def test_the_factor_is_that_across_the_slices(panel) -> None:
    ui = panel.ui
    ui.inputSelector.setCurrentNode(stack())
    ui.targetComboBox.setCurrentIndex(1)
    assert shown(panel, "factorISpinBox", "factorJSpinBox", "factorKSpinBox") == ["factorKSpinBox"]
    assert ui.factorKSpinBox.value == 4.0
    ui.factorKSpinBox.value = 2.5
    assert "24 x 24 x 20" in ui.previewLabel.text
    ui.targetComboBox.setCurrentIndex(2)
    assert [getattr(ui, f"spacing{a}SpinBox").value for a in "IJK"] == [1.0, 1.0, 1.0]
    ui.spacingKSpinBox.value = 0.5
    assert not ui.applyButton.enabled and "finer than the pixels" in ui.applyButton.toolTip
    ui.advancedSection.collapsed = False
    ui.sliceAxisComboBox.setCurrentIndex(1)
    ui.targetComboBox.setCurrentIndex(1)
    assert shown(panel, "factorISpinBox", "factorKSpinBox") == ["factorISpinBox"]


def test_thick_slices_from_apply_to_comparison(panel) -> None:
    import slicer

    ui = panel.ui
    truth = add_volume(head((32, 24, 24)), "truth", (1.0, 1.0, 1.0))
    ui.inputSelector.setCurrentNode(truth)
    ui.thickSpinBox.value = 4.0
    ui.thickButton.click()
    assert not ui.thickButton.enabled and not ui.coarseButton.enabled
    finish(panel)
    assert ui.inputSelector.currentNode().GetName() == "truth thick slices"
    assert ui.referenceSelector.currentNode() is truth
    assert method(panel) == "smore_small"
    choose(panel, "cubic")
    ui.applyButton.click()
    finish(panel)
    assert panel.lastSession.error is None
    result = panel.lastSession.nodes["result"]
    assert slicer.util.arrayFromVolume(result).shape == (32, 24, 24)
    assert "PSNR" in ui.summaryLabel.text
    assert ui.compareButton.enabled


def test_learning_is_followed_in_charts_and_is_that_of_a_script(panel) -> None:
    import host
    import slicer

    thick = stack()
    panel.ui.inputSelector.setCurrentNode(thick)
    panel.ui.applyButton.click()
    host.wait_until(lambda: panel.ui.progressBar.value > 0, 60)
    assert not panel.ui.chartWidget.isHidden()
    tables = [n for n in panel.runSection.chart.nodes if n.IsA("vtkMRMLTableNode")]
    host.wait_until(lambda: max(t.GetNumberOfRows() for t in tables) > 1, 90)
    panel.ui.applyButton.click()
    finish(panel, 15)
    assert "cancelled" in panel.ui.summaryLabel.text
    twice = [
        panel.logic.process(thick, method="smore_small", steps=2)["result"] for _time in range(2)
    ]
    first, second = (slicer.util.arrayFromVolume(node) for node in twice)
    assert first.shape == (32, 24, 24) and np.array_equal(first, second)
    with pytest.raises(ValueError, match="prior"):
        panel.logic.process(thick, twice[0], method="smore_small")


def test_two_stacks_are_fused_and_compared(panel) -> None:
    import host
    import slicer

    cube = head((24, 24, 24))
    one = add_volume(cube.reshape(6, 4, 24, 24).mean(axis=1), "axial", (1.0, 1.0, 4.0))
    two = add_volume(cube.reshape(24, 6, 4, 24).mean(axis=2), "coronal", (1.0, 4.0, 1.0))
    one.SetOrigin(0, 0, 1.5)
    two.SetOrigin(0, 1.5, 0)
    ui = panel.ui
    ui.inputSelector.setCurrentNode(one)
    choose(panel, "fuse")
    assert not ui.applyButton.enabled and "second stack" in ui.applyButton.toolTip
    ui.stack2Selector.setCurrentNode(two)
    assert ui.applyButton.enabled, ui.applyButton.toolTip
    assert "24 x 24 x 24 voxels of 1 x 1 x 1 mm" in ui.previewLabel.text
    ui.alignCheckBox.checked = False
    ui.applyButton.click()
    finish(panel)
    assert panel.lastSession.error is None
    assert "Stack 2: turned by" in ui.summaryLabel.text and "residual" in ui.summaryLabel.text
    manager = slicer.app.layoutManager()
    before = manager.layout
    ui.compareButton.click()
    host.process_events(0.2)
    names = set(manager.sliceViewNames())
    assert {"MRIForgeLow", "MRIForgeStack2", "MRIForgeResult", "MRIForgeResidual2"} <= names
    assert slicer.app.layoutManager().sliceWidget("MRIForgeStack2") is not None
    assert manager.sliceWidget("MRIForgeLow").mrmlSliceNode().GetLayoutLabel() == "Stack 1"
    composite = manager.sliceWidget("MRIForgeStack2").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == two.GetID()
    ui.compareButton.click()
    assert manager.layout == before
    nodes = panel.logic.fuse([one, two], align=False)
    assert slicer.util.arrayFromVolume(nodes["result"]).shape == (24, 24, 24)
    with pytest.raises(ValueError, match="second stack"):
        panel.logic.fuse([one])


def organs():
    z, y, x = np.indices((6, 24, 24)) - np.array((3, 12, 12)).reshape(3, 1, 1, 1)
    return (((x + 4) ** 2 + y**2 + (4 * z) ** 2 < 90) + 2 * (x > 6)).astype(np.uint8)


def test_labels_are_sent_to_their_own_button(panel) -> None:
    import slicer

    ui = panel.ui
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "organs")
    slicer.util.updateVolumeFromArray(node, organs())
    node.SetSpacing(1.0, 1.0, 4.0)
    node.CreateDefaultDisplayNodes()
    ui.inputSelector.setCurrentNode(node)
    assert not ui.applyButton.enabled and "Resample labels" in ui.applyButton.toolTip
    assert "Resample labels" in ui.warningLabel.text
    assert shown(panel, "methodComboBox", "labelsButton", "priorSelector") == ["labelsButton"]
    assert ui.labelsButton.enabled and not ui.coarseButton.enabled
    assert "24 x 24 x 24" in ui.previewLabel.text
    ui.labelsButton.click()
    finish(panel)
    made = slicer.util.getNode("organs resampled")
    assert made.IsA("vtkMRMLLabelMapVolumeNode")
    assert set(np.unique(slicer.util.arrayFromVolume(made))) == set(np.unique(organs()))
    assert "label" in ui.summaryLabel.text
    assert ui.inputSelector.currentNode() is node, "labels stay selected, the result is beside them"
    again = panel.logic.resampleLabels(node)["result"]
    assert np.array_equal(slicer.util.arrayFromVolume(again), slicer.util.arrayFromVolume(made))
    with pytest.raises(ValueError, match="Select"):
        panel.logic.resampleLabels(None)
    ui.inputSelector.setCurrentNode(stack())
    assert shown(panel, "methodComboBox", "labelsButton") == ["methodComboBox"]
    assert ui.applyButton.enabled
