"""DICOM of every kind, made here file by file: stacks, times, choices, mosaics, broken series."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless, generate_uid

from mriforge import io
from mriforge.errors import BadInput
from mriforge.io.dicom.frames import seconds
from mriforge.io.dicom.siemens import read_csa
from mriforge.volume import Series, Volume

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"
ACROSS = np.array([0.8, 0.6, 0.0])
DOWN = np.array([-0.36, 0.48, 0.8])
NORMAL = np.cross(ACROSS, DOWN)
ORIGIN = np.array([-20.0, 30.0, 45.5])
STEP = 5.0


def picture(seed: int, rows: int = 6, columns: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4000, (rows, columns)).astype(np.uint16)


def dataset(pixels: np.ndarray, position: np.ndarray, series: str, **tags: Any) -> FileDataset:
    """One classic MR image; tags given as keywords win, ``None`` removes a tag."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MR
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID = MR
    header.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    header.Modality = "MR"
    header.SeriesInstanceUID = series
    header.SeriesNumber = 7
    header.SeriesDescription = "test"
    header.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    header.MRAcquisitionType = "2D"
    header.ImagePositionPatient = [f"{v:.6f}" for v in position]
    header.ImageOrientationPatient = [f"{v:.9f}" for v in (*ACROSS, *DOWN)]
    header.PixelSpacing = [1.5, 2.0]
    header.SliceThickness = 4.0
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.Rows, header.Columns = pixels.shape[-2:]
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = 0
    for name, value in tags.items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    header.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())
    return header


def place(z: float) -> np.ndarray:
    return ORIGIN + z * STEP * NORMAL


def save(folder: Path, headers: list[FileDataset]) -> Path:
    """Files in random order of names."""
    folder.mkdir(exist_ok=True, parents=True)
    order = np.random.default_rng(3).permutation(len(headers))
    for number, header in zip(order, headers, strict=True):
        name = folder / f"{number:03d}-{header.SOPInstanceUID[-6:]}.dcm"
        header.save_as(name, enforce_file_format=True)
    return folder


def slices(count: int = 4, **tags: Any) -> list[FileDataset]:
    uid = generate_uid()
    return [dataset(picture(z), place(z), uid, InstanceNumber=z + 1, **tags) for z in range(count)]


def dynamic(
    count: int, tag: Callable[[int, int], dict[str, Any]], frames: int
) -> list[FileDataset]:
    """``tag(t, z)`` gives the tags of each image; pixels are ``picture(100 t + z)``."""
    uid = generate_uid()
    return [
        dataset(picture(100 * t + z), place(z), uid, **tag(t, z))
        for t in range(frames)
        for z in range(count)
    ]


def refused(path: Path, words: str, **options: str) -> BadInput:
    with pytest.raises(BadInput, match=words) as caught:
        io.read(path, **options)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def test_a_volume(tmp_path: Path) -> None:
    volume = io.read(save(tmp_path / "in", slices()))
    assert isinstance(volume, Volume)
    assert volume.array.dtype == np.uint16
    np.testing.assert_array_equal(volume.array, [picture(z) for z in range(4)])
    assert volume.grid.spacing == pytest.approx((2.0, 1.5, STEP))
    np.testing.assert_allclose(volume.grid.origin, ORIGIN, atol=1e-6)
    expected = np.stack([ACROSS, DOWN, NORMAL], axis=1)
    np.testing.assert_allclose(volume.grid.direction_matrix, expected, atol=1e-6)
    assert volume.metadata["slice_thickness_mm"] == 4.0


def test_files_that_are_no_images_and_copies_are_passed_over(tmp_path: Path) -> None:
    folder = save(tmp_path / "in" / "deep", slices())
    (folder / "notes.txt").write_text("hello " * 100)
    (folder / "copy.dcm").write_bytes(next(folder.glob("*.dcm")).read_bytes())
    assert io.read(tmp_path / "in").array.shape == (4, 6, 8)


def test_rescale(tmp_path: Path) -> None:
    headers = slices(RescaleSlope="0.5", RescaleIntercept="-10")
    headers[2].RescaleSlope = "2"
    volume = io.read(save(tmp_path / "in", headers))
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array[1], 0.5 * picture(1) - 10.0)
    np.testing.assert_allclose(volume.array[2], 2.0 * picture(2) - 10.0)


@pytest.mark.parametrize(
    ("tag", "values", "name", "unit"),
    [
        ("TemporalPositionIdentifier", [1, 2, 3], "temporal position", ""),
        ("TriggerTime", [12.5, 100.0, 900.0], "trigger time", "ms"),
        ("EchoTime", [4.6, 9.2, 13.8], "echo time", "ms"),
        ("InversionTime", [100.0, 180.0, 260.0], "inversion time", "ms"),
        ("DiffusionBValue", [0.0, 500.0, 1000.0], "b-value", "s/mm2"),
        ("FlipAngle", [2, 5, 10], "flip angle", "degree"),
        ("TemporalPositionTimeOffset", [0.0, 1.5, 4.0], "time", "s"),
        ("AcquisitionTime", ["235958.5", "235959.5", "235959.75"], "acquisition time", "s"),
        ("AcquisitionNumber", [4, 5, 6], "acquisition number", ""),
    ],
)
def test_a_time_axis(tmp_path: Path, tag: str, values: list, name: str, unit: str) -> None:
    headers = dynamic(4, lambda t, z: {tag: values[t], "InstanceNumber": 4 * t + z + 1}, 3)
    series = io.read(save(tmp_path / "in", headers))
    assert isinstance(series, Series)
    assert (series.time_name, series.time_unit) == (name, unit)
    seen = [0.0, 1.0, 1.25] if tag == "AcquisitionTime" else values
    assert series.times.tolist() == pytest.approx(seen)
    expected = [[picture(100 * t + z) for z in range(4)] for t in range(3)]
    np.testing.assert_array_equal(series.array, expected)


def test_one_slice_over_time(tmp_path: Path) -> None:
    headers = dynamic(1, lambda t, z: {"TriggerTime": 40.0 * t}, 20)
    series = io.read(save(tmp_path / "in", headers))
    assert series.array.shape == (20, 1, 6, 8)
    assert series.grid.spacing == (2.0, 1.5, 4.0)


def test_times_that_differ_between_slices(tmp_path: Path) -> None:
    headers = dynamic(3, lambda t, z: {"TriggerTime": 40.0 * t + z}, 4)
    series = io.read(save(tmp_path / "in", headers))
    assert series.times.tolist() == [1.0, 41.0, 81.0, 121.0]


def test_temporal_positions_become_seconds(tmp_path: Path) -> None:
    def tags(t: int, z: int) -> dict[str, Any]:
        return {"TemporalPositionIdentifier": t + 1, "AcquisitionTime": f"1000{10 + 3 * t:02d}.{z}"}

    series = io.read(save(tmp_path / "in", dynamic(3, tags, 3)))
    assert series.times.tolist() == pytest.approx([0.0, 3.0, 6.0])
    assert series.time_unit == "s"


def test_echoes_of_a_dynamic_series_are_series_to_choose(tmp_path: Path) -> None:
    def tags(t: int, z: int) -> dict[str, Any]:
        return {"TemporalPositionIdentifier": t // 2 + 1, "EchoTime": [5.0, 10.0][t % 2]}

    folder = save(tmp_path / "in", dynamic(3, tags, 6))
    infos = io.list_series(folder)
    assert [info.part for info in infos] == ["M echo time 5 ms", "M echo time 10 ms"]
    error = refused(folder, "holds 2 series")
    assert infos[0].key in error.hint
    series = io.read(folder, series=infos[1].key)
    assert series.array.shape == (3, 3, 6, 8)
    np.testing.assert_array_equal(series.array[1, 2], picture(302))


def test_the_time_axis_can_be_chosen(tmp_path: Path) -> None:
    def tags(t: int, z: int) -> dict[str, Any]:
        return {"InversionTime": [300.0, 100.0][t], "TriggerTime": [10.0, 20.0][t]}

    folder = save(tmp_path / "in", dynamic(3, tags, 2))
    assert io.read(folder).times.tolist() == [100.0, 300.0]
    assert io.read(folder, time="trigger time").times.tolist() == [10.0, 20.0]
    refused(folder, "does not tell them apart", time="echo time")
    refused(folder, "no time called", time="moon phase")


def test_several_series_in_one_folder(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a", slices(4, SeriesNumber=3, SeriesDescription="T1w SAG"))
    save(tmp_path / "in" / "b", slices(5, SeriesNumber=12, SeriesDescription="T2w TRA"))
    folder = tmp_path / "in"
    assert [(i.key, i.frames) for i in io.list_series(folder)] == [("3", 4), ("12", 5)]
    error = refused(folder, '3: "T1w SAG" ')
    assert "--series 3" in error.hint
    for choice in ("12", "t2w", io.list_series(folder)[1].uid):
        assert io.read(folder, series=choice).array.shape == (5, 6, 8)
    refused(folder, "no series '4'", series="4")
    refused(folder, "2 series that match", series="w")


def test_magnitude_and_phase_are_two_series(tmp_path: Path) -> None:
    headers = slices()
    uid = headers[0].SeriesInstanceUID
    phase = slices(ImageType=["ORIGINAL", "PRIMARY", "PHASE MAP", "P"])
    for header in phase:
        header.SeriesInstanceUID = uid
    folder = save(tmp_path / "in", headers + phase)
    assert [info.key for info in io.list_series(folder)] == ["7-M", "7-P"]
    np.testing.assert_array_equal(io.read(folder, series="m").array[0], picture(0))


def without(index: int) -> Callable[[], list[FileDataset]]:
    return lambda: [h for z, h in enumerate(slices(6)) if z != index]


def moved(index: int, shift: np.ndarray) -> Callable[[], list[FileDataset]]:
    def make() -> list[FileDataset]:
        headers = slices(5)
        headers[index].ImagePositionPatient = [f"{v:.6f}" for v in place(index) + shift]
        return headers

    return make


def tilted() -> list[FileDataset]:
    headers = slices(5)
    for z, header in enumerate(headers):
        header.ImagePositionPatient = [f"{v:.6f}" for v in place(z) + 0.4 * z * DOWN]
    return headers


def two_directions() -> list[FileDataset]:
    headers = slices(6)
    for header in headers[3:]:
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    return headers


def two_pixel_sizes() -> list[FileDataset]:
    headers = slices(4)
    headers[1].PixelSpacing = [1.5, 2.5]
    return headers


def gaps_in_time() -> list[FileDataset]:
    headers = dynamic(4, lambda t, z: {"TriggerTime": 10.0 * t}, 3)
    return [header for number, header in enumerate(headers) if number not in (1, 6, 8, 11)]


def same_everything() -> list[FileDataset]:
    return dynamic(3, lambda t, z: {"InstanceNumber": 1}, 2)


BROKEN: dict[str, tuple[Callable[[], list[FileDataset]], str]] = {
    "one slice missing": (without(3), "1 slice missing .*after slice 3 of 5"),
    "unequal distances": (moved(2, 0.4 * STEP * NORMAL), "not equally spaced"),
    "one slice shifted": (moved(2, 2.0 * ACROSS), "shifted sideways"),
    "tilted stack": (tilted, "shifted sideways"),
    "two directions": (two_directions, "2 different directions"),
    "two pixel sizes": (two_pixel_sizes, "different pixel sizes"),
    "images missing in time": (gaps_in_time, "images are missing"),
    "nothing tells apart": (same_everything, "nothing tells them apart"),
    "no position": (lambda: slices(3, ImagePositionPatient=None), "does not say where"),
    "no pixel size": (lambda: slices(3, PixelSpacing=None), "does not say where"),
    "most of a 3-D scan missing": (lambda: slices(2, MRAcquisitionType="3D"), "only 2 slices"),
    "one image of a 3-D scan": (lambda: slices(1, MRAcquisitionType="3D"), "only 1 slice;"),
    "colours": (lambda: slices(3, PhotometricInterpretation="PALETTE COLOR"), "colour"),
    "cut pixels": (lambda: [*slices(3), cut_pixels()], "cannot be read|holds 2"),
}


def cut_pixels() -> FileDataset:
    header = slices(1)[0]
    header.PixelData = header.PixelData[:20]
    return header


@pytest.mark.parametrize("name", BROKEN)
def test_broken_series_are_refused(tmp_path: Path, name: str) -> None:
    make, words = BROKEN[name]
    refused(save(tmp_path / "in", make()), words)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", slices(3))
    bad = sorted(folder.iterdir())[1]
    bad.write_bytes(bad.read_bytes()[:-40])
    refused(folder, bad.name)
    bad.write_bytes(b"")
    refused(folder, f"{bad.name} is empty")


def test_few_images_missing_at_the_end_are_left_out_and_noted(tmp_path: Path) -> None:
    headers = dynamic(4, lambda t, z: {"TriggerTime": 10.0 * t}, 6)
    series = io.read(save(tmp_path / "in", headers[:-2]))
    assert series.array.shape == (5, 4, 6, 8)
    assert "1 of 6 time points were left out" in series.metadata["note"]


def test_two_slices_of_a_2d_scan_are_fine(tmp_path: Path) -> None:
    assert io.read(save(tmp_path / "in", slices(2))).array.shape == (2, 6, 8)


def test_other_modalities_are_noted(tmp_path: Path) -> None:
    volume = io.read(save(tmp_path / "in", slices(3, Modality="CT")))
    assert "CT, not MR" in volume.metadata["note"]


def test_big_endian(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for z, header in enumerate(slices(3)):
        header.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        header.PixelData = picture(z).astype(">u2").tobytes()
        pydicom.dcmwrite(tmp_path / "in" / f"{z}.dcm", header, little_endian=False)
    volume = io.read(tmp_path / "in")
    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(volume.array, [picture(z) for z in range(3)])


def test_run_length_encoding_and_no_preamble(tmp_path: Path) -> None:
    headers = slices(3)
    for header in headers[:2]:
        header.compress(RLELossless, generate_instance_uid=False)
    folder = save(tmp_path / "in", headers)
    raw = next(p for p in folder.iterdir() if headers[2].SOPInstanceUID[-6:] in p.name)
    raw.write_bytes(raw.read_bytes()[132:])
    raw.rename(folder / "bare")
    np.testing.assert_array_equal(io.read(folder).array, [picture(z) for z in range(3)])


def test_a_single_file(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", slices(1))
    volume = io.read(next(folder.iterdir()))
    assert volume.array.shape == (1, 6, 8)
    assert volume.grid.spacing == (2.0, 1.5, 4.0)


def enhanced(count: int, frames: list[dict[str, Any]], **tags: Any) -> FileDataset:
    """A multi-frame file; each frame gives ``z`` and any of echo, time, kind, stack, slope."""
    pixels = np.stack([picture(number) for number in range(len(frames))])
    header = dataset(pixels, ORIGIN, generate_uid(), NumberOfFrames=count, **tags)
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = ENHANCED
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(header, name)
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = [f"{v:.9f}" for v in (*ACROSS, *DOWN)]
    measures.PixelSpacing, measures.SliceThickness = [1.5, 2.0], 4.0
    shared.PlaneOrientationSequence = [plane]
    shared.PixelMeasuresSequence = [measures]
    header.SharedFunctionalGroupsSequence = [shared]
    header.PerFrameFunctionalGroupsSequence = [functional_groups(frame) for frame in frames]
    return header


def functional_groups(frame: dict[str, Any]) -> Dataset:
    groups, position, content = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [f"{v:.6f}" for v in place(frame["z"])]
    groups.PlanePositionSequence = [position]
    content.StackID = frame.get("stack", "1")
    content.TemporalPositionIndex = frame.get("time", 1)
    groups.FrameContentSequence = [content]
    kind = Dataset()
    kind.FrameType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    kind.ComplexImageComponent = frame.get("kind", "MAGNITUDE")
    groups.MRImageFrameTypeSequence = [kind]
    if "echo" in frame:
        echo = Dataset()
        echo.EffectiveEchoTime = frame["echo"]
        groups.MREchoSequence = [echo]
    if "slope" in frame:
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept = frame["slope"], 1.0
        groups.PixelValueTransformationSequence = [values]
    return groups


def enhanced_file(tmp_path: Path, frames: list[dict[str, Any]], count: int | None = None) -> Path:
    path = tmp_path / "multi.dcm"
    enhanced(count or len(frames), frames).save_as(path, enforce_file_format=True)
    return path


def test_enhanced_volume_with_own_scaling_for_each_frame(tmp_path: Path) -> None:
    frames = [{"z": z, "slope": 0.5 + z} for z in (2, 0, 1, 3)]
    volume = io.read(enhanced_file(tmp_path, frames))
    assert volume.grid.spacing == pytest.approx((2.0, 1.5, STEP))
    np.testing.assert_allclose(volume.array[2], 2.5 * picture(0) + 1.0, rtol=1e-6)
    np.testing.assert_allclose(volume.array[0], 0.5 * picture(1) + 1.0, rtol=1e-6)


def test_enhanced_time_and_kinds(tmp_path: Path) -> None:
    frames = [
        {"z": z, "time": t + 1, "kind": kind}
        for z in range(3)
        for t in range(4)
        for kind in ("MAGNITUDE", "PHASE")
    ]
    path = enhanced_file(tmp_path, frames)
    assert [info.part for info in io.list_series(path)] == ["M", "P"]
    series = io.read(path, series="P")
    assert series.array.shape == (4, 3, 6, 8)
    np.testing.assert_array_equal(series.array[2, 1], picture(8 * 1 + 2 * 2 + 1))


def test_enhanced_stacks_and_echoes_crossed_with_time(tmp_path: Path) -> None:
    stacks = [{"z": z + 20 * s, "stack": str(s + 1)} for s in range(2) for z in range(3)]
    assert len(io.list_series(enhanced_file(tmp_path, stacks))) == 2
    crossed = [
        {"z": z, "time": t + 1, "echo": e} for z in range(2) for t in range(3) for e in (5.0, 9.0)
    ]
    infos = io.list_series(enhanced_file(tmp_path, crossed))
    assert [info.part for info in infos] == ["M echo time 5 ms", "M echo time 9 ms"]


def test_enhanced_files_that_contradict_themselves(tmp_path: Path) -> None:
    refused(enhanced_file(tmp_path, [{"z": 0}, {"z": 1}], count=3), "announces 3 frames")


def csa(tags: dict[str, list[str]], second: bool = True) -> bytes:
    """A private Siemens header of either version."""
    out = b"SV10\4\3\2\1" if second else b""
    offset = 0 if second else len(next(iter(tags.values())))
    out += struct.pack("<2i", len(tags), 77)
    for name, texts in tags.items():
        items = [text.encode() + b"\0" for text in texts]
        out += name.encode().ljust(64, b"\0") + struct.pack("<i", len(items))
        out += b"FD\0\0" + struct.pack("<3i", 0, len(items), 77)
        for item in items:
            length = len(item)
            lengths = (length,) * 4 if second else (length + offset, 0, 0, 0)
            out += struct.pack("<4i", *lengths) + item.ljust(4 * math.ceil(length / 4), b"\0")
    return out


def mosaic(tiles: list[np.ndarray], normal: np.ndarray, **tags: Any) -> FileDataset:
    """Siemens' way: tiles row by row, the position of a slice as large as the mosaic."""
    side = math.ceil(math.sqrt(len(tiles)))
    rows, columns = tiles[0].shape
    whole = np.zeros((side * rows, side * columns), np.uint16)
    for index, tile in enumerate(tiles):
        y, x = divmod(index, side)
        whole[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns] = tile
    corner = (
        ORIGIN
        - ACROSS * 2.0 * (whole.shape[1] - columns) / 2
        - DOWN * 1.5 * (whole.shape[0] - rows) / 2
    )
    header = dataset(whole, corner, tags.pop("series"), **tags)
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    header.SpacingBetweenSlices = STEP
    texts = {
        "SliceNormalVector": [f"{v:.8f}" for v in normal],
        "NumberOfImagesInMosaic": [str(len(tiles))],
    }
    header.add_new((0x0029, 0x0010), "LO", "SIEMENS CSA HEADER")
    header.add_new((0x0029, 0x1010), "OB", csa(texts))
    return header


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_mosaics_over_time(tmp_path: Path, sign: float) -> None:
    uid = generate_uid()
    headers = [
        mosaic(
            [picture(100 * t + z) for z in range(7)],
            sign * NORMAL,
            series=uid,
            AcquisitionNumber=t + 1,
            AcquisitionTime=f"12000{2 * t}.0",
        )
        for t in range(3)
    ]
    series = io.read(save(tmp_path / "in", headers))
    assert series.array.shape == (3, 7, 6, 8)
    assert series.times.tolist() == [0.0, 2.0, 4.0]
    order = range(7) if sign > 0 else range(6, -1, -1)
    np.testing.assert_array_equal(series.array[1], [picture(100 + z) for z in order])
    first = ORIGIN if sign > 0 else ORIGIN - 6 * STEP * NORMAL
    np.testing.assert_allclose(series.grid.origin, first, atol=1e-5)


def test_a_mosaic_without_its_private_header(tmp_path: Path) -> None:
    header = mosaic([picture(z) for z in range(4)], NORMAL, series=generate_uid())
    del header[0x0029, 0x1010]
    folder = save(tmp_path / "in", [header])
    assert len(io.list_series(folder)) == 1
    refused(folder, "private Siemens header was removed")


def test_private_siemens_headers() -> None:
    tags = {"A": ["1.5", "2"], "SliceNormalVector": ["0", "0", "1"]}
    assert read_csa(csa(tags)) == tags
    assert read_csa(b"") == {}
    assert read_csa(b"something else entirely") == {}
    assert read_csa(csa(tags, second=False)) == tags
    for length in range(20, len(csa(tags)) - 8, 7):
        with pytest.raises(ValueError, match="cut off"):
            read_csa(csa(tags)[:length])


def test_times_of_day() -> None:
    assert seconds("101530.25") == pytest.approx(10 * 3600 + 15 * 60 + 30.25)
    assert seconds("10:15") == 36900.0
    assert seconds("20210616111834.74") == pytest.approx(16 * 86400 + 40714.74)
    assert seconds("") is None
    assert seconds("noon") is None


def test_pydicom_warnings_do_not_reach_the_user(tmp_path: Path, recwarn) -> None:
    headers = slices(3)
    for header in headers:
        header.StudyInstanceUID = "1.2.02.3"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = save(tmp_path / "in", headers)
    recwarn.clear()
    io.read(folder)
    assert not list(recwarn)
    assert pydicom.config.settings.reading_validation_mode is not None
