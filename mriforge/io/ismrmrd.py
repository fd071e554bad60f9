"""Radial raw data in ISMRMRD files (HDF5), read in bulk and written.

Reading is one pass in slabs of bounded size. What the readouts mean is found out in
:mod:`mriforge.io.ismrmrd_readouts`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mriforge.errors import BadInput, MissingDependency
from mriforge.events import Events
from mriforge.io.atomic import atomic_path
from mriforge.io.hdf5_heaps import check_heaps
from mriforge.io.ismrmrd_header import (
    HEAD,
    NAVIGATION,
    NOISE,
    TICK_S,
    VERSION,
    Header,
    flagged,
    make_header,
    parse_header,
)
from mriforge.io.ismrmrd_readouts import Readouts, check_kind, choose, interpret, wanted
from mriforge.io.tolerant import tolerant
from mriforge.rawdata import RawData

_SLAB_BYTES = 32 << 20
_FIRST_SLAB = 64
_LARGEST = 65535
_CONVERT = "Convert the scanner's file with siemens_to_ismrmrd or its like."
_CYCLES_PER_PIXEL = "cycles_per_pixel"


def read_ismrmrd(
    path: str | os.PathLike, *, slice_number: int | None = None, events: Events | None = None
) -> RawData:
    """Reads radial raw data with navigators and inversions.

    Args:
        path: an HDF5 file.
        slice_number: which slice (counter ``slice``) of several.
        events: progress and cancel.

    Returns:
        the readouts in the order of time. Readouts that are for neither images nor navigators
        are left out and counted in ``header["left_out"]``.

    Raises:
        BadInput: with what is missing or wrong, and what to do about it.
        MissingDependency: h5py is not installed.
    """
    events = events or Events()
    with _opened(path) as (header, table):
        check_kind(header)
        found = _read(table, slice_number, events.part(0.0, 0.95))
        readouts = choose(found.heads, slice_number)
        kspace, trajectory, noise = found.arrays(readouts)
    events.progress(0.95, "sorting the readouts")
    with _about(path):
        return interpret(header, readouts, kspace, trajectory, noise)


def write_ismrmrd(path: str | os.PathLike, raw: RawData, *, events: Events | None = None) -> None:
    """Writes an ISMRMRD file that any reader understands; whole or not at all.

    Every readout has its trajectory (cycles per pixel, said in the header), ``user_int[0]`` the RF
    pulses since the inversion, ``segment`` the number of the inversion, and navigators both their
    flag and ``set`` 1. Exact times follow from the repetition time; time stamps are in the usual
    ticks of 2.5 ms.

    Raises:
        BadInput: more samples or channels than the format has numbers for, or an unwritable path.
        MissingDependency: h5py is not installed.
        Cancelled: when ``events`` asks for it.
    """
    h5py = _h5py("Writing")
    events = events or Events()
    readouts, coils, samples = raw.kspace.shape
    if max(coils, samples) > _LARGEST:
        raise BadInput(f"ISMRMRD holds {_LARGEST} samples or channels at most.")
    heads = _heads_of(raw)
    noise = [] if raw.noise is None else _noise_rows(raw)
    layout = np.dtype(
        [
            ("head", HEAD),
            ("traj", h5py.vlen_dtype(np.dtype("<f4"))),
            ("data", h5py.vlen_dtype(np.dtype("<f4"))),
        ]
    )
    slab = max(1, _SLAB_BYTES // (coils * samples * 8))
    with atomic_path(path) as partial, tolerant(partial) as disk, h5py.File(disk, "w") as file:
        group = file.create_group("dataset")
        xml = group.create_dataset("xml", (1,), h5py.special_dtype(vlen=bytes))
        xml[0] = make_header(_header_of(raw))
        total = len(noise) + readouts
        table = group.create_dataset(
            "data", (total,), layout, maxshape=(None,), chunks=(min(total, 256),)
        )
        if noise:
            table[: len(noise)] = _rows(layout, *zip(*noise, strict=True))
        for start in range(0, readouts, slab):
            events.check_cancelled()
            disk.check()
            events.progress(start / readouts, f"writing {os.fspath(path)}")
            part = slice(start, min(start + slab, readouts))
            rows = _rows(
                layout,
                heads[part],
                raw.trajectory[part].reshape(-1, 2 * samples).astype("<f4", copy=False),
                np.ascontiguousarray(raw.kspace[part], np.complex64)
                .reshape(-1, coils * samples)
                .view("<f4"),
            )
            table[len(noise) + part.start : len(noise) + part.stop] = rows
        events.check_cancelled()
    events.progress(1.0, "written")


def _h5py(doing: str) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependency(
            f"{doing} ISMRMRD raw data needs h5py, which is not installed.",
            "Install it with: pip install 'mriforge[raw]'  (or: pip install h5py).",
        ) from error
    return h5py


@contextmanager
def _about(path: str | os.PathLike) -> Iterator[None]:
    """Errors get the name of the file."""
    try:
        yield
    except BadInput as error:
        error.message = f"{os.fspath(path)}: {error.message}"
        error.args = (error.message,)
        raise


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[Header, Any]]:
    """The header and the table of readouts; every error names the file."""
    h5py = _h5py("Reading")
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise BadInput(f"There is no file {name}.", "Check the name and the folder.")
    if os.path.getsize(name) == 0:
        raise BadInput(f"{name} is empty.", "Copy the file again.")
    if not h5py.is_hdf5(name):
        raise BadInput(f"{name} is not an HDF5 file, so not ISMRMRD raw data.", _CONVERT)
    try:
        check_heaps(name)
        with _about(path), h5py.File(name, "r") as file:
            group = _group(h5py, file)
            yield parse_header(_xml(group)), _table(h5py, group)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError) as error:
        # What HDF5 finds in a damaged file comes as any of these.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"{name} is damaged or was not copied whole ({reason}).", "Copy the file again."
        ) from error


def _group(h5py: Any, file: Any) -> Any:
    found = file.get("dataset")
    if isinstance(found, h5py.Group) and "data" in found:
        return found
    others = [
        group
        for group in file.values()
        if isinstance(group, h5py.Group) and "data" in group and "xml" in group
    ]
    if len(others) == 1:
        return others[0]
    there = ", ".join(sorted(file)[:5]) or "nothing"
    raise BadInput(
        f"The file has no group 'dataset' with raw data; in it is {there}.",
        "Is it an ISMRMRD file of raw data, and not one of images?",
    )


def _xml(group: Any) -> bytes:
    if "xml" not in group:
        raise BadInput("The file has no XML header.", _CONVERT)
    text = group["xml"][()]
    text = text if isinstance(text, bytes | str) else np.ravel(text)[0]
    return text.encode() if isinstance(text, str) else bytes(text)


def _table(h5py: Any, group: Any) -> Any:
    table = group["data"]
    if not isinstance(table, h5py.Dataset) or table.ndim != 1:
        raise BadInput("The raw data of the file are not a list of readouts.", _CONVERT)
    names = table.dtype.names or ()
    if not {"head", "data"} <= set(names):
        raise BadInput("The readouts of the file lack 'head' or 'data'.", _CONVERT)
    lacking = [name for name in HEAD.names if name not in (table.dtype["head"].names or ())]
    if lacking:
        raise BadInput(
            f"The readouts are of another version of ISMRMRD: they lack {', '.join(lacking[:3])}.",
            "Convert the raw data with a version 1 converter.",
        )
    if len(table) == 0:
        raise BadInput("The file holds no readouts.", "Was the scan stopped before it began?")
    return table


@dataclass
class _Found:
    """What one pass through the file gave.

    Attributes:
        heads: of all readouts.
        data, trajectory: ``(s, values)`` float32 of those that are wanted; None if there are none.
        count: how many of them are filled; the first one that differs ends it.
        noise: the noise readouts, number in the file -> values.
    """

    heads: np.ndarray
    data: np.ndarray | None = None
    trajectory: np.ndarray | None = None
    count: int = 0
    whole: bool = True
    noise: dict[int, np.ndarray] = field(default_factory=dict)

    def take(self, rows: np.ndarray, chosen: np.ndarray, left: int) -> None:
        """Copies the samples of the ``chosen`` rows; ``left`` more may come after the first."""
        if len(chosen) == 0 or not self.whole:
            return
        if self.data is None:
            first = rows[chosen[0]]
            self.data = np.empty((left, first["data"].size), np.float32)
            if first["head"]["trajectory_dimensions"]:
                self.trajectory = np.empty((left, first["traj"].size), np.float32)
        where = slice(self.count, self.count + len(chosen))
        for name, target in (("data", self.data), ("traj", self.trajectory)):
            if target is None:
                continue
            values = rows[name][chosen] if len(chosen) < len(rows) else rows[name]
            if any(one.size != target.shape[1] for one in values):
                self.whole = False
                return
            np.concatenate(values, out=target[where].reshape(-1))
        self.count = where.stop

    def arrays(self, readouts: Readouts) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """k-space ``(s, c, n)``, trajectory ``(s, n, dimensions)`` or None, noise ``(c, m)``."""
        coils, samples, dimensions = readouts.coils, readouts.samples, readouts.dimensions
        sizes = ((self.data, 2 * coils * samples), (self.trajectory, samples * dimensions))
        fits = all(held is None or held.shape[1] == size for held, size in sizes)
        if not (self.whole and fits and self.count == len(readouts.index)):
            raise BadInput(
                "The samples or trajectory points of some readouts are not as many as their "
                "headers say.",
                "Copy or convert the file again.",
            )
        kspace = self.data[: self.count].view(np.complex64).reshape(-1, coils, samples)
        trajectory = self.trajectory
        if trajectory is not None:
            trajectory = trajectory[: self.count].reshape(-1, samples, dimensions)
        noise = [
            np.ascontiguousarray(values, np.float32).view(np.complex64).reshape(coils, -1)
            for number, values in self.noise.items()
            if self.heads["active_channels"][number] == coils
        ]
        return kspace, trajectory, np.concatenate(noise, 1) if noise else None


def _read(table: Any, slice_number: int | None, events: Events) -> _Found:
    """One pass through the file: HDF5 takes as long for the headers alone as for everything."""
    number = len(table)
    found = _Found(np.empty(number, HEAD))
    slab = _FIRST_SLAB
    start = 0
    while start < number:
        events.check_cancelled()
        events.progress(start / number, f"reading, {start} of {number} readouts")
        rows = table[start : start + slab]
        heads = found.heads[start : start + len(rows)]
        heads[:] = rows["head"][list(HEAD.names)]
        chosen = np.flatnonzero(wanted(heads, slice_number))
        found.take(rows, chosen, number - start)
        for one in np.flatnonzero(flagged(heads["flags"], NOISE)):
            found.noise[start + int(one)] = rows["data"][one]
        start += len(rows)
        row_bytes = 4 * max(1, max(one.size for one in rows["data"]))
        slab = max(1, _SLAB_BYTES // row_bytes)
    if (found.heads["version"] > VERSION).any():
        raise BadInput(
            f"The readouts are of version {found.heads['version'].max()}; "
            f"version {VERSION} is known.",
            "Convert the raw data with a version 1 converter.",
        )
    return found


def _rows(layout: np.dtype, heads: Any, trajectories: Any, data: Any) -> np.ndarray:
    rows = np.empty(len(heads), layout)
    for number, (head, trajectory, values) in enumerate(
        zip(heads, trajectories, data, strict=True)
    ):
        rows[number] = (head, trajectory, values)
    return rows


def _noise_rows(raw: RawData) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    coils, length = raw.noise.shape
    found = []
    for start in range(0, length, _LARGEST):
        part = np.ascontiguousarray(raw.noise[:, start : start + _LARGEST], np.complex64)
        head = np.zeros((), HEAD)
        head["version"], head["flags"] = VERSION, 1 << (NOISE - 1)
        head["number_of_samples"] = part.shape[1]
        head["active_channels"] = head["available_channels"] = coils
        found.append((head, np.empty(0, "<f4"), part.reshape(-1).view("<f4")))
    return found


def _heads_of(raw: RawData) -> np.ndarray:
    readouts, coils, samples = raw.kspace.shape
    grid, number = raw.grid, np.arange(readouts)
    heads = np.zeros(readouts, HEAD)
    heads["version"] = VERSION
    heads["flags"] = np.where(raw.navigator, np.uint64(1 << (NAVIGATION - 1)), np.uint64(0))
    heads["scan_counter"] = number + 1
    ticks = np.round((raw.time_s - raw.time_s[0]) / TICK_S)
    heads["acquisition_time_stamp"] = ticks.astype(np.uint32)
    heads["physiology_time_stamp"][:, 0] = _since_trigger(raw)
    heads["number_of_samples"], heads["center_sample"] = samples, samples // 2
    heads["active_channels"] = heads["available_channels"] = coils
    heads["trajectory_dimensions"] = 2
    heads["sample_time_us"] = raw.header.get("sample_time_us", 0.0)
    directions = grid.direction_matrix
    middle = np.array([n // 2 for n in grid.stored_shape])
    heads["position"] = grid.index_to_world(middle)
    for column, name in enumerate(("read_dir", "phase_dir", "slice_dir")):
        heads[name] = directions[:, column]
    spoke = np.cumsum(raw.imaging) - 1
    heads["idx"]["kspace_encode_step_1"] = np.where(raw.imaging, spoke % (_LARGEST + 1), 0)
    heads["idx"]["kspace_encode_step_2"] = raw.partition
    heads["idx"]["set"] = raw.navigator
    heads["idx"]["segment"] = np.cumsum(np.diff(raw.since_inversion, prepend=-1) < 0)
    heads["user_int"][:, 0] = raw.since_inversion
    heads["user_int"][:, 1] = raw.navigator
    return heads


def _since_trigger(raw: RawData) -> np.ndarray:
    """Ticks since the last trigger; 0 where there is none."""
    triggers = np.asarray(raw.physiology.get("cardiac_trigger_s", ()), np.float64)
    if len(triggers) == 0:
        return np.zeros(len(raw.time_s), np.uint32)
    last = np.searchsorted(triggers, raw.time_s, "right") - 1
    since = np.where(last >= 0, raw.time_s - triggers[np.maximum(last, 0)], 0.0)
    return np.round(since / TICK_S).astype(np.uint32)


def _header_of(raw: RawData) -> Header:
    _, coils, samples = raw.kspace.shape
    nx, ny, nz = raw.grid.stored_shape
    dx, dy, dz = raw.grid.spacing
    # The encoded space has the pixels of the image and as many of them as a readout has samples.
    encoded = max(samples, nx)
    spokes = int(raw.imaging.sum())
    first = int(np.flatnonzero(raw.since_inversion == raw.since_inversion.min())[0])
    return Header(
        trajectory="radial",
        encoded_matrix=(encoded, encoded, nz),
        encoded_fov_mm=(encoded * dx, encoded * dy, nz * dz),
        recon_matrix=(nx, ny, nz),
        recon_fov_mm=(nx * dx, ny * dy, nz * dz),
        limits={
            "kspace_encoding_step_0": (0, samples - 1, samples // 2),
            "kspace_encoding_step_1": (0, min(max(spokes - 1, 0), _LARGEST), 0),
            "kspace_encoding_step_2": (0, nz - 1, nz // 2),
            "segment": (0, int((np.diff(raw.since_inversion) < 0).sum()), 0),
            "set": (0, 1, 0),
        },
        repetition_s=raw.repetition_s,
        flip_deg=raw.flip_deg,
        echo_s=raw.header.get("echo_s"),
        inversion_s=float(raw.since_inversion[first]) * raw.repetition_s,
        channels=coils,
        field_t=raw.header.get("field_t"),
        patient_position=raw.header.get("patient_position"),
        protocol=raw.header.get("protocol"),
        vendor=raw.header.get("vendor"),
        said={"trajectory_unit": _CYCLES_PER_PIXEL},
    )
