"""Files that cannot be used are refused with one sentence that names the file and a hint."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mriforge import io
from mriforge.errors import BadInput, Failed
from mriforge.io.checks import check_image
from mriforge.volume import Grid, Series, Volume

GRID = Grid((6, 7, 8), (1.0, 1.0, 2.0))
IMAGE = Volume(np.arange(GRID.shape[0] * 56, dtype=np.int16).reshape(GRID.shape), GRID)


def cut(ending: str) -> Callable[[Path], Path]:
    """A good file that ends in the middle."""

    def make(folder: Path) -> Path:
        path = io.write(IMAGE, folder / f"cut{ending}")
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2 + 200])
        return path

    return make


def text(
    name: str, content: bytes = b"This is not an image at all. " * 40
) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def nifti(array: np.ndarray, affine: np.ndarray | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        file = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
        nibabel.save(file, folder / "in.nii")
        return folder / "in.nii"

    return make


def itk(array: np.ndarray, ending: str, vector: bool = False) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"in{ending}"
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(path))
        return path

    return make


def npy(array: np.ndarray, sidecar: str | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.save(folder / "in.npy", array)
        if sidecar is not None:
            (folder / "in.json").write_text(sidecar)
        return folder / "in.npy"

    return make


def patched(at: int, data: bytes) -> Callable[[Path], Path]:
    """A NIfTI whose header is wrong at one place."""

    def make(folder: Path) -> Path:
        path = io.write(IMAGE, folder / "in.nii")
        raw = bytearray(path.read_bytes())
        raw[at : at + len(data)] = data
        path.write_bytes(raw)
        return path

    return make


def empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def folder_of_text(folder: Path) -> Path:
    (folder / "notes").mkdir()
    (folder / "notes" / "readme.txt").write_text("nothing here")
    return folder / "notes"


def other_array(folder: Path) -> Path:
    path = io.write(IMAGE, folder / "in.npy")
    np.save(path, IMAGE.array + 1)
    return path


SHEAR = np.array([[1.0, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
RGB = np.zeros((4, 4, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
ORIGIN = json.dumps({"origin": [0, 0, 0]})

CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "nowhere.nii", "does not exist"),
    "missing folder": (lambda folder: folder / "a" / "b.nrrd", "does not exist"),
    "zero bytes nii": (text("a.nii", b""), "empty"),
    "zero bytes nrrd": (text("a.nrrd", b""), "empty"),
    "zero bytes dcm": (text("a.dcm", b""), "empty"),
    "empty folder": (empty_folder, "is empty"),
    "folder without images": (folder_of_text, "no DICOM image"),
    "garbage nii": (text("a.nii"), "cannot be read"),
    "garbage nii.gz": (text("a.nii.gz"), "not NIfTI"),
    "zipped garbage": (text("a.nii.gz", gzip.compress(b"no image " * 99)), "cannot be read"),
    "garbage mgz": (text("a.mgz"), "not MGH"),
    "garbage nrrd": (text("a.nrrd"), "not NRRD"),
    "garbage mha": (text("a.mha"), "cannot be read"),
    "garbage npy": (text("a.npy"), "not NumPy"),
    "garbage dcm": (text("a.dcm"), "not a DICOM file"),
    "no extension": (text("scan"), "no known format"),
    "unknown extension": (text("scan.xyz"), "no known format"),
    "picture": (text("a.png", b"\x89PNG\r\n"), "picture"),
    "matlab": (text("a.mat"), "MATLAB"),
    "archive": (text("a.zip", b"PK\3\4"), "archive"),
    "weights": (text("a.safetensors"), "weights"),
    "cut nii": (cut(".nii"), "cannot be read"),
    "cut nii.gz": (cut(".nii.gz"), "cannot be read"),
    "cut nrrd": (cut(".nrrd"), "cannot be read"),
    "cut mha": (cut(".mha"), "cannot be read"),
    "cut npy": (cut(".npy"), "cannot be read"),
    "cut header": (text("a.nii", b"\x5c\1\0\0" + b"\0" * 60), "cannot be read"),
    "sheared": (nifti(np.zeros((4, 4, 4), np.int16), SHEAR), "perpendicular"),
    "position not a number": (patched(292, np.float32(np.nan).tobytes()), "not finite"),
    "voxel size zero": (patched(280, np.zeros(4, np.float32).tobytes()), "voxel size"),
    "complex nifti": (nifti(np.zeros((4, 4, 4), np.complex64)), "complex"),
    "colour nifti": (nifti(RGB), "colours"),
    "five axes": (nifti(np.zeros((4, 4, 4, 2, 3), np.int16)), "5 axes"),
    "huge header": (
        patched(42, np.array([30000] * 3, np.int16).tobytes()),
        "cannot be read|memory",
    ),
    "negative size": (patched(42, np.array([-5], np.int16).tobytes()), "cannot be read|no voxels"),
    "vector mha": (itk(np.zeros((4, 4, 4, 3), np.uint8), ".mha", True), "colours or vectors"),
    "vector nrrd": (itk(np.zeros((4, 4, 4, 3), np.uint8), ".nrrd", True), "colours or vectors"),
    "complex mha": (itk(np.zeros((4, 4, 4), np.complex64), ".mha"), "complex|cannot be read"),
    "raw data npy": (npy(np.zeros((8, 20, 20), np.complex64)), "k-space"),
    "bare npy": (npy(np.zeros((4, 4, 4))), "how large its voxels are"),
    "npy without spacing": (npy(np.zeros((4, 4, 4)), ORIGIN), "voxel size"),
    "npy with broken json": (npy(np.zeros((4, 4, 4)), "{"), "not valid JSON"),
    "npy with wrong json": (npy(np.zeros((4, 4, 4)), '{"spacing": [1, 2, "x"]}'), "wrong values"),
    "npy with two axes": (npy(np.zeros((4, 4)), '{"spacing": [1, 1, 1]}'), "axes"),
    "npy of another array": (other_array, "not the one"),
    "npy of objects": (npy(np.array([{}, None], dtype=object)), "cannot be read"),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str, tmp_path: Path) -> None:
    make, words = CASES[name]
    path = make(tmp_path)
    with pytest.raises(BadInput, match=words) as caught:
        io.read(path)
    error = caught.value
    assert str(path) in error.message
    assert error.hint
    assert error.exit_code == 2
    assert "\n" not in error.one_line()
    assert "Traceback" not in error.one_line()
    assert len(error.one_line()) < 600


def test_renamed_files_are_recognised(tmp_path: Path) -> None:
    path = io.write(IMAGE, tmp_path / "a.nrrd")
    path.rename(tmp_path / "a.mha")
    with pytest.raises(BadInput, match="looks like NRRD"):
        io.read(tmp_path / "a.mha")
    (tmp_path / "a.mha").rename(tmp_path / "a.scan")
    with pytest.raises(BadInput, match="rename it"):
        io.read(tmp_path / "a.scan")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_no_right_to_read(tmp_path: Path) -> None:
    path = io.write(IMAGE, tmp_path / "a.nii")
    path.chmod(0)
    with pytest.raises(BadInput, match="permission denied"):
        io.read(path)


@pytest.mark.parametrize("name", ["a.png", "a.mhd", "a.dcm", "a.nii.zip", "a.mgz", "a.hdr"])
def test_outputs_of_unknown_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="cannot be written"):
        io.write(IMAGE, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_exist_as_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.nii").mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        io.write(IMAGE, tmp_path / "a.nii")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadInput):
        io.write(IMAGE, tmp_path / "file" / "a.nii")
    with pytest.raises(BadInput):
        io.write(IMAGE, tmp_path / "file")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".npy", "/"])
def test_a_failing_writer_leaves_nothing(tmp_path: Path, monkeypatch, ending: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Failed, match="disk is full"):
        io.write(IMAGE, f"{tmp_path}/a{ending}")
    assert list(tmp_path.iterdir()) == []


def test_voxels_that_no_method_can_use() -> None:
    check_image(IMAGE, "a.nii")
    frames = np.zeros((2, *GRID.shape), np.float32)
    with pytest.raises(BadInput, match=r"prior p\.nii has the same value"):
        check_image(Series(frames, GRID, [0, 1]), "p.nii", what="prior")
    frames[1] = 1
    check_image(Series(frames, GRID, [0, 1]), "p.nii")
    for bad in (np.nan, np.inf, -np.inf):
        frames[1, 2, 3, 4] = bad
        with pytest.raises(BadInput, match="1 voxels that are not numbers"):
            check_image(Series(frames, GRID, [0, 1]), "p.nii")
