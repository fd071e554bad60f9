"""Which cardiac phase, respiratory phase and inversion time each readout belongs to.

Numpy only. Cardiac bins divide the phase ``[0, 1)`` between two beats equally, the first one
starts at the beat. Respiratory bins go from end-expiration (bin 0) to end-inspiration. Inversion
times count the pulses since the inversion.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mriforge.errors import BadInput


@dataclass(frozen=True)
class Bins:
    """Bin numbers of all readouts.

    Attributes:
        cardiac: ``(s,)`` int32.
        respiratory: ``(s,)`` int32.
        inversion: ``(s,)`` int32.
        shape: how many there are of each.
        inversion_times_s: ``(shape[2],)`` float64, middle of each bin since the inversion.
        pulses: ``(shape[2],)`` float64, the same in pulses.
        valid: ``(s,)`` bool; False where the beat is not like the others.

    Raises:
        BadInput: lengths do not fit, or a number is outside of ``shape``.
    """

    cardiac: np.ndarray
    respiratory: np.ndarray
    inversion: np.ndarray
    shape: tuple[int, int, int]
    inversion_times_s: np.ndarray
    pulses: np.ndarray
    valid: np.ndarray = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        readouts = len(self.inversion)
        if self.valid is None:
            object.__setattr__(self, "valid", np.ones(readouts, bool))
        for name, count in zip(("cardiac", "respiratory", "inversion"), self.shape, strict=True):
            numbers = np.asarray(getattr(self, name), np.int32)
            object.__setattr__(self, name, numbers)
            if numbers.shape != (readouts,):
                raise BadInput(f"There are {numbers.shape} {name} bins for {readouts} readouts.")
            if readouts and (numbers.min() < 0 or numbers.max() >= count):
                raise BadInput(f"A {name} bin is not in 0...{count - 1}.")
        if self.inversion_times_s.shape != self.shape[2:] or self.pulses.shape != self.shape[2:]:
            raise BadInput("There is not one time for each inversion bin.")

    @property
    def motion(self) -> np.ndarray:
        """``(s,)`` number of the motion state, ``cardiac * respiratory_bins + respiratory``."""
        return self.cardiac.astype(np.int64) * self.shape[1] + self.respiratory

    @property
    def counts(self) -> np.ndarray:
        """``(C, R, T)`` int: valid readouts in every bin."""
        index = self.motion * self.shape[2] + self.inversion
        return np.bincount(index[self.valid], minlength=int(np.prod(self.shape))).reshape(
            self.shape
        )

    def take(self, readouts: np.ndarray) -> Bins:
        """Of some of the readouts, by a mask or by indices."""
        return replace(
            self,
            cardiac=self.cardiac[readouts],
            respiratory=self.respiratory[readouts],
            inversion=self.inversion[readouts],
            valid=self.valid[readouts],
        )


def inversion_bins(
    since_inversion: np.ndarray,
    navigator: np.ndarray,
    repetition_s: float,
    count: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inversion times by counting pulses.

    Args:
        since_inversion: ``(s,)`` pulses since the inversion.
        navigator: ``(s,)`` bool.
        repetition_s: time between pulses in seconds.
        count: number of bins; None for one for each navigator (every other pulse as a rule).

    Returns:
        Bin numbers ``(s,)``, and the middle of each bin in seconds and in pulses ``(T,)``.

    Raises:
        BadInput: more bins are asked for than there are pulses.
    """
    length = int(since_inversion.max()) + 1
    if count is None:
        steps = np.diff(since_inversion[navigator])
        steps = steps[steps > 0]
        count = -(-length // (int(np.median(steps)) if len(steps) else 1))
    if count > length:
        raise BadInput(f"{count} inversion times were asked for; there are {length} pulses.")
    edges = np.linspace(0, length, count + 1) if length % count else None
    if edges is None:
        width = length // count
        numbers = since_inversion // width
        pulses = np.arange(count) * float(width) + (width - 1) / 2
    else:
        numbers = np.searchsorted(edges, since_inversion, side="right") - 1
        pulses = (edges[:-1] + edges[1:] - 1) / 2
    return numbers.astype(np.int32), pulses * repetition_s, pulses


def phase_bins(phase: np.ndarray, count: int) -> np.ndarray:
    """Equal divisions of a phase in cycles; any real number, taken modulo one."""
    return (np.floor(np.mod(phase, 1.0) * count).astype(np.int32)) % count


def amplitude_bins(signal: np.ndarray, count: int, equal: str = "count") -> np.ndarray:
    """Bins of ascending amplitude.

    Args:
        signal: ``(s,)``; low values are end-expiration.
        count: number of bins.
        equal: ``count`` for as many readouts in each, ``amplitude`` for bins of the same width
            between the 2nd and the 98th percentile.
    """
    if equal == "count":
        order = np.argsort(np.argsort(signal, kind="stable"), kind="stable")
        return (order * count // len(signal)).astype(np.int32)
    if equal != "amplitude":
        raise ValueError(f"bins of equal {equal!r}; count or amplitude")
    low, high = np.percentile(signal, (2, 98))
    scaled = (signal - low) / max(high - low, 1e-12)
    return np.clip(np.floor(scaled * count), 0, count - 1).astype(np.int32)


@dataclass(frozen=True)
class PhaseScore:
    """How well phases agree, up to what nobody can know: where the cycle starts.

    Attributes:
        mean_error: mean circular distance in cycles.
        shift: cycles to add to the estimate.
    """

    mean_error: float
    shift: float


def phase_error(estimate: np.ndarray, truth: np.ndarray) -> PhaseScore:
    """Mean circular distance of two phases in cycles, after the best constant shift."""
    difference = np.mod(truth - estimate, 1.0)
    shift = float(np.angle(np.exp(2j * np.pi * difference).mean()) / (2 * np.pi))
    rest = np.mod(difference - shift + 0.5, 1.0) - 0.5
    return PhaseScore(float(np.abs(rest).mean()), shift)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation, ties averaged."""
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
