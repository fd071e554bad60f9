"""The temporal model of simulated scans, and the covariance of k-space from its spokes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.phantoms.multitasking import Truth, scan, subject
from mriforge.rawdata import RawData
from mriforge.temporal.binning import Bins, phase_error, rank_correlation
from mriforge.temporal.expiration import inspiration_sign
from mriforge.temporal.lines import density_weights, directions, navigator_lines
from mriforge.temporal.model import find_bins, given_bins, temporal_model
from mriforge.temporal.rings import Moments, Rings, _solve, covariance, moments, rings_of


@pytest.fixture(scope="module")
def scanned() -> tuple[RawData, Truth]:
    return scan(subject(0), matrix=32, samples=64, coils=4, inversions=16)


def left_out(truth: Truth, basis: np.ndarray) -> float:
    """Part of the truth that a basis cannot hold, relative."""
    images = truth.images.reshape(len(truth.signals), -1)
    gram = truth.signals @ truth.signals.T
    parts = images.reshape(len(gram), -1, np.prod(truth.grid.shape))
    total = np.einsum("tcp,tu,ucp->", parts.conj(), gram, parts, optimize=True).real
    held = float(np.square(np.abs(truth.project(basis))).sum())
    return float(np.sqrt(max(total - held, 0) / total))


def test_the_basis_is_orthonormal_and_each_kind_better_than_the_one_before(
    scanned: tuple[RawData, Truth],
) -> None:
    raw, truth = scanned
    bins = given_bins(raw, truth.cardiac, truth.respiratory, truth.bins[:2])
    errors = {}
    for kind in ("navigator", "completion", "lrt"):
        model = temporal_model(raw, rank=24, bins=bins, basis=kind)
        assert model.basis.shape == (24, *truth.bins)
        assert model.basis.dtype == np.float32
        rows = model.basis.reshape(24, -1)
        np.testing.assert_allclose(rows @ rows.T, np.eye(24), atol=1e-5)
        errors[kind] = left_out(truth, model.basis)
    assert errors["completion"] < 0.95 * errors["navigator"]
    assert errors["lrt"] < 0.6 * errors["completion"]
    assert truth.left_out(24) < errors["lrt"] < 0.03


def test_weights_are_the_basis_at_the_frame_of_each_readout(
    scanned: tuple[RawData, Truth],
) -> None:
    raw, truth = scanned
    bins = given_bins(raw, truth.cardiac, truth.respiratory, truth.bins[:2], inversion=43)
    model = temporal_model(raw, rank=6, bins=bins, spokes=False)
    weights = model.weights()
    assert weights.shape == (len(raw.kspace), 6) and weights.dtype == np.float32
    for s in (0, 101, len(weights) - 1):
        frame = bins.cardiac[s], bins.respiratory[s], bins.inversion[s]
        np.testing.assert_array_equal(weights[s], model.basis[:, *frame])
    np.testing.assert_array_equal(model.weights(raw.imaging), weights[raw.imaging])
    assert model.info["bins"] == [20, 6, 43]


def test_a_scan_is_gated_and_modelled_from_its_navigators(
    scanned: tuple[RawData, Truth],
) -> None:
    raw, truth = scanned
    seen: list[float] = []

    class Listener(Events):
        def progress(self, fraction: float, message: str = "") -> None:
            seen.append(fraction)

    model = temporal_model(raw, rank=16, events=Listener())
    assert seen == sorted(seen) and seen[-1] == 1.0
    phase = (model.bins.cardiac + 0.5) / 20
    assert phase_error(phase, truth.cardiac_phase).mean_error < 0.06
    assert rank_correlation(model.bins.respiratory, truth.inspiration) > 0.9
    assert model.info["gating"] == "navigator"
    assert model.info["bins_acquired"] == (model.bins.counts > 0).sum()
    assert model.gating is not None and model.rank == 16


def test_an_ecg_in_the_raw_data_is_used(scanned: tuple[RawData, Truth]) -> None:
    raw, truth = scanned
    with_ecg = replace(raw, physiology={"cardiac_trigger_s": truth.triggers_s})
    bins, gating = find_bins(with_ecg)
    assert gating is not None and gating.source == "ecg"
    score = phase_error((bins.cardiac + 0.5) / 20, truth.cardiac_phase)
    assert score.mean_error < 0.02 and abs(score.shift) < 0.01


def test_organs_that_go_to_the_feet_tell_inspiration(scanned: tuple[RawData, Truth]) -> None:
    raw, truth = scanned
    assert inspiration_sign(raw, truth.inspiration) == 1
    assert inspiration_sign(raw, -truth.inspiration) == -1
    upside_down = replace(raw.grid, direction=tuple(-n for n in raw.grid.direction))
    assert inspiration_sign(replace(raw, grid=upside_down), truth.inspiration) == -1
    axial = replace(raw.grid, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert inspiration_sign(replace(raw, grid=axial), truth.inspiration) == 0


def test_one_bin_for_heart_and_breathing_needs_no_signals(scanned: tuple[RawData, Truth]) -> None:
    raw, _ = scanned
    model = temporal_model(raw, cardiac=1, respiratory=1, rank=4)
    assert model.gating is None
    assert model.basis.shape == (4, 1, 1, 344)
    still = temporal_model(raw, cardiac=1, respiratory=4, rank=8)
    assert still.bins.valid.all() and still.basis.shape == (8, 1, 4, 344)


def test_what_cannot_be_modelled_is_refused(scanned: tuple[RawData, Truth]) -> None:
    raw, truth = scanned
    with pytest.raises(BadInput, match="no navigator"):
        temporal_model(replace(raw, navigator=np.zeros_like(raw.navigator)))
    with pytest.raises(BadInput, match="no temporal basis"):
        temporal_model(raw, basis="fourier")
    bins = given_bins(raw, truth.cardiac * 0, truth.respiratory * 0, (1, 1))
    with pytest.raises(BadInput, match="hold 6"):
        temporal_model(raw, rank=7, bins=bins)
    with pytest.raises(BadInput, match="No navigator is left"):
        temporal_model(raw, bins=replace(bins, valid=np.zeros(len(raw.kspace), bool)))
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        temporal_model(raw, rank=8, events=Events(control))


def test_several_navigator_directions_are_lines_of_their_own(
    scanned: tuple[RawData, Truth],
) -> None:
    raw, _ = scanned
    own = np.flatnonzero(raw.navigator)
    trajectory = raw.trajectory.copy()
    trajectory[own[1::2]] = trajectory[own[1::2]][..., ::-1]
    turned = replace(raw, trajectory=trajectory)
    assert set(directions(turned, own)) == {0, 1}
    lines = navigator_lines(turned, 32)
    assert len(lines) == 2
    np.testing.assert_array_equal(np.sort(np.concatenate([x.readouts for x in lines])), own)
    assert sum(line.data.shape[1] for line in lines) == 32
    weights = density_weights(raw, int(own[0]), 1.0)
    np.testing.assert_allclose(weights[:32], np.arange(32, 0, -1) / 32, rtol=1e-5)


def ring_case(rng: np.random.Generator) -> tuple[Rings, Bins, np.ndarray, np.ndarray]:
    """k-space on rings made of angular orders with known second moments over two states."""
    spokes, radius, truth = 900, np.array([0.0, 2.0, 4.0]), np.array([4.0, 1.0, 0.2, 0.0])
    angle = np.mod(np.arange(spokes) * 1.9416, 2 * np.pi)
    relaxation = np.linalg.qr(rng.standard_normal((12, 2)))[0].T
    times = np.arange(12.0)
    bins = Bins(
        rng.integers(0, 2, spokes),
        np.zeros(spokes, int),
        rng.integers(0, 12, spokes),
        (2, 1, 12),
        times,
        times,
    )
    axes = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    vectors = np.zeros((spokes, 2, 2))
    vectors[np.arange(spokes), bins.cardiac] = relaxation[:, bins.inversion].T
    weights = vectors.reshape(spokes, 4) @ axes.T
    even, odd = np.zeros((2, spokes, 3, 5), complex)
    for q, rho in enumerate(radius):
        top = int(np.floor(np.pi * rho + 3)) if rho else 0
        for m in range(-top, top + 1):
            u = rng.standard_normal((4, 5)) + 1j * rng.standard_normal((4, 5))
            part = np.exp(1j * m * angle)[:, None] * (weights @ (np.sqrt(truth)[:, None] * u))
            (odd if m % 2 else even)[:, q] += part
    rings = Rings(
        angle,
        radius,
        even.astype(np.complex64),
        odd.astype(np.complex64),
        np.arange(spokes),
        1e-4,
    )
    return rings, bins, relaxation, axes


def test_the_covariance_of_k_space_is_found_from_spokes() -> None:
    rings, bins, relaxation, axes = ring_case(np.random.default_rng(0))
    found = covariance(moments(rings, bins, relaxation), np.eye(4), np.eye(4), 2, 30)
    values, vectors = np.linalg.eigh(found.covariance)
    order = values[::-1] / values[-1]
    np.testing.assert_allclose(order, [1, 0.25, 0.05, 0.0], atol=0.04)
    assert abs(vectors[:, -1] @ axes[0]) > 0.98
    assert abs(vectors[:, 0] @ axes[3]) > 0.999
    assert found.residual < 1e-3


def test_rings_are_solved_as_dense_least_squares() -> None:
    rings, bins, relaxation, _ = ring_case(np.random.default_rng(1))
    data: Moments = moments(rings, bins, relaxation)
    states, shifts, rank = data.curvature.shape[:3]
    curvature = np.zeros((shifts, 4, 4), complex)
    for state in range(states):
        part = slice(state * rank, (state + 1) * rank)
        curvature[:, part, part] = data.curvature[state]
    mean = np.full(4, np.trace(curvature[0].real) / 4)
    right = np.ascontiguousarray(np.moveaxis(data.right.reshape(4, *data.right.shape[2:]), 0, 1))
    damping = np.full(3, 0.05)
    solved = _solve(
        curvature, mean, right, data.mask[:, None, :, :, None], damping, 200, lambda: None
    )
    orders = np.flatnonzero(data.mask[:, 1, 2])
    curves = np.zeros((len(rings.angle), 2, 2))
    curves[np.arange(len(curves)), bins.cardiac] = relaxation[:, bins.inversion].T
    half = (data.mask.shape[0] - 1) // 2
    waves = np.exp(1j * rings.angle[:, None] * (2 * (orders - half) + 1))
    design = (waves[:, :, None] * curves.reshape(-1, 1, 4)).reshape(len(curves), -1)
    normal = design.conj().T @ design + 0.05 * np.eye(design.shape[1])
    dense = np.linalg.solve(normal, design.conj().T @ rings.odd[:, 2])
    np.testing.assert_allclose(
        solved[orders, :, 1, 2].reshape(-1, 5), dense, atol=2e-4 * np.abs(dense).max()
    )


def test_rings_pair_both_ends_of_spokes(scanned: tuple[RawData, Truth]) -> None:
    raw, _ = scanned
    spokes = np.flatnonzero(raw.imaging)
    rings = rings_of(raw, spokes, radius=8, coils=4, step=1)
    assert rings is not None
    np.testing.assert_allclose(rings.radius, np.arange(9), atol=1e-4)
    plus, minus = rings.even + rings.odd, rings.even - rings.odd
    np.testing.assert_allclose(plus[:, 3], raw.kspace[spokes][:, :, 32 + 6], atol=1e-4)
    np.testing.assert_allclose(minus[:, 3], raw.kspace[spokes][:, :, 32 - 6], atol=1e-4)
    beside = replace(raw, trajectory=np.clip(raw.trajectory + 0.1, -0.5, 0.5))
    assert rings_of(beside, spokes) is None
