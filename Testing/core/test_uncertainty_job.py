"""Maps of uncertainty, ranges of a card and the check on the own scan, as jobs."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.interslice.job import SliceOptions, sharpen_slices
from mriforge.io import read, write
from mriforge.jobs import Request, run_request
from mriforge.metrics.noise import appearance
from mriforge.models.card import ModelCard
from mriforge.physics.kspace import KspaceCrop
from mriforge.physics.slices import SliceProfile
from mriforge.superres.job import SuperresOptions, superres
from mriforge.superres.scope import outside_scope, unlike_training
from mriforge.superres.wish import plan_target
from mriforge.uncertainty.job import Wanted, measure
from mriforge.uncertainty.selfcheck import self_check
from mriforge.volume import Grid, Series, Volume


def body(shape=(4, 96, 96), seed=0, noise=2.0):
    """A body with edges at all places and a texture at all scales, in units of about 100."""
    random = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(random.normal(0, 1, shape))
    y, x = np.meshgrid(np.fft.fftfreq(shape[1]), np.fft.rfftfreq(shape[2]), indexing="ij")
    spectrum /= np.hypot(y, x) + 0.02
    texture = np.fft.irfft2(spectrum, s=shape[1:])
    image = 100 + 25 * texture / texture.std() + 30 * (texture > 0)
    _, row, column = np.indices(shape)
    inside = np.hypot(row / shape[1] - 0.5, column / shape[2] - 0.5) < 0.47
    return np.abs(image * inside + random.normal(0, noise, shape)).astype(np.float32)


def coarse(array, factor=2):
    sharp = Volume(array, Grid(array.shape, (1.0, 1.0, 3.0)))
    depth, height, width = array.shape
    crop = KspaceCrop(sharp.grid, (width // factor, height // factor, depth))
    low = crop.A_complex(torch.from_numpy(array)).abs().numpy()
    return sharp, Volume(low, crop.low)


def covered(result, half, sharp):
    tissue = sharp.array > 20
    return float((np.abs(result - sharp.array) <= half)[tissue].mean())


def test_intervals_of_an_interpolation_hold_the_truth_they_never_saw() -> None:
    sharp, low = coarse(body((4, 128, 128)))
    made = superres(low, SuperresOptions(model="cubic_bspline", scale=2))
    wanted = Wanted(calibrate_on=(Volume(body((4, 128, 128), 5), sharp.grid),))
    found = measure(made.trials, made.working, wanted)
    half = found.maps["half_width"].array[0]
    assert half.shape == sharp.array.shape and half.min() > 0
    assert covered(made.image.array, half, sharp) == pytest.approx(0.9, abs=0.03)
    interval = found.figures["interval"]
    assert interval["source"] == "sharp" and interval["scale_correction"] == 1
    assert interval["measured_coverage"]["share"] == pytest.approx(0.9, abs=0.04)
    assert "90 %" in interval["sentence"]


def test_the_scan_itself_calibrates_where_nothing_else_is_there() -> None:
    sharp, low = coarse(body((4, 192, 192)))
    made = superres(low, SuperresOptions(model="cubic_bspline", scale=2))
    found = measure(made.trials, made.working, Wanted())
    interval = found.figures["interval"]
    assert interval["source"] == "own" and interval["scale_correction"] == pytest.approx(2**-0.28)
    assert 0.75 < covered(made.image.array, found.maps["half_width"].array[0], sharp) < 0.99
    wide = measure(made.trials, made.working, Wanted(confidence=0.6))
    assert wide.maps["half_width"].array.mean() < 0.7 * found.maps["half_width"].array.mean()


def test_a_prior_is_nearer_than_the_scan_itself_and_frames_keep_their_maps() -> None:
    sharp, low = coarse(body())
    frames = Series(np.stack([low.array, 2 * low.array]), low.grid, np.arange(2.0))
    prior = Volume(body(seed=3), sharp.grid)
    made = superres(frames, SuperresOptions(model="sinc", prior=prior))
    found = measure(made.trials, made.working, Wanted(spread=True, unmeasured=True))
    assert found.figures["interval"]["source"] == "prior"
    assert set(found.maps) == {"half_width", "spread", "unmeasured"}
    for one in found.maps.values():
        assert one.array.shape == (2, *sharp.grid.shape) and one.grid.matches(sharp.grid)
    # A zero-filled image holds what was measured, up to the line without a partner.
    assert found.figures["unmeasured"]["share"] < 0.02
    assert found.figures["spread"]["answers"] == 4
    assert found.maps["spread"].metadata["provenance"]["map"] == "spread"


def test_thick_slices_are_calibrated_on_the_scans_own_pixels() -> None:
    fine = body((64, 48, 48), noise=1.0)
    grid = Grid(fine.shape, (1.0, 1.0, 1.0))
    acquisition = SliceProfile(grid, 4.0)
    stack = Volume(acquisition.A(torch.from_numpy(fine)).numpy(), acquisition.low)
    made = sharpen_slices(stack, SliceOptions(method="cubic_restored", thickness=4.0))
    found = measure(made.trials, made.working, Wanted(unmeasured=True))
    interval = found.figures["interval"]
    assert interval["source"] == "pixels" and interval["scale_correction"] == 1
    assert found.maps["half_width"].grid.matches(made.image.grid)
    assert interval["measured_coverage"]["share"] == pytest.approx(0.9, abs=0.05)
    checked = self_check(made.trials)
    assert len(checked.figures["against"]) == 3


def test_a_measurement_can_be_cancelled() -> None:
    _, low = coarse(body())
    made = superres(low, SuperresOptions(model="sinc", scale=2))
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        measure(made.trials, made.working, Wanted(), Events(control))


@pytest.fixture
def scan(tmp_path):
    """Files of a coarse scan and its truth."""
    sharp, low = coarse(body((3, 112, 112)))
    write(sharp, tmp_path / "sharp.nii.gz")
    write(low, tmp_path / "low.nii.gz")
    return tmp_path


def options_of(folder, **more):
    return {
        "input": str(folder / "low.nii.gz"),
        "output": str(folder / "out.nii.gz"),
        "model": "cubic_bspline",
        **more,
    }


def test_the_command_writes_maps_figures_and_a_page(scan) -> None:
    pytest.importorskip("matplotlib")
    names = {"uncertainty": "half.nii.gz", "spread": "spread.nii.gz", "null_space": "null.nii.gz"}
    files = {name: str(scan / file) for name, file in names.items()}
    report = str(scan / "page.html")
    result = run_request(
        Request("superres", options_of(scan, confidence=80, report=report, **files))
    )
    assert result["trust"]["interval"]["confidence"] == 0.8
    image = read(result["output"])
    for name, path in files.items():
        assert result[name] == path and read(path).grid.matches(image.grid)
    assert read(files["null_space"]).array.mean() < 0.2 * image.array.mean()
    page = (scan / "page.html").read_text()
    assert "How far it can be trusted" in page
    assert "Intervals of 80 %" in page and "not measured" in page


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"confidence": 95}, "--uncertainty"),
        ({"ensemble": 8}, "--ensemble is about a map"),
        ({"calibrate_on": ["low.nii.gz"]}, "--uncertainty"),
        ({"uncertainty": "m.nii.gz", "confidence": 30}, "at least 50"),
        ({"uncertainty": "m.nii.gz", "self_supervised": True, "ensemble_models": "a"}, "in plane"),
        ({"uncertainty": "m.nii.gz", "labels": True}, "Labels"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(scan, more, word) -> None:
    if "uncertainty" in more:
        more = {**more, "uncertainty": str(scan / more["uncertainty"])}
    if "calibrate_on" in more:
        more = {"calibrate_on": [str(scan / "low.nii.gz")]}
    options = options_of(scan, **more)
    if options.get("self_supervised") or options.get("labels"):
        options.pop("model")
    with pytest.raises(BadInput, match=word):
        run_request(Request("superres", options))
    assert not (scan / "out.nii.gz").exists()


def test_a_small_image_cannot_be_its_own_truth(tmp_path) -> None:
    _, low = coarse(body((3, 24, 24)))
    write(low, tmp_path / "low.nii.gz")
    path = str(tmp_path / "map.nii.gz")
    with pytest.raises(BadInput, match="too small to calibrate"):
        run_request(Request("superres", options_of(tmp_path, uncertainty=path)))
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_method_is_checked_on_the_scan_itself(scan) -> None:
    pytest.importorskip("matplotlib")
    options = {
        "input": str(scan / "low.nii.gz"),
        "report": str(scan / "check.html"),
        "model": "nearest",
        "json": str(scan / "check.json"),
    }
    result = run_request(Request("selfcheck", options))
    assert set(result["against"]) == {"zero-filled (sinc)", "linear", "cubic B-spline"}
    for one in result["against"].values():
        assert one["gain_db"] < 0 and one["wilcoxon_p"] < 0.01 and one["better_patches"] < 0.5
    assert "worse" in result["sentence"]
    page = (scan / "check.html").read_text()
    assert "cubic B-spline" in page and "data:image/png" in page
    assert json.loads((scan / "check.json").read_text())["patches"] == result["patches"]
    better = run_request(Request("selfcheck", {**options, "model": "sinc"}))
    assert better["against"]["linear"]["gain_db"] > 0
    assert better["against"]["zero-filled (sinc)"]["gain_db"] == 0


CARD = ModelCard(
    "model",
    "unet3d_small",
    "unet3d_small",
    settings={"degradation": {"operator": "kspace_crop"}},
    ranges={
        "noise": [0.01, 0.04],
        "variation": [0.2, 0.5],
        "brightness": [0.3, 0.6],
        "slice_mm": [1.0, 10.0],
        "slices": [2, 200],
    },
)


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ({"noise": 0.03, "variation": 0.3, "brightness": 0.5}, ""),
        ({"noise": 0.09}, "noise is 9 % of bright tissue, more than the 1 to 4 %"),
        ({"noise": 0.0}, ""),
        ({"variation": 0.05}, "contrast"),
        ({"brightness": 0.95}, "brightness"),
        ({}, ""),
    ],
)
def test_images_unlike_those_of_the_training_are_named(figures, word) -> None:
    found = unlike_training(CARD, figures)
    assert len(found) == bool(word) and word in "".join(found)
    assert unlike_training(dataclasses.replace(CARD, ranges={}), figures) == []


@pytest.mark.parametrize(
    ("shape", "apart", "word"),
    [((8, 64, 64), 3.0, ""), ((1, 64, 64), 3.0, "single slice"), ((8, 64, 64), 20.0, "20 mm")],
)
def test_slices_unlike_those_of_the_training_are_named(shape, apart, word) -> None:
    low = Grid(shape, (1.0, 1.0, apart))
    found = " ".join(outside_scope(CARD, low, plan_target(low, scale=2)))
    assert word in found if word else found == ""


def test_appearance_does_not_depend_on_units_and_sees_noise() -> None:
    random = np.random.default_rng(0)
    smooth = 100 + 40 * np.sin(np.indices((4, 64, 64))[2] / 9.0)
    noisy = smooth + random.normal(0, 5.0, smooth.shape)
    quiet, loud = appearance(smooth), appearance(noisy)
    assert quiet["noise"] < 0.005
    assert loud["noise"] == pytest.approx(5 / np.percentile(noisy, 99.5), rel=0.1)
    scaled = appearance(7 * smooth)
    assert scaled == pytest.approx(quiet, rel=1e-4)
    assert appearance(np.zeros((2, 8, 8))) == {}
