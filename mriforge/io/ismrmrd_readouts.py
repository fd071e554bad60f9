"""What the readouts of an ISMRMRD file mean: navigators, inversions, times.

Nothing is guessed silently: what the file does not say is derived by a stated rule or refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.io.ismrmrd_header import (
    NAVIGATION,
    NOISE,
    NOT_FOR_IMAGES,
    TICK_S,
    Header,
    flagged,
)
from mriforge.io.ismrmrd_places import (
    cycles_per_pixel,
    grid_of,
    partitions_of,
    positions_from_counters,
    refuse_koosh_ball,
)
from mriforge.rawdata import RawData

LEAST_SPOKES = 16
LEAST_NAVIGATORS = 8
_ALIKE = ("number_of_samples", "active_channels", "discard_pre", "discard_post")
_ALIKE_TOO = ("center_sample", "trajectory_dimensions")
_WORDS = {
    "number_of_samples": "numbers of samples",
    "active_channels": "numbers of channels",
    "discard_pre": "numbers of samples to discard",
    "discard_post": "numbers of samples to discard",
    "center_sample": "centre samples",
    "trajectory_dimensions": "trajectory dimensions",
}
_PAUSE = 5
"""Repetition times without a readout that make a pause."""
_SAME_DIRECTION = 1e-3


@dataclass(frozen=True)
class Readouts:
    """The readouts that are used.

    Attributes:
        index: ``(s,)`` ascending places in the file.
        heads: ``(s,)`` their headers.
        pulse: ``(s,)`` number of the RF pulse, all readouts but noise counted.
        samples, coils, dimensions: of each; ``dimensions`` is 0 without a trajectory.
        left_out: why -> how many.
    """

    index: np.ndarray
    heads: np.ndarray
    pulse: np.ndarray
    samples: int
    coils: int
    dimensions: int
    left_out: dict[str, int]


def wanted(heads: np.ndarray, slice_number: int | None) -> np.ndarray:
    """Which readouts are for images or navigators, of one slice where a number is given."""
    used = ~flagged(heads["flags"], NOISE)
    for bit in NOT_FOR_IMAGES:
        used &= ~flagged(heads["flags"], bit)
    return used if slice_number is None else used & (heads["idx"]["slice"] == slice_number)


def choose(heads: np.ndarray, slice_number: int | None) -> Readouts:
    """The readouts for one slice, all alike.

    Raises:
        BadInput: several slices and none chosen, readouts that differ, too few.
    """
    noise = flagged(heads["flags"], NOISE)
    pulses = np.cumsum(~noise) - 1
    _check_slices(heads["idx"]["slice"][wanted(heads, None)], slice_number)
    used = wanted(heads, slice_number)
    index = np.flatnonzero(used)
    if len(index) < LEAST_SPOKES + LEAST_NAVIGATORS:
        raise BadInput(
            f"There are too few readouts for a reconstruction ({len(index)}).",
            "Was the scan stopped, or is it another scan?",
        )
    chosen = heads[index]
    for name in (*_ALIKE, *_ALIKE_TOO):
        values = np.unique(chosen[name])
        if len(values) > 1:
            raise BadInput(
                f"The readouts have different {_WORDS[name]} ({values[0]} to {values[-1]}).",
                "Convert imaging and navigator readouts with one readout length.",
            )
    first = chosen[0]
    samples, coils = int(first["number_of_samples"]), int(first["active_channels"])
    if samples - int(first["discard_pre"]) - int(first["discard_post"]) < 2 or coils < 1:
        raise BadInput("The readouts have no samples.", "Convert the raw data again.")
    return Readouts(
        index,
        chosen,
        pulses[index],
        samples,
        coils,
        int(first["trajectory_dimensions"]),
        {why: int(n) for bit, why in NOT_FOR_IMAGES.items() if (n := _number(heads, bit))},
    )


def _number(heads: np.ndarray, bit: int) -> int:
    return np.count_nonzero(flagged(heads["flags"], bit))


def check_kind(header: Header) -> None:
    """Refuses what is not radial, or lacks what the relaxation model needs.

    Raises:
        BadInput: it is so.
    """
    if header.trajectory == "cartesian":
        raise BadInput(
            "The raw data are Cartesian; MR Multitasking needs radial spokes.",
            "Reconstruct them on the scanner or with 'bart pics'.",
        )
    if header.trajectory not in ("radial", "goldenangle", "other"):
        raise BadInput(
            f"The trajectory is '{header.trajectory}'; only radial ones can be used.",
            "Choose the raw data of a radial scan.",
        )
    for value, name in ((header.repetition_s, "TR"), (header.flip_deg, "flipAngle_deg")):
        if value is None or not value > 0:
            raise BadInput(
                f"The XML header lacks '{name}' (sequenceParameters).",
                "Add it to the header; the relaxation model needs it.",
            )


def _check_slices(slices: np.ndarray, number: int | None) -> None:
    there = np.unique(slices)
    if number is None and len(there) > 1:
        raise BadInput(
            f"The file holds {len(there)} slices (numbers {there[0]} to {there[-1]}).",
            "Choose one by its number.",
        )
    if number is not None and number not in there:
        known = ", ".join(map(str, there[:20])) or "none"
        raise BadInput(f"The file has no slice {number}; it has {known}.")


def interpret(
    header: Header,
    readouts: Readouts,
    kspace: np.ndarray,
    trajectory: np.ndarray | None,
    noise: np.ndarray | None,
) -> RawData:
    """Puts everything together.

    Args:
        header: of the file.
        readouts: those of ``kspace``.
        kspace: ``(s, c, n)`` complex64, as stored.
        trajectory: ``(s, n, dimensions)`` float32 as stored, or None.
        noise: ``(c, m)`` complex64, or None.

    Raises:
        BadInput: no navigators, no inversions, unknown units, or values that cannot be.
    """
    order = np.argsort(readouts.heads["acquisition_time_stamp"], kind="stable")
    if not np.array_equal(order, np.arange(len(order))):
        kspace = kspace[order]
        trajectory = None if trajectory is None else trajectory[order]
    heads, pulse = readouts.heads[order], np.sort(readouts.pulse)
    grid = grid_of(header, heads[0])
    first, last = int(heads["discard_pre"][0]), int(heads["discard_post"][0])
    kept = slice(first, kspace.shape[2] - last)
    if trajectory is None:
        positions, unit = positions_from_counters(header, heads), "from kspace_encode_step_1"
    else:
        refuse_koosh_ball(trajectory, grid)
        positions, unit = cycles_per_pixel(trajectory[..., :2], header)
    positions = np.ascontiguousarray(positions[:, kept])
    time_s = _times(heads["acquisition_time_stamp"], pulse, header.repetition_s)
    since, source = _since_inversion(header, heads, time_s)
    return RawData(
        kspace=np.ascontiguousarray(kspace[:, :, kept]),
        trajectory=positions,
        navigator=_navigators(heads, positions),
        since_inversion=since,
        time_s=time_s - time_s[0],
        grid=grid,
        repetition_s=header.repetition_s,
        flip_deg=header.flip_deg,
        partition=partitions_of(header, heads, grid),
        noise=noise,
        physiology=_physiology(heads, time_s),
        header={
            "source": "ISMRMRD",
            "trajectory": unit,
            "inversions": source,
            **_described(header, heads, readouts),
        },
    )


def _described(header: Header, heads: np.ndarray, readouts: Readouts) -> dict[str, Any]:
    found = {
        "field_t": header.field_t,
        "echo_s": header.echo_s,
        "patient_position": header.patient_position,
        "protocol": header.protocol,
        "vendor": header.vendor,
        "sample_time_us": float(heads["sample_time_us"][0]) or None,
        "left_out": readouts.left_out or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _navigators(heads: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """By flag; by ``set``; by ``user_int[1]``; else the one direction that comes back again."""
    marked = flagged(heads["flags"], NAVIGATION)
    ends = positions[:, np.square(positions[0]).sum(-1).argmax()]
    if not marked.any():
        for values in (heads["idx"]["set"], heads["user_int"][:, 1]):
            kinds = np.unique(values)
            if len(kinds) == 2:
                alike = [kind for kind in kinds if _one_direction(ends[values == kind])]
                if len(alike) == 1:
                    marked = values == alike[0]
                    break
    if not marked.any():
        rounded = np.round(ends / _SAME_DIRECTION).astype(np.int64)
        _, kind, counts = np.unique(rounded, axis=0, return_inverse=True, return_counts=True)
        most = counts.argmax()
        if counts[most] >= 0.05 * len(ends) and (counts > 0.5 * counts[most]).sum() == 1:
            marked = np.asarray(kind).ravel() == most
    if marked.sum() < LEAST_NAVIGATORS:
        raise BadInput(
            f"There are no navigators, or too few ({int(marked.sum())}): no flag "
            "ACQ_IS_NAVIGATION_DATA, no counter 'set', no direction that is measured repeatedly.",
            "Self-gating needs them; mark them when converting, or use another scan.",
        )
    if (~marked).sum() < LEAST_SPOKES:
        raise BadInput(
            f"There are too few spokes besides the navigators ({int((~marked).sum())}).",
            "Was the scan stopped?",
        )
    return marked


def _one_direction(ends: np.ndarray) -> bool:
    return len(ends) >= LEAST_NAVIGATORS and np.ptp(ends, axis=0).max() < _SAME_DIRECTION


def _times(stamps: np.ndarray, pulse: np.ndarray, repetition_s: float) -> np.ndarray:
    """Seconds, ascending: the stamps, made finer by the repetition time where they agree."""
    stamped = (stamps - stamps.min()).astype(np.float64) * TICK_S
    counted = pulse * repetition_s
    if not stamped.any():
        return counted
    starts = np.flatnonzero(np.diff(stamped) > _PAUSE * repetition_s) + 1
    times = np.empty(len(pulse))
    for part in np.split(np.arange(len(pulse)), starts):
        late = stamped[part] - counted[part]
        if np.ptp(late) > 3 * TICK_S:
            return stamped
        times[part] = counted[part] + late.mean()
    return np.maximum.accumulate(times)


def _since_inversion(
    header: Header, heads: np.ndarray, time_s: np.ndarray
) -> tuple[np.ndarray, str]:
    """RF pulses since the inversion, and how they are known."""
    counted = heads["user_int"][:, 0]
    steps = np.diff(counted)
    if counted.min() >= 0 and counted.max() > 0 and (steps != 0).all() and (steps > 0).any():
        return counted.astype(np.int32), "user_int[0]"
    if header.inversion_s is None:
        raise BadInput(
            "Nothing says when the inversions were: neither user_int[0] (RF pulses since the "
            "inversion) nor TI in the XML header.",
            "Add one of them when converting.",
        )
    for name in ("segment", "repetition", "average"):
        starts = np.flatnonzero(np.diff(heads["idx"][name].astype(np.int64))) + 1
        if 0 < len(starts) <= len(heads) // LEAST_SPOKES:
            break
    else:
        name = "pauses"
        starts = np.flatnonzero(np.diff(time_s) > _PAUSE * header.repetition_s) + 1
    since = np.empty(len(heads), np.int32)
    for part in np.split(np.arange(len(heads)), starts):
        after = time_s[part] - time_s[part[0]] + header.inversion_s
        since[part] = np.round(after / header.repetition_s)
    if len(starts) == 0 and time_s[-1] - time_s[0] > 10:
        raise BadInput(
            "The header has a TI, but neither a counter (segment, repetition) nor a pause says "
            "where the inversions were.",
            "Write the RF pulses since the inversion to user_int[0] when converting.",
        )
    return since, f"TI and {name}"


def _physiology(heads: np.ndarray, time_s: np.ndarray) -> dict[str, np.ndarray]:
    """Times of the triggers (same clock as the readouts), from the time since the last one."""
    since = heads["physiology_time_stamp"][:, 0].astype(np.float64) * TICK_S
    if not since.any():
        return {}
    first = np.flatnonzero(np.diff(since, prepend=np.inf) < 0)
    return {"cardiac_trigger_s": np.sort(time_s[first] - since[first]) - time_s[0]}
