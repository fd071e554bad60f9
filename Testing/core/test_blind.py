"""Learning a kernel: crops, denoising, the game, resuming it, and what is made of its kernel."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge.blind.crops import CropSampler, CropSource, gradient_weights
from mriforge.blind.denoise import nonlocal_means
from mriforge.blind.finish import correlation, finished
from mriforge.blind.learn import learn_each, learn_kernel, mean_of
from mriforge.blind.spectra import Spectra, decibels, richest
from mriforge.errors import BadInput, Cancelled, Failed
from mriforge.events import Control, Events
from mriforge.metrics.noise import noise_level
from mriforge.networks.registry import build
from mriforge.physics.downsampling import DownsamplingKernel, KernelDownsampling, gaussian_kernel
from mriforge.recipes import load_recipe
from mriforge.training.checkpoint import load_checkpoint
from mriforge.volume import Grid

sys.path.insert(0, str(Path(__file__).parent))
from training_helpers import phantom


def tiny(steps: int = 40, **kernel: object):
    """The recipe with few maps and small crops, and a faster beginning."""
    recipe = load_recipe("downsampling_gan")
    return dataclasses.replace(
        recipe,
        network=dataclasses.replace(recipe.network, options={"width": 4, "ratio": 2}),
        adversarial=dataclasses.replace(recipe.adversarial, options={"width": 4, "inner": 1}),
        kernel=dataclasses.replace(recipe.kernel, **{"crop": 32, "every": 15, **kernel}),
        optimiser=dataclasses.replace(recipe.optimiser, lr=1e-2),
        training=dataclasses.replace(recipe.training, steps=steps, validate_every=15),
    )


def sharp(seed: int = 0) -> list[np.ndarray]:
    return list(phantom((3, 48, 52), seed))


def blurred(seed: int = 1) -> list[np.ndarray]:
    image = torch.from_numpy(phantom((3, 60, 64), seed))
    op = KernelDownsampling(Grid(tuple(image.shape)), gaussian_kernel(1.2))
    return list(op.A(image).numpy())


# --- crops -------------------------------------------------------------------------------------


def test_crops_are_drawn_where_something_changes() -> None:
    image = np.zeros((60, 80), np.float32)
    image[:, 55:] = 1.0
    weights = gradient_weights(image)
    assert weights[30, 55] > 0 and weights[30, 20] == 0
    source = CropSource([image], (20, 20), what="image")
    rng = np.random.default_rng(0)
    crops = torch.stack([source.draw(rng) for _ in range(60)])
    assert crops.shape == (60, 20, 20)
    # Nearly all show the edge, and nearly in their middle.
    assert int((crops.amax((1, 2)) > crops.amin((1, 2))).sum()) >= 58
    assert abs(float(crops.mean()) - 0.5) < 0.15


def test_an_image_with_more_detail_is_seen_more_often() -> None:
    flat, rich = np.zeros((40, 40), np.float32), np.zeros((40, 40), np.float32)
    flat[20:] = 0.1
    rich[20:] = 0.9
    source = CropSource([flat, rich], (8, 8), what="image")
    rng = np.random.default_rng(0)
    bright = [float(source.draw(rng).max()) > 0.5 for _ in range(200)]
    assert 0.8 < np.mean(bright) < 0.97


def test_crops_of_both_kinds_are_independent_and_a_function_of_the_number() -> None:
    sampler = CropSampler(
        CropSource(sharp(), (32, 32), what="image"),
        CropSource(blurred(), (10, 10), what="image"),
        3,
        seed=5,
    )
    one, again, other = sampler.batch(4), sampler.batch(4), sampler.batch(5)
    assert one.input.shape == (3, 1, 32, 32) and one.target.shape == (3, 1, 10, 10)
    assert torch.equal(one.input, again.input) and torch.equal(one.target, again.target)
    assert not torch.equal(one.input, other.input)


def test_images_that_cannot_be_used() -> None:
    with pytest.raises(BadInput, match="No scan is as large as the crops of 64x64"):
        CropSource([np.ones((50, 80))], (64, 64), what="scan")
    with pytest.raises(BadInput, match="the same everywhere"):
        CropSource([np.ones((80, 80))], (64, 64), what="scan")


# --- denoising ---------------------------------------------------------------------------------


def test_noise_level_is_found_beside_edges_and_air() -> None:
    rng = np.random.default_rng(0)
    clean = phantom((4, 96, 96), 3)
    noisy = clean + rng.normal(0, 0.03, clean.shape)
    assert noise_level(noisy) == pytest.approx(0.03, rel=0.1)
    noisy[clean == 0] = 0.0
    assert noise_level(noisy) == pytest.approx(0.03, rel=0.15)


def pixel_by_pixel(image: np.ndarray, sigma: float, patch: int, window: int) -> np.ndarray:
    """The definition, as slow as it is."""
    half, reach = patch // 2, window // 2
    far = half + reach
    padded = np.pad(image, far, mode="symmetric").astype(float)

    def around(row: int, column: int) -> np.ndarray:
        return padded[row - half : row + half + 1, column - half : column + half + 1]

    found = np.zeros(image.shape)
    for i, j in np.ndindex(*image.shape):
        own, total, weights = around(i + far, j + far), 0.0, 0.0
        for a, b in np.ndindex(window, window):
            row, column = i + far + a - reach, j + far + b - reach
            distance = np.mean((around(row, column) - own) ** 2)
            weight = np.exp(-max(distance - 2 * sigma**2, 0) / sigma**2)
            total += weight * padded[row, column]
            weights += weight
        found[i, j] = total / weights
    return found


def test_nonlocal_means_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    image = (phantom((1, 14, 17), 3)[0] + rng.normal(0, 0.05, (14, 17))).astype(np.float32)
    ours = nonlocal_means(image, 0.05, strength=1.0, patch=3, window=5)
    assert np.allclose(ours, pixel_by_pixel(image, 0.05, 3, 5), atol=1e-6)


def test_nonlocal_means_remove_as_much_as_another_program() -> None:
    skimage = pytest.importorskip("skimage.restoration")
    rng = np.random.default_rng(0)
    clean = phantom((1, 40, 44), 3)[0]
    noisy = (clean + rng.normal(0, 0.05, clean.shape)).astype(np.float32)
    ours = nonlocal_means(noisy, 0.05, strength=1.0, patch=5, window=9)
    theirs = skimage.denoise_nl_means(
        noisy, patch_size=5, patch_distance=4, h=0.05, sigma=0.05, fast_mode=False
    )
    inner = (slice(8, -8), slice(8, -8))
    errors = [float(np.sqrt(np.mean((x - clean)[inner] ** 2))) for x in (noisy, ours, theirs)]
    assert errors[1] < 0.65 * errors[0]
    assert errors[1] == pytest.approx(errors[2], rel=0.15)


def test_nonlocal_means_keep_what_has_no_noise() -> None:
    image = phantom((2, 30, 30), 1)
    assert np.array_equal(nonlocal_means(image, 0.0), image)
    flat = np.full((20, 20), 3.0, np.float32)
    assert np.allclose(nonlocal_means(flat, 0.1), 3.0, atol=1e-6)
    stack = nonlocal_means(image, 0.02)
    assert np.array_equal(stack[1], nonlocal_means(image[1], 0.02))


def test_nonlocal_means_refuse_and_can_be_stopped() -> None:
    with pytest.raises(BadInput, match="odd sizes"):
        nonlocal_means(np.zeros((9, 9)), 0.1, patch=4)
    with pytest.raises(BadInput, match="cannot be averaged"):
        nonlocal_means(np.zeros((9, 9)), float("nan"))
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        nonlocal_means(np.zeros((9, 9)), 0.1, cancel=Events(control).check_cancelled)


# --- what is made of a kernel ------------------------------------------------------------------


def test_finishing_keeps_the_largest_centres_and_normalises() -> None:
    kernel = np.zeros((13, 13))
    kernel[3:6, 7:10] = gaussian_kernel(0.8, size=3).taps
    kernel += 1e-4
    found = finished(3 * kernel, keep=9)
    assert found.sum() == pytest.approx(1.0)
    assert np.abs(DownsamplingKernel(found).centre_of_mass).max() < 2e-3
    wanted = np.zeros((13, 13))
    wanted[5:8, 5:8] = gaussian_kernel(0.8, size=3).taps
    assert correlation(found, wanted) > 0.999


def test_finishing_shifts_by_parts_of_a_tap() -> None:
    at = np.arange(13)
    line = np.exp(-0.5 * ((at - 6.3) / 1.5) ** 2)
    found = finished(np.outer(line, line), keep=169)
    assert np.abs(DownsamplingKernel(found).centre_of_mass).max() < 2e-3
    assert correlation(found, gaussian_kernel(1.5).taps) > 0.999


def test_a_kernel_of_no_weight_is_refused() -> None:
    with pytest.raises(Failed, match="positive"):
        finished(-gaussian_kernel(1.0).taps)


# --- the game ----------------------------------------------------------------------------------


def textures(count: int, seed: int, size: int = 128) -> list[np.ndarray]:
    """Images of one kind: noise whose power falls with the frequency."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None]
    fall = 1 / (0.02 + np.hypot(fy, fx)) ** 1.2
    return [np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * fall).real / 40
            for _ in range(count)]  # fmt: skip


def coarse(images: list[np.ndarray], kernel: DownsamplingKernel, noise: float = 0.0) -> list:
    stack = torch.from_numpy(np.stack(images))
    low = KernelDownsampling(Grid(tuple(stack.shape)), kernel).A(stack).numpy()
    return list(low + noise * np.random.default_rng(9).standard_normal(low.shape))


def test_spectra_know_the_true_kernel() -> None:
    truth = gaussian_kernel((0.8, 1.8), angle=0.4)
    low = coarse(textures(6, 1), truth)
    spectra = Spectra(low, textures(6, 2), (2, 2))
    kernels = {"truth": truth, "round": gaussian_kernel(1.3), "sharp": gaussian_kernel(0.5)}
    apart = {
        name: decibels(float(spectra.mismatch(torch.from_numpy(kernel.taps.copy()))))
        for name, kernel in kernels.items()
    }
    assert min(apart, key=apart.get) == "truth" and apart["truth"] < 1.0 < apart["round"]


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_kernel_of_best_fit_is_near_the_truth(noise: float) -> None:
    truth = gaussian_kernel((0.8, 1.8), angle=0.4)
    low = coarse(textures(6, 1), truth, noise)
    found = Spectra(low, textures(6, 2), (2, 2), noise).fitted(13)
    assert found.sum() == pytest.approx(1.0)
    assert np.allclose(found, found[::-1, ::-1])
    assert correlation(found, truth.taps) > 0.97


def test_mismatch_has_a_gradient() -> None:
    spectra = Spectra(textures(2, 1, 40), textures(2, 2, 80), (2, 2))
    kernel = torch.from_numpy(gaussian_kernel(1.0, size=5).taps.copy()).requires_grad_()
    assert torch.autograd.gradcheck(spectra.mismatch, kernel)


def test_spectra_of_too_little_are_refused() -> None:
    with pytest.raises(BadInput, match="too small to compare"):
        Spectra([np.eye(5)], textures(1, 2, 80), (2, 2))
    with pytest.raises(BadInput, match="the same everywhere"):
        Spectra([np.ones((40, 40))], textures(1, 2, 80), (2, 2))


def test_richest_images_keep_their_order() -> None:
    images = [np.zeros((8, 8)), np.eye(8), np.zeros((8, 8)), 2 * np.eye(8)]
    found = richest(images, 2)
    assert found[0] is images[1] and found[1] is images[3]


@pytest.mark.parametrize("network", ["downsampler", "downsampler_separable"])
@pytest.mark.parametrize("start", ["bicubic", "spectrum"])
def test_a_short_game(network: str, start: str) -> None:
    recipe = tiny(start=start, spectrum=0.5 if start == "spectrum" else 0.0)
    recipe = dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, name=network))
    high, low = sharp(), blurred()
    if network != "downsampler":
        recipe = dataclasses.replace(recipe, kernel=dataclasses.replace(recipe.kernel, crop=30))
        recipe.adversarial.options["reach"] = 3
        high, low = [phantom((34, 36, 38), 1)], [phantom((20, 22, 24), 2)]
    found = learn_kernel(low, high, recipe)
    assert found.taps.shape == (13,) * high[0].ndim
    assert found.taps.sum() == pytest.approx(1.0)
    assert found.steps == 40 and found.stopped == "steps"
    assert np.isfinite(found.raw).all()
    assert all(np.isfinite(entry["likeness"]) for entry in found.history)


def test_the_generator_comes_near_bicubic_downsampling_first() -> None:
    """Long enough for its weight to have worked, short enough for it not to have decayed."""
    found = learn_kernel(blurred(), sharp(), tiny(60, every=1000, batch=4))
    assert found.history[-1]["bicubic"] < 0.1 < found.history[1]["bicubic"]
    assert abs(found.raw.sum() - 1) < 0.3


def test_resuming_is_exact(tmp_path, monkeypatch) -> None:
    recipe = tiny()
    whole = learn_kernel(blurred(), sharp(), recipe, checkpoint=tmp_path / "a.safetensors")
    events, make = Events(), CropSampler.batch

    def until(self: CropSampler, step: int):
        if step == 25:
            events.control.cancel()
        return make(self, step)

    path = tmp_path / "b.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(CropSampler, "batch", until)
        with pytest.raises(Cancelled):
            learn_kernel(blurred(), sharp(), recipe, checkpoint=path, events=events)
    assert load_checkpoint(path)[1]["step"] == 25
    torch.manual_seed(99)  # what else happened meanwhile does not matter
    rest = learn_kernel(blurred(), sharp(), recipe, checkpoint=path, resume=True)
    assert np.array_equal(rest.raw, whole.raw)
    first, second = (load_checkpoint(tmp_path / f"{n}.safetensors") for n in "ab")
    for name, tensor in first[0].items():
        assert torch.equal(tensor, second[0][name]), name
    assert first[1]["update"] == second[1]["update"]


def test_resuming_with_another_recipe_is_refused(tmp_path) -> None:
    path = tmp_path / "c.safetensors"
    learn_kernel(blurred(), sharp(), tiny(), checkpoint=path)
    with pytest.raises(BadInput, match="another recipe"):
        learn_kernel(blurred(), sharp(), tiny(noise=0.5), checkpoint=path, resume=True)


def test_a_game_for_each_slice() -> None:
    found = learn_each(blurred()[:2], sharp(), tiny())
    assert len(found) == 2
    mean = mean_of(found)
    assert mean["taps"].sum() == pytest.approx(1.0) and mean["spread"] >= 0


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (load_recipe("mdcsrn"), "does not learn a kernel"),
        (
            dataclasses.replace(
                tiny(), adversarial=dataclasses.replace(tiny().adversarial, kind="none")
            ),
            "has no judge",
        ),
    ],
)
def test_recipes_for_something_else(recipe, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        learn_kernel(blurred(), sharp(), recipe)


def test_volumes_for_a_generator_in_plane_are_refused() -> None:
    with pytest.raises(BadInput, match="images of 2 axes"):
        learn_kernel([np.zeros((9, 9, 9))], sharp(), tiny())


def test_published_values() -> None:
    recipe = load_recipe("downsampling_gan")
    assert recipe.optimiser.lr == recipe.adversarial.lr == 2e-4
    assert recipe.optimiser.betas == recipe.adversarial.betas == (0.5, 0.999)
    assert recipe.training.steps == 3000 and recipe.schedule.every == 750
    assert build(recipe.network.name, **recipe.network.options).taps == 13
