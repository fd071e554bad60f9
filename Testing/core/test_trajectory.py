"""Radial trajectories, gradient delays, density compensation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.errors import BadInput
from mriforge.physics.density import angular_shares, iterative_density, radial_density
from mriforge.physics.nufft import Nufft
from mriforge.physics.trajectory import (
    apply_delays,
    delays_matrix,
    directions,
    estimate_delays,
    golden_angle,
    golden_angles,
    radial,
)


def blobs(trajectory: np.ndarray, coils: int = 4) -> np.ndarray:
    """``(s, c, n)``: Gaussians seen by coils, whose transform is known at any position."""
    generator = np.random.default_rng(3)
    found = np.zeros((len(trajectory), coils, trajectory.shape[1]), complex)
    for _ in range(8):
        centre, width = generator.uniform(-14, 14, 2), generator.uniform(3, 6)
        seen = generator.normal(size=coils) + 1j * generator.normal(size=coils)
        wave = np.exp(-2j * np.pi * trajectory @ centre)
        signal = wave * np.exp(-2 * (np.pi * width) ** 2 * (trajectory**2).sum(-1)) * width**2
        found += seen[:, None] * signal[:, None, :]
    return found.astype(np.complex64)


def test_golden_angles() -> None:
    assert golden_angle() == pytest.approx(111.246117975, abs=1e-9)
    # Wundrak et al. 2015, table I.
    for number, angle in ((2, 68.7539), (3, 49.7508), (5, 32.0397), (7, 23.6281)):
        assert golden_angle(number) == pytest.approx(angle, abs=1e-4)
    np.testing.assert_allclose(golden_angles(3, first_deg=5), [5, 116.246118, 227.492236])
    with pytest.raises(ValueError, match="numbered from 1"):
        golden_angle(0)


@pytest.mark.parametrize("samples", [8, 9])
def test_spokes_pass_the_centre_at_half(samples: int) -> None:
    spokes = radial(np.array([0.0, 90.0, 111.25]), samples)
    assert spokes.shape == (3, samples, 2)
    np.testing.assert_array_equal(spokes[:, samples // 2], 0)
    np.testing.assert_allclose(spokes[0, 0], [-(samples // 2) / samples, 0], atol=1e-7)
    np.testing.assert_allclose(spokes[1, -1, 1], (samples - 1 - samples // 2) / samples, atol=1e-7)
    assert spokes.min() >= -0.5
    assert spokes.max() < 0.5
    np.testing.assert_allclose(directions(spokes)[1], [0, 1], atol=1e-7)


@settings(max_examples=10, deadline=None)
@given(
    delays=st.tuples(*[st.floats(-1.5, 1.5)] * 2, st.floats(-0.4, 0.4)),
    noise=st.sampled_from([0.0, 0.01]),
    count=st.integers(13, 40),
)
def test_delays_are_found_where_spokes_cross(
    delays: tuple[float, float, float], noise: float, count: int
) -> None:
    truth = delays_matrix(*delays)
    asked = radial(golden_angles(count), 64)
    kspace = blobs(apply_delays(asked, truth))
    generator = np.random.default_rng(0)
    spread = noise * np.abs(kspace).max()
    kspace = kspace + spread * (generator.normal(size=(*kspace.shape, 2)) @ [1, 1j])
    found = estimate_delays(kspace, asked)
    np.testing.assert_allclose(found, truth, atol=0.1 if noise else 0.01)


def test_a_correction_repairs_the_image() -> None:
    asked = radial(golden_angles(101), 64)
    ran = apply_delays(asked, delays_matrix(0.8, -0.6, 0.2))
    kspace = blobs(ran)
    corrected = apply_delays(asked, estimate_delays(kspace, asked))

    def image(trajectory: np.ndarray) -> torch.Tensor:
        positions = torch.from_numpy(trajectory)
        data = torch.from_numpy(kspace).movedim(1, 0) * radial_density(positions)
        return Nufft(positions, (64, 64)).adjoint(data.flatten(1))

    truth = image(ran)
    assert (image(corrected) - truth).norm() < 0.02 * truth.norm()
    assert (image(asked) - truth).norm() > 0.2 * truth.norm()


def test_spokes_that_cannot_tell_are_refused() -> None:
    parallel = radial(np.zeros(20), 32)
    with pytest.raises(BadInput, match="three pairs"):
        estimate_delays(blobs(parallel), parallel)
    square = radial(np.array([0.0, 90.0] * 6), 32)  # one kind of crossing
    for pairs in ([[0, 1], [4, 5], [8, 9]], [[0, 2], [4, 6], [8, 10]]):
        with pytest.raises(BadInput, match="too few directions"):
            estimate_delays(blobs(square), square, np.array(pairs))
    with pytest.raises(BadInput, match="no length"):
        directions(np.zeros((2, 8, 2)))


@settings(max_examples=30, deadline=None)
@given(
    angles=st.lists(st.floats(-20, 20), min_size=1, max_size=30),
    repeats=st.integers(1, 4),
    turn=st.floats(-3, 3),
)
def test_shares_fill_the_circle_and_turn_with_it(
    angles: list[float], repeats: int, turn: float
) -> None:
    once = torch.tensor(angles, dtype=torch.float64)
    shares = angular_shares(once, math.pi)
    assert float(shares.sum()) == pytest.approx(math.pi)
    assert (shares > 0).all()
    again = angular_shares(once.repeat(repeats), math.pi)
    torch.testing.assert_close(again, (shares / repeats).repeat(repeats))
    apart = torch.remainder(once[:, None] - once, math.pi)
    if len(angles) > 1 and apart[apart > 1e-9].numel() and apart[apart > 1e-9].min() > 1e-3:
        turned = angular_shares(once + turn, math.pi)
        torch.testing.assert_close(turned, shares, atol=1e-6, rtol=0)


def test_repeated_navigators_share_one_place() -> None:
    angles = np.array([0.0, 45, 0, 90, 180, 135, 360])
    weights = radial_density(torch.from_numpy(radial(angles, 32)))
    torch.testing.assert_close(weights[0] * 4, weights[1])
    assert float(weights.sum()) == pytest.approx(math.pi / 4, rel=0.05)


@pytest.mark.parametrize("samples", [64, 65])
def test_the_centre_is_shared_by_all(samples: int) -> None:
    weights = radial_density(torch.from_numpy(radial(np.arange(10) * 18.0, samples)))
    share = math.pi / 6 / samples**2  # by the Euler-Maclaurin formula for a kink
    assert float(weights[:, samples // 2].sum()) == pytest.approx(share, rel=1e-4)


def test_spokes_from_the_centre_outwards() -> None:
    radius = torch.arange(32) / 64
    angle = torch.arange(40) * (2 * math.pi / 40)
    spokes = radius[:, None] * torch.stack((angle.cos(), angle.sin()), -1)[:, None]
    weights = radial_density(spokes)
    assert float(weights.sum()) == pytest.approx(math.pi * (31.5 / 64) ** 2, rel=1e-3)


def test_partitions_have_their_own_circles() -> None:
    spokes = torch.from_numpy(radial(golden_angles(30), 32))
    partition = torch.tensor([0, 0, 1] * 10)
    weights = radial_density(spokes, partition)
    for number in (0, 1):
        alone = radial_density(spokes[partition == number])
        torch.testing.assert_close(weights[partition == number], alone)


@pytest.mark.parametrize("shifted", [False, True])
def test_weighted_samples_give_the_object_in_its_units(shifted: bool) -> None:
    """A flat disc comes back flat, of its own height; with a delay along the spokes too."""
    size, spokes = 48, radial(golden_angles(160), 96)
    if shifted:
        spokes = apply_delays(spokes, delays_matrix(0.7, 0.7))
    y, x = torch.meshgrid(*[torch.arange(size) - size // 2] * 2, indexing="ij")
    disc = torch.sigmoid(2 * (15 - torch.hypot(y.float(), x.float())))
    trajectory = torch.from_numpy(spokes)
    nufft = Nufft(trajectory, (size, size))
    image = nufft.adjoint(radial_density(trajectory).flatten() * nufft.forward(disc))
    inside = torch.hypot(y.float(), x.float()) < 11
    assert float(image.real[inside].mean()) == pytest.approx(1, abs=0.003)
    assert float(image[inside].std()) < 0.003
    outside = torch.hypot(y.float(), x.float()) > 19
    assert float(image[outside].abs().mean()) < 0.005


def test_iterative_weights_agree_with_the_areas() -> None:
    trajectory = torch.from_numpy(radial(golden_angles(144), 96))
    analytic = radial_density(trajectory)
    found = iterative_density(trajectory, (48, 48), iterations=15)
    # At the edge, and within the kernel of the centre, an area is a matter of definition.
    inner = (torch.arange(96) - 48).abs().sub(24).abs() < 17
    ratio = (found / analytic)[:, inner].mean(0)
    assert (ratio - 1).abs().max() < 0.03
    assert float(found.sum()) == pytest.approx(float(analytic.sum()), rel=0.05)


def test_iterative_weights_need_no_spokes() -> None:
    """On a random trajectory they bring the adjoint nearer to the inverse; ones do not."""
    trajectory = torch.rand(6000, 2, generator=torch.Generator().manual_seed(2)) - 0.5
    y, x = torch.meshgrid(*[torch.arange(24) - 12] * 2, indexing="ij")
    image = torch.exp(-(y**2 + x**2) / 40.0)
    nufft = Nufft(trajectory, (24, 24))
    data = nufft.forward(image)

    def error(weights: torch.Tensor) -> float:
        found = nufft.adjoint(weights * data)
        return float((found - image).norm() / image.norm())

    assert error(iterative_density(trajectory, (24, 24))) < 0.5 * error(
        torch.full((6000,), 1 / 6000)
    )
