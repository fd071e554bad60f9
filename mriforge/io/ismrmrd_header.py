"""The XML header of ISMRMRD raw data, and the layout of one readout.

ISMRMRD 1.x: Inati et al. 2017. Times of the header are in ms, lengths in mm, time stamps in ticks
of 2.5 ms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np

from mriforge.errors import BadInput

NAMESPACE = "http://www.ismrm.org/ISMRMRD"
VERSION = 1
TICK_S = 0.0025
GYROMAGNETIC_HZ_PER_T = 42.577478518e6
LARGEST_HEADER_BYTES = 64 << 20
_LARGEST_WHOLE, _LARGEST = 10**7, 1e12

# Bits of the flags, counted from 1 as the standard does.
NOISE, REVERSE, NAVIGATION = 19, 22, 23
NOT_FOR_IMAGES = {
    20: "parallel calibration",
    24: "phase correction",
    26: "high-performance feedback",
    27: "dummy scan",
    28: "real-time feedback",
    29: "surface coil correction",
    30: "phase stabilisation reference",
    31: "phase stabilisation",
}

_COUNTERS = np.dtype(
    [
        (name, "<u2")
        for name in (
            "kspace_encode_step_1",
            "kspace_encode_step_2",
            "average",
            "slice",
            "contrast",
            "phase",
            "repetition",
            "set",
            "segment",
        )
    ]
    + [("user", "<u2", (8,))]
)
HEAD = np.dtype(
    [
        ("version", "<u2"),
        ("flags", "<u8"),
        ("measurement_uid", "<u4"),
        ("scan_counter", "<u4"),
        ("acquisition_time_stamp", "<u4"),
        ("physiology_time_stamp", "<u4", (3,)),
        ("number_of_samples", "<u2"),
        ("available_channels", "<u2"),
        ("active_channels", "<u2"),
        ("channel_mask", "<u8", (16,)),
        ("discard_pre", "<u2"),
        ("discard_post", "<u2"),
        ("center_sample", "<u2"),
        ("encoding_space_ref", "<u2"),
        ("trajectory_dimensions", "<u2"),
        ("sample_time_us", "<f4"),
        ("position", "<f4", (3,)),
        ("read_dir", "<f4", (3,)),
        ("phase_dir", "<f4", (3,)),
        ("slice_dir", "<f4", (3,)),
        ("patient_table_position", "<f4", (3,)),
        ("idx", _COUNTERS),
        ("user_int", "<i4", (8,)),
        ("user_float", "<f4", (8,)),
    ]
)
"""One readout's header as it is stored."""


def flagged(flags: np.ndarray, bit: int) -> np.ndarray:
    """Where a flag, counted from 1, is set."""
    return (flags & np.uint64(1 << (bit - 1))) != 0


@dataclass(frozen=True)
class Header:
    """What the XML header says, as far as radial data need it.

    Attributes:
        trajectory: ``radial``, ``goldenangle``, ``cartesian``, ``spiral``, ``epi`` or ``other``.
        encoded_matrix, encoded_fov_mm, recon_matrix, recon_fov_mm: ``(x, y, z)``.
        limits: counter name -> (minimum, maximum, centre).
        repetition_s, flip_deg: of the sequence, None where not given.
        echo_s, inversion_s: TE and TI, None where not given.
        channels, field_t, patient_position, protocol, vendor: None where not given.
        said: user parameters of the header and of the trajectory by name; numbers or text.
    """

    trajectory: str
    encoded_matrix: tuple[int, int, int]
    encoded_fov_mm: tuple[float, float, float]
    recon_matrix: tuple[int, int, int]
    recon_fov_mm: tuple[float, float, float]
    limits: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    repetition_s: float | None = None
    flip_deg: float | None = None
    echo_s: float | None = None
    inversion_s: float | None = None
    channels: int | None = None
    field_t: float | None = None
    patient_position: str | None = None
    protocol: str | None = None
    vendor: str | None = None
    said: Mapping[str, float | str] = field(default_factory=dict)


def parse_header(text: bytes | str) -> Header:
    """Reads the XML header; entities and document types are refused, nothing is loaded.

    Raises:
        BadInput: not XML, another version, or without a field that is needed.
    """
    data = text.encode() if isinstance(text, str) else bytes(text)
    if len(data) > LARGEST_HEADER_BYTES or re.search(rb"<!\s*(DOCTYPE|ENTITY)", data, re.I):
        raise BadInput("The XML header is not one of ISMRMRD (it declares a document type).")
    try:
        root = ElementTree.fromstring(data.decode("utf-8").lstrip("\ufeff").strip("\0 \r\n\t"))
    except (ElementTree.ParseError, UnicodeDecodeError, ValueError) as error:
        raise BadInput(f"The XML header is damaged ({error}).") from error
    if root.tag.rpartition("}")[2] != "ismrmrdHeader":
        raise BadInput("The XML header is not one of ISMRMRD.", "Convert the raw data again.")
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    version = _number(root, "version", int)
    if version is not None and version > VERSION:
        raise BadInput(
            f"The file is of ISMRMRD version {version}; versions up to {VERSION} are known.",
            "Convert the raw data with a version 1 converter.",
        )
    encoding = root.find("encoding")
    if encoding is None:
        raise BadInput("The XML header lacks 'encoding'.", "Convert the raw data again.")
    milliseconds = {n: _number(root, f"sequenceParameters/{n}") for n in ("TR", "TE", "TI")}
    seconds = {n: None if v is None else v / 1000.0 for n, v in milliseconds.items()}
    return Header(
        trajectory=(_text(encoding, "trajectory") or "").lower(),
        encoded_matrix=_triple(encoding, "encodedSpace/matrixSize", int),
        encoded_fov_mm=_triple(encoding, "encodedSpace/fieldOfView_mm"),
        recon_matrix=_triple(encoding, "reconSpace/matrixSize", int),
        recon_fov_mm=_triple(encoding, "reconSpace/fieldOfView_mm"),
        limits=_limits(encoding.find("encodingLimits")),
        repetition_s=seconds["TR"],
        flip_deg=_number(root, "sequenceParameters/flipAngle_deg"),
        echo_s=seconds["TE"],
        inversion_s=seconds["TI"],
        channels=_number(root, "acquisitionSystemInformation/receiverChannels", int),
        field_t=_number(root, "acquisitionSystemInformation/systemFieldStrength_T"),
        patient_position=_text(root, "measurementInformation/patientPosition"),
        protocol=_text(root, "measurementInformation/protocolName"),
        vendor=_text(root, "acquisitionSystemInformation/systemVendor"),
        said={
            **_user_parameters(root.find("userParameters")),
            **_user_parameters(encoding.find("trajectoryDescription")),
        },
    )


def _text(root: ElementTree.Element, path: str) -> str | None:
    found = root.findtext(path)
    return found.strip() if found and found.strip() else None


def _number(root: ElementTree.Element, path: str, kind: type = float) -> float | int | None:
    found = _text(root, path)
    if found is None:
        return None
    try:
        value = float(found)
    except ValueError:
        value = float("nan")
    if not abs(value) <= (_LARGEST_WHOLE if kind is int else _LARGEST):
        raise BadInput(f"'{path}' of the XML header cannot be: {found[:40]!r}.")
    return kind(value)


def _triple(root: ElementTree.Element, path: str, kind: type = float) -> tuple:
    found = [_number(root, f"{path}/{axis}", kind) for axis in "xyz"]
    if None in found or min(found) <= 0:
        raise BadInput(f"'{path}' of the XML header is missing or is not positive.")
    return tuple(found)


def _limits(root: ElementTree.Element | None) -> dict[str, tuple[int, int, int]]:
    found = {}
    for element in () if root is None else root:
        values = [_number(element, n, int) for n in ("minimum", "maximum", "center")]
        if None not in values:
            found[element.tag] = tuple(values)
    return found


def _user_parameters(root: ElementTree.Element | None) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for element in () if root is None else root:
        name, value = _text(element, "name"), _text(element, "value")
        if name is None or value is None:
            continue
        if element.tag in ("userParameterLong", "userParameterDouble"):
            found[name] = _number(element, "value")
        elif element.tag == "userParameterString":
            found[name] = value
    return found


def make_header(header: Header) -> bytes:
    """XML of a header, in the order of the schema."""
    trajectory = "".join(
        f"<userParameterString><name>{escape(name)}</name>"
        f"<value>{escape(str(value))}</value></userParameterString>"
        for name, value in header.said.items()
    )
    limits = "".join(
        f"<{name}><minimum>{low}</minimum><maximum>{high}</maximum><center>{centre}</center></{name}>"
        for name, (low, high, centre) in header.limits.items()
    )
    sequence = "".join(
        f"<{name}>{value:.10g}</{name}>"
        for name, value in (
            ("TR", _milliseconds(header.repetition_s)),
            ("TE", _milliseconds(header.echo_s)),
            ("TI", _milliseconds(header.inversion_s)),
            ("flipAngle_deg", header.flip_deg),
        )
        if value is not None
    )
    field_t = header.field_t or 3.0
    protocol = header.protocol and f"<protocolName>{escape(header.protocol)}</protocolName>"
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<ismrmrdHeader xmlns="{NAMESPACE}">
<version>{VERSION}</version>
<measurementInformation><patientPosition>{escape(header.patient_position or "HFS")}\
</patientPosition>{protocol or ""}</measurementInformation>
<acquisitionSystemInformation><systemVendor>{escape(header.vendor or "MRIForge")}</systemVendor>\
<systemFieldStrength_T>{field_t:.6g}</systemFieldStrength_T>\
<receiverChannels>{header.channels}</receiverChannels></acquisitionSystemInformation>
<experimentalConditions><H1resonanceFrequency_Hz>{round(field_t * GYROMAGNETIC_HZ_PER_T)}\
</H1resonanceFrequency_Hz></experimentalConditions>
<encoding>
<encodedSpace>{_space(header.encoded_matrix, header.encoded_fov_mm)}</encodedSpace>
<reconSpace>{_space(header.recon_matrix, header.recon_fov_mm)}</reconSpace>
<encodingLimits>{limits}</encodingLimits>
<trajectory>{header.trajectory}</trajectory>
<trajectoryDescription><identifier>radial</identifier>{trajectory}</trajectoryDescription>
</encoding>
<sequenceParameters>{sequence}</sequenceParameters>
</ismrmrdHeader>
"""
    return text.encode("utf-8")


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000.0 * seconds


def _space(matrix: tuple[int, int, int], fov_mm: tuple[float, float, float]) -> str:
    sizes = "".join(f"<{a}>{n}</{a}>" for a, n in zip("xyz", matrix, strict=True))
    lengths = "".join(f"<{a}>{mm:.10g}</{a}>" for a, mm in zip("xyz", fov_mm, strict=True))
    return f"<matrixSize>{sizes}</matrixSize><fieldOfView_mm>{lengths}</fieldOfView_mm>"
