"""Thick slices: which method is suggested, what is said before and after, and the real run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scene_helpers import add_image, add_sequence, index_to_world
from stack_helpers import blob, thick

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("MRIFORGE_SHARED_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def python(tmp_path, monkeypatch):
    import launcher_helpers

    launcher_helpers.install(tmp_path, monkeypatch)


@pytest.fixture
def stack(scene):
    """Eight slices of 4 mm, pixels of 1 mm."""
    return add_image(scene, *thick(blob(), 0), "axial")


def wishes(node, **more):
    from MRIForgeLib.superres.wishes import Wishes

    return Wishes(node, **{"method": "smore_small", **more})


def test_a_plain_stack_can_start(stack) -> None:
    from MRIForgeLib.superres.advice import doubts, preview, ready, why_not

    assert why_not(wishes(stack)) == ""
    assert doubts(wishes(stack)) == []
    assert preview(wishes(stack)) == (
        "Result: 32 x 32 x 32 voxels of 1 x 1 x 1 mm. Slices become 4 times finer: 4 to 1 mm apart."
    )
    assert "slices finer" in ready(wishes(stack))
    assert wishes(stack).learns and not wishes(stack, method="cubic").learns


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        ({"target": "SPACING", "spacing": (1.0, 1.0, 0.5)}, "finer than the pixels"),
        ({"target": "SPACING", "spacing": (1.0, 1.0, 4.0)}, "no finer"),
        ({"target": "FACTOR", "factors": (9.0, 9.0, 1.0)}, "above 1"),
        ({"target": "FACTOR", "factors": (9.0, 9.0, 2.0)}, ""),
        ({"target": "LIKE"}, "voxel grid"),
        ({"slice_axis": 0}, "no finer"),
        ({"finetune": True, "prior_node": "self"}, "prior"),
        ({"method": "nonsense"}, "not installed"),
    ],
)
def test_why_it_cannot_start(scene, stack, wish, word) -> None:
    from MRIForgeLib.superres.advice import preview, why_not
    from MRIForgeLib.superres.wishes import TargetKind

    if "target" in wish:
        wish = {**wish, "target": TargetKind[wish["target"]]}
    if "prior_node" in wish:
        wish = {**wish, "prior_node": add_image(scene, blob(), np.eye(4), "prior")}
    reason = why_not(wishes(stack, **wish))
    assert word in reason if word else reason == ""
    if not word:
        assert "32 x 32 x 16" in preview(wishes(stack, **wish))


def test_what_is_no_stack_is_refused_with_a_way_out(scene) -> None:
    from MRIForgeLib.superres.advice import why_not

    cube = add_image(scene, blob(), np.eye(4), "cube")
    assert "in plane" in why_not(wishes(cube))
    few = add_image(scene, blob()[:3], np.diag([1, 1, 5, 1.0]), "few")
    assert "at least 4" in why_not(wishes(few))


def test_what_will_disappoint_is_said(scene) -> None:
    from MRIForgeLib.superres.advice import doubts
    from MRIForgeLib.superres.wishes import Profile

    six = add_image(scene, blob()[::6], np.diag([1, 1, 10, 1.0]), "six")
    found = " ".join(doubts(wishes(six)))
    assert "only 6 slices" in found and "10 times is a lot" in found
    found = " ".join(doubts(wishes(six, thickness_mm=25.0, profile=Profile.ESTIMATE)))
    assert "overlap" in found and "not used" in found


def test_the_method_follows_the_voxel_size(scene, stack) -> None:
    from mriforge.superres.choices import choice_named
    from MRIForgeLib.superres.slices import note, suggested_method

    cube = add_image(scene, blob(), np.eye(4), "cube")
    few = add_image(scene, blob()[:3], np.diag([1, 1, 5, 1.0]), "few")
    named = choice_named
    assert suggested_method(stack, named("unet3d_small")) == "smore_small"
    assert suggested_method(stack, None) == "smore_small"
    assert suggested_method(stack, named("smore")) == "smore"
    assert suggested_method(stack, named("fuse")) == "fuse"
    assert suggested_method(cube, named("smore")) == "unet3d_small"
    assert suggested_method(cube, named("sinc")) == "sinc"
    assert suggested_method(few, named("unet3d_small")) == "unet3d_small"
    _sequence, _browser, proxy = add_sequence(
        scene, [thick(blob(), 0)[0]] * 2, ("0", "1"), thick(blob(), 0)[1]
    )
    assert suggested_method(proxy, named("unet3d_small")) == "unet3d_small"
    assert note(wishes(stack), named("smore_small")).startswith(
        "Slices are 4 mm apart, pixels 1 mm: "
    )
    assert "thick slices are in the list" in note(wishes(proxy), named("unet3d_small"))
    assert note(wishes(cube), named("unet3d_small")) == note(wishes(None), None) == ""


def test_the_options_of_the_job(scene, stack, tmp_path) -> None:
    from MRIForgeLib.superres.slices import SlicesTask
    from MRIForgeLib.superres.wishes import Merge, Profile, TargetKind
    from MRIForgeLib.tasks import run_to_end

    options = run_to_end(SlicesTask(wishes(stack, steps=2)).export(tmp_path))
    assert options["self_supervised"] and options["model"] == "smore_small"
    assert options["steps"] == 2 and options["profile"] == "auto"
    assert not {"scale", "spacing", "like", "slice_axis", "slice_thickness", "merge"} & set(options)
    more = {
        "target": TargetKind.FACTOR,
        "factors": (1.0, 1.0, 3.0),
        "profile": Profile.BOX,
        "thickness_mm": 3.5,
        "merge": Merge.FBA,
        "slice_axis": 2,
        "minutes": 5.0,
    }
    options = run_to_end(SlicesTask(wishes(stack, **more)).export(tmp_path))
    assert (options["scale"], options["slice_axis"]) == (3.0, 2)
    assert (options["profile"], options["slice_thickness"]) == ("box", 3.5)
    assert (options["merge"], options["max_minutes"]) == ("fba", 5.0)
    file = wishes(stack, profile="measured.txt")
    assert run_to_end(SlicesTask(file).export(tmp_path))["profile"] == "measured.txt"


def test_sentences_about_a_result() -> None:
    from MRIForgeLib.superres.summary import sentences

    figures = {
        "seconds": 100.0,
        "device": "cpu",
        "profile": {"name": "gaussian", "fwhm_mm": 4.0, "sentence": "The profile is Gaussian."},
        "gate": {"step": 0.0, "held_out_gain_db": -0.1, "sentence": "It did not help."},
    }
    assert sentences(figures)[1:] == ["The profile is Gaussian.", "It did not help."]


@pytest.mark.parametrize("method", ["smore_small", "cubic"])
def test_a_stack_gets_fine_slices_where_it_lies(scene, stack, python, method) -> None:
    import slicer

    from MRIForgeLib.superres.session import SuperresSession

    truth = add_image(scene, blob(), np.eye(4), "truth")
    steps = {"steps": 3} if method == "smore_small" else {}
    session = SuperresSession(wishes(stack, method=method, reference_node=truth, **steps))
    result = session.execute()["result"]
    assert result.GetName() == "axial fine slices"
    assert slicer.util.arrayFromVolume(result).shape == (32, 32, 32)
    assert np.allclose(index_to_world(result), index_to_world(truth), atol=1e-4)
    assert session.figures["measured"]["psnr"] > 15
    assert session.nodes["ssim"].GetScene() is scene


def test_a_real_stack(scene, python) -> None:
    """A head of 26 slices, 5.5 mm apart, as it comes from the scanner; two steps of learning."""
    import slicer

    from mriforge.io import read
    from MRIForgeLib.nodes import grid_matrix
    from MRIForgeLib.superres.advice import doubts, preview, why_not
    from MRIForgeLib.superres.session import SuperresSession
    from MRIForgeLib.superres.slices import note

    path = DATA / "aniso" / "TCGA-FG-6692_fla_5.5mm.nii.gz"
    if not path.is_file():
        pytest.skip("the data folder is not there")
    volume = read(path)
    node = add_image(scene, volume.array[:, 80:144, 80:144], np.eye(4), "FLAIR")
    node.SetIJKToRASMatrix(grid_matrix(volume.grid))
    wanted = wishes(node, steps=2)
    assert why_not(wanted) == "" and doubts(wanted) == []
    assert note(wanted, wanted.choice).startswith("Slices are 5.5 mm apart, pixels 0.898 mm:")
    assert "64 x 64 x 159 voxels of 0.898 x 0.898 x 0.898 mm" in preview(wanted)
    session = SuperresSession(wanted)
    result = session.execute()["result"]
    assert slicer.util.arrayFromVolume(result).shape == (159, 64, 64)
    assert session.figures["profile"]["sentence"] and session.figures["gate"]["sentence"]


def test_the_thickness_in_the_dicom_files_goes_to_the_job(stack, monkeypatch, tmp_path) -> None:
    import slicer

    from mriforge.io import read
    from MRIForgeLib.dicom_header import slice_thickness_mm
    from MRIForgeLib.superres.slices import SlicesTask

    class Database:
        """Answers as ctkDICOMDatabase does: texts, empty where there is nothing."""

        def instanceValue(self, instance, tag):
            return {("1.2.3", "0018,0050"): "3.5"}.get((instance, tag), "")

    assert slice_thickness_mm(stack) is None
    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    assert slice_thickness_mm(stack) is None
    stack.SetAttribute("DICOM.instanceUIDs", "9.9 1.2.3")
    assert slice_thickness_mm(stack) is None
    stack.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    assert slice_thickness_mm(stack) == 3.5
    steps = SlicesTask(wishes(stack)).export(tmp_path)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        options = end.value
    assert read(options["input"]).metadata["slice_thickness_mm"] == 3.5
