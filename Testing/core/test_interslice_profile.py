"""The slice profile: told, read, estimated from the spectrum, learned, assumed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.interslice.profile import KnownProfile, find_profile, profile_width
from mriforge.interslice.profile_learnt import (
    LearntSettings,
    TapGenerator,
    learn_profile,
    taps_for,
    width_of,
)
from mriforge.interslice.profile_spectral import spectral_fit
from mriforge.io import read
from mriforge.physics.profiles import FWHM_PER_SIGMA, box, gaussian
from mriforge.physics.slices import SliceProfile
from mriforge.volume import Grid, Volume


class Heard(Events):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def _log(self, text: str) -> None:
        self.lines.append(text)


def texture(shape: tuple[int, int, int] = (96, 96, 96), seed: int = 0) -> np.ndarray:
    """Random and isotropic, with the spectrum that anatomy has, about a mean that is tissue."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    size = np.sqrt(sum(f**2 for f in np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")))
    field = np.fft.ifftn(np.fft.fftn(noise) / np.maximum(size, 0.02) ** 1.7).real
    return (100 + 15 * field / field.std()).astype(np.float32)


def thick(image: Volume, spacing: float, profile: object, axis: int = 2) -> Volume:
    acquire = SliceProfile(image.grid, spacing, 0.0, axis, profile)
    made = acquire.A(torch.from_numpy(image.array.astype(np.float32))).float().numpy()
    return Volume(made, acquire.low)


@pytest.fixture(scope="module")
def sharp() -> Volume:
    array = texture((128, 96, 96))
    return Volume(array, Grid(array.shape))


@pytest.fixture(scope="module")
def stack(sharp: Volume) -> Volume:
    """Slices 4 mm apart, Gaussian of 4 mm."""
    return thick(sharp, 4.0, "gaussian")


# -- told, header, assumed ---------------------------------------------------------------------


def test_a_thickness_that_is_told_is_believed(stack: Volume) -> None:
    events = Heard()
    known = find_profile(stack, 2, thickness_mm=3.0, events=events)
    assert (known.source, known.fwhm_mm, known.profile.name) == ("told", 3.0, "gaussian")
    assert profile_width(known.profile) == pytest.approx(3.0, rel=0.02)
    assert events.lines == [known.sentence()]
    assert "3.00 mm" in known.sentence()
    assert "75 %" in known.sentence()


def test_a_box_of_the_thickness_told(stack: Volume) -> None:
    known = find_profile(stack, 2, wish="box", thickness_mm=3.0)
    assert (known.source, known.profile.name, known.profile.reach) == ("told", "box", 1.5)


@pytest.mark.parametrize("wish", ["gaussian", "box"])
def test_without_a_thickness_a_shape_is_as_wide_as_the_slices_are_apart(
    stack: Volume, wish: str
) -> None:
    known = find_profile(stack, 2, wish=wish)
    assert (known.source, known.fwhm_mm, known.profile.name) == ("assumed", 4.0, wish)


@pytest.mark.parametrize("wish", ["auto", "gaussian", "box"])
def test_the_header_is_read(stack: Volume, wish: str) -> None:
    known = find_profile(stack.with_array(stack.array, slice_thickness_mm=3.2), 2, wish=wish)
    assert (known.source, known.fwhm_mm) == ("header", 3.2)


@pytest.mark.parametrize("thickness", [0.1, 40.0, "thick", float("nan")])
def test_an_implausible_header_is_not_believed_and_it_says_so(
    stack: Volume, thickness: object
) -> None:
    image = stack.with_array(stack.array, slice_thickness_mm=thickness)
    known = find_profile(image, 2)
    assert known.source == "estimated"
    assert "header" in known.sentence()


def test_the_header_says_nothing_about_another_axis(sharp: Volume) -> None:
    image = thick(sharp, 4.0, "gaussian", axis=0)
    known = find_profile(image.with_array(image.array, slice_thickness_mm=2.0), 0)
    assert known.source == "estimated"


def test_a_measured_profile(stack: Volume, tmp_path: Path) -> None:
    path = tmp_path / "slice.txt"
    x = np.linspace(-6, 6, 121)
    np.savetxt(path, np.column_stack([x, np.exp(-0.5 * (x / 1.5) ** 2)]))
    known = find_profile(stack, 2, wish=path)
    assert known.source == "told"
    assert known.fwhm_mm == pytest.approx(1.5 * FWHM_PER_SIGMA, rel=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"axis": 3}, "slice axis"),
        ({"thickness_mm": 0.0}, "not positive"),
        ({"thickness_mm": float("nan")}, "not positive"),
        ({"thickness_mm": 50.0}, "not plausible"),
        ({"thickness_mm": 4.0, "wish": "estimate"}, "Leave one"),
        ({"thickness_mm": 4.0, "wish": "learnt"}, "Leave one"),
        ({"wish": "gausian"}, "Choose one of auto"),
        ({"wish": "nowhere.txt"}, "no slice profile"),
    ],
)
def test_what_is_refused(stack: Volume, options: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        find_profile(stack, **{"axis": 2, **options})


def test_the_width_of_a_profile() -> None:
    assert profile_width(box(4.0)) == pytest.approx(FWHM_PER_SIGMA * 4 / np.sqrt(12))
    assert profile_width(gaussian(2.0, 5.0)) == pytest.approx(FWHM_PER_SIGMA * 2, rel=1e-3)


def test_what_is_known_is_json(stack: Volume) -> None:
    text = json.dumps(find_profile(stack, 2).describe(), allow_nan=False)
    assert '"estimated"' in text


# -- the spectrum ------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("width", [0.6, 1.0, 1.4])
def test_the_spectrum_knows_the_width(sharp: Volume, axis: int, width: float) -> None:
    image = thick(sharp, 4.0, gaussian(4 * width / FWHM_PER_SIGMA), axis)
    known = find_profile(image, axis)
    assert known.source == "estimated"
    assert known.fwhm_mm == pytest.approx(4 * width, rel=0.15)
    assert abs(known.fwhm_mm / (4 * width) - 1) < 3 * known.relative_sd


@pytest.mark.parametrize("spacing", [2.0, 3.3, 6.0])
def test_the_spectrum_at_any_ratio(sharp: Volume, spacing: float) -> None:
    fit = spectral_fit(thick(sharp, spacing, "gaussian"), 2)
    assert not fit.why_not
    assert fit.fwhm_mm == pytest.approx(spacing, rel=0.15)


def test_a_box_is_seen_as_a_profile_of_its_second_moment(sharp: Volume) -> None:
    fit = spectral_fit(thick(sharp, 4.0, "box"), 2)
    assert profile_width(fit.profile) == pytest.approx(profile_width(box(4.0)), rel=0.15)


def test_noise_of_the_slices_is_told_from_sharpness(stack: Volume) -> None:
    noise = np.random.default_rng(1).normal(0, 3, stack.array.shape)
    fit = spectral_fit(stack.with_array((stack.array + noise).astype(np.float32)), 2)
    assert fit.fwhm_mm == pytest.approx(4.0, rel=0.15)


@pytest.mark.parametrize("part", [0.5, 0.7])
def test_pixels_that_the_scanner_interpolated(stack: Volume, part: float) -> None:
    """Zero-filled in plane: the spectrum ends early."""
    k = np.fft.fft2(stack.array)
    for axis in (1, 2):
        beyond = np.abs(np.fft.fftfreq(stack.array.shape[axis])) >= part / 2
        k[tuple(beyond if a == axis else slice(None) for a in range(3))] = 0
    finer = np.fft.ifft2(k).real.astype(np.float32)
    fit = spectral_fit(stack.with_array(finer), 2)
    assert fit.fwhm_mm == pytest.approx(4.0, rel=0.15)


def test_pixels_of_two_sizes(sharp: Volume) -> None:
    image = thick(thick(sharp, 1.25, box(1.25), axis=0), 5.0, "gaussian")
    fit = spectral_fit(image, 2)
    assert fit.fwhm_mm == pytest.approx(5.0, rel=0.15)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda v: Volume(v.array[:6], Grid((6, *v.array.shape[1:]), v.grid.spacing)), "6 slices"),
        (lambda v: v.with_array(np.zeros_like(v.array)), "tissue"),
        (lambda v: v.with_array(np.full_like(v.array, np.nan)), "tissue"),
        (lambda v: Volume(v.array, Grid(v.array.shape, (4.0, 4.0, 4.0))), "close together"),
    ],
)
def test_a_scan_that_says_too_little_gets_its_spacing(
    stack: Volume, make: object, words: str
) -> None:
    known = find_profile(make(stack), 2)
    assert (known.source, known.fwhm_mm) == ("assumed", 4.0)
    assert words in known.sentence()


def test_pure_noise_has_no_width(stack: Volume) -> None:
    noise = np.random.default_rng(2).normal(100, 20, stack.array.shape).astype(np.float32)
    known = find_profile(stack.with_array(noise), 2)
    assert known.source == "assumed" or known.relative_sd > 0.2


# -- learned -----------------------------------------------------------------------------------

QUICK = LearntSettings(minutes=0.05, steps=12, patience=100)


def test_the_generator_starts_at_a_gaussian_and_stays_a_profile() -> None:
    generator = TapGenerator(21, 1.7)
    weights = generator().detach().double().numpy()
    assert weights.sum() == pytest.approx(1)
    assert width_of(weights) == pytest.approx(1.7 * FWHM_PER_SIGMA, rel=0.01)
    with torch.no_grad():
        generator.embedding.normal_(0, 5)
    weights = generator().detach().double().numpy()
    np.testing.assert_allclose(weights, weights[::-1], atol=1e-7)
    assert np.all(np.diff(weights[10:]) <= 0)


def test_as_many_weights_as_two_spacings_need() -> None:
    assert [taps_for(ratio) for ratio in (2.0, 6.3, 10.0, 12.5)] == [21, 21, 21, 27]


@pytest.mark.parametrize(("spacing", "axis"), [(4.0, 2), (3.3, 2), (5.5, 0)])
def test_learning_gives_a_profile(sharp: Volume, spacing: float, axis: int) -> None:
    image = thick(sharp, spacing, "gaussian", axis)
    known = find_profile(image, axis, wish="learnt", learnt=QUICK)
    assert isinstance(known, KnownProfile)
    assert known.source == "learnt"
    assert known.profile.cumulative[-1] == pytest.approx(1)
    assert known.details["stopped"] in ("steps", "time")
    assert known.fwhm_mm == pytest.approx(profile_width(known.profile), rel=0.1)
    json.dumps(known.describe(), allow_nan=False)


def test_the_same_seed_learns_the_same(stack: Volume) -> None:
    twice = [learn_profile(stack, 2, LearntSettings(steps=8)) for _ in range(2)]
    np.testing.assert_array_equal(twice[0].profile.cumulative, twice[1].profile.cumulative)


@pytest.mark.long
def test_learning_finds_a_narrower_profile(sharp: Volume) -> None:
    image = thick(sharp, 4.0, "box")
    found = learn_profile(image, 2, LearntSettings(minutes=5))
    assert found.stopped == "stable"
    assert found.fwhm_mm == pytest.approx(profile_width(box(4.0)), rel=0.25)


def test_learning_can_be_cancelled(stack: Volume) -> None:
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        learn_profile(stack, 2, QUICK, Events(control))


def test_a_scan_that_is_too_small_to_learn_from_is_refused() -> None:
    small = Volume(texture((10, 24, 24)), Grid((10, 24, 24), (1.0, 1.0, 4.0)))
    with pytest.raises(BadInput, match="too small"):
        find_profile(small, 2, wish="learnt", learnt=QUICK)


# -- real data ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "brain3d/vxm_test_T1w_1mm_brain.nii.gz",
        "brain3d/niivue_norm_T1w_1mm_brain.mgz",
        "aniso/sct_errsm30_T2w_spine_1mm.nii.gz",
    ],
)
def test_real_volumes_made_thick(shared_data: Path, name: str) -> None:
    image = read(shared_data / name)
    fit = spectral_fit(thick(image, 4 * image.grid.spacing[2], "gaussian"), 2)
    assert not fit.why_not
    assert fit.fwhm_mm == pytest.approx(4 * image.grid.spacing[2], rel=0.15)
