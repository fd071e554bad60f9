"""A DICOM segmentation, read back by pydicom and highdicom: segments, codes, places, sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.spatial.transform import Rotation

from mriforge import io
from mriforge.anatomy import ORGANS
from mriforge.errors import BadInput
from mriforge.io.dicom.seg import (
    EDITED,
    MANUAL,
    SegmentInfo,
    check_source,
    source_files,
    write_beside,
    write_segmentation,
)
from mriforge.volume import Grid, Series, Volume

highdicom = pytest.importorskip("highdicom")

TURN = Rotation.from_euler("xyz", [17, -31, 43], degrees=True).as_matrix()
GRID = Grid((6, 14, 18), (0.81, 1.27, 3.3), (-101.23, 45.6, 12.345), tuple(TURN.ravel()))
LABELS = (1, 5, 10)


def organ_labels(shape=GRID.shape) -> np.ndarray:
    """Three boxes; slices 0 and 5 are empty."""
    found = np.zeros(shape, np.uint8)
    found[1:3, 2:9, 3:8] = 1
    found[2:5, 3:6, 10:13] = 5
    found[1:5, 10:13, 6:9] = 10
    return found


def source(folder: Path, grid: Grid = GRID, frames: int = 1) -> list[Path]:
    """A series of a patient."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, 900, (frames, *grid.shape), dtype=np.int16)
    image = Volume(array[0], grid)
    if frames > 1:
        image = Series(array, grid, np.arange(frames, dtype=float), "trigger time", "ms")
    io.write(image, folder)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.PatientName, header.PatientID, header.SeriesNumber = "Test^Patient", "P1", 7
        header.save_as(path)
    return source_files(folder)


def as_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The label map ``(z, y, x)`` in a file, and its matrix from index (x, y, z) to LPS mm."""
    seg = highdicom.seg.segread(path)
    found = seg.get_volume(combine_segments=True)
    return found.array, found.affine[:, [2, 1, 0, 3]]


def test_segments_have_names_codes_and_colours(tmp_path: Path) -> None:
    files = source(tmp_path / "in")
    path = write_segmentation(
        Volume(organ_labels(), GRID), files, tmp_path / "seg.dcm", model="small", sha256="ab" * 32
    )
    dataset = pydicom.dcmread(path)
    assert dataset.SOPClassUID == pydicom.uid.SegmentationStorage
    assert dataset.SegmentationType == "BINARY" and dataset.Modality == "SEG"
    organs = [organ for organ in ORGANS if organ.label in LABELS]
    assert [item.SegmentNumber for item in dataset.SegmentSequence] == [1, 2, 3]
    for item, organ in zip(dataset.SegmentSequence, organs, strict=True):
        assert item.SegmentLabel == organ.title
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == (organ.code[0], "SCT")
        category = item.SegmentedPropertyCategoryCodeSequence[0]
        assert (category.CodeValue, category.CodeMeaning) == ("123037004", "Anatomical Structure")
        sides = kind.get("SegmentedPropertyTypeModifierCodeSequence") or []
        assert [side.CodeMeaning for side in sides] == ([organ.side] if organ.side else [])
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        assert item.SegmentAlgorithmName == "MRIForge small"
        colour = highdicom.color.CIELabColor(
            *(np.array(item.RecommendedDisplayCIELabValue) * [100 / 65535, 255 / 65535, 255 / 65535]
              - [0, 128, 128])
        )  # fmt: skip
        assert np.allclose(colour.to_rgb(), organ.colour, atol=2)


def test_patient_study_and_place_are_those_of_the_images(tmp_path: Path) -> None:
    files = source(tmp_path / "in")
    path = write_segmentation(Volume(organ_labels(), GRID), files, tmp_path / "seg.dcm")
    dataset, first = pydicom.dcmread(path), pydicom.dcmread(files[0])
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[name].value == first[name].value
    assert dataset.SeriesInstanceUID != first.SeriesInstanceUID
    assert dataset.SeriesNumber == 1007 and dataset.SeriesDescription == "MRIForge organs"
    known = {str(pydicom.dcmread(file).SOPInstanceUID) for file in files}
    inside = dataset.ReferencedSeriesSequence[0]
    assert inside.SeriesInstanceUID == first.SeriesInstanceUID
    named = {item.ReferencedSOPInstanceUID for item in inside.ReferencedInstanceSequence}
    assert named == known


def test_each_frame_names_the_image_below_it(tmp_path: Path) -> None:
    files = source(tmp_path / "in")
    path = write_segmentation(Volume(organ_labels(), GRID), files, tmp_path / "seg.dcm")
    dataset = pydicom.dcmread(path)
    places = {}
    for file in files:
        header = pydicom.dcmread(file)
        places[header.SOPInstanceUID] = np.array(header.ImagePositionPatient, float)
    assert dataset.NumberOfFrames == 2 + 3 + 4, "slices without a segment have no frame"
    for group in dataset.PerFrameFunctionalGroupsSequence:
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        origin = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert np.allclose(places[origin.ReferencedSOPInstanceUID], position, atol=1e-3)


@pytest.mark.parametrize("flip", [(1, 1, 1), (1, 1, -1), (-1, 1, 1)])
def test_the_labels_come_back_where_they_were(tmp_path: Path, flip: tuple) -> None:
    """Also of a left-handed grid, whose slices DICOM counts the other way."""
    matrix = TURN * np.array(flip)
    grid = Grid(GRID.shape, GRID.spacing, GRID.origin, tuple(matrix.ravel()))
    files = source(tmp_path / "in", grid)
    path = write_segmentation(Volume(organ_labels(), grid), files, tmp_path / "seg.dcm")
    array, affine = as_volume(path)
    for number, label in enumerate(LABELS, start=1):
        index = np.argwhere(array == number)[:, ::-1]
        found = index @ affine[:3, :3].T + affine[:3, 3]
        wanted = grid.index_to_world(np.argwhere(organ_labels() == label)[:, ::-1])
        assert len(found) == len(wanted)
        order = [np.lexsort(np.round(points, 1).T) for points in (found, wanted)]
        assert np.allclose(found[order[0]], wanted[order[1]], atol=0.01)


def test_a_time_series_is_represented_by_its_first_images(tmp_path: Path) -> None:
    files = source(tmp_path / "in", frames=3)
    assert len(files) == 3 * GRID.shape[0]
    path = write_segmentation(Volume(organ_labels(), GRID), files, tmp_path / "seg.dcm")
    inside = pydicom.dcmread(path).ReferencedSeriesSequence[0]
    assert len(inside.ReferencedInstanceSequence) == GRID.shape[0]


def test_own_segments_and_who_drew_them(tmp_path: Path) -> None:
    lesion = SegmentInfo(
        5,
        "Lesion of the head of the pancreas",
        ("SCT", "52988006", "Lesion"),
        category=("SCT", "49755003", "Morphologically Altered Structure"),
        origin=MANUAL,
    )
    liver = SegmentInfo.of(ORGANS[0])
    edited = SegmentInfo(1, liver.name, liver.type, colour=liver.colour, origin=EDITED)
    labels = np.where(organ_labels() == 10, 0, organ_labels())
    path = write_segmentation(
        Volume(labels, GRID), source(tmp_path / "in"), tmp_path / "x.dcm", segments=[lesion, edited]
    )
    first, second = pydicom.dcmread(path).SegmentSequence
    assert first.SegmentLabel == "Liver" and first.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert second.SegmentLabel.startswith("Lesion")
    assert second.SegmentAlgorithmType == "MANUAL" and "SegmentAlgorithmName" not in second
    assert second.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"


def test_images_without_a_patient_are_enough(tmp_path: Path) -> None:
    files = source(tmp_path / "in")
    for file in files:
        header = pydicom.dcmread(file)
        gone = ("PatientName", "AccessionNumber", "StudyID", "ReferringPhysicianName")
        for name in (*gone, "FrameOfReferenceUID", "SliceThickness"):
            if name in header:
                del header[name]
        header.save_as(file)
    path = write_segmentation(Volume(organ_labels(), GRID), files, tmp_path / "seg.dcm")
    assert pydicom.dcmread(path).PatientName == ""
    assert np.array_equal(np.unique(as_volume(path)[0]), [0, 1, 2, 3])


def test_labels_in_a_file_are_written_for_their_images(tmp_path: Path) -> None:
    """As the command does it: through NIfTI, whose axes point elsewhere."""
    source(tmp_path / "in")
    check_source(tmp_path / "in")
    image = io.read(tmp_path / "in")
    labels = io.write(image.with_array(organ_labels()), tmp_path / "labels.nii.gz")
    path = write_beside(labels, tmp_path / "in", tmp_path / "seg.dcm", "small", "ab" * 32)
    assert pydicom.dcmread(path).SegmentSequence[0].SegmentAlgorithmName == "MRIForge small"
    assert [(as_volume(path)[0] == n).sum() for n in (1, 2, 3)] == [
        (organ_labels() == label).sum() for label in LABELS
    ]
    with pytest.raises(BadInput, match="no images to refer to"):
        check_source(labels)
    source(tmp_path / "cine", frames=2)
    with pytest.raises(BadInput, match="series of 2 frames"):
        check_source(tmp_path / "cine")
    frames = Series(np.stack([organ_labels()] * 2), image.grid, [0.0, 1.0])
    io.write(frames, tmp_path / "frames.nii.gz")
    with pytest.raises(BadInput, match="series of 2 frames"):
        write_beside(tmp_path / "frames.nii.gz", tmp_path / "in", tmp_path / "x.dcm")
    io.write(image.with_array(0 * organ_labels()), tmp_path / "none.nii.gz")
    assert write_beside(tmp_path / "none.nii.gz", tmp_path / "in", tmp_path / "x.dcm") is None
    assert not (tmp_path / "x.dcm").exists()


REAL = (
    "d2n_ge_anatomical_001",
    "d2n_hitachi_anatomical_001",
    "d2n_philips_anatomical_001",
    "d2n_siemens_anatomical_001",
    "d2n_philips_enhanced_anatomical_001",
)


@pytest.mark.parametrize("name", REAL)
def test_scanners(tmp_path: Path, shared_data: Path, name: str) -> None:
    """Series of scanners, anonymised, classic and multi-frame: the boxes come back in place."""
    folder = shared_data / "dicom" / name
    if not folder.exists():
        pytest.skip(f"no {name}")
    key = io.list_series(folder)[0].key
    image = io.read(folder, series=key)
    labels = np.zeros(image.grid.shape, np.uint8)
    z, y, x = image.grid.shape
    labels[z // 4 : z // 2 + 1, y // 4 : y // 2, x // 4 : x // 3] = 1
    labels[z // 4 : z // 3 + 1, 5 * y // 8 : 3 * y // 4, x // 2 : 2 * x // 3] = 5
    path = write_segmentation(
        Volume(labels, image.grid), source_files(folder, key), tmp_path / "seg.dcm"
    )
    array, affine = as_volume(path)
    for number, label in ((1, 1), (2, 5)):
        index = np.argwhere(array == number)[:, ::-1]
        found = index @ affine[:3, :3].T + affine[:3, 3]
        wanted = image.grid.index_to_world(np.argwhere(labels == label)[:, ::-1])
        assert len(found) == len(wanted)
        assert np.allclose(found.mean(0), wanted.mean(0), atol=0.05)
        assert np.allclose(found.std(0), wanted.std(0), atol=0.05)


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    files = source(tmp_path / "in")
    out = tmp_path / "seg.dcm"
    with pytest.raises(BadInput, match="No voxel is labelled"):
        write_segmentation(Volume(np.zeros(GRID.shape, np.uint8), GRID), files, out)
    with pytest.raises(BadInput, match="label 12 is not described"):
        write_segmentation(Volume(np.full(GRID.shape, 12, np.uint8), GRID), files, out)
    elsewhere = Grid(GRID.shape, GRID.spacing, (0.0, 0.0, 1.0), GRID.direction)
    with pytest.raises(BadInput, match="do not lie on the slices"):
        write_segmentation(Volume(organ_labels(), elsewhere), files, out)
    fine = Grid((12, 14, 18), (0.81, 1.27, 1.65), GRID.origin, GRID.direction)
    with pytest.raises(BadInput, match="do not lie on the slices"):
        write_segmentation(Volume(np.repeat(organ_labels(), 2, 0), fine), files, out)
    (tmp_path / "note.txt").write_text("no image")
    with pytest.raises(BadInput, match=r"note\.txt"):
        write_segmentation(Volume(organ_labels(), GRID), [tmp_path / "note.txt"], out)
    with pytest.raises(BadInput, match="no source"):
        write_segmentation(Volume(organ_labels(), GRID), [], out)
    other = source(tmp_path / "other")
    with pytest.raises(BadInput, match="of 2 series"):
        write_segmentation(Volume(organ_labels(), GRID), [*files, *other], out)
    assert not out.exists()
