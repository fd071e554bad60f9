"""The stored pixel values of DICOM frames."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.io.common import reading, real_native
from mriforge.io.dicom.frames import Frame
from mriforge.untrusted.files import CappedReader

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_GREY = {"MONOCHROME1", "MONOCHROME2"}
_PIXEL_TAGS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def stored_pixels(frames: list[Frame]) -> Iterator[tuple[int, np.ndarray]]:
    """Index in ``frames`` and stored values ``(rows, columns)``; every file is opened once."""
    by_file: dict[Path, list[int]] = {}
    for index, frame in enumerate(frames):
        by_file.setdefault(frame.path, []).append(index)
    for path, indices in by_file.items():
        with reading(path):
            pixels = _file_pixels(path)
        for index in indices:
            frame = frames[index]
            if frame.index >= len(pixels):
                raise BadInput(f"{path} is cut off.", "Copy or export it again.")
            picture = pixels[frame.index]
            if frame.tile is not None:
                row, column, rows, columns = frame.tile
                picture = picture[row : row + rows, column : column + columns]
            yield index, picture


def _file_pixels(path: Path) -> np.ndarray:
    """All frames of a file, ``(frame, row, column)``."""
    import pydicom

    with CappedReader(path) as handle:
        dataset = pydicom.dcmread(handle, force=True)
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise BadInput(f"{path} has no pixels.", "Copy or export it again.")
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        raise BadInput(f"{path} is a colour picture.", "Choose a grey-scale series.")
    if dataset.get("PhotometricInterpretation", "MONOCHROME2") not in _GREY:
        raise BadInput(f"{path} is a colour picture.", "Choose a grey-scale series.")
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    syntax = dataset.file_meta.TransferSyntaxUID
    plain = not syntax.is_compressed or syntax == pydicom.uid.RLELossless
    pixels = dataset.pixel_array if plain else _decompress(dataset)
    if pixels.ndim == 2:
        pixels = pixels[None]
    return real_native(pixels)


def _decompress(dataset: Any) -> np.ndarray:
    """JPEG family through SimpleITK (GDCM), one frame at a time.

    Each frame goes into a file of its own without rescale: SimpleITK would apply the rescale of
    the first frame to all.
    """
    from pydicom.encaps import generate_frames

    count = int(dataset.get("NumberOfFrames", 1) or 1)
    stream = generate_frames(dataset.PixelData, number_of_frames=count)
    with tempfile.TemporaryDirectory(prefix="mriforge-") as folder:
        pictures = [
            _decompress_frame(dataset, frame, Path(folder) / "frame.dcm") for frame in stream
        ]
    return np.stack(pictures)


def _decompress_frame(dataset: Any, frame: bytes, path: Path) -> np.ndarray:
    import SimpleITK as sitk
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _SECONDARY_CAPTURE
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    single = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    single.SOPClassUID = _SECONDARY_CAPTURE
    single.SOPInstanceUID = dataset.SOPInstanceUID
    for name in _PIXEL_TAGS:
        if name in dataset:
            setattr(single, name, dataset.get(name))
    single.PixelData = encapsulate([frame])
    single["PixelData"].VR = "OB"
    single.save_as(path, enforce_file_format=True)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return sitk.GetArrayFromImage(reader.Execute())[0].copy()
