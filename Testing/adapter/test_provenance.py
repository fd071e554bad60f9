"""What a result says about its origin, and what of it reaches the files."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import slicer

sys.path.insert(0, str(Path(__file__).parent))

from scene_helpers import add_image, add_sequence, finish

RESULT = {
    "output": "/somewhere/temporary/output.npy",
    "seconds": 12.5,
    "method": {"name": "unet3d", "kind": "network", "network": "unet3d", "sha256": "ab" * 32},
    "consistency": {"restored": True, "before": float("nan")},
    "device": "cpu",
}


@pytest.fixture
def provenance(app):
    from MRIForgeLib import provenance

    return provenance


@pytest.fixture
def placing(app):
    from MRIForgeLib import placing

    return placing


@pytest.fixture
def attributes(provenance):
    return provenance.provenance_attributes("superres", RESULT, 'T1 \\ "ümlaut" := \n 100 %; a:b')


@pytest.fixture
def result(scene, placing, attributes):
    """A single volume, oblique and left-handed, placed as a job's result."""
    from MRIForgeLib.nodes import image_from_node

    array = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    node = add_image(scene, array)
    return placing.add_volume(image_from_node(node), placing.Place.of(node), "sharp", attributes)


def nrrd_keys(path) -> dict[str, str]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}


def test_the_attributes_say_what_made_the_result_and_nothing_else(attributes):
    assert attributes["MRIForge.job"] == "superres"
    assert attributes["MRIForge.use"] == "research use only"
    assert attributes["MRIForge.model"] == "unet3d"
    assert attributes["MRIForge.modelSha256"] == "ab" * 32
    assert attributes["MRIForge.input"].startswith("T1")
    facts = json.loads(attributes["MRIForge.provenance"])
    assert facts["method"] == RESULT["method"]
    assert facts["consistency"]["before"] is None
    assert facts["software"].startswith("MRIForge ")
    assert not {"output", "seconds"} & set(facts)
    assert attributes["MRIForge.provenance"].isascii()


def test_what_is_not_known_is_not_said(provenance):
    said = provenance.provenance_attributes("evaluate", {"psnr": 30.0})
    assert set(said) == {"MRIForge.job", "MRIForge.use", "MRIForge.provenance"}
    interpolation = {"method": {"name": "sinc", "kind": "interpolation"}}
    said = provenance.provenance_attributes("superres", interpolation, "scan")
    assert said["MRIForge.model"] == "sinc"
    assert "MRIForge.modelSha256" not in said
    assert "MRIForge.finetuned" not in said
    tuned = provenance.provenance_attributes("superres", {**interpolation, "finetune": {"n": 1}})
    assert tuned["MRIForge.finetuned"] == "yes"


@pytest.mark.parametrize("ending", [".nrrd", ".nhdr"])
def test_nrrd_files_carry_it_and_are_otherwise_as_slicer_writes_them(
    scene, result, attributes, tmp_path, ending
):
    path = tmp_path / f"sharp{ending}"
    assert slicer.util.saveNode(result, str(path))
    keys = nrrd_keys(path)
    assert {name: keys[name] for name in attributes} == attributes
    voxels = slicer.util.arrayFromVolume(result)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), voxels)
    plain = add_image(scene, voxels, name="plain")
    other = tmp_path / f"plain{ending}"
    assert slicer.util.saveNode(plain, str(other))
    expected = sitk.ReadImage(str(other))
    assert image.GetOrigin() == expected.GetOrigin()
    assert image.GetDirection() == expected.GetDirection()
    assert not [key for key in nrrd_keys(other) if key.startswith("MRIForge")]
    left = {each.name.split(".")[0] for each in tmp_path.iterdir()}
    assert left == {"sharp", "plain"}  # no partial file


def test_saving_again_and_elsewhere_works_each_time(result, attributes, tmp_path):
    for name in ("a.nrrd", "b.nrrd", "b.nrrd", "c.nii.gz", "a.nrrd"):
        slicer.util.arrayFromVolume(result)[:] += 1
        path = tmp_path / name
        assert slicer.util.saveNode(result, str(path))
        read = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        assert read.sum() == pytest.approx(slicer.util.arrayFromVolume(result).sum(), rel=1e-4)
        if path.suffix == ".nrrd":
            lines = path.read_bytes().split(b"\n\n")[0].split(b"\n")
            assert sum(line.startswith(b"MRIForge.job:=") for line in lines) == 1


def test_a_file_that_was_there_before_is_not_stamped_when_it_is_only_named(result, tmp_path):
    path = tmp_path / "foreign.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 2, 2), np.uint8)), str(path))
    before = path.read_bytes()
    assert slicer.util.saveNode(result, str(tmp_path / "own.nrrd"))
    result.GetStorageNode().SetFileName(str(path))
    result.GetStorageNode().Modified()
    assert path.read_bytes() == before


def test_nifti_is_whole_and_says_nothing_false(result, tmp_path):
    path = tmp_path / "sharp.nii.gz"
    assert slicer.util.saveNode(result, str(path))
    image = nibabel.load(path)
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(read, slicer.util.arrayFromVolume(result))
    assert bytes(image.header["descrip"]).strip(b"\0") in (b"", b"ITK")
    assert not image.header.extensions


def test_volume_sequences_carry_it(scene, placing, attributes, tmp_path):
    from MRIForgeLib.nodes import image_from_node

    arrays = [np.full((3, 4, 5), number, np.float32) for number in range(3)]
    source, browser, _ = add_sequence(scene, arrays, ["0.50", "1e1", "20"])
    steps = placing.add_series_steps(
        image_from_node(source), placing.Place.of(source), "sharp", attributes
    )
    (sequence, proxy), _ = finish(steps)
    path = tmp_path / "sharp.seq.nrrd"
    assert slicer.util.saveNode(sequence, str(path))
    keys = nrrd_keys(path)
    assert {name: keys[name] for name in attributes} == attributes
    assert keys["axis 3 index values"] == "0.50 1e1 20"
    # The frame that is shown, saved alone, says it in short.
    browser.SetSelectedItemNumber(2)
    assert slicer.util.saveNode(proxy, str(tmp_path / "frame.nrrd"))
    keys = nrrd_keys(tmp_path / "frame.nrrd")
    short = {name: text for name, text in attributes.items() if not name.endswith("provenance")}
    assert {name: text for name, text in keys.items() if name.startswith("MRIForge")} == short


def test_scene_bundles_carry_it_and_give_it_back(scene, result, attributes, provenance, tmp_path):
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    with zipfile.ZipFile(path) as bundle:
        inside = [name for name in bundle.namelist() if name.endswith("sharp.nrrd")]
        bundle.extract(inside[0], tmp_path)
    assert nrrd_keys(tmp_path / inside[0])["MRIForge.job"] == "superres"
    scene.Clear(0)
    assert scene.ReadFromMRB(str(path))
    loaded = scene.GetFirstNodeByName("sharp")
    assert {name: loaded.GetAttribute(name) for name in attributes} == attributes
    # In a new session the loaded results are watched again.
    provenance.keep_in_files_of(scene)
    assert slicer.util.saveNode(loaded, str(tmp_path / "again.nrrd"))
    assert nrrd_keys(tmp_path / "again.nrrd")["MRIForge.model"] == "unet3d"


def test_scene_files_carry_it(scene, result, attributes, tmp_path):
    path = tmp_path / "scene.mrml"
    assert slicer.util.saveNode(result, str(tmp_path / "sharp.nrrd"))
    assert slicer.util.saveScene(str(path))
    scene.Clear(0)
    scene.SetURL(str(path))
    assert scene.Connect()
    loaded = scene.GetFirstNodeByName("sharp")
    assert {name: loaded.GetAttribute(name) for name in attributes} == attributes


def test_a_full_disk_leaves_the_file_as_slicer_wrote_it(result, provenance, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(provenance.shutil, "copyfileobj", full)
    path = tmp_path / "sharp.nrrd"
    assert slicer.util.saveNode(result, str(path))
    assert [each.name for each in tmp_path.iterdir()] == ["sharp.nrrd"]
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(read, slicer.util.arrayFromVolume(result))


def test_only_nrrd_files_are_stamped(provenance, tmp_path):
    path = tmp_path / "other.nrrd"
    path.write_bytes(b"something else\n\nentirely")
    assert not provenance.stamp_nrrd(path, {"MRIForge.job": "superres"})
    assert path.read_bytes() == b"something else\n\nentirely"
