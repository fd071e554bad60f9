"""Which format a path is: by its name, then by its first bytes."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from mriforge.errors import BadInput


class Format(Enum):
    """The families of files that are read."""

    NIFTI = "NIfTI"
    MGH = "MGH"
    NRRD = "NRRD"
    META = "MetaImage"
    NUMPY = "NumPy"
    DICOM = "DICOM"


_BY_SUFFIX = {
    ".nii": Format.NIFTI,
    ".nii.gz": Format.NIFTI,
    ".hdr": Format.NIFTI,
    ".img": Format.NIFTI,
    ".mgz": Format.MGH,
    ".mgh": Format.MGH,
    ".nrrd": Format.NRRD,
    ".nhdr": Format.NRRD,
    ".mha": Format.META,
    ".mhd": Format.META,
    ".npy": Format.NUMPY,
    ".dcm": Format.DICOM,
    ".dicom": Format.DICOM,
    ".ima": Format.DICOM,
}
_WRITTEN = (".nii", ".nii.gz", ".nrrd", ".mha", ".npy")
_WRITTEN_TEXT = ".nii, .nii.gz, .nrrd, .seq.nrrd, .mha or .npy, or a folder name for DICOM"
_READ_TEXT = "NIfTI, NRRD, MHA, MGZ, NumPy with its JSON file, or DICOM"
_REFUSED = {
    ".mat": ("a MATLAB file", "Export the image from MATLAB as NIfTI or DICOM"),
    ".h5": ("raw data or an HDF5 container", "Reconstruct or export it as an image first"),
    ".hdf5": ("raw data or an HDF5 container", "Reconstruct or export it as an image first"),
    ".npz": ("an archive of several arrays", "Save the image alone, for example as NIfTI"),
    ".png": ("a picture without voxel size", "Use the DICOM or NIfTI data it was made from"),
    ".jpg": ("a picture without voxel size", "Use the DICOM or NIfTI data it was made from"),
    ".jpeg": ("a picture without voxel size", "Use the DICOM or NIfTI data it was made from"),
    ".tif": ("a picture without voxel size", "Use the DICOM or NIfTI data it was made from"),
    ".tiff": ("a picture without voxel size", "Use the DICOM or NIfTI data it was made from"),
    ".zip": ("an archive", "Unpack it and give the folder"),
    ".tar": ("an archive", "Unpack it and give the folder"),
    ".tgz": ("an archive", "Unpack it and give the folder"),
    ".7z": ("an archive", "Unpack it and give the folder"),
    ".par": ("a Philips PAR/REC export", "Export DICOM from the scanner, or convert it to NIfTI"),
    ".rec": ("a Philips PAR/REC export", "Export DICOM from the scanner, or convert it to NIfTI"),
    ".dat": ("raw scanner data", "Use the reconstructed DICOM images"),
    ".pt": ("a PyTorch file", "Give an image"),
    ".safetensors": ("network weights", "Give an image, and the weights with --model"),
    ".json": ("a text file", "Give the image itself"),
    ".csv": ("a table", "Give an image"),
    ".txt": ("a text file", "Give an image"),
    ".pdf": ("a document", "Give an image"),
}
_MAGIC = (
    (0, b"NRRD000", Format.NRRD),
    (0, b"\x93NUMPY", Format.NUMPY),
    (0, b"ObjectType", Format.META),
    (344, b"n+1\0", Format.NIFTI),
    (344, b"ni1\0", Format.NIFTI),
    (128, b"DICM", Format.DICOM),
)


def suffix(path: str | os.PathLike) -> str:
    """Extension in lower case; ``.nii.gz`` and the like count as one."""
    name = Path(path).name.lower()
    ending = Path(name).suffix
    if ending == ".gz":
        return Path(name[:-3]).suffix + ".gz"
    return ending


def recognise(path: Path) -> Format:
    """The format of something to read.

    Raises:
        BadInput: when it is not there, empty, not readable, or of no known kind.
    """
    try:
        if not path.exists():
            raise BadInput(f"{path} does not exist.", "Check the name and the folder.")
        if path.is_dir():
            return Format.DICOM
        if not path.is_file():
            raise BadInput(f"{path} is neither a file nor a folder.", f"Give {_READ_TEXT}.")
        with open(path, "rb") as handle:
            start = handle.read(512)
    except PermissionError as error:
        raise BadInput(
            f"{path} may not be read (permission denied).", "Ask for the right to read it."
        ) from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{path!s:.200} cannot be opened ({error}).", "Check the name.") from error
    if not start:
        raise BadInput(f"{path} is empty (0 bytes).", "Copy or export it again.")
    ending = suffix(path)
    if ending in _REFUSED:
        name, hint = _REFUSED[ending]
        raise BadInput(f"{path} is {name}, which is not read.", f"{hint}.")
    found = next((kind for at, magic, kind in _MAGIC if start[at:].startswith(magic)), None)
    if ending in _BY_SUFFIX:
        _check_start(path, ending, start, found)
        return _BY_SUFFIX[ending]
    if found in (None, Format.NRRD, Format.META, Format.NIFTI, Format.NUMPY) and not (
        found is None and may_be_bare_dicom(start)
    ):
        named = f" It looks like {found.value}; rename it." if found else ""
        raise BadInput(f"{path} is of no known format.{named}", f"Give {_READ_TEXT}.")
    return Format.DICOM


def format_of_output(path: str | os.PathLike) -> Format:
    """The format of something to write.

    Raises:
        BadInput: when the extension is not one that can be written.
    """
    text = os.fspath(path)
    ending = suffix(text)
    if text.endswith(("/", os.sep)) or not ending:
        return Format.DICOM
    if ending not in _WRITTEN:
        raise BadInput(
            f"{path} cannot be written: {ending} is not a format for images here.",
            f"Use {_WRITTEN_TEXT}.",
        )
    return _BY_SUFFIX[ending]


def _check_start(path: Path, ending: str, start: bytes, found: Format | None) -> None:
    """Refuses a file whose first bytes belong to another format than its name."""
    expected = _BY_SUFFIX[ending]
    zipped = start[:2] == b"\x1f\x8b"
    wrong = found is not None and found is not expected
    if expected in (Format.NRRD, Format.NUMPY) and found is not expected:
        wrong = True
    if ending in (".nii.gz", ".mgz") and not zipped:
        wrong = True
    if wrong:
        looks = f"it looks like {found.value}" if found else "its content is something else"
        raise BadInput(
            f"{path} is not {expected.value} as its name says; {looks}.",
            "Rename it or export it again.",
        )


def may_be_bare_dicom(start: bytes) -> bool:
    """Whether a file may be DICOM without the preamble: it starts with group 2 or 8."""
    return len(start) > 132 and start[1:2] == b"\0" and start[0] in (2, 8) and start[3:4] == b"\0"
