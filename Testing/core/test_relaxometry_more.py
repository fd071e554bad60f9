"""T1 from factors, from flip angles, and with breathing undone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import shift
from scipy.optimize import curve_fit

from mriforge.errors import BadInput
from mriforge.factors import Factors
from mriforge.relaxometry.models import RecoveryModel
from mriforge.relaxometry.motion import register_series
from mriforge.relaxometry.recovery import fit_recovery
from mriforge.relaxometry.result import Flag
from mriforge.relaxometry.signals import inversion_recovery, ir_flash, spoiled_gradient_echo
from mriforge.relaxometry.subspace import t1_from_coefficients, t1_from_factors
from mriforge.relaxometry.vfa import fit_flip_angles
from mriforge.temporal.dictionary import relaxation_basis
from mriforge.volume import Grid

TR, FLIP = 0.0036, 5.0
PULSES = np.arange(344) * 2 + 1
TRAIN = RecoveryModel("irflash", repetition_s=TR, flip_deg=FLIP)
ANGLES = np.array([2, 4, 6, 8, 10, 12, 14, 16, 18, 20.0])
VFA_TR = 0.008


def grid_of(shape):
    return Grid(shape, (1.5, 1.5, 8.0), (0, 0, 0), tuple(np.eye(3).ravel()))


def factors_of(series, rank=8, phases=(2, 3), seed=0):
    """Factors whose cardiac phase 1, respiratory phase 2 is ``(T, z, y, x)``; noise elsewhere."""
    random = np.random.default_rng(seed)
    shape, images = series.shape[1:], len(series)
    flat = series.reshape(images, -1)
    left = np.linalg.svd(np.hstack([flat.real, flat.imag]), full_matrices=False)[0][:, :rank]
    temporal = random.normal(size=(rank, *phases, images)).astype(np.float32)
    temporal[:, 1, 2] = left.T
    spatial = (left.T @ flat).reshape(rank, *shape).astype(np.complex64)
    return Factors(spatial, temporal, grid_of(shape), PULSES * TR)


def trains(count, sd=0.0, seed=0):
    """``(T, 1, 4, count / 4)`` complex recoveries of tissues with a phase, and their T1."""
    random = np.random.default_rng(seed)
    t1 = random.uniform(0.3, 2.0, count)
    series = ir_flash(t1, PULSES, TR, FLIP, -0.95).T * np.exp(1j * random.uniform(0, 6, count))
    noise = random.normal(size=(2, *series.shape))
    series = series + sd * (noise[0] + 1j * noise[1])
    return series.reshape(344, 1, 4, -1), t1.reshape(1, 4, -1)


# Factors


def test_factors_give_the_map_of_their_images():
    series, t1 = trains(200, sd=0.001)
    factors = factors_of(series)
    found = t1_from_factors(factors, 1, 2, TR, FLIP, PULSES)
    images = factors.line("inversion", cardiac=1, respiratory=2)
    formed = fit_recovery(images, PULSES * TR, TRAIN)
    assert found.fitted.all() and found.t1_ms.shape == (1, 4, 50)
    assert found.t1_ms == pytest.approx(formed.t1_ms, rel=2e-4)
    assert found.r_squared == pytest.approx(formed.r_squared, abs=1e-3)
    assert np.median(np.abs(found.t1_ms / 1000 / t1 - 1)) < 0.01
    assert found.amplitude == pytest.approx(formed.amplitude, rel=1e-3)


def test_times_of_the_factors_serve_where_no_pulses_are_given():
    factors = factors_of(trains(40)[0])
    one, other = (t1_from_factors(factors, 1, 2, TR, FLIP, p) for p in (PULSES, None))
    assert one.t1_ms == pytest.approx(other.t1_ms, rel=1e-5)


def test_a_mask_saves_nothing_but_itself():
    factors = factors_of(trains(40)[0])
    mask = np.zeros((1, 4, 10), bool)
    mask[0, 1, 3:7] = True
    part = t1_from_factors(factors, 1, 2, TR, FLIP, PULSES, mask)
    whole = t1_from_factors(factors, 1, 2, TR, FLIP, PULSES)
    assert part.t1_ms[mask] == pytest.approx(whole.t1_ms[mask], rel=1e-5)
    assert (part.flags[~mask] == Flag.OUTSIDE).all() and not part.t1_ms[~mask].any()


def test_a_known_inversion_makes_it_surer():
    series, t1 = trains(400, sd=0.02, seed=5)
    factors = factors_of(series, rank=12)
    free = t1_from_factors(factors, 1, 2, TR, FLIP, PULSES)
    known = t1_from_factors(factors, 1, 2, TR, FLIP, PULSES, inversion=-0.95)
    wrong = [np.median(np.abs(found.t1_ms / 1000 / t1 - 1)) for found in (free, known)]
    assert wrong[1] < wrong[0] < 0.2


def test_six_coefficients_of_a_dictionary_are_enough():
    series, _ = trains(400, sd=0.002, seed=2)
    basis = relaxation_basis(PULSES, TR, FLIP, rank=6).vectors
    coefficients = np.tensordot(basis, series, 1)
    few = t1_from_coefficients(coefficients, basis, PULSES, TRAIN)
    full = fit_recovery(series, PULSES * TR, TRAIN)
    assert few.info["coefficients"] == 6
    assert np.median(np.abs(few.t1_ms / full.t1_ms - 1)) < 1e-3


def test_standard_errors_of_factors_are_those_of_repetitions():
    random = np.random.default_rng(7)
    rank, count, sd = 20, 2000, 0.01
    clean = ir_flash(np.array([1.1]), PULSES, TR, FLIP, -0.95)[0]
    curves = relaxation_basis(PULSES, TR, FLIP, rank=12).vectors
    frame = np.linalg.qr(np.vstack([curves, random.normal(size=(rank - 12, 344))]).T)[0].T
    noise = random.normal(size=(2, rank, count))
    coefficients = (frame @ clean)[:, None] + sd * (noise[0] + 1j * noise[1])
    factors = Factors(
        coefficients.reshape(rank, 1, 1, count).astype(np.complex64),
        frame.reshape(rank, 1, 1, 344).astype(np.float32),
        grid_of((1, 1, count)),
        PULSES * TR,
    )
    found = t1_from_factors(factors, 0, 0, TR, FLIP)
    assert found.fitted.all()
    assert found.t1_ms.mean() == pytest.approx(1100, rel=0.02)
    assert found.error_ms.mean() == pytest.approx(found.t1_ms.std(), rel=0.1)


def test_wrong_factors_are_refused_and_empty_voxels_said():
    series, _ = trains(40)
    factors = factors_of(series)
    factors.spatial[:, 0, 0, :3] = 0
    with pytest.raises(BadInput, match="no cardiac phase 2"):
        t1_from_factors(factors, 2, 0, TR, FLIP)
    with pytest.raises(BadInput, match="344 inversion times and 3 pulse"):
        t1_from_factors(factors, 0, 0, TR, FLIP, np.arange(3))
    with pytest.raises(BadInput, match="mask has shape"):
        t1_from_factors(factors, 0, 0, TR, FLIP, mask=np.ones((2, 2)))
    found = t1_from_factors(factors, 1, 2, TR, FLIP)
    assert not found.fitted[0, 0, :3].any() and found.fitted[0, 1:].all()
    broken = factors.spatial.copy()
    broken[0, 0, 1, 1] = np.nan
    found = t1_from_factors(
        Factors(broken, factors.temporal, factors.grid, PULSES * TR), 1, 2, TR, FLIP
    )
    assert found.flags[0, 1, 1] == Flag.BAD_INPUT and found.t1_ms[0, 1, 1] == 0


# Flip angles


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 4.0), st.floats(0.6, 1.4), st.floats(1e-2, 1e5))
def test_flip_angles_without_noise(t1, b1, density):
    series = density * spoiled_gradient_echo(t1, ANGLES * b1, VFA_TR)[:, None]
    found = fit_flip_angles(series, ANGLES, VFA_TR, b1=np.array([b1]))
    assert found.t1_ms[0] == pytest.approx(1000 * t1, rel=1e-4)
    assert found.amplitude[0] == pytest.approx(density, rel=1e-4)


def test_flip_angles_agree_with_scipy():
    random = np.random.default_rng(0)
    t1 = random.uniform(0.2, 3, 80)
    series = 100 * spoiled_gradient_echo(t1, ANGLES[:, None], VFA_TR)
    series += random.normal(0, 0.05, series.shape)
    found = fit_flip_angles(series, ANGLES, VFA_TR)

    def curve(flip, density, t1_s):
        return density * spoiled_gradient_echo(t1_s, flip, VFA_TR)

    for voxel in range(80):
        best, covariance = curve_fit(
            curve, ANGLES, series[:, voxel], (100, 1.0), ftol=1e-13, xtol=1e-13
        )
        assert found.t1_ms[voxel] == pytest.approx(1000 * best[1], rel=1e-5)
        assert found.error_ms[voxel] == pytest.approx(1000 * covariance[1, 1] ** 0.5, rel=1e-3)


def test_flip_angles_are_unbiased_where_the_straight_line_is_not():
    count, t1 = 4000, 1.4
    clean = 100 * spoiled_gradient_echo(t1, ANGLES, VFA_TR)
    series = clean[:, None] + np.random.default_rng(1).normal(0, 0.12, (10, count))
    found = fit_flip_angles(series, ANGLES, VFA_TR)
    turn = np.deg2rad(ANGLES)[:, None]
    x, y = series / np.tan(turn), series / np.sin(turn)
    x, y = x - x.mean(0), y - y.mean(0)
    line = -VFA_TR / np.log((x * y).sum(0) / (x * x).sum(0))
    assert abs(found.t1_ms.mean() / 1400 - 1) < 0.01
    assert abs(found.t1_ms.mean() / 1400 - 1) < abs(line.mean() / 1.4 - 1)
    assert found.error_ms.mean() == pytest.approx(found.t1_ms.std(), rel=0.06)


def test_flip_angles_that_cannot_be_fitted():
    good = 100 * spoiled_gradient_echo(np.array([0.8]), ANGLES[:, None], VFA_TR)[:, 0]
    far = 100 * spoiled_gradient_echo(np.array([9.0]), ANGLES[:, None], VFA_TR)[:, 0]
    series = np.stack([good, 0 * good, good, far, good], 1)
    series[2, 2] = np.inf
    b1 = np.array([1, 1, 1, 1, np.nan])
    found = fit_flip_angles(series, ANGLES, VFA_TR, b1=b1)
    wanted = [Flag.FITTED, Flag.NO_SIGNAL, Flag.BAD_INPUT, Flag.AT_BOUND, Flag.BAD_INPUT]
    assert found.flags.tolist() == wanted
    assert (found.t1_ms[1:] == 0).all() and (found.quality()[1:] < 0).all()


@pytest.mark.parametrize(
    ("flips", "options", "said"),
    [
        ([2, 4], {}, "3 images and 2 flip angles"),
        ([4, 4, 4], {}, "same flip angle"),
        ([0, 4, 8], {}, "between 0 and 180"),
        ([2, 4, 8], {"repetition_s": 0.0}, "must be positive"),
        ([2, 4, 8], {"b1": np.ones(4)}, "B1 map has shape"),
        ([2, 4, 8], {"bounds_s": (2, 1)}, "cannot be searched"),
    ],
)
def test_wrong_flip_angles_are_refused(flips, options, said):
    with pytest.raises(BadInput, match=said):
        fit_flip_angles(np.ones((3, 5)), np.array(flips), **{"repetition_s": 0.01, **options})


# Breathing


def breathing(moves_mm, size=64):
    """Recovery of a disc and a bar that move along y as one, ``(T, 1, y, x)``; still, moved."""
    times = np.array([0.1, 0.3, 0.7, 1.2, 2.0, 3.5])
    y, x = np.mgrid[:size, :size]
    t1 = np.full((size, size), 0.35)
    t1[np.hypot(y - 30, x - 24) < 12] = 1.5
    t1[(abs(x - 46) < 6) & (abs(y - 32) < 18)] = 0.9
    density = np.where(t1 > 0.4, 1.0, 0.6) * (np.hypot(y - 32, x - 32) < 30)
    still = density[None] * inversion_recovery(t1, times, -0.95).transpose(2, 0, 1)
    moved = [shift(s, (mm / 1.5, 0), order=3) for s, mm in zip(still, moves_mm, strict=True)]
    noise = np.random.default_rng(0).normal(0, 0.005, still.shape)
    return times, abs(still + noise)[:, None], abs(np.stack(moved) + noise)[:, None], t1, density


@pytest.mark.parametrize("transform", ["rigid", "bspline"])
def test_breathing_is_undone_by_the_model(transform):
    times, still, moved, t1, density = breathing([0, 5, -3, 0, 4, 0])
    assert np.abs(moved - still).mean() > 0.02

    def synthesize(array):
        found = fit_recovery(array, times)
        images = np.abs(RecoveryModel().curve(found, times))
        return np.where(found.fitted, images, array.mean(0))

    rounds = 8 if transform == "rigid" else 3
    made = register_series(moved, (1.5, 1.5), synthesize, transform, rounds)
    inside = (density > 0)[8:-8, 8:-8]

    def wrong(series):
        """Share of the pixels whose T1 is off by more than 50 ms."""
        error = fit_recovery(series, times).t1_ms[0] / 1000 - t1
        return np.mean(np.abs(error[8:-8, 8:-8][inside]) > 0.05)

    assert wrong(still) < wrong(made.series) < 0.8 * wrong(moved)
    if transform == "rigid":
        found = made.displacement_mm[:, 0]
        assert found == pytest.approx([0, 5, 3, 0, 4, 0], abs=1.5)
    else:
        assert np.corrcoef(made.displacement_mm[:, 0], [0, 5, 3, 0, 4, 0])[0, 1] > 0.8
    assert made.series.shape == moved.shape and made.series.min() >= 0
    assert made.displacement_mm.shape == (6, 1)
    assert made.info["rounds"] == len(made.changes_mm) <= 12


def test_what_cannot_be_registered_is_refused():
    with pytest.raises(BadInput, match="too small"):
        register_series(np.ones((3, 1, 16, 16)), (1, 1), lambda array: array)
    with pytest.raises(ValueError, match="affine"):
        register_series(np.ones((3, 1, 64, 64)), (1, 1), lambda array: array, "affine")
