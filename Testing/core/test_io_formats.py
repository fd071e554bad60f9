"""Round trips keep voxels exactly, geometry to 1e-5 mm, times and provenance."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mriforge import io
from mriforge.io.formats import Format, recognise
from mriforge.volume import Grid, Image, Series, Volume

FILES = [".nii", ".nii.gz", ".nrrd", ".seq.nrrd", ".mha", ".npy"]
DTYPES = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Oblique, flipped and anisotropic grids of a few voxels, far from the origin."""
    shape = tuple(draw(st.integers(1, 5)) for _ in range(3))
    spacing = tuple(draw(st.floats(0.1, 20.0)) for _ in range(3))
    origin = tuple(draw(st.floats(-900.0, 900.0)) for _ in range(3))
    angles = [draw(st.floats(-180.0, 180.0)) for _ in range(3)]
    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    flips = np.array([draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)])
    order = draw(st.permutations(range(3)))
    return Grid(shape, spacing, origin, tuple((matrix * flips)[:, order].ravel()))


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Values over the whole range of an integer type."""
    rng = np.random.default_rng(7)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (rng.standard_normal(shape) * 1000).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def same(image: Image, back: Image) -> None:
    assert type(back) is type(image)
    assert back.array.dtype == image.array.dtype
    np.testing.assert_array_equal(back.array, image.array)
    assert back.grid.matches(image.grid, 1e-5)
    if isinstance(image, Series):
        np.testing.assert_array_equal(back.times, image.times)
        assert (back.time_name, back.time_unit) == (image.time_name, image.time_unit)


@pytest.mark.parametrize("ending", FILES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(grid=grids(), dtype=st.sampled_from(DTYPES), frames=st.integers(0, 3))
def test_round_trip(ending: str, grid: Grid, dtype: str, frames: int) -> None:
    if ending == ".seq.nrrd":
        frames = max(frames, 1)
    provenance = {"job": "test", "names": ["ä\n", 'q"\\'], "keep": 0.0625}
    if frames:
        array = numbers((frames, *grid.shape), dtype)
        times = np.array([0.1, 3.7, 11.25])[:frames]
        image: Image = Series(array, grid, times, "trigger time", "ms", {"provenance": provenance})
    else:
        image = Volume(numbers(grid.shape, dtype), grid, {"provenance": provenance})
    with tempfile.TemporaryDirectory() as folder:
        path = io.write(image, Path(folder) / f"scan{ending}")
        back = io.read(path)
        same(image, back)
        assert back.metadata["provenance"] == provenance
        expected = {path.name} | ({"scan.json"} if ending == ".npy" else set())
        assert {p.name for p in Path(folder).iterdir()} == expected


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@settings(max_examples=25, deadline=None)
@given(grid=grids())
def test_other_programs_see_the_same_place(ending: str, grid: Grid) -> None:
    image = Volume(numbers(grid.shape, "int16"), grid)
    with tempfile.TemporaryDirectory() as folder:
        path = io.write(image, Path(folder) / f"scan{ending}")
        other = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(other), image.array)
        seen = Grid(grid.shape, other.GetSpacing(), other.GetOrigin(), other.GetDirection())
        # NIfTI-1 keeps single precision: 1e-7 of 900 mm.
        assert seen.matches(grid, 5e-4 if "nii" in ending else 1e-9)


@pytest.mark.parametrize("ending", [*FILES, "/"])
@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (1, 1, 4, 5), (20, 1, 6, 7), (1, 6, 7), (1, 1, 1)])
def test_one_slice_and_one_frame(tmp_path: Path, ending: str, shape: tuple[int, ...]) -> None:
    if ending == ".seq.nrrd" and len(shape) == 3:
        pytest.skip("a sequence file always holds a series")
    grid = Grid(shape[-3:], (1.5, 1.5, 8.0), (-10.0, 20.0, 30.0))
    array = numbers(shape, "int16")
    if len(shape) == 4:
        image: Image = Series(array, grid, 40.0 * np.arange(shape[0]), "trigger time", "ms")
    else:
        image = Volume(array, grid)
    back = io.read(io.write(image, f"{tmp_path}/scan{ending}"))
    same(image, back)


def test_nifti_header(tmp_path: Path) -> None:
    turn = Rotation.from_euler("xyz", [20, -30, 40], degrees=True).as_matrix()
    grid = Grid((3, 4, 5), (0.7, 0.8, 3.0), (-40.0, 12.0, 7.5), tuple((turn * [1, -1, 1]).ravel()))
    series = Series(numbers((4, 3, 4, 5), "int16"), grid, np.arange(4) * 1130.0, "time", "ms")
    path = io.write(series.with_array(series.array, provenance="short"), tmp_path / "a.nii.gz")
    file = nibabel.load(path)
    header = file.header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header.get_zooms()[3] == pytest.approx(1.13)
    assert header.get_data_dtype() == np.int16
    assert header["descrip"].item() == b"short"
    np.testing.assert_allclose(header.get_qform(), grid.affine("RAS"), atol=1e-4)
    np.testing.assert_allclose(file.affine, grid.affine("RAS"), atol=1e-4)


def test_a_header_changed_afterwards_wins_over_the_comment(tmp_path: Path) -> None:
    path = io.write(Volume(numbers((3, 4, 5), "int16"), Grid((3, 4, 5))), tmp_path / "a.nii")
    file = nibabel.load(path)
    file.set_sform(np.diag([2.0, 2.0, 2.0, 1.0]), 1)
    nibabel.save(file, tmp_path / "b.nii")
    assert io.read(tmp_path / "b.nii").grid.spacing == (2.0, 2.0, 2.0)


def nifti(tmp_path: Path, array: np.ndarray, units: tuple[str, str] = ("mm", "sec")) -> Path:
    file = nibabel.Nifti1Image(array, np.diag([1.0, 2.0, 3.0, 1.0]), dtype=array.dtype)
    file.header.set_xyzt_units(*units)
    if array.ndim > 3:
        file.header.set_zooms((1.0, 2.0, 3.0, 2500.0, *(1.0,) * (array.ndim - 4)))
    path = tmp_path / "in.nii"
    nibabel.save(file, path)
    return path


@pytest.mark.parametrize(
    ("units", "spacing", "step", "unit"),
    [
        (("mm", "msec"), (1.0, 2.0, 3.0), 2500.0, "ms"),
        (("meter", "sec"), (1000.0, 2000.0, 3000.0), 2500.0, "s"),
        (("micron", "usec"), (0.001, 0.002, 0.003), 2.5, "ms"),
        (("unknown", "unknown"), (1.0, 2.0, 3.0), 2500.0, "s"),
    ],
)
def test_nifti_units(tmp_path: Path, units, spacing, step: float, unit: str) -> None:
    series = io.read(nifti(tmp_path, np.zeros((4, 3, 2, 3), np.float32), units))
    assert isinstance(series, Series)
    assert series.grid.spacing == pytest.approx(spacing, rel=1e-6)
    assert np.diff(series.times) == pytest.approx(step)
    assert series.time_unit == unit


def test_nifti_scaling(tmp_path: Path) -> None:
    path = nifti(tmp_path, np.arange(24, dtype=np.int16).reshape(4, 3, 2))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.5, -3.0], np.float32).tobytes()
    path.write_bytes(raw)
    image = io.read(path)
    assert image.array.dtype == np.float32
    assert image.metadata["rescale"] == {"slope": 0.5, "intercept": -3.0}
    np.testing.assert_array_equal(image.array.T, 0.5 * np.arange(24).reshape(4, 3, 2) - 3)


def test_a_two_dimensional_picture_becomes_one_slice(tmp_path: Path) -> None:
    for path in (nifti(tmp_path, np.ones((4, 3), np.int16)), tmp_path / "flat.mha"):
        if path.suffix == ".mha":
            sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 4), np.int16)), str(path))
        image = io.read(path)
        assert image.array.shape == (1, 3, 4)
        assert "one slice" in image.metadata["note"]


def test_a_big_endian_nifti(tmp_path: Path) -> None:
    array = np.arange(24, dtype=">i2").reshape(4, 3, 2)
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4), header), tmp_path / "big.nii")
    image = io.read(tmp_path / "big.nii")
    assert image.array.dtype == np.int16
    assert image.array.dtype.isnative
    np.testing.assert_array_equal(image.array.T, array)


def slicer_file(path: Path, fields: str, array: np.ndarray) -> Path:
    """A raw NRRD; ``array`` in the order of the file (last axis fastest)."""
    path.write_bytes(f"NRRD0005\ntype: short\n{fields}\n\n".encode() + array.tobytes())
    return path


def test_sequences_of_current_and_older_slicers(tmp_path: Path) -> None:
    array = numbers((3, 2, 4, 5), "int16")
    common = "dimension: 4\nspace: right-anterior-superior\nendian: little\nencoding: raw\n"
    space = "space origin: (10,20,30)\n"
    new = slicer_file(
        tmp_path / "new.seq.nrrd",
        f"{common}sizes: 5 4 2 3\nspace directions: (1,0,0) (0,2,0) (0,0,3) none\n{space}"
        'kinds: domain domain domain list\nlabels: "" "" "" "time"\nunits: "" "" "" "s"\n'
        "axis 3 index type:=numeric\naxis 3 index values:=0 1.5 4",
        array,
    )
    old = slicer_file(
        tmp_path / "old.seq.nrrd",
        f"{common}sizes: 3 5 4 2\nspace directions: none (1,0,0) (0,2,0) (0,0,3)\n{space}"
        'kinds: list domain domain domain\nlabels: "time" "" "" ""\nunits: "s" "" "" ""\n'
        "axis 0 index type:=numeric\naxis 0 index values:=0 1.5 4",
        np.ascontiguousarray(np.moveaxis(array, 0, -1)),
    )
    multi = slicer_file(
        tmp_path / "multi.nrrd",
        f"{common}sizes: 3 5 4 2\nspace directions: none (1,0,0) (0,2,0) (0,0,3)\n{space}"
        "kinds: list domain domain domain\nMultiVolume.FrameLabels:=0,1.5,4\n"
        "MultiVolume.FrameIdentifyingDICOMTagName:=time\n"
        "MultiVolume.FrameIdentifyingDICOMTagUnits:=s",
        np.ascontiguousarray(np.moveaxis(array, 0, -1)),
    )
    for path in (new, old, multi):
        series = io.read(path)
        assert isinstance(series, Series)
        np.testing.assert_array_equal(series.array, array)
        assert series.grid.origin == (-10.0, -20.0, 30.0)
        assert series.grid.spacing == (1.0, 2.0, 3.0)
        assert series.times.tolist() == [0.0, 1.5, 4.0]
        assert (series.time_name, series.time_unit) == ("time", "s")


def test_sequence_header_is_that_of_slicer(tmp_path: Path) -> None:
    series = Series(numbers((3, 2, 4, 5), "int16"), Grid((2, 4, 5)), [0, 1.5, 4], "echo time", "ms")
    path = io.write(series, tmp_path / "a.seq.nrrd")
    header = path.read_bytes().split(b"\n\n")[0].decode().splitlines()
    for line in (
        "sizes: 5 4 2 3",
        "space: left-posterior-superior",
        "kinds: domain domain domain list",
        'labels: "" "" "" "echo time"',
        'units: "" "" "" "ms"',
        "axis 3 index type:=numeric",
        "axis 3 index values:=0.0 1.5 4.0",
        "DataNodeClassName:=vtkMRMLScalarVolumeNode",
    ):
        assert line in header


def test_a_volume_written_as_sequence_is_a_series_of_one_frame(tmp_path: Path) -> None:
    back = io.read(
        io.write(Volume(numbers((2, 3, 4), "int16"), Grid((2, 3, 4))), tmp_path / "a.seq.nrrd")
    )
    assert isinstance(back, Series)
    assert back.array.shape == (1, 2, 3, 4)


def test_long_provenance_does_not_break_a_metaimage(tmp_path: Path) -> None:
    grid = Grid((2, 3, 4), (1.0, 1.1, 1.2))
    image = Volume(numbers(grid.shape, "int16"), grid, {"provenance": "x" * 100_000})
    same(image, io.read(io.write(image, tmp_path / "a.mha")))


def test_other_dtypes(tmp_path: Path) -> None:
    grid = Grid((2, 3, 4))
    for ending in FILES:
        mask = io.read(io.write(Volume(np.ones(grid.shape, bool), grid), tmp_path / f"m{ending}"))
        half = io.read(
            io.write(Volume(np.ones(grid.shape, np.float16), grid), tmp_path / f"h{ending}")
        )
        assert mask.array.dtype == np.uint8
        assert half.array.dtype == np.float32


def test_a_hand_written_sidecar(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4, 5), np.float32))
    (tmp_path / "a.json").write_text(json.dumps({"spacing": [1, 2, 3], "times": [5, 7]}))
    series = io.read(tmp_path / "a.npy")
    assert series.grid.spacing == (1.0, 2.0, 3.0)
    assert series.times.tolist() == [5.0, 7.0]


def test_a_mgz_file(tmp_path: Path) -> None:
    affine = np.array([[-1.0, 0, 0, 10], [0, 0, 2, 20], [0, -3, 0, 30], [0, 0, 0, 1]])
    array = numbers((4, 3, 2), "uint8")
    nibabel.save(nibabel.MGHImage(array, affine), tmp_path / "a.mgz")
    image = io.read(tmp_path / "a.mgz")
    np.testing.assert_array_equal(image.array.T, array)
    np.testing.assert_allclose(image.grid.affine("RAS"), affine, atol=1e-5)


def test_formats_are_recognised(tmp_path: Path) -> None:
    for ending, kind in ((".nii", Format.NIFTI), (".nrrd", Format.NRRD), (".mha", Format.META)):
        path = io.write(
            Volume(numbers((2, 3, 4), "int16"), Grid((2, 3, 4))), tmp_path / f"a{ending}"
        )
        assert recognise(path) is kind


def test_an_array_killed_between_its_two_renames(tmp_path: Path) -> None:
    grid = Grid((2, 3, 4), (1.0, 2.0, 3.0))
    old = Volume(numbers(grid.shape, "int16"), grid)
    path = io.write(old, tmp_path / "a.npy")
    before = path.read_bytes()
    new = Volume(old.array + 1, Grid((2, 3, 4), (5.0, 6.0, 7.0)))
    io.write(new, path)
    same(new, io.read(path))
    path.write_bytes(before)
    same(old, io.read(path))
