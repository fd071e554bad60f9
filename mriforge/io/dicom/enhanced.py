"""Enhanced multi-frame files: every frame has its own functional groups.

DICOM PS3.3 C.7.6.16: a group is either shared by all frames or given for each of them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mriforge.io.dicom.frames import (
    Frame,
    classic_frame,
    component_letter,
    number,
    orientation_of,
    pixel_of,
    seconds,
    vector,
)

# Name of the time, functional group, tag in it.
_TIMES = (
    ("echo time", "MREchoSequence", "EffectiveEchoTime"),
    ("inversion time", "MRModifierSequence", "InversionTimes"),
    ("b-value", "MRDiffusionSequence", "DiffusionBValue"),
    ("flip angle", "MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("trigger time", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("temporal position", "FrameContentSequence", "TemporalPositionIndex"),
    ("time offset", "TemporalPositionSequence", "TemporalPositionTimeOffset"),
    ("acquisition number", "FrameContentSequence", "FrameAcquisitionNumber"),
)


def enhanced_frames(dataset: Any, path: Path) -> list[Frame]:
    """All images of a multi-frame file.

    There is one, whose ``problem`` says so, when the file contradicts itself.
    """
    base = classic_frame(dataset, path)
    count = int(number(dataset.get("NumberOfFrames"), 1))
    shared = _first(dataset.get("SharedFunctionalGroupsSequence"))
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if groups and len(groups) != count:
        announced = f"announces {count} frames but describes {len(groups)}"
        return [replace(base, problem=(announced, "The file is damaged; export it again."))]
    if not groups:
        return _plain_frames(base, count)
    frames = [_frame(base, shared, own, index) for index, own in enumerate(groups)]
    stacks = {_stack(shared, own) for own in groups}
    if len(stacks) > 1:
        for frame, own in zip(frames, groups, strict=True):
            frame.part = f"{frame.part} stack {_stack(shared, own)}".strip()
    return frames


def _plain_frames(base: Frame, count: int) -> list[Frame]:
    """Frames without own description: equally spaced along the normal, if that is known."""
    if count > 1 and base.position is not None and not base.gap and not base.thickness:
        unknown = f"holds {count} frames but not the distance between them"
        return [replace(base, problem=(unknown, "Export one file for each slice."))]
    step = np.zeros(3)
    if base.orientation is not None:
        step = np.cross(base.orientation[:3], base.orientation[3:]) * (base.gap or base.thickness)
    position = base.position
    return [
        replace(
            base,
            index=index,
            position=None if position is None else position + index * step,
            times=dict(base.times),
        )
        for index in range(count)
    ]


def _frame(base: Frame, shared: Any, own: Any, index: int) -> Frame:
    place = _group(shared, own, "PlanePositionSequence")
    plane = _group(shared, own, "PlaneOrientationSequence")
    measures = _group(shared, own, "PixelMeasuresSequence")
    values = _group(shared, own, "PixelValueTransformationSequence")
    position = vector(place.get("ImagePositionPatient"), 3)
    orientation = orientation_of(plane)
    pixel = pixel_of(measures)
    return replace(
        base,
        index=index,
        part=_part(shared, own) or base.part,
        position=base.position if position is None else position,
        orientation=base.orientation if orientation is None else orientation,
        pixel=base.pixel if pixel is None else pixel,
        thickness=number(measures.get("SliceThickness"), base.thickness),
        gap=abs(number(measures.get("SpacingBetweenSlices"), base.gap)),
        slope=number(values.get("RescaleSlope"), base.slope) or 1.0,
        intercept=number(values.get("RescaleIntercept"), base.intercept),
        instance=index + 1,
        times={**base.times, **_times(shared, own, index)},
    )


def _times(shared: Any, own: Any, index: int) -> dict[str, float]:
    times = {"instance number": float(index + 1)}
    for name, group, tag in _TIMES:
        value = number(_group(shared, own, group).get(tag), np.nan)
        if np.isfinite(value):
            times[name] = value
    content = _group(shared, own, "FrameContentSequence")
    for name, tag in (
        ("acquisition time", "FrameAcquisitionDateTime"),
        ("content time", "FrameReferenceDateTime"),
    ):
        when = seconds(content.get(tag))
        if when is not None:
            times[name] = when
    return times


def _part(shared: Any, own: Any) -> str:
    kind = _group(shared, own, "MRImageFrameTypeSequence")
    names = [str(item).upper() for item in kind.get("FrameType", []) or []]
    letter = component_letter(names[3:])
    return letter or component_letter([str(kind.get("ComplexImageComponent", "")).upper()])


def _stack(shared: Any, own: Any) -> str:
    return str(_group(shared, own, "FrameContentSequence").get("StackID", "") or "")


def _group(shared: Any, own: Any, name: str) -> Any:
    return _first(own.get(name)) or _first(shared.get(name) if shared else None)


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else {}
