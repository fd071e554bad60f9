"""Undersampled Cartesian k-space: simulated, damaged, and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.recon.cartesian import (
    SenseNormal,
    ShiftedWavelet,
    centre_region,
    predict,
    reconstruct_cartesian,
    sampling_mask,
)

SHAPE = (62, 56)


def object_and_coils() -> tuple[torch.Tensor, torch.Tensor]:
    lines = [(torch.arange(n) - n // 2) / (n / 2) for n in SHAPE]
    y, x = torch.meshgrid(*lines, indexing="ij")
    image = 0.5 * ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1) + 0.4 * (y**2 + (x - 0.2) ** 2 < 0.06)
    image = image - 0.3 * ((y - 0.4).abs() + (x + 0.2).abs() < 0.15)
    maps = []
    for angle in torch.arange(6) * (torch.pi / 3):
        dy, dx = y - 1.2 * torch.sin(angle), x - 1.2 * torch.cos(angle)
        maps.append(torch.polar(1 / (0.25 + dy**2 + dx**2), dx - 0.5 * dy))
    found = torch.stack(maps)
    return image.to(torch.complex64), found / found.abs().square().sum(0).sqrt()


@pytest.fixture(scope="module")
def scan() -> tuple[torch.Tensor, torch.Tensor]:
    """The object as seen by its coils, and their k-space, undersampled 3 times, with noise."""
    image, maps = object_and_coils()
    generator = torch.Generator().manual_seed(5)
    kspace = predict(image, maps)
    kspace = kspace + 0.01 * torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator)
    away = [(torch.arange(n) - n // 2).abs() / (n / 2) for n in SHAPE]
    radius = torch.hypot(away[0][:, None], away[1])
    mask = torch.rand(SHAPE, generator=generator) < (1.1 - radius).clamp(min=0.1) ** 1.2
    mask[SHAPE[0] // 2 - 10 : SHAPE[0] // 2 + 10, SHAPE[1] // 2 - 10 : SHAPE[1] // 2 + 10] = True
    return image, kspace * mask


def nrmse(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Of magnitudes: the phase of coil maps is a convention."""
    return float((found.abs() - truth.abs()).norm() / truth.norm())


@pytest.mark.parametrize("coil_maps", ["espirit", "walsh"])
def test_sparsity_and_coils_fill_the_gaps(scan: tuple, coil_maps: str) -> None:
    image, kspace = scan
    found, maps, info = reconstruct_cartesian(kspace, coil_maps=coil_maps)
    assert found.shape == SHAPE
    assert maps.shape == (6, *SHAPE)
    assert 0.25 < info["acquired"] < 0.45
    assert min(info["calibration"]) >= 20
    shifted = torch.fft.ifftshift(kspace, dim=(-2, -1))
    filled = torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=(-2, -1))
    plain = (maps.conj() * filled).sum(0)
    unregularised = reconstruct_cartesian(kspace, coil_maps=coil_maps, regularisation=0)[0]
    error = nrmse(found, image)
    assert error < 0.07
    assert error < 0.6 * nrmse(plain, image)
    assert error < 0.9 * nrmse(unregularised, image)


def test_the_unit_of_the_data_does_not_matter(scan: tuple) -> None:
    _, kspace = scan
    small, large = (reconstruct_cartesian(kspace * f, iterations=5)[0] for f in (1e-4, 1e3))
    torch.testing.assert_close(small * 1e7, large, rtol=1e-3, atol=1e-3 * float(large.abs().max()))


def test_everything_acquired_is_reproduced(scan: tuple) -> None:
    image, _ = scan
    kspace = predict(image, object_and_coils()[1])
    found, maps, info = reconstruct_cartesian(kspace, regularisation=1e-4)
    assert info["acquired"] == 1
    assert nrmse(found, image) < 0.03
    assert float((predict(found, maps) - kspace).norm() / kspace.norm()) < 0.03


def test_one_coil(scan: tuple) -> None:
    image, _ = scan
    kspace = predict(image, torch.ones(1, *SHAPE, dtype=torch.complex64))
    kspace[:, ::3, 40:] = 0
    found, _, _ = reconstruct_cartesian(kspace)
    assert nrmse(found, image) < 0.12


def test_progress_is_told_and_cancelling_works(scan: tuple) -> None:
    class Listening(Events):
        def _progress(self, fraction: float, message: str, eta_s: float | None) -> None:
            fractions.append(fraction)

        def _metric(self, values: dict) -> None:
            errors.append(values["data_error"])
            if len(errors) == stop:
                self.control.cancel()

    fractions, errors, stop = [], [], 1000
    reconstruct_cartesian(scan[1], iterations=12, tolerance=0, events=Listening(Control()))
    assert len(errors) == 12
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    assert errors[-1] < 0.1 * errors[0]
    fractions, errors, stop = [], [], 3
    with pytest.raises(Cancelled):
        reconstruct_cartesian(scan[1], events=Listening(Control()))
    assert len(errors) == 3


def test_what_cannot_be_reconstructed_is_refused(scan: tuple) -> None:
    _, kspace = scan
    with pytest.raises(BadInput, match="coil, ny, nx"):
        sampling_mask(kspace[0])
    with pytest.raises(BadInput, match="float32"):
        sampling_mask(kspace.real)
    with pytest.raises(BadInput, match="empty"):
        sampling_mask(torch.zeros_like(kspace))
    damaged = kspace.clone()
    damaged[0, 3, 3] = float("nan")
    with pytest.raises(BadInput, match="not finite"):
        reconstruct_cartesian(damaged)
    with pytest.raises(BadInput, match="not fully sampled"):
        reconstruct_cartesian(torch.fft.ifftshift(kspace, dim=(-2, -1)))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(12, 40), st.integers(12, 40)),
    before=st.tuples(st.integers(0, 15), st.integers(0, 15)),
    after=st.tuples(st.integers(0, 15), st.integers(0, 15)),
    largest=st.integers(8, 30),
)
def test_the_calibration_region_is_found(
    shape: tuple[int, int], before: tuple[int, int], after: tuple[int, int], largest: int
) -> None:
    mask = torch.zeros(shape, dtype=torch.bool)
    inside = tuple(
        slice(max(0, n // 2 - b), n // 2 + a + 1)
        for n, b, a in zip(shape, before, after, strict=True)
    )
    mask[inside] = True
    expected = []
    for n, side in zip(shape, inside, strict=True):
        low, high = n // 2 - side.start, min(n, side.stop) - 1 - n // 2
        expected.append(min(2 * low + 1, 2 * high + 2))
    if min(*expected, largest) < 8:
        with pytest.raises(BadInput, match="not fully sampled"):
            centre_region(mask, largest)
        return
    region = centre_region(mask, largest)
    assert bool(mask[region].all())
    for n, side, longest in zip(shape, region, expected, strict=True):
        size = side.stop - side.start
        assert side.start + size // 2 == n // 2
        assert min(longest, largest) - 1 <= size <= min(longest, largest)


def test_the_normal_operator_is_the_square_of_the_prediction() -> None:
    _, maps = object_and_coils()
    mask = torch.rand(SHAPE) < 0.4
    normal = SenseNormal(maps, mask)
    image, other = torch.randn(2, *SHAPE, dtype=torch.complex64)
    left = torch.vdot((predict(other, maps) * mask).flatten(), predict(image, maps).flatten())
    right = torch.vdot(other.flatten(), normal(image[None, :, :, None]).flatten())
    assert abs(left - right) < 1e-4 * image.norm() * other.norm()
    assert float(normal(image[None, :, :, None]).norm()) <= float(image.norm()) * (1 + 1e-5)


def test_shifted_wavelets_are_a_tight_frame() -> None:
    sparsity = ShiftedWavelet(SHAPE, "sym4", 0)
    image = torch.randn(1, *SHAPE, 1, dtype=torch.complex64)
    first = sparsity.forward(image)
    torch.testing.assert_close(sparsity.adjoint(first), image, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(first, sparsity.forward(image), atol=1e-2)


def test_a_measured_brain_predicts_samples_that_it_did_not_see(shared_data: Path) -> None:
    """Eightfold undersampled; a sixth of what is held out is noise (see the benchmark)."""
    path = shared_data / "kspace" / "sigpy_brain_cartesian_8ch_ksp.npy"
    if not path.is_file():
        pytest.skip("the k-space is not there")
    kspace = torch.from_numpy(np.load(path))
    mask = sampling_mask(kspace)
    region = centre_region(mask)
    assert [side.stop - side.start for side in region] == [24, 24]
    held = (torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)) < 0.1) & mask
    held[region] = False
    image, maps, info = reconstruct_cartesian(kspace * ~held)
    wrong = (predict(image, maps) - kspace)[:, held]
    assert float(wrong.norm() / kspace[:, held].norm()) < 0.26
    assert info["iterations"] <= 40
