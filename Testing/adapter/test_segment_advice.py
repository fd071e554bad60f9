"""What is said before a segmentation: whether it can start, how long it takes, doubts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import slicer
from scene_helpers import OBLIQUE, add_image, add_sequence
from segment_helpers import add_organ_model, organ_labels

FULL = np.diag([4.0, 4.0, 6.0, 1.0])
"""Voxel size of an image that is as large as an abdomen."""


@pytest.fixture
def lib(app, scene, tmp_path, monkeypatch):
    from MRIForgeLib.segment import advice, pace

    monkeypatch.setenv("MRIFORGE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(pace, "_paces", {})
    add_organ_model(tmp_path / "models" / "tiny")
    return advice


@pytest.fixture
def wishes(lib, scene):
    from MRIForgeLib.segment.wishes import Wishes

    def make(node="abdomen", **more):
        if node == "abdomen":
            node = abdomen(scene)
        return Wishes(node, **{"model": "tiny", **more})

    return make


def abdomen(scene, shape=(30, 60, 90), rows=FULL, name="abdomen"):
    array = 100 + 20 * np.random.default_rng(0).random(shape)
    return add_image(scene, array.astype(np.float32), rows, name)


def test_what_can_start(lib, wishes) -> None:
    assert lib.why_not(wishes()) == ""
    assert lib.ready(wishes()) == "Outline organs. The input is not changed."
    assert "tiny" in lib.model_names()


def test_why_it_cannot_start(lib, wishes, scene) -> None:
    assert "Select an MR volume" in lib.why_not(wishes(None))
    labels = add_image(scene, organ_labels(), name="map", kind="vtkMRMLLabelMapVolumeNode")
    assert "holds labels" in lib.why_not(wishes(labels))
    assert "at least one view" in lib.why_not(wishes(views=()))
    assert "'other' is not installed" in lib.why_not(wishes(model="other"))
    assert "not installed" in lib.why_not(wishes(model="unet3d_small")), "it sharpens"
    picture = abdomen(scene, (1, 60, 90), name="picture")
    assert "'picture' is a single slice" in lib.why_not(wishes(picture))
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert "no voxels" in lib.why_not(wishes(empty))


def test_an_abdomen_raises_no_doubt(lib, wishes, scene) -> None:
    assert lib.doubts(wishes(abdomen(scene, rows=np.diag([4.0, 4.0, 5.0, 1.0])))) == []


@pytest.mark.parametrize(
    ("shape", "rows", "said"),
    [
        ((50, 60, 60), np.diag([4.0, 4.0, 4.0, 1.0]), "240 mm from left to right: is it an abd"),
        ((10, 60, 90), np.diag([4.0, 4.0, 6.0, 1.0]), "60 mm from feet to head"),
        ((20, 60, 90), np.diag([4.0, 4.0, 8.0, 1.0]), "Voxels are 8.0 mm long"),
        # Sagittal slices: left to right is the third axis.
        ((40, 90, 90), [[0, 0, 5, 0], [4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 0, 1]], "200 mm from le"),
    ],
)
def test_doubts_about_the_image(lib, wishes, scene, shape, rows, said) -> None:
    node = abdomen(scene, shape, rows)
    found = lib.doubts(wishes(node))
    assert said in " ".join(found)
    # The command says the same of size.
    from mriforge.segment.doubts import too_narrow, too_short
    from MRIForgeLib.nodes import grid_of

    sizes = [line for line in found if line.startswith("The image is")]
    assert sizes == [line for line in (too_narrow(grid_of(node)), too_short(grid_of(node))) if line]


def test_the_files_may_say_that_it_is_a_head(lib, wishes, scene, monkeypatch) -> None:
    node = abdomen(scene)
    node.SetAttribute("DICOM.instanceUIDs", "1.2 1.3")

    class Database:
        part = "BRAIN"

        def instanceValue(self, uid, tag):
            return {"0018,0015": self.part}.get(tag, "")

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    assert "this is the brain, not the abdomen" in " ".join(lib.doubts(wishes(node)))
    monkeypatch.setattr(Database, "part", "ABDOMENPELVIS")
    assert not any("abdomen" in text for text in lib.doubts(wishes(node)))


def test_doubts_about_contrast(lib, wishes, scene) -> None:
    node = abdomen(scene)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = tree.CreateItem(tree.GetSceneItemID(), node)
    tree.SetItemAttribute(item, "DICOM.Modality", "CT")
    slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node) - 1000)
    text = " ".join(lib.doubts(wishes(node)))
    assert "CT, not MR" in text and "negative values" in text


def test_fewer_views_are_commented(lib, wishes) -> None:
    assert "no map of disagreement" in lib.doubts(wishes(views=("axial",)))[-1]
    assert "no majority" in lib.doubts(wishes(views=("axial", "coronal")))[-1]


def test_what_a_model_has_seen_is_said(lib, tmp_path) -> None:
    note = lib.model_note("tiny")
    assert "Tiny. Trained on simulated images, not on scans of patients." in note
    assert "Dice on held-out cases: 0.42." in note
    assert "not been validated on patients" in note and "look at every outline" in note
    add_organ_model(tmp_path / "models" / "said", limits="Only for tests.", trained_on=[])
    assert "Only for tests." in lib.model_note("said")
    assert "simulated" not in lib.model_note("said")
    assert lib.model_note("none") == ""


def test_time_is_told_and_learned_from_runs(lib, wishes, scene) -> None:
    from MRIForgeLib.segment import pace

    one = lib.preview(wishes())
    assert "about" in one and "processor" in one
    arrays = [np.ones((30, 60, 90), np.float32)] * 4
    sequence, _browser, proxy = add_sequence(scene, arrays, list("0123"), FULL)
    card, grid = lib.card_of("tiny"), lib._grid(wishes())
    whole = pace.work(card, grid, 3, 4)
    assert whole == pytest.approx(4 * pace.work(card, grid, 3))
    assert whole > 4 * pace.work(card, grid, 1)
    assert "4 frames" in lib.ready(wishes(proxy)) == lib.ready(wishes(sequence))
    pace.remember("auto", whole, 100.0)
    assert "as the last run did" in lib.preview(wishes(proxy))
    assert "about 1.8 min" in lib.preview(wishes(proxy)), "and some seconds to start"


def test_size_is_along_the_body(lib, scene) -> None:
    from mriforge.segment.doubts import extent_mm
    from MRIForgeLib.nodes import grid_of

    node = add_image(scene, np.zeros((10, 20, 30), np.int16), OBLIQUE)
    across, front, along = extent_mm(grid_of(node))
    turn = np.array([[np.cos(0.3), np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    assert (across, front) == pytest.approx(turn @ [45, 40])
    assert along == pytest.approx(50)


def test_an_abdomen_takes_seconds_on_a_processor(lib, scene) -> None:
    """What was measured of the small network on one core: 8.3, 12.7 and 9.6 s."""
    from mriforge.models.card import ModelCard
    from mriforge.volume import Grid
    from MRIForgeLib.segment import pace

    card = ModelCard("x", "denseunet_small", "x", parameters=712_824)
    for shape, spacing, measured in (
        ((80, 260, 320), (1.2, 1.2, 1.2), 8.3),
        ((60, 256, 320), (1.3, 1.3, 3.5), 12.7),
        ((20, 256, 256), (1.56, 1.56, 7.0), 9.6),
    ):
        assert pace.work(card, Grid(shape, spacing), 3) == pytest.approx(measured, rel=0.2)
    assert pace.of_this_processor() >= 1
