"""The subspace operator: exact adjoint, and a Toeplitz normal operator that is ``E^H E``."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.physics.radial import AngleGridding, fold, harmonics, smooth_even, spokes_of
from mriforge.physics.toeplitz import ToeplitzNormal, unpacked

sys.path.insert(0, str(Path(__file__).parent))
from subspace_helpers import operator, random_factors

CASES = {
    "even": {},
    "oblong": {"shape": (30, 36)},
    "odd": {"shape": (31, 33)},
    "one component": {"rank": 1},
    "one coil": {"coils": 1},
    "stack of stars": {"partitions": 3, "spokes": 420},
    "even stack of stars": {"partitions": 4, "spokes": 420},
}


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def apply(normal: ToeplitzNormal, factors: torch.Tensor) -> torch.Tensor:
    return normal(factors.movedim(0, -1).contiguous()).movedim(-1, 0)


@pytest.mark.parametrize("radial_path", [False, None], ids=["explicit", "resampled angles"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_adjoint(case, radial_path):
    op = operator(**case)
    op.radial = radial_path
    factors = random_factors(op)
    data = op.A(factors)
    other = torch.randn(data.shape, dtype=torch.complex64)
    left = torch.vdot(other.flatten(), data.flatten())
    right = torch.vdot(op.A_adjoint(other).flatten(), factors.flatten())
    assert abs(left - right) / (data.norm() * other.norm()) < 1e-6


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("radial_path", [False, None], ids=["explicit", "resampled angles"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_normal_operator_is_adjoint_after_forward(case, radial_path, weighted):
    op = operator(**case)
    factors = random_factors(op)
    density = torch.linspace(0.2, 1, 64) if weighted else None
    data = op.A(factors)
    op.radial = False
    expected = op.A_adjoint(data, density)
    op.radial = radial_path
    assert relative(apply(op.normal(density), factors), expected) < 1e-5


def test_trajectory_that_is_not_straight_spokes_takes_the_explicit_path():
    op = operator(delays=(0.6, -0.4, 0.1))
    assert spokes_of(op.trajectory) is None
    factors = random_factors(op)
    assert relative(apply(op.normal(), factors), op.A_adjoint(op.A(factors))) < 1e-5


def test_memory_for_working_does_not_change_the_result():
    op = operator(coils=5)
    factors = random_factors(op)
    once, in_parts = op.normal(), op.normal(working_bytes=1)
    assert relative(apply(in_parts, factors), apply(once, factors)) < 1e-6


def test_normal_operator_is_positive():
    op = operator()
    normal = op.normal()
    for seed in range(4):
        factors = random_factors(op, seed)
        inner = torch.vdot(factors.flatten(), apply(normal, factors).flatten())
        assert inner.real > 0
        assert abs(inner.imag) < 1e-5 * inner.real


def test_lipschitz_bounds_the_operator():
    op = operator()
    normal = op.normal()
    factors = random_factors(op)
    for _ in range(30):
        factors = apply(normal, factors)
        size = factors.norm()
        factors = factors / size
    assert 0.5 * normal.lipschitz < float(size) < 1.3 * normal.lipschitz


def test_preconditioner_brings_the_operator_near_the_identity():
    op = operator(spokes=900, coils=1)
    op.maps = torch.ones_like(op.maps)
    normal = op.normal()
    plain = apply(normal, random_factors(op))
    better = normal.preconditioner(0.01 * normal.lipschitz)
    factors = random_factors(op)

    def angle(values: torch.Tensor) -> float:
        inner = torch.vdot(values.flatten(), factors.flatten()).abs()
        return float(inner / values.norm() / factors.norm())

    done = better(normal(factors.movedim(0, -1).contiguous())).movedim(-1, 0)
    assert angle(done) > angle(plain) + 0.2


def test_preconditioner_keeps_to_the_support():
    op = operator()
    op.maps[..., :8] = 0
    done = op.normal().preconditioner(1.0)(torch.ones(1, 32, 32, 3, dtype=torch.complex64))
    assert done[:, :, :8].abs().max() == 0
    assert done[:, :, 8:].abs().min() > 0


@settings(max_examples=20, deadline=None)
@given(count=st.integers(40, 400), radius=st.floats(3, 30), seed=st.integers(0, 99))
def test_resampled_angles_keep_all_harmonics(count, radius, seed):
    rng = np.random.default_rng(seed)
    angles = torch.from_numpy(rng.uniform(0, 2 * math.pi, count))
    values = torch.from_numpy(rng.standard_normal((count, 2)))
    gridding = AngleGridding.plan(angles, harmonics(torch.tensor([0.5]), radius))
    ordered = values[gridding.order]
    fine = torch.zeros(gridding.fine, 2, dtype=torch.complex64)
    for node in range(gridding.fine):
        which, much = gridding.coefficients(node, node + 1)
        fine[node] = (much @ ordered[which])[0].to(torch.complex64)
    even = gridding.finish(fine)
    nodes = torch.arange(gridding.nodes) * (2 * math.pi / gridding.nodes)
    highest = len(gridding.correction) // 2
    for order in (0, 1, highest // 2, highest):
        expected = (values * torch.exp(-1j * order * angles)[:, None]).sum(0)
        found = (even * torch.exp(-1j * order * nodes)[:, None]).sum(0)
        scale = values.norm()
        assert (found - expected).abs().max() < 2e-4 * scale


def test_fold_adds_antipodes_sample_by_sample():
    values = torch.arange(24.0).reshape(4, 6)
    folded = fold(values)
    assert folded.shape == (2, 7)
    assert folded[0].tolist() == [0, 1 + 17, 2 + 16, 3 + 15, 4 + 14, 5 + 13, 12]


def test_unpacked_matrices_are_symmetric():
    full = unpacked(torch.arange(6.0), 3)
    assert full.tolist() == [[0, 1, 2], [1, 3, 4], [2, 4, 5]]


@given(st.integers(1, 5000))
def test_smooth_even(number):
    size = smooth_even(number)
    assert size >= number
    assert size % 2 == 0
    assert max(p for p in range(1, 6) if size % p == 0) <= 5
