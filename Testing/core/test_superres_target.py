"""Which grid the result is on: geometry of targets and priors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.errors import BadInput
from mriforge.physics.kspace import KspaceCrop, kept_matrix
from mriforge.superres.prior import along_axes_of, match_prior
from mriforge.superres.target import plan_acquisition
from mriforge.superres.wish import closest_axes
from mriforge.volume import Grid, Volume

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(12, 40), st.integers(12, 40)),
    keep=st.floats(0.05, 0.9),
    spacing=st.tuples(*[st.floats(0.3, 9.0)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_like_the_original_grid_is_the_original_grid(shape, keep, spacing):
    high = Grid(shape, spacing, (1.5, -20.0, 300.0), OBLIQUE)
    low_shape = (*kept_matrix((shape[2], shape[1]), keep), shape[0])
    crop = KspaceCrop(high, low_shape)
    if not crop.axes:
        return
    operator, final = plan_acquisition(crop.low, like=high)
    assert final is None
    assert operator.high == high
    assert operator.low.matches(crop.low)


def test_scale_finds_the_grid_that_was_truncated():
    high = Grid((6, 24, 32), (1.0, 1.5, 4.0), (10.0, 20.0, 30.0), OBLIQUE)
    low = KspaceCrop(high, (16, 12, 6)).low
    operator, _ = plan_acquisition(low, scale=2.0)
    assert operator.high.matches(high, 1e-6)
    operator, _ = plan_acquisition(low, spacing=(1.0, 1.5, 4.0))
    assert operator.high.matches(high, 1e-6)


def test_prior_of_another_orientation_gives_its_in_plane_spacing():
    low = Grid((6, 16, 16), (4.0, 4.0, 4.0))
    coronal = Grid((10, 90, 80), (1.0, 1.25, 3.0), direction=(1, 0, 0, 0, 0, 1, 0, -1, 0))
    axes, signs = closest_axes(low, coronal)
    assert axes == (0, 2, 1) and signs == (1, 1, -1)
    operator, _ = plan_acquisition(low, prior=coronal)
    assert operator.high.stored_shape == (64, round(16 * 4 / 3), 6)


@pytest.mark.parametrize(
    "wish",
    [
        {"scale": 1.0},
        {"scale": float("nan")},
        {"spacing": (9.0, 9.0, 9.0)},
        {"spacing": (1.0, -1.0, 1.0)},
        {"scale": 2.0, "spacing": (1.0, 1.0, 1.0)},
        {"scale": 2.0, "axes": (0, 0)},
        {"scale": 2.0, "axes": (5,)},
        {"scale": 900.0},
        {"prior": Grid((6, 8, 8), (8.0, 8.0, 8.0))},
    ],
)
def test_impossible_targets_are_refused_with_a_sentence(wish):
    with pytest.raises(BadInput):
        plan_acquisition(Grid((40, 64, 64), (4.0, 4.0, 4.0)), **wish)


def test_single_slice_is_never_scaled_through_plane():
    operator, _ = plan_acquisition(Grid((1, 20, 20), (2.0, 2.0, 8.0)), scale=2.0, axes=(0, 1, 2))
    assert operator.high.stored_shape == (40, 40, 1)


def test_a_reference_on_a_shifted_grid_is_resampled_to():
    low = Grid((4, 16, 16), (2.0, 2.0, 5.0))
    like = Grid((4, 32, 32), (1.0, 1.0, 5.0), (0.4, 0.3, 0.0))
    operator, final = plan_acquisition(low, like=like)
    assert final == like
    assert operator.high.stored_shape == (32, 32, 4)


@given(
    order=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    seed=st.integers(0, 9),
)
@settings(max_examples=50, deadline=None)
def test_reordering_a_prior_keeps_every_voxel_at_its_place(order, signs, seed):
    rng = np.random.default_rng(seed)
    direction = np.eye(3)[:, list(order)] * np.array(signs)
    grid = Grid((3, 4, 5), (1.0, 2.0, 3.0), (7.0, 8.0, 9.0), tuple(direction.ravel()))
    prior = Volume(rng.normal(size=(3, 4, 5)), grid)
    turned = along_axes_of(prior, Grid((2, 2, 2)))
    assert np.allclose(turned.grid.direction_matrix, np.eye(3))
    for index in ((0, 0, 0), (4, 3, 2), (1, 2, 0)):
        value = prior.array[index[::-1]]
        place = turned.grid.world_to_index(grid.index_to_world(np.array(index)))
        found = tuple(np.rint(place).astype(int))[::-1]
        assert np.allclose(place, np.rint(place))
        assert turned.array[found] == value


def test_matching_a_prior_brings_it_to_the_target_voxel_size():
    x = np.linspace(-1, 1, 60)
    blob = np.exp(-8 * (x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2))
    prior = Volume(blob, Grid(blob.shape, (1.0, 1.0, 1.0), (-29.5, -29.5, -29.5)))
    matched = match_prior(prior, Grid((10, 10, 10), (1.5, 1.02, 3.0)))
    assert matched.grid.spacing == pytest.approx((1.5, 1.0, 3.0))
    weights = matched.array / matched.array.sum()
    index = np.stack(np.meshgrid(*[np.arange(n) for n in matched.array.shape], indexing="ij"), -1)
    centre = (index[..., ::-1] * weights[..., None]).sum((0, 1, 2))
    assert np.abs(matched.grid.index_to_world(centre)).max() < 0.05


def test_a_prior_that_is_too_coarse_is_refused():
    with pytest.raises(BadInput, match="coarser"):
        match_prior(Volume(np.ones((8, 8, 8)), Grid((8, 8, 8), (4.0, 4.0, 4.0))), Grid((8, 8, 8)))
