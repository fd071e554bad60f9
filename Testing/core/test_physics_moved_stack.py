"""Stacks in any position: the transpose, the amplitude, agreement with what is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mriforge.errors import BadInput
from mriforge.physics.moved_stack import MovedStack, slice_axis_of
from mriforge.physics.profiles import FWHM_PER_SIGMA, Profile, box, gaussian, profile_matrix
from mriforge.physics.splines import spline_taps
from mriforge.volume import Grid

SIZE = 40


def motion(degrees, mm, centre=(0.0, 0.0, 0.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees)).as_matrix()
    matrix[:3, 3] = np.asarray(centre) + mm - matrix[:3, :3] @ np.asarray(centre)
    return matrix


def stack_grid(axis: int, thickness: float = 4.0, size: int = SIZE, pixel: float = 1.0) -> Grid:
    """Thick slices across ``axis`` over a cube of ``size`` mm."""
    shape, spacing = [int(size / pixel)] * 3, [pixel] * 3
    shape[axis], spacing[axis] = int(size / thickness), thickness
    origin = [(s - 1) / 2 for s in spacing]
    return Grid(tuple(shape[::-1]), tuple(spacing), tuple(origin))


angles = st.tuples(*[st.floats(-90, 90)] * 3)
shifts = st.tuples(*[st.floats(-3, 3)] * 3)


@settings(max_examples=25, deadline=None)
@given(
    degrees=angles,
    mm=shifts,
    turned=angles,
    axis=st.integers(0, 2),
    thickness=st.floats(1.0, 5.0),
    pixel=st.floats(0.7, 2.5),
    wobble=st.booleans(),
    width=st.sampled_from([None, 0.0, 1.7]),
)
def test_adjoint_in_any_geometry(degrees, mm, turned, axis, thickness, pixel, wobble, width):
    size = 12
    direction = Rotation.from_rotvec(np.deg2rad(turned)).as_matrix()
    high = Grid((size, size + 1, size + 2), (1.0, 1.0, 1.0), (0, 0, 0), tuple(direction.ravel()))
    low = stack_grid(axis, thickness, size, pixel)
    middle = high.index_to_world((np.array(high.stored_shape) - 1) / 2)
    carried = motion(degrees, mm, (5.5, 5.5, 5.5))
    carried[:3, 3] += middle - 5.5
    transforms = np.tile(carried, (low.stored_shape[axis], 1, 1))
    if wobble:
        random = np.random.default_rng(0)
        transforms = np.stack(
            [
                motion(random.normal(0, 2, 3), random.normal(0, 0.5, 3), middle) @ t
                for t in transforms
            ]
        )
    op = MovedStack(high, low, box(thickness), transforms, axis, width)
    random = np.random.default_rng(1)
    x = torch.from_numpy(random.standard_normal((2, *high.shape)))
    y = torch.from_numpy(random.standard_normal((2, *low.shape)))
    forward, back = op.A(x), op.A_adjoint(y)
    assert forward.shape == y.shape
    assert back.shape == x.shape
    gap = abs(float((forward * y).sum() - (x * back).sum()))
    assert gap <= 1e-10 * float(forward.norm() * y.norm() + x.norm() * back.norm())


@pytest.mark.parametrize("degrees", [(0, 0, 0), (2, -1, 3), (20, 5, 0), (40, 20, 30)])
def test_a_constant_stays_a_constant_where_the_stack_is_seen(degrees):
    low = stack_grid(2)
    op = MovedStack(Grid((SIZE,) * 3), low, transforms=motion(degrees, (1, 2, 5), (20, 20, 20)))
    found = op.A(torch.full((SIZE,) * 3, 3.0))
    assert 0.5 < float(op.seen.float().mean()) <= 1.0
    torch.testing.assert_close(found[op.seen], torch.full_like(found[op.seen], 3.0))
    assert not found[~op.seen].any()


def waves(seed: int, highest: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    frequency = random.standard_normal((40, 3))
    frequency *= random.uniform(0.02, highest, (40, 1)) / np.linalg.norm(frequency, axis=1)[:, None]
    return frequency, random.uniform(0, 2 * np.pi, 40)


def exact(frequency, phase, points, normal, sigma) -> np.ndarray:
    """Waves averaged by a Gaussian along ``normal``."""
    damped = np.exp(-2 * (np.pi * (frequency @ normal) * sigma) ** 2)
    return np.cos(2 * np.pi * (points @ frequency.T) + phase) @ damped


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("degrees", "tolerance"),
    [((0, 0, 0), 0.03), ((2, 1, -1), 0.03), ((0, 0, 44), 0.06), ((8, 0, 0), 0.04),
     ((20, 5, 0), 0.06), ((25, -10, 70), 0.1)],
)  # fmt: skip
def test_what_a_gaussian_slice_sees_of_waves(axis, degrees, tolerance):
    """Waves up to half the finest frequency that the image can hold."""
    high, low = Grid((SIZE,) * 3), stack_grid(axis)
    frequency, phase = waves(axis, 0.25)
    index = np.stack(np.meshgrid(*[np.arange(SIZE)] * 3, indexing="ij"), -1)[..., ::-1]
    x = np.cos(2 * np.pi * (index @ frequency.T) + phase).sum(axis=-1)
    carried = motion(degrees, (0.3, -0.7, 0.4), (19.5, 19.5, 19.5))
    found = MovedStack(high, low, transforms=carried).A(torch.from_numpy(x)).numpy()
    stored = np.stack(np.meshgrid(*[np.arange(n) for n in low.shape], indexing="ij"), -1)
    points = low.index_to_world(stored[..., ::-1]) @ carried[:3, :3].T + carried[:3, 3]
    normal = carried[:3, axis]
    wanted = exact(frequency, phase, points, normal, 4 / FWHM_PER_SIGMA)
    inside = np.all((points > 8) & (points < SIZE - 9), axis=-1)
    gap = (found - wanted)[inside]
    assert np.sqrt((gap**2).mean() / (wanted[inside] ** 2).mean()) < tolerance


def lopsided() -> Profile:
    position = np.linspace(-3, 3, 61)
    density = np.exp(-((position - 0.8) ** 2)) + 0.3 * (position < 0)
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return Profile("lopsided", position, cumulative / cumulative[-1])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_lopsided_profile_points_the_right_way(axis, flipped):
    """As the separable operator has it, whichever way the image's axis runs."""
    profile = lopsided()
    low = stack_grid(axis)
    random = np.random.default_rng(3)
    line = np.convolve(random.standard_normal(SIZE + 8), np.ones(9) / 9, "valid")
    image = np.moveaxis(np.broadcast_to(line, (SIZE,) * 3), 2, 2 - axis)
    centres = 1.5 + 4 * np.arange(SIZE // 4)
    wanted = profile_matrix(profile, centres, SIZE, 1.0).numpy() @ line
    direction, origin, stored = np.eye(3), np.zeros(3), image
    if flipped:
        direction[axis, axis], origin[axis] = -1, SIZE - 1
        stored = np.flip(image, 2 - axis)
    high = Grid((SIZE,) * 3, origin=tuple(origin), direction=tuple(direction.ravel()))
    found = MovedStack(high, low, profile).A(torch.from_numpy(stored.copy()))
    values = np.moveaxis(found.numpy(), 2 - axis, 0)[:, 20, 20]
    np.testing.assert_allclose(values[1:-1], wanted[1:-1], atol=0.03 * np.abs(wanted).max())


def test_each_slice_has_its_own_place():
    high, low = Grid((SIZE,) * 3), stack_grid(2)
    random = np.random.default_rng(4)
    moves = np.stack([motion(random.normal(0, 2, 3), random.normal(0, 1, 3)) for _ in range(10)])
    image = torch.from_numpy(random.standard_normal((SIZE,) * 3)).float()
    together = MovedStack(high, low, transforms=moves).A(image)
    for number in (2, 7):
        alone = MovedStack(high, low, transforms=moves[number]).A(image)
        gap = (together - alone)[number].norm() / alone[number].norm()
        # The number of planes that a slice is cut into depends on the mean tilt.
        assert float(gap) < 0.02


def test_coarser_pixels_average_what_they_cover():
    high, low = Grid((SIZE,) * 3), stack_grid(2, 4.0, SIZE, 2.0)
    random = np.random.default_rng(5)
    image = torch.from_numpy(random.standard_normal((1, SIZE, SIZE))).float()
    image = torch.nn.functional.avg_pool2d(image[None], 3, 1, 1)[0].expand(SIZE, SIZE, SIZE)
    found = MovedStack(high, low, gaussian(1.7), pixel=2.0).A(image.contiguous())
    wanted = torch.nn.functional.avg_pool2d(image[:1], 2)[0]
    inner = (slice(2, -2), slice(2, -2))
    assert float((found[5] - wanted)[inner].norm() / wanted[inner].norm()) < 0.1


def test_the_pseudo_inverse_explains_the_data():
    high, low = Grid((12,) * 3), stack_grid(2, 3.0, 12)
    op = MovedStack(high, low, transforms=motion((3, 2, 1), (0.3, 0.2, -0.4), (6, 6, 6)))
    y = op.A(torch.from_numpy(np.random.default_rng(6).standard_normal((12,) * 3)))
    assert float((op.A(op.A_dagger(y)) - y).norm() / y.norm()) < 1e-4


def test_a_stack_elsewhere_is_refused():
    far = motion((0, 0, 0), (500.0, 0, 0))
    with pytest.raises(BadInput, match="outside"):
        MovedStack(Grid((SIZE,) * 3), stack_grid(2), transforms=far)


def test_the_slice_axis_is_that_of_the_largest_spacing():
    assert slice_axis_of(Grid((9, 9, 9), (1, 4, 1))) == 1
    assert slice_axis_of(Grid((9, 9, 9), (1, 1, 1))) == 2


@given(at=st.floats(-0.4, 7.4), width=st.sampled_from([0.0, 0.5, 1.9]))
def test_spline_weights_keep_a_constant(at, width):
    weight, index = spline_taps(np.array([at]), 8, width)
    assert abs(float(weight.sum()) - 1) < 1e-5
    assert index.min() >= 0
    assert index.max() <= 7
