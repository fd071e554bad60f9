"""ALAMOSegment from its widgets: apply on simulated torsos, cancel, series, fine-tune.

The network has learned nothing: what is tested is that what the command answers comes into the
scene, whatever it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

for _folder in (Path(__file__).parent, Path(__file__).parents[1] / "adapter"):
    sys.path.insert(0, str(_folder))

from organs_helpers import add_tiny_model  # noqa: E402
from panel_helpers import FELT_S, Blocking, add_series, add_volume, finish, ids, worker_processes  # noqa: E402
from segment_helpers import voxels_of  # noqa: E402

pytest.importorskip("torch")

SPACING_MM = 6.0


@pytest.fixture(scope="module")
def torso():
    """A simulated image, ``(z, y, x)``."""
    from mriforge.phantoms.abdomen import draw
    from mriforge.synthesis import render

    image = render(draw(990_002, spacing=SPACING_MM), np.random.default_rng(1))
    return np.ascontiguousarray(image.array, dtype=np.float32)


@pytest.fixture
def ready(organs_panel, torso, tmp_path):
    """The panel with a small torso and a network that has learned nothing."""
    add_tiny_model(tmp_path)
    organs_panel.showModels()
    node = add_volume(torso, "torso", (SPACING_MM,) * 3, oblique=True)
    ui = organs_panel.ui
    ui.inputSelector.setCurrentNode(node)
    ui.deviceComboBox.setCurrentIndex(1)  # the processor
    return organs_panel, node


def answer(node, tmp_path, **options) -> np.ndarray:
    """What the command answers for a volume node, labels ``(z, y, x)``."""
    from mriforge.io import read, write
    from mriforge.jobs import Request, run_request
    from MRIForgeLib.nodes import volume_from_node

    folder = tmp_path / "expected"
    folder.mkdir(exist_ok=True)
    write(volume_from_node(node), folder / "in.npy")
    files = {"input": str(folder / "in.npy"), "output": str(folder / "out.npy"), "device": "cpu"}
    run_request(Request("segment", {**files, **options}))
    return read(folder / "out.npy").array


def test_apply_gives_every_organ_its_segment(ready, tmp_path) -> None:
    """Names, terminology, colors, geometry and voxels of each segment."""
    from mriforge.anatomy import ORGANS
    from MRIForgeLib.nodes import grid_of
    from MRIForgeLib.segmentations import reference_grid, terminology

    panel, node = ready
    ui, texts = panel.ui, []
    usual = panel.progress

    def progress(fraction, text):
        texts.append(text)
        usual(fraction, text)

    panel.progress = progress
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel" and not ui.axialCheckBox.enabled
    finish(panel, 120)
    session = panel.lastSession
    assert session.error is None, session.error
    for view in ("axial", "coronal", "sagittal"):
        assert any(view in text for text in texts), (view, set(texts))
    labels = answer(node, tmp_path)
    made = session.nodes["segmentation"]
    there = [organ for organ in ORGANS if (labels == organ.label).any()]
    assert there, "a network that has learned nothing answers something"
    inside = made.GetSegmentation()
    assert list(inside.GetSegmentIDs()) == [organ.key for organ in there]
    for organ in there:
        segment = inside.GetSegment(organ.key)
        assert segment.GetName() == organ.title
        np.testing.assert_allclose(segment.GetColor(), np.array(organ.colour) / 255, atol=1e-6)
        np.testing.assert_array_equal(voxels_of(made, organ.key), labels == organ.label)
        assert tag_of(segment) == terminology(organ)
    assert reference_grid(made).matches(grid_of(node), 1e-3)
    assert panel.organsSection.image is node
    assert ui.segmentationSelector.currentNode() is made
    assert ui.organsTable.rowCount == len(there)


def tag_of(segment) -> str:
    import vtk

    text = vtk.reference("")
    segment.GetTag(segment.GetTerminologyEntryTagName(), text)
    return str(text)


def test_the_terminology_is_known_to_slicer(scene) -> None:
    """What is written can be read by Slicer's own logic, and means the organ."""
    import slicer

    from mriforge.anatomy import ORGANS
    from MRIForgeLib.segmentations import terminology

    logic = slicer.modules.terminologies.logic()
    for organ in ORGANS:
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(terminology(organ), entry)
        assert entry.GetTypeObject().GetCodeValue() == organ.code[0]
        modifier = entry.GetTypeModifierObject()
        assert (modifier.GetCodeMeaning() or "" if modifier else "") == organ.side


@pytest.mark.parametrize("at", [0.0, 0.3, 0.7])
def test_cancel_leaves_the_scene_as_it_was(ready, scene, at) -> None:
    """No process, no node; and Apply works again."""
    panel, _node = ready
    ui, before, reached = panel.ui, ids(scene), []
    usual = panel.progress

    def progress(fraction, text):
        usual(fraction, text)
        if fraction >= at and not reached:
            reached.append(text)
            ui.applyButton.click()

    panel.progress = progress
    ui.applyButton.click()
    finish(panel, 60)
    assert reached and "cancelled" in ui.summaryLabel.text
    assert not worker_processes()
    assert ids(scene) == before
    assert ui.applyButton.text == "Apply" and ui.applyButton.enabled
    assert ui.organsTable.isHidden()


def test_choices_reach_the_command(ready, tmp_path) -> None:
    from mriforge.anatomy import ORGANS

    panel, node = ready
    ui = panel.ui
    ui.coronalCheckBox.click()
    ui.sagittalCheckBox.click()
    ui.largestCheckBox.click()
    ui.holesCheckBox.click()
    ui.applyButton.click()
    finish(panel, 120)
    nodes = panel.lastSession.nodes
    assert "disagreement" not in nodes and not ui.disagreementCheckBox.enabled
    labels = answer(node, tmp_path, views="axial", largest=True, holes=True)
    made = nodes["segmentation"]
    label_of = {organ.key: organ.label for organ in ORGANS}
    for key in made.GetSegmentation().GetSegmentIDs():
        label = label_of[key]
        np.testing.assert_array_equal(voxels_of(made, key), labels == label)


def test_a_series_gives_a_series(ready, torso) -> None:
    panel, _node = ready
    ui = panel.ui
    small = torso[:, ::2, ::2]
    spacing = (2 * SPACING_MM, 2 * SPACING_MM, SPACING_MM)
    frames = [small, small[:, ::-1].copy()]
    sequence, browser, proxy = add_series(frames, "cine", (0, 1.5), spacing=spacing)
    ui.inputSelector.setCurrentNode(proxy)
    ui.applyButton.click()
    finish(panel, 180)
    session = panel.lastSession
    assert session.error is None, session.error
    made = session.nodes["sequence"]
    assert [made.GetNthIndexValue(n) for n in range(2)] == ["0", "1.5"]
    assert browser.GetProxyNode(made) is session.nodes["segmentation"]
    assert session.nodes["table"].GetNumberOfRows() == 2
    assert made.GetIndexUnit() == sequence.GetIndexUnit()


def test_no_step_of_a_run_holds_the_interface(ready, monkeypatch) -> None:
    """Views are not drawn meanwhile: here that is done without a graphics card. Surfaces are one
    call of VTK for each organ, however long that takes; they are left out."""
    import slicer

    from MRIForgeLib.segment import task

    monkeypatch.setattr(task, "surface_steps", lambda node: iter(()))

    panel, _node = ready
    slicer.app.setRenderPaused(True)
    with Blocking() as blocking:
        panel.ui.applyButton.click()
        finish(panel, 120)
    slicer.app.setRenderPaused(False)
    assert panel.lastSession.error is None
    assert blocking.ticks > 20 and blocking.worst < FELT_S


def test_a_damaged_model_is_refused_with_a_sentence(ready, scene, tmp_path, monkeypatch) -> None:
    import slicer
    from organs_helpers import own_models

    told = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, *a, **k: told.append(text))
    panel, _node = ready
    weights = own_models(tmp_path) / "denseunet_small" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-9] ^= 255
    weights.write_bytes(content)
    before = ids(scene)
    panel.ui.applyButton.click()
    finish(panel, 60)
    assert told and "damaged" in told[0]
    assert ids(scene) == before


def test_fine_tuning_adds_a_model_that_is_chosen(ready, tmp_path, monkeypatch) -> None:
    """Two pairs of the scene, four steps; cancelled first, then to the end."""
    from test_segment_run import RECIPE

    from mriforge.models.store import find_model
    from mriforge.volume import Volume
    from MRIForgeLib.nodes import grid_of
    from MRIForgeLib.placing import Place
    from MRIForgeLib.segment import tuning
    from MRIForgeLib.segmentations import add_segmentation

    panel, node = ready
    ui = panel.ui
    (tmp_path / "tiny.toml").write_text(RECIPE)
    monkeypatch.setattr(tuning, "recipe_of", lambda model: str(tmp_path / "tiny.toml"))
    grid = grid_of(node)
    labels = np.zeros(grid.shape, np.uint8)
    labels[10:30, 10:30, 10:40], labels[10:30, 35:50, 45:70] = 1, 2
    for name in ("one", "two"):
        outlines = add_segmentation(Volume(labels, grid), Place.of(node), name, {})
        ui.caseImageSelector.setCurrentNode(node)
        ui.caseLabelsSelector.setCurrentNode(outlines)
        ui.addCaseButton.click()
    ui.modelNameLineEdit.text = "mine"
    ui.tuneButton.click()
    assert ui.applyButton.text == "Cancel" and not ui.tuneButton.enabled
    ui.applyButton.click()
    finish(panel, 60)
    assert "cancelled" in ui.summaryLabel.text and ui.modelComboBox.findData("mine") < 0
    assert ui.tuneButton.enabled
    ui.tuneButton.click()
    finish(panel, 120)
    assert panel.lastSession.error is None, panel.lastSession.error
    assert find_model("mine").card.training["steps"] == 4
    assert ui.modelComboBox.currentData == "mine" and "'mine'" in ui.summaryLabel.text
    assert not ui.chartWidget.isHidden() and ui.modelNameLineEdit.text == ""
    assert "Fine-tuned from" in ui.modelNoteLabel.text
