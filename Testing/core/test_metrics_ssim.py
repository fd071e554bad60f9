"""SSIM against scikit-image in float64: map, mean, borders, windows, hard images."""

from __future__ import annotations

import numpy as np
import pytest

from mriforge.errors import BadInput
from mriforge.metrics import ssim as module
from mriforge.metrics.ssim import ssim

SETTINGS = {"uniform7": {}, "gaussian": {"gaussian_weights": True, "sigma": 1.5}}


def scikit_image(x, y, window, data_range=1.0, **options):
    metrics = pytest.importorskip("skimage.metrics")
    return metrics.structural_similarity(
        x.astype(float), y.astype(float), data_range=data_range, full=True,
        **SETTINGS[window], **options,
    )  # fmt: skip


def pair(shape, seed=0):
    random = np.random.default_rng(seed)
    x = random.random(shape, dtype=np.float32)
    return x, x + 0.1 * random.standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("window", SETTINGS)
@pytest.mark.parametrize("shape", [(11, 12, 13), (40, 11, 31), (17, 200, 300), (70, 64)])
@pytest.mark.parametrize("sample", [True, False])
def test_agrees_with_scikit_image(shape, window, sample, monkeypatch):
    monkeypatch.setattr(module, "_TILE_VOXELS", 20_000)
    x, y = pair(shape)
    mean, values = ssim(x, y, window=window, sample_covariance=sample)
    expected_mean, expected = scikit_image(x, y, window, use_sample_covariance=sample)
    assert values.shape == shape and values.dtype == np.float32
    assert np.abs(values - expected).max() < 1e-4
    assert mean == pytest.approx(expected_mean, abs=1e-5)


def hard_images():
    random = np.random.default_rng(1)
    shape = (24, 24, 24)
    noise = random.standard_normal((2, *shape))
    step = np.zeros(shape)
    step[12:] = 1
    yield "two flat halves", *(step + 0.01 * noise), 1.0
    yield "wide flat halves", *(10 * step + 0.03 * noise), 1.0
    yield "offset 1e4 in float32", *(1e4 + 0.5 * noise).astype(np.float32), 1.0
    yield "offset 1e3 in float64", *(1e3 + 0.1 * noise), 1.0
    yield "constant", np.ones(shape), np.full(shape, 0.5), 1.0
    dot = np.ones(shape)
    dot[3, 4, 5] = 0
    yield "one voxel", np.ones(shape), dot, 1.0
    yield "integers", *(1000 + 300 * noise).astype(np.int16), 4095.0
    yield "opposite ramps", step.cumsum(0) / 12, 1 - step.cumsum(0) / 12, 1.0
    yield "sixteen bits", *np.abs(6e4 * random.random((2, *shape))).astype(np.uint16), 65535.0


@pytest.mark.parametrize("window", SETTINGS)
@pytest.mark.parametrize(
    ("x", "y", "data_range"), [h[1:] for h in hard_images()], ids=[h[0] for h in hard_images()]
)
def test_precision_on_hard_images(x, y, data_range, window):
    mean, values = ssim(x, y, window=window, data_range=data_range)
    expected_mean, expected = scikit_image(x, y, window, data_range)
    assert np.abs(values - expected).max() < 1e-4
    assert mean == pytest.approx(expected_mean, abs=1e-4)


def test_a_large_offset_that_defeats_the_textbook_formula():
    ndimage = pytest.importorskip("scipy.ndimage")
    random = np.random.default_rng(2)
    x, y = random.standard_normal((2, 16, 16, 16)) * 0.01
    x_far, y_far = x + 1e6, y + 1e6
    x, y = x_far - 1e6, y_far - 1e6

    def covariance(a, b):
        means = ndimage.uniform_filter(a, 7) * ndimage.uniform_filter(b, 7)
        return (ndimage.uniform_filter(a * b, 7) - means) * 343 / 342

    c2 = (0.03 * 0.05) ** 2
    # The luminance term is 1 to rounding there, so what is left is contrast and structure.
    expected = (2 * covariance(x, y) + c2) / (covariance(x, x) + covariance(y, y) + c2)
    assert np.abs(ssim(x_far, y_far, data_range=0.05)[1] - expected).max() < 1e-4


@pytest.mark.parametrize("window", SETTINGS)
def test_a_single_slice_uses_a_window_in_the_plane(window):
    x, y = pair((40, 41))
    mean, values = ssim(x, y, window=window)
    for axis in range(3):
        inside, volume = ssim(np.expand_dims(x, axis), np.expand_dims(y, axis), window=window)
        assert inside == pytest.approx(mean, abs=1e-6)
        assert np.allclose(volume.squeeze(axis), values, atol=2e-6)


def test_thin_stacks_are_compared_slice_by_slice():
    x, y = pair((4, 30, 31))
    _, values = ssim(x, y)
    for index in range(4):
        assert np.allclose(values[index], ssim(x[index], y[index])[1], atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4), (5, 5, 5), (1, 1, 9), (6, 1, 1), (3, 3)])
@pytest.mark.parametrize("window", SETTINGS)
def test_tiny_images(shape, window):
    x, y = pair(shape)
    mean, values = ssim(x, y, window=window)
    assert values.shape == shape and np.isfinite(values).all() and np.isfinite(mean)
    assert ssim(x, x, window=window)[0] == pytest.approx(1.0, abs=1e-7)


def test_equal_images_give_exactly_one():
    x, _ = pair((20, 21, 22))
    mean, values = ssim(x * 1e5, x * 1e5, data_range=1e5)
    assert np.all(values == 1) and mean == 1


def test_mask_threads_layout_and_byte_order_do_not_matter():
    x, y = pair((20, 31, 22))
    mask = np.zeros(x.shape, bool)
    mask[5:9, :, :3] = True
    mean, values = ssim(x, y, mask=mask, threads=1)
    assert mean == pytest.approx(values[mask].mean(dtype=float))
    other = ssim(x.astype(">f4"), np.asfortranarray(y), mask=mask, threads=3)
    assert other[0] == mean and np.array_equal(other[1], values)
    flipped = ssim(x[::-1], y[::-1])[1][::-1]
    assert np.allclose(flipped, values, atol=5e-6)
    x.flags.writeable = False
    assert np.array_equal(ssim(x, y)[1], values)


def test_scale_does_not_matter_when_the_data_range_follows():
    x, y = pair((16, 17, 18))
    assert np.allclose(ssim(x, y)[1], ssim(x * 777, y * 777, data_range=777)[1], atol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"y": np.zeros((8, 8, 9))},
        {"data_range": 0.0},
        {"data_range": float("nan")},
        {"window": "box"},
        {"mask": np.zeros((8, 8, 8))},
        {"mask": np.ones((8, 8))},
    ],
)
def test_refusals(arguments):
    images = {"x": np.ones((8, 8, 8)), "y": np.ones((8, 8, 8))}
    with pytest.raises(BadInput):
        ssim(**{**images, **arguments})
