"""T1 of recoveries: against truth, against scipy voxel by voxel, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.relaxometry.models import RecoveryModel
from mriforge.relaxometry.recovery import fit_recovery
from mriforge.relaxometry.result import Flag
from mriforge.relaxometry.signals import (
    inversion_recovery,
    ir_flash,
    spoiled_gradient_echo,
)
from mriforge.relaxometry.varpro import best_curves, compact_basis, curve_table, time_grid

TR, FLIP = 0.0036, 5.0
PULSES = np.arange(344) * 2 + 1
MOLLI_S = np.array([118, 201, 1118, 1201, 2118, 2201, 3118, 4118]) / 1000
IR_S = np.array([0.05, 0.15, 0.4, 0.8, 1.3, 2.0, 3.0, 5.0, 8.0])
TRAIN = RecoveryModel("irflash", repetition_s=TR, flip_deg=FLIP)


def look_locker(t1_s, ratio, times_s=MOLLI_S):
    """``1 - ratio exp(-t / T1*)`` with ``T1* = T1 / (ratio - 1)``, ``(T, V)``."""
    return 1 - ratio * np.exp(-times_s[:, None] * (ratio - 1) / t1_s)


def spread(count, low, high, seed=0):
    return np.random.default_rng(seed).uniform(low, high, count)


def noisy(clean, sd, seed=1):
    return clean + np.random.default_rng(seed).normal(0, sd, clean.shape)


# Signals


def test_signals_by_the_bloch_equation():
    """The train of pulses, stepped one by one."""
    t1, flip = 0.9, np.deg2rad(FLIP)
    steady = (1 - np.exp(-TR / t1)) / (1 - np.exp(-TR / t1) * np.cos(flip))
    along, seen = -0.95 * steady, []
    for _ in range(500):
        seen.append(along * np.sin(flip))
        along = 1 + (along * np.cos(flip) - 1) * np.exp(-TR / t1)
    assert ir_flash(t1, np.arange(500), TR, FLIP, -0.95) == pytest.approx(seen, rel=1e-10)
    late = ir_flash(t1, 20_000, TR, FLIP, -0.95)
    assert late == pytest.approx(spoiled_gradient_echo(t1, FLIP, TR), rel=1e-12)
    slow = ir_flash(t1, np.array([0, 100]), TR, 1e-4, -1.0) / np.sin(np.deg2rad(1e-4))
    assert slow == pytest.approx(inversion_recovery(t1, np.array([0, 100]) * TR), rel=1e-4)


def test_signals_of_tensors_are_those_of_arrays():
    t1, flips = np.array([0.4, 1.2]), np.array([4.0, 6.0])
    array = ir_flash(t1, PULSES, TR, flips, -0.9)
    tensor = ir_flash(torch.tensor(t1), torch.tensor(PULSES), TR, torch.tensor(flips), -0.9)
    assert array.shape == (2, 344)
    assert tensor.numpy() == pytest.approx(array, rel=1e-12)
    assert ir_flash(t1, 3, TR, FLIP, -1).shape == (2,)


# Truth comes back


@settings(max_examples=4, deadline=None)
@given(st.floats(0.15, 3.5), st.floats(2.0, 12.0), st.floats(-1.0, -0.4), st.floats(1e-3, 1e5))
def test_a_train_without_noise_gives_its_t1_back(t1, flip, inversion, density):
    series = density * ir_flash(np.array([t1]), PULSES, TR, flip, inversion).T
    model = RecoveryModel("irflash", repetition_s=TR, flip_deg=flip)
    for signal, data in (("real", series), ("magnitude", abs(series)), ("complex", series * 1j)):
        found = fit_recovery(data, PULSES * TR, model, signal)
        # T1 much longer than the train is known to single precision of the data only
        assert found.t1_ms[0] == pytest.approx(1000 * t1, rel=2e-4)
        assert found.inversion[0] == pytest.approx(inversion, abs=2e-3)
        assert found.r_squared[0] > 0.9999


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 2.5), st.floats(-1.0, -0.2), st.floats(0, 2 * np.pi))
def test_plain_recovery_without_noise(t1, inversion, phase):
    clean = inversion_recovery(np.array([t1]), IR_S, inversion).T * 400
    for signal, data in (
        ("real", clean),
        ("magnitude", abs(clean)),
        ("complex", clean * np.exp(1j * phase)),
    ):
        found = fit_recovery(data, IR_S, signal=signal)
        assert found.t1_ms[0] == pytest.approx(1000 * t1, rel=1e-5)
        assert found.amplitude[0] == pytest.approx(400, rel=1e-4)
        assert found.inversion[0] == pytest.approx(inversion, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.25, 2.5), st.floats(1.6, 2.4))
def test_molli_corrects_the_readout(t1, ratio):
    found = fit_recovery(
        abs(look_locker(np.array([t1]), ratio)), MOLLI_S, RecoveryModel("looklocker")
    )
    assert found.t1_ms[0] == pytest.approx(1000 * t1, rel=1e-4)


def test_the_order_of_the_images_does_not_matter():
    series = noisy(abs(look_locker(spread(50, 0.4, 2), 1.9)), 0.02)
    series = abs(series)
    order = np.random.default_rng(3).permutation(8)
    model = RecoveryModel("looklocker")
    one, other = (fit_recovery(series[o], MOLLI_S[o], model) for o in (np.arange(8), order))
    assert np.array_equal(one.t1_ms, other.t1_ms)


# Estimates are those of scipy, unbiased, and know their error


def test_a_train_agrees_with_scipy_in_every_voxel():
    t1 = spread(60, 0.2, 2.2)
    series = noisy(ir_flash(t1, PULSES, TR, FLIP, -0.95).T, 0.002).astype(np.float32)
    found = fit_recovery(series, PULSES * TR, TRAIN, "real")

    def curve(n, end, change, t1_s):
        return end + change * (np.exp(-TR / t1_s) * np.cos(np.deg2rad(FLIP))) ** n

    for voxel in range(60):
        data = series[:, voxel].astype(float)
        start = (data[-1], -2 * data[-1], 1.0)
        best, covariance = curve_fit(curve, PULSES, data, start, ftol=1e-13, xtol=1e-13, gtol=1e-13)
        assert found.t1_ms[voxel] == pytest.approx(1000 * best[2], rel=2e-5)
        assert found.error_ms[voxel] == pytest.approx(1000 * covariance[2, 2] ** 0.5, rel=2e-3)
        assert found.amplitude[voxel] == pytest.approx(best[0], rel=1e-3)
        residual = data - curve(PULSES, *best)
        explained = 1 - residual.var() / data.var()
        assert found.r_squared[voxel] == pytest.approx(explained, abs=1e-4)


def test_molli_agrees_with_scipy_polarity_and_error_included():
    t1 = spread(60, 0.4, 2.0, 5)
    series = abs(noisy(100 * look_locker(t1, 1.9), 2.0))
    found = fit_recovery(series, MOLLI_S, RecoveryModel("looklocker"))

    def curve(t, a, b, apparent):
        return a - b * np.exp(-t / max(apparent, 1e-3))

    for voxel in range(60):
        best = None
        for flips in range(9):
            data = np.where(np.arange(8) < flips, -1, 1) * series[:, voxel]
            try:
                fit = curve_fit(curve, MOLLI_S, data, (100, 190, t1[voxel]), ftol=1e-13, xtol=1e-13)
            except RuntimeError:
                continue
            residual = ((data - curve(MOLLI_S, *fit[0])) ** 2).sum()
            if fit[0][1] > 0 and (best is None or residual < best[0]):
                best = residual, *fit
        _, (a, b, apparent), covariance = best
        by = np.array([-apparent * b / a**2, apparent / a, b / a - 1])
        assert found.t1_ms[voxel] == pytest.approx(1000 * apparent * (b / a - 1), rel=1e-5)
        assert found.error_ms[voxel] == pytest.approx(
            1000 * (by @ covariance @ by) ** 0.5, rel=1e-3
        )


@pytest.mark.parametrize("signal", ["real", "magnitude", "complex"])
def test_estimates_are_unbiased_and_errors_true(signal):
    count, sd = 4000, 0.03
    clean = np.repeat(inversion_recovery(np.array([1.1]), IR_S, -0.95).T, count, 1)
    series = noisy(clean, sd)
    if signal == "complex":
        series = (series + 1j * noisy(0 * clean, sd, 2)) * np.exp(1j * spread(count, 0, 6))
    elif signal == "magnitude":
        series = abs(series)
    found = fit_recovery(series, IR_S, signal=signal)
    assert found.fitted.all()
    wrong = found.t1_ms / 1100 - 1
    assert abs(wrong.mean()) < 4 * wrong.std() / np.sqrt(count) + 0.002
    # A known inversion leaves nothing else to be estimated, so the error is smaller.
    known = fit_recovery(series, IR_S, RecoveryModel(inversion=-0.95), signal)
    assert (known.t1_ms / 1100 - 1).std() < wrong.std()
    assert found.error_ms.mean() == pytest.approx(found.t1_ms.std(), rel=0.06)
    assert known.error_ms.mean() == pytest.approx(known.t1_ms.std(), rel=0.06)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.3, 1.8), st.floats(3, 8), st.floats(0.0005, 0.003), st.integers(0, 999))
def test_noise_of_any_size_stays_within_its_error(t1, flip, sd, seed):
    clean = np.repeat(ir_flash(np.array([t1]), PULSES, TR, flip, -0.95).T, 200, 1)
    model = RecoveryModel("irflash", repetition_s=TR, flip_deg=flip)
    found = fit_recovery(noisy(clean, sd, seed), PULSES * TR, model, "real")
    score = ((found.t1_ms - 1000 * t1) / found.error_ms)[found.fitted]
    assert found.fitted.mean() > 0.95
    assert abs(np.median(score)) < 0.35
    assert 0.75 < np.std(score) < 1.3


def test_a_table_of_curves_is_fine_enough_and_compact():
    bounds = (0.04, 5.0)
    times = PULSES * TR
    grid = time_grid(bounds)
    basis = compact_basis(times, grid, 1e-7)
    assert basis.shape[0] < 20
    assert basis @ basis.T == pytest.approx(np.eye(len(basis)), abs=1e-10)
    # A curve between two grid points is found where it is.
    constants = np.exp(np.linspace(grid[3], grid[-4], 500))
    series = 3 - 5 * np.exp(-times / constants[:, None])
    for rows in (None, basis):
        table = curve_table(times, grid, rows)
        data = torch.as_tensor(series if rows is None else series @ basis.T)
        found = best_curves(data, torch.as_tensor((series**2).sum(1)), table, -1)
        assert found.log_time.exp().numpy() == pytest.approx(constants, rel=1e-5)
        assert found.end.numpy() == pytest.approx(3, rel=1e-4)


# Bounds, masks, failures


def test_masks_hold_and_outside_is_said():
    series = abs(look_locker(spread(24, 0.5, 2), 1.9)).reshape(8, 2, 3, 4)
    mask = np.zeros((2, 3, 4), bool)
    mask[1, :, 2:] = True
    model = RecoveryModel("looklocker")
    part, whole = (fit_recovery(series, MOLLI_S, model, mask=m) for m in (mask, None))
    assert np.array_equal(part.t1_ms[mask], whole.t1_ms[mask])
    assert (part.flags[~mask] == Flag.OUTSIDE).all() and (part.t1_ms[~mask] == 0).all()
    assert (part.quality()[~mask] == -1).all()
    assert part.counts()["outside"] == 18


def test_what_cannot_be_fitted_is_zero_and_says_why():
    good = abs(look_locker(np.array([1.0]), 1.9))[:, 0]
    series = np.stack([good, 0 * good, 0 * good + 7, good, -good, good[::-1]], 1)
    series[3, 3] = np.nan
    found = fit_recovery(series, MOLLI_S, RecoveryModel("looklocker"))
    wanted = [Flag.FITTED, Flag.NO_SIGNAL, Flag.NO_SIGNAL, Flag.BAD_INPUT, Flag.BAD_INPUT]
    assert found.flags[:5].tolist() == wanted
    assert found.flags[5] != Flag.FITTED
    assert (found.t1_ms[1:] == 0).all() and np.isfinite(found.quality()).all()
    assert (found.quality()[1:] < 0).all()


@pytest.mark.parametrize("t1", [0.2, 3.0])
def test_t1_beyond_the_bounds_is_flagged(t1):
    series = inversion_recovery(np.array([t1]), IR_S).T
    inside = fit_recovery(series, IR_S, RecoveryModel(bounds_s=(0.1, 4.0)), "real")
    beyond = fit_recovery(series, IR_S, RecoveryModel(bounds_s=(0.4, 2.0)), "real")
    assert inside.flags[0] == Flag.FITTED and inside.t1_ms[0] == pytest.approx(1000 * t1, rel=1e-5)
    assert beyond.flags[0] == Flag.AT_BOUND and beyond.t1_ms[0] == 0


@pytest.mark.parametrize("images", [8, 344])
def test_noise_alone_never_gives_a_value_outside_the_bounds(images):
    series = abs(np.random.default_rng(0).normal(size=(images, 300)))
    times = np.linspace(0.05, 4, images)
    model = RecoveryModel("looklocker", bounds_s=(0.3, 2.0))
    found = fit_recovery(series, times, model)
    t1 = found.t1_ms[found.fitted]
    assert ((t1 > 299.9) & (t1 < 2000.1)).all()
    assert np.isfinite(found.t1_ms).all() and not found.fitted.all()


def test_three_images_are_enough_but_have_no_error():
    times = np.array([0.1, 0.8, 3.0])
    found = fit_recovery(inversion_recovery(np.array([0.9]), times).T, times, signal="real")
    assert found.t1_ms[0] == pytest.approx(900, rel=1e-5)
    assert np.isnan(found.error_ms[0])


@pytest.mark.parametrize(
    ("series", "times", "options", "said"),
    [
        (np.ones((2, 5)), [0.1, 0.2], {}, "at least 3 images, not 2"),
        (np.ones(5), np.arange(5), {}, "at least 3 images, not 1"),
        (np.ones((4, 5)), [0.1, 0.2, 0.3], {}, "4 images and 3 inversion times"),
        (np.ones((3, 5)), [0.1, 0.2, 0.2], {}, "only 2 different"),
        (np.ones((3, 5)), [0.1, np.nan, 0.2], {}, "must be numbers"),
        (np.ones((3, 5)), [0.1, -0.1, 0.2], {}, "not negative"),
        (np.zeros((3, 5)), [0.1, 0.2, 0.3], {}, "All images are zero"),
        (np.ones((3, 5)), [0.1, 0.2, 0.3], {"mask": np.zeros(5)}, "mask is empty"),
        (np.ones((3, 5)), [0.1, 0.2, 0.3], {"mask": np.ones(4)}, "mask has shape"),
        (np.ones((3, 5)), [0.1, 0.2, 0.3], {"signal": "complex"}, "are real"),
        (np.ones((3, 5)) * 1j, [0.1, 0.2, 0.3], {"signal": "magnitude"}, "are complex"),
    ],
)
def test_bad_input_is_said(series, times, options, said):
    with pytest.raises(BadInput, match=said):
        fit_recovery(series, np.asarray(times, float), **options)


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"bounds_s": (2.0, 1.0)}, "cannot be searched"),
        ({"kind": "irflash", "flip_deg": 5.0}, "TR"),
        ({"kind": "irflash", "repetition_s": 0.004}, "flip angle"),
        ({"kind": "looklocker", "inversion": -1.0}, "fitted inversion"),
        ({"inversion": 1.0}, "does not start"),
    ],
)
def test_models_that_no_sequence_has(settings_, said):
    with pytest.raises(BadInput, match=said):
        RecoveryModel(**settings_)


def test_a_fit_can_be_cancelled():
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        fit_recovery(
            np.random.default_rng(0).random((5, 9)), np.arange(5.0), events=Events(control)
        )


@pytest.mark.parametrize("kind", ["ir", "looklocker", "irflash"])
def test_a_map_describes_its_images(kind):
    t1 = spread(20, 0.4, 1.8)
    clean = {
        "ir": inversion_recovery(t1, MOLLI_S).T,
        "looklocker": look_locker(t1, 1.9),
        "irflash": ir_flash(t1, MOLLI_S / TR, TR, FLIP, -0.95).T,
    }[kind]
    model = RecoveryModel(kind, repetition_s=TR, flip_deg=FLIP)
    found = fit_recovery(clean, MOLLI_S, model, "real")
    assert model.curve(found, MOLLI_S) == pytest.approx(clean, abs=1e-4 * np.abs(clean).max())
