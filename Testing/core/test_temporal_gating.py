"""Breathing, heartbeat and bins from signals whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from mriforge.errors import BadInput
from mriforge.relaxometry.signals import ir_flash
from mriforge.temporal.binning import (
    Bins,
    amplitude_bins,
    inversion_bins,
    phase_bins,
    phase_error,
    rank_correlation,
)
from mriforge.temporal.dictionary import relaxation_basis
from mriforge.temporal.selfgating import (
    band,
    dominant,
    end_expiration_low,
    find_beats,
    gate,
    linear_phase,
    regular_beats,
    smooth,
)

STEP_S = 0.0144
PULSES = np.arange(172) * 4.0


def beats(rng: np.random.Generator, seconds: float, early: bool = False) -> np.ndarray:
    lengths = 0.9 + 0.05 * rng.standard_normal(int(seconds / 0.6))
    if early:
        lengths[10::11] = 0.5
        lengths[11::11] = 1.35
    times = np.cumsum(lengths) - 0.4
    return times[times < seconds]


def navigators(
    rng: np.random.Generator, noise: float = 0.02, early: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Components of a navigator: three tissues that recover, a chest and a heart that move."""
    inversions = 16
    time_s = np.arange(inversions * len(PULSES)) * STEP_S
    heart, _ = linear_phase(time_s, beats(rng, time_s[-1], early))
    chest = np.abs(np.sin(np.pi * time_s / 4.1)) ** 4
    curves = ir_flash(np.array([0.4, 1.1, 1.8]), PULSES, 0.0036, 5.0, -0.95)
    curves = np.tile(curves / np.abs(curves).max(), inversions)
    space = rng.standard_normal((3, 3, 20))
    motion = np.stack([np.ones_like(chest), 0.25 * chest, 0.08 * np.cos(2 * np.pi * heart)])
    data = np.einsum("kt,mt,mkp->tp", curves, motion, space)
    data += noise * rng.standard_normal(data.shape)
    basis = relaxation_basis(PULSES, 0.0036, 5.0, 5).vectors
    return data, np.tile(basis, inversions).T, time_s, heart, chest


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_breathing_and_heartbeat_are_found_under_relaxation(seed: int) -> None:
    data, curves, time_s, heart, chest = navigators(np.random.default_rng(seed))
    found = gate(data, curves, time_s)
    phase, _ = found.phase(time_s)
    assert found.source == "navigator"
    assert phase_error(phase, heart).mean_error < 0.05
    assert rank_correlation(found.breathing(time_s), chest) > 0.95
    assert found.rates_hz["cardiac"] == pytest.approx(1 / 0.9, rel=0.08)
    assert found.rates_hz["respiratory"] == pytest.approx(1 / 4.1, rel=0.08)
    assert found.concentration["respiratory"] > 0.8


def test_an_ecg_is_used_as_it_is_and_early_beats_are_flagged() -> None:
    rng = np.random.default_rng(3)
    data, curves, time_s, *_ = navigators(rng)
    r_waves = beats(rng, time_s[-1], early=True)
    found = gate(data, curves, time_s, r_waves)
    assert found.source == "ecg"
    np.testing.assert_array_equal(found.beats_s, r_waves)
    short = np.diff(r_waves) < 0.6
    long = np.diff(r_waves) > 1.25
    assert short.sum() >= 2
    np.testing.assert_array_equal(~found.regular, short | long)
    inside = (time_s > r_waves[0]) & (time_s < r_waves[-1])
    _, valid = found.phase(time_s)
    interval = np.searchsorted(r_waves, time_s[inside], side="right") - 1
    np.testing.assert_array_equal(valid[inside], found.regular[interval])


def test_early_beats_are_found_without_an_ecg() -> None:
    data, curves, time_s, heart, _ = navigators(np.random.default_rng(4), early=True)
    found = gate(data, curves, time_s)
    phase, valid = found.phase(time_s)
    assert 0.02 < (~valid).mean() < 0.4
    kept = phase_error(phase[valid], heart[valid]).mean_error
    assert kept < 0.06
    assert kept < phase_error(phase, heart).mean_error


def test_a_scan_that_is_too_short_is_refused() -> None:
    data, curves, time_s, *_ = navigators(np.random.default_rng(5))
    with pytest.raises(BadInput, match="too short"):
        gate(data[:300], curves[:300], time_s[:300])


def test_phase_is_linear_between_beats_and_goes_on_beyond_them() -> None:
    phase, valid = linear_phase(
        np.array([0.25, 1.0, 1.5, 2.75, 3.5, 4.2]), np.array([1.0, 2.0, 3.0, 4.0])
    )
    np.testing.assert_allclose(phase, [0.25, 0.0, 0.5, 0.75, 0.5, 0.2], atol=1e-12)
    assert valid.all()
    with pytest.raises(BadInput, match="heartbeats"):
        linear_phase(np.arange(3.0), np.array([1.0]))


def test_outlying_intervals() -> None:
    times = np.cumsum([0.9, 0.95, 0.85, 0.5, 1.3, 0.9])
    np.testing.assert_array_equal(regular_beats(times), [True, True, False, False, True])


def test_the_low_pass_halves_at_its_cut_off_and_the_band_keeps_its_middle() -> None:
    time_s = np.arange(8000) * 0.01
    ones = np.ones_like(time_s)
    middle = slice(2000, 6000)
    for frequency, gain in ((1.0, 0.5), (0.1, 0.993), (3.0, 0.002)):
        out = smooth(np.cos(2 * np.pi * frequency * time_s), ones, 0.01, 1.0)
        assert np.abs(out[middle]).max() == pytest.approx(gain, abs=0.01)
    both = np.stack([np.cos(2 * np.pi * 0.7 * time_s), 3 + 0 * time_s], axis=1)
    kept = band(both, ones, 0.01, (0.2, 2.5))
    assert np.abs(kept[middle, 0]).max() > 0.9
    assert np.abs(kept[middle, 1]).max() < 1e-6


def test_samples_without_precision_do_not_count() -> None:
    time_s = np.arange(2000) * 0.01
    signal = np.sin(2 * np.pi * 0.5 * time_s)
    bad = np.arange(2000) % 20 < 5
    broken = np.where(bad, 30.0, signal)
    out = smooth(broken, np.where(bad, 1e-9, 1.0), 0.01, 4.0)
    plain = smooth(broken, np.ones(2000), 0.01, 4.0)
    errors = [np.sqrt(np.mean((one - signal)[100:-100] ** 2)) for one in (out, plain)]
    assert errors[0] < 0.1 * errors[1]


def test_the_strongest_rate_of_an_unsteady_rhythm() -> None:
    rng = np.random.default_rng(6)
    time_s = np.arange(6000) * 0.01
    phase, _ = linear_phase(time_s, beats(rng, 60.0))
    signal = np.cos(2 * np.pi * phase) + 0.2 * rng.standard_normal(6000)
    rate, share = dominant(signal, 0.01, (0.6, 2.5))
    assert rate == pytest.approx(1 / 0.9, rel=0.05)
    noise_rate_share = dominant(rng.standard_normal(6000), 0.01, (0.6, 2.5))[1]
    assert share > 0.8 > 0.5 > noise_rate_share


def test_beats_are_found_between_samples() -> None:
    time_s = np.arange(0, 20, 0.02)
    true = np.arange(0.513, 19.9, 0.907)
    found = find_beats(np.cos(2 * np.pi * (time_s - 0.513) / 0.907), time_s, 1.1)
    assert len(found) == len(true)
    assert np.abs(found - true).max() < 0.002


def test_end_expiration_is_where_the_signal_rests() -> None:
    chest = np.abs(np.sin(np.linspace(0, 30, 3000))) ** 4
    assert np.corrcoef(end_expiration_low(chest), chest)[0, 1] > 0.99
    assert np.corrcoef(end_expiration_low(-chest), chest)[0, 1] > 0.99


def test_inversion_bins_count_pulses() -> None:
    since = np.tile(np.arange(20), 3)
    navigator = since % 2 == 0
    numbers, times_s, pulses = inversion_bins(since, navigator, 0.004)
    np.testing.assert_array_equal(numbers, since // 2)
    np.testing.assert_allclose(pulses, 2 * np.arange(10) + 0.5)
    np.testing.assert_allclose(times_s, 0.004 * pulses)
    for count in (1, 3, 5, 7, 20):
        numbers, times_s, _ = inversion_bins(since, navigator, 0.004, count)
        assert len(times_s) == count
        assert set(numbers) == set(range(count))
        assert (np.diff(numbers[:20]) >= 0).all()
        means = [0.004 * since[numbers == n].mean() for n in range(count)]
        np.testing.assert_allclose(times_s, means, atol=0.004)
    with pytest.raises(BadInput, match="21 inversion times"):
        inversion_bins(since, navigator, 0.004, 21)


def test_bins_of_phase_and_amplitude() -> None:
    np.testing.assert_array_equal(
        phase_bins(np.array([0.0, 0.049, 0.05, 0.999, 1.0, -0.01]), 20), [0, 0, 1, 19, 0, 19]
    )
    signal = np.random.default_rng(7).exponential(size=6000)
    equal = amplitude_bins(signal, 6)
    np.testing.assert_array_equal(np.bincount(equal), 1000)
    assert signal[equal == 0].max() <= signal[equal == 1].min()
    wide = amplitude_bins(signal, 6, "amplitude")
    assert (np.diff(np.bincount(wide)[:5]) < 0).all()
    with pytest.raises(ValueError, match="volume"):
        amplitude_bins(signal, 6, "volume")


def test_bins_are_checked_and_counted() -> None:
    numbers = np.array([0, 1, 1, 2])
    times = np.arange(3.0)
    bins = Bins(
        numbers, numbers % 2, numbers, (3, 2, 3), times, times, np.array([1, 1, 0, 1], bool)
    )
    assert bins.counts.sum() == 3
    assert bins.counts[1, 1, 1] == 1
    assert bins.take(np.array([3])).cardiac.tolist() == [2]
    with pytest.raises(BadInput, match="cardiac"):
        Bins(numbers, numbers, numbers, (2, 3, 3), times, times)
    with pytest.raises(BadInput, match="respiratory"):
        Bins(numbers, numbers[:2], numbers, (3, 3, 3), times, times)


def test_scores_forgive_where_a_cycle_starts_and_nothing_else() -> None:
    phase = np.random.default_rng(8).uniform(size=2000)
    score = phase_error(np.mod(phase + 0.3, 1.0), phase)
    assert score.mean_error < 1e-9
    assert score.shift == pytest.approx(-0.3)
    assert phase_error(np.mod(-phase, 1.0), phase).mean_error > 0.2
