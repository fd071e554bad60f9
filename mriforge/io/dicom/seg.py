"""Writes a label map as a DICOM segmentation object that refers to the images it was drawn on.

DICOM PS3.3 A.51 (binary segmentation): every segment has a name, a category and a type in codes
and a colour, every frame is one slice of one segment, with its place and the images below it.
The object itself is put together by highdicom (Bridge et al. 2022, J Digit Imaging 35:1719).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mriforge import __version__
from mriforge.anatomy import ORGANS, SIDES, Organ
from mriforge.errors import BadInput, MissingDependency
from mriforge.io.atomic import atomic_path
from mriforge.io.common import reading
from mriforge.volume import Series, Volume

NEEDED = "highdicom>=0.24"
"""The package that is needed, as pip takes it."""
STRUCTURE = ("SCT", "123037004", "Anatomical Structure")
AUTOMATIC, EDITED, MANUAL = "AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"

_SERIES = 1000
_NO_SOURCE = "Give the DICOM files of the image that was outlined."
Code = tuple[str, str, str]


@dataclass(frozen=True)
class SegmentInfo:
    """What a label is.

    Attributes:
        label: its number in the label map.
        name: for people.
        type: scheme, value and meaning of what it is.
        category: of what kind that is.
        modifier: of the type, for example the side; None: none.
        colour: 0 to 255.
        origin: ``AUTOMATIC``, ``SEMIAUTOMATIC`` or ``MANUAL``.
    """

    label: int
    name: str
    type: Code
    category: Code = STRUCTURE
    modifier: Code | None = None
    colour: tuple[int, int, int] = (128, 174, 128)
    origin: str = AUTOMATIC

    @classmethod
    def of(cls, organ: Organ) -> SegmentInfo:
        """One of the organs of ``segment``."""
        side = SIDES.get(organ.side)
        return cls(
            organ.label,
            organ.title,
            ("SCT", *organ.code),
            modifier=("SCT", *side) if side else None,
            colour=organ.colour,
        )


def source_files(path: Path, series: str | None = None) -> list[Path]:
    """The files of one series of a DICOM file or folder.

    Raises:
        BadInput: no DICOM image, or several series and none is chosen.
    """
    from mriforge.io.dicom import quiet
    from mriforge.io.dicom.scan import choose, scan

    with quiet(), reading(path):
        part = choose(scan(path), series, path)
    return list(dict.fromkeys(frame.path for frame in part.frames))


def check_source(path: Path) -> None:
    """Refuses images that a segmentation cannot refer to, before anything is outlined.

    Raises:
        BadInput: no DICOM, several series, or one of several frames.
        MissingDependency: highdicom is not installed.
    """
    from mriforge.io.dicom import quiet
    from mriforge.io.dicom.scan import choose, scan
    from mriforge.io.dicom.stack import stack
    from mriforge.io.formats import Format, recognise

    if recognise(path) is not Format.DICOM:
        raise BadInput(
            f"{path} is not DICOM: a DICOM segmentation has no images to refer to.",
            "Give the DICOM folder of the scan, or write the labels only.",
        )
    _highdicom()
    with quiet(), reading(path):
        frames = len(stack(choose(scan(path), None, path).frames, time=None, name=str(path)).order)
    if frames > 1:
        raise _several(path, frames)


def write_beside(
    labels: Path, source: Path, path: Path, model: str = "", sha256: str = ""
) -> Path | None:
    """Writes a file of labels, outlined in the DICOM images ``source``, as a segmentation object.

    Returns:
        The file; None when nothing is labelled: there is no such object without segments.

    Raises:
        BadInput: the labels are a series; and as of :func:`write_segmentation`.
    """
    from mriforge.io import read

    image = read(labels)
    if isinstance(image, Series):
        if len(image) > 1:
            raise _several(source, len(image))
        image = image[0]
    if not image.array.any():
        return None
    return write_segmentation(image, source_files(source), path, model=model, sha256=sha256)


def write_segmentation(
    labels: Volume,
    source: Sequence[Path],
    path: Path,
    *,
    segments: Sequence[SegmentInfo] | None = None,
    model: str = "",
    sha256: str = "",
    description: str = "",
) -> Path:
    """Writes ``labels`` as a DICOM segmentation object.

    Args:
        labels: whole numbers on the grid of the images; labels without voxels have no segment.
        source: files of the images, one series, one frame at each place.
        path: the file, ``.dcm``.
        segments: what the labels are; default: the organs of ``segment``.
        model, sha256: what has outlined them; empty: nobody says.
        description: of the series; default: ``MRIForge organs``.

    Raises:
        BadInput: no voxel is labelled, a label is not described, or the images are no DICOM
            images, of several series, or lie elsewhere.
        MissingDependency: highdicom is not installed.
    """
    _highdicom()
    infos = [SegmentInfo.of(organ) for organ in ORGANS] if segments is None else list(segments)
    volume, used = _numbered(labels, infos)
    headers = _headers(source)
    dataset = _dataset(volume, used, headers, model, sha256)
    dataset.SeriesDescription = (description or "MRIForge organs")[:64]
    _check_references(dataset)
    with atomic_path(path) as partial:
        dataset.save_as(partial)
    return Path(path)


def _several(path: Path, frames: int) -> BadInput:
    return BadInput(
        f"{path} is a series of {frames} frames: a DICOM segmentation has one.",
        "Outline one frame of it.",
    )


def _highdicom() -> Any:
    try:
        import highdicom
    except ImportError as error:
        raise MissingDependency(
            "Writing a DICOM segmentation needs the package highdicom.",
            f'Install it: pip install "{NEEDED}"',
        ) from error
    return highdicom


def _numbered(labels: Volume, infos: list[SegmentInfo]) -> tuple[Volume, list[SegmentInfo]]:
    """Labels as 1, 2, ... without gaps, as DICOM numbers segments, and what they are."""
    found = [int(value) for value in np.unique(labels.array) if value != 0]
    if not found:
        raise BadInput("No voxel is labelled: there is nothing to write.", "Outline something.")
    known = {info.label: info for info in infos}
    unknown = [value for value in found if value not in known]
    if unknown:
        raise BadInput(
            f"The label {unknown[0]} is not described.",
            f"Labels are {', '.join(str(label) for label in sorted(known))}.",
        )
    table = np.zeros(max(found) + 1, np.uint16)
    table[found] = np.arange(1, len(found) + 1)
    return labels.with_array(table[labels.array.astype(np.int64)]), [known[v] for v in found]


def _headers(source: Sequence[Path]) -> list[Any]:
    """Headers of the images, one at each place.

    Raises:
        BadInput: unreadable, or of several series.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    from mriforge.io.dicom import quiet

    found: dict[Any, Any] = {}
    series = set()
    for file in source:
        try:
            with quiet():
                header = pydicom.dcmread(file, stop_before_pixels=True)
        except (OSError, InvalidDicomError) as error:
            raise BadInput(f"{file} is not a DICOM file that can be read.", _NO_SOURCE) from error
        place = header.get("ImagePositionPatient")
        several = int(header.get("NumberOfFrames") or 1) > 1
        placed = "SharedFunctionalGroupsSequence" in header if several else place is not None
        if not placed:
            raise BadInput(f"{file} does not say where its image is.", _NO_SOURCE)
        series.add(str(header.get("SeriesInstanceUID", "")))
        # A time series has several images at one place: the first stands for them.
        where = str(file) if several else tuple(round(float(v), 2) for v in place)
        found.setdefault(where, header)
    if not found:
        raise BadInput("There are no source images.", _NO_SOURCE)
    if len(series) > 1:
        raise BadInput(f"The source images are of {len(series)} series.", _NO_SOURCE)
    return list(found.values())


def _dataset(
    labels: Volume, infos: list[SegmentInfo], headers: list[Any], model: str, sha256: str
) -> Any:
    import warnings

    highdicom = _highdicom()
    from pydicom.uid import generate_uid

    number, headers = headers[0].get("SeriesNumber"), _completed(headers, labels)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)")
            return highdicom.seg.Segmentation(
                source_images=headers,
                pixel_array=_stack(labels, headers),
                segmentation_type="BINARY",
                segment_descriptions=[
                    _description(number, info, model, sha256)
                    for number, info in enumerate(infos, start=1)
                ],
                series_instance_uid=generate_uid(),
                series_number=_SERIES + int(number or 0),
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer="MRIForge",
                manufacturer_model_name="MRIForge",
                software_versions=__version__,
                device_serial_number="0",
                content_label="ORGANS",
                content_description="Research use only",
            )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadInput(
            f"The source images do not allow a DICOM segmentation ({error}).", _NO_SOURCE
        ) from error


def _completed(headers: list[Any], labels: Volume) -> list[Any]:
    """Headers with what the standard wants there; an anonymiser may have taken it out.

    A frame of reference that is not named gets a name, one for all images of the study.
    """
    from pydicom.uid import generate_uid

    study = str(headers[0].get("StudyInstanceUID") or headers[0].get("SeriesInstanceUID"))
    for header in headers:
        if not header.get("FrameOfReferenceUID"):
            header.FrameOfReferenceUID = generate_uid(entropy_srcs=["MRIForge", study])
        if header.get("SliceThickness") is None:
            header.SliceThickness = labels.grid.spacing[2]
        _share(header)
        for name in (
            *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
            *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
        ):
            if name not in header:
                setattr(header, name, "")
    return headers


def _share(header: Any) -> None:
    """Puts what all frames of a multi-frame image say of their grid into what they share."""
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        there = frames and shared and name in frames[0] and name not in shared[0]
        if there and all(frame.get(name) == frames[0].get(name) for frame in frames):
            shared[0][name] = frames[0][name]


def _stack(labels: Volume, headers: list[Any]) -> Any:
    """The labels as slices along the normal of the images, with their place."""
    highdicom = _highdicom()
    array, affine = labels.array, labels.grid.affine("LPS")
    if np.linalg.det(affine[:3, :3]) < 0:  # DICOM counts slices along the normal
        affine = affine @ np.array(
            [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, array.shape[0] - 1], [0, 0, 0, 1.0]]
        )
        array = array[::-1]
    # highdicom counts (slice, row, column).
    return highdicom.Volume(
        np.ascontiguousarray(array),
        affine[:, [2, 1, 0, 3]],
        coordinate_system="PATIENT",
        frame_of_reference_uid=str(headers[0].FrameOfReferenceUID),
    )


def _description(number: int, info: SegmentInfo, model: str, sha256: str) -> Any:
    highdicom = _highdicom()

    def coded(code: Code) -> Any:
        scheme, value, meaning = code
        return highdicom.sr.CodedConcept(value, scheme, meaning)

    algorithm = None
    if info.origin != MANUAL:
        algorithm = highdicom.AlgorithmIdentificationSequence(
            name=f"MRIForge {model}".strip(),
            family=highdicom.sr.CodedConcept("123109", "DCM", "Artificial Intelligence"),
            version=__version__,
            source="MRIForge",
            parameters={"model SHA-256": sha256} if sha256 else None,
        )
    made = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=info.name[:64],
        segmented_property_category=coded(info.category),
        segmented_property_type=coded(info.type),
        algorithm_type=info.origin,
        algorithm_identification=algorithm,
        display_color=highdicom.color.CIELabColor.from_rgb(*info.colour),
    )
    if info.modifier is not None:
        kind = made.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [coded(info.modifier)]
    return made


def _check_references(dataset: Any) -> None:
    """Each frame names the image below it.

    Raises:
        BadInput: some do not: the labels are on another grid.
    """
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        derived = frame.get("DerivationImageSequence")
        if not derived or not derived[0].get("SourceImageSequence"):
            raise BadInput(
                "The labels do not lie on the slices of the DICOM images.",
                "Give the images that were outlined, not resampled ones.",
            )
