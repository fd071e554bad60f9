"""Every acquisition model goes through the same tests; a new one is tested by adding its name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mriforge.physics.blur import GaussianBlur
from mriforge.physics.degradations import make_operator
from mriforge.physics.downsampling import KernelDownsampling, gaussian_kernel
from mriforge.physics.fermi import Fermi, FermiCrop
from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.operator import LinearOperator
from mriforge.physics.profiles import read_profile
from mriforge.physics.slices import SliceProfile
from mriforge.physics.solve import Chain, cgls
from mriforge.physics.truncation import KspaceZeroFill, TruncateLinear
from mriforge.volume import Grid

ROTATION = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)


def part(grid: Grid, factor: float, axes: tuple[int, ...] = (0, 1)) -> tuple[int, int, int]:
    shape = list(grid.stored_shape)
    for axis in axes:
        shape[axis] = max(1, round(shape[axis] / factor))
    return tuple(shape)


def measured_profile(grid: Grid, tmp: dict) -> LinearOperator:
    dz = grid.spacing[2]
    return SliceProfile(grid, 2 * dz, 0.0, 2, read_profile(tmp["taps"], dz))


def slices_then_kspace(grid: Grid, _: dict) -> LinearOperator:
    stack = SliceProfile(grid, 2 * grid.spacing[2], 0.0, 2, "box")
    return Chain(stack, KspaceCrop(stack.low, part(stack.low, 2)))


# In make_operator's own terms where they exist; the others are combinations of settings.
OPERATORS: dict[str, Callable[[Grid, dict], LinearOperator]] = {
    "kspace_crop": lambda g, _: make_operator("kspace_crop", g, keep=0.25),
    "kspace_crop one axis": lambda g, _: KspaceCrop(g, part(g, 1.7, (1,))),
    "kspace_crop three axes": lambda g, _: KspaceCrop(g, part(g, 1.5, (0, 1, 2))),
    "kspace_crop of nothing": lambda g, _: KspaceCrop(g, g.stored_shape),
    "kspace_zerofill": lambda g, _: make_operator("kspace_zerofill", g, keep=0.25),
    "kspace_zerofill fermi": lambda g, _: KspaceZeroFill(g, part(g, 2), Fermi(), 1e-9),
    "kspace_truncate_linear": lambda g, _: make_operator("kspace_truncate_linear", g, keep=0.25),
    "kspace_truncate_linear 1.6": lambda g, _: TruncateLinear(g, part(g, 1.6, (0, 1, 2))),
    "kspace_crop_aniso": lambda g, _: make_operator("kspace_crop_aniso", g),
    "fermi_crop": lambda g, _: FermiCrop(g, part(g, 2), threshold=1e-9),
    "gaussian_blur": lambda g, _: make_operator("gaussian_blur", g, ratio=2.0),
    "gaussian_blur 2.3": lambda g, _: GaussianBlur(g, {0: 2.3, 2: 1.5}),
    "gaussian_blur_fixed": lambda g, _: make_operator("gaussian_blur_fixed", g),
    "kernel": lambda g, _: KernelDownsampling(g, gaussian_kernel((0.6, 0.9), angle=0.5), (0, 1)),
    "kernel of two planes": lambda g, _: KernelDownsampling(
        g, gaussian_kernel(0.8, (1, 2), 5), (0, 2), 1e-6
    ),
    "kernel in 3-D": lambda g, _: KernelDownsampling(
        g, gaussian_kernel((1.0, 0.6, 0.7), (3, 2, 1), 5), condition=1e-6
    ),
    "slice_profile": lambda g, _: make_operator("slice_profile", g, thickness=2 * g.spacing[2]),
    "slice_profile 2.3 gap": lambda g, _: SliceProfile(
        g, 1.7 * g.spacing[1], 0.6 * g.spacing[1], 1, "gaussian"
    ),
    "slice_profile 2.3 overlap": lambda g, _: SliceProfile(
        g, 3.0 * g.spacing[0], -0.7 * g.spacing[0], 0, "gaussian"
    ),
    "slice_profile box overlap": lambda g, _: SliceProfile(
        g, 2.5 * g.spacing[2], -g.spacing[2], 2, "box"
    ),
    "slice_profile file": measured_profile,
    "slices then k-space": slices_then_kspace,
}

SHAPES = st.tuples(st.integers(5, 12), st.integers(6, 17), st.integers(6, 17))
SPACINGS = st.tuples(*[st.floats(0.4, 6.0)] * 3)
CASES = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
everyone = pytest.mark.parametrize("name", OPERATORS)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict:
    taps = tmp_path_factory.mktemp("profile") / "taps.txt"
    taps.write_text("# measured\n-0.02\n0.3\n1.0\n0.3\n-0.02\n")
    return {"taps": taps}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-30))


@everyone
@CASES
@given(shape=SHAPES, spacing=SPACINGS)
def test_adjoint(name, files, shape, spacing):
    op = OPERATORS[name](Grid(shape, spacing, direction=ROTATION), files)
    x, y = random(2, *op.high.shape), random(2, *op.low.shape, seed=1)
    forward, back = op.A(x), op.A_adjoint(y)
    assert forward.shape == y.shape
    assert back.shape == x.shape
    gap = abs(float((forward * y).sum() - (x * back).sum()))
    assert gap <= 1e-11 * float(forward.norm() * y.norm() + x.norm() * back.norm())


@everyone
@CASES
@given(shape=SHAPES, spacing=SPACINGS)
def test_pseudo_inverse(name, files, shape, spacing):
    """Moore-Penrose: A A+ A = A, A+ A A+ = A+, and A+ A is an orthogonal projection."""
    op = OPERATORS[name](Grid(shape, spacing), files)
    x, other = random(*op.high.shape), random(*op.high.shape, seed=2)
    y = op.A(x)
    seen = op.A_dagger(y)
    assert relative(op.A(seen), y) < 1e-8
    assert relative(op.A_dagger(op.A(seen)), seen) < 1e-6
    left = float((seen * other).sum())
    right = float((x * op.A_dagger(op.A(other))).sum())
    assert abs(left - right) < 1e-6 * float(x.norm() * other.norm())


@everyone
@CASES
@given(shape=SHAPES, spacing=SPACINGS)
def test_restore_explains_the_data(name, files, shape, spacing):
    op = OPERATORS[name](Grid(shape, spacing), files)
    y = op.A(random(*op.high.shape))
    start = random(*op.high.shape, seed=3)
    restored = op.restore(start, y)
    assert relative(op.A(restored), y) < 1e-7
    # Only what the acquisition sees was changed.
    unseen = restored - start
    assert relative(op.A_dagger(op.A(unseen)), unseen) < 1e-6


@everyone
@CASES
@given(shape=SHAPES)
def test_gradient_is_the_adjoint(name, files, shape):
    op = OPERATORS[name](Grid(shape, (1.0, 1.0, 1.0)), files)
    x = random(*op.high.shape).requires_grad_()
    y = random(*op.low.shape, seed=1)
    (op.A(x) * y).sum().backward()
    assert relative(x.grad, op.A_adjoint(y)) < 1e-10


@everyone
@CASES
@given(shape=SHAPES, spacing=SPACINGS)
def test_constant_stays_constant(name, files, shape, spacing):
    op = OPERATORS[name](Grid(shape, spacing), files)
    ones = torch.ones(op.high.shape, dtype=torch.float64)
    assert float((op.A(ones) - 1).abs().max()) < 1e-12
    if hasattr(op, "A_complex"):
        assert float((op.A_complex(ones).abs() - 1).abs().max()) < 1e-12


def centre_of_mass(image: np.ndarray, grid: Grid) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij")[::-1], axis=-1)
    return (grid.index_to_world(index) * image[..., None]).reshape(-1, 3).sum(0) / image.sum()


@everyone
@settings(CASES, max_examples=5)
@given(
    shape=st.tuples(*[st.integers(38, 43)] * 3),
    spacing=SPACINGS,
    offset=st.tuples(*[st.floats(-1, 1)] * 3),
)
def test_geometry(name, files, shape, spacing, offset):
    """A blob stays where it is in mm, on oblique, anisotropic, odd and even grids."""
    grid = Grid(shape, spacing, (13.0, -7.0, 100.0), ROTATION)
    op = OPERATORS[name](grid, files)
    centre = (np.array(grid.stored_shape) - 1) / 2 + np.array(offset)
    axes = [
        np.exp(-0.5 * ((np.arange(n) - c) / 4.0) ** 2)
        for n, c in zip(grid.stored_shape, centre, strict=True)
    ]
    blob = axes[2][:, None, None] * axes[1][None, :, None] * axes[0]
    low = op.A(torch.from_numpy(blob)).numpy()
    moved = centre_of_mass(low, op.low) - centre_of_mass(blob, grid)
    voxels = (moved @ grid.direction_matrix) / np.array(grid.spacing)
    assert np.abs(voxels).max() < 0.05


@everyone
def test_works_in_single_precision_with_leading_axes(name, files):
    op = OPERATORS[name](Grid((8, 12, 15), (1.0, 1.0, 2.0)), files)
    x = random(3, 2, *op.high.shape)
    y = op.A(x)
    assert op.A(x.float()).dtype == torch.float32
    assert relative(op.A(x.float()).double(), y) < 1e-5
    assert relative(op.A(x)[1, 1], op.A(x[1, 1])) < 1e-10


@pytest.mark.parametrize("name", ["kspace_crop", "slice_profile 2.3 gap", "gaussian_blur 2.3"])
def test_conjugate_gradients_agree_with_the_closed_form(name, files):
    op = OPERATORS[name](Grid((8, 14, 15), (1.0, 1.0, 2.0)), files)
    y = random(*op.low.shape)
    assert relative(cgls(op, y, 1e-12), op.A_dagger(y)) < 1e-6


def test_chain_on_the_same_axis_iterates():
    grid = Grid((4, 12, 16))
    blur = GaussianBlur(grid, {0: 2.0})
    op = Chain(blur, KspaceCrop(blur.low, (6, 12, 4)))
    y = op.A(random(*grid.shape))
    assert relative(op.A(op.A_dagger(y)), y) < 1e-4


def test_chain_refuses_what_does_not_fit():
    grid = Grid((4, 12, 16))
    with pytest.raises(ValueError, match="fit"):
        Chain(KspaceCrop(grid, (8, 6, 4)), KspaceCrop(grid, (8, 6, 4)))


def test_single_slice_and_tiny_images():
    for shape in ((1, 6, 7), (1, 1, 5), (1, 2, 2)):
        grid = Grid(shape)
        for op in (
            KspaceCrop(grid, part(grid, 2)),
            KspaceZeroFill(grid, part(grid, 2), Fermi()),
            TruncateLinear(grid, part(grid, 2)),
            FermiCrop(grid, part(grid, 2)),
            GaussianBlur(grid, {0: 2.0}),
            SliceProfile(grid, 1.0, 0.0, 2),
        ):
            x, y = random(*op.high.shape), random(*op.low.shape, seed=1)
            assert float((op.A(x) * y).sum() - (x * op.A_adjoint(y)).sum()) == pytest.approx(
                0, abs=1e-10
            )
