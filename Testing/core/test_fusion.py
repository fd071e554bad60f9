"""Fusion: alignment, intensities, the solver and its prior, the job from stacks to a volume."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.fusion.edges import EdgePrior, gradient, gradient_adjoint, guide_of
from mriforge.fusion.geometry import (
    angle_and_shift,
    coarser,
    moved_grid,
    moved_points,
    rigid,
    target_grid,
)
from mriforge.fusion.intensity import matched
from mriforge.fusion.job import FuseOptions, fuse
from mriforge.fusion.refine import blurred_across, refine
from mriforge.fusion.solve import solve
from mriforge.fusion.stack import Stack, noise_of
from mriforge.physics.interpolation import resample
from mriforge.physics.moved_stack import MovedStack
from mriforge.physics.profiles import gaussian
from mriforge.volume import Grid, Volume

sys.path.insert(0, str(Path(__file__).parent))
from fusion_helpers import SIZE, decibel, motion, phantom, stack_of

MOTIONS = (
    np.eye(4),
    motion((1.2, -1.0, 0.9), (1.2, -0.8, 0.7)),
    motion((-1, 1.1, 1), (-1, 1, 0.9)),
)
AXES = (2, 1, 0)


@pytest.fixture(scope="module")
def truth() -> Volume:
    return phantom()


@pytest.fixture(scope="module")
def stacks(truth) -> list[Volume]:
    return [stack_of(truth, axis, moved) for axis, moved in zip(AXES, MOTIONS, strict=True)]


@pytest.fixture(scope="module")
def fused(truth, stacks):
    return fuse(stacks, FuseOptions(like=truth.grid))


def points(truth: Volume) -> np.ndarray:
    return truth.grid.index_to_world(np.argwhere(truth.array > 0.3)[::37, ::-1])


def test_stacks_are_found_within_a_fraction_of_a_voxel(truth, fused):
    for found, true in zip(fused.transforms[1:], MOTIONS[1:], strict=True):
        where = points(truth)
        before = np.linalg.norm(moved_points(true, where) - where, axis=1).mean()
        after = np.linalg.norm(moved_points(found[5], where) - moved_points(true, where), axis=1)
        assert before > 1.3
        assert after.mean() < 0.15


def test_fusion_beats_every_mean_and_every_single_stack(truth, stacks, fused):
    cubic = [resample(s, truth.grid, 3, outside="nearest").array for s in stacks]
    aligned = [
        resample(Volume(s.array, moved_grid(s.grid, m)), truth.grid, 3, outside="nearest").array
        for s, m in zip(stacks, MOTIONS, strict=True)
    ]
    gain = decibel(fused.image.array, truth)
    assert gain > decibel(np.mean(cubic, axis=0), truth) + 3
    assert gain > decibel(np.mean(aligned, axis=0), truth) + 3
    assert gain > max(decibel(image, truth) for image in cubic) + 3


def test_the_result_says_how_it_came_about(fused, stacks):
    image, figures = fused.image, fused.figures
    assert image.array.dtype == np.float32
    assert image.array.min() >= 0
    assert image.metadata["provenance"]["job"] == "fuse"
    assert "seconds" not in image.metadata["provenance"]
    assert figures["warnings"] == []
    assert figures["unseen_voxels"] == 0
    assert [r.grid for r in fused.residuals] == [s.grid for s in stacks]
    for stack in figures["stacks"]:
        assert 0 < stack["relative_residual"] < 0.06
        assert stack["correlation"] > 0.99
    assert figures["stacks"][1]["rotation_deg"] == pytest.approx(1.8, abs=0.15)
    assert figures["stacks"][1]["shift_mm"] == pytest.approx(1.6, abs=0.15)


def test_it_is_the_same_every_time(truth, stacks, fused):
    again = fuse(stacks, FuseOptions(like=truth.grid))
    np.testing.assert_array_equal(again.image.array, fused.image.array)


def test_two_stacks_and_a_grid_of_their_own(truth, stacks):
    result = fuse(stacks[:2], FuseOptions(rounds=1))
    assert result.image.grid.spacing == (1.0, 1.0, 1.0)
    assert result.image.grid.matches(truth.grid)
    best = max(
        decibel(resample(s, truth.grid, 3, outside="nearest").array, truth) for s in stacks[:2]
    )
    assert decibel(result.image.array, truth) > best + 1.5


def test_slices_that_moved_by_themselves_are_put_back(truth):
    random = np.random.default_rng(1)
    count = SIZE // 4
    wobbles = [
        np.stack([motion(random.normal(0, 1.2, 3), random.normal(0, 0.8, 3)) for _ in range(count)])
        for _ in AXES
    ]
    moved = [stack_of(truth, a, None, 0.01, w) for a, w in zip(AXES, wobbles, strict=True)]
    still = fuse(moved, FuseOptions(like=truth.grid))
    followed = fuse(moved, FuseOptions(like=truth.grid, slice_motion=True))
    gain = decibel(followed.image.array, truth) - decibel(still.image.array, truth)
    assert gain > 1.0
    assert followed.figures["stacks"][1]["slice_shift_mm"] > 0.3


def test_gains_and_shading_between_stacks_are_evened_out(stacks):
    wide = phantom(64)
    ramp = 1 + 0.25 * np.linspace(-1, 1, 64)[None, None, :]
    clean = stack_of(wide, 1)
    shaded = clean.with_array((clean.array * 1.7 * ramp).astype(np.float32))
    evened, figures = matched(
        Stack.of(shaded, 1.0, None, "gaussian"),
        Stack.of(stack_of(wide, 2), 1.0, None, "gaussian"),
    )
    assert figures["gain"] == pytest.approx(1.7, rel=0.05)
    bright = clean.array > 0.4
    ratio = evened.data.numpy()[bright] / clean.array[bright]
    assert abs(ratio.mean() - 1) < 0.03
    assert ratio.std() < 0.6 * (shaded.array[bright] / clean.array[bright]).std() / 1.7
    first = Stack.of(stacks[0], 1.0, None, "gaussian")
    plain, figures = matched(Stack.of(stacks[0], 0.5, None, "gaussian"), first)
    assert figures["gain"] == pytest.approx(2.0, rel=1e-3)
    assert figures["variation"] == 0.0
    assert float(plain.data.max()) == pytest.approx(float(first.data.max()), rel=1e-3)


def test_another_contrast_lends_its_edges(truth, stacks):
    """One thick stack of inverted contrast, guided by two of the first contrast."""
    inverted = truth.with_array(np.where(truth.array > 0.2, 1.4 - truth.array, truth.array))
    thick = stack_of(inverted, 2)
    others = [stack_of(truth, 1), stack_of(truth, 0)]
    options = {"like": truth.grid, "register": False}
    guided = fuse([thick, *others], FuseOptions(target=0, **options))
    alone = decibel(resample(thick, truth.grid, 3, outside="nearest").array, inverted)
    assert decibel(guided.image.array, inverted) > alone + 0.5
    assert len(guided.residuals) == 1
    assert "relative_residual" in guided.figures["stacks"][0]
    assert "relative_residual" not in guided.figures["stacks"][1]


def test_contrasts_are_registered_by_mutual_information(truth, stacks):
    inverted = truth.with_array(np.where(truth.array > 0.2, 1.4 - truth.array, truth.array))
    thick = stack_of(inverted, 1, MOTIONS[1])
    result = fuse([stacks[0], thick], FuseOptions(target=0))
    where = points(truth)
    gap = moved_points(result.transforms[1][5], where) - moved_points(MOTIONS[1], where)
    assert np.linalg.norm(gap, axis=1).mean() < 0.8


def test_the_network_explains_the_stacks_too(truth):
    still = [stack_of(truth, axis) for axis in AXES]
    options = FuseOptions(
        like=truth.grid, method="implicit", register=False, max_minutes=0.25, device="cpu"
    )
    result = fuse(still, options)
    assert result.figures["implicit"]["steps"] > 3
    assert result.figures["stacks"][0]["correlation"] > 0.6


def test_a_job_can_be_cancelled(stacks):
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        fuse(stacks, FuseOptions(), Events(control))


def test_what_no_stack_saw_is_zero_and_counted(truth, stacks):
    wide = truth.grid.resampled((SIZE + 30, SIZE, SIZE), (1.0,) * 3, (0, 0, 0))
    result = fuse(stacks, FuseOptions(like=wide, rounds=0))
    assert result.figures["unseen_voxels"] > 20 * SIZE * SIZE
    assert not result.image.array[:, :, SIZE + 12 :].any()


def refused(volumes, words, **options):
    with pytest.raises(BadInput, match=words):
        fuse(volumes, FuseOptions(**options))


def test_stacks_that_cannot_be_fused_are_refused(truth, stacks):
    far = Volume(stacks[1].array, stacks[1].grid.resampled((40, 10, 40), (1, 4, 1), (500.0, 0, 0)))
    labels = stacks[1].with_array((stacks[1].array > 0.2).astype(np.uint8))
    refused([stacks[0], far], "does not overlap")
    refused([stacks[0], truth], "isotropic")
    refused([stacks[0], labels], "label map")
    refused([stacks[0]], "Two or three")
    refused(stacks, "no stack 4", target=3)
    refused(stacks, "The method is", method="magic")
    refused(stacks, "implicit", target=0, method="implicit")
    refused(stacks, "single slices", slice_motion=True, register=False)


def test_the_same_orientation_is_warned_about(stacks, truth):
    again = stack_of(truth, 2, motion((0, 0, 0), (0, 0, 2.0)))
    result = fuse([stacks[0], again], FuseOptions(rounds=1))
    assert any("same orientation" in w for w in result.figures["warnings"])


def test_another_subject_is_suspected():
    own, stranger = phantom(64, 0, 4.0), phantom(64, 9, 4.0)
    options = FuseOptions(rounds=0, iterations=2, spacing=2.0)
    same = fuse([stack_of(own, 2), stack_of(own, 1)], options)
    mixed = fuse([stack_of(own, 2), stack_of(stranger, 1)], options)
    assert same.figures["warnings"] == []
    assert any("another subject" in w for w in mixed.figures["warnings"])


@pytest.mark.parametrize("guided", [False, True])
def test_the_slope_of_the_prior_is_its_derivative(guided):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(6, 7, 8, generator=random, dtype=torch.float64)
    other = torch.randn(6, 7, 8, generator=random, dtype=torch.float64)
    prior = EdgePrior(0.7, 0.8, guide_of(other, 0.5) if guided else None)
    way = torch.randn(6, 7, 8, generator=random, dtype=torch.float64)
    rise = (prior.value(x + 1e-5 * way) - prior.value(x - 1e-5 * way)) / 2e-5
    assert rise == pytest.approx(float((prior.slope(x) * way).sum()), rel=1e-5)
    field = torch.randn(3, 6, 7, 8, generator=random, dtype=torch.float64)
    gap = (gradient(x) * field).sum() - (x * gradient_adjoint(field)).sum()
    assert abs(float(gap)) < 1e-10


def test_the_solver_finds_the_constrained_minimum(truth):
    """No feasible direction goes down any more: zero slope inside, none pointing down at zero."""
    op = MovedStack(truth.grid, stack_of(truth, 2).grid)
    data = torch.from_numpy(stack_of(truth, 2).array)
    prior = EdgePrior(0.01, 0.05)
    solution = solve([op], [data], [1.0], prior, iterations=400, tolerance=1e-6)
    slope = op.A_adjoint(op.A(solution.image) - data) + prior.slope(solution.image)
    free = solution.image > 1e-6
    assert float(slope[free].abs().max()) < 2e-3
    assert float(slope[~free].min()) > -2e-3


def test_a_stack_is_found_in_a_sharp_image(truth, stacks):
    sharp = torch.from_numpy(truth.array)
    stack = Stack.of(stacks[2], 1.0, None, "gaussian")
    moved, gain = refine(stack, sharp, truth.grid)
    where = points(truth)
    gap = moved_points(moved.transform, where) - moved_points(MOTIONS[2], where)
    assert np.linalg.norm(gap, axis=1).mean() < 0.03
    assert gain == pytest.approx(1.0, abs=0.02)


def test_blurring_across_is_what_the_slices_see(truth):
    profile = gaussian(1.7, 2.5)
    blurred = blurred_across(torch.from_numpy(truth.array), truth.grid, np.eye(3)[2], profile)
    seen = MovedStack(truth.grid, stack_of(truth, 2).grid, profile).A(torch.from_numpy(truth.array))
    middle = (blurred[1::4][:10] + blurred[2::4][:10]) / 2
    inner = slice(2, -2)
    assert float((middle - seen)[inner].norm() / seen[inner].norm()) < 0.03


def test_noise_is_estimated_from_the_slices(truth):
    flat = truth.with_array(np.full_like(truth.array, 0.5))
    noisy = stack_of(flat, 2, noise=0.03)
    assert noise_of(torch.from_numpy(noisy.array), 2) == pytest.approx(0.03, rel=0.1)


def test_target_grids_cover_what_is_asked_for():
    first = Grid((10, 40, 40), (1, 1, 4))
    second = Grid((60, 10, 40), (1, 4, 1), (0, 0, 5.0))
    assert target_grid([first, second]).stored_shape == (40, 40, 40)
    union = target_grid([first, second], extent="union")
    common = target_grid([first, second], extent="intersection")
    assert union.stored_shape[2] > 60
    assert common.stored_shape[2] < 40
    assert target_grid([first, second], spacing=2.0).spacing == (2.0, 2.0, 2.0)
    with pytest.raises(BadInput, match="voxels"):
        target_grid([first, second], spacing=0.01)
    rough = coarser(first, 2.0)
    assert rough.stored_shape == (20, 20, 10)


def test_rigid_motions():
    turn = rigid(np.array([0, 0, np.pi / 2]), np.array([1.0, 0, 0]), np.array([5.0, 5, 5]))
    np.testing.assert_allclose(moved_points(turn, np.array([6.0, 5, 5])), [6, 6, 5], atol=1e-12)
    angle, shift = angle_and_shift(turn, np.array([5.0, 5, 5]))
    assert (angle, shift) == (pytest.approx(90), pytest.approx(1))
