"""Interpolation baselines: where they sample, and what that costs on a real head."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.physics.interpolation import BASELINES, linear_matrix, resample
from mriforge.physics.kspace import KspaceCrop
from mriforge.volume import Grid, Volume

ALIGNED = ("nearest", "linear_aligned", "cubic_bspline", "sinc")
every = pytest.mark.parametrize("name", BASELINES)


@every
@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.integers(1, 12)] * 3), st.tuples(*[st.integers(0, 9)] * 3))
def test_shape_constant_and_identity(name, low, extra):
    shape = tuple(n + e for n, e in zip(low, extra, strict=True))
    op = KspaceCrop(Grid(shape[::-1]), low)
    data = torch.from_numpy(np.random.default_rng(0).random((2, *op.low.shape)))
    result = BASELINES[name](data, op)
    assert result.shape == (2, *op.high.shape)
    assert torch.allclose(BASELINES[name](torch.ones_like(data), op), torch.ones_like(result))
    same = KspaceCrop(op.low, op.low.stored_shape)
    assert torch.equal(BASELINES[name](data, same), data)


@pytest.mark.parametrize(("name", "mode"), [("linear_halfpixel", "trilinear"), ("area", "area")])
@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.integers(1, 10)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_published_baselines_are_torch_interpolate(name, mode, low, extra):
    shape = tuple(n + e for n, e in zip(low, extra, strict=True))
    op = KspaceCrop(Grid(shape[::-1]), low)
    data = torch.from_numpy(np.random.default_rng(1).random((1, 1, *op.low.shape)))
    flags = {"align_corners": False} if mode == "trilinear" else {}
    expected = F.interpolate(data, size=op.high.shape, mode=mode, **flags)
    assert torch.allclose(BASELINES[name](data, op), expected, atol=1e-12)


def test_area_is_block_replication_for_whole_factors():
    op = KspaceCrop(Grid((2, 6, 8)), (4, 3, 2))
    data = torch.rand(*op.low.shape)
    blocks = data.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(BASELINES["area"](data, op), blocks)


@pytest.mark.parametrize("name", ALIGNED)
@pytest.mark.parametrize(("low", "high"), [(32, 64), (31, 64), (21, 63), (20, 63), (16, 64)])
def test_aligned_baselines_keep_the_place(name, low, high):
    """A blob sampled where the low-resolution grid says comes back to the same place."""
    op = KspaceCrop(Grid((1, 1, high), (0.7, 1, 1)), (low, 1, 1))
    world = op.low.index_to_world(
        np.stack([np.arange(low), 0 * np.arange(low), 0 * np.arange(low)], -1)
    )
    blob = np.exp(-0.5 * ((world[:, 0] - 22.0) / 4.0) ** 2)
    result = BASELINES[name](torch.from_numpy(blob[None, None]), op)[0, 0].numpy()
    x = np.arange(high) * 0.7
    # Half-way between two samples the nearest is either: up to half a voxel.
    tolerance = 0.51 * 0.7 if name == "nearest" else 0.05
    assert (result * x).sum() / result.sum() == pytest.approx(22.0, abs=tolerance)


def test_cubic_agrees_with_scipy():
    from scipy import ndimage

    op = KspaceCrop(Grid((1, 1, 41)), (13, 1, 1))
    data = np.random.default_rng(3).random(13)
    position = 6 + (np.arange(41) - 20) * 13 / 41
    expected = ndimage.map_coordinates(data, [np.clip(position, 0, 12)], order=3, mode="mirror")
    result = BASELINES["cubic_bspline"](torch.from_numpy(data[None, None]), op)[0, 0]
    assert np.allclose(result, expected, atol=1e-12)


def test_linear_matrix_of_a_single_sample():
    assert torch.equal(linear_matrix(np.array([-1.0, 0.2, 3.0]), 1), torch.ones(3, 1).double())


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("shape", [(7, 8, 9), (1, 8, 9), (2, 3, 1)])
def test_resample_to_itself_and_outside(order, shape):
    rng = np.random.default_rng(5)
    rotation = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)
    grid = Grid(shape, (1.0, 0.9, 2.5), (5, 6, 7), rotation)
    volume = Volume(rng.integers(0, 1000, shape).astype(np.int16), grid)
    same = resample(volume, grid, order)
    assert np.allclose(same.array, volume.array, atol=0.05)
    assert order or same.array.dtype == np.int16
    larger = grid.resampled(tuple(n + 4 for n in grid.stored_shape), grid.spacing, (-2, -2, -2))
    zero = resample(volume, larger, order).array
    assert np.allclose(zero[2:-2, 2:-2, 2:-2], volume.array, atol=0.05)
    assert zero[0].max() == 0
    nearest = resample(volume, larger, order, outside="nearest").array
    assert nearest[0, 0, 0] == pytest.approx(volume.array[0, 0, 0], abs=0.05)


@pytest.mark.parametrize("order", [1, 3])
def test_resample_onto_a_rotated_grid(order):
    z, y, x = np.mgrid[:20, :20, :20].astype(np.float32)
    volume = Volume(x + 2 * y + 3 * z, Grid((20, 20, 20)))
    rotation = (0.36, 0.48, -0.8, -0.8, 0.6, 0.0, 0.48, 0.64, 0.6)
    grid = Grid((5, 6, 4), (0.9, 1.1, 1.3), (8, 10, 8), rotation)
    k, j, i = np.mgrid[:5, :6, :4]
    expected = grid.index_to_world(np.stack([i, j, k], -1)) @ np.array([1.0, 2.0, 3.0])
    assert np.allclose(resample(volume, grid, order).array, expected, atol=2e-2)


def test_resample_refuses_other_orders():
    volume = Volume(np.ones((2, 2, 2), np.float32), Grid((2, 2, 2)))
    with pytest.raises(ValueError, match="order"):
        resample(volume, volume.grid, 2)


def psnr(image: torch.Tensor, reference: torch.Tensor) -> float:
    return float(-10 * (image - reference).square().mean().log10())


def test_half_a_voxel_costs_decibels_on_a_real_head(shared_data):
    """Linear interpolation loses more than 1.5 dB, on this head, to the sub-voxel shift alone."""
    file = nib.load(shared_data / "brain3d" / "studyforrest02_T1w_0.67mm_defaced.nii.gz")
    # Stored axes (left-right, AP, SI): ten axial slices, as a scanner would have acquired them.
    slab = np.asarray(file.dataobj[:, :, 180:280:10], dtype=np.float32)
    sharp = torch.from_numpy(np.ascontiguousarray(slab.T / slab.max()))
    op = KspaceCrop.from_fraction(Grid(tuple(sharp.shape)), 0.0625, (0, 1))
    low = op.A_complex(sharp).abs()
    figures = {name: psnr(baseline(low, op), sharp) for name, baseline in BASELINES.items()}
    print({name: round(value, 2) for name, value in figures.items()})
    assert figures["linear_aligned"] > figures["linear_halfpixel"] + 1.5
    assert figures["sinc"] > figures["linear_halfpixel"] + 3.0
    assert figures["sinc"] > figures["cubic_bspline"] > figures["linear_aligned"]
    assert figures["nearest"] > figures["area"]
