"""Which grid is wanted for thick slices, where the slices are, and lines across them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.errors import BadInput
from mriforge.interslice.rows import Rows, along_first, in_samples, sub_slice_matrix
from mriforge.interslice.scan import Scan
from mriforge.interslice.wish import anisotropy, is_thick, plan_slices, thickest_axis
from mriforge.physics.profiles import box, gaussian
from mriforge.physics.slices import SliceProfile
from mriforge.physics.stack import SliceStack
from mriforge.volume import Grid, Series

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
THIN = Grid((48, 40, 44), (0.9, 0.9, 0.9), (-5.0, 7.0, 3.0), OBLIQUE)


def test_thick_slices_are_recognised() -> None:
    assert is_thick(Grid((26, 256, 208), (0.9, 0.9, 5.5)))
    assert thickest_axis(Grid((26, 256, 208), (0.9, 5.5, 0.9))) == 1
    assert not is_thick(Grid((100, 100, 100), (1.0, 1.0, 2.0)))
    assert not is_thick(Grid((3, 256, 256), (1.0, 1.0, 8.0)))
    assert anisotropy(Grid((9, 9, 9), (1.0, 2.0, 6.0))) == 3.0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_become_as_fine_as_pixels_about_the_same_middle(axis: int) -> None:
    spacing = [0.9, 0.9, 0.9]
    spacing[axis] = 5.5
    low = Grid((26, 30, 28), tuple(spacing), (1.0, 2.0, 3.0), OBLIQUE)
    plan = plan_slices(low)
    assert plan.axis == axis
    assert plan.final is None
    assert plan.working.spacing == pytest.approx((0.9, 0.9, 0.9))
    assert plan.working.stored_shape[axis] == round(low.stored_shape[axis] * 5.5 / 0.9)
    middle = [(n - 1) / 2 for n in low.stored_shape]
    fine = [(n - 1) / 2 for n in plan.working.stored_shape]
    assert plan.working.index_to_world(fine) == pytest.approx(low.index_to_world(middle))


def test_other_pixels_are_a_second_step() -> None:
    low = Grid((26, 256, 208), (0.898, 0.898, 5.5))
    plan = plan_slices(low, spacing=(0.9, 0.9, 0.9))
    assert plan.working.spacing == pytest.approx((0.898, 0.898, 0.9))
    assert plan.final is not None
    assert plan.grid.spacing == pytest.approx((0.9, 0.9, 0.9))
    assert plan_slices(low, spacing=(0.898, 0.898, 0.9)).final is None


def test_a_reference_grid_is_taken_as_it_is() -> None:
    low = SliceProfile(THIN, 3.6, axis=2).low
    plan = plan_slices(low, like=THIN)
    assert plan.working == THIN
    assert plan.final is None
    turned = Grid(THIN.shape, THIN.spacing, THIN.origin)
    assert plan_slices(low, like=turned).final == turned


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"spacing": (0.9, 0.9, 6.0)}, "no finer"),
        ({"spacing": (0.9, 0.9, 0.5)}, "finer than the pixels"),
        ({"scale": 1.0}, "above 1"),
        ({"scale": float("nan")}, "above 1"),
        ({"scale": 2.0, "spacing": (1, 1, 1)}, "more than once"),
        ({"axis": 3}, "slice axis"),
        ({"spacing": (0.0, 0.9, 1.0)}, "not positive"),
    ],
)
def test_impossible_wishes_are_refused(wish: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        plan_slices(Grid((26, 50, 50), (0.9, 0.9, 5.5)), **wish)


def test_too_few_slices_are_refused() -> None:
    with pytest.raises(BadInput, match="at least 4"):
        plan_slices(Grid((3, 50, 50), (1, 1, 5)))


@settings(deadline=None, max_examples=40)
@given(
    ratio=st.floats(1.2, 7.5),
    axis=st.integers(0, 2),
    size=st.integers(30, 61),
    width=st.floats(0.5, 1.5),
)
def test_the_stack_operator_is_the_planned_one_with_its_adjoint(
    ratio: float, axis: int, size: int, width: float
) -> None:
    """Same weights as the operator that planned the slices; ``<Ax, y> == <x, A'y>``."""
    shape = [9, 8, 7]
    shape[2 - axis] = size
    high = Grid(tuple(shape), (1.0, 1.0, 1.0), (3.0, -2.0, 1.0), OBLIQUE)
    planned = SliceProfile(high, ratio, axis=axis, profile=gaussian(width * ratio / 2.355))
    stack = SliceStack(high, planned.low, axis, planned.profile)
    generator = torch.Generator().manual_seed(size)
    x = torch.rand(high.shape, generator=generator, dtype=torch.float64)
    y = torch.rand(planned.low.shape, generator=generator, dtype=torch.float64)
    assert torch.allclose(stack.A(x), planned.A(x), atol=1e-9)
    assert float((stack.A(x) * y).sum()) == pytest.approx(float((x * stack.A_adjoint(y)).sum()))


@settings(deadline=None, max_examples=40)
@given(ratio=st.sampled_from([2.0, 2.3, 3.0, 4.0, 5.5, 6.11]), size=st.integers(32, 70))
def test_pixels_are_made_thick_as_the_slices_are(ratio: float, size: int) -> None:
    rows = Rows(1.3 + ratio * np.arange(9), 60, gaussian(ratio / 2.355))
    made = rows.made_thick(size)
    assert made.ratio == pytest.approx(ratio)
    assert made.centres[0] % 1.0 == pytest.approx(rows.centres[0] % 1.0)
    assert made.centres[0] >= 0
    assert made.centres[-1] <= size - 1
    # As many as fit, and the rest shared by both ends.
    assert made.centres[0] < ratio
    assert size - 1 - made.centres[-1] < ratio + 1


def test_interpolation_is_exact_where_it_should_be() -> None:
    rows = Rows(1.5 + 4 * np.arange(16), 64, box(4.0))
    line = torch.arange(16, dtype=torch.float64)
    inner = slice(22, 42)
    for matrix in (rows.linear(), rows.cubic()):
        assert torch.allclose(
            (matrix @ line)[inner], torch.from_numpy(rows.positions)[inner], atol=1e-3
        )
    assert torch.equal(sub_slice_matrix(rows, 4), torch.eye(64, dtype=torch.float64))
    assert torch.allclose(rows.acquire().sum(dim=1), torch.ones(16, dtype=torch.float64))


def test_sub_slices_of_other_ratios_fall_where_they_belong() -> None:
    """A line that is straight comes out straight, whatever the ratio."""
    rows = Rows(0.7 + 2.3 * np.arange(12), 28, gaussian(1.0))
    pieces = 3
    at = (np.arange(12 * pieces) + 0.5) / pieces - 0.5
    found = sub_slice_matrix(rows, pieces) @ torch.from_numpy(at)
    inner = slice(4, 24)
    assert np.allclose(found[inner], rows.positions[inner], atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_scan_puts_slices_first_and_back(axis: int) -> None:
    high = Grid((24, 20, 22), (1, 1, 1))
    operator = SliceProfile(high, 3.0, axis=axis)
    image = torch.rand(high.shape)
    low = operator.A(image)
    plan = plan_slices(operator.low, like=high)
    scan = Scan.of(
        Series(low.numpy()[None], operator.low, np.zeros(1)), plan, operator.profile, 2.0
    )
    assert scan.frames.shape[1] == operator.low.stored_shape[axis]
    # A stack acquired along the scan's own geometry is the stack itself.
    first = np.transpose(image.numpy(), scan.permutation)
    again = along_first(scan.rows.acquire(), torch.from_numpy(first.copy()))
    assert torch.allclose(again, scan.frames[0] * 2.0, atol=1e-5)
    fine = along_first(scan.rows.cubic(), scan.frames[0])
    back = scan.volume(fine)
    assert back.shape == high.shape
    assert np.allclose(np.transpose(back, scan.permutation), fine.numpy() * 2.0, atol=1e-5)


def test_held_out_slices_are_not_learned_from() -> None:
    low = Grid((25, 30, 30), (1, 1, 4))
    scan = Scan.of(
        Series(np.random.rand(2, *low.shape), low, np.zeros(2)),
        plan_slices(low),
        gaussian(1.7),
        1.0,
    )
    held, seen = scan.held(), scan.learning()
    numbers = [n for block in seen for n in range(block.start, block.stop)]
    assert set(numbers) | set(range(held.start, held.stop)) == set(range(25))
    assert not set(numbers) & set(range(held.start, held.stop))
    stacks = list(scan.held_out())
    assert len(stacks) == 4
    for made in stacks:
        assert made.truth.shape[2] == held.stop - held.start
        assert torch.allclose(made.stack, along_first(made.rows.acquire(), made.truth))


def test_profiles_change_their_unit() -> None:
    profile = in_samples(gaussian(3.0), 1.5)
    assert profile.reach == pytest.approx(gaussian(2.0).reach)
