"""The temporal model of a scan: motion signals, bins, and the basis that all frames are made of.

Numpy and scipy. References: Christodoulou 2018 (MR Multitasking); Chen 2021, section 2.3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.rawdata import RawData
from mriforge.temporal.basis import (
    Basis,
    Normal,
    factorise,
    fill_by_mean,
    fill_by_rank,
    leading,
    noise_level,
    normal_equations,
    products,
)
from mriforge.temporal.binning import Bins, amplitude_bins, inversion_bins, phase_bins
from mriforge.temporal.dictionary import RelaxationBasis, relaxation_basis
from mriforge.temporal.expiration import inspiration_sign
from mriforge.temporal.lines import Line, density_weights, navigator_lines
from mriforge.temporal.rings import covariance, moments, rings_of
from mriforge.temporal.selfgating import Gating, gate

BASES = ("navigator", "completion", "lrt")
TRIGGER = "cardiac_trigger_s"
SPANNED = 96
FEWEST_SPOKES = 1000
FLATTER = 0.75
DOUBTFUL = 0.5
"""Share of a signal's power near its frequency below which the user is told."""


@dataclass(frozen=True)
class TemporalModel:
    """What a reconstruction needs to know about time.

    Attributes:
        basis: Phi ``(L, C, R, T)`` float32, orthonormal rows over all frames.
        bins: of all readouts.
        singular_values: of the tensor's space unfolding, relative to the first.
        relaxation: dictionary vectors along inversion time.
        coefficients: ``(L, C, R, K)`` float32, Phi in those vectors.
        gating: motion signals, None when bins were given.
        info: settings and figures, JSON types only.
    """

    basis: np.ndarray
    bins: Bins
    singular_values: np.ndarray
    relaxation: RelaxationBasis
    coefficients: np.ndarray
    gating: Gating | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """Number of components ``L``."""
        return len(self.basis)

    def weights(self, readouts: np.ndarray | None = None) -> np.ndarray:
        """``(s, L)`` float32: the basis at the frame of each readout.

        Args:
            readouts: mask or indices; None for all.
        """
        bins = self.bins if readouts is None else self.bins.take(readouts)
        return np.ascontiguousarray(self.basis[:, bins.cardiac, bins.respiratory, bins.inversion].T)


def find_bins(
    raw: RawData,
    cardiac: int = 20,
    respiratory: int = 6,
    inversion: int | None = None,
    respiratory_equal: str = "count",
    lines: list[Line] | None = None,
) -> tuple[Bins, Gating | None]:
    """Gates raw data and sorts all readouts into bins.

    Args:
        raw: raw data; an ECG in ``physiology["cardiac_trigger_s"]`` is used when there is one.
        cardiac: number of cardiac phases.
        respiratory: number of respiratory phases.
        inversion: number of inversion times, None for one for each navigator of an inversion.
        respiratory_equal: see :func:`amplitude_bins`.
        lines: navigators that have been compressed already.

    Returns:
        Bins, and the signals; those are None when there is one bin for heart and breathing.
    """
    numbers, times_s, pulses = inversion_bins(
        raw.since_inversion, raw.navigator, raw.repetition_s, inversion
    )
    shape = (cardiac, respiratory, len(pulses))
    still = np.zeros(len(numbers), np.int32)
    if cardiac == 1 and respiratory == 1:
        return Bins(still, still, numbers, shape, times_s, pulses), None
    line = max(lines or navigator_lines(raw, 48), key=lambda one: len(one.readouts))
    curves = relaxation_basis(pulses, raw.repetition_s, raw.flip_deg, 6).vectors
    own = line.readouts
    gating = gate(
        line.data[:, :48],
        curves[:, numbers[own]].T,
        raw.time_s[own],
        raw.physiology.get(TRIGGER),
    )
    if inspiration_sign(raw, gating.breathing(raw.time_s)) < 0:
        gating = replace(gating, respiratory=-gating.respiratory)
    heart, valid = still, np.ones(len(numbers), bool)
    if cardiac > 1:
        phase, valid = gating.phase(raw.time_s)
        heart = phase_bins(phase, cardiac)
    breath = still
    if respiratory > 1:
        breath = amplitude_bins(gating.breathing(raw.time_s), respiratory, respiratory_equal)
    return Bins(heart, breath, numbers, shape, times_s, pulses, valid), gating


def given_bins(
    raw: RawData,
    cardiac: np.ndarray,
    respiratory: np.ndarray,
    shape: tuple[int, int],
    inversion: int | None = None,
) -> Bins:
    """Bins from known states of all readouts, for instance the truth of a simulation.

    Args:
        raw: raw data.
        cardiac: ``(s,)`` bin numbers.
        respiratory: ``(s,)`` bin numbers.
        shape: number of cardiac and respiratory bins.
        inversion: number of inversion times.
    """
    numbers, times_s, pulses = inversion_bins(
        raw.since_inversion, raw.navigator, raw.repetition_s, inversion
    )
    return Bins(cardiac, respiratory, numbers, (*shape, len(pulses)), times_s, pulses)


def temporal_model(
    raw: RawData,
    cardiac: int = 20,
    respiratory: int = 6,
    inversion: int | None = None,
    rank: int = 32,
    basis: str = "lrt",
    bins: Bins | None = None,
    events: Events | None = None,
    relaxation_rank: int | None = 6,
    components: int = 64,
    spokes: bool = True,
) -> TemporalModel:
    """Signals, bins and temporal basis of a scan.

    Args:
        raw: raw data with navigators.
        cardiac: number of cardiac phases.
        respiratory: number of respiratory phases.
        inversion: number of inversion times, None for all.
        rank: components ``L`` of the basis.
        basis: ``navigator``: principal components of the binned navigators, every motion state
            fitted on its own. ``completion``: after low-rank completion of the navigator tensor
            (Christodoulou 2018). ``lrt``: products of that tensor's factors, the strongest
            components of which are found with the help of the imaging spokes.
        bins: known bins; then nothing is gated and the three numbers are ignored.
        events: progress and cancelling.
        relaxation_rank: dictionary vectors ``K``; None takes all above 3e-4 of the first.
        components: of space; at least ``rank`` are kept.
        spokes: let imaging spokes decide which components are strongest (``lrt`` only).

    Raises:
        BadInput: no navigators, a scan too short to gate, or a rank that they do not support.
    """
    events = events or Events()
    if basis not in BASES:
        raise BadInput(f"There is no temporal basis {basis!r}.", f"Choose of {', '.join(BASES)}.")
    events.progress(0.0, "navigators")
    readout = int(np.flatnonzero(raw.navigator)[0]) if raw.navigator.any() else 0
    weights = density_weights(raw, readout) if basis != "navigator" else None
    lines = navigator_lines(raw, max(components, rank), weights)
    gating = None
    if bins is None:
        events.check_cancelled()
        events.progress(0.3, "breathing and heartbeat")
        bins, gating = find_bins(raw, cardiac, respiratory, inversion, lines=lines)
        if gating is not None and min(gating.concentration.values()) < DOUBTFUL:
            events.log(
                "Breathing or heartbeat is irregular or hard to see in the navigators: "
                "look at the signals before trusting the phases."
            )
    events.progress(0.6, "temporal basis")
    relaxation = relaxation_basis(bins.pulses, raw.repetition_s, raw.flip_deg, relaxation_rank)
    normal = normal_equations(lines, bins, relaxation.vectors)
    tensor, info = _fill(normal, basis, events)
    if basis == "lrt":
        events.progress(0.8, "temporal basis from the imaging spokes")
        found, more = _products(raw, bins, tensor, relaxation.vectors, rank, spokes, events)
        info |= more
    else:
        found = factorise(tensor, relaxation.vectors, rank)
    info |= {"rank": rank, "lines": len(lines)}
    info |= _about(bins, gating, relaxation)
    events.progress(1.0, "temporal basis")
    spectrum = found.singular_values / max(found.singular_values[0], 1e-30)
    return TemporalModel(
        found.vectors,
        bins,
        spectrum,
        relaxation,
        found.coefficients.astype(np.float32),
        gating,
        info,
    )


def _fill(normal: Normal, kind: str, events: Events) -> tuple[np.ndarray, dict[str, Any]]:
    info: dict[str, Any] = {"basis": kind}
    if kind == "navigator":
        tensor = fill_by_mean(normal)
    else:
        filled = fill_by_rank(normal, check=events.check_cancelled)
        tensor = filled.tensor
        info |= {"iterations": filled.iterations, "change": filled.change}
    info["noise"] = noise_level(normal, tensor)
    return tensor, info


def _products(
    raw: RawData,
    bins: Bins,
    tensor: np.ndarray,
    relaxation: np.ndarray,
    rank: int,
    spokes: bool,
    events: Events,
) -> tuple[Basis, dict[str, Any]]:
    found = products(tensor, max(SPANNED, 2 * rank))
    info: dict[str, Any] = {"moving_share": found.moving_share, "spokes": 0}
    rings = None
    if spokes:
        stars = np.flatnonzero(raw.imaging & (raw.partition == _navigated(raw)))
        rings = rings_of(raw, stars) if len(stars) >= FEWEST_SPOKES else None
    if rings is None:
        return leading(found, np.diag(found.variances), relaxation, rank), info
    # Less steep than expected, so that what the navigators overlook can still come up.
    estimate = covariance(
        moments(rings, bins, relaxation),
        found.vectors.reshape(len(found.vectors), -1),
        np.diag(found.variances**FLATTER),
        check=events.check_cancelled,
    )
    info |= {"spokes": len(stars), "spokes_residual": estimate.residual}
    return leading(found, estimate.covariance, relaxation, rank), info


def _navigated(raw: RawData) -> int:
    return int(np.bincount(raw.partition[raw.navigator]).argmax())


def _about(bins: Bins, gating: Gating | None, relaxation: RelaxationBasis) -> dict[str, Any]:
    counts = bins.counts
    about: dict[str, Any] = {
        "bins": list(bins.shape),
        "bins_acquired": int((counts > 0).sum()),
        "motion_states_acquired": int((counts.sum(2) > 0).sum()),
        "readouts_valid": float(bins.valid.mean()),
        "relaxation_rank": relaxation.rank,
        "dictionary_singular_values": relaxation.singular_values[:12].tolist(),
    }
    if gating is not None:
        about |= {
            "respiratory_hz": gating.rates_hz["respiratory"],
            "cardiac_hz": gating.rates_hz["cardiac"],
            "respiratory_concentration": gating.concentration["respiratory"],
            "cardiac_concentration": gating.concentration["cardiac"],
            "beats": len(gating.beats_s),
            "beats_irregular": int((~gating.regular).sum()),
            "gating": gating.source,
        }
    return about


__all__ = [
    "BASES",
    "TemporalModel",
    "find_bins",
    "given_bins",
    "temporal_model",
]
