"""The degrade job: geometry, amplitude, provenance, and sentences for what cannot be done."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mriforge.degrade import DegradeOptions, acquisition, degrade
from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.physics.kspace import KspaceCrop
from mriforge.volume import Grid, Series, Volume

GRID = Grid((6, 20, 24), (1.0, 1.1, 3.0), (5.0, -3.0, 20.0))


def volume(dtype: str = "uint16", grid: Grid = GRID) -> Volume:
    z, y, x = np.meshgrid(
        *[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in grid.shape], indexing="ij"
    )
    head = 900 * (x**2 + y**2 + z**2 < 0.8) + 100 * np.cos(9 * x) ** 2 * (y > 0)
    return Volume(head.astype(dtype), grid, {"modality": "MR"})


def series(frames: int = 3) -> Series:
    array = np.stack([volume().array + 10 * t for t in range(frames)])
    return Series(array, GRID, np.arange(frames) * 0.5, "trigger time", "ms")


def test_crop_is_the_magnitude_of_the_truncated_image():
    image = volume()
    before = image.array.copy()
    low = degrade(image, DegradeOptions(keep=0.25))
    op = KspaceCrop.from_fraction(GRID, 0.25, (0, 1))
    expected = op.A_complex(torch.from_numpy(image.array.astype(np.float32))).abs()
    assert isinstance(low, Volume)
    assert low.array.dtype == np.float32
    assert np.allclose(low.array, expected, atol=1e-3)
    assert low.grid == op.low
    assert low.array.mean() == pytest.approx(image.array.mean(), rel=0.1)
    assert np.array_equal(image.array, before)
    assert "provenance" not in image.metadata


def test_provenance_names_operator_and_every_setting():
    options = DegradeOptions(keep=0.25, fermi=True, mode="zerofill", noise=0.01, seed=4)
    low = degrade(volume(), options)
    told = low.metadata["provenance"]
    assert low.metadata["modality"] == "MR"
    assert told["operator"] == "kspace_zerofill+fermi_window+rician_noise"
    assert set(DegradeOptions.__dataclass_fields__) <= set(told)
    assert told["kept_matrix"] == [12, 10, 6]
    assert told["noise_sd"] > 0
    again = degrade(low, DegradeOptions(keep=0.5)).metadata["provenance"]
    assert again["of"]["seed"] == 4
    json.dumps(again)


def test_zero_fill_keeps_the_grid():
    low = degrade(volume(), DegradeOptions(keep=0.25, mode="zerofill"))
    assert low.grid == GRID


def test_slices_and_kspace_together():
    options = DegradeOptions(keep=0.25, slice_thickness=6.0, slice_gap=3.0, profile="box")
    low = degrade(volume(), options)
    assert low.grid.stored_shape == (12, 10, 2)
    assert low.grid.spacing[2] == pytest.approx(9.0)
    assert low.metadata["slice_thickness_mm"] == 6.0
    op = acquisition(GRID, options)
    assert op.low == low.grid
    ones = degrade(Volume(np.ones(GRID.shape), GRID), options)
    assert np.allclose(ones.array, 1, atol=1e-5)


def test_series_keeps_times_and_is_frame_by_frame():
    image = series()
    low = degrade(image, DegradeOptions(keep=0.1))
    assert isinstance(low, Series)
    assert np.array_equal(low.times, image.times)
    assert (low.time_name, low.time_unit) == ("trigger time", "ms")
    alone = degrade(image[2], DegradeOptions(keep=0.1))
    assert np.array_equal(low.array[2], alone.array)


def test_series_needs_no_more_than_frames_of_memory(tmp_path):
    """A memory-mapped series is read a frame at a time: nothing of its whole size is allocated."""
    import tracemalloc

    shape = (60, 4, 64, 64)
    mapped = np.lib.format.open_memmap(tmp_path / "s.npy", "w+", np.float32, shape)
    mapped[:] = 1
    image = Series(mapped, Grid(shape[1:]), np.arange(60))
    degrade(image[0], DegradeOptions(keep=0.25))
    tracemalloc.start()
    degrade(image, DegradeOptions(keep=0.0625))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < mapped.nbytes / 3


@pytest.mark.parametrize("mode", ["crop", "zerofill"])
def test_blocks_of_slices_give_the_same_image(monkeypatch, mode):
    options = DegradeOptions(keep=0.25, mode=mode, fermi=True, noise=0.05)
    whole = degrade(volume(), options)
    monkeypatch.setattr("mriforge.degrade._BLOCK_VOXELS", 1000)
    assert np.allclose(degrade(volume(), options).array, whole.array, atol=1e-3)


@pytest.mark.parametrize("dtype", ["bool", "uint8", ">i2", "int32", "float16", "float64", ">f4"])
def test_every_dtype(dtype):
    low = degrade(volume(dtype), DegradeOptions(keep=0.25))
    assert low.array.dtype == np.float32
    assert np.isfinite(low.array).all()


def test_read_only_input():
    image = volume()
    image.array.setflags(write=False)
    degrade(image, DegradeOptions(keep=0.25, noise=0.02))


def test_signed_images_keep_their_sign():
    image = Volume(volume().array.astype(np.float32) - 500, GRID)
    low = degrade(image, DegradeOptions(keep=0.25))
    assert low.array.min() < -300
    assert low.metadata["provenance"]["output"] == "real"
    assert degrade(volume(), DegradeOptions(keep=0.25)).array.min() >= 0


def test_noise_is_seeded_per_frame_and_relative_to_the_signal():
    image = series()
    options = DegradeOptions(noise=0.05, seed=11)
    first, second = degrade(image, options), degrade(image, options)
    assert np.array_equal(first.array, second.array)
    assert first.grid == GRID
    other = degrade(image, DegradeOptions(noise=0.05, seed=12))
    assert not np.array_equal(first.array, other.array)
    noise = first.array - image.array
    assert not np.allclose(noise[0], noise[1], atol=1)
    sd = first.metadata["provenance"]["noise_sd"]
    bright = image.array > 500
    assert noise[bright].std() == pytest.approx(sd, rel=0.05)
    scaled = degrade(Series(image.array * 3.0, GRID, image.times), options)
    assert np.allclose(scaled.array, 3 * first.array, rtol=1e-3, atol=0.1)
    gaussian = degrade(volume(), DegradeOptions(noise=0.1, noise_kind="complex"))
    assert gaussian.array.min() < 0


@pytest.mark.parametrize("shape", [(1, 20, 20), (1, 7, 9), (3, 5, 5), (1, 31, 8)])
@pytest.mark.parametrize("mode", ["crop", "zerofill"])
def test_single_slices_and_odd_sizes(shape, mode):
    image = volume("float32", Grid(shape, (0.9, 1.3, 8.0)))
    low = degrade(image, DegradeOptions(keep=0.25, mode=mode))
    assert low.grid.shape[0] == shape[0]
    assert np.isfinite(low.array).all()


def test_profile_file(tmp_path):
    path = tmp_path / "taps.txt"
    path.write_text("1\n2\n1\n")
    low = degrade(volume(), DegradeOptions(slice_thickness=6.0, profile=str(path)))
    assert low.grid.shape == (3, 20, 24)
    assert low.metadata["provenance"]["profile"] == str(path)


def test_cancel_between_frames():
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        degrade(series(), DegradeOptions(keep=0.25), Events(control))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "Nothing"),
        ({"keep": 0.0}, "above 0"),
        ({"keep": 1.5}, "at most 1"),
        ({"keep": float("nan")}, "above 0"),
        ({"keep": 0.25, "axes": ()}, "axes"),
        ({"keep": 0.25, "axes": (0, 0)}, "axes"),
        ({"keep": 0.25, "axes": (0, 3)}, "axes"),
        ({"keep": 0.25, "mode": "fill"}, "crop or zerofill"),
        ({"fermi": True, "noise": 0.1}, "truncated k-space"),
        ({"mode": "zerofill", "noise": 0.1}, "truncated k-space"),
        ({"slice_thickness": 0.0}, "positive"),
        ({"slice_thickness": float("inf")}, "positive"),
        ({"slice_thickness": 4.0, "slice_gap": -4.0}, "advance"),
        ({"keep": 0.25, "slice_gap": 1.0}, "thick slices"),
        ({"keep": 0.25, "profile": "box"}, "thick slices"),
        ({"slice_thickness": 6.0, "axis": 3}, "slice axis"),
        ({"keep": 0.25, "slice_thickness": 6.0, "axis": 1}, "both"),
        ({"noise": -0.1}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"noise": 0.1, "noise_kind": "poisson"}, "rician or complex"),
        ({"noise": 0.1, "seed": -1}, "seed"),
    ],
)
def test_impossible_options(settings, words):
    with pytest.raises(BadInput, match=words):
        DegradeOptions(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keep": 0.25, "axes": (1, 2)}, "single voxel"),
        ({"keep": 1e-4}, "No k-space line"),
        ({"slice_thickness": 1.0}, "thinner"),
        ({"slice_thickness": 100.0}, "thicker"),
        ({"slice_thickness": 3.0, "profile": "nowhere.txt"}, "no slice profile"),
    ],
)
def test_images_that_are_too_small(settings, words):
    image = volume("float32", Grid((1, 20, 24), (1, 1, 3)))
    with pytest.raises(BadInput, match=words):
        degrade(image, DegradeOptions(**settings))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(value):
    array = volume("float32").array.copy()
    array[0, 0, 0] = value
    with pytest.raises(BadInput, match="not numbers"):
        degrade(Volume(array, GRID), DegradeOptions(keep=0.25))
