"""MTMRIRecon from its widgets: apply, watch, cancel in every stage, apply again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

for _folder in (Path(__file__).parent, Path(__file__).parents[1] / "adapter"):
    sys.path.insert(0, str(_folder))

from panel_helpers import finish, ids, worker_processes  # noqa: E402

pytest.importorskip("h5py")
pytest.importorskip("torch")


@pytest.fixture(scope="module")
def raw_file(tmp_path_factory):
    """A small simulated scan."""
    from mriforge.jobs import Request, run_request

    path = tmp_path_factory.mktemp("raw") / "scan.h5"
    options = {"what": "multitasking", "output": str(path), "seed": 2}
    small = {"matrix": 64, "coils": 4, "inversions": 6}
    run_request(Request("simulate", {**options, **small}))
    return path


@pytest.fixture
def ready(recon_panel, raw_file, tmp_path):
    """The panel with a raw file and small choices."""
    ui = recon_panel.ui
    ui.rawPathLineEdit.currentPath = str(raw_file)
    ui.folderPathLineEdit.currentPath = str(tmp_path / "kept")
    ui.rankSpinBox.value, ui.outerSpinBox.value = 16, 3
    ui.cardiacSpinBox.value, ui.respiratorySpinBox.value = 6, 2
    ui.deviceComboBox.setCurrentIndex(1)  # the processor
    return recon_panel


def test_from_raw_data_to_images_and_t1(ready, tmp_path) -> None:
    import host
    import slicer

    from mriforge.factors import Factors
    from mriforge.io import read

    ui, texts = ready.ui, set()
    usual = ready.progress

    def progress(fraction, text):
        texts.add(text.split(",")[0])
        usual(fraction, text)

    ready.progress = progress
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel" and not ui.rankSpinBox.enabled
    finish(ready, 120)
    host.process_events(0.1)
    session = ready.lastSession
    assert session.error is None, session.error
    for stage in ("coil sensitivities", "temporal basis", "normal operator", "T1 map"):
        assert any(stage in text for text in texts), stage
    chart = ready.runSection.chart
    table = next(node for node in chart.nodes if node.IsA("vtkMRMLTableNode"))
    assert table.GetNumberOfRows() >= 2 and float(table.GetCellText(0, 1)) > 0
    assert not ui.chartWidget.isHidden()
    factors = Factors.load(tmp_path / "kept" / "scan admm" / "factors.npz")
    assert ui.cardiacSlider.maximum == factors.bins[0] == 6
    ui.cardiacSlider.value, ui.inversionSlider.value = 4, 10
    host.process_events(0.05)
    found = slicer.util.arrayFromVolume(ui.framesSelector.currentNode())
    np.testing.assert_allclose(found, np.abs(factors.frame(3, 0, 9)), rtol=1e-4, atol=1e-6)
    t1 = slicer.util.arrayFromVolume(ui.t1Selector.currentNode())
    written = read(tmp_path / "kept" / "scan admm" / "t1_ms.nii.gz")
    np.testing.assert_array_equal(t1, written.array)
    assert np.count_nonzero(t1 > 0) > 100
    assert ui.reportButton.enabled and "Done in" in ui.summaryLabel.text


@pytest.mark.parametrize(
    "stage", ["reading", "coil", "basis", "normal operator", "iteration", "T1"]
)
def test_cancel_in_every_stage_leaves_nothing(ready, scene, tmp_path, stage) -> None:
    """No process, no file, the scene as it was; and Apply works again."""
    ui, before, reached = ready.ui, ids(scene), []
    usual = ready.progress

    def progress(fraction, text):
        usual(fraction, text)
        if stage in text and not reached:
            reached.append(text)
            ui.applyButton.click()

    ready.progress = progress
    ui.applyButton.click()
    finish(ready, 60)
    assert reached, f"{stage} was never reached"
    assert "cancelled" in ui.summaryLabel.text
    assert not worker_processes() and not (tmp_path / "kept").exists()
    assert ids(scene) == before
    assert ui.applyButton.text == "Apply" and ui.applyButton.enabled


def test_a_damaged_raw_file_is_refused_with_a_sentence(ready, scene, tmp_path, monkeypatch) -> None:
    import slicer

    told = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, *a, **k: told.append(text))
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    before = ids(scene)
    ready.ui.rawPathLineEdit.currentPath = str(tmp_path / "broken.h5")
    ready.ui.applyButton.click()
    finish(ready, 60)
    assert told and "broken.h5" in told[0]
    assert ids(scene) == before
