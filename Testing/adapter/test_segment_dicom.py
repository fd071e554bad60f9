"""Outlined organs as a DICOM object: what is missing is said; what is written is right."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import slicer
from scene_helpers import add_image, add_linear
from segment_helpers import LABELS, SHAPE, organ_image, organ_labels

from mriforge import io
from mriforge.anatomy import ORGANS
from mriforge.volume import Grid, Volume

pytest.importorskip("highdicom")

GRID = Grid(SHAPE, (1.5, 2.0, 5.0), (-11.0, 7.0, 23.0))
ROWS = GRID.affine("RAS")


class Database:
    """What of ``ctkDICOMDatabase`` is asked."""

    def __init__(self, folder: Path) -> None:
        headers = {path: pydicom.dcmread(path) for path in sorted(folder.iterdir())}
        self.files = {str(header.SOPInstanceUID): str(path) for path, header in headers.items()}

    def fileForInstance(self, uid: str) -> str:
        return self.files.get(uid, "")

    def instanceValue(self, uid: str, tag: str) -> str:
        return ""


@pytest.fixture
def lib(app, scene):
    from MRIForgeLib.segment import dicom_seg

    return dicom_seg


@pytest.fixture
def loaded(scene, tmp_path, monkeypatch):
    """A volume as Slicer loads it from its DICOM database."""
    io.write(Volume(organ_image(), GRID), tmp_path / "series")
    database = Database(tmp_path / "series")
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    node = add_image(scene, organ_image(), ROWS, "belly")
    node.SetAttribute("DICOM.instanceUIDs", " ".join(database.files))
    return node


def outlined(node, array=None):
    from MRIForgeLib.placing import Place
    from MRIForgeLib.segmentations import add_segmentation

    labels = Volume(organ_labels() if array is None else array, GRID)
    about = {"MRIForge.model": "small", "MRIForge.modelSha256": "ab" * 32}
    return add_segmentation(labels, Place.of(node), "organs", about)


def test_the_file_has_the_segments_and_refers_to_the_images(lib, loaded, tmp_path) -> None:
    from MRIForgeLib.view import Single

    made = outlined(loaded)
    assert lib.why_not(made) == ""
    session = Single(lib.ExportTask(made, tmp_path / "organs.dcm"))
    assert session.execute() == {}
    assert session.figures["segments"] == len(LABELS)
    dataset = pydicom.dcmread(tmp_path / "organs.dcm")
    organs = [organ for organ in ORGANS if organ.label in LABELS]
    assert [item.SegmentLabel for item in dataset.SegmentSequence] == [o.title for o in organs]
    for item, organ in zip(dataset.SegmentSequence, organs, strict=True):
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        assert kind.CodeValue == organ.code[0]
        sides = kind.get("SegmentedPropertyTypeModifierCodeSequence") or []
        assert [side.CodeMeaning for side in sides] == ([organ.side] if organ.side else [])
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        assert item.SegmentAlgorithmName == "MRIForge small"
    named = dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    known = set(loaded.GetAttribute("DICOM.instanceUIDs").split())
    assert {item.ReferencedSOPInstanceUID for item in named} == known
    volume = (
        __import__("highdicom")
        .seg.segread(tmp_path / "organs.dcm")
        .get_volume(combine_segments=True, skip_overlap_checks=True)
    )
    voxels = {n: (volume.array == n).sum() for n in range(1, len(organs) + 1)}
    assert voxels == {n: (organ_labels() == o.label).sum() for n, o in enumerate(organs, start=1)}


def test_a_moved_image_is_written_where_its_files_are(lib, loaded, scene, tmp_path) -> None:
    from MRIForgeLib.view import Single

    moved = add_linear(scene, ((0, -1, 0, 30), (1, 0, 0, -9), (0, 0, 1, 4), (0, 0, 0, 1)))
    loaded.SetAndObserveTransformNodeID(moved.GetID())
    Single(lib.ExportTask(outlined(loaded), tmp_path / "organs.dcm")).execute()
    frames = pydicom.dcmread(tmp_path / "organs.dcm").PerFrameFunctionalGroupsSequence
    for frame in frames:
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(place[:2], GRID.origin[:2], atol=1e-3)


def test_edited_and_own_segments_say_so(lib, loaded, tmp_path) -> None:
    from MRIForgeLib.segmentations import terminology
    from MRIForgeLib.view import Single

    made = outlined(loaded)
    mask = (organ_labels() == 1).astype(np.uint8)
    mask[np.nonzero(mask)[0][0]] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, made, "liver", loaded)
    own = np.zeros(SHAPE, np.uint8)
    own[7, 20:24, 20:24] = 1
    key = made.GetSegmentation().AddEmptySegment("mine", "Mine")
    slicer.util.updateSegmentBinaryLabelmapFromArray(own, made, key, loaded)
    segment = made.GetSegmentation().GetSegment("mine")
    segment.RemoveTag(segment.GetTerminologyEntryTagName())
    assert "not said what 'Mine' is" in lib.why_not(made)
    segment.SetTag(segment.GetTerminologyEntryTagName(), terminology(ORGANS[2]))
    assert made.GetSegmentation().GetNumberOfLayers() > 1, "in images of their own"
    assert lib.why_not(made) == ""
    Single(lib.ExportTask(made, tmp_path / "organs.dcm")).execute()
    kinds = {
        item.SegmentLabel: item.SegmentAlgorithmType
        for item in pydicom.dcmread(tmp_path / "organs.dcm").SegmentSequence
    }
    assert kinds["Liver"] == "SEMIAUTOMATIC" and kinds["Mine"] == "MANUAL"
    assert kinds["Spleen"] == "AUTOMATIC"


def test_what_is_missing_is_said(lib, loaded, scene, tmp_path, monkeypatch) -> None:
    assert "no segmentation" in lib.why_not(None)
    made = outlined(loaded)
    database = slicer.dicomDatabase
    file = Path(database.files[loaded.GetAttribute("DICOM.instanceUIDs").split()[0]])
    file.rename(tmp_path / "elsewhere")
    assert f"1 of {SHAPE[0]} DICOM files" in lib.why_not(made)
    (tmp_path / "elsewhere").rename(file)
    monkeypatch.setattr(slicer, "dicomDatabase", None, raising=False)
    assert "Import the series" in lib.why_not(made)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    assert "no segment with a voxel" in lib.why_not(outlined(loaded, np.zeros(SHAPE, np.uint8)))
    loaded.RemoveAttribute("DICOM.instanceUIDs")
    assert "not loaded from DICOM" in lib.why_not(made)
    scene.RemoveNode(loaded)
    assert "not in the scene" in lib.why_not(made)


def test_overlap_and_other_grids_are_refused(lib, loaded, scene) -> None:
    made = outlined(loaded)
    both = (organ_labels() > 0).astype(np.uint8)
    segment = slicer.vtkSegment()
    source = made.GetSegmentation().GetSegment("liver")
    segment.DeepCopy(source)
    made.GetSegmentation().AddSegment(segment, "again")
    slicer.util.updateSegmentBinaryLabelmapFromArray(both, made, "again", loaded)
    assert "overlap" in lib.why_not(made)
    other = outlined(loaded)
    shifted = np.array(ROWS)
    shifted[0, 3] += 3
    from scene_helpers import vtk_matrix

    loaded.SetIJKToRASMatrix(vtk_matrix(shifted))
    assert "not on the voxels" in lib.why_not(other)
