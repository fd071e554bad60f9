"""Any grid to isotropic voxels along the patient's axes, and back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.errors import BadInput
from mriforge.physics.canonical import antialias, canonical_grid, inside, on_grid, turned
from mriforge.volume import Grid, Volume

ORIENTATIONS = [
    np.eye(3)[:, list(order)] * np.array(signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def grid(shape, spacing, turn=None, origin=(3.0, -7.0, 11.0)) -> Grid:
    turn = np.eye(3) if turn is None else turn
    return Grid(shape, spacing, origin, tuple(turn.ravel()))


def rotation(a: float, b: float, c: float) -> np.ndarray:
    """Turns about x, y and z, rad."""
    parts = []
    for axis, angle in enumerate((a, b, c)):
        i, j = [n for n in range(3) if n != axis]
        one = np.eye(3)
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        parts.append(one)
    return parts[0] @ parts[1] @ parts[2]


def centres(of: Grid) -> np.ndarray:
    """LPS mm of all voxel centres ``(z, y, x, 3)``."""
    k, j, i = np.indices(of.shape)
    return of.index_to_world(np.stack([i, j, k], -1))


def ball(of: Grid, middle, radius: float) -> np.ndarray:
    """How far voxels are inside a ball, mm; linear enough to be interpolated."""
    return radius - np.linalg.norm(centres(of) - np.asarray(middle), axis=-1)


@pytest.mark.parametrize("turn", ORIENTATIONS)
def test_stored_orders_are_swapped_and_mirrored_without_interpolation(turn) -> None:
    source = grid((5, 6, 7), (1.5, 1.5, 1.5), turn)
    target = canonical_grid(source, 1.5)
    assert np.allclose(target.direction_matrix, np.eye(3))
    assert sorted(target.shape) == [5, 6, 7]
    array = np.random.default_rng(0).random(source.shape).astype(np.float32)
    moved = on_grid(Volume(array, source), target)
    where = source.world_to_index(centres(target)).round().astype(int)
    assert np.array_equal(moved.array, array[where[..., 2], where[..., 1], where[..., 0]])
    back = on_grid(moved, source)
    assert np.array_equal(back.array, array)
    assert inside(source, target).all()
    series = np.stack([array, 2 * array])
    assert np.array_equal(turned(source, target)(series)[1], 2 * moved.array)


def test_an_aligned_grid_is_its_own() -> None:
    source = grid((5, 6, 7), (1.2, 1.2, 1.2))
    assert canonical_grid(source, 1.2).matches(source, 1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 30)] * 3),
    st.tuples(*[st.floats(0.4, 9.0)] * 3),
    st.tuples(*[st.floats(-3.2, 3.2)] * 3),
    st.floats(0.7, 6.0),
)
def test_every_voxel_centre_is_enclosed(shape, spacing, angles, wanted) -> None:
    source = grid(shape, spacing, rotation(*angles))
    target = canonical_grid(source, wanted)
    index = target.world_to_index(centres(source))
    last = np.array(target.stored_shape) - 1
    assert (index >= -1e-6).all() and (index <= last + 1e-6).all()
    assert np.allclose(target.spacing, wanted)
    # And no larger than it must be: less than a voxel to spare at both ends together.
    spare = (index.min((0, 1, 2)) + last - index.max((0, 1, 2))).max()
    assert spare < 1.001
    middle = [g.index_to_world((np.array(g.stored_shape) - 1) / 2) for g in (source, target)]
    assert np.allclose(*middle, atol=1e-6)


@pytest.mark.parametrize("spacing", [(1.2, 1.2, 5.0), (0.8, 0.8, 0.8), (2.0, 1.0, 3.0)])
@pytest.mark.parametrize("angles", [(0, 0, 0), (0.3, -0.2, 0.5)])
def test_a_shape_stays_where_it_is(spacing, angles) -> None:
    shape = tuple(int(60 / s) for s in spacing[::-1])
    source = grid(shape, spacing, rotation(*angles))
    middle = source.index_to_world((np.array(source.stored_shape) - 1) / 2) + (4.0, -3.0, 2.0)
    target = canonical_grid(source, 1.5)
    found = on_grid(Volume(ball(source, middle, 15.0), source), target)
    seen = inside(source, target) & (np.abs(ball(target, middle, 15.0)) < 8)
    error = np.abs(found.array - ball(target, middle, 15.0))[seen]
    assert error.mean() < 0.1 and error.max() < 0.8
    body = on_grid(Volume((ball(source, middle, 15.0) > 0).astype(np.uint8), source), target,
                   labels=True)  # fmt: skip
    truth = ball(target, middle, 15.0) > 0
    dice = 2 * (truth & (body.array == 1)).sum() / (truth.sum() + body.array.sum())
    assert body.array.dtype == np.uint8 and dice > (0.95 if max(spacing) < 4 else 0.93)


def test_larger_voxels_are_means_and_do_not_alias() -> None:
    source = grid((48, 48, 48), (0.8, 0.8, 0.8))
    noise = np.random.default_rng(1).normal(0, 1, source.shape) + 5
    coarse = on_grid(Volume(noise, source), canonical_grid(source, 3.2)).array
    assert abs(coarse.mean() - 5) < 0.05
    assert coarse.std() < 0.35, "a mean over 4 x 4 x 4 voxels is quiet; a sample of one is not"
    stripes = np.broadcast_to(np.arange(48) % 2, source.shape).astype(float)
    inner = on_grid(Volume(stripes, source), canonical_grid(source, 3.2)).array[2:-2, 2:-2, 2:-2]
    assert np.abs(inner - 0.5).max() < 0.05


def test_smoothing_only_where_voxels_grow() -> None:
    source, target = grid((9, 9, 9), (1.0, 1.0, 4.0)), grid((9, 9, 9), (3.0, 3.0, 3.0))
    sigmas = antialias(source, target)
    assert sigmas[:2] == pytest.approx([np.sqrt(8 / 12)] * 2) and sigmas[2] == 0
    turned_by = rotation(0, 0, np.pi / 2)
    assert antialias(source, grid((9, 9, 9), (4.0, 1.0, 1.0), turned_by))[1] > 1.1


def test_outside_is_filled_and_named() -> None:
    source = grid((20, 20, 20), (2.0, 2.0, 2.0), rotation(0, 0, 0.6))
    target = canonical_grid(source, 2.0)
    seen = inside(source, target)
    assert 0.3 < seen.mean() < 0.8
    volume = Volume(np.full(source.shape, 7, np.int16), source)
    volume.array[0, 0, 0] = 3
    found = on_grid(volume, target)
    assert found.array.dtype == np.float32 and (found.array[~seen] == 3).all()
    assert (on_grid(volume, target, fill=-9.0).array[~seen] == -9).all()
    labels = on_grid(volume, target, labels=True)
    assert labels.array.dtype == np.int16 and (labels.array[~seen] == 0).all()
    assert set(np.unique(labels.array)) <= {0, 3, 7}
    assert found.array[seen].min() >= 3


def test_one_slice_and_nonsense() -> None:
    source = grid((1, 8, 8), (2.0, 2.0, 6.0))
    target = canonical_grid(source, 2.0)
    assert target.shape == (1, 8, 8)
    array = np.random.default_rng(0).random((1, 8, 8)).astype(np.float32)
    assert np.allclose(on_grid(Volume(array, source), target).array, array, atol=1e-6)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(BadInput, match="not positive"):
            canonical_grid(source, wrong)


def test_equal_shares_give_the_lowest_label_and_no_label_is_invented() -> None:
    source = grid((4, 4, 4), (2.0, 2.0, 2.0))
    labels = np.zeros(source.shape, np.uint8)
    labels[:, :, 2:] = 9
    target = grid((4, 4, 4), (2.0, 2.0, 2.0), origin=(4.0, -7.0, 11.0))  # half a voxel on
    found = on_grid(Volume(labels, source), target, labels=True).array
    assert (found[:, :, 1] == 0).all() and (found[:, :, 2] == 9).all()
    assert set(np.unique(found)) == {0, 9}
