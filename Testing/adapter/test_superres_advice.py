"""What the panel says before anything runs, and what it says afterwards."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def volume(scene):
    return make_volume("scan")


def make_volume(name, shape=(6, 64, 64), spacing=(2.0, 2.0, 5.0), class_name=None):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass(class_name or "vtkMRMLScalarVolumeNode", name)
    z, y, x = np.indices(shape)
    slicer.util.updateVolumeFromArray(node, (50 + x + 2 * y + z).astype(np.int16))
    node.SetSpacing(spacing)
    return node


def test_nothing_chosen(scene) -> None:
    from MRIForgeLib.superres.advice import doubts, preview, why_not
    from MRIForgeLib.superres.wishes import Wishes

    assert "Select an image" in why_not(Wishes(None))
    assert preview(Wishes(None)) == ""
    assert doubts(Wishes(None)) == []


def test_a_plain_wish_can_start(volume) -> None:
    from MRIForgeLib.superres.advice import doubts, preview, why_not
    from MRIForgeLib.superres.wishes import Wishes

    wishes = Wishes(volume)
    assert why_not(wishes) == ""
    assert doubts(wishes) == []
    assert preview(wishes).startswith("Result: 128 x 128 x 6 voxels of 1 x 1 x 5 mm.")
    assert "25 %" in preview(wishes)


def wish_cases():
    from MRIForgeLib.superres.wishes import TargetKind

    return [
        ({"finetune": True}, "prior"),
        ({"method": "nonsense"}, "not installed"),
        ({"method": "unet3d"}, "mriforge train unet3d"),
        ({"method": "sinc", "finetune": True, "prior_node": "other"}, "cannot be fine-tuned"),
        ({"target": TargetKind.LIKE}, "voxel grid"),
        ({"target": TargetKind.SPACING, "spacing": (4.0, 2.0, 5.0)}, "coarser"),
        ({"target": TargetKind.FACTOR, "factors": (1.0, 1.0, 1.0)}, "no finer"),
        ({"target": TargetKind.FACTOR, "factors": (16.0, 16.0, 16.0)}, ""),
        ({"prior_node": "scan"}, "prior is the image itself"),
        ({"output_node": "scan"}, "output volume is the image itself"),
        ({"output_node": "other", "reference_node": "other"}, "one of the inputs"),
        ({"finetune": True, "prior_node": "other", "keep_model_as": "a/b"}, "model's name"),
        ({"finetune": True, "prior_node": "other", "keep_model_as": "unet3d_small"}, "already"),
        ({"finetune": True, "prior_node": "other", "keep_model_as": "my knee"}, ""),
    ]


@pytest.mark.parametrize("number", range(14))
def test_why_it_cannot_start(volume, number) -> None:
    from MRIForgeLib.superres.advice import why_not
    from MRIForgeLib.superres.wishes import Wishes

    nodes = {"scan": volume, "other": make_volume("other", (12, 96, 96), (1.0, 1.0, 2.5))}
    wish, word = wish_cases()[number]
    wish = {key: nodes.get(value, value) if "node" in key else value for key, value in wish.items()}
    reason = why_not(Wishes(volume, **wish))
    assert word in reason if word else reason == ""


def test_what_is_no_image_is_refused_by_name(scene) -> None:
    from MRIForgeLib.superres.advice import preview, why_not
    from MRIForgeLib.superres.wishes import Wishes

    labels = make_volume("organs", class_name="vtkMRMLLabelMapVolumeNode")
    assert "organs" in why_not(Wishes(labels))
    assert "Resample labels" in why_not(Wishes(labels))
    assert preview(Wishes(labels)).startswith("Result: 64 x 64 x 15 voxels")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    assert "nothing" in why_not(Wishes(empty))


def test_doubts_are_about_the_model_the_image_and_the_prior(volume) -> None:
    import slicer

    from MRIForgeLib.superres.advice import doubts
    from MRIForgeLib.superres.wishes import TargetKind, Wishes

    thin = Wishes(volume, target=TargetKind.FACTOR, factors=(2.0, 2.0, 2.0))
    assert any("slices" in text for text in doubts(thin))
    assert doubts(Wishes(volume, method="sinc")) == []
    slicer.util.arrayFromVolume(volume)[:] -= 1000
    slicer.util.arrayFromVolumeModified(volume)
    assert any("negative" in text for text in doubts(Wishes(volume)))
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(volume), "DICOM.Modality", "CT")
    assert any("CT" in text for text in doubts(Wishes(volume)))
    prior = make_volume("prior", (12, 128, 128), (1.0, 1.0, 2.5))
    assert any("fine-tuning is off" in text for text in doubts(Wishes(volume, prior_node=prior)))


def test_what_looks_unlike_training_is_said_before_the_run(volume) -> None:
    import slicer

    from MRIForgeLib.superres.advice import doubts
    from MRIForgeLib.superres.wishes import Wishes

    assert not any("noise" in text for text in doubts(Wishes(volume)))
    voxels = slicer.util.arrayFromVolume(volume)
    voxels += np.random.default_rng(0).normal(0, 60, voxels.shape).astype(voxels.dtype)
    np.abs(voxels, out=voxels)
    slicer.util.arrayFromVolumeModified(volume)
    (said,) = [text for text in doubts(Wishes(volume)) if "noise" in text]
    assert "more than the" in said and "that the model has seen" in said
    assert doubts(Wishes(volume, method="sinc")) == []


def test_a_model_that_was_kept_for_a_prior_is_remembered(volume, tmp_path, monkeypatch) -> None:
    from mriforge.models.store import add_model, find_model
    from MRIForgeLib.superres.advice import doubts, remembered_model
    from MRIForgeLib.superres.task import TUNED_MODEL
    from MRIForgeLib.superres.wishes import Wishes

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    prior = make_volume("prior", (12, 128, 128), (1.0, 1.0, 2.5))
    assert remembered_model(prior) == remembered_model(None) == ""
    prior.SetAttribute(TUNED_MODEL, "my knee")
    assert remembered_model(prior) == ""
    add_model(find_model("unet3d_small").path, "my knee")
    assert remembered_model(prior) == "my knee"
    assert any("choose 'my knee'" in text for text in doubts(Wishes(volume, prior_node=prior)))
    assert doubts(Wishes(volume, prior_node=prior, method="my knee")) == [
        "A prior is selected but fine-tuning is off: it only sets the voxel size."
    ]


def test_the_grid_of_a_prior_under_another_transform_counts(volume) -> None:
    import slicer

    from MRIForgeLib.superres.advice import preview
    from MRIForgeLib.superres.wishes import TargetKind, Wishes

    like = make_volume("like", (6, 200, 200), (0.64, 0.64, 5.0))
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    like.SetAndObserveTransformNodeID(transform.GetID())
    text = preview(Wishes(volume, like_node=like, target=TargetKind.LIKE))
    assert "200 x 200 x 6" in text


def test_the_time_slider() -> None:
    from MRIForgeLib.superres.wishes import EPOCHS_STOP, tuning_text, tuning_time

    assert [tuning_time(stop, 3) for stop in range(EPOCHS_STOP + 1)] == [
        {"minutes": 2.0},
        {"minutes": 5.0},
        {"minutes": 10.0},
        {"minutes": 30.0},
        {"epochs": 3},
    ]
    assert tuning_text(1) == "5 minutes"
    assert tuning_text(EPOCHS_STOP) == "epochs"


def test_sentences_about_a_result() -> None:
    from MRIForgeLib.superres.summary import measured, sentences
    from MRIForgeLib.text import duration, progress_text

    figures = {
        "seconds": 130.0,
        "device": "cpu",
        "gate": {"step": 1.0, "held_out_gain_db": 0.912},
        "consistency": {"restored": True, "residual_before": 0.01, "residual_after": 0.0012},
    }
    found = sentences(figures)
    assert found[0] == "Done in 2.2 min on cpu."
    assert "+0.91 dB" in found[1]
    assert "0.12 %" in found[2]
    assert "did not help" in sentences({**figures, "gate": {"step": 0.0}})[1]
    assert len(sentences({"seconds": 1, "device": "cpu", "consistency": {"restored": False}})) == 1
    text = measured({"psnr": 31.456, "ssim": 0.9123, "compare": {"low": {"psnr": 30, "ssim": 0.9}}})
    assert text == (
        "Against the reference: PSNR 31.46 dB, SSIM 0.912 "
        "(linearly interpolated input: 30.00 dB, 0.900)."
    )
    assert measured({"psnr": None, "ssim": 1.0}).startswith("Against the reference: PSNR - dB")
    assert [duration(s) for s in (5, 600, 7200)] == ["5 s", "10.0 min", "2.0 h"]
    assert progress_text(0.5, "tuning", 61.0) == "tuning, about 61 s left"
    assert progress_text(0.5, "", None) == "working"


def test_models_are_listed_verified_and_described() -> None:
    from mriforge.superres.choices import DEFAULT_MODEL, TASK, choice_named
    from MRIForgeLib import model_list
    from MRIForgeLib.superres.advice import describe, limits

    rows = {row.name: row for row in model_list.rows(TASK)}
    assert not rows[DEFAULT_MODEL].removable
    assert "adi_T1w" in rows[DEFAULT_MODEL].details
    assert "pln_small" not in rows
    assert any(DEFAULT_MODEL in text and "right" in text for text in model_list.verify(TASK))
    assert "6 subjects" in describe(choice_named(DEFAULT_MODEL))
    assert "Never seen" in limits(choice_named(DEFAULT_MODEL))
    assert limits(choice_named("sinc")) == limits(None) == ""
    assert "train" in describe(choice_named("unet3d"))
    assert describe(None) == ""
