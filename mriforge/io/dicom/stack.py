"""Puts the frames of a series into place: slices along the normal, frames along time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mriforge.errors import BadInput
from mriforge.io.dicom.frames import COUNTERS, PARAMETERS, Frame
from mriforge.volume import Grid

_SAME_DIRECTION = 1e-3
_SAME_PLACE_MM = 0.01
_SAME_VALUE = 1e-3
_LEAST_KEPT = 0.75
_FEW_MORE = 1.5
_LEAST_3D_SLICES = 3


@dataclass(frozen=True)
class Stack:
    """Frames in order.

    Attributes:
        order: ``order[t][z]`` is the frame of that time and slice.
        grid: geometry of the volumes.
        times: one value per time point, or ``None`` for a single volume.
        time_name: what the values are.
        time_unit: their unit.
        note: what was left out or assumed; empty when nothing was.
    """

    order: list[list[Frame]]
    grid: Grid
    times: np.ndarray | None
    time_name: str
    time_unit: str
    note: str


def stack(frames: list[Frame], *, time: str | None, name: str) -> Stack:
    """Sorts frames into a volume or a time series of volumes.

    Args:
        frames: images of one series, any order.
        time: what tells the time points apart, ``None`` to find out.
        name: of the series, for messages.

    Raises:
        BadInput: when the images do not fill a rectangular grid.
    """
    first = _check_planes(frames, name)
    slots = _slots(frames)
    note = ""
    if all(len(slot) == 1 for slot in slots):
        order, times, label, unit = [[slot[0] for slot in slots]], None, "", ""
    else:
        slots, values, label, note = _in_time(slots, time, name)
        order = [[slot[t] for slot in slots] for t in range(len(values))]
        unit = {**PARAMETERS, **COUNTERS}[label]
        times, label, unit = _readable_times(values, label, unit, order)
    grid, assumed = _grid(order[0], first, name)
    return Stack(order, grid, times, label, unit, " ".join(filter(None, (note, assumed))))


def crossed_parts(frames: list[Frame]) -> list[tuple[str, list[Frame]]]:
    """Splits frames with several contrasts at every time point: ``(part, frames)``.

    Two echoes of a dynamic series are two series of which one has to be chosen; eight echoes of
    one acquisition are one series along the echo time.
    """
    part = frames[0].part
    if any(f.problem or f.position is None or f.orientation is None for f in frames):
        return [(part, frames)]
    slots = _slots(frames)
    if max(len(slot) for slot in slots) == 1 or _choose_time(slots, None) in PARAMETERS:
        return [(part, frames)]
    for name in ("echo time", "inversion time", "flip angle", "b-value"):
        if not _varies(slots, name):
            continue
        values = sorted({_rounded(frame, name) for frame in frames if name in frame.times})
        pieces = [[f for f in frames if name in f.times and _rounded(f, name) == v] for v in values]
        whole = sum(map(len, pieces)) == len(frames)
        if whole and all(_choose_time(_slots(piece), None) in PARAMETERS for piece in pieces):
            unit = PARAMETERS[name]
            return [
                (f"{part} {name} {value:g} {unit}".strip(), piece)
                for value, piece in zip(values, pieces, strict=True)
            ]
    return [(part, frames)]


def _check_planes(frames: list[Frame], name: str) -> Frame:
    """Refuses frames without a place, of different sizes or directions; returns the first."""
    first = frames[0]
    for frame in frames:
        if frame.problem:
            raise BadInput(f"{frame.path} {frame.problem[0]}.", frame.problem[1])
        if frame.position is None or frame.orientation is None or frame.pixel is None:
            raise BadInput(
                f"{name}: {frame.path.name} does not say where in the patient it lies.",
                "Use the original images of the scanner, not screenshots or secondary captures.",
            )
    across, down = first.orientation[:3], first.orientation[3:]
    if abs(float(across @ down)) > _SAME_DIRECTION:
        raise BadInput(f"{name}: rows and columns of the images are not perpendicular.")
    directions: list[np.ndarray] = []
    for frame in frames:
        if not any(np.abs(frame.orientation - d).max() < _SAME_DIRECTION for d in directions):
            directions.append(frame.orientation)
    if len(directions) > 1:
        raise BadInput(
            f"{name}: the images lie in {len(directions)} different directions "
            "(a three-plane localiser, or files of several scans mixed).",
            "Put the images of one direction into a folder of their own.",
        )
    spacings = np.array([frame.pixel for frame in frames])
    if np.ptp(spacings, axis=0).max() > 1e-3 * spacings.max():
        raise BadInput(
            f"{name}: the images have different pixel sizes.",
            "Put the images of one kind into a folder of their own.",
        )
    return first


def _along(frame: Frame) -> float:
    """Position along the normal in mm."""
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    return float(normal @ frame.position)


def _slots(frames: list[Frame]) -> list[list[Frame]]:
    """Frames by slice position, ascending along the normal."""
    ordered = sorted(frames, key=_along)
    slots = [[ordered[0]]]
    for frame in ordered[1:]:
        if _along(frame) - _along(slots[-1][0]) < _SAME_PLACE_MM:
            slots[-1].append(frame)
        else:
            slots.append([frame])
    return slots


def _rounded(frame: Frame, name: str) -> float:
    return round(frame.times[name] / _SAME_VALUE) * _SAME_VALUE


def _varies(slots: list[list[Frame]], name: str) -> bool:
    """Whether a value differs between frames at the same place."""
    return any(len({_rounded(f, name) for f in slot if name in f.times}) > 1 for slot in slots)


def _tells_apart(slots: list[list[Frame]], name: str) -> bool:
    """Whether a value is known of all frames and differs between all at the same place."""
    return all(
        all(name in f.times for f in slot) and len({_rounded(f, name) for f in slot}) == len(slot)
        for slot in slots
    )


def _choose_time(slots: list[list[Frame]], time: str | None) -> str | None:
    if time is not None:
        return time if _tells_apart(slots, time) else None
    for name in PARAMETERS:
        if _varies(slots, name) and _tells_apart(slots, name):
            return name
    if any(_varies(slots, name) for name in ("echo time", "inversion time", "flip angle")):
        return None
    return next((name for name in COUNTERS if _tells_apart(slots, name)), None)


def _in_time(
    slots: list[list[Frame]], time: str | None, name: str
) -> tuple[list[list[Frame]], np.ndarray, str, str]:
    """Slots with their frames in order of time, the values, what they are, and a note."""
    known = {**PARAMETERS, **COUNTERS}
    if time is not None and time not in known:
        raise BadInput(f"There is no time called {time!r}.", f"Use one of: {', '.join(known)}.")
    label = _choose_time(slots, time)
    if label is None:
        varying = [key for key in known if _varies(slots, key)]
        raise BadInput(
            f"{name}: several images lie at the same place and "
            + (f"{time} does not tell them apart" if time else "nothing tells them apart")
            + (f"; they differ in {', '.join(varying)}." if varying else "."),
            "Choose with --time what the time axis is, or put one contrast into its own folder.",
        )
    slots = [sorted(slot, key=lambda f: f.times[label]) for slot in slots]
    note = ""
    if _is_ragged(slots, label):
        slots, note = _complete(slots, label, name)
    values = np.median([[f.times[label] for f in slot] for slot in slots], axis=0)
    return slots, values, label, note


def _is_ragged(slots: list[list[Frame]], label: str) -> bool:
    """Whether time points are missing at some places.

    With as many frames everywhere, the values may still differ a little between slices (the
    heart beats irregularly), but then few of them occur twice.
    """
    counts = {len(slot) for slot in slots}
    if len(counts) > 1:
        return True
    every = {_rounded(f, label) for slot in slots for f in slot}
    count = counts.pop()
    return label in PARAMETERS and count < len(every) <= _FEW_MORE * count


def _complete(slots: list[list[Frame]], label: str, name: str) -> tuple[list[list[Frame]], str]:
    """The largest block of slices that all have the same times, or time points of all slices."""
    sets = [{_rounded(f, label) for f in slot} for slot in slots]
    every = set.union(*sets)
    common = set.intersection(*sets)
    full = [index for index, values in enumerate(sets) if values == every]
    total = sum(map(len, slots))
    together = bool(full) and full == list(range(full[0], full[-1] + 1))
    by_slice = len(full) * len(every) if together else 0
    by_time = len(common) * len(slots)
    if max(by_slice, by_time) < _LEAST_KEPT * total:
        short = sum(1 for values in sets if values != every)
        raise BadInput(
            f"{name}: images are missing; {short} of {len(slots)} slice positions do not have all "
            f"{len(every)} time points ({label}).",
            "Export the whole series again.",
        )
    if by_slice >= by_time:
        kept = slots[full[0] : full[-1] + 1]
        left = f"{len(slots) - len(kept)} of {len(slots)} slice positions were left out"
    else:
        kept = [[f for f in slot if _rounded(f, label) in common] for slot in slots]
        left = f"{len(every) - len(common)} of {len(every)} time points were left out"
    return kept, f"Images are missing in this series: {left} ({label})."


def _readable_times(
    values: np.ndarray, label: str, unit: str, order: list[list[Frame]]
) -> tuple[np.ndarray, str, str]:
    """Seconds instead of plain numbers where the header has them."""
    if label in ("temporal position", "acquisition number", "instance number"):
        clock = np.array(
            [min(f.times.get("acquisition time", np.nan) for f in row) for row in order]
        )
        if np.isfinite(clock).all() and np.all(np.diff(clock) > 0):
            return clock - clock[0], "acquisition time", "s"
    if label in ("acquisition time", "content time"):
        return values - values[0], label, unit
    if label == "time offset":
        return values, "time", unit
    return values, label, unit


def _grid(slices: list[Frame], first: Frame, name: str) -> tuple[Grid, str]:
    """Grid of equally spaced slices, and what had to be assumed."""
    across, down = first.orientation[:3], first.orientation[3:]
    normal = np.cross(across, down)
    positions = np.array([frame.position for frame in slices])
    along = positions @ normal
    note = ""
    if first.three_d and len(slices) < _LEAST_3D_SLICES:
        raise BadInput(
            f"{name}: a three-dimensional scan with only {len(slices)} "
            f"slice{'' if len(slices) == 1 else 's'}; most of its images are missing.",
            "Give the folder with all images of the scan, or export it again.",
        )
    if len(slices) == 1:
        step = first.gap or first.thickness
        if step <= 0:
            step, note = 1.0, "The slice thickness is unknown; 1 mm is assumed."
    else:
        step = float(along[-1] - along[0]) / (len(slices) - 1)
        _check_spacing(np.diff(along), name)
        _check_straight(positions, along, normal, min(first.pixel), name)
    spacing = (first.pixel[1], first.pixel[0], step)
    direction = np.stack([across, down, normal], axis=1)
    shape = (len(slices), first.rows, first.columns)
    return Grid(shape, spacing, tuple(positions[0]), tuple(direction.ravel())), note


def _check_spacing(gaps: np.ndarray, name: str) -> None:
    typical = float(np.median(gaps))
    wrong = np.abs(gaps - typical) > max(0.02, 0.02 * typical)
    if not wrong.any():
        return
    smallest = float(gaps.min())
    ratio = gaps / smallest
    if np.all(np.abs(ratio - np.round(ratio)) < 0.1):
        missing = int(np.round(ratio).sum()) - len(gaps)
        at = int(np.argmax(ratio)) + 1
        raise BadInput(
            f"{name}: {missing} slice{'' if missing == 1 else 's'} missing "
            f"(the largest gap is after slice {at} of {len(gaps) + 1}).",
            "Export the whole series again.",
        )
    raise BadInput(
        f"{name}: the slices are not equally spaced "
        f"({gaps.min():.3g} to {gaps.max():.3g} mm apart).",
        "Use a series with one slice distance, or resample it first.",
    )


def _check_straight(
    positions: np.ndarray, along: np.ndarray, normal: np.ndarray, pixel: float, name: str
) -> None:
    """Refuses stacks whose slices are shifted against each other, in steps or steadily."""
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    shift = float(np.linalg.norm(sideways, axis=1).max())
    if shift > max(0.1, 0.1 * pixel):
        raise BadInput(
            f"{name}: the slices are shifted sideways against each other by up to {shift:.2g} mm "
            "(a tilted or sheared stack).",
            "Resample the series to a straight stack first.",
        )
