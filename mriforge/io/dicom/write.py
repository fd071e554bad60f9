"""Writes a derived MR series: one file for each slice and time point, readable by any archive.

Patient, study and frame of reference come from the source series, everything that names the new
images is new: SeriesInstanceUID, SOPInstanceUIDs, ImageType ``DERIVED\\SECONDARY``, references
to the source images, and a description of how they were made.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mriforge import __version__
from mriforge.errors import BadInput
from mriforge.io.common import describe, storable
from mriforge.io.dicom.frames import Frame
from mriforge.volume import Image, Series, as_series

_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
_MOST_REFERENCES = 64
_MOST_LETTERS = {"ST": 1000, "LT": 10000, "LO": 64}
# The times that a classic header has a tag for (all in its unit).
_TIME_TAGS = {
    "trigger time": "TriggerTime",
    "echo time": "EchoTime",
    "inversion time": "InversionTime",
    "flip angle": "FlipAngle",
    "b-value": "DiffusionBValue",
}
_SAME_PATIENT_AND_STUDY = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientWeight",
    "PatientSize",
    "OtherPatientIDs",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "PatientPosition",
    "BodyPartExamined",
    "Laterality",
)
_SAME_ACQUISITION = (
    "ScanningSequence",
    "SequenceVariant",
    "ScanOptions",
    "MRAcquisitionType",
    "RepetitionTime",
    "EchoTime",
    "EchoTrainLength",
    "InversionTime",
    "FlipAngle",
    "MagneticFieldStrength",
    "ImagingFrequency",
    "ImagedNucleus",
    "NumberOfAverages",
    "ProtocolName",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContrastBolusAgent",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
)


@dataclass(frozen=True)
class _Source:
    """Header and images that the new series refers to."""

    header: Any
    frames: list[Frame]
    sop_class: str


def write_dicom(image: Image, folder: Path, *, source: Path | None = None) -> None:
    """Writes ``image`` into the existing empty ``folder``.

    Args:
        image: a volume or a series; integers that fit into 16 bits are kept exactly, everything
            else is scaled to 16 bits by one slope and intercept.
        folder: where the files go; see ``mriforge.io.write`` for the atomic way.
        source: DICOM file or folder that the image was made from.
    """
    from mriforge.io.dicom import quiet

    with quiet():
        origin = _source(image, source) if source is not None else None
        series = as_series(image)
        stored, slope, intercept = _to_16_bits(series.array)
        common = _common(image, origin)
        window = _window(series.array)
        for t in range(len(series)):
            for z in range(series.grid.shape[0]):
                dataset = _slice(common, series, t, z, origin)
                _set_pixels(dataset, stored[t, z], slope, intercept, window)
                dataset.save_as(
                    folder / f"IM-{t + 1:04d}-{z + 1:04d}.dcm", enforce_file_format=True
                )


def _source(image: Image, path: Path) -> _Source:
    """The source series: the one the image says it came from, else the first of its kind."""
    import pydicom

    from mriforge.io.common import reading
    from mriforge.io.dicom.scan import scan

    if not path.exists():
        raise BadInput(f"{path} does not exist.", "Give the DICOM folder of the source.")
    with reading(path):
        parts = scan(path)
    known = image.metadata.get("series")
    wanted = (known.get("uid"), known.get("part")) if isinstance(known, dict) else (None, None)
    same = [p for p in parts if p.info.uid == wanted[0]]
    exact = [p for p in same if p.info.part == wanted[1]]
    part = (exact or same or parts)[0]
    header = pydicom.dcmread(part.frames[0].path, stop_before_pixels=True, force=True)
    return _Source(header, part.frames, str(header.get("SOPClassUID", _MR_IMAGE)))


def _common(image: Image, origin: _Source | None) -> Any:
    """Everything that is the same in all files of the new series."""
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    now = datetime.datetime.now()
    dataset = Dataset()
    header = origin.header if origin else Dataset()
    for name in (*_SAME_PATIENT_AND_STUDY, *_SAME_ACQUISITION):
        if name in header:
            dataset[name] = header[name]
    dataset.SpecificCharacterSet = header.get("SpecificCharacterSet") or "ISO_IR 192"
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
        setattr(dataset, name, dataset.get(name) or "")
    for name in ("StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        setattr(dataset, name, dataset.get(name) or "")
    for name in ("ScanOptions", "EchoTime", "EchoTrainLength", "PositionReferenceIndicator"):
        if name not in dataset:
            setattr(dataset, name, None)
    dataset.StudyInstanceUID = dataset.get("StudyInstanceUID") or generate_uid()
    dataset.FrameOfReferenceUID = dataset.get("FrameOfReferenceUID") or generate_uid()
    dataset.ScanningSequence = dataset.get("ScanningSequence") or "RM"
    dataset.SequenceVariant = dataset.get("SequenceVariant") or "NONE"
    dataset.MRAcquisitionType = dataset.get("MRAcquisitionType") or "3D"
    dataset.SOPClassUID = _MR_IMAGE
    dataset.Modality = "MR"
    dataset.SeriesInstanceUID = generate_uid()
    first = origin.frames[0] if origin else None
    dataset.SeriesNumber = 1000 + (first.number if first else 0)
    description = f"{first.description if first else ''} MRIForge".strip()
    dataset.SeriesDescription = description[-_MOST_LETTERS["LO"] :]
    component = first.part.split(" ")[0] if first else ""
    known = component if component in ("M", "P", "R", "I") else "M"
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER", known]
    dataset.Manufacturer = "MRIForge"
    dataset.ManufacturerModelName = "MRIForge"
    dataset.SoftwareVersions = __version__
    for day, clock in (("SeriesDate", "SeriesTime"), ("ContentDate", "ContentTime")):
        setattr(dataset, day, now.strftime("%Y%m%d"))
        setattr(dataset, clock, now.strftime("%H%M%S.%f"))
    _describe(dataset, image)
    if origin:
        _acquired_by(dataset, header)
    return dataset


def _describe(dataset: Any, image: Image) -> None:
    """How the image was made: in words for a person, whole for a program."""
    provenance = image.metadata.get("provenance", "")
    text = provenance if isinstance(provenance, str) else json.dumps(provenance, default=str)
    dataset.DerivationDescription = f"MRIForge {__version__}. {text}"[: _MOST_LETTERS["ST"]]
    full = describe(image)
    full["mriforge"]["metadata"] = {"provenance": provenance}
    comment = json.dumps(full, default=str)
    if len(comment) <= _MOST_LETTERS["LT"]:
        dataset.ImageComments = comment


def _acquired_by(dataset: Any, header: Any) -> None:
    """Names the scanner of the source, since the new images were not made by it."""
    from pydicom.dataset import Dataset

    scanner = Dataset()
    scanner.Manufacturer = header.get("Manufacturer") or ""
    for name in ("ManufacturerModelName", "InstitutionName", "StationName", "SoftwareVersions"):
        if header.get(name):
            scanner[name] = header[name]
    scanner.PurposeOfReferenceCodeSequence = [_code("109101", "Acquisition Equipment")]
    dataset.ContributingEquipmentSequence = [scanner]


def _slice(common: Any, series: Series, t: int, z: int, origin: _Source | None) -> Any:
    """One file: its names, place, time and references."""
    import copy

    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    grid = series.grid
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _MR_IMAGE
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", copy.copy(common), file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.InstanceNumber = t * grid.shape[0] + z + 1
    dataset.AcquisitionNumber = t + 1
    position = grid.index_to_world(np.array([0, 0, z]))
    matrix = grid.direction_matrix
    dataset.ImagePositionPatient = [_ds(v) for v in position]
    dataset.ImageOrientationPatient = [_ds(v) for v in (*matrix[:, 0], *matrix[:, 1])]
    dataset.PixelSpacing = [_ds(grid.spacing[1]), _ds(grid.spacing[0])]
    dataset.SliceThickness = _ds(grid.spacing[2])
    dataset.SpacingBetweenSlices = _ds(grid.spacing[2])
    normal = np.cross(matrix[:, 0], matrix[:, 1])
    dataset.SliceLocation = _ds(float(normal @ position))
    _set_time(dataset, series, t)
    if origin:
        _set_references(dataset, origin, position, normal)
    return dataset


def _set_time(dataset: Any, series: Series, t: int) -> None:
    if len(series) == 1 and series.time_name not in _TIME_TAGS:
        return
    dataset.TemporalPositionIdentifier = t + 1
    dataset.NumberOfTemporalPositions = len(series)
    value = float(series.times[t])
    if series.time_name in _TIME_TAGS:
        tag = _TIME_TAGS[series.time_name]
        setattr(dataset, tag, value if tag == "DiffusionBValue" else _ds(value))
    elif series.time_unit in ("s", "ms"):
        dataset.TemporalPositionTimeOffset = value * (1e-3 if series.time_unit == "ms" else 1.0)


def _set_references(
    dataset: Any, origin: _Source, position: np.ndarray, normal: np.ndarray
) -> None:
    """References to the source images at the nearest place (all its time points)."""
    from pydicom.dataset import Dataset

    placed = [frame for frame in origin.frames if frame.position is not None]
    away = np.array([abs(float(normal @ (frame.position - position))) for frame in placed])
    near = np.flatnonzero(away <= away.min() + 0.01)[:_MOST_REFERENCES] if placed else []
    images: dict[str, Any] = {}
    for index in near:
        frame = placed[index]
        item = images.setdefault(frame.sop_uid, Dataset())
        item.ReferencedSOPClassUID = origin.sop_class
        item.ReferencedSOPInstanceUID = frame.sop_uid
        if frame.index > 0 or "ReferencedFrameNumber" in item:
            before = item.get("ReferencedFrameNumber", [])
            before = list(before) if hasattr(before, "__iter__") else [before]
            item.ReferencedFrameNumber = [*before, frame.index + 1]
    if not images:
        return
    inside = Dataset()
    inside.SeriesInstanceUID = origin.frames[0].series_uid
    inside.ReferencedInstanceSequence = list(images.values())
    dataset.ReferencedSeriesSequence = [inside]
    purpose = _code("121322", "Source image for image processing operation")
    sources = []
    for item in images.values():
        reference = Dataset()
        reference.update(item)
        reference.PurposeOfReferenceCodeSequence = [purpose]
        sources.append(reference)
    dataset.SourceImageSequence = sources


def _set_pixels(
    dataset: Any, picture: np.ndarray, slope: float, intercept: float, window: tuple[float, float]
) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = picture.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(picture.dtype.kind == "i")
    if (slope, intercept) != (1.0, 0.0):
        dataset.RescaleSlope = _ds(slope)
        dataset.RescaleIntercept = _ds(intercept)
        dataset.RescaleType = "US"
    dataset.WindowCenter, dataset.WindowWidth = _ds(window[0]), _ds(window[1])
    data = np.ascontiguousarray(picture, dtype=picture.dtype.newbyteorder("<")).tobytes()
    dataset.add_new("PixelData", "OW", data)


def _to_16_bits(array: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Integers as they are where they fit, else scaled so that ``slope * stored + intercept``."""
    array = storable(array)
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BadInput("The image has voxels that are not numbers; DICOM cannot hold them.")
    if array.dtype.kind in "iu":
        for dtype in (np.uint16, np.int16) if array.dtype.kind == "u" else (np.int16, np.uint16):
            limits = np.iinfo(dtype)
            if limits.min <= low and high <= limits.max:
                return array.astype(dtype), 1.0, 0.0
    # The text of the header has 16 characters, so the slope is rounded before it is used.
    slope = float(str(_ds((high - low) / 65535.0))) or 1.0
    intercept = float(str(_ds(low)))
    stored = np.rint((array.astype(np.float64) - intercept) / slope)
    return np.clip(stored, 0, 65535).astype(np.uint16), slope, intercept


def _window(array: np.ndarray) -> tuple[float, float]:
    """Centre and width of a window from the 1st to the 99th percentile."""
    step = max(1, array.size // 1_000_000)
    low, high = np.percentile(array.reshape(-1)[::step].astype(float), (1, 99))
    return float(low + high) / 2, max(float(high - low), 1.0 if array.dtype.kind in "iu" else 1e-6)


def _code(value: str, meaning: str) -> Any:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = "DCM"
    code.CodeMeaning = meaning
    return code


def _ds(value: float) -> Any:
    """A decimal string of at most 16 characters."""
    from pydicom.valuerep import DSfloat

    return DSfloat(float(value) + 0.0, auto_format=True)
