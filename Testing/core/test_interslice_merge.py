"""Two orientations become one volume: mean and Fourier burst accumulation."""

from __future__ import annotations

import math

import pytest
import torch

from mriforge.interslice import merge as module
from mriforge.interslice.merge import merge

SHAPES = [(12, 9, 10), (7, 8, 5), (6, 6, 6)]


def volume(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 2.0


def wave(shape: tuple[int, int, int], axis: int, frequency: int) -> torch.Tensor:
    phase = 2 * math.pi * frequency * torch.arange(shape[axis]) / shape[axis]
    line = torch.cos(phase + 0.4)
    return line.reshape([-1 if a == axis else 1 for a in range(3)]).expand(shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("how", "power"), [("mean", 11), ("fba", math.inf), ("fba", 11.0)])
@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_equal_volumes_stay_what_they_are(shape, how, power, smoothing) -> None:
    image = volume(shape)
    merged = merge(image, image, how, power=power, smoothing=smoothing)
    assert merged.dtype == torch.float32 and merged.shape == image.shape
    assert torch.allclose(merged, image, atol=1e-5)


def test_mean_is_the_mean() -> None:
    a, b = volume((5, 6, 7)), volume((5, 6, 7), 1)
    assert torch.allclose(merge(a, b), (a + b) / 2, atol=1e-6)


@pytest.mark.parametrize("power", [math.inf, 11.0])
def test_each_contributes_the_frequencies_that_it_has(power: float) -> None:
    shape = (16, 12, 10)
    ground, only_a, only_b = torch.full(shape, 3.0), wave(shape, 1, 4), wave(shape, 2, 3)
    common = wave(shape, 0, 5)
    a = ground + common + only_a + 0.1 * only_b
    b = ground + 0.2 * common + 0.3 * only_a + only_b
    merged = merge(a, b, "fba", power=power)
    assert torch.allclose(merged, ground + common + only_a + only_b, atol=2e-4)
    assert (merge(a, b) - (ground + common + only_a + only_b)).abs().max() > 0.3


def test_power_zero_is_the_mean_and_the_order_does_not_matter() -> None:
    a, b = volume((6, 7, 8)), volume((6, 7, 8), 1)
    assert torch.allclose(merge(a, b, "fba", power=0.0), merge(a, b), atol=1e-5)
    for power in (3.0, math.inf):
        forth, back = merge(a, b, "fba", power=power), merge(b, a, "fba", power=power)
        assert torch.allclose(forth, back, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("power", [2.0, 11.0, math.inf])
@pytest.mark.parametrize("smoothing", [0.0, 0.8])
def test_as_by_the_formula_on_the_full_spectrum(shape, power, smoothing) -> None:
    """Against the definition, without halves, slabs and tricks."""
    volumes = [volume(shape), volume(shape, 1)]
    spectra = [torch.fft.fftn(v.double()) for v in volumes]
    reach = math.ceil(3 * smoothing)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / smoothing) ** 2) if smoothing else torch.ones(1)
    magnitudes = []
    for magnitude in (s.abs() for s in spectra):
        for axis in range(3):
            magnitude = sum(
                w * magnitude.roll(int(o), axis)
                for w, o in zip(kernel / kernel.sum(), offsets, strict=True)
            )
        magnitudes.append(magnitude)
    if math.isinf(power):
        weight = (magnitudes[0] > magnitudes[1]).double()
        weight[(magnitudes[0] - magnitudes[1]).abs() < 1e-9] = 0.5
    else:
        weight = magnitudes[0] ** power / sum(m**power for m in magnitudes)
    expected = torch.fft.ifftn(weight * spectra[0] + (1 - weight) * spectra[1])
    assert expected.imag.abs().max() < 1e-9
    merged = merge(*volumes, "fba", power=power, smoothing=smoothing)
    assert torch.allclose(merged, expected.real.float(), atol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 1.2])
def test_slabs_do_not_show(monkeypatch, smoothing: float) -> None:
    a, b = volume((11, 6, 7)), volume((11, 6, 7), 1)
    whole = merge(a, b, "fba", power=4.0, smoothing=smoothing)
    monkeypatch.setattr(module, "_SLAB_SAMPLES", 50)
    assert torch.allclose(merge(a, b, "fba", power=4.0, smoothing=smoothing), whole, atol=1e-5)


def test_magnitudes_that_vanish_and_large_ones_are_no_trouble() -> None:
    a, b = torch.zeros(4, 5, 6), volume((4, 5, 6)) * 1e4
    for power in (1.0, 11.0, math.inf):
        merged = merge(a, b, "fba", power=power)
        assert torch.isfinite(merged).all()
        assert torch.allclose(merged, b, rtol=1e-3, atol=1.0)
    assert torch.equal(merge(a, a, "fba"), a)


def test_nonsense_is_refused() -> None:
    a = volume((4, 5, 6))
    for arguments in [(a, a[1:]), (a, a, "median"), (a[0], a[0])]:
        with pytest.raises(ValueError):
            merge(*arguments)
    for options in [{"power": -1.0}, {"smoothing": -1.0}, {"power": math.nan}]:
        with pytest.raises(ValueError):
            merge(a, a, "fba", **options)
