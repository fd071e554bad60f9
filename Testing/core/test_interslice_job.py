"""Thick slices in, thin slices out: the job, its figures, its page, its refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import ndimage

from mriforge.cli import main
from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.interslice.job import SliceOptions, sharpen_slices
from mriforge.interslice.methods import METHODS
from mriforge.io import read, write
from mriforge.metrics.isotropy import displacement, isotropy, stripes
from mriforge.physics.profiles import gaussian
from mriforge.physics.slices import SliceProfile
from mriforge.recipes import load_recipe, recipe_names
from mriforge.volume import Grid, Series, Volume

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def head(shape=(40, 44, 48), seed: int = 0) -> np.ndarray:
    """Blobs with sharp edges in a round body."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 2.5)
    z, y, x = (np.linspace(-1, 1, n) for n in shape)
    body = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 < 0.8
    return (body * (200 + 150 * (field > 0) + 400 * field)).clip(0).astype(np.float32)


def stack_of(axis: int = 2, ratio: float = 4.0, direction=OBLIQUE, shape=(40, 44, 48)):
    """(thick stack, truth)."""
    grid = Grid(shape, (1.1, 1.1, 1.1), (10.0, -20.0, 5.0), direction)
    truth = Volume(head(shape), grid)
    operator = SliceProfile(grid, ratio * 1.1, axis=axis)
    low = operator.A(torch.from_numpy(truth.array)).numpy()
    return Volume(low, operator.low), truth


def psnr(image: Volume, truth: Volume) -> float:
    return -10 * float(np.log10(np.square(image.array - truth.array).mean()))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_stack_in_any_orientation_becomes_sharper_in_place(axis: int) -> None:
    low, truth = stack_of(axis)
    told = {"like": truth.grid, "profile": "gaussian", "thickness": 4.4}
    cubic = sharpen_slices(low, SliceOptions(method="cubic", **told))
    result = sharpen_slices(low, SliceOptions(steps=150, **told))
    assert result.image.grid == truth.grid
    assert result.image.array.dtype == np.float32
    assert psnr(result.image, truth) > psnr(cubic.image, truth) + 0.3
    figures = result.figures
    assert figures["target"]["factor"] == pytest.approx(4.0)
    assert figures["gate"]["held_out_gain_db"] > 0
    assert figures["consistency"]["residual_after"] < 1e-5
    assert max(abs(s) for s in figures["check"]["displacement_voxels"]) < 0.1
    assert result.image.metadata["provenance"]["profile"]["source"] == "told"
    json.dumps(result.image.metadata)


@pytest.mark.parametrize("method", ["cubic", "linear"])
def test_interpolations_go_through_the_middle_of_the_slices(method: str) -> None:
    """A ramp across the slices stays a ramp."""
    low = Grid((20, 24, 24), (1, 1, 3.7))
    ramp = np.broadcast_to(np.arange(20.0)[:, None, None] * 3.7 + 10, low.shape)
    ramp = ramp + 0.01 * np.random.default_rng(0).random(low.shape)
    made = sharpen_slices(Volume(ramp, low), SliceOptions(method=method, profile="gaussian"))
    z = made.image.grid.index_to_world([[0, 0, k] for k in range(made.image.grid.shape[0])])[:, 2]
    inner = slice(18, -18)
    assert np.allclose(made.image.array[inner, 5, 5], z[inner] + 10, atol=0.1)


def test_interpolation_can_be_corrected_by_the_slices() -> None:
    low, truth = stack_of()
    told = {"like": truth.grid, "thickness": 4.4}
    cubic, restored = (
        sharpen_slices(low, SliceOptions(method=name, **told))
        for name in ("cubic", "cubic_restored")
    )
    assert not cubic.figures["consistency"]["restored"]
    assert restored.figures["consistency"]["residual_after"] < 1e-5
    assert psnr(restored.image, truth) > psnr(cubic.image, truth) + 0.3


def test_a_series_is_learned_together_and_keeps_its_times() -> None:
    low, _ = stack_of()
    series = Series(np.stack([low.array, 0.7 * low.array]), low.grid, [0.0, 2.5])
    made = sharpen_slices(series, SliceOptions(steps=3, thickness=4.4))
    assert made.image.array.shape[0] == 2
    assert list(made.image.times) == [0.0, 2.5]
    one = sharpen_slices(series, SliceOptions(steps=3, thickness=4.4, frames=(1,)))
    assert one.image.array.shape[0] == 1


def test_a_series_can_have_empty_frames() -> None:
    low, _ = stack_of()
    series = Series(np.stack([0 * low.array, low.array]), low.grid, [0.0, 1.0])
    made = sharpen_slices(series, SliceOptions(steps=2, thickness=4.4))
    assert np.isfinite(made.image.array).all()


def test_the_input_is_not_changed_and_the_same_steps_give_the_same_result() -> None:
    low, _ = stack_of()
    before = low.array.copy()
    first, second = (sharpen_slices(low, SliceOptions(steps=4, thickness=4.4)) for _ in range(2))
    assert np.array_equal(low.array, before)
    assert np.array_equal(first.image.array, second.image.array)


def test_label_maps_are_refused_with_the_way_to_go() -> None:
    low, _ = stack_of()
    labels = Volume((low.array > 100).astype(np.uint8) + (low.array > 300), low.grid)
    with pytest.raises(BadInput) as refusal:
        sharpen_slices(labels, SliceOptions(steps=1))
    assert "label map" in refusal.value.message
    assert "--labels" in refusal.value.hint


def test_little_to_gain_is_said() -> None:
    low, _ = stack_of(ratio=1.8)
    made = sharpen_slices(low, SliceOptions(method="cubic", thickness=1.98))
    assert any("little to gain" in text for text in made.figures["warnings"])


def test_a_target_much_coarser_than_the_pixels_is_doubted() -> None:
    low, _ = stack_of()
    made = sharpen_slices(low, SliceOptions(method="cubic", thickness=4.4, scale=2.0))
    assert any("averaged afterwards" in text for text in made.figures["warnings"])
    usual = sharpen_slices(low, SliceOptions(method="cubic", thickness=4.4))
    assert usual.figures["warnings"] == []


def test_cancel_ends_it() -> None:
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        sharpen_slices(stack_of()[0], SliceOptions(thickness=4.4), Events(control))


def test_every_method_has_its_recipe() -> None:
    for name, method in METHODS.items():
        assert method.title
        assert method.sentence.endswith(".")
        if method.module:
            assert callable(method.learn())
            assert method.recipe in recipe_names()
            assert load_recipe(method.recipe).task == "interslice", name


def test_detail_stripes_and_shifts_are_seen() -> None:
    low, truth = stack_of(shape=(96, 48, 48), direction=Grid((1, 1, 1)).direction)
    smooth = sharpen_slices(low, SliceOptions(method="cubic", like=truth.grid, thickness=4.4)).image
    assert isotropy(truth, 2, 4.0) == pytest.approx(1.0, abs=0.25)
    assert isotropy(smooth, 2, 4.0) < 0.3
    ripple = truth.array * (1 + 0.2 * np.cos(2 * np.pi * np.arange(96) / 4)[:, None, None])
    assert stripes(truth.with_array(ripple), 2, 4.0) > 3 * stripes(truth, 2, 4.0)
    assert np.allclose(displacement(low, truth, 2), 0, atol=0.05)
    for axis, shift in ((0, (0, 0, 0.4)), (1, (0, 0.4, 0)), (2, (0.4, 0, 0))):
        moved = truth.with_array(ndimage.shift(truth.array, shift, order=3).astype("f4"))
        found = displacement(low, moved, 2)
        assert found[axis] == pytest.approx(0.4, abs=0.12)
        assert all(abs(found[a]) < 0.1 for a in range(3) if a != axis)


def test_the_command_line_writes_image_figures_and_page(tmp_path) -> None:
    low, _ = stack_of()
    write(low, tmp_path / "thick.nii.gz")
    arguments = ["superres", str(tmp_path / "thick.nii.gz"), str(tmp_path / "thin.nii.gz")]
    arguments += ["--self-supervised", "--steps", "3", "--slice-thickness", "4.4", "--quiet"]
    arguments += ["--report", str(tmp_path / "p.html"), "--json", str(tmp_path / "f.json")]
    assert main(arguments) == 0
    thin = read(tmp_path / "thin.nii.gz")
    assert thin.grid.spacing == pytest.approx((1.1, 1.1, 1.1))
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 3
    assert "as acquired, 4.4 mm" not in page  # titles are in the pictures
    assert "held-out pixels" in page
    figures = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert figures["profile"]["source"] == "told"
    assert figures["learning"]["steps"] == 3


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--self-supervised", "--prior", "IN"], "in plane"),
        (["--self-supervised", "--labels"], "Give one of them"),
        (["--profile", "box"], "--self-supervised"),
        (["--self-supervised", "--slice-axis", "3"], "0, 1 or 2"),
        (["--self-supervised", "--spacing", "1,1,9"], "no finer"),
        (["--self-supervised", "--profile", "nowhere.txt"], "profile"),
        (["--self-supervised", "--model", "cubic", "--recipe", "unet3d"], None),
        (["--self-supervised", "--recipe", "unet3d"], "not for thick slices"),
        (["--self-supervised", "--model", "nobody"], "nobody"),
    ],
)
def test_senseless_options_are_refused_in_one_line(tmp_path, capsys, extra, words) -> None:
    low, _ = stack_of()
    source, target = tmp_path / "thick.nii.gz", tmp_path / "thin.nii.gz"
    write(low, source)
    extra = [str(source) if part == "IN" else part for part in extra]
    code = main(["superres", str(source), str(target), *extra, "--quiet"])
    said = capsys.readouterr().err
    if words is None:
        assert code == 0
        return
    assert code in (2, 3)
    assert words in said
    assert not target.exists()


def test_single_slices_and_flat_images_are_refused(tmp_path, capsys) -> None:
    for array, spacing in ((np.random.rand(1, 30, 30), (1, 1, 8)), (np.ones((9, 9, 9)), (1, 1, 4))):
        path = tmp_path / "bad.nii.gz"
        write(Volume(array.astype("f4"), Grid(array.shape, spacing)), path)
        code = main(
            ["superres", str(path), str(tmp_path / "o.nii.gz"), "--self-supervised", "--quiet"]
        )
        assert code == 2
        assert "bad.nii.gz" in capsys.readouterr().err
        path.unlink()


def test_profiles_in_mm_do_not_depend_on_the_target() -> None:
    low, _ = stack_of()
    coarse = sharpen_slices(low, SliceOptions(method="cubic", scale=2.0, thickness=4.4))
    fine = sharpen_slices(low, SliceOptions(method="cubic", thickness=4.4))
    assert coarse.figures["profile"]["fwhm_mm"] == fine.figures["profile"]["fwhm_mm"]
    assert gaussian(1.0).reach == 3.5


def test_a_profile_that_is_not_told_is_taken_narrower() -> None:
    """Too wide a profile over-sharpens: what is uncertain is used a standard deviation narrower."""
    low, _ = stack_of()
    small, _ = stack_of(shape=(24, 20, 22))
    cubic = SliceOptions(method="cubic")
    estimated, assumed = (sharpen_slices(v, cubic).figures["profile"] for v in (low, small))
    assert (estimated["source"], assumed["source"]) == ("estimated", "assumed")
    assert estimated["fwhm_mm"] == pytest.approx(4.4, rel=0.2)
    assert assumed["fwhm_mm"] == pytest.approx(4.4)
    for found in (estimated, assumed):
        assert found["used_fwhm_mm"] == pytest.approx(found["fwhm_mm"] * (1 - found["relative_sd"]))
    assert assumed["used_fwhm_mm"] == pytest.approx(0.7 * 4.4)
    told = sharpen_slices(low, SliceOptions(method="cubic", thickness=4.4)).figures["profile"]
    assert told["used_fwhm_mm"] == told["fwhm_mm"] == 4.4
