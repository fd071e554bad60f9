"""Synthetic MR: anatomy stays anatomy, and images are what physics makes of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.anatomy import NUMBER, TISSUES, TissueMap
from mriforge.errors import BadInput
from mriforge.io import read
from mriforge.synthesis import DeformSpec, RenderSpec, deform, render, synthesise
from mriforge.synthesis.contrast import (
    RELAXATION,
    SEQUENCES,
    bssfp,
    random_means,
    sequence_means,
    spoiled,
)
from mriforge.synthesis.deform import pulled, source_index
from mriforge.synthesis.render import (
    bias_field,
    gaussian_matrix,
    smooth_noise,
    thick_slices,
    truncated,
)
from mriforge.volume import Grid

WHOLE = replace(DeformSpec(), crop_probability=0.0, arms=0.0)
NO_CHANGE = DeformSpec.none()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def torso(shape: tuple[int, int, int] = (40, 44, 56), voxel: float = 6.0) -> TissueMap:
    """Ellipsoids that stand for organs, apart from each other, in a cylinder of fat in air."""
    array = np.zeros(shape, dtype=np.uint8)
    z, y, x = np.ogrid[tuple(slice(n) for n in shape)]
    middle = (np.array(shape) - 1) / 2

    def ellipsoid(key: str, place: tuple[float, ...], radius: tuple[float, ...]) -> None:
        c, r = middle + np.array(place) / voxel, np.array(radius) / voxel
        inside = ((z - c[0]) / r[0]) ** 2 + ((y - c[1]) / r[1]) ** 2 + ((x - c[2]) / r[2]) ** 2
        array[inside < 1] = NUMBER[key]

    ellipsoid("subcutaneous_fat", (0, 0, 0), (1e4, 105, 145))
    ellipsoid("liver", (30, -25, -70), (45, 45, 50))
    ellipsoid("spleen", (40, 20, 85), (30, 28, 22))
    ellipsoid("pancreas", (-10, -20, 25), (16, 16, 28))
    ellipsoid("right_kidney", (-50, 40, -60), (36, 24, 22))
    ellipsoid("left_kidney", (-50, 40, 60), (36, 24, 22))
    ellipsoid("stomach", (50, -45, 45), (30, 30, 30))
    ellipsoid("duodenum", (-30, -30, -20), (16, 16, 16))
    ellipsoid("small_intestine", (-75, -40, 20), (24, 30, 55))
    ellipsoid("vertebrae", (0, 40, 0), (1e4, 17, 20))
    ellipsoid("spinal_cord", (0, 70, 0), (1e4, 9, 9))
    return TissueMap(array, Grid(shape, (voxel,) * 3, (-10.0, 20.0, 30.0)), "ellipsoids")


TORSO = torso()


def volumes(labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels.ravel(), minlength=11).astype(float)


def centre(tissues: TissueMap, label: int) -> np.ndarray:
    """Of an organ, LPS mm."""
    index = np.argwhere(tissues.labels() == label).mean(axis=0)[::-1]
    return tissues.grid.index_to_world(index)


# --- anatomy ---------------------------------------------------------------------------------


def test_nothing_asked_nothing_changed() -> None:
    same = deform(TORSO, rng(), NO_CHANGE)
    assert np.array_equal(same.array, TORSO.array)
    assert same.grid == TORSO.grid


def test_anatomy_is_a_function_of_the_seed() -> None:
    first, again, other = (deform(TORSO, rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(first.array, again.array)
    assert first.grid == again.grid
    assert first.array.shape != other.array.shape or not np.array_equal(first.array, other.array)


@pytest.mark.parametrize("seed", range(12))
def test_no_organ_vanishes_and_left_stays_left(seed: int) -> None:
    moved = deform(TORSO, rng(seed), WHOLE)
    assert np.array_equal(np.unique(moved.labels()), np.arange(11))
    right, left = centre(moved, 4), centre(moved, 5)
    assert left[0] - right[0] > 50
    assert centre(moved, 9)[1] > centre(moved, 3)[1]


def test_an_organ_of_one_voxel_survives() -> None:
    array = TORSO.array.copy()
    array[array == NUMBER["duodenum"]] = NUMBER["subcutaneous_fat"]
    array[0, 20, 20] = NUMBER["duodenum"]
    for seed in range(8):
        moved = deform(replace(TORSO, array=array), rng(seed), WHOLE)
        assert (moved.labels() == 7).any()


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_scaling_scales(factor: float) -> None:
    moved = deform(TORSO, rng(), replace(NO_CHANGE, scaling=(factor, factor)))
    ratio = volumes(moved.labels())[[1, 2, 4, 5]] / volumes(TORSO.labels())[[1, 2, 4, 5]]
    assert ratio == pytest.approx(factor**3, rel=0.06)


def test_rotation_keeps_volumes_and_distances() -> None:
    moved = deform(TORSO, rng(3), replace(NO_CHANGE, rotation=12.0))
    ratio = volumes(moved.labels())[[1, 2, 4, 5]] / volumes(TORSO.labels())[[1, 2, 4, 5]]
    assert ratio == pytest.approx(1, abs=0.05)
    before = np.linalg.norm(centre(TORSO, 1) - centre(TORSO, 5))
    assert np.linalg.norm(centre(moved, 1) - centre(moved, 5)) == pytest.approx(before, rel=0.02)
    assert np.linalg.norm(centre(moved, 1) - centre(TORSO, 1)) > 3


def test_shift_shifts() -> None:
    moved = deform(TORSO, rng(1), replace(NO_CHANGE, shift=20.0))
    steps = [centre(moved, label) - centre(TORSO, label) for label in (1, 3, 6)]
    assert np.ptp(steps, axis=0) == pytest.approx(0, abs=1.0)
    assert 1 < np.abs(steps).max() < 21


@pytest.mark.parametrize("seed", range(6))
def test_the_warp_is_smooth_and_never_folds(seed: int) -> None:
    index = source_index(TORSO, rng(seed), replace(NO_CHANGE, warp=10.0, organs=2), "cpu").numpy()
    slope = np.stack([np.stack(np.gradient(part)) for part in index])
    jacobian = np.linalg.det(np.moveaxis(slope, (0, 1), (-2, -1)))
    assert jacobian.min() > 0.1
    assert jacobian.max() < 6
    second = np.abs(np.diff(index, n=2, axis=3)).max()
    assert second < 0.5, "voxels beside each other come from beside each other"


def test_warp_is_as_strong_as_asked() -> None:
    spec = replace(NO_CHANGE, warp=8.0, warp_scale=(30.0, 30.0))
    still = np.stack(np.meshgrid(*map(np.arange, TORSO.array.shape), indexing="ij"))
    root = [
        math.sqrt((((source_index(TORSO, rng(s), spec, "cpu").numpy() - still) ** 2).sum(0)).mean())
        for s in range(30)
    ]
    # The strength is uniform from nothing to what is asked.
    assert np.mean(root) * 6 == pytest.approx(4, rel=0.3)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_one_organ_grows_and_the_far_ones_do_not(factor: float) -> None:
    spec = replace(NO_CHANGE, organs=1, organ_scaling=(factor, factor))
    seen = []
    for seed in range(10):
        moved = deform(TORSO, rng(seed), spec)
        ratio = volumes(moved.labels())[1:9] / volumes(TORSO.labels())[1:9]
        changed = np.flatnonzero(np.abs(ratio - 1) > 0.25)
        if not changed.size:  # none was drawn
            continue
        most = int(np.abs(np.log(ratio)).argmax())
        seen.append(most)
        assert ratio[most] == pytest.approx(factor**3, rel=0.25)
        assert np.median(np.abs(ratio - 1)) < 0.1
    assert len(set(seen)) > 1


def test_a_window_shows_the_same_body_at_the_same_place() -> None:
    spec = replace(NO_CHANGE, crop_probability=1.0, crop_slices=(0.9, 0.95), crop_plane=(0.95, 1.2))
    for seed in range(5):
        part = deform(TORSO, rng(seed), spec)
        assert part.array.shape[0] < TORSO.array.shape[0]
        for label in (1, 3, 5):
            assert centre(part, label) == pytest.approx(centre(TORSO, label), abs=1e-6)
        first = TORSO.grid.world_to_index(np.array(part.grid.origin))
        assert first == pytest.approx(np.rint(first), abs=1e-6)


def test_arms_stay_outside_of_the_body() -> None:
    spec = replace(NO_CHANGE, arms=1.0)
    with_arms = deform(TORSO, rng(2), spec)
    extra = (with_arms.array.shape[2] - TORSO.array.shape[2]) // 2
    inner = with_arms.array[:, :, extra:-extra]
    body = TORSO.array > 0
    assert np.array_equal(inner[body], TORSO.array[body])
    assert (with_arms.array == NUMBER["muscle"]).any()
    assert volumes(with_arms.labels())[1:] == pytest.approx(volumes(TORSO.labels())[1:])
    assert centre(with_arms, 1) == pytest.approx(centre(TORSO, 1), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), shape=st.tuples(*[st.integers(1, 6)] * 3))
def test_interpolation_at_voxels_is_the_voxel_and_invents_no_label(
    seed: int, shape: tuple[int, int, int]
) -> None:
    random = rng(seed)
    array = random.integers(0, 4, shape).astype(np.uint8)
    still = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(np.float32)
    assert np.array_equal(pulled(array, torch.from_numpy(still)), array)
    moved = still + random.uniform(-0.7, 0.7, still.shape).astype(np.float32)
    assert set(np.unique(pulled(array, torch.from_numpy(moved)))) <= {0, *np.unique(array)}


def test_empty_maps_are_refused_by_name() -> None:
    empty = TissueMap(np.zeros((4, 4, 4), dtype=np.uint8), Grid((4, 4, 4)), "nobody")
    for work in (deform, render):
        with pytest.raises(BadInput, match="nobody"):
            work(empty, rng())


# --- contrast --------------------------------------------------------------------------------


def test_every_tissue_has_relaxation_times() -> None:
    assert set(RELAXATION) == {tissue.key for tissue in TISSUES}
    for tissue in RELAXATION.values():
        assert all(t2 <= t1 for t1, t2 in zip(tissue.t1, tissue.t2, strict=True))


def test_a_spoiled_echo_is_brightest_at_the_ernst_angle() -> None:
    angles = np.radians(np.linspace(1, 90, 2000))
    signal = [spoiled(800.0, 5.0, angle) for angle in angles]
    assert angles[np.argmax(signal)] == pytest.approx(math.acos(math.exp(-5 / 800)), abs=1e-3)


def test_a_balanced_echo_reaches_half_the_root_of_t2_over_t1() -> None:
    angles = np.radians(np.linspace(1, 179, 4000))
    signal = max(bssfp(1000.0, 80.0, 0.05, angle) for angle in angles)
    assert signal == pytest.approx(0.5 * math.sqrt(80 / 1000), rel=0.01)


def test_sequences_look_as_they_do_in_the_clinic() -> None:
    wins = dict.fromkeys(("t2 fluid", "arterial aorta", "fat", "no fat", "t1 liver"), 0.0)
    count = dict.fromkeys(wins, 0)
    for seed in range(400):
        mean, about = sequence_means(rng(seed))
        mean = np.abs(mean)
        liver, spleen = mean[NUMBER["liver"]], mean[NUMBER["spleen"]]
        fat, muscle = mean[NUMBER["subcutaneous_fat"]], mean[NUMBER["muscle"]]
        checks = {
            "t2 fluid": (about["sequence"] == "fse", mean[NUMBER["cerebrospinal_fluid"]] > liver),
            "arterial aorta": (
                about.get("contrast_phase") == "arterial",
                mean[NUMBER["aorta"]] > liver,
            ),
            "fat": (about["sequence"] == "gre" and not about["fat_suppressed"], fat > muscle),
            "no fat": (about["sequence"] == "gre" and about["fat_suppressed"], fat < muscle),
            "t1 liver": (about["sequence"] == "gre", liver > spleen),
        }
        for name, (concerned, true) in checks.items():
            count[name] += concerned
            wins[name] += concerned and true
    assert min(count.values()) > 4
    for name in wins:
        assert wins[name] / count[name] > 0.85, name


def test_contrasts_vary_and_neighbours_are_not_always_told_apart() -> None:
    pairs = [("liver", "spleen"), ("pancreas", "duodenum"), ("right_kidney", "muscle")]
    means = [sequence_means(rng(s))[0] for s in range(80)] + [
        random_means(rng(s)) for s in range(40)
    ]
    means = np.abs(means)
    for first, second in pairs:
        a, b = means[:, NUMBER[first]], means[:, NUMBER[second]]
        ratio = a / np.maximum(b, 1e-6)
        assert (ratio > 1.1).any(), first
        assert (ratio < 0.9).any(), first
        assert (np.abs(ratio - 1) < 0.1).any(), first
    assert (means[:, 0] == 0).all()
    assert (means[:, NUMBER["left_kidney"]] == means[:, NUMBER["right_kidney"]]).all()


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_sequences_say_what_they_are(sequence: str) -> None:
    mean, about = sequence_means(rng(1), sequence)
    assert about["sequence"] == sequence
    assert mean.dtype == np.float32
    assert np.isfinite(mean).all()
    json.dumps(about)


def test_a_real_balanced_image_is_within_what_is_simulated(shared_data: Path) -> None:
    """Ratios to the left kidney, in small regions of a volunteer's image at 3 T."""
    image = read(shared_data / "abdomen" / "UKRIN_Ax_localiser_bTFE_enh.dcm").array[12]
    regions = {
        "liver": (128, 72), "right_kidney": (143, 80), "spleen": (146, 198), "aorta": (122, 132),
        "inferior_vena_cava": (121, 108), "gallbladder": (98, 78), "muscle": (165, 95),
        "vertebrae": (138, 120), "pancreas": (101, 125), "left_kidney": (140, 175),
    }  # fmt: skip
    mean = {key: image[y - 2 : y + 3, x - 2 : x + 3].mean() for key, (y, x) in regions.items()}
    found = []
    for seed in range(600):
        one, about = sequence_means(rng(seed), "bssfp")
        if about["tesla"] == 3.0 and not about["fat_suppressed"]:
            found.append(np.abs(one))
    found = np.array(found)
    found /= found[:, [NUMBER["left_kidney"]]]
    for key in set(regions) - {"left_kidney", "right_kidney"}:
        low, high = np.percentile(found[:, NUMBER[key]], (1, 99))
        assert low < mean[key] / mean["left_kidney"] < high, key


# --- images ----------------------------------------------------------------------------------


def test_images_are_a_function_of_the_seed_and_leave_the_map_alone() -> None:
    before = TORSO.array.copy()
    first, again, other = (render(TORSO, rng(seed)) for seed in (7, 7, 8))
    assert np.array_equal(first.array, again.array)
    assert not np.array_equal(first.array, other.array)
    assert np.array_equal(TORSO.array, before)
    assert first.array.dtype == np.float32
    assert first.grid == TORSO.grid
    assert (first.array >= 0).all()
    json.dumps(first.metadata)


def test_image_and_labels_belong_together() -> None:
    image, labels = synthesise(TORSO, 2**63 + 9)
    again, same = synthesise(TORSO, 2**63 + 9)
    assert np.array_equal(image.array, again.array)
    assert np.array_equal(labels, same)
    assert labels.dtype == np.uint8
    assert labels.shape == image.array.shape
    plain, labels = synthesise(
        TORSO, 3, deform_spec=WHOLE, render_spec=RenderSpec.plain(random_contrast=1.0)
    )
    for label in range(1, 11):
        assert np.ptp(plain.array[labels == label]) < 1e-6


def test_a_plain_image_is_one_brightness_for_each_tissue() -> None:
    image = render(TORSO, rng(5), RenderSpec.plain())
    for number in np.unique(TORSO.array):
        assert np.ptp(image.array[number == TORSO.array]) < 1e-6
    assert image.array[TORSO.array == 0].max() == 0


@pytest.mark.parametrize("snr", [10.0, 40.0])
def test_noise_is_rayleigh_in_air_and_as_strong_as_asked(snr: float) -> None:
    quiet = render(TORSO, rng(5), RenderSpec.plain(random_contrast=1.0)).array
    loud = render(TORSO, rng(5), RenderSpec.plain(random_contrast=1.0, snr=(snr, snr))).array
    sd = quiet[TORSO.array > 0].mean() / snr
    air = loud[TORSO.array == 0]
    assert air.mean() == pytest.approx(sd * math.sqrt(math.pi / 2), rel=0.03)
    assert air.std() == pytest.approx(sd * math.sqrt(2 - math.pi / 2), rel=0.05)
    bright = quiet > 8 * sd
    assert (loud - quiet)[bright].std() == pytest.approx(sd, rel=0.05)


def test_a_good_breath_hold_is_quieter_and_thinner() -> None:
    """Noise in the air around the body, over the body's mean, on average over draws."""
    air = TORSO.array == 0

    def noise(quality: str) -> float:
        spec = RenderSpec.of_quality(quality, sequence="gre_contrast", random_contrast=0.0)
        images = [render(TORSO, rng(seed), spec).array for seed in range(6)]
        return float(np.mean([np.median(image[air]) / image[~air].mean() for image in images]))

    assert noise("breath_hold") < 0.7 * noise("any")
    assert RenderSpec.breath_hold(snr=(5.0, 6.0)).snr == (5.0, 6.0)
    assert RenderSpec.breath_hold().slice_probability == 0.0


def test_noise_keeps_its_strength_when_slices_are_thick() -> None:
    spec = RenderSpec.plain(random_contrast=1.0, snr=(20.0, 20.0))
    spec = replace(spec, slice_probability=1.0, thickness=(12.0, 12.0), kept=(0.7, 0.7))
    air = np.zeros(TORSO.array.shape, dtype=bool)
    air[:, :2], air[:, -2:] = True, True
    assert not TORSO.array[air].any()
    sharp = render(TORSO, rng(5), RenderSpec.plain(random_contrast=1.0)).array
    image = render(TORSO, rng(5), spec).array
    sd = sharp[TORSO.array > 0].mean() / 20
    assert np.median(image[air]) == pytest.approx(sd * math.sqrt(2 * math.log(2)), rel=0.2)


def test_the_bias_field_is_smooth_and_no_stronger_than_asked() -> None:
    spread = []
    for seed in range(30):
        field = bias_field((20, 24, 28), rng(seed), RenderSpec(bias=0.3), "cpu").log()
        spread.append(float(field.std()))
        assert float(field.diff(dim=2).abs().max()) < 0.25
    assert max(spread) < 0.31
    assert np.mean(spread) == pytest.approx(0.15, rel=0.3)


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("thickness", [4.0, 9.0])
def test_slices_are_as_thick_as_asked(thickness: float, square: bool) -> None:
    matrix = thick_slices(240, 1.0, thickness, 0.0, 0.3, square).numpy()
    assert matrix.sum(axis=1) == pytest.approx(1, abs=1e-5)
    inner = matrix[60:-60]
    place = np.arange(240)
    mean = inner @ place
    assert mean == pytest.approx(place[60:-60], abs=1e-3), "nothing is moved"
    variance = (inner * (place[None] - mean[:, None]) ** 2).sum(axis=1).mean()
    profile = thickness**2 / 12 if square else (thickness / 2.355) ** 2
    # Linear interpolation between slices adds a sixth of their distance squared.
    assert variance == pytest.approx(profile + thickness**2 / 6 + 1 / 12, rel=0.05)


def test_truncation_keeps_slow_waves_and_removes_fast_ones() -> None:
    n = 60
    matrix = truncated(n, 30)
    place = torch.arange(n) * (2 * math.pi / n)
    slow, fast = torch.cos(5 * place), torch.cos(25 * place)
    assert matrix @ slow == pytest.approx(slow.numpy(), abs=1e-5)
    assert float((matrix @ fast).abs().max()) < 1e-5
    edge = (torch.arange(n) > 30).float()
    assert float((matrix @ edge).max()) > 1.03, "ringing"


def test_borders_are_blurred_by_the_sigma_asked() -> None:
    spread = gaussian_matrix(101, 1.5)[50].numpy()
    place = np.arange(101) - 50
    assert (spread * place**2).sum() == pytest.approx(1.5**2 + 1 / 12, rel=0.02)


def test_ghosts_are_where_the_modulation_puts_them() -> None:
    array = np.zeros((32, 48, 40), dtype=np.uint8)
    array[10:20, 18:24, 14:22] = NUMBER["liver"]
    block = TissueMap(array, Grid(array.shape, (3.0,) * 3), "block")
    spec = RenderSpec.plain(random_contrast=1.0, ghost_probability=1.0, ghost=0.3)
    seen = set()
    for seed in range(8):
        image = render(block, rng(seed), spec)
        about = image.metadata["simulated"]
        axis = "zyx".index(about["ghost_axis"])
        seen.add(axis)
        ghost = np.where(array == 0, image.array, 0)
        expected = sum(
            np.roll(array > 0, sign * about["ghost_shift"], axis) for sign in (1, -1)
        ).astype(bool) & (array == 0)
        assert expected.any()
        assert (ghost[expected] > 0).all()
        assert (ghost[~expected] == 0).all()
        assert about["ghost"] <= 0.3
    assert len(seen) > 1


def test_fat_and_water_cancel_where_they_meet_in_opposed_phase() -> None:
    array = np.full((8, 20, 20), NUMBER["muscle"], dtype=np.uint8)
    array[:, :, :10] = NUMBER["subcutaneous_fat"]
    block = TissueMap(array, Grid(array.shape, (3.0,) * 3), "block")
    spec = RenderSpec.plain(random_contrast=0.0, sequence="opposed_phase", border=(0.8, 0.8))
    line = render(block, rng(0), spec).array[4, 10]
    assert line[8:12].min() < 0.6 * min(line[2], line[-3])
    line = render(block, rng(0), replace(spec, sequence="gre")).array[4, 10]
    assert line[8:12].min() > 0.95 * min(line[2], line[-3])


def test_texture_is_correlated_and_of_unit_variance() -> None:
    noise = smooth_noise((24, 24, 24), 4.0, rng(0), "cpu").numpy()
    assert noise.std() == pytest.approx(1, rel=1e-3)
    near = (noise[1:] * noise[:-1]).mean()
    far = (noise[12:] * noise[:-12]).mean()
    assert near > 0.6
    assert abs(far) < 0.35


def test_anatomy_of_images_survives_all_at_once() -> None:
    """Whatever is drawn: finite, not constant, air darker than the body."""
    for seed in range(10):
        image, labels = synthesise(TORSO, seed)
        assert np.isfinite(image.array).all()
        assert image.array.std() > 0
        assert image.array[labels > 0].mean() > 0


def test_flat_maps_are_rendered_too() -> None:
    flat = TissueMap(TORSO.array[20:21], Grid((1, *TORSO.array.shape[1:]), (6.0,) * 3), "slice")
    for seed in range(5):
        image, labels = synthesise(flat, seed)
        assert image.array.shape == labels.shape
        assert np.isfinite(image.array).all()
