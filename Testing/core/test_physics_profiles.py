"""Slice profiles, blur kernels, windows and noise: their shape, not only their algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mriforge.errors import BadInput
from mriforge.physics.blur import GaussianBlur
from mriforge.physics.degradations import SOURCES, Degradation, make_operator, patient_axes
from mriforge.physics.fermi import Fermi, FermiCrop
from mriforge.physics.noise import add_complex_noise, add_rician_noise, generator
from mriforge.physics.profiles import gaussian, read_profile
from mriforge.physics.slices import SliceProfile
from mriforge.physics.truncation import KspaceZeroFill
from mriforge.volume import Grid


def test_box_slices_of_whole_voxels_are_means():
    op = SliceProfile(Grid((12, 2, 3), (1.0, 1.0, 1.5)), 6.0, 0.0, 2, "box")
    image = torch.rand(12, 2, 3, dtype=torch.float64)
    assert torch.allclose(op.A(image), image.reshape(3, 4, 2, 3).mean(1))
    assert op.low.spacing == (1.0, 1.0, 6.0)
    assert op.low.origin[2] == pytest.approx(1.5 * 1.5)


def test_box_as_thick_as_a_voxel_changes_nothing():
    grid = Grid((9, 4, 5), (1.0, 1.0, 2.0))
    op = SliceProfile(grid, 2.0, 0.0, 2, "box")
    image = torch.rand(9, 4, 5)
    assert torch.allclose(op.A(image), image)
    assert op.low.matches(grid)


@pytest.mark.parametrize(
    ("size", "thickness", "gap", "count"),
    [
        (40, 4, 0, 10),
        (40, 5, 1, 6),
        (40, 4, -2, 19),
        (40, 2.3, 0, 17),
        (40, 40, 0, 1),
        (7, 3, 10, 1),
    ],
)
def test_stack_is_planned_inside_the_image(size, thickness, gap, count):
    grid = Grid((size, 3, 4), origin=(1, 2, 3))
    op = SliceProfile(grid, thickness, gap)
    assert op.low.shape == (count, 3, 4)
    assert op.low.spacing[2] == pytest.approx(thickness + gap)
    assert op.overlap == max(0, -gap)
    first, last = op.low.origin[2], op.low.origin[2] + (count - 1) * op.low.spacing[2]
    # Centred, and the outermost slices lie wholly inside.
    assert (first + last) / 2 == pytest.approx(3 + (size - 1) / 2)
    assert first - thickness / 2 >= 3 - 0.5 - 1e-9


def test_gap_leaves_voxels_unseen_and_overlap_sees_them_twice():
    grid = Grid((20, 1, 1))
    gaps = SliceProfile(grid, 2.0, 2.0, 2, "box")
    overlaps = SliceProfile(grid, 4.0, -2.0, 2, "box")
    seen = gaps.A_adjoint(torch.ones(gaps.low.shape)).flatten()
    assert int((seen == 0).sum()) == 10
    twice = overlaps.A_adjoint(torch.ones(overlaps.low.shape)).flatten()
    assert torch.allclose(twice[4:-4], torch.tensor(0.5))


def test_gaussian_slice_has_its_thickness_at_half_maximum():
    grid = Grid((401, 1, 1), (1, 1, 0.1))
    op = SliceProfile(grid, 4.0, 30.0, 2, "gaussian")
    assert op.low.shape[0] == 2
    weights = op.A_adjoint(torch.tensor([1.0, 0.0], dtype=torch.float64).reshape(2, 1, 1)).flatten()
    width = float((weights > weights.max() / 2).sum()) * 0.1
    assert width == pytest.approx(4.0, abs=0.15)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"thickness": 0.5}, "thinner"),
        ({"thickness": 4, "gap": -3.5}, "closer together"),
        ({"thickness": 99}, "thicker than the whole image"),
        ({"thickness": float("nan")}, "not possible"),
    ],
)
def test_impossible_slices(settings, words):
    with pytest.raises(BadInput, match=words):
        SliceProfile(Grid((20, 4, 4)), **settings)


def test_profile_files(tmp_path):
    taps = tmp_path / "taps.csv"
    taps.write_text("1, 2, 1\n".replace(", ", "\n"))
    grid = Grid((9, 1, 1), (1, 1, 0.5))
    op = SliceProfile(grid, 1.5, 0.0, 2, read_profile(taps, 0.5))
    row = op.A_adjoint(torch.tensor([0.0, 1, 0]).reshape(3, 1, 1)).flatten()
    assert torch.allclose(row, torch.tensor([0, 0, 0, 0.25, 0.5, 0.25, 0, 0, 0]))
    # The same as positions in mm, whatever the voxel size.
    x = np.linspace(-6, 6, 201)
    table = tmp_path / "gauss.npy"
    np.save(table, np.stack([x, np.exp(-0.5 * (x / 1.5) ** 2)], axis=1))
    measured, ideal = read_profile(table, 0.5), gaussian(1.5, 4.0)
    at = np.linspace(-5, 5, 31)
    assert np.allclose(measured.below(at), ideal.below(at), atol=1e-3)
    assert measured.reach == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a slice profile"),
        ("a b c", "not a slice profile"),
        ("1 2 3\n4 5 6", "not a slice profile"),
        ("1 2\n3", "not a slice profile"),
        ("1\nnan\n1", "not numbers"),
        ("1\n-1", "add up"),
        ("0\n0", "add up"),
        ("1 1\n0 1", "ascend"),
        ("0 1", "ascend"),
    ],
)
def test_bad_profile_files(tmp_path, text, words):
    path = tmp_path / "profile.txt"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        read_profile(path, 1.0)


def test_binary_or_missing_profile_is_refused(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY rubbish")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00\x81")
    for name in ("a.npy", "b.txt", "missing.txt"):
        with pytest.raises(BadInput, match="profile"):
            read_profile(tmp_path / name, 1.0)


def test_profile_far_from_the_slice_is_refused(tmp_path):
    path = tmp_path / "far.txt"
    path.write_text("100 1\n101 1\n")
    with pytest.raises(BadInput, match="no weight inside"):
        SliceProfile(Grid((10, 1, 1)), 2.0, 0.0, 2, read_profile(path, 1.0))


def test_blur_is_synthsr_gaussian():
    op = GaussianBlur(Grid((64, 1, 1)), {2: 4.0})
    assert op.low.shape == (16, 1, 1)
    assert op.low.origin[2] == pytest.approx(1.5)
    pulse = torch.zeros(op.low.shape, dtype=torch.float64)
    pulse[8] = 1
    weights = op.A_adjoint(pulse).flatten().numpy()
    x = np.arange(64) - (4 * 8 + 1.5)
    sigma = np.sqrt((weights * x**2).sum())
    # Cutting at 2.5 sigma narrows it by 5 %.
    assert sigma == pytest.approx(3.0 * 0.95, abs=0.05)
    assert np.abs(x[weights > 0]).max() <= 2.5 * 3 + 0.5


def test_blur_ratio_out_of_range():
    for ratio in (0.5, 99.0):
        with pytest.raises(BadInput, match="subsampled"):
            GaussianBlur(Grid((4, 8, 8)), {0: ratio})


def test_fermi_window_falls_where_it_says():
    weights = Fermi().weights((1, 1, 2000), (1, 1, 2000), (-1,)).flatten()
    assert weights[1000] == 1
    assert float(weights[1000 + 900]) == pytest.approx(0.5, abs=1e-6)
    assert float(weights[0]) == pytest.approx(1 / (1 + np.exp(2)), abs=1e-6)


def test_fermi_defaults_do_not_amplify_noise():
    op = FermiCrop(Grid((1, 32, 32)), (16, 16, 1))
    assert float(op._inverse.max()) <= 1e3
    with pytest.raises(BadInput, match="Fermi"):
        Fermi(width=0.0)


def test_zero_fill_operator_is_zero_filling_of_the_crop():
    """For odd kept sizes they are the same; even ones differ by the unpaired line only."""
    grid = Grid((2, 21, 24))
    op = KspaceZeroFill(grid, (11, 9, 2))
    from mriforge.physics.kspace import KspaceCrop

    crop = KspaceCrop(grid, (11, 9, 2))
    image = torch.rand(*grid.shape, dtype=torch.float64)
    assert torch.allclose(op.A(image), crop.zero_fill(crop.A(image)))
    assert torch.allclose(op.A(op.A(image)), op.A(image))


@pytest.mark.parametrize("name", Degradation)
def test_every_paper_has_its_operator_and_source(name):
    extra = {"thickness": 3.0} if name is Degradation.SLICE_PROFILE else {}
    op = make_operator(name.value, Grid((12, 16, 20)), **extra)
    assert op.A(torch.ones(1, 12, 16, 20)).shape == (1, *op.low.shape)
    assert SOURCES[name].endswith(".")


def test_published_matrices():
    grid = Grid((8, 192, 256))
    for keep, shape in ((0.25, (128, 96)), (0.1, (80, 60)), (0.0625, (64, 48))):
        assert make_operator("kspace_crop", grid, keep=keep).low.stored_shape == (*shape, 8)
    # Coronary: AP and SI are stored axes 2 and 1 of this sagittal-like grid.
    sagittal = Grid((40, 48, 24), direction=(1, 0, 0, 0, 0, 1, 0, -1, 0))
    assert patient_axes(sagittal, (1, 2)) == (2, 1)
    assert make_operator("kspace_crop_aniso", sagittal).low.shape == (10, 12, 24)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("blur", {}, "no degradation"),
        ("slice_profile", {}, "thickness"),
        ("kspace_crop", {"k": 1}, "k"),
    ],
)
def test_bad_names_and_settings(name, settings, words):
    with pytest.raises(BadInput, match=words):
        make_operator(name, Grid((8, 8, 8)), **settings)


def test_noise_statistics_and_seed():
    empty, bright = torch.zeros(40, 50, 50), torch.full((40, 50, 50), 100.0)
    rayleigh = add_rician_noise(empty, 2.0, generator(7))
    assert float(rayleigh.mean()) == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.01)
    assert float(add_rician_noise(bright, 2.0, generator(7)).std()) == pytest.approx(2.0, rel=0.01)
    complex_ = add_complex_noise(empty, 2.0, generator(7))
    assert float(complex_.real.std()) == pytest.approx(2.0, rel=0.01)
    assert float(complex_.imag.std()) == pytest.approx(2.0, rel=0.01)
    again = add_rician_noise(empty, 2.0, generator(7))
    assert torch.equal(rayleigh, again)
    assert not torch.equal(rayleigh, add_rician_noise(empty, 2.0, generator(7, 1)))
    assert not torch.equal(rayleigh, add_rician_noise(empty, 2.0, generator(8)))
