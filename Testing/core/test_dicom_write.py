"""A derived MR series: names, references, rescale, times, and the way back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from mriforge import io
from mriforge.errors import BadInput, Failed
from mriforge.volume import Grid, Series, Volume

TURN = Rotation.from_euler("xyz", [17, -31, 43], degrees=True).as_matrix()
GRID = Grid((3, 5, 6), (0.81, 1.27, 3.3), (-101.23, 45.6, 12.345), tuple(TURN.ravel()))
PROVENANCE = {"command": "superres", "model": "unet3d", "text": 'a "b" \\ ü'}


def ints(shape: tuple[int, ...], dtype: str, low: int, high: int) -> np.ndarray:
    return np.random.default_rng(1).integers(low, high, shape, dtype=dtype, endpoint=True)


def headers(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize(
    ("dtype", "low", "high", "stored"),
    [
        ("uint8", 0, 255, "uint16"),
        ("int16", -32768, 32767, "int16"),
        ("uint16", 0, 65535, "uint16"),
        ("int32", -5, 4000, "int16"),
        ("int64", 0, 65000, "uint16"),
    ],
)
def test_integers_are_exact(tmp_path: Path, dtype: str, low: int, high: int, stored: str) -> None:
    image = Volume(ints(GRID.shape, dtype, low, high), GRID, {"provenance": PROVENANCE})
    image.array.flat[:2] = low, high
    back = io.read(io.write(image, tmp_path / "out"))
    np.testing.assert_array_equal(back.array, image.array)
    assert back.array.dtype == stored
    assert back.grid.matches(GRID, 1e-5)
    assert back.metadata["provenance"] == PROVENANCE
    assert "RescaleSlope" not in headers(tmp_path / "out")[0]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_floats_are_scaled_to_16_bits(tmp_path: Path, scale: float) -> None:
    array = (np.random.default_rng(0).standard_normal(GRID.shape) * scale).astype(np.float32)
    back = io.read(io.write(Volume(array, GRID), tmp_path / "out"))
    assert back.array.dtype == np.float32
    assert np.abs(back.array - array).max() <= 0.51 * np.ptp(array) / 65535


def test_constant_floats(tmp_path: Path) -> None:
    back = io.read(io.write(Volume(np.full(GRID.shape, 2.5, np.float32), GRID), tmp_path / "out"))
    np.testing.assert_allclose(back.array, 2.5)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_geometry_of_flipped_axes(tmp_path: Path, order: tuple, flip: tuple) -> None:
    """DICOM slices go along the normal: a left-handed grid comes back with them reversed."""
    matrix = (TURN * np.array(flip))[:, order]
    grid = Grid(GRID.shape, GRID.spacing, GRID.origin, tuple(matrix.ravel()))
    image = Volume(ints(GRID.shape, "int16", -100, 100), grid)
    back = io.read(io.write(image, tmp_path / "out"))
    array, first = image.array, (0, 0, 0)
    if np.linalg.det(matrix) < 0:
        array, first = array[::-1], (0, 0, GRID.shape[0] - 1)
    np.testing.assert_array_equal(back.array, array)
    np.testing.assert_allclose(back.grid.origin, grid.index_to_world(np.array(first)), atol=1e-5)
    np.testing.assert_allclose(back.grid.direction_matrix[:, :2], matrix[:, :2], atol=1e-9)
    assert back.grid.spacing == pytest.approx(grid.spacing, abs=1e-7)


@pytest.mark.parametrize(
    ("name", "unit", "times", "tag"),
    [
        ("trigger time", "ms", [12.5, 348.0, 929.25], "TriggerTime"),
        ("echo time", "ms", [4.001, 6.3, 9.0], "EchoTime"),
        ("inversion time", "ms", [118.0, 201.0, 1118.0], "InversionTime"),
        ("b-value", "s/mm2", [0.0, 400.0, 1000.0], "DiffusionBValue"),
        ("time", "s", [0.0, 1.13, 2.26], "TemporalPositionTimeOffset"),
        ("frame", "", [0.0, 1.0, 2.0], "TemporalPositionIdentifier"),
    ],
)
@pytest.mark.parametrize("comments", [True, False])
def test_times(tmp_path: Path, name: str, unit: str, times: list, tag: str, comments: bool) -> None:
    series = Series(ints((3, *GRID.shape), "int16", 0, 900), GRID, times, name, unit)
    folder = io.write(series, tmp_path / "out")
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        assert tag in header
        if not comments:
            # As an archive that drops free text would give it back.
            del header.ImageComments
            header.save_as(path)
    back = io.read(folder)
    np.testing.assert_array_equal(back.array, series.array)
    if comments:
        assert (back.time_name, back.time_unit) == (name, unit)
        assert back.times.tolist() == times
    elif tag != "TemporalPositionIdentifier":
        assert (back.time_name, back.time_unit) == (name, unit)
        assert back.times.tolist() == pytest.approx(times)


def source_series(folder: Path) -> Path:
    """A source with a patient, made by the writer and then filled in."""
    image = Series(
        ints((2, *GRID.shape), "int16", 0, 900), GRID, [10.0, 20.0], "trigger time", "ms"
    )
    io.write(image, folder)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.PatientName = "Test^Patient"
        header.PatientID = "P1"
        header.StudyDescription = "heart"
        header.SeriesNumber = 11
        header.SeriesDescription = "CINE"
        header.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        header.Manufacturer = "Scanner Inc"
        header.RepetitionTime = "3.5"
        header.save_as(path)
    return folder


def test_patient_study_and_references_come_from_the_source(tmp_path: Path) -> None:
    folder = source_series(tmp_path / "in")
    series = io.read(folder)
    fine = Grid((6, 10, 12), (0.405, 0.635, 1.65), GRID.origin, GRID.direction)
    array = np.random.default_rng(2).random((2, *fine.shape)).astype(np.float32)
    result = Series(
        array, fine, series.times, series.time_name, series.time_unit, {"provenance": PROVENANCE}
    )
    io.write(result, tmp_path / "out", source=folder)
    before, after = headers(folder), headers(tmp_path / "out")
    assert len(after) == 12
    assert len({h.SOPInstanceUID for h in (*before, *after)}) == 12 + 6
    assert len({h.SeriesInstanceUID for h in after}) == 1
    known = {h.SOPInstanceUID for h in before}
    for header in after:
        assert header.Modality == "MR"
        assert header.SOPClassUID == pydicom.uid.MRImageStorage
        assert list(header.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert (header.PatientName, header.PatientID) == ("Test^Patient", "P1")
        for tag in ("StudyInstanceUID", "FrameOfReferenceUID", "StudyDescription"):
            assert header[tag].value == before[0][tag].value
        assert header.SeriesInstanceUID != before[0].SeriesInstanceUID
        assert header.SeriesNumber == 1011
        assert header.SeriesDescription == "CINE MRIForge"
        assert header.RepetitionTime == 3.5
        assert header.Manufacturer == "MRIForge"
        assert header.ContributingEquipmentSequence[0].Manufacturer == "Scanner Inc"
        assert "superres" in header.DerivationDescription
        refs = header.ReferencedSeriesSequence[0]
        assert refs.SeriesInstanceUID == before[0].SeriesInstanceUID
        sources = {item.ReferencedSOPInstanceUID for item in header.SourceImageSequence}
        # Half-way between two slices both are sources, each at both times.
        assert len(sources) in (2, 4)
        assert sources <= known
        assert header.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    back = io.read(tmp_path / "out")
    assert back.grid.matches(fine, 1e-5)
    assert back.times.tolist() == [10.0, 20.0]
    assert back.metadata["provenance"]["command"] == "superres"


def test_simpleitk_sees_the_same_volume(tmp_path: Path) -> None:
    array = (np.random.default_rng(0).random(GRID.shape) * 50 - 7).astype(np.float32)
    folder = io.write(Volume(array, GRID), tmp_path / "out")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    other = reader.Execute()
    grid = Grid(GRID.shape, other.GetSpacing(), other.GetOrigin(), other.GetDirection())
    assert grid.matches(GRID, 1e-4)
    np.testing.assert_allclose(sitk.GetArrayFromImage(other), array, atol=1e-3)


def test_long_provenance_fits_into_its_tags(tmp_path: Path) -> None:
    image = Volume(ints(GRID.shape, "int16", 0, 9), GRID, {"provenance": {"t": "x" * 20_000}})
    header = headers(io.write(image, tmp_path / "out"))[0]
    assert len(header.DerivationDescription) <= 1024
    assert len(header.get("ImageComments", "")) <= 10240


def test_outputs_are_whole_or_not_there(tmp_path: Path, monkeypatch) -> None:
    image = Volume(ints(GRID.shape, "int16", 0, 9), GRID)
    calls = []

    def fail(self: pydicom.FileDataset, *args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        Path(str(args[0])).write_bytes(b"1")

    monkeypatch.setattr(pydicom.FileDataset, "save_as", fail)
    with pytest.raises(Failed, match="disk is full"):
        io.write(image, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(tmp_path: Path) -> None:
    image = Volume(ints(GRID.shape, "int16", 0, 9), GRID)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"1")
    with pytest.raises(BadInput, match="not empty"):
        io.write(image, tmp_path / "full")
    with pytest.raises(BadInput, match="does not exist"):
        io.write(image, tmp_path / "out", source=tmp_path / "nowhere")
    nan = Volume(np.full(GRID.shape, np.nan, np.float32), GRID)
    with pytest.raises(BadInput, match="not numbers"):
        io.write(nan, f"{tmp_path}/out/")
    assert not (tmp_path / "out").exists()


def test_the_description_is_json(tmp_path: Path) -> None:
    image = Volume(ints(GRID.shape, "int16", 0, 9), GRID, {"provenance": PROVENANCE})
    header = headers(io.write(image, tmp_path / "out"))[0]
    assert json.loads(header.ImageComments)["mriforge"]["metadata"]["provenance"] == PROVENANCE


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("knee/pymskt_MESE_dicom", None),
        ("abdomen/UKRIN_Cor_B0map_2echo_enh.dcm", "M"),
        ("dynamic/sunnybrook_SAX_ED_ES_dicom", None),
        ("dicom/d2n_siemens_fmri_001", None),
        ("dicom/d2n_philips_enhanced_anatomical_001", None),
    ],
)
def test_real_series_come_back(shared_data: Path, tmp_path: Path, name: str, series: str) -> None:
    image = io.read(shared_data / name, series=series)
    io.write(image, tmp_path / "out", source=shared_data / name)
    back = io.read(tmp_path / "out")
    assert back.grid.matches(image.grid, 1e-4)
    if image.array.dtype.kind in "iu":
        np.testing.assert_array_equal(back.array, image.array)
    else:
        assert np.abs(back.array - image.array).max() <= np.ptp(image.array) / 65535
    if isinstance(image, Series):
        assert back.times.tolist() == pytest.approx(image.times.tolist())
        assert back.time_name == image.time_name
