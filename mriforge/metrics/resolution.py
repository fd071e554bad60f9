"""Effective resolution and acquisition time after k-space truncation (Sarasaen et al. 2021).

Their equation 3 is ``AcqTime = PE_n x TR x S_m``: phase-encoding lines, repetition time, slices,
with oversampling, phase and slice resolution and GRAPPA "taken into account". The roundings are
not stated. The reading used here gives eleven of the twelve times of their Table 2 to the printed
digit:

* lines ``PE_n = floor(ceil(kept lines x phase resolution x (1 + oversampling)) / GRAPPA)``;
* slices ``S_m = round(round(slices x slice resolution x (1 + oversampling)) x kept readout part)``,
  halves to even.

The twelfth, subject 2 at full resolution, comes out as 9.67 s where 9.61 s is printed (0.6 % more):
9.61 s is twice subject 1's time, whose GRAPPA division drops half a line. The voxel sizes of
Table 2 are field of view / matrix along the readout, but for subject 3 at full resolution, where
350 mm / 256 is 1.37 mm and 1.36 mm is printed (262 mm / 192). Along the phase direction subject 3
comes out up to 0.013 mm smaller than printed: its 262 mm must be 262.5 mm.

Note what the reading means. The kept part of the *readout* direction shortens nothing on a scanner
with a Cartesian readout; the paper counts it all the same (its "theoretical" 4, 9, 16).
``seconds_phase_only`` is the time in which only phase encoding is shortened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mriforge.errors import BadInput
from mriforge.physics.kspace import kept_matrix


@dataclass(frozen=True)
class Protocol:
    """A Cartesian 3-D gradient-echo protocol; percentages as fractions.

    Attributes:
        fov: field of view in mm: readout, phase, slice.
        matrix: encoding matrix: readout, phase, slices.
        tr_ms: repetition time.
        phase_resolution, slice_resolution: part of the matrix that is acquired.
        phase_oversampling, slice_oversampling: what is acquired in addition.
        grappa: acceleration by parallel imaging.
    """

    fov: tuple[float, float, float]
    matrix: tuple[int, int, int]
    tr_ms: float
    phase_resolution: float = 1.0
    slice_resolution: float = 1.0
    phase_oversampling: float = 0.0
    slice_oversampling: float = 0.0
    grappa: int = 1


SARASAEN2021 = (
    Protocol((280, 210, 160), (256, 192, 40), 2.34, 0.75, 0.65, 0.10, 0.0, grappa=2),
    Protocol((280, 210, 160), (256, 192, 40), 2.34, 0.75, 0.65, 0.10, 0.0),
    Protocol((350, 262, 176), (256, 192, 44), 2.23, 0.50, 0.64, 0.10, 0.0),
)
"""Table 1 of the paper, subjects 1 to 3."""

KEPT = (1.0, 0.25, 0.10, 0.0625)


@dataclass(frozen=True)
class Effective:
    """What a truncated acquisition amounts to.

    Attributes:
        keep: fraction of the k-space centre that was asked for.
        matrix: matrix that is left: readout, phase, slices.
        voxel: size in mm: readout, phase, slice.
        lines: phase-encoding lines that are played out.
        slices: slice-encoding steps of the paper's estimate.
        seconds: the paper's estimate of the acquisition time.
        seconds_phase_only: the time when only phase encoding is shortened.
    """

    keep: float
    matrix: tuple[int, int, int]
    voxel: tuple[float, float, float]
    lines: int
    slices: int
    seconds: float
    seconds_phase_only: float


def effective(protocol: Protocol, keep: float) -> Effective:
    """Effective resolution and acquisition time when ``keep`` of in-plane k-space is kept.

    Raises:
        BadInput: ``keep`` is out of range, or the protocol is not physical.
    """
    if min(protocol.matrix) < 1 or protocol.grappa < 1 or protocol.tr_ms <= 0:
        raise BadInput("The protocol needs positive matrix sizes, TR and GRAPPA factor.")
    readout, phase, slices = protocol.matrix
    kept = kept_matrix((readout, phase), keep)
    part = kept[0] / readout
    wanted = kept[1] * protocol.phase_resolution * (1 + protocol.phase_oversampling)
    lines = math.ceil(wanted - 1e-9) // protocol.grappa
    steps = round(slices * protocol.slice_resolution * (1 + protocol.slice_oversampling))
    counted = round(steps * part)
    seconds = protocol.tr_ms / 1000
    return Effective(
        keep,
        (kept[0], kept[1], slices),
        (protocol.fov[0] / kept[0], protocol.fov[1] / kept[1], protocol.fov[2] / slices),
        lines,
        counted,
        lines * counted * seconds,
        lines * steps * seconds,
    )


def table(protocol: Protocol, kept: tuple[float, ...] = KEPT) -> list[Effective]:
    """One row for each kept fraction, as in Table 2 of the paper."""
    return [effective(protocol, keep) for keep in kept]
