"""Every file of the folder of real data is read with the right geometry, or refused in words."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mriforge import io
from mriforge.errors import BadInput
from mriforge.volume import Grid, Series, Volume, as_series

# File, array shape, dtype, voxel size (x, y, z), series to choose.
TABLE = [
    ("abdomen/TS_example_ct_3mm.nii.gz", (112, 101, 122), "int32", (3, 3, 3)),
    ("abdomen/TS_example_ct_seg62_3mm.nii.gz", (112, 101, 122), "uint8", (3, 3, 3)),
    ("abdomen/TS_example_ct_sm_3mm.nii.gz", (30, 101, 122), "int16", (3, 3, 3)),
    ("abdomen/TS_example_ct_sm_seg_3mm.nii.gz", (30, 101, 122), "uint8", (3, 3, 3)),
    ("abdomen/niivue_torsoLabel_BTCV11.nii.gz", (89, 320, 384), "uint8", (0.782, 0.782, 5)),
    ("abdomen/UKRIN_Ax_localiser_bTFE_enh.dcm", (20, 256, 256), "float32", (1.5625, 1.5625, 7)),
    ("abdomen/UKRIN_Cor_B0map_2echo_enh.dcm#M", (2, 13, 128, 128), "float32", (3, 3, 5.5)),
    ("abdomen/UKRIN_Cor_B0map_2echo_enh.dcm#501-P", (2, 13, 128, 128), "float32", (3, 3, 5.5)),
    ("aniso/TCGA-FG-6692_fla_5.5mm.nii.gz", (26, 256, 208), "int16", (0.898, 0.898, 5.5)),
    ("aniso/TCGA-FG-6692_t2_5.5mm.nii.gz", (26, 256, 224), "int16", (0.898, 0.898, 5.5)),
    ("aniso/TCGA-FG-6692_t1c_5.5mm.nii.gz", (26, 224, 256), "int16", (0.898, 0.898, 5.5)),
    ("aniso/TCGA-FG-6692_t1_5.5mm.nii.gz", (26, 224, 256), "int16", (0.898, 0.898, 5.5)),
    ("aniso/torchio_fernando_T2FLAIR_5.5mm.nii.gz", (26, 320, 320), "int16", (0.75, 0.75, 5.5)),
    ("aniso/sct_errsm30_T2w_spine_1mm.nii.gz", (52, 195, 384), "int16", (1, 1, 1)),
    ("aniso/sct_T2star_cspine_7.5mm.nii.gz", (11, 320, 320), "uint8", (0.5, 0.5, 7.5)),
    ("aniso/TPTBox_sub-mri_label-6_T2w.nii.gz", (67, 52, 68), "uint16", (1.5, 1.5, 1.5)),
    ("aniso/TPTBox_sub-mri_seg-vert_label-6_msk.nii.gz", (67, 52, 68), "uint8", (1.5, 1.5, 1.5)),
    ("aniso/TPTBox_sub-mri_seg-subreg_label-6_msk.nii.gz", (67, 52, 68), "uint8", (1.5,) * 3),
    ("brain3d/BraTS-MET-00110-000-t1c.nii.gz", (155, 240, 240), "int16", (1, 1, 1)),
    ("brain3d/BraTS-MET-00110-000-t1n.nii.gz", (155, 240, 240), "int16", (1, 1, 1)),
    ("brain3d/BraTS-MET-00110-000-t2w.nii.gz", (155, 240, 240), "int16", (1, 1, 1)),
    ("brain3d/BraTS-MET-00110-000-t2f.nii.gz", (155, 240, 240), "int16", (1, 1, 1)),
    ("brain3d/adi_T1w_memprage_1.1mm.nii.gz", (176, 192, 192), "uint16", (1.146, 1.146, 1)),
    ("brain3d/adi_T2w_FSE_ax_2.5mm.nii.gz", (56, 512, 384), "uint16", (0.43, 0.43, 2.5)),
    ("brain3d/niivue_norm_T1w_1mm_brain.mgz", (256, 256, 256), "uint8", (1, 1, 1)),
    (
        "brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz",
        (384, 384, 274),
        "int16",
        (0.7, 0.667, 0.667),
    ),
    ("brain3d/vxm_test_T1w_1mm_brain.nii.gz", (224, 192, 160), "uint8", (1, 1, 1)),
    ("brain3d/vxm_test_seg_1mm.nii.gz", (224, 192, 160), "uint8", (1, 1, 1)),
    ("dicom/d2n_ge_anatomical_001", (4, 256, 256), "int16", (1, 1, 1)),
    ("dicom/d2n_generic_compressed_j2k_001", (4, 256, 256), "uint16", (1, 1, 1)),
    ("dicom/d2n_hitachi_anatomical_001", (4, 64, 64), "int16", (2.34375, 2.34375, 4)),
    ("dicom/d2n_hyperfine_anatomical_001", (8, 138, 112), "uint16", (1.59, 1.61, 5)),
    ("dicom/d2n_philips_anatomical_001", (4, 240, 240), "uint16", (1.0417, 1.0417, 0.6)),
    ("dicom/d2n_philips_enhanced_anatomical_001", (8, 256, 256), "float32", (1, 1, 1.2)),
    ("dicom/d2n_siemens_anatomical_001", (4, 256, 256), "uint16", (1, 1, 1)),
    ("dicom/d2n_siemens_fmri_001", (2, 50, 80, 80), "uint16", (2.5, 2.5, 3.08)),
    ("dicom/d2n_siemens_multiframe_anatomical_001", (8, 256, 256), "uint16", (0.9375, 0.9375, 0.9)),
    ("dynamic/mdreg_kidney_MOLLI_2sl_8TI.nii.gz", (8, 2, 256, 256), "int16", (1.5, 1.5, 10)),
    ("dynamic/niivue_multiPLD_ASL_4D.nii.gz", (25, 24, 64, 64), "float32", (3.4375, 3.4375, 4.95)),
    ("dynamic/sct_cspine_fmri_4D.nii.gz", (30, 6, 68, 68), "int16", (0.956, 0.956, 16.8)),
    ("dynamic/sunnybrook_SAX_ED_ES_dicom", (2, 4, 256, 256), "int16", (1.3672, 1.3672, 8)),
    ("knee/pymskt_MESE_dicom", (8, 24, 256, 256), "int16", (0.625, 0.625, 4)),
    (
        "knee/pymskt_DESS_right_bones_cart_men_label.nrrd",
        (160, 384, 384),
        "uint8",
        (0.365, 0.365, 0.7),
    ),
]
REFUSED = [
    ("dicom/d2n_failing_slicecount_001", "most of its images are missing"),
    ("dicom/d2n_failing_sliceorientation_001", "2 different directions"),
    ("dicom", "holds 11 series"),
    ("abdomen/UKRIN_Cor_B0map_2echo_enh.dcm", "holds 4 series"),
    ("dynamic/DCEMRI_invivo_breast_DCE_VFA.mat", "MATLAB"),
    ("kspace/sigpy_brain_cartesian_8ch_ksp.npy", "k-space"),
    ("kspace/sigpy_projection_coord.npy", "how large its voxels are"),
    ("MANIFEST.md", "no known format"),
]
SERIES_READABLE = [
    name for name, *_ in TABLE if name.startswith("dicom/") or name.endswith("_dicom")
]


def load(shared_data: Path, name: str) -> tuple[Path, Volume | Series]:
    file, _, series = name.partition("#")
    return shared_data / file, io.read(shared_data / file, series=series or None)


@pytest.mark.parametrize(("name", "shape", "dtype", "spacing"), TABLE, ids=[t[0] for t in TABLE])
def test_read(shared_data: Path, name: str, shape: tuple, dtype: str, spacing: tuple) -> None:
    path, image = load(shared_data, name)
    assert image.array.shape == shape
    assert image.array.dtype == dtype
    assert image.grid.spacing == pytest.approx(spacing, abs=1e-3)
    assert isinstance(image, Series) == (len(shape) == 4)
    assert image.metadata["source"] == str(path)
    assert image.array.max() > image.array.min()


@pytest.mark.parametrize(("name", "words"), REFUSED)
def test_refused(shared_data: Path, name: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        io.read(shared_data / name)
    assert str(shared_data / name) in caught.value.message
    assert caught.value.hint


def test_every_file_is_in_the_table(shared_data: Path) -> None:
    known = {shared_data / row[0].partition("#")[0] for row in (*TABLE, *REFUSED)}
    text = {".json", ".md", ".txt"}
    files = [p for p in shared_data.rglob("*") if p.is_file() and p.suffix not in text]
    files = [p for p in files if "licenses" not in p.parts]
    assert [p for p in files if p not in known and p.parent not in known] == []


def test_times(shared_data: Path) -> None:
    knee = io.read(shared_data / "knee/pymskt_MESE_dicom")
    assert knee.time_name == "echo time"
    assert knee.times == pytest.approx(6.312 * np.arange(1, 9))
    heart = io.read(shared_data / "dynamic/sunnybrook_SAX_ED_ES_dicom")
    assert (heart.time_name, heart.time_unit) == ("trigger time", "ms")
    assert heart.times.tolist() == [348.0, 929.0]
    assert "2 of 6 slice positions were left out" in heart.metadata["note"]
    phase = io.read(shared_data / "abdomen/UKRIN_Cor_B0map_2echo_enh.dcm", series="P")
    assert phase.times.tolist() == [4.001, 6.3]
    spine = io.read(shared_data / "dynamic/sct_cspine_fmri_4D.nii.gz")
    assert np.diff(spine.times) == pytest.approx(1.13, rel=1e-3)


NIFTI = [t[0] for t in TABLE if t[0].endswith((".nii.gz", ".nrrd"))]


@pytest.mark.parametrize("name", NIFTI)
def test_same_place_as_simpleitk(shared_data: Path, name: str) -> None:
    path, image = load(shared_data, name)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        pytest.skip("SimpleITK refuses this file")
    size = reader.GetDimension()
    direction = np.reshape(reader.GetDirection(), (size, size))[:3, :3]
    other = Grid(
        reader.GetSize()[:3][::-1],
        reader.GetSpacing()[:3],
        reader.GetOrigin()[:3],
        tuple(direction.ravel()),
    )
    # Single precision headers: nibabel and ITK round differently.
    assert image.grid.matches(other, 5e-3)


CLASSIC = [
    "dicom/d2n_ge_anatomical_001",
    "dicom/d2n_generic_compressed_j2k_001",
    "dicom/d2n_hitachi_anatomical_001",
    "dicom/d2n_philips_anatomical_001",
    "dicom/d2n_siemens_anatomical_001",
]


@pytest.mark.parametrize("name", CLASSIC)
def test_same_voxels_as_simpleitk(shared_data: Path, name: str) -> None:
    folder, image = load(shared_data, name)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    other = reader.Execute()
    grid = Grid(image.grid.shape, other.GetSpacing(), other.GetOrigin(), other.GetDirection())
    assert image.grid.matches(grid, 1e-2)
    np.testing.assert_array_equal(image.array, sitk.GetArrayFromImage(other))


def test_heart_slices_are_where_their_files_say(shared_data: Path) -> None:
    folder, series = load(shared_data, "dynamic/sunnybrook_SAX_ED_ES_dicom")
    for number, t, z in ((88, 0, 0), (100, 1, 0), (68, 0, 1), (28, 0, 3), (40, 1, 3)):
        other = sitk.ReadImage(str(folder / f"IM-0009-{number:04d}.dcm"))
        np.testing.assert_array_equal(series.array[t, z], sitk.GetArrayFromImage(other)[0])
        here = series.grid.index_to_world(np.array([0, 0, z]))
        np.testing.assert_allclose(here, other.GetOrigin(), atol=2e-3)


def converted(folder: Path, out: Path) -> list[nibabel.Nifti1Image]:
    """What dcm2niix makes of a folder."""
    program = shutil.which("dcm2niix")
    if program is None:
        pytest.skip("dcm2niix is not installed")
    # "-p n": the rescale of the standard, not Philips' own precise one.
    command = [program, "-z", "n", "-b", "n", "-p", "n", "-f", "%s_%e", "-o", str(out), str(folder)]
    subprocess.run(command, check=False, capture_output=True, timeout=120)
    return [nibabel.load(path) for path in sorted(out.glob("*.nii"))]


def at_same_places(grid: Grid, other: nibabel.Nifti1Image) -> np.ndarray | None:
    """Voxels of ``other`` at the voxels of ``grid`` ``(z, y, x)``; ``None`` if elsewhere."""
    to_other = np.linalg.inv(other.affine) @ grid.affine("RAS")
    index = np.indices(grid.stored_shape).reshape(3, -1)
    at = to_other[:3, :3] @ index + to_other[:3, 3:]
    whole = np.rint(at).astype(int)
    limit = np.array(other.shape[:3])[:, None]
    if np.abs(at - whole).max() > 0.02 or (whole < 0).any() or (whole >= limit).any():
        return None
    values = np.asanyarray(other.dataobj)[tuple(whole)]
    frames = values.reshape(*grid.stored_shape, -1)
    return np.moveaxis(frames, -1, 0).transpose(0, 3, 2, 1)


# The mosaic has lost the header that dcm2niix needs: it guesses 64 slices where there are 50.
# It takes the two heart phases for one stack and resamples it.
DCM2NIIX = [n for n in SERIES_READABLE if "fmri" not in n and "sunnybrook" not in n]


@pytest.mark.parametrize("name", DCM2NIIX)
def test_same_voxels_as_dcm2niix(shared_data: Path, tmp_path: Path, name: str) -> None:
    folder, image = load(shared_data, name)
    files = converted(folder, tmp_path)
    frames = [f for file in files if (f := at_same_places(image.grid, file)) is not None]
    if not frames:
        pytest.skip("dcm2niix does not convert this series to one grid")
    others = np.concatenate(frames)
    for frame in as_series(image):
        gaps = [np.abs(frame.array - other.astype(float)).max() for other in others]
        assert min(gaps) <= 1e-3 * float(frame.array.max())


@pytest.mark.parametrize("name", ["aniso/TPTBox_sub-mri_label-6_T2w.nii.gz", *SERIES_READABLE])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_real_data_round_trip(shared_data: Path, tmp_path: Path, name: str, ending: str) -> None:
    _, image = load(shared_data, name)
    if image.array.size > 5_000_000:
        image = image.with_array(image.array)
        image = Series(image.array[:2], image.grid, image.times[:2], image.time_name, "ms")
    back = io.read(io.write(image, tmp_path / f"a{ending}"))
    np.testing.assert_array_equal(back.array, image.array)
    assert back.array.dtype == image.array.dtype
    assert back.grid.matches(image.grid, 1e-5)
