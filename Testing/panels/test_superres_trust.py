"""SuperResMRI: the map of uncertainty over the image, and the method checked on the scan."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from panel_helpers import add_volume, finish, head, ids


def chosen(panel, array=None):
    """An image and a method without a network, chosen by the widgets."""
    node = add_volume(head((3, 80, 80)) if array is None else array, "scan", (2.0, 2.0, 3.0))
    panel.ui.inputSelector.setCurrentNode(node)
    ui = panel.ui
    ui.methodComboBox.setCurrentIndex(ui.methodComboBox.findData("cubic_bspline"))
    return node


def test_the_map_is_made_when_asked_for_and_laid_over_the_result(panel, scene) -> None:
    import slicer

    chosen(panel)
    ui = panel.ui
    assert not ui.showUncertaintyCheckBox.enabled
    ui.uncertaintyCheckBox.checked = True
    ui.applyButton.click()
    finish(panel)
    nodes = panel.lastSession.nodes
    found = nodes["uncertainty"]
    assert found.GetName() == "scan uncertainty"
    half = slicer.util.arrayFromVolume(found)
    assert half.shape == slicer.util.arrayFromVolume(nodes["result"]).shape and half.min() > 0
    assert slicer.modules.volumes.logic().CompareVolumeGeometry(found, nodes["result"]) == ""
    assert "90 % of the voxels" in ui.summaryLabel.text
    assert ui.showUncertaintyCheckBox.enabled and not ui.showUncertaintyCheckBox.checked
    ui.showUncertaintyCheckBox.click()
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(found)
    assert legend is not None and legend.GetTitleText() == "Uncertainty (±)"
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = {c.GetForegroundVolumeID() for c in composites if c.GetDoPropagateVolumeSelection()}
    assert shown == {found.GetID()}
    assert "check there first" in ui.uncertaintyLabel.text
    ui.showUncertaintyCheckBox.click()
    assert found.GetID() not in {c.GetForegroundVolumeID() for c in composites}


def test_without_the_map_it_is_said_where_to_ask_for_it(panel) -> None:
    chosen(panel)
    panel.ui.applyButton.click()
    finish(panel)
    assert "uncertainty" not in panel.lastSession.nodes
    assert not panel.ui.showUncertaintyCheckBox.enabled
    assert "Advanced" in panel.ui.uncertaintyLabel.text


def test_a_closed_scene_leaves_nothing_to_show(panel, scene) -> None:
    chosen(panel)
    panel.ui.uncertaintyCheckBox.checked = True
    panel.ui.applyButton.click()
    finish(panel)
    panel.ui.showUncertaintyCheckBox.click()
    scene.Clear(0)
    assert not panel.ui.showUncertaintyCheckBox.enabled
    assert panel.trustSection.overlay.shown is None


def test_the_method_is_checked_on_the_scan_without_touching_the_scene(panel, scene) -> None:
    pytest.importorskip("matplotlib")
    chosen(panel)
    before, ui = ids(scene), panel.ui
    assert ui.selfCheckButton.enabled
    ui.selfCheckButton.click()
    finish(panel)
    assert ids(scene) == before
    assert "made coarser once more" in ui.summaryLabel.text
    page = Path(ui.summaryLabel.text.split("Page: ")[1].strip())
    assert page.is_file() and "cubic B-spline" in page.read_text()
    page.unlink()


def test_a_script_gets_the_figures(panel) -> None:
    pytest.importorskip("matplotlib")
    node = chosen(panel)
    figures = panel.logic.selfCheck(node, method="nearest")
    assert all(one["gain_db"] < 0 for one in figures["against"].values())
    Path(figures["report"]).unlink()
    with pytest.raises(ValueError, match="one image"):
        panel.logic.selfCheck(node, method="fuse")


def test_an_image_too_small_to_be_its_own_truth_is_refused(panel, scene) -> None:
    chosen(panel, np.ascontiguousarray(head((3, 12, 12))))
    before = ids(scene)
    panel.ui.uncertaintyCheckBox.checked = True
    panel.ui.applyButton.click()
    finish(panel)
    assert "too small" in panel.ui.summaryLabel.text
    assert ids(scene) == before
