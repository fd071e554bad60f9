"""Breathing and heartbeat from the navigators alone (self-gating), or from an ECG.

Numpy and scipy. A navigator is described as ``y(t) = sum_j a_j(t) sum_k D_k(tau) h_jk``: every
state signal ``a_j`` (constant, breathing, heartbeat) has its own recovery, made of dictionary
vectors. Relaxation, which changes sign after each inversion and repeats at a frequency among
those of breathing and heart, is so told apart from motion: signals and recoveries are found in
turn (alternating least squares), each signal kept in its band.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mriforge.errors import BadInput

RESPIRATORY_HZ = (0.1, 0.6)
CARDIAC_HZ = (0.6, 2.5)
OUTLYING = 0.3
"""A beat is flagged when it differs from the median by more than this part of it."""


@dataclass(frozen=True)
class Gating:
    """State signals over time.

    Attributes:
        time_s: ``(t,)`` of the signals.
        respiratory: ``(t,)`` unit variance, low at end-expiration.
        cardiac: ``(t,)`` unit variance; with an ECG the cosine of its phase.
        beats_s: ``(b,)`` times at which a cycle starts.
        regular: ``(b - 1,)`` bool; the interval is like the others.
        rates_hz: found frequencies, ``respiratory`` and ``cardiac``.
        concentration: share of the signal's power near its frequency, of both.
        source: of the beats, ``navigator`` or ``ecg``.
    """

    time_s: np.ndarray
    respiratory: np.ndarray
    cardiac: np.ndarray
    beats_s: np.ndarray
    regular: np.ndarray
    rates_hz: dict[str, float] = field(default_factory=dict)
    concentration: dict[str, float] = field(default_factory=dict)
    source: str = "navigator"

    def phase(self, time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cardiac phase in cycles ``[0, 1)``, linear between beats, and where it is reliable."""
        return linear_phase(time_s, self.beats_s, self.regular)

    def breathing(self, time_s: np.ndarray) -> np.ndarray:
        """Respiratory signal at other times, linear in between."""
        return np.interp(time_s, self.time_s, self.respiratory)


def linear_phase(
    time_s: np.ndarray, beats_s: np.ndarray, regular: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Phase that goes from 0 to 1 between beats; before the first and after the last by the median.

    Args:
        time_s: ``(t,)``.
        beats_s: ``(b,)`` ascending, at least two.
        regular: ``(b - 1,)`` bool.

    Returns:
        Phase ``(t,)`` in ``[0, 1)`` and whether it lies in a regular interval ``(t,)``.
    """
    if len(beats_s) < 2:
        raise BadInput("Fewer than two heartbeats were found.", "Name an ECG, or one cardiac bin.")
    intervals = np.diff(beats_s)
    median = float(np.median(intervals))
    regular = np.ones(len(intervals), bool) if regular is None else regular
    before = max(int(np.ceil((beats_s[0] - time_s.min()) / median)), 0)
    after = max(int(np.ceil((time_s.max() - beats_s[-1]) / median)) + 1, 1)
    grid = np.concatenate(
        [
            beats_s[0] - median * np.arange(before, 0, -1),
            beats_s,
            beats_s[-1] + median * np.arange(1, after + 1),
        ]
    )
    count = np.interp(time_s, grid, np.arange(len(grid)))
    flags = np.concatenate([np.ones(before, bool), regular, np.ones(after, bool)])
    where = np.clip(np.floor(count).astype(int), 0, len(flags) - 1)
    return np.mod(count, 1.0), flags[where]


def regular_beats(beats_s: np.ndarray, outlying: float = OUTLYING) -> np.ndarray:
    """``(b - 1,)`` bool: intervals no further from their median than ``outlying`` of it."""
    intervals = np.diff(beats_s)
    median = np.median(intervals) if len(intervals) else 1.0
    return np.abs(intervals - median) <= outlying * median


def smooth(
    signal: np.ndarray, precision: np.ndarray, step_s: float, cutoff_hz: float
) -> np.ndarray:
    """Low-pass by a Gaussian that trusts samples by their precision (normalised convolution).

    Args:
        signal: ``(t,)`` or ``(t, p)``, evenly spaced; its ends are mirrored.
        precision: ``(t,)`` inverse variances.
        step_s: spacing in seconds.
        cutoff_hz: where the amplitude is halved.
    """
    from scipy.fft import dct, idct

    size = len(signal)
    frequency = np.arange(size) / (2 * size * step_s)
    gain = np.exp2(-np.square(frequency / cutoff_hz))
    trust = (precision + 1e-3 * precision.mean()).reshape(-1, *(1,) * (signal.ndim - 1))
    gain = gain.reshape(trust.shape)
    weighted, weights = (
        idct(gain * dct(part, axis=0, norm="ortho"), axis=0, norm="ortho")
        for part in (signal * trust, trust)
    )
    return weighted / np.maximum(weights, 1e-12 * weights.max())


def band(
    signal: np.ndarray, precision: np.ndarray, step_s: float, band_hz: tuple[float, float]
) -> np.ndarray:
    """Band-pass as the difference of two :func:`smooth`."""
    low, high = band_hz
    fast = smooth(signal, precision, step_s, high)
    return fast - smooth(fast, precision, step_s, low)


def spectrum(signal: np.ndarray, step_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and power of a signal, windowed and zero-filled four times."""
    size = 4 * len(signal)
    window = np.hanning(len(signal))
    power = np.abs(np.fft.rfft((signal - signal.mean()) * window, size)) ** 2
    return np.fft.rfftfreq(size, step_s), power


def dominant(
    signal: np.ndarray, step_s: float, band_hz: tuple[float, float], width: float = 0.2
) -> tuple[float, float]:
    """Strongest frequency within a band, and the share of the band's power that is near it.

    Args:
        signal: ``(t,)``.
        step_s: spacing in seconds.
        band_hz: searched.
        width: "near" is within this part of the frequency.
    """
    frequency, power = spectrum(signal, step_s)
    inside = (frequency >= band_hz[0]) & (frequency <= band_hz[1])
    if not inside.any() or power[inside].max() <= 0:
        return float(np.mean(band_hz)), 0.0
    # Heartbeats vary by some per cent: what counts is the power around, not the tallest line.
    half = 0.05 * 0.5 * sum(band_hz)
    bins = max(int(half / (frequency[1] - frequency[0])), 1)
    around = np.convolve(power, np.hanning(2 * bins + 3)[1:-1], mode="same")
    found = float(frequency[inside][np.argmax(around[inside])])
    near = inside & (np.abs(frequency - found) <= width * found)
    return found, float(power[near].sum() / power[inside].sum())


def _regress(data: np.ndarray, signals: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """``h (j, K, p)`` of ``data ~ sum_jk signals_j curves_k h_jk``, slightly damped."""
    design = (signals[:, :, None] * curves[:, None, :]).reshape(len(data), -1)
    gram = design.T @ design
    gram += 1e-4 * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, design.T @ data).reshape(signals.shape[1], curves.shape[1], -1)


def _update(
    data: np.ndarray, fixed: np.ndarray, gains: np.ndarray, variance: float
) -> tuple[np.ndarray, np.ndarray]:
    """State signals ``(t, j)`` from their gains ``(t, j, p)``, and their precisions."""
    rest = data - fixed
    normal = gains @ np.swapaxes(gains, 1, 2) / variance
    right = (gains @ rest[:, :, None])[:, :, 0] / variance
    normal = normal + np.eye(normal.shape[1])  # the signals have unit variance beforehand
    values = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    precision = np.diagonal(normal, axis1=1, axis2=2) - 1.0
    return values, precision


def _starts(
    residual: np.ndarray,
    trust: np.ndarray,
    step_s: float,
    band_hz: tuple[float, float],
    count: int,
) -> list[np.ndarray]:
    """First guesses: the band-passed components, strong and of concentrated spectrum first."""
    filtered = band(residual, trust, step_s, band_hz)
    values, vectors = np.linalg.eigh((filtered * trust[:, None]).T @ filtered)
    candidates = filtered @ vectors[:, ::-1][:, :4]
    strength = np.sqrt(np.clip(values[::-1][:4] / max(values[-1], 1e-30), 0, None))
    scores = [
        dominant(candidate, step_s, band_hz)[1] * np.sqrt(own)
        for candidate, own in zip(candidates.T, strength, strict=True)
    ]
    return [_unit(candidates[:, number]) for number in np.argsort(scores)[::-1][:count]]


def _unit(signal: np.ndarray) -> np.ndarray:
    return (signal - signal.mean()) / max(float(signal.std()), 1e-30)


def separate(
    data: np.ndarray,
    curves: np.ndarray,
    step_s: float,
    iterations: int = 6,
) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[float, float]]]:
    """Breathing and heartbeat by alternating least squares.

    Several first guesses are followed for a while; the one is kept that explains much with
    concentrated spectra. (In a short scan, breathing modulated by the inversions explains nearly as
    much as breathing.)

    Args:
        data: ``(t, p)`` components of evenly spaced navigators.
        curves: ``(t, K)`` dictionary vectors at each one's inversion time.
        step_s: spacing in seconds.
        iterations: alternations.

    Returns:
        Respiratory and cardiac signals ``(t,)`` of unit variance, and frequency (Hz) and
        concentration of both.
    """
    ones = np.ones(len(data))
    mean = curves @ _regress(data, ones[:, None], curves)[0]
    # Late, where everything has recovered, motion has one sign: start from there.
    late = np.square(mean).sum(1)
    trust = np.where(_after_null(curves), late / late.max(), 0.0) + 1e-6
    tried = []
    for breathing in _starts(data - mean, trust, step_s, RESPIRATORY_HZ, 3):
        gains = _regress(data, np.stack([ones, breathing], 1), curves)
        residual = data - curves @ gains[0] - breathing[:, None] * (curves @ gains[1])
        for heart in _starts(residual, trust, step_s, CARDIAC_HZ, 2):
            tried.append(_alternate(data, curves, step_s, breathing, heart, iterations // 2))

    def doubt(one: tuple[np.ndarray, np.ndarray, float]) -> float:
        sure = dominant(one[0], step_s, RESPIRATORY_HZ)[1] * dominant(one[1], step_s, CARDIAC_HZ)[1]
        return one[2] / max(sure, 1e-6)

    best = min(tried, key=doubt)
    breathing, heart, _ = _alternate(data, curves, step_s, *best[:2], iterations)
    return (
        breathing,
        heart,
        {
            "respiratory": dominant(breathing, step_s, RESPIRATORY_HZ),
            "cardiac": dominant(heart, step_s, CARDIAC_HZ),
        },
    )


def _alternate(
    data: np.ndarray,
    curves: np.ndarray,
    step_s: float,
    breathing: np.ndarray,
    heart: np.ndarray,
    iterations: int,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Recoveries from signals and signals from recoveries in turn; and the final residual."""
    ones = np.ones(len(data))
    for turn in range(iterations + 1):
        signals = np.stack([ones, breathing, heart], axis=1)
        gains = _regress(data, signals, curves)
        along = np.einsum("tk,jkp->tjp", curves, gains, optimize=True)
        rest = data - np.einsum("tj,tjp->tp", signals, along, optimize=True)
        variance = float(np.square(rest).mean())
        if turn == iterations:
            break
        raw, precision = _update(data, along[:, 0], along[:, 1:], variance)
        rate = dominant(heart, step_s, CARDIAC_HZ)[0]
        breathing = _unit(smooth(raw[:, 0], precision[:, 0], step_s, 2 * RESPIRATORY_HZ[1]))
        heart = _unit(band(raw[:, 1], precision[:, 1], step_s, (0.5 * rate, 2.5 * rate)))
    return breathing, heart, variance


def _after_null(curves: np.ndarray) -> np.ndarray:
    """``(t,)`` bool: later than a third of the recovery, told by how far the curves have come."""
    end = curves[np.argmax(curves @ _direction(curves))]
    start = curves[np.argmin(curves @ _direction(curves))]
    along = (curves - start) @ (end - start) / max(float(np.square(end - start).sum()), 1e-30)
    return along > 0.6


def _direction(curves: np.ndarray) -> np.ndarray:
    centred = curves - curves.mean(0)
    vector = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    return vector if np.sum((curves @ vector - np.median(curves @ vector)) ** 3) < 0 else -vector


def end_expiration_low(signal: np.ndarray) -> np.ndarray:
    """Turns a respiratory signal so that the side where it dwells, end-expiration, is low.

    A navigator does not say which end is which. People rest after breathing out, which skews the
    signal; breathing that is as long at both ends may come out upside down.
    """
    centred = signal - np.median(signal)
    return signal if np.sum(np.sign(centred) * centred**2) >= 0 else -signal


def find_beats(signal: np.ndarray, time_s: np.ndarray, rate_hz: float) -> np.ndarray:
    """Peaks of a cardiac signal, to a fraction of a sample by parabolas.

    Args:
        signal: ``(t,)`` band-passed.
        time_s: ``(t,)`` evenly spaced.
        rate_hz: about how many there are in a second.
    """
    from scipy.signal import find_peaks

    step = float(np.median(np.diff(time_s)))
    apart = max(int(0.55 / rate_hz / step), 1)
    peaks, _ = find_peaks(signal, distance=apart, prominence=0.4 * float(signal.std()))
    peaks = peaks[(peaks > 0) & (peaks < len(signal) - 1)]
    left, top, right = signal[peaks - 1], signal[peaks], signal[peaks + 1]
    bend = left - 2 * top + right
    offset = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, -1), 0.0)
    return np.interp(peaks + np.clip(offset, -0.5, 0.5), np.arange(len(time_s)), time_s)


def gate(
    data: np.ndarray,
    curves: np.ndarray,
    time_s: np.ndarray,
    trigger_s: np.ndarray | None = None,
) -> Gating:
    """Respiratory and cardiac signals from navigators.

    Args:
        data: ``(t, p)`` components of the navigators.
        curves: ``(t, K)`` dictionary vectors at each one's inversion time.
        time_s: ``(t,)`` ascending.
        trigger_s: ``(b,)`` times of R waves where an ECG was recorded; they are used as they are.

    Raises:
        BadInput: the scan is too short to tell breathing and heart apart.
    """
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    if len(time_s) < 64 or step_s <= 0 or time_s[-1] - time_s[0] < 10.0:
        raise BadInput(
            "The scan is too short to find breathing and heartbeat in its navigators.",
            "Ten seconds are the least.",
        )
    even = np.arange(time_s[0], time_s[-1] + step_s / 2, step_s)
    if len(even) != len(time_s) or np.abs(even - time_s).max() > step_s:
        nearest = np.clip(np.searchsorted(time_s, even), 0, len(time_s) - 1)
        data, curves = data[nearest], curves[nearest]
    else:
        even = time_s
    breathing, heart, rates = separate(data, curves, step_s)
    source = "navigator"
    if trigger_s is not None and len(trigger_s) >= 2:
        beats = np.unique(np.asarray(trigger_s, np.float64))
        source = "ecg"
    else:
        beats = find_beats(heart, even, rates["cardiac"][0])
    return Gating(
        even,
        _unit(end_expiration_low(breathing)),
        heart,
        beats,
        regular_beats(beats),
        {name: value[0] for name, value in rates.items()},
        {name: value[1] for name, value in rates.items()},
        source,
    )
