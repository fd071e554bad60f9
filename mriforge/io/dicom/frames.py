"""One two-dimensional image of a DICOM file, whatever kind of file it comes from."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# What can tell the frames of a series apart: name, unit. The first that does is the time axis.
PARAMETERS = {
    "inversion time": "ms",
    "echo time": "ms",
    "b-value": "s/mm2",
    "flip angle": "degree",
    "trigger time": "ms",
    "time offset": "s",
    "temporal position": "",
}
# These number the images rather than describe them, so they only serve when no parameter does.
COUNTERS = {
    "acquisition time": "s",
    "content time": "s",
    "acquisition number": "",
    "instance number": "",
}


@dataclass
class Frame:
    """Header of one two-dimensional image.

    Attributes:
        path: its file.
        index: its number in the file.
        tile: ``(row, column, rows, columns)`` in pixels when it is a part of a mosaic.
        series_uid: SeriesInstanceUID.
        number: series number.
        description: series description.
        modality: ``"MR"``, ...
        part: what tells it from other images of the same series: ``"M"``, ``"stack 2"``, ...
        rows: height in pixels.
        columns: width in pixels.
        position: LPS mm of the centre of its first pixel, ``None`` when the file does not say.
        orientation: unit vectors along a row and along a column, six numbers.
        pixel: mm between rows and between columns.
        thickness: slice thickness in mm, 0 when unknown.
        gap: mm between slice centres as the header says, 0 when unknown.
        slope: rescale slope.
        intercept: rescale intercept.
        sop_uid: SOPInstanceUID of its file.
        instance: instance number.
        three_d: an original three-dimensional acquisition, that cannot have very few slices.
        times: values of ``PARAMETERS`` and ``COUNTERS`` that the header gives.
        problem: why the frame cannot be used, and what to do; ``None`` if it can.
    """

    path: Path
    index: int
    series_uid: str
    number: int
    description: str
    modality: str
    part: str
    rows: int
    columns: int
    position: np.ndarray | None
    orientation: np.ndarray | None
    pixel: tuple[float, float] | None
    thickness: float = 0.0
    gap: float = 0.0
    slope: float = 1.0
    intercept: float = 0.0
    sop_uid: str = ""
    instance: int = 0
    three_d: bool = False
    tile: tuple[int, int, int, int] | None = None
    times: dict[str, float] = field(default_factory=dict)
    problem: tuple[str, str] | None = None


def number(value: Any, default: float = 0.0) -> float:
    """First number of a DICOM value; ``default`` when there is none."""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        value = value[0] if len(value) else None
    try:
        result = float(value)
    except (TypeError, ValueError):
        return default
    return result if math.isfinite(result) else default


def vector(value: Any, length: int) -> np.ndarray | None:
    """Numbers of a DICOM value, ``None`` unless there are ``length`` finite ones."""
    try:
        result = np.array([float(item) for item in value])
    except (TypeError, ValueError):
        return None
    return result if result.shape == (length,) and np.isfinite(result).all() else None


def orientation_of(dataset: Any) -> np.ndarray | None:
    """Both in-plane directions at unit length, or ``None``."""
    cosines = vector(dataset.get("ImageOrientationPatient"), 6)
    if cosines is None:
        return None
    lengths = np.linalg.norm(cosines.reshape(2, 3), axis=1)
    if np.any(lengths < 0.5):
        return None
    return (cosines.reshape(2, 3) / lengths[:, None]).ravel()


def pixel_of(dataset: Any) -> tuple[float, float] | None:
    """Distances in mm between rows and between columns."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        spacing = vector(dataset.get(name), 2)
        if spacing is not None and np.all(spacing > 0):
            return float(spacing[0]), float(spacing[1])
    return None


def seconds(value: Any) -> float | None:
    """Seconds since midnight of a DICOM time or date-time (``HHMMSS.ffffff``)."""
    text = re.sub(r"[+-]\d{4}$", "", str(value or "").replace(":", "").strip())
    whole, _, fraction = text.partition(".")
    if not whole.isdigit():
        return None
    days = 0
    if len(whole) >= 12:
        days, whole = int(whole[6:8]), whole[8:]
    whole = whole.ljust(6, "0")
    clock = 3600 * int(whole[:2]) + 60 * int(whole[2:4]) + int(whole[4:6])
    return 86400.0 * days + clock + float(f"0.{fraction or 0}")


def classic_times(dataset: Any) -> dict[str, float]:
    """Values of ``PARAMETERS`` and ``COUNTERS`` in an ordinary header."""
    found: dict[str, Any] = {
        "inversion time": dataset.get("InversionTime"),
        "echo time": dataset.get("EchoTime"),
        "b-value": b_value(dataset),
        "flip angle": dataset.get("FlipAngle"),
        "trigger time": dataset.get("TriggerTime", dataset.get("NominalCardiacTriggerDelayTime")),
        "time offset": dataset.get("TemporalPositionTimeOffset"),
        "temporal position": dataset.get("TemporalPositionIdentifier"),
        "acquisition time": seconds(
            dataset.get("AcquisitionTime") or dataset.get("AcquisitionDateTime")
        ),
        "content time": seconds(dataset.get("ContentTime")),
        "acquisition number": dataset.get("AcquisitionNumber"),
        "instance number": dataset.get("InstanceNumber"),
    }
    times = {}
    for name, value in found.items():
        amount = number(value, math.nan)
        if math.isfinite(amount):
            times[name] = amount
    return times


def b_value(dataset: Any) -> Any:
    """Diffusion weighting: the standard tag, else those of Siemens and GE."""
    value = dataset.get("DiffusionBValue")
    if value is None and (0x0019, 0x100C) in dataset and _is(dataset, "SIEMENS"):
        value = _text(dataset[0x0019, 0x100C].value)
    if value is None and (0x0043, 0x1039) in dataset and _is(dataset, "GE"):
        # GE adds 10^9 to mark the effective b-value.
        with contextlib.suppress(TypeError, ValueError):
            first = re.split(r"[\\,]", _text(dataset[0x0043, 0x1039].value).strip("[]"))[0]
            value = float(first) % 1e9
    return value


def _is(dataset: Any, maker: str) -> bool:
    return str(dataset.get("Manufacturer", "")).upper().startswith(maker)


def _text(value: Any) -> str:
    return value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else str(value)


def classic_part(dataset: Any) -> str:
    """``M``, ``P``, ``R`` or ``I`` of the image type, empty when it does not say."""
    names = [str(item).upper() for item in dataset.get("ImageType", []) or []]
    component = str(dataset.get("ComplexImageComponent", "") or "").upper()
    return component_letter([component, *names[2:]])


def component_letter(names: list[str]) -> str:
    """Letter of the complex component that any of ``names`` says, else the kind of map."""
    whole = {"MAGNITUDE": "M", "PHASE": "P", "REAL": "R", "IMAGINARY": "I"}
    for name in names:
        if name in whole:
            return whole[name]
        if name in whole.values() or re.fullmatch(r"[MPRI]_\w+", name):
            return name[0]
    return next((name for name in names if name.endswith(" MAP")), "")


def classic_frame(dataset: Any, path: Path) -> Frame:
    """The one image of a classic file."""
    acquired = [str(item).upper() for item in dataset.get("ImageType", []) or []]
    return Frame(
        path=path,
        index=0,
        series_uid=str(dataset.get("SeriesInstanceUID", "")),
        number=int(number(dataset.get("SeriesNumber"))),
        description=str(dataset.get("SeriesDescription") or dataset.get("ProtocolName") or ""),
        modality=str(dataset.get("Modality", "") or "OT"),
        part=classic_part(dataset),
        rows=int(number(dataset.get("Rows"))),
        columns=int(number(dataset.get("Columns"))),
        position=vector(dataset.get("ImagePositionPatient"), 3),
        orientation=orientation_of(dataset),
        pixel=pixel_of(dataset),
        thickness=number(dataset.get("SliceThickness")),
        gap=abs(number(dataset.get("SpacingBetweenSlices"))),
        slope=number(dataset.get("RescaleSlope"), 1.0) or 1.0,
        intercept=number(dataset.get("RescaleIntercept")),
        sop_uid=str(dataset.get("SOPInstanceUID", "")),
        instance=int(number(dataset.get("InstanceNumber"))),
        three_d=dataset.get("MRAcquisitionType") == "3D" and "DERIVED" not in acquired,
        times=classic_times(dataset),
    )
