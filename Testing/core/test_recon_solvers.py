"""Solvers and what is sparse: agreement with direct solutions, proximal maps, convergence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mriforge.errors import Cancelled
from mriforge.recon.encoding import first, last
from mriforge.recon.solvers import Problem, admm, conjugate_gradients, fista
from mriforge.recon.sparsity import (
    KINDS,
    LocallyLowRank,
    TotalVariation,
    WaveletSparsity,
    soft,
    sparsity_named,
)

sys.path.insert(0, str(Path(__file__).parent))
from subspace_helpers import operator, random_factors

GRID = (1, 32, 32)


def smooth_factors(rank=3) -> torch.Tensor:
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, 32),) * 2, indexing="ij")
    blobs = [torch.exp(-((x - 0.2 * k) ** 2 + (y + 0.1 * k) ** 2) * 4) for k in range(rank)]
    return torch.stack(blobs).to(torch.complex64)[:, None]


@pytest.fixture(scope="module")
def problem() -> tuple[Problem, torch.Tensor]:
    op = operator(spokes=500, coils=4, smooth=True)
    truth = smooth_factors()
    data = op.A(truth)
    noise = torch.randn(data.shape, dtype=data.dtype, generator=torch.Generator().manual_seed(3))
    data = data + 0.3 * noise
    energy = float(data.abs().square().sum())
    return Problem(op.normal(), last(op.A_adjoint(data)), energy), last(truth)


def error(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


def test_conjugate_gradients_solve_exactly():
    generator = torch.Generator().manual_seed(0)
    square = torch.randn(12, 12, dtype=torch.complex128, generator=generator)
    matrix = square @ square.mH + torch.eye(12)
    target = torch.randn(12, dtype=torch.complex128, generator=generator)
    found, residual = conjugate_gradients(
        lambda v: matrix @ v, target, torch.zeros_like(target), 14
    )
    assert torch.allclose(found, torch.linalg.solve(matrix, target), atol=1e-6)
    assert torch.allclose(residual, target - matrix @ found, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_admm_recovers_and_settles(problem, kind):
    task, truth = problem
    threshold = 0.01 * float(truth.abs().max())
    found, progress = admm(
        task, sparsity_named(kind, GRID), threshold, outer=12, inner=4, coupling=0.01
    )
    assert error(found, truth) < 0.12
    assert progress.changes[-1] < 0.02
    assert progress.costs[-1] < progress.costs[0]
    assert len(progress.changes) <= 12


def test_sparsity_beats_least_squares(problem):
    task, truth = problem
    plain, _ = admm(task, None, 0.0, outer=1, inner=40, coupling=1e-4)
    sparse, _ = admm(
        task, sparsity_named("wavelet+llr", GRID), 0.03, outer=10, inner=4, coupling=0.01
    )
    assert error(sparse, truth) < 0.8 * error(plain, truth)


def test_preconditioning_needs_fewer_applications():
    op = operator(spokes=500, coils=4, smooth=True)
    truth = random_factors(op)
    task = Problem(op.normal(), last(op.A_adjoint(op.A(truth))))

    def after(preconditioned: bool) -> float:
        found, _ = admm(
            task, None, 0.0, outer=1, inner=5, coupling=0.003, preconditioned=preconditioned
        )
        return error(found, last(truth))

    assert after(True) < 0.8 * after(False)


def test_fista_and_admm_agree(problem):
    task, _ = problem
    sparsity = WaveletSparsity(GRID)
    coupling, threshold = 0.02, 0.02
    one, _ = admm(task, sparsity, threshold, outer=60, inner=8, coupling=coupling, tolerance=1e-6)
    # ADMM's threshold is lambda / rho, FISTA's lambda / Lipschitz constant.
    other, _ = fista(task, sparsity, threshold * coupling, iterations=600, tolerance=1e-7)
    assert error(one, other) < 0.02


def test_reported_residual_is_that_of_the_data():
    op = operator(spokes=120)
    data = op.A(random_factors(op, 5)) + 1
    energy = float(data.abs().square().sum())
    task = Problem(op.normal(), last(op.A_adjoint(data)), energy)
    found, progress = admm(task, None, 0.0, outer=1, inner=4)
    left = data - op.A(first(found))
    assert progress.costs[-1] == pytest.approx(float(left.abs().square().sum()) / energy, rel=1e-3)


def test_every_application_can_be_cancelled(problem):
    task, _ = problem
    calls = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled("enough")

    stopping = Problem(task.normal, task.target, breathe=stop)
    with pytest.raises(Cancelled):
        admm(stopping, None, 0.0, outer=5, inner=5)
    assert len(calls) == 3


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "none"])
def test_adjoint_and_energy_of_the_transforms(kind):
    sparsity = sparsity_named(kind, GRID)
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(*GRID, 2, dtype=torch.complex64, generator=generator)
    forward = sparsity.forward(one)
    other = torch.randn(forward.shape, dtype=torch.complex64, generator=generator)
    left = torch.vdot(other.flatten(), forward.flatten())
    right = torch.vdot(sparsity.adjoint(other).flatten(), one.flatten())
    assert torch.allclose(left, right, rtol=1e-4, atol=1e-3)
    # Psi^H Psi is diagonal in Fourier space, with the spectrum that is said.
    spectrum = torch.fft.fftn(sparsity.adjoint(forward), dim=(1, 2))
    expected = torch.fft.fftn(one, dim=(1, 2)) * sparsity.energy(one).reshape(*GRID, 1)
    assert torch.allclose(spectrum, expected, atol=1e-3)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "none"])
def test_shrinking_never_enlarges_and_nothing_is_nothing(kind):
    sparsity = sparsity_named(kind, (2, 30, 33))
    values = torch.randn(2, 30, 33, 3, dtype=torch.complex64)
    coefficients = sparsity.forward(values)
    assert torch.allclose(sparsity.shrink(coefficients, 0.0), coefficients, atol=1e-4)
    smaller = sparsity.shrink(coefficients, 0.3)
    assert smaller.norm() < coefficients.norm()
    assert smaller.shape == coefficients.shape


def test_soft_thresholding_keeps_the_phase():
    values = torch.tensor([3 + 4j, 0.1j, 0])
    assert torch.allclose(soft(values, 1.0), torch.tensor([0.8 * (3 + 4j), 0, 0]))


def test_low_rank_blocks_stay_and_noise_goes():
    image = torch.randn(1, 16, 16, 1, dtype=torch.complex64)
    low_rank = image * torch.tensor([1.0, -2.0, 0.5, 0.1])
    noise = torch.randn(1, 16, 16, 4, dtype=torch.complex64) * 0.1
    cleaned = LocallyLowRank(8).shrink(low_rank + noise, 1.0)
    assert (cleaned - low_rank).norm() < 0.9 * noise.norm()


def test_total_variation_of_a_constant_is_nothing():
    assert TotalVariation().forward(torch.ones(1, 8, 8, 1)).abs().max() == 0


def test_a_good_start_saves_iterations(problem):
    task, truth = problem
    sparsity = sparsity_named("wavelet+llr", GRID)
    near = truth + 0.1 * truth.roll(1, 1)
    warm, _ = admm(task, sparsity, 0.01, outer=1, inner=2, coupling=0.01, start=near)
    cold, _ = admm(task, sparsity, 0.01, outer=1, inner=2, coupling=0.01)
    assert error(warm, truth) < min(error(cold, truth), error(near, truth))
