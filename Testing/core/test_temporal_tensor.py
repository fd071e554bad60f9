"""Tensors, relaxation dictionary, completion: against definitions and against known answers."""

from __future__ import annotations

import numpy as np
import pytest

from mriforge.relaxometry.signals import ir_flash
from mriforge.temporal.basis import (
    factorise,
    fill_by_mean,
    fill_by_rank,
    noise_level,
    normal_equations,
)
from mriforge.temporal.binning import Bins
from mriforge.temporal.dictionary import relaxation_basis
from mriforge.temporal.lines import Line, compress
from mriforge.temporal.tensor import fold, hosvd, mode_product, shrink_unfolding, unfold

PULSES = np.arange(0, 400, 4.0)


def low_rank(rng: np.random.Generator, shape: tuple[int, ...], rank: int) -> np.ndarray:
    tensor = rng.standard_normal((rank,) * len(shape))
    for mode, size in enumerate(shape):
        tensor = mode_product(tensor, rng.standard_normal((size, rank)), mode)
    return tensor


@pytest.mark.parametrize("mode", range(4))
def test_unfolding_is_undone(mode: int) -> None:
    tensor = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    unfolded = unfold(tensor, mode)
    assert unfolded.shape == (tensor.shape[mode], tensor.size // tensor.shape[mode])
    np.testing.assert_array_equal(fold(unfolded, mode, tensor.shape), tensor)


@pytest.mark.parametrize("mode", range(3))
def test_mode_product_is_a_product_of_the_unfolding(mode: int) -> None:
    rng = np.random.default_rng(1)
    tensor = rng.standard_normal((3, 4, 5))
    matrix = rng.standard_normal((2, tensor.shape[mode]))
    np.testing.assert_allclose(
        unfold(mode_product(tensor, matrix, mode), mode), matrix @ unfold(tensor, mode)
    )


def test_hosvd_gives_the_tensor_back_with_an_all_orthogonal_core() -> None:
    tensor = np.random.default_rng(2).standard_normal((30, 4, 5, 3))
    tucker = hosvd(tensor)
    np.testing.assert_allclose(tucker.full(), tensor, atol=1e-10)
    for mode, factor in enumerate(tucker.factors):
        np.testing.assert_allclose(factor.T @ factor, np.eye(factor.shape[1]), atol=1e-10)
        rows = unfold(tucker.core, mode)
        gram = rows @ rows.T
        np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-8)
        np.testing.assert_allclose(
            np.sqrt(np.diag(gram)), tucker.singular_values[mode][: len(gram)], rtol=1e-6
        )


def test_hosvd_finds_the_ranks_and_keeps_its_error_bound() -> None:
    rng = np.random.default_rng(3)
    exact = low_rank(rng, (20, 8, 6, 5), 3)
    assert np.allclose(hosvd(exact, (3, 3, 3, 3)).full(), exact)
    noisy = exact + 0.1 * rng.standard_normal(exact.shape)
    tucker = hosvd(noisy, (3, 3, 3, 3))
    cut = sum(float(np.sum(values[3:] ** 2)) for values in tucker.singular_values)
    assert np.sum((tucker.full() - noisy) ** 2) <= cut
    with pytest.raises(ValueError, match="ranks"):
        hosvd(exact, (3, 3))


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_shrinking_is_the_proximal_map_of_the_nuclear_norm(mode: int) -> None:
    tensor = np.random.default_rng(4).standard_normal((40, 3, 4))
    left, values, right = np.linalg.svd(unfold(tensor, mode), full_matrices=False)
    threshold = float(np.median(values))
    expected = (left * np.clip(values - threshold, 0, None)) @ right
    np.testing.assert_allclose(
        unfold(shrink_unfolding(tensor, mode, threshold), mode), expected, atol=1e-8
    )


def test_six_vectors_hold_every_recovery_and_the_rank_is_reported() -> None:
    basis = relaxation_basis(PULSES, 0.0036, 5.0, rank=6)
    np.testing.assert_allclose(basis.vectors @ basis.vectors.T, np.eye(6), atol=1e-12)
    rng = np.random.default_rng(5)
    for _ in range(20):
        curve = ir_flash(
            rng.uniform(0.2, 3.0), PULSES, 0.0036, 5 * rng.uniform(0.7, 1.1), -rng.uniform(0.7, 1)
        )
        rest = curve - basis.vectors.T @ (basis.vectors @ curve)
        assert np.linalg.norm(rest) < 2e-3 * np.linalg.norm(curve)
    assert basis.numerical_rank(1e-3) < basis.numerical_rank(1e-5)
    assert relaxation_basis(PULSES, 0.0036, 5.0, rank=None, tolerance=1e-3).rank == (
        basis.numerical_rank(1e-3)
    )
    assert basis.atoms == 96 * 6 * 4


def test_compression_keeps_what_a_full_decomposition_keeps() -> None:
    rng = np.random.default_rng(6)
    samples = (low_rank(rng, (300, 500), 12) + rng.standard_normal((300, 500))).astype(np.float32)
    scores, energy = compress(samples, 12)
    values = np.linalg.svd(samples, compute_uv=False)
    np.testing.assert_allclose(energy, np.sum(values[:12] ** 2) / np.sum(values**2), rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(scores, axis=0), values[:12], rtol=1e-3)


def case(
    rng: np.random.Generator, noise: float, readouts: int = 1500
) -> tuple[list[Line], Bins, np.ndarray, np.ndarray]:
    """A low-rank tensor measured along time, one bin at a time."""
    shape = (8, 4, len(PULSES))
    relaxation = relaxation_basis(PULSES, 0.0036, 5.0, rank=4).vectors
    tensor = low_rank(rng, (12, 8, 4, 4), 3)
    tensor /= np.linalg.norm(tensor) / np.sqrt(tensor.size)
    bins = Bins(
        rng.integers(0, 8, readouts),
        rng.integers(0, 4, readouts),
        rng.integers(0, shape[2], readouts),
        shape,
        PULSES * 0.0036,
        PULSES,
    )
    own = tensor[:, bins.cardiac, bins.respiratory]
    data = np.einsum("psk,ks->sp", own, relaxation[:, bins.inversion])
    data = data + noise * rng.standard_normal(data.shape)
    # Two lines: the completion must not mix what was measured at other times.
    half = rng.permutation(readouts)
    first, second = np.sort(half[::2]), np.sort(half[1::2])
    lines = [Line(first, data[first, :6], 1.0), Line(second, data[second, 6:], 1.0)]
    return lines, bins, relaxation, tensor


def test_normal_equations_are_least_squares() -> None:
    rng = np.random.default_rng(7)
    lines, bins, relaxation, tensor = case(rng, 0.0)
    normal = normal_equations(lines, bins, relaxation)
    assert normal.residual(tensor) < 1e-9 * normal.energy
    guess = tensor + 0.1 * rng.standard_normal(tensor.shape)
    direct = sum(
        np.sum(
            (
                line.data
                - np.einsum(
                    "psk,ks->sp",
                    guess[own, :][:, bins.cardiac[line.readouts], bins.respiratory[line.readouts]],
                    relaxation[:, bins.inversion[line.readouts]],
                )
            )
            ** 2
        )
        for line, own in zip(lines, (slice(0, 6), slice(6, 12)), strict=True)
    )
    assert normal.residual(guess) == pytest.approx(direct, rel=1e-9)
    solved = normal.solve(guess, 0.3)
    base = normal.residual(solved) + 0.3 * np.sum((solved - guess) ** 2)
    for _ in range(5):
        other = solved + 1e-3 * rng.standard_normal(solved.shape)
        assert normal.residual(other) + 0.3 * np.sum((other - guess) ** 2) > base


def test_completion_beats_fitting_every_state_alone() -> None:
    rng = np.random.default_rng(8)
    lines, bins, relaxation, tensor = case(rng, 0.05)
    normal = normal_equations(lines, bins, relaxation)
    alone = fill_by_mean(normal)
    completed = fill_by_rank(normal, tolerance=1e-5)
    assert completed.change < 1e-5
    errors = [float(np.linalg.norm(one - tensor)) for one in (alone, completed.tensor)]
    assert errors[1] < 0.75 * errors[0]
    assert noise_level(normal, completed.tensor) == pytest.approx(0.05, rel=0.2)


def test_unmeasured_states_are_filled_by_low_rank() -> None:
    rng = np.random.default_rng(9)
    lines, bins, relaxation, tensor = case(rng, 0.001, readouts=3000)
    missing = (bins.cardiac == 3) & (bins.respiratory == 1)
    normal = normal_equations(lines, bins, relaxation, ~missing)
    completed = fill_by_rank(normal, strength=3.0, iterations=2000, tolerance=1e-7).tensor
    mean = fill_by_mean(normal)

    def error(filled: np.ndarray) -> float:
        return float(np.linalg.norm((filled - tensor)[:, 3, 1]))

    assert error(completed) < 0.5 * error(mean)


def test_the_basis_is_orthonormal_and_spans_the_tensor() -> None:
    _, _, relaxation, tensor = case(np.random.default_rng(10), 0.0)
    basis = factorise(tensor, relaxation, 3)
    rows = basis.vectors.reshape(3, -1).astype(np.float64)
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-5)
    frames = mode_product(tensor, relaxation.T, 3).reshape(12, -1)
    np.testing.assert_allclose(frames @ rows.T @ rows, frames, atol=1e-4)
    truncated = factorise(tensor, relaxation, 3, ranks=(2, 3, None))
    assert np.linalg.matrix_rank(unfold(truncated.coefficients, 1), tol=1e-8) == 2
    rows = truncated.coefficients.reshape(3, -1)
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-8)
