"""Whether what was learned is to be believed: held-out pixels of the same scan, made thick."""

from __future__ import annotations

import torch
from torch import Tensor

from mriforge.interslice.rows import along_first
from mriforge.interslice.scan import Refiner, Scan
from mriforge.superres.gate import Gate, decide

CUBIC = "cubic interpolation"


def _tested(scan: Scan, refiner: Refiner) -> tuple[Tensor, Tensor, Tensor]:
    """Cubic interpolation, the method's proposal and the truth, flat, over all held-out stacks."""
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for made in scan.held_out():
        proposal = refiner(made.stack, made.rows, made.fine)
        # Ends of a line are extrapolated by every method; the middle is what is judged.
        inner = slice(
            max(0, round(float(made.rows.centres[0]))),
            round(float(made.rows.centres[-1])) + 1,
        )
        cubic = along_first(made.rows.cubic(), made.stack)
        parts.append(tuple(t[inner].reshape(-1) for t in (cubic, proposal, made.truth)))
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def held_out_gain(scan: Scan, refiner: Refiner) -> float:
    """PSNR gain over cubic interpolation on the held-out pixels, dB."""
    return decide(*_tested(scan, refiner)).full_gain_db


def held_out_gate(scan: Scan, refiner: Refiner) -> Gate:
    """How far to follow the method; step 0 means cubic interpolation."""
    return decide(*_tested(scan, refiner))


def sentence(gate: Gate) -> str:
    """The decision in words, for the log and the report."""
    if gate.step == 0.0:
        return (
            f"On held-out pixels of this scan the method was no better than {CUBIC} "
            f"({gate.full_gain_db:+.2f} dB): the result is {CUBIC}."
        )
    return (
        f"On held-out pixels of this scan the method gained {gate.full_gain_db:+.2f} dB over "
        f"{CUBIC}; step {gate.step:.2f} of it is used ({gate.gain_db:+.2f} dB)."
    )
