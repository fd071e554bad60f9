"""Quality without a reference: known distributions, growing blur and noise, other programs."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from mriforge.errors import BadInput, MissingDependency
from mriforge.metrics.no_reference import brisque as brisque_module
from mriforge.metrics.no_reference import slices as module
from mriforge.metrics.no_reference.brisque import FILES, Brisque
from mriforge.metrics.no_reference.gaussians import fit_aggd, fit_ggd, moment_ratio
from mriforge.metrics.no_reference.mscn import (
    DIRECTIONS,
    histogram_distance,
    local_statistics,
    mscn,
    mscn_distance,
    neighbour_products,
)
from mriforge.metrics.no_reference.niqe import fit_niqe, half, niqe, patch_features
from mriforge.metrics.no_reference.piqe import piqe
from mriforge.metrics.no_reference.pristine import load_niqe, save_niqe
from mriforge.metrics.no_reference.slices import choose_slices, foreground, score_slices
from mriforge.volume import Grid

BLURS = (0.0, 0.7, 1.0, 1.5, 2.5)
NOISES = (0.0, 8.0, 16.0, 32.0, 64.0)


@cache
def scene(count=4, size=128, seed=0):
    """Slices of sharp-edged ellipses of tissue with fine texture and acquisition noise, in air."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    images = []
    for _ in range(count):
        image = np.where(rows**2 / 0.8 + columns**2 / 0.7 < 1, 110.0, 0.0)
        for _ in range(60):
            y, x = rng.uniform(-0.65, 0.65, 2)
            a, b = rng.uniform(0.02, 0.2, 2)
            angle = rng.uniform(0, np.pi)
            u = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
            v = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
            image = np.where((u / a) ** 2 + (v / b) ** 2 < 1, rng.uniform(40, 240), image)
        image = image + (image > 0) * 8 * ndimage.gaussian_filter(
            rng.standard_normal(image.shape), 0.6
        )
        images.append(np.abs(image + 2 * rng.standard_normal(image.shape)))
    stack = np.stack(images)
    return stack, foreground(stack)


@cache
def own_model():
    stack, inside = scene(8, seed=1)
    return fit_niqe(zip(stack, inside, strict=True), provenance={"made": "ellipses"})


def distorted(stack, kind, amount):
    if kind == "blur":
        return ndimage.gaussian_filter(stack, (0, amount, amount))
    return stack + amount * np.random.default_rng(5).standard_normal(stack.shape)


def rises(values):
    return all(b > a for a, b in pairwise(values))


# Distributions


@pytest.mark.parametrize("shape", [0.6, 1.0, 1.5, 2.0, 4.0])
def test_shape_and_scale_of_a_generalised_gaussian_are_found(shape):
    samples = stats.gennorm(shape, scale=1.7).rvs(200_000, random_state=0)
    fit = fit_ggd(samples)
    assert fit.shape == pytest.approx(shape, rel=0.03)
    assert fit.scale == pytest.approx(1.7, rel=0.04)
    assert fit.sigma == pytest.approx(samples.std(), rel=1e-2)


@pytest.mark.parametrize(("shape", "left", "right"), [(0.7, 1, 2), (1.5, 3, 1), (2.0, 1, 1)])
def test_both_sides_of_an_asymmetric_one_are_found(shape, left, right):
    """A side has mass in proportion to its scale; its mean is the formula's."""
    rng = np.random.default_rng(2)
    magnitude = np.abs(stats.gennorm(shape).rvs(300_000, random_state=rng))
    on_left = rng.random(magnitude.size) < left / (left + right)
    samples = np.where(on_left, -left * magnitude, right * magnitude)
    fit = fit_aggd(samples)
    assert fit.shape == pytest.approx(shape, rel=0.03)
    assert (fit.left_scale, fit.right_scale) == pytest.approx((left, right), rel=0.04)
    assert fit.mean == pytest.approx(samples.mean(), abs=0.03)


def test_ratio_of_moments_is_that_of_laplace_and_of_normal():
    assert moment_ratio(np.array([1.0, 2.0])) == pytest.approx([0.5, 2 / np.pi])


def test_fits_of_hard_samples():
    """One side alone, all equal to zero, many sets at once."""
    assert np.isfinite(fit_aggd(np.array([0.0, 1, 2, 3])).shape)
    assert np.isfinite(fit_aggd(-np.array([1.0, 2, 3])).left_scale)
    assert np.isnan(fit_aggd(np.zeros(5)).shape) and np.isnan(fit_ggd(np.zeros(5)).shape)
    sets = np.random.default_rng(0).standard_normal((3, 4, 500))
    assert fit_aggd(sets).shape.shape == (3, 4)
    assert fit_aggd(sets).shape[1, 2] == fit_aggd(sets[1, 2]).shape


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 2**16))
def test_scales_follow_the_samples_and_shapes_do_not(factor, seed):
    samples = np.random.default_rng(seed).standard_t(4, 400)
    one, other = fit_aggd(samples), fit_aggd(factor * samples)
    assert other.shape == pytest.approx(one.shape, rel=1e-9)
    assert other.left_scale == pytest.approx(factor * one.left_scale, rel=1e-9)
    mirrored = fit_aggd(-samples)
    assert mirrored.mean == pytest.approx(-one.mean, abs=1e-12)


# Coefficients


def test_window_by_hand():
    """Mean and deviation of one pixel, summed over the 49 weights."""
    image = np.random.default_rng(0).random((15, 17)) * 255
    steps = np.arange(-3, 4)
    weights = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * (7 / 6) ** 2))
    weights /= weights.sum()
    around = image[4:11, 5:12]
    mean = (weights * around).sum()
    deviation = math.sqrt((weights * (around - mean) ** 2).sum())
    found = local_statistics(image)
    assert [f[7, 8] for f in found] == pytest.approx([mean, deviation])
    assert mscn(image)[7, 8] == pytest.approx((image[7, 8] - mean) / (deviation + 1))


def test_coefficients_of_gaussian_noise_are_gaussian():
    image = 128 + 30 * np.random.default_rng(0).standard_normal((256, 256))
    fit = fit_aggd(mscn(image).ravel())
    # The window contains the pixel itself, which limits the coefficients: a little more than 2.
    assert 2 < fit.shape < 3.2
    assert fit.left_scale == pytest.approx(fit.right_scale, rel=0.03)
    product = fit_aggd(neighbour_products(mscn(image), (1, 1)).ravel())
    assert abs(product.mean) < 0.15 * product.right


def test_stacks_are_their_slices_and_offsets_do_not_matter():
    stack, _ = scene()
    assert np.array_equal(mscn(stack)[2], mscn(stack[2]))
    np.testing.assert_allclose(mscn(stack + 1e6), mscn(stack), atol=1e-6)
    assert not mscn(np.full((9, 9), 7)).any()


@pytest.mark.parametrize("name", DIRECTIONS)
def test_products_are_of_neighbours(name):
    values = np.random.default_rng(0).random((5, 6))
    down, right = DIRECTIONS[name]
    expected = [
        values[r, c] * values[r + down, c + right]
        for r in range(5)
        for c in range(6)
        if r + down < 5 and 0 <= c + right < 6
    ]
    assert sorted(neighbour_products(values, (down, right)).ravel()) == sorted(expected)


def test_distance_of_histograms_is_scipys():
    from scipy.spatial.distance import jensenshannon

    p, q = np.random.default_rng(0).random((2, 20))
    assert histogram_distance(p, q) == pytest.approx(jensenshannon(p, q, 2))
    assert histogram_distance([1, 0], [0, 1]) == 1 and histogram_distance(p, 3 * p) < 1e-7
    assert math.isnan(histogram_distance(p, 0 * p))


@pytest.mark.parametrize(("kind", "amounts"), [("blur", BLURS), ("noise", NOISES)])
def test_histograms_move_away_as_an_image_gets_worse(kind, amounts):
    """Of other slices than the reference's: it is the distribution that is compared."""
    stack, inside = scene()
    reference, around = scene(seed=7)
    found = [mscn_distance(distorted(stack, kind, a), reference, inside, around) for a in amounts]
    assert found[0] < 0.05 and rises(found)


# NIQE


def test_half_keeps_ramps_and_means():
    ramp = np.tile(np.arange(40.0), (21, 1))
    small = half(ramp)
    assert small.shape == (10, 20)
    np.testing.assert_allclose(small[:, 2:-2], np.tile(2 * np.arange(2, 18) + 0.5, (10, 1)))
    assert half(np.full((6, 8), 3.0)) == pytest.approx(np.full((3, 4), 3.0))


def test_features_are_those_of_the_patch():
    """Counted by hand for one patch: its distributions at both resolutions, in their order."""
    image = scene()[0][0]
    features = patch_features(image, patch=32, step=32)
    assert features.shape == (16, 36)
    row = []
    for array, width in ((image, 32), (half(image), 16)):
        part = mscn(array)[width : 2 * width, width : 2 * width]
        fit = fit_aggd(part.ravel())
        row += [fit.shape, (fit.left_scale + fit.right_scale) / 2]
        for step in DIRECTIONS.values():
            fit = fit_aggd(neighbour_products(part, step).ravel())
            row += [fit.shape, fit.mean, fit.left_scale, fit.right_scale]
    np.testing.assert_allclose(features[5], row, rtol=1e-9)


def test_pristine_slices_are_at_distance_zero():
    stack, inside = scene(8, seed=1)
    assert niqe(stack, own_model(), inside, sharp_only=True) < 1e-6
    whole = niqe(stack, own_model(), inside)
    assert 0 < whole < niqe(distorted(stack, "blur", 1.0), own_model(), inside)


@pytest.mark.parametrize("which", ["own", "shipped"])
@pytest.mark.parametrize(("kind", "amounts"), [("blur", BLURS), ("noise", NOISES)])
def test_niqe_grows_with_blur_and_noise(which, kind, amounts):
    stack, inside = scene()
    model = own_model() if which == "own" else load_niqe()
    found = [niqe(distorted(stack, kind, a), model, inside) for a in amounts]
    # The shipped model has never seen ellipses: their own distance may hide a weak distortion.
    assert rises(found[1:] if which == "shipped" else found), found
    assert found[-1] > 1.5 * found[0]


def test_the_air_does_not_count():
    """Neither how much of it there is, nor its noise."""
    stack, inside = scene()
    padded = [np.pad(a, ((0, 0), (64, 64), (64, 64))) for a in (stack, inside)]
    alone, wide = niqe(stack, own_model(), inside), niqe(padded[0], own_model(), padded[1])
    assert wide == pytest.approx(alone, rel=0.02)
    away = np.stack([ndimage.distance_transform_edt(~one) > 40 for one in padded[1]])
    noisy = padded[0] + away * 20 * np.random.default_rng(0).random(away.shape)
    assert niqe(noisy, own_model(), padded[1]) == pytest.approx(wide, rel=1e-9)
    assert niqe(noisy, own_model()) > 1.5 * wide
    assert piqe(noisy, padded[1]) == pytest.approx(piqe(padded[0], padded[1]), rel=1e-9)


def test_too_little_to_judge_or_to_fit():
    assert math.isnan(niqe(np.full((64, 64), 9.0), own_model()))
    assert math.isnan(niqe(scene()[0][0], own_model(), np.zeros((128, 128), bool)))
    with pytest.raises(BadInput, match="20 x 40 pixels are too small"):
        niqe(np.zeros((20, 40)), own_model())
    with pytest.raises(BadInput, match="a NIQE model needs more than 36"):
        fit_niqe([scene()[0][0]])
    with pytest.raises(BadInput, match="a NIQE model needs more than 36"):
        fit_niqe([])
    with pytest.raises(BadInput, match="even sizes"):
        patch_features(scene()[0][0], patch=33)
    with pytest.raises(BadInput, match="not numbers"):
        niqe(np.full((64, 64), np.nan), own_model())
    with pytest.raises(BadInput, match="not real"):
        mscn(np.ones((64, 64), complex))


# PIQE


@pytest.mark.parametrize(("kind", "amounts"), [("blur", BLURS), ("noise", NOISES)])
def test_piqe_grows_with_blur_and_noise(kind, amounts):
    stack, inside = scene()
    found = [piqe(distorted(stack, kind, a), inside) for a in amounts]
    assert rises(found) and found[0] >= 0 and found[-1] <= 100, found


def test_piqe_of_hard_images():
    assert math.isnan(piqe(np.full((40, 40), 3)))
    assert math.isnan(piqe(scene()[0][0], np.zeros((128, 128), bool)))
    assert piqe(np.tile(np.linspace(0, 5, 64), (64, 1))) == 100  # no block is active
    with pytest.raises(BadInput, match="too small"):
        piqe(np.zeros((12, 40)))
    with pytest.raises(BadInput, match="mask has shape"):
        piqe(np.ones((40, 40)), np.ones((40, 41)))


def test_piqe_of_one_block_by_hand():
    """Noise: active, no flat run of six; all of its variance counts."""
    image = 128 + 40 * np.random.default_rng(3).standard_normal((16, 16))
    block = mscn(image)
    middle = block[:, 7:9].std(ddof=1) / np.delete(block, (7, 8), 1).std(ddof=1)
    sigma = block.std(ddof=1)
    assert sigma > 2 * abs(sigma - middle) / max(sigma, middle)
    assert piqe(image) == pytest.approx(100 * (sigma**2 + 1) / 2)


# Files


def test_a_model_comes_back_from_its_file(tmp_path):
    path = tmp_path / "own.json"
    save_niqe(own_model(), path)
    found = load_niqe(path)
    stack, inside = scene()
    assert niqe(stack, found, inside) == pytest.approx(niqe(stack, own_model(), inside), rel=1e-5)
    for field in ("patch", "step", "sharpness", "patches", "slices", "provenance"):
        assert getattr(found, field) == getattr(own_model(), field)


def test_the_shipped_model_says_where_it_comes_from():
    model = load_niqe()
    assert model.patches > 1000 and np.linalg.eigvalsh(model.covariance)[0] > 0
    sources = model.provenance["trained_on"]
    assert sources and all(s["subject"] and s["licence"] and s["slices"] for s in sources)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "other"}, "does not say"),
        ({"mean": [1.0]}, "36 features"),
        ({"mean": ["a"] * 36}, "could not convert"),
        ({"mean": [math.nan] * 36}, "not numbers"),
        ({"patch": 31}, "31 pixels"),
        ({"covariance_upper_triangle": [-1.0] + [0.0] * 665}, "negative eigenvalues"),
        ({"covariance_upper_triangle": None}, "36 features"),
    ],
)
def test_files_that_are_no_models_are_refused(tmp_path, change, reason):
    path = tmp_path / "m.json"
    save_niqe(own_model(), path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInput, match=reason):
        load_niqe(path)
    path.write_text("{")
    with pytest.raises(BadInput, match="not JSON"):
        load_niqe(path)
    with pytest.raises(BadInput, match="cannot be read"):
        load_niqe(tmp_path / "none.json")


# Volumes


def volume(seed=0):
    stack, _ = scene(6, 96, seed)
    return stack, Grid(stack.shape, (1.0, 1.0, 3.0))


def test_slices_are_judged_one_by_one_and_their_mean_is_given():
    array, grid = volume()
    found = score_slices(array, grid, own_model(), reference=array)
    assert found.plane == "axial" and found.indices == list(range(6))
    chosen = choose_slices(array, grid)
    assert found.scores["piqe"][3] == piqe(chosen.of(array)[3], chosen.inside[3])
    assert found.mean("niqe") == pytest.approx(found.scores["niqe"].mean())
    assert found.count("niqe") == 6 and found.mscn_distance < 1e-7
    again = score_slices(array, grid, own_model())
    assert np.array_equal(again.scores["niqe"], found.scores["niqe"])
    assert again.mscn_distance is None


def test_units_do_not_matter():
    array, grid = volume()
    one = score_slices(array, grid, own_model())
    other = score_slices((array * 37).astype(np.float32), grid, own_model())
    assert other.mean("niqe") == pytest.approx(one.mean("niqe"), rel=1e-4)


def test_planes_go_by_the_patient():
    """Sagittal slices stored first are found by their direction."""
    array, _ = volume()
    turned = Grid(array.shape, (1, 1, 1), direction=(0, 0, 1, 1, 0, 0, 0, 1, 0))
    assert module.plane_axis(turned, "sagittal") == 0
    assert score_slices(array, turned, own_model(), plane="sagittal").indices == list(range(6))
    with pytest.raises(BadInput, match="6 x 96 pixels"):
        score_slices(array, turned, own_model(), plane="axial")
    with pytest.raises(BadInput, match="no plane called 'oblique'"):
        score_slices(array, turned, own_model(), plane="oblique")


def test_slices_with_little_in_them_are_left_out():
    array, grid = volume()
    array = array.copy()
    array[0], array[1, :60] = 0, 0
    assert score_slices(array, grid, own_model()).indices == [2, 3, 4, 5]
    mask = np.zeros(array.shape, bool)
    mask[4, 20:90] = True
    assert score_slices(array, grid, own_model(), mask=mask).indices == [4]


def test_images_without_anything_to_judge():
    array, grid = volume()
    found = score_slices(np.full(array.shape, 5.0), grid, own_model())
    assert found.indices == [] and math.isnan(found.mean("niqe")) and found.count("piqe") == 0
    with pytest.raises(BadInput, match="no positive voxels"):
        score_slices(0 * array, grid, own_model())
    small = score_slices(array[:, 30:54, 30:54], Grid((6, 24, 24), (1, 1, 3)), own_model())
    assert math.isnan(small.mean("niqe")) and np.isfinite(small.mean("piqe"))


def test_real_slices_get_worse_by_blur_and_by_noise(shared_data):
    """A scan that the shipped model was not fitted on: T2-weighted, another scanner."""
    from mriforge.io import read

    scan = read(shared_data / "aniso/TCGA-FG-6692_t2_5.5mm.nii.gz")
    chosen = choose_slices(scan.array, scan.grid, every=9)
    stack, model = chosen.of(scan.array), load_niqe()
    noise = np.random.default_rng(0).standard_normal((2, *stack.shape))
    worse = {
        "blur": [ndimage.gaussian_filter(stack, (0, s, s)) for s in (0, 0.8, 1.5, 3)],
        "noise": [np.hypot(stack + s * noise[0], s * noise[1]) for s in (0, 8, 20, 50)],
    }
    for kind, images in worse.items():
        pairs = [list(zip(image, chosen.inside, strict=True)) for image in images]
        for judge in (lambda a, m: niqe(a, model, m), piqe):
            means = [np.mean([judge(a, m) for a, m in pair]) for pair in pairs]
            # The first noise breaks up flat edges of blocks, which PIQE takes for an improvement.
            known = judge is piqe and kind == "noise"
            assert rises(means[1:] if known else means), means


# Other programs


def waves():
    """An image that any program can make again."""
    rows, columns = np.mgrid[0:192, 0:192].astype(float)
    image = np.sin(rows / 5) * np.cos(columns / 7) + np.sin(rows * columns / 211)
    image += 0.4 * np.sin(12.9898 * rows + 78.233 * columns)
    return np.round(255 * (image - image.min()) / np.ptp(image))


AGGD = {
    "": (3.479, 0.003757, 1.077958, 1.085545),
    "horizontal": (1.429, -0.094428, 0.4129, 0.274722),
    "vertical": (0.944, 0.380371, 0.032661, 0.38168),
    "diagonal": (1.571, -0.207905, 0.508687, 0.183443),
    "antidiagonal": (1.191, 0.007119, 0.30772, 0.316552),
}
"""Shape, mean, left and right scale of :func:`waves` by scikit-video 1.1.11 (BSD-3), functions
``compute_image_mscn_transform(extend_mode="nearest")`` and ``aggd_features``; shapes in steps of
0.001. Products without wrapping around the image."""

PIQE = {0: 36.3889, 1: 34.1781, 2: 48.3406}
"""Of :func:`waves` blurred by so many pixels and rounded, by pypiqe 1.2 (MIT)."""


@pytest.mark.parametrize("name", AGGD)
def test_statistics_are_those_of_scikit_video(name):
    coefficients = mscn(waves())
    values = neighbour_products(coefficients, DIRECTIONS[name]) if name else coefficients
    fit = fit_aggd(values.ravel())
    found = (fit.shape, fit.mean, fit.left_scale, fit.right_scale)
    assert [float(v) for v in found] == pytest.approx(AGGD[name], abs=6e-4)
    assert coefficients[96, 96] == pytest.approx(-0.653988, abs=2e-5)


@pytest.mark.parametrize("blur", PIQE)
def test_piqe_is_that_of_pypiqe(blur):
    """Nearly: there the columns around the middle of a block hold one of the middle's."""
    image = np.round(ndimage.gaussian_filter(waves(), blur)) if blur else waves()
    image = np.round(image * 255 / image.max())
    assert piqe(image) == pytest.approx(PIQE[blur], abs=0.15)


def test_brisque_says_what_it_needs(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="needs its published weights"):
        Brisque(tmp_path)
    for name in FILES:
        (tmp_path / name).write_text("%YAML:1.0\n---\n")
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(MissingDependency, match="OpenCV with its extra modules"):
        Brisque(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "cv2", dataclasses)  # one without `quality`
    with pytest.raises(MissingDependency, match="opencv-contrib"):
        brisque_module._opencv()


def test_brisque_judges_photographs():
    """OpenCV's own function on its own weights, where they are (MRIFORGE_BRISQUE)."""
    folder = os.environ.get("MRIFORGE_BRISQUE")
    cv2 = pytest.importorskip("cv2")
    if not folder or not hasattr(cv2, "quality"):
        pytest.skip("OpenCV's extra modules or the published weights are not here")
    photograph = pytest.importorskip("skimage.data").camera()
    judge = Brisque(folder)
    found = [judge(ndimage.gaussian_filter(photograph.astype(float), s)) for s in (0, 1, 2, 4)]
    assert rises(found) and math.isnan(judge(np.full((32, 32), 9.0)))
    paths = [os.path.join(folder, name) for name in FILES]
    assert found[0] == cv2.quality.QualityBRISQUE_compute(photograph, *paths)[0]
