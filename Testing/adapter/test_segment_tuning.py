"""Fine-tuning on labelled cases: which segments are organs, what the command gets, what is kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scene_helpers import OBLIQUE, add_image, add_linear, finish
from segment_helpers import LABELS, add_organ_model, organ_image, organ_labels

from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput
from mriforge.jobs.options import parse
from mriforge.jobs.train import Options
from mriforge.volume import Volume

LABELMAP = "vtkMRMLLabelMapVolumeNode"
KEYS = [organ.key for organ in ORGANS if organ.label in LABELS]


@pytest.fixture
def lib(app, scene, tmp_path, monkeypatch):
    from MRIForgeLib.segment import tuning

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MRIFORGE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(tuning, "recipe_of", lambda model: "unet3d_small")
    add_organ_model(tmp_path / "models" / "tiny")
    return tuning


def outlines_of(image):
    """The known organs as a segmentation of an image."""
    from MRIForgeLib.nodes import grid_of
    from MRIForgeLib.placing import Place
    from MRIForgeLib.segmentations import add_segmentation

    return add_segmentation(Volume(organ_labels(), grid_of(image)), Place.of(image), "mine", {})


def test_organs_are_known_by_meaning(lib, scene) -> None:
    image = add_image(scene, organ_image(), OBLIQUE)
    outlines = outlines_of(image)
    for number in range(len(KEYS)):
        outlines.GetSegmentation().GetNthSegment(number).SetName(f"Segment_{number}")
    labels, organs = lib.outlined(image, outlines)
    assert [organ.key for organ in organs] == KEYS
    assert np.array_equal(labels.array, organ_labels())


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Liver", "liver"),
        ("left kidney", "left_kidney"),
        ("kidney_right", "right_kidney"),
        ("Kidney left", "left_kidney"),
        ("small bowel", "small_intestine"),
        ("SPINAL_CORD", "spinal_cord"),
        ("vertebra", "vertebrae"),
        ("colon", None),
        ("kidney", None),
        ("liver cyst", None),
    ],
)
def test_organs_are_known_by_name(lib, scene, name, key) -> None:
    from MRIForgeLib.segment_voxels import organ_of

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    identity = node.GetSegmentation().AddEmptySegment("", name)
    segment = node.GetSegmentation().GetSegment(identity)
    found = organ_of(segment)
    assert (found.key if found else None) == key
    assert lib.unrecognised(node) == ([] if key else [name])


def test_outlines_on_another_grid_come_onto_the_image(lib, scene) -> None:
    """Drawn on a coarser image, and moved by another transform that lies at the same place."""
    image = add_image(scene, organ_image(), np.diag([2.0, 2.0, 2.0, 1.0]))
    coarse = add_image(scene, organ_image()[::2, ::2, ::2], np.diag([4.0, 4.0, 4.0, 1.0]))
    from MRIForgeLib.nodes import grid_of
    from MRIForgeLib.placing import Place
    from MRIForgeLib.segmentations import add_segmentation

    array = np.zeros((5, 13, 16), np.uint8)
    array[1:4, 3:9, 4:10] = 1
    outlines = add_segmentation(Volume(array, grid_of(coarse)), Place.of(coarse), "x", {})
    labels, organs = lib.outlined(image, outlines)
    assert labels.grid.matches(grid_of(image)) and [o.key for o in organs] == ["liver"]
    here = np.argwhere(labels.array == 1)
    assert np.allclose(here.mean(0), 2 * np.argwhere(array == 1).mean(0), atol=0.6)
    assert len(here) == pytest.approx(8 * array.sum(), rel=0.2)
    moved = add_linear(scene, [[1, 0, 0, 8], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image.SetAndObserveTransformNodeID(moved.GetID())
    labels, _organs = lib.outlined(image, outlines)
    assert np.allclose(np.argwhere(labels.array == 1).mean(0), here.mean(0) - [0, 0, 4], atol=0.6)


def test_a_label_map_needs_the_numbers_of_the_command(lib, scene) -> None:
    image = add_image(scene, organ_image(), OBLIQUE)
    labels, organs = lib.outlined(image, add_image(scene, organ_labels(), kind=LABELMAP))
    assert np.array_equal(labels.array, organ_labels()) and [o.key for o in organs] == KEYS
    with pytest.raises(BadInput, match="other labels than 1 to 10"):
        lib.outlined(image, add_image(scene, 3 * organ_labels(), kind=LABELMAP))
    with pytest.raises(BadInput, match="not on the voxels"):
        lib.outlined(image, add_image(scene, organ_labels(), np.eye(4), kind=LABELMAP))


def test_why_it_cannot_start(lib, scene, tmp_path) -> None:
    image = add_image(scene, organ_image(), OBLIQUE)
    outlines, wishes = outlines_of(image), lib.TuneWishes
    good = {"model": "tiny", "name": "mine", "pairs": [(image, outlines)]}
    assert lib.why_not_tune(wishes(**good)) == ""
    assert "Add labelled cases" in lib.why_not_tune(wishes(**{**good, "pairs": ()}))
    assert "no folder" in lib.why_not_tune(wishes(**good, folder=str(tmp_path / "none")))
    assert lib.why_not_tune(wishes(**{**good, "pairs": ()}, folder=str(tmp_path))) == ""
    assert "a name" in lib.why_not_tune(wishes(**{**good, "name": ""}))
    assert "letters" in lib.why_not_tune(wishes(**{**good, "name": "a/b"}))
    assert "already" in lib.why_not_tune(wishes(**{**good, "name": "tiny"}))
    stranger = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "stranger")
    stranger.GetSegmentation().AddEmptySegment("", "colon")
    text = lib.why_not_tune(wishes(**{**good, "pairs": [(image, stranger)]}))
    assert "No segment of 'stranger' is one of the organs (colon)" in text
    scene.RemoveNode(outlines)
    assert "no longer in the scene" in lib.why_not_tune(wishes(**good))


def test_a_model_without_a_recipe_is_refused(app, scene, tmp_path, monkeypatch) -> None:
    from MRIForgeLib.segment.tuning import recipe_of

    monkeypatch.setenv("MRIFORGE_MODELS", str(tmp_path / "models"))
    with pytest.raises(BadInput, match="not installed"):
        recipe_of("nothing")
    add_organ_model(tmp_path / "models" / "odd", network="unet3d_small")
    with pytest.raises(BadInput, match="no recipe"):
        recipe_of("odd")


def test_cases_are_written_without_names(lib, scene, tmp_path) -> None:
    import slicer

    from mriforge import io
    from mriforge.training.cases import read_cases

    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "Jane Doe")
    tree.SetItemAttribute(patient, "DICOM.PatientID", "JD-1970")
    images = [add_image(scene, organ_image(n), OBLIQUE, f"Doe T{n}") for n in range(3)]
    for image in images[::2]:
        tree.CreateItem(patient, image)
    pairs = [(image, outlines_of(image)) for image in images]
    manifest, _ = finish(lib.send_pairs(pairs, tmp_path / "cases"))
    rows = json.loads(manifest.read_text())["cases"]
    assert [row["subject"] for row in rows] == ["patient 1", "patient 2", "patient 1"]
    assert [row["organs"] for row in rows] == [KEYS] * 3
    cases = read_cases(manifest)
    assert {case.subject: case.split for case in cases} == {
        "patient 1": "train",
        "patient 2": "validation",
    }
    assert all(case.organs == LABELS for case in cases), "others are not judged"
    for number, row in enumerate(rows):
        written = io.read(manifest.parent / row["image"])
        assert np.array_equal(written.array, organ_image(number))
        assert np.array_equal(io.read(manifest.parent / row["labels"]).array, organ_labels())
    said = b"".join(path.read_bytes() for path in manifest.parent.iterdir())
    assert b"Doe" not in said and b"JD-1970" not in said


def test_the_command_gets_the_cases_and_the_model_is_kept(lib, scene, tmp_path) -> None:
    from mriforge.models.store import find_model, is_users

    image = add_image(scene, organ_image(), OBLIQUE, "first")
    wishes = lib.TuneWishes("tiny", "mine", [(image, outlines_of(image))], minutes=3)
    task = lib.TuneTask(wishes)
    (tmp_path / "run").mkdir()
    options, _ = finish(task.export(tmp_path / "run"))
    parsed = parse(Options, options)
    assert (parsed.start, parsed.max_minutes) == ("tiny", 3)
    assert Path(parsed.data).exists() and task.cases == 1
    trained = add_organ_model(tmp_path / "run" / "training" / "model")
    finish(task.collect(tmp_path / "run", {"output": str(trained)}))
    assert task.model.name == "mine" and is_users(find_model("mine"))
    task.discard({})
    assert "mine" not in [path.name for path in (tmp_path / "home").rglob("*")]
