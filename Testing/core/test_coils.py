"""Coils: maps against the truth, whitening, compression, combination."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.errors import BadInput
from mriforge.physics.coils import (
    apply_to_coils,
    centre_of_kspace,
    combine,
    compress,
    compression_matrix,
    espirit_maps,
    low_resolution,
    prewhiten,
    walsh_maps,
    whitening_matrix,
)
from mriforge.physics.coils.walsh import strongest
from mriforge.physics.density import radial_density
from mriforge.physics.nufft import Nufft
from mriforge.physics.trajectory import golden_angles, radial
from mriforge.rawdata import RawData
from mriforge.volume import Grid

SHAPE = (60, 56)


def plane(shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel coordinates ``y, x`` from the centre, in half fields of view."""
    lines = [(torch.arange(n) - n // 2) / (n / 2) for n in shape]
    return torch.meshgrid(*lines, indexing="ij")


def loops(shape: tuple[int, int], count: int = 6) -> torch.Tensor:
    """Sensitivities ``(C, ny, nx)`` of loops around the object, of unit length at each pixel."""
    y, x = plane(shape)
    maps = []
    for angle in torch.arange(count) * (2 * torch.pi / count) + 0.3:
        dy, dx = y - 1.2 * torch.sin(angle), x - 1.2 * torch.cos(angle)
        size = 1 / (0.25 + dy**2 + dx**2)
        maps.append(torch.polar(size, 0.8 * (dy * torch.cos(angle) + dx) + angle))
    found = torch.stack(maps)
    return found / found.abs().square().sum(0).sqrt()


def head(shape: tuple[int, int]) -> torch.Tensor:
    """An ellipse with darker and brighter parts, and a smooth phase."""
    y, x = plane(shape)
    image = ((y / 0.75) ** 2 + (x / 0.65) ** 2 < 1) * 0.6
    image = image + 0.4 * ((y + 0.3) ** 2 + x**2 < 0.05) - 0.3 * (y**2 + (x - 0.3) ** 2 < 0.03)
    return torch.polar(image.float(), 0.5 * y - 0.3 * x**2)


def fourier(images: torch.Tensor) -> torch.Tensor:
    shifted = torch.fft.ifftshift(images, dim=(-2, -1))
    return torch.fft.fftshift(torch.fft.fft2(shifted), dim=(-2, -1))


def centre(kspace: torch.Tensor, size: int) -> torch.Tensor:
    ny, nx = (n // 2 - size // 2 for n in kspace.shape[-2:])
    return kspace[..., ny : ny + size, nx : nx + size]


def aside(maps: torch.Tensor, truth: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Sine of the angle between found and true sensitivities: blind to the common phase."""
    agreement = (maps.conj() * truth).sum(0).abs()[inside]
    return (1 - agreement.clamp(max=1) ** 2).sqrt()


@pytest.fixture(scope="module")
def scan() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """True maps, noisy k-space ``(C, ny, nx)``, and where the object is."""
    maps, image = loops(SHAPE), head(SHAPE)
    kspace = fourier(maps * image)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator)
    return maps, kspace + 0.5 * noise, image.abs() > 0.2


def test_espirit_finds_the_true_maps(scan: tuple) -> None:
    truth, kspace, inside = scan
    maps, values = espirit_maps(centre(kspace, 24), SHAPE)
    wrong = aside(maps, truth, inside)
    assert float(wrong.median()) < 0.015
    assert float(wrong.quantile(0.99)) < 0.05
    assert float(values[inside].min()) > 0.95
    assert float(values.max()) < 1 + 1e-4
    seen = maps.abs().square().sum(0)
    assert torch.allclose(seen[inside], torch.ones(1), atol=1e-5)
    y, x = plane(SHAPE)
    assert float((seen == 0)[(y**2 + x**2) > 1.3].float().mean()) > 0.9  # cropped in the air


def test_walsh_finds_the_true_maps(scan: tuple) -> None:
    truth, kspace, inside = scan
    maps = walsh_maps(low_resolution(centre(kspace, 24), SHAPE))
    wrong = aside(maps, truth, inside)
    assert float(wrong.median()) < 0.03
    assert float(wrong.quantile(0.99)) < 0.12
    assert torch.allclose(maps.abs().square().sum(0), torch.ones(1), atol=1e-5)


@pytest.mark.parametrize("method", ["espirit", "walsh"])
def test_maps_are_smooth_also_in_phase(scan: tuple, method: str) -> None:
    _, kspace, inside = scan
    region = centre(kspace, 24)
    maps = (
        espirit_maps(region, SHAPE)[0]
        if method == "espirit"
        else walsh_maps(low_resolution(region, SHAPE))
    )
    both = inside[:, 1:] & inside[:, :-1]
    assert float((maps[..., 1:] - maps[..., :-1]).abs()[:, both].max()) < 0.12


def test_maps_from_spokes() -> None:
    """The density-compensated adjoint of all spokes serves as well as Cartesian samples."""
    truth, image = loops(SHAPE), head(SHAPE)
    trajectory = torch.from_numpy(radial(golden_angles(90), 112))
    nufft = Nufft(trajectory, SHAPE)
    data = nufft.forward(truth * image) * radial_density(trajectory).flatten()
    region = centre_of_kspace(nufft.adjoint(data), 24)
    inside = image.abs() > 0.2
    assert float(aside(espirit_maps(region, SHAPE)[0], truth, inside).median()) < 0.02
    walsh = walsh_maps(low_resolution(region, SHAPE))
    assert float(aside(walsh, truth, inside).median()) < 0.03


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(8, 20), st.integers(8, 20)),
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
)
def test_the_centre_of_kspace_is_cut_from_the_transform(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    images = torch.randn(2, *shape, dtype=torch.complex64)
    whole = fourier(images)
    ny, nx = (n // 2 - c // 2 for n, c in zip(shape, size, strict=True))
    expected = whole[:, ny : ny + size[0], nx : nx + size[1]]
    torch.testing.assert_close(centre_of_kspace(images, size), expected, atol=1e-3, rtol=1e-4)


def test_low_resolution_keeps_place_and_height() -> None:
    y, x = plane(SHAPE)
    image = torch.exp(-((y - 0.2) ** 2 + (x + 0.1) ** 2) / 0.1).to(torch.complex64)
    found = low_resolution(centre_of_kspace(image, 30), SHAPE)
    assert found.abs().argmax() == image.abs().argmax()
    assert float(found.abs().max()) == pytest.approx(1, abs=0.1)
    assert float(found.sum().real) == pytest.approx(float(image.sum().real), rel=1e-4)


def test_slices_are_independent(scan: tuple) -> None:
    _, kspace, _ = scan
    region = centre(kspace, 20)
    stack = torch.stack((region, region.flip(1)), 1)
    maps, values = espirit_maps(stack, SHAPE)
    alone, value = espirit_maps(region, SHAPE)
    assert maps.shape == (6, 2, *SHAPE)
    torch.testing.assert_close(values[0], value)
    overlap = (maps[:, 0].conj() * alone).sum(0).abs()
    torch.testing.assert_close(overlap, alone.abs().square().sum(0), atol=1e-4, rtol=1e-3)
    images = low_resolution(stack, SHAPE)
    assert walsh_maps(images).shape == (6, 2, *SHAPE)


def test_one_coil_sees_everything() -> None:
    region = centre(fourier(head(SHAPE)[None]), 24)
    maps = walsh_maps(low_resolution(region, SHAPE))
    torch.testing.assert_close(maps, torch.ones_like(maps), atol=1e-5, rtol=0)
    maps, values = espirit_maps(region, SHAPE)
    assert bool(((maps - 1).abs()[0][values > 0.9] < 1e-5).all())


def test_walsh_leaves_the_air_out(scan: tuple) -> None:
    _, kspace, inside = scan
    images = low_resolution(centre(kspace, 24), SHAPE)
    # Where two thirds of the summed power of the object's mean is not reached.
    level = float(images.abs().square().sum(0)[inside].mean()) / 3
    maps = walsh_maps(images, noise_variance=level / 3)
    assert bool((maps.abs().sum(0) == 0)[~inside].any())
    assert float((maps.abs().sum(0) > 0)[inside].float().mean()) > 0.7
    with pytest.raises(ValueError, match="odd side"):
        walsh_maps(images, block=4)


def test_maps_cannot_come_from_nothing() -> None:
    with pytest.raises(BadInput, match="too small"):
        espirit_maps(torch.ones(2, 6, 6, dtype=torch.complex64), SHAPE)
    with pytest.raises(BadInput, match="no signal"):
        espirit_maps(torch.zeros(2, 12, 12, dtype=torch.complex64), SHAPE)


def test_the_same_maps_as_sigpy(scan: tuple) -> None:
    apps = pytest.importorskip("sigpy.mri.app")
    truth, kspace, inside = scan
    theirs = apps.EspiritCalib(
        kspace.numpy(), calib_width=24, crop=0, thresh=0.02, show_pbar=False
    ).run()
    ours, _ = espirit_maps(centre(kspace, 24), SHAPE, crop=0)
    assert float(aside(ours, torch.from_numpy(theirs), inside).quantile(0.95)) < 0.02
    error = [float(aside(m, truth, inside).median()) for m in (ours, torch.from_numpy(theirs))]
    assert error[0] <= 1.1 * error[1]


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
def test_no_worse_maps_than_bart(scan: tuple, tmp_path: Path) -> None:
    truth, kspace, inside = scan
    stored = kspace.numpy().transpose(1, 2, 0)[:, :, None, :]
    (tmp_path / "k.hdr").write_text("# Dimensions\n" + " ".join(map(str, stored.shape)) + "\n")
    stored.ravel(order="F").tofile(tmp_path / "k.cfl")
    command = ["bart", "ecalib", "-m1", "-r24", "-c0", "k", "m"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    theirs = np.fromfile(tmp_path / "m.cfl", np.complex64).reshape(stored.shape, order="F")
    theirs = torch.from_numpy(theirs[:, :, 0].transpose(2, 0, 1).copy())
    ours, _ = espirit_maps(centre(kspace, 24), SHAPE, crop=0)
    assert float(aside(ours, theirs, inside).median()) < 0.03
    error = [float(aside(maps, truth, inside).median()) for maps in (ours, theirs)]
    assert error[0] <= 1.1 * error[1]


@settings(max_examples=20, deadline=None)
@given(coils=st.integers(1, 12), seed=st.integers(0, 1000))
def test_the_strongest_direction(coils: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(5, coils, coils, dtype=torch.complex64, generator=generator)
    matrices = root @ root.conj().mT
    vectors, values = strongest(matrices)
    left = (matrices @ vectors[..., None])[..., 0]
    torch.testing.assert_close(left, values[:, None] * vectors, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(matrices)[:, -1], rtol=1e-4, atol=1e-4)


def test_combination_is_the_pseudo_inverse(scan: tuple) -> None:
    truth, _, _ = scan
    image = torch.randn(3, 1, *SHAPE, dtype=torch.complex64)
    torch.testing.assert_close(combine(truth * image, truth), image[:, 0], atol=1e-5, rtol=1e-4)
    unscaled = truth * (1 + torch.rand(SHAPE))
    torch.testing.assert_close(
        combine(unscaled * image, unscaled), image[:, 0], atol=1e-4, rtol=1e-3
    )
    blind = truth * (plane(SHAPE)[0] > 0)
    found = combine(blind * image, blind)
    assert bool((found[:, plane(SHAPE)[0] <= 0] == 0).all())
    deep = torch.stack((truth, truth.flip(0)), 1)
    both = combine(deep * image[:2, 0], deep)
    torch.testing.assert_close(both, image[:2, 0], atol=1e-5, rtol=1e-4)


def raw_data(coils: int = 5) -> RawData:
    generator = np.random.default_rng(4)
    mixing = generator.normal(size=(coils, coils, 2)) @ [1, 1j]
    sources = generator.normal(size=(40, coils, 16, 2)) @ [1, 1j]
    sources *= 10.0 ** -np.arange(coils)[:, None]
    noise = mixing @ (generator.normal(size=(coils, 4000, 2)) @ [1, 1j]) / np.sqrt(2)
    return RawData(
        kspace=(mixing @ sources).astype(np.complex64),
        trajectory=radial(golden_angles(40), 16),
        navigator=np.zeros(40, bool),
        since_inversion=np.arange(40, dtype=np.int32),
        time_s=np.arange(40) * 0.01,
        grid=Grid((1, 16, 16)),
        repetition_s=0.01,
        flip_deg=5,
        noise=noise.astype(np.complex64),
    )


def test_whitened_noise_is_white() -> None:
    raw = raw_data()
    white = prewhiten(raw)
    covariance = np.cov(white.noise)
    np.testing.assert_allclose(covariance, np.eye(5), atol=1e-4)
    matrix = whitening_matrix(raw.noise)
    np.testing.assert_allclose(white.kspace[7], matrix @ raw.kspace[7], rtol=1e-3, atol=1e-3)
    silent = replace(raw, noise=None)
    assert prewhiten(silent) is silent


def test_noise_that_cannot_be_whitened_is_refused() -> None:
    noise = raw_data().noise
    with pytest.raises(BadInput, match="too few"):
        whitening_matrix(noise[:, :9])
    with pytest.raises(BadInput, match="without noise"):
        whitening_matrix(np.concatenate((noise, 0 * noise[:1])))


def test_compression_keeps_the_signal_and_the_whiteness() -> None:
    raw = raw_data()
    matrix = compression_matrix(raw.kspace, 2)
    np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(2), atol=1e-5)
    few = compress(raw, 2)
    assert few.coils == 2
    assert few.noise.shape == (2, 4000)
    back = apply_to_coils(matrix.conj().T, few.kspace)
    lost = np.linalg.norm(back - raw.kspace) / np.linalg.norm(raw.kspace)
    # No two directions do better: Eckart and Young.
    flat = raw.kspace.transpose(1, 0, 2).reshape(5, -1)
    values = np.linalg.svd(flat, compute_uv=False)
    assert lost == pytest.approx(np.linalg.norm(values[2:]) / np.linalg.norm(values), rel=1e-2)
    assert compress(raw, None) is raw
    assert compress(raw, 5) is raw
    with pytest.raises(BadInput, match="cannot be compressed"):
        compress(raw, 6)
