"""SuperResMRI from its widgets: apply, watch, cancel, apply again, compare."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from panel_helpers import (
    DATA,
    FELT_S,
    MODULE,
    ROOT,
    Blocking,
    add_series,
    add_volume,
    finish,
    head,
    ids,
    use_this_python,
    with_prior,
    worker_processes,
)


def test_cancel_leaves_no_process_and_the_scene_as_it_was(panel, scene) -> None:
    import host
    import vtk

    with_prior(panel)
    before = ids(scene)
    ui = panel.ui
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel" and "Computing" in ui.summaryLabel.text
    host.wait_until(worker_processes, 30)
    tables = [n for n in panel.runSection.chart.nodes if n.IsA("vtkMRMLTableNode")]
    host.wait_until(lambda: max(t.GetNumberOfRows() for t in tables) > 2, 60)
    host.wait_until(lambda: ui.progressBar.value > 0, 30)
    longest = max(tables, key=lambda table: table.GetNumberOfRows())
    last = longest.GetTable().GetValue(longest.GetNumberOfRows() - 1, 0).ToDouble()
    host.process_events(0.3)
    axes = [plot.chart().GetAxis(vtk.vtkAxis.BOTTOM) for plot in panel.runSection.strip.plots]
    assert max(axis.GetMaximum() for axis in axes) >= last, "the lines leave the charts"
    assert ui.statusLabel.text
    ui.applyButton.click()
    assert not ui.applyButton.enabled
    finish(panel, 15)
    assert not worker_processes()
    assert ui.applyButton.text == "Apply" and ui.applyButton.enabled
    assert "cancelled" in ui.summaryLabel.text
    assert ids(scene) == before
    assert ui.inputsSection.enabled


@pytest.mark.parametrize("tuned", [False, True])
def test_the_result_is_that_of_the_command_line(panel, tmp_path, tuned) -> None:
    """Voxel by voxel; fine-tuned for exactly so many steps, so that it can be repeated."""
    import slicer

    low, prior = with_prior(panel)
    if tuned:
        nodes = panel.logic.process(low, prior, finetune=True, steps=6)
    else:
        panel.ui.finetuneCheckBox.checked = False
        panel.ui.applyButton.click()
        finish(panel)
        nodes = panel.lastSession.nodes
    result = nodes["result"]
    assert result.GetName() == "scan sharpened"
    files = {name: str(tmp_path / f"{name}.nrrd") for name in ("low", "prior", "out")}
    slicer.util.saveNode(low, files["low"])
    slicer.util.saveNode(prior, files["prior"])
    command = ["superres", files["low"], files["out"], "--prior", files["prior"]]
    command += ["--finetune", "--steps", "6"] if tuned else []
    subprocess.run([sys.executable, "-m", "mriforge", *command], check=True, cwd=ROOT, timeout=120)
    expected = slicer.util.loadVolume(files["out"])
    found = slicer.util.arrayFromVolume(result)
    wanted = slicer.util.arrayFromVolume(expected)
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() <= 1e-4 * wanted.max()
    assert slicer.modules.volumes.logic().CompareVolumeGeometry(result, expected) == ""


def test_a_series_stays_on_its_browser(panel, scene) -> None:
    import slicer

    frames = [head((4, 32, 32), phase) for phase in (0.0, 0.4, 0.9)]
    _sequence, browser, proxy = add_series(
        frames, "cine", ("0.0", "12.5", "40"), "ms", spacing=(4.0, 4.0, 6.0), oblique=True
    )
    browser.SetSelectedItemNumber(1)
    ui = panel.ui
    ui.inputSelector.setCurrentNode(proxy)
    assert not ui.allFramesCheckBox.isHidden() and ui.allFramesCheckBox.checked
    assert "3 frames" in ui.previewLabel.text
    ui.applyButton.click()
    finish(panel)
    made = panel.lastSession.nodes["sequence"]
    assert made.GetNumberOfDataNodes() == 3
    assert [made.GetNthIndexValue(i) for i in range(3)] == ["0.0", "12.5", "40"]
    assert (made.GetIndexName(), made.GetIndexUnit()) == ("time", "ms")
    assert browser.IsSynchronizedSequenceNode(made)
    assert browser.GetSelectedItemNumber() == 1
    result = panel.lastSession.nodes["result"]
    assert browser.GetProxyNode(made) is result
    shown = slicer.util.arrayFromVolume(result)
    assert np.array_equal(shown, slicer.util.arrayFromVolume(made.GetNthDataNode(1)))
    assert scene.GetSubjectHierarchyNode() is not None
    # One frame only: a volume, from the frame that is shown.
    ui.allFramesCheckBox.checked = False
    ui.inputSelector.setCurrentNode(proxy)
    ui.applyButton.click()
    finish(panel)
    assert "sequence" not in panel.lastSession.nodes
    alone = slicer.util.arrayFromVolume(panel.lastSession.nodes["result"])
    assert np.corrcoef(alone.ravel(), shown.ravel())[0, 1] > 0.999


def test_measured_against_a_reference_and_compared(panel) -> None:
    import host
    import slicer

    sharp = head((6, 64, 64))
    low = add_volume(sharp[:, ::2, ::2], "scan", (4.0, 4.0, 5.0))
    reference = add_volume(sharp, "truth", (2.0, 2.0, 5.0))
    ui = panel.ui
    ui.inputSelector.setCurrentNode(low)
    ui.referenceSelector.setCurrentNode(reference)
    assert not ui.compareButton.enabled
    ui.applyButton.click()
    finish(panel)
    assert "PSNR" in ui.summaryLabel.text
    manager = slicer.app.layoutManager()
    before = manager.layout
    ui.compareButton.click()
    host.process_events(0.2)
    names = set(manager.sliceViewNames())
    assert {"MRIForgeLow", "MRIForgeResult", "MRIForgeReference", "MRIForgeSSIM"} <= names
    first = manager.sliceWidget("MRIForgeLow")
    other = manager.sliceWidget("MRIForgeSSIM")
    slider = first.sliceController()
    slider.setSliceOffsetValue(first.sliceLogic().GetSliceOffset() + 5)
    assert other.sliceLogic().GetSliceOffset() == pytest.approx(first.sliceLogic().GetSliceOffset())
    ui.orientationComboBox.setCurrentIndex(2)
    host.process_events(0.1)
    assert first.mrmlSliceNode().GetOrientation() == "Sagittal"
    ui.compareButton.click()
    assert manager.layout == before


def test_the_input_is_deleted_while_it_runs(panel, scene) -> None:
    import host

    low, _prior = with_prior(panel)
    panel.ui.finetuneCheckBox.checked = False
    panel.ui.applyButton.click()
    host.wait_until(worker_processes, 30)
    scene.RemoveNode(low)
    finish(panel)
    assert panel.lastSession.error is None
    assert panel.lastSession.nodes["result"].GetScene() is not None


def test_the_scene_is_closed_while_it_runs(panel, scene) -> None:
    import host

    with_prior(panel)
    panel.ui.applyButton.click()
    host.wait_until(worker_processes, 30)
    host.close_scene()
    finish(panel, 15)
    assert not worker_processes()
    assert scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is None
    assert panel.ui.applyButton.text == "Apply"
    assert not panel.ui.applyButton.enabled


def test_the_panel_is_reloaded_while_it_runs(tmp_path, monkeypatch) -> None:
    """In a process of its own: Reload executes the library anew, and the other tests hold it."""
    use_this_python(tmp_path, monkeypatch)
    code = f"""
import sys
sys.path[:0] = [{str(ROOT / "Testing")!r}, {str(ROOT / "Testing/panels")!r}]
import host
app = host.start()
import slicer
from panel_helpers import add_volume, head, worker_processes
host.load_module({str(MODULE)!r})
panel = host.open_module("SuperResMRI").self()
low = add_volume(head((6, 32, 32)), "scan", (4.0, 4.0, 5.0))
panel.ui.inputSelector.setCurrentNode(low)
panel.ui.priorSelector.setCurrentNode(add_volume(head((6, 64, 64)), "prior", (2.0, 2.0, 5.0)))
panel.ui.finetuneCheckBox.checked = True
panel.ui.applyButton.click()
host.wait_until(worker_processes, 60)
panel.onReload()
host.wait_until(lambda: not worker_processes(), 15)
again = slicer.modules.SuperResMRIWidget
assert again is not panel
assert again.ui.applyButton.text == "Apply"
assert again.ui.inputSelector.currentNode() is low
assert app.mrmlScene().GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2
again.ui.finetuneCheckBox.checked = False
again.ui.applyButton.click()
host.wait_until(lambda: again.session is None, 60)
assert again.lastSession.error is None, again.lastSession.error
print("RELOADED")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=180, cwd=ROOT
    )
    assert "RELOADED" in done.stdout, done.stderr[-3000:]


@pytest.mark.parametrize("what", ["coarse", "sharpen"])
def test_the_user_is_in_another_module_when_it_ends(panel, what) -> None:
    low = add_volume(head((4, 32, 32)), "scan")
    panel.ui.inputSelector.setCurrentNode(low)
    (panel.ui.coarseButton if what == "coarse" else panel.ui.applyButton).click()
    panel.exit()
    finish(panel)
    assert panel.ui.applyButton.text == "Apply"
    panel.enter()
    if what == "coarse":
        assert panel.ui.inputSelector.currentNode().GetName() == "scan coarse"
        assert panel.ui.referenceSelector.currentNode() is low
    else:
        assert panel.lastSession.nodes["result"].GetScene() is not None


def test_a_view_that_fails_stops_nothing(panel) -> None:
    from MRIForgeLib.view import View

    class Broken(View):
        def result(self, nodes, figures):
            raise RuntimeError("a widget is gone")

    low = add_volume(head((4, 32, 32)), "scan")
    session = panel.logic.process(low, view=Broken(), waitForCompletion=False)
    import host

    host.wait_until(lambda: not session.running, 60)
    assert session.error is None and session.nodes["result"] is not None


def test_images_that_come_later_do_not_enter_the_comparison(panel) -> None:
    import host
    import slicer

    low = add_volume(head((4, 32, 32)), "scan")
    panel.ui.inputSelector.setCurrentNode(low)
    panel.ui.applyButton.click()
    finish(panel)
    panel.ui.compareButton.click()
    host.process_events(0.1)
    other = add_volume(head((4, 16, 16)), "other")
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActiveVolumeID(other.GetID())
    slicer.app.applicationLogic().PropagateVolumeSelection(0)
    composite = slicer.app.layoutManager().sliceWidget("MRIForgeLow").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == low.GetID()
    panel.ui.compareButton.click()


def test_errors_say_what_to_do(panel, monkeypatch) -> None:
    import slicer

    shown = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **_: shown.append(text))
    array = head((4, 32, 32))
    array[1, 2, 3] = np.nan
    panel.ui.inputSelector.setCurrentNode(add_volume(array, "broken"))
    panel.ui.applyButton.click()
    finish(panel)
    assert len(shown) == 1 and "\n\n" in shown[0]


def test_a_failure_is_shown_and_leaves_nothing(panel, scene) -> None:
    import slicer

    array = head((4, 32, 32))
    array[1, 2, 3] = np.nan
    panel.ui.inputSelector.setCurrentNode(add_volume(array, "broken"))
    before = ids(scene)
    panel.ui.applyButton.click()
    finish(panel)
    assert "not numbers" in panel.ui.summaryLabel.text or "NaN" in panel.ui.summaryLabel.text
    assert ids(scene) == before
    panel.ui.copyLogButton.click()
    assert "torch" in slicer.app.clipboard().text()


def test_the_interface_never_waits(panel) -> None:
    """A series of 60 MB, so that copying at once would be felt."""
    frames = [head((24, 160, 160), phase) for phase in np.linspace(0, 1, 12)]
    _sequence, _browser, proxy = add_series(frames, "cine", range(12), spacing=(2.0, 2.0, 4.0))
    panel.ui.inputSelector.setCurrentNode(proxy)
    panel.ui.methodComboBox.setCurrentIndex(panel.ui.methodComboBox.findData("linear_aligned"))
    with Blocking() as blocking:
        panel.ui.applyButton.click()
        finish(panel, 120)
    assert blocking.ticks > 20
    assert blocking.worst < FELT_S


def test_two_runs_at_once_and_without_a_main_window(scene, tmp_path, monkeypatch) -> None:
    import host

    use_this_python(tmp_path, monkeypatch)
    host.load_module(MODULE)
    from SuperResMRI import SuperResMRILogic

    with host.without_main_window():
        logic = SuperResMRILogic()
        nodes = [add_volume(head((4, 32, 32), phase), f"scan {phase}") for phase in (0.0, 1.0)]
        sessions = [logic.process(node, waitForCompletion=False) for node in nodes]
        host.wait_until(lambda: not any(s.running for s in sessions), 90)
        results = [session.nodes["result"] for session in sessions]
        assert [node.GetName() for node in results] == ["scan 0.0 sharpened", "scan 1.0 sharpened"]
        waited = logic.process(nodes[0])
        first, again = (slicer_array(node) for node in (results[0], waited["result"]))
        assert np.array_equal(first, again)
        assert logic.compare({"low": nodes[0], "result": results[0]}) is None
        with pytest.raises(ValueError, match="prior"):
            logic.process(nodes[0], finetune=True)


def slicer_array(node):
    import slicer

    return slicer.util.arrayFromVolume(node)


def test_real_data(panel) -> None:
    """A series and a prior from the data folder, a second of tuning, then stopped and repeated."""
    import host
    import slicer

    path = DATA / "dynamic" / "sct_cspine_fmri_4D.nii.gz"
    if not path.is_file():
        pytest.skip("the data folder is not there")
    from mriforge.io import read
    from mriforge.volume import as_series

    series = as_series(read(path))
    frames = [frame[:, 20:84, 20:84].astype(np.float32) for frame in series.array[:4]]
    spacing = series.grid.spacing
    coarse = (2 * spacing[0], 2 * spacing[1], spacing[2])
    _sequence, _browser, proxy = add_series(
        [frame[:, ::2, ::2] for frame in frames[1:]], "spine", range(3), spacing=coarse
    )
    prior = add_volume(frames[0], "first frame", spacing)
    panel.ui.inputSelector.setCurrentNode(proxy)
    panel.ui.priorSelector.setCurrentNode(prior)
    panel.ui.finetuneCheckBox.checked = True
    panel.ui.applyButton.click()
    host.wait_until(lambda: panel.ui.progressBar.value > 0, 60)
    panel.ui.applyButton.click()
    finish(panel, 15)
    panel.ui.finetuneCheckBox.checked = False
    panel.ui.applyButton.click()
    finish(panel)
    result = panel.lastSession.nodes["sequence"]
    assert result.GetNumberOfDataNodes() == 3
    assert slicer.util.arrayFromVolume(result.GetNthDataNode(0)).shape == frames[0].shape
