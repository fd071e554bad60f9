"""Heartbeat and breathing over the time of a scan, and the bins they belong to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mriforge.phantoms.multitasking.anatomy import Subject
from mriforge.phantoms.multitasking.render import CARDIAC_BINS, RESPIRATORY_BINS

_BREATH_POWER = 2.2
_ECTOPIC = 0.12
"""Part of the beats that come early when the heart is arrhythmic."""


@dataclass(frozen=True)
class Physiology:
    """What heart and chest did.

    Attributes:
        cardiac_phase: ``(s,)`` mechanical phase in [0, 1), 0 at end-diastole, 0.5 at end-systole.
        inspiration: ``(s,)`` depth of the breath in [0, 1], 0 at end-expiration.
        triggers_s: times of the R waves, the first one before the scan.
    """

    cardiac_phase: np.ndarray
    inspiration: np.ndarray
    triggers_s: np.ndarray

    @property
    def cardiac(self) -> np.ndarray:
        """``(s,)`` int32 cardiac bin."""
        return np.minimum(self.cardiac_phase * CARDIAC_BINS, CARDIAC_BINS - 1).astype(np.int32)

    @property
    def respiratory(self) -> np.ndarray:
        """``(s,)`` int32 respiratory bin."""
        bins = self.inspiration * RESPIRATORY_BINS
        return np.minimum(bins, RESPIRATORY_BINS - 1).astype(np.int32)


def simulate(
    subject: Subject,
    time_s: np.ndarray,
    rng: np.random.Generator,
    *,
    arrhythmia: bool = False,
    irregular_breathing: bool = False,
) -> Physiology:
    """Draws the physiology of a scan.

    Args:
        subject: whose heart rate and breathing.
        time_s: ``(s,)`` ascending times of the readouts.
        rng: source of randomness.
        arrhythmia: early beats with pauses after them, and a rate that wanders. Systole keeps
            nearly its length, so that phase is not linear in time.
        irregular_breathing: breaths of varied length and depth, pauses, a baseline that drifts.
    """
    end = float(time_s[-1]) + 1.0
    beats = _beats(subject, end, rng, arrhythmia)
    starts = np.concatenate([[0.0], np.cumsum(beats)]) - rng.uniform(0, subject.rr_s)
    beat = np.searchsorted(starts, time_s, "right") - 1
    since, length = time_s - starts[beat], beats[beat]
    systole = length / 2
    if arrhythmia:
        systole = 0.5 * subject.rr_s * (length / subject.rr_s) ** 0.35
        systole = np.minimum(systole, 0.8 * length)
    phase = np.where(
        since < systole,
        0.5 * since / systole,
        0.5 + 0.5 * (since - systole) / (length - systole),
    )
    if irregular_breathing:
        depth = _irregular_breaths(subject, time_s, rng)
    else:
        turn = np.pi * (time_s / subject.breath_s + rng.uniform())
        depth = np.abs(np.sin(turn)) ** _BREATH_POWER
    return Physiology(np.clip(phase, 0, 1 - 1e-9), depth, starts[starts <= time_s[-1]])


def _beats(
    subject: Subject, end_s: float, rng: np.random.Generator, arrhythmia: bool
) -> np.ndarray:
    """Lengths of heartbeats in seconds that cover the scan and one beat before it."""
    number = int(3 * (end_s + 2) / subject.rr_s) + 8
    lengths = subject.rr_s + subject.rr_deviation_s * rng.normal(size=number)
    if arrhythmia:
        wander = np.cumsum(rng.normal(0, 0.012, number))
        lengths *= np.exp(wander - wander.mean())
        early = np.flatnonzero(rng.uniform(size=number - 1) < _ECTOPIC)
        short = rng.uniform(0.55, 0.75, len(early))
        lengths[early + 1] *= 2 - short
        lengths[early] *= short
    return np.clip(lengths, 0.35, 2.2)


def _irregular_breaths(
    subject: Subject, time_s: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Depth of breaths of varied length, with pauses and drift, scaled into [0, 1]."""
    number = int(2 * time_s[-1] / subject.breath_s) + 8
    lengths = subject.breath_s * np.exp(rng.normal(0, 0.25, number))
    depths = np.clip(rng.normal(0.75, 0.15, number), 0.35, 1.1)
    rest = np.where(rng.uniform(size=number) < 0.1, rng.uniform(1.0, 3.0, number), 0.0)
    starts = np.concatenate([[0.0], np.cumsum(lengths + rest)]) - rng.uniform(0, subject.breath_s)
    breath = np.searchsorted(starts, time_s, "right") - 1
    part = np.minimum((time_s - starts[breath]) / lengths[breath], 1.0)
    depth = depths[breath] * np.sin(np.pi * part) ** _BREATH_POWER
    drift = 0.18 * np.sin(2 * np.pi * (time_s / max(time_s[-1], 30.0) * 0.7 + rng.uniform()))
    moved = depth + drift
    # A short scan sees little of the range; what counts as its ends stays the subject's own.
    low, high = min(moved.min(), 0.0), max(moved.max(), 1.0)
    return (moved - low) / (high - low)
