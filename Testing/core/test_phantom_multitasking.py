"""The five-dimensional phantom: its k-space is that of its frames, its truth adds up."""

from __future__ import annotations

import numpy as np
import pytest

from mriforge.errors import Cancelled
from mriforge.events import Control, Events
from mriforge.phantoms.multitasking import Subject, acquisition, scan, subject
from mriforge.phantoms.multitasking.coils import coil_maps
from mriforge.phantoms.multitasking.physiology import simulate
from mriforge.phantoms.multitasking.render import AIR, Renderer, State
from mriforge.phantoms.multitasking.true_images import band_limit

TINY = {"matrix": 32, "coils": 3, "inversions": 1, "pulses": 120}


@pytest.fixture(scope="module")
def small():
    return scan(subject(0), matrix=64, coils=4, inversions=2)


def exact(
    who: Subject, raw, readout: int, states: list[tuple[State, int]], points: np.ndarray
) -> np.ndarray:
    """``(c, n)`` of one readout from its definition: (state, z) -> a sum over all fine pixels."""
    _, ny, _ = raw.grid.shape
    fine = 2 * ny
    maps = coil_maps(who, raw.coils, fine) * acquisition.object_phase(who, fine)
    signal = acquisition._signals(who, raw.since_inversion[readout : readout + 1])[:, 0]
    axis = (np.arange(fine) - fine // 2) / 2
    waves_x = np.exp(-2j * np.pi * np.outer(points[:, 0], axis))
    waves_y = np.exp(-2j * np.pi * np.outer(points[:, 1], axis))
    nz, found = raw.grid.shape[0], 0
    for state, z in states:
        renderer = Renderer(who, fine, acquisition.FOV_MM, (z - nz // 2) * raw.grid.spacing[2])
        image = np.tensordot(signal, renderer.fractions(renderer.labels(state)), 1)
        turn = np.exp(-2j * np.pi * (raw.partition[readout] - nz // 2) / nz * (z - nz // 2))
        found = found + turn * np.einsum("ny,cyx,nx->cn", waves_y, maps * image, waves_x) / 4
    return found


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("readout", [0, 1, 37, 64, 119])
@pytest.mark.parametrize("seed", [0, 3])
def test_every_readout_sees_its_own_posture_and_relaxation(seed: int, readout: int) -> None:
    who = subject(seed, lesion=seed > 0)
    raw, truth = scan(who, noise=0, **TINY)
    state = State.of_bins(truth.cardiac[readout], truth.respiratory[readout])
    seen = exact(who, raw, readout, [(state, 0)], raw.trajectory[readout])
    assert relative(raw.kspace[readout], seen) < 2e-4


def test_a_stack_of_stars_measures_all_slices_at_once() -> None:
    raw, truth = scan(subject(4), noise=0, partitions=3, partition_mm=20, **TINY)
    assert set(raw.partition[raw.imaging]) == {0, 1, 2}
    assert set(raw.partition[raw.navigator]) == {1}
    assert truth.frame(3, 0, 10).shape == raw.grid.shape == (3, 32, 32)
    for readout in (20, 21, 23, 45):
        state = State.of_bins(truth.cardiac[readout], truth.respiratory[readout])
        slices = [(state, z) for z in range(3)]
        seen = exact(subject(4), raw, readout, slices, raw.trajectory[readout])
        assert relative(raw.kspace[readout], seen) < 2e-4
    middle, apex = truth.tissue(0, 0)[1:]
    blood = 1 + truth.tissues.index("blood")
    assert (apex == blood).sum() < (middle == blood).sum()


def test_continuous_motion_is_finer_than_the_bins() -> None:
    raw, truth = scan(subject(0), noise=0, continuous=True, **TINY)
    binned, _ = scan(subject(0), noise=0, **TINY)
    gap = np.linalg.norm(raw.kspace - binned.kspace) / np.linalg.norm(binned.kspace)
    assert 1e-4 < gap < 0.1
    readout = 77
    c = (np.floor(truth.cardiac_phase[readout] * 60) + 0.5) / 3 - 0.5
    r = (np.floor(truth.inspiration[readout] * 18) + 0.5) / 3 - 0.5
    seen = exact(subject(0), raw, readout, [(State.of_bins(c, r), 0)], raw.trajectory[readout])
    assert relative(raw.kspace[readout], seen) < 2e-4


def test_a_gradient_delay_moves_what_is_measured_and_not_what_is_said() -> None:
    raw, truth = scan(subject(0), noise=0, gradient_delay=(0.7, -0.4, 0.1), **TINY)
    plain, _ = scan(subject(0), noise=0, **TINY)
    assert np.array_equal(raw.trajectory, plain.trajectory)
    readout = 55
    along = raw.trajectory[readout, 0] / np.linalg.norm(raw.trajectory[readout, 0]) * -1
    shift = np.array([[0.7, 0.1], [0.1, -0.4]]) @ along / raw.kspace.shape[2]
    state = State.of_bins(truth.cardiac[readout], truth.respiratory[readout])
    seen = exact(subject(0), raw, readout, [(state, 0)], raw.trajectory[readout] + shift)
    assert relative(raw.kspace[readout], seen) < 2e-4


def test_the_true_images_hold_what_is_measured_below_nyquist() -> None:
    """k-space of the truth on the coarse grid is the measured one, without coils."""
    who = subject(2)
    raw, truth = scan(who, noise=0, **{**TINY, "matrix": 64, "coils": 1})
    coil = truth.coil_maps[0]
    assert np.allclose(np.abs(coil), 1, atol=1e-5)
    for readout in (31, 91):
        c, r = truth.cardiac[readout], truth.respiratory[readout]
        image = coil * truth.frame(c, r, truth.inversion[readout])[0]
        points = raw.trajectory[readout]
        axis = np.arange(64) - 32
        seen = np.einsum(
            "ny,yx,nx->n",
            np.exp(-2j * np.pi * np.outer(points[:, 1], axis)),
            image,
            np.exp(-2j * np.pi * np.outer(points[:, 0], axis)),
        )
        inner = np.abs(points).max(1) < 0.3
        assert relative(raw.kspace[readout, 0, inner], seen[inner]) < 0.02
        assert relative(4 * raw.kspace[readout, 0, inner], seen[inner]) > 1


def test_trajectory_and_clock(small) -> None:
    raw, truth = small
    assert raw.kspace.shape == (2 * 688, 4, 128)
    assert np.array_equal(raw.navigator, raw.since_inversion % 2 == 0)
    assert np.array_equal(truth.inversion, raw.since_inversion // 2)
    assert truth.bins == (20, 6, 344)
    assert np.allclose(truth.inversion_times_s, (2 * np.arange(344) + 1) * 0.0036)
    assert np.allclose(np.diff(raw.time_s), 0.0036)
    assert np.allclose(raw.trajectory[raw.navigator][..., 1], 0)
    ends = -raw.trajectory[raw.imaging][:, 0].astype(float)
    angles = np.rad2deg(np.arctan2(ends[:, 1], ends[:, 0]))
    steps = (np.diff(angles) - 111.246117975 + 180) % 360 - 180
    assert np.abs(steps).max() < 1e-3
    assert raw.trajectory.min() == -0.5
    assert raw.trajectory.max() < 0.5


def test_bins_are_those_of_the_phases(small) -> None:
    _, truth = small
    assert np.array_equal(truth.cardiac, np.floor(truth.cardiac_phase * 20))
    assert np.array_equal(truth.respiratory, np.minimum(np.floor(truth.inspiration * 6), 5))
    # The heart rests and the chest is out most of the time at end-expiration.
    assert np.bincount(truth.respiratory, minlength=6).argmax() == 0


def test_project_and_basis_agree_with_all_frames() -> None:
    _, truth = scan(subject(1, lesion=True), **{**TINY, "pulses": 24})
    frames = np.einsum("ti,tcrzyx->crizyx", truth.signals, truth.images).astype(np.complex64)
    matrix = frames.reshape(20 * 6 * 12, -1)
    assert np.allclose(frames[4, 2, 7], truth.frame(4, 2, 7), atol=1e-6)
    basis = truth.basis(8)
    flat = basis.reshape(8, -1)
    assert np.abs(flat @ flat.T - np.eye(8)).max() < 1e-4
    spatial = truth.project(basis)
    assert relative(spatial.reshape(8, -1), flat @ matrix) < 1e-4
    values = np.linalg.svd(np.concatenate([matrix.real, matrix.imag], 1), compute_uv=False)
    lost = np.sqrt((values[8:] ** 2).sum() / (values**2).sum())
    assert truth.left_out(8) == pytest.approx(lost, rel=0.02)
    rest = matrix - flat.T @ spatial.reshape(8, -1)
    assert np.linalg.norm(rest) / np.linalg.norm(matrix) == pytest.approx(lost, rel=0.02)
    assert truth.factors(basis).frame(1, 1, 1).shape == truth.grid.shape


def test_what_spokes_see_has_no_corners_and_keeps_the_rest(small) -> None:
    _, truth = small
    image = truth.frame(0, 0, 300)
    seen = truth.seen_by_spokes(image)
    assert 0.005 < relative(seen, image) < 0.1
    assert relative(truth.seen_by_spokes(seen), seen) < 1e-5
    assert relative(seen.sum(), image.sum()) < 1e-5


def test_t1_and_tissue_name_each_other(small) -> None:
    _, truth = small
    tissue, t1 = truth.tissue(10, 3), truth.t1_ms(10, 3)
    for number, name in truth.labels.items():
        inside = tissue == number
        assert inside.any(), name
        expected = 0 if number == 0 else 1000 * truth.t1_s[number - 1]
        assert np.allclose(t1[inside], expected)
    assert (truth.tissue(10, 3, least=0.99) != 0).sum() < (tissue != 0).sum()
    assert np.all(truth.fractions.sum(0) <= 1 + 1e-6)


def test_the_heart_contracts_and_moves_with_the_breath(small) -> None:
    _, truth = small
    blood, muscle = truth.tissues.index("blood"), truth.tissues.index("myocardium")
    area = truth.fractions[blood].sum((2, 3, 4))
    assert area[10, 0] < 0.75 * area[0, 0]
    assert area[:, 0].argmin() == 10
    y = np.arange(64)[:, None]
    place = [(truth.fractions[muscle, 0, r, 0] * y).sum() for r in (0, 5)]
    weight = [truth.fractions[muscle, 0, r, 0].sum() for r in (0, 5)]
    moved = (place[1] / weight[1] - place[0] / weight[0]) * truth.grid.spacing[1]
    assert moved == pytest.approx(12, abs=1.5)


@pytest.mark.parametrize("seed", range(12))
def test_random_subjects_are_whole_and_stay_in_view(seed: int) -> None:
    who = subject(seed, lesion=True)
    assert who == subject(seed, lesion=True)
    renderer = Renderer(who, 128, acquisition.FOV_MM)
    for bins in ((0, 0), (10, 5), (0, 5)):
        labels = renderer.labels(State.of_bins(*bins))
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        assert (border == AIR).all()
        assert set(np.unique(labels)) == {*range(len(who.tissues)), AIR}
        everywhere = Renderer(who, 128, acquisition.FOV_MM)
        everywhere.window = (slice(0, 128), slice(0, 128))
        assert np.array_equal(everywhere.labels(State.of_bins(*bins)), labels)


def test_subjects_differ() -> None:
    assert subject(1) != subject(2)
    assert subject(0) == Subject()
    assert subject(0).t1_s == (1.90, 1.25, 0.80, 0.38, 1.10, 1.30, 1.30)
    t1 = np.array([subject(n).t1_s for n in range(1, 60)])
    assert np.abs(t1.mean(0) / subject(0).t1_s - 1).max() < 0.04
    assert (t1.std(0) / t1.mean(0)).min() > 0.03


def test_noise_is_as_large_and_as_correlated_as_asked() -> None:
    clean, _ = scan(subject(0), noise=0, **TINY)
    noisy, _ = scan(subject(0), noise=0.02, noise_correlation=0.4, **TINY)
    added = (noisy.kspace - clean.kspace).transpose(1, 0, 2).reshape(3, -1)
    central = clean.kspace[clean.imaging][..., 30:35]
    wanted = 0.02 * np.sqrt(np.mean(np.abs(central) ** 2))
    for values in (added, noisy.noise):
        covariance = values @ values.conj().T / values.shape[1] / wanted**2
        assert np.allclose(covariance, 0.4 ** np.array([[0, 1, 2], [1, 0, 1], [2, 1, 0]]), atol=0.1)
    assert clean.noise is None


def test_arrhythmia_and_irregular_breathing() -> None:
    time_s = np.arange(16512) * 0.0036
    regular = simulate(subject(0), time_s, np.random.default_rng(1))
    ill = simulate(
        subject(0), time_s, np.random.default_rng(1), arrhythmia=True, irregular_breathing=True
    )
    assert np.diff(regular.triggers_s).std() < 0.1 < np.diff(ill.triggers_s).std()
    for found in (regular, ill):
        assert found.cardiac.min() == 0
        assert found.cardiac.max() == 19
        assert found.respiratory.min() == 0
        assert found.respiratory.max() >= 4
        assert 0 <= found.inspiration.min() <= found.inspiration.max() <= 1
        # A trigger is where the phase starts again.
        jumps = time_s[1:][np.diff(found.cardiac_phase) < -0.5]
        apart = np.abs(jumps[:, None] - found.triggers_s).min(1)
        assert apart.max() < 0.004
    lows = [i.inspiration.reshape(-1, 688 * 3).min(1).std() for i in (regular, ill)]
    assert lows[0] < 0.01 < lows[1]


def test_band_limit_keeps_what_is_below_nyquist() -> None:
    limit = band_limit(64)
    fine, coarse = (np.arange(64) - 32) / 2, np.arange(32) - 16
    for k in (0, 3, -7, 15):
        wave = np.exp(2j * np.pi * k * fine / 32)
        assert np.allclose(limit @ wave, np.exp(2j * np.pi * k * coarse / 32), atol=1e-4)
    assert np.allclose(limit @ np.cos(2 * np.pi * 20 * fine / 32), 0, atol=1e-4)


def test_it_can_be_cancelled() -> None:
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        scan(subject(0), events=Events(control), **TINY)


@pytest.mark.parametrize("wrong", [{"matrix": 33}, {"coils": 0}, {"pulses": 7}])
def test_settings_that_make_no_sense(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"even|is 0"):
        scan(subject(0), **{**TINY, **wrong})
