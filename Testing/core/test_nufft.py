"""Non-uniform Fourier transforms and wavelets: agreement, adjoints, gradients."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mriforge.physics import nufft_gridding
from mriforge.physics.nufft import Nufft
from mriforge.physics.wavelets import Wavelet, analysis_matrix, scaling_filter

needs_finufft = pytest.mark.skipif(
    importlib.util.find_spec("finufft") is None, reason="finufft is not installed"
)
BACKENDS = ["gridding", "exact", pytest.param("finufft", marks=needs_finufft)]
SIZES = st.tuples(st.integers(6, 41), st.integers(6, 41))


def points(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, generator=generator, dtype=torch.float64) - 0.5


def noise(*shape: int, dtype: torch.dtype = torch.complex128, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def relative(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


def test_the_exact_one_is_the_definition() -> None:
    shape, k = (5, 8), points(7)
    image = noise(*shape)
    y, x = np.meshgrid(np.arange(5) - 2, np.arange(8) - 4, indexing="ij")
    truth = [
        (image.numpy() * np.exp(-2j * np.pi * (float(kx) * x + float(ky) * y))).sum()
        for kx, ky in k
    ]
    assert relative(Nufft(k, shape, backend="exact").forward(image), torch.tensor(truth)) < 1e-13


@pytest.mark.parametrize("backend", BACKENDS)
def test_on_the_grid_it_is_the_fast_fourier_transform(backend: str) -> None:
    shape = (12, 15)
    ky, kx = torch.meshgrid(
        *((torch.arange(n, dtype=torch.float64) - n // 2) / n for n in shape), indexing="ij"
    )
    image = noise(*shape)
    truth = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(image)))
    found = Nufft(torch.stack((kx, ky), -1), shape, 1e-9, backend).forward(image)
    assert relative(found.reshape(shape), truth) < 1e-8


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-8])
@settings(max_examples=8, deadline=None)
@given(shape=SIZES, seed=st.integers(0, 99))
def test_both_directions_are_as_exact_as_was_asked(
    backend: str, tolerance: float, shape: tuple[int, int], seed: int
) -> None:
    k = points(60, seed)
    slow, fast = Nufft(k, shape, backend="exact"), Nufft(k, shape, tolerance, backend)
    images, data = noise(2, *shape), noise(2, 60)
    assert relative(fast.forward(images), slow.forward(images)) < 3 * tolerance
    assert relative(fast.adjoint(data), slow.adjoint(data)) < 3 * tolerance


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@settings(max_examples=8, deadline=None)
@given(shape=SIZES, batch=st.sampled_from([(), (1,), (3,), (2, 2)]))
def test_the_adjoint_is_the_adjoint(
    backend: str, dtype: torch.dtype, shape: tuple[int, int], batch: tuple[int, ...]
) -> None:
    nufft = Nufft(points(50), shape, backend=backend)
    images, data = noise(*batch, *shape, dtype=dtype), noise(*batch, 50, dtype=dtype)
    samples, back = nufft.forward(images), nufft.adjoint(data)
    assert samples.shape == data.shape
    assert back.shape == images.shape
    assert samples.dtype == back.dtype == dtype
    left = torch.vdot(data.flatten(), samples.flatten())
    right = torch.vdot(back.flatten(), images.flatten())
    scale = samples.norm() * data.norm()
    assert abs(left - right) < (1e-6 if dtype == torch.complex64 else 1e-13) * scale


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_first_and_second_order(backend: str) -> None:
    nufft = Nufft(points(5), (4, 3), backend=backend)
    images = noise(2, 4, 3).requires_grad_()
    data = noise(2, 5).requires_grad_()
    assert torch.autograd.gradcheck(nufft.forward, images)
    assert torch.autograd.gradcheck(nufft.adjoint, data)

    def power(x: torch.Tensor) -> torch.Tensor:
        return nufft.forward(x).abs().square().sum()

    assert torch.autograd.gradgradcheck(power, images, fast_mode=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_positions_are_periodic_and_lie_on_the_edge_too(backend: str) -> None:
    k = torch.tensor([[-0.5, 0.5], [0.5, -0.5], [0.5 - 1e-9, 0.0]], dtype=torch.float64)
    image = noise(8, 10)
    slow = Nufft(k, (8, 10), backend="exact").forward(image)
    assert relative(Nufft(k, (8, 10), 1e-6, backend).forward(image), slow) < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_of_any_size_give_the_same_as_one_by_one(backend: str) -> None:
    nufft = Nufft(points(30), (9, 8), backend=backend)
    images = noise(70, 9, 8, dtype=torch.complex64)
    together = nufft.forward(images)
    assert relative(together, torch.stack([nufft.forward(x) for x in images])) < 1e-6
    back = nufft.adjoint(together)
    assert relative(back, torch.stack([nufft.adjoint(x) for x in together])) < 1e-6
    assert nufft.forward(images[:0]).shape == (0, 30)


def test_a_table_that_is_not_kept_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images, data = noise(2, 16, 18), noise(2, 400)
    kept = Nufft(points(400), (16, 18), backend="gridding")
    truth = kept.forward(images), kept.adjoint(data)
    monkeypatch.setattr(nufft_gridding, "_TABLE_ENTRIES", 100)
    monkeypatch.setattr(nufft_gridding, "_BLOCK_ENTRIES", 1000)
    remade = Nufft(points(400), (16, 18), backend="gridding")
    assert relative(remade.forward(images), truth[0]) < 1e-13
    assert relative(remade.adjoint(data), truth[1]) < 1e-13
    assert not remade._engine._tables


def test_other_devices_ways_of_summing_give_the_same() -> None:
    """What runs where torch has no ``embedding_bag``, and where tables are sorted on the device."""
    cells = torch.randint(0, 40, (30, 6), dtype=torch.int32)
    values = torch.rand(30, 6, dtype=torch.float64)
    table = nufft_gridding._Table.of_points(slice(0, 30), cells, values)
    rows = torch.rand(40, 4, dtype=torch.float64)
    assert torch.allclose(table._with_index_add(rows), table.apply(rows))
    back = torch.rand(30, 4, dtype=torch.float64)
    counted = nufft_gridding._Table.transposed(slice(0, 30), cells, values, 40)
    ordered = nufft_gridding._Table.by_sorting(slice(0, 30), cells, values, 40)
    assert torch.allclose(counted.apply(back), ordered.apply(back))
    assert torch.allclose(counted._with_index_add(back), ordered.apply(back))


def test_the_fastest_that_is_there_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Nufft(points(10), (8, 8)).backend == "gridding"
    monkeypatch.setattr(nufft_gridding, "_TABLE_ENTRIES", 10)
    monkeypatch.setattr("mriforge.physics.nufft.has_finufft", lambda: False)
    assert Nufft(points(10), (8, 8)).backend == "gridding"
    if importlib.util.find_spec("finufft"):
        monkeypatch.setattr("mriforge.physics.nufft.has_finufft", lambda: True)
        assert Nufft(points(10), (8, 8)).backend == "finufft"


def test_what_cannot_be_transformed_is_refused() -> None:
    with pytest.raises(ValueError, match="trajectory"):
        Nufft(torch.zeros(4, 3), (8, 8))
    with pytest.raises(ValueError, match="not one of"):
        Nufft(torch.zeros(4, 2), (8, 8), backend="fast")
    nufft = Nufft(torch.zeros(4, 2), (8, 8))
    with pytest.raises(ValueError, match="images end with"):
        nufft.forward(torch.zeros(8, 9))
    with pytest.raises(ValueError, match="5 samples for 4"):
        nufft.adjoint(torch.zeros(5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_on_a_graphics_card() -> None:
    images, k = noise(3, 40, 36, dtype=torch.complex64), points(500).float()
    slow = Nufft(k, (40, 36), backend="exact")
    fast = Nufft(k.cuda(), (40, 36))
    data = slow.forward(images)
    assert relative(fast.forward(images.cuda()).cpu(), data) < 2e-4
    assert relative(fast.adjoint(data.cuda()).cpu(), slow.adjoint(data)) < 2e-4


# Daubechies 1992, tables 6.1 (N = 2 in closed form, N = 4) and 6.3 (N = 4).
TABLE = {
    "haar": [math.sqrt(0.5)] * 2,
    "db2": [(1 + math.sqrt(3)), (3 + math.sqrt(3)), (3 - math.sqrt(3)), (1 - math.sqrt(3))],
    "db4": [
        0.2303778133088964,
        0.7148465705529154,
        0.6308807679298587,
        -0.0279837694168599,
        -0.1870348117190931,
        0.0308413818355607,
        0.0328830116668852,
        -0.0105974017850690,
    ],
    "sym4": [
        0.0322231006040427,
        -0.0126039672620378,
        -0.0992195435768472,
        0.2978577956052774,
        0.8037387518059161,
        0.4976186676320155,
        -0.0296355276459985,
        -0.0757657147892733,
    ],
}
TABLE["db2"] = [tap / (4 * math.sqrt(2)) for tap in TABLE["db2"]]


@pytest.mark.parametrize("name", list(TABLE))
def test_filters_are_those_of_the_book(name: str) -> None:
    np.testing.assert_allclose(scaling_filter(name), TABLE[name], atol=1e-10)


@pytest.mark.parametrize("name", [f"{kind}{n}" for kind in ("db", "sym") for n in range(1, 11)])
def test_filters_have_their_moments_and_are_orthonormal(name: str) -> None:
    taps, moments = scaling_filter(name), int(name.lstrip("dbsym"))
    assert len(taps) == 2 * moments
    for shift in range(moments):
        product = taps[: len(taps) - 2 * shift] @ taps[2 * shift :]
        assert product == pytest.approx(float(shift == 0), abs=1e-7)
    high = taps[::-1] * (-1.0) ** np.arange(len(taps))
    place = np.arange(len(taps)) / len(taps)
    for power in range(moments):
        assert high @ place**power == pytest.approx(0, abs=1e-7)


def test_symlets_are_nearer_to_symmetry_than_daubechies() -> None:
    def symmetry(name: str) -> float:
        taps = scaling_filter(name)
        return float(np.correlate(taps, taps[::-1], "full").max())  # 1 where it is perfect

    for moments in range(4, 11):
        assert symmetry(f"sym{moments}") > max(0.9, symmetry(f"db{moments}") + 0.015)


def test_unknown_wavelets_are_refused() -> None:
    for name in ("db0", "db11", "coif1", "db", ""):
        with pytest.raises(ValueError, match="is not haar"):
            scaling_filter(name)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    name=st.sampled_from(["haar", "db4", "sym4", "db7"]),
    shift=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    dtype=st.sampled_from([torch.float32, torch.complex64]),
    isotropic=st.booleans(),
)
def test_wavelets_are_inverted_by_their_transpose(
    shape: tuple[int, int], name: str, shift: tuple[int, int], dtype: torch.dtype, isotropic: bool
) -> None:
    wavelet = Wavelet(shape, name, isotropic=isotropic)
    image, other = noise(2, *shape, dtype=dtype), noise(2, *shape, dtype=dtype, seed=5)
    coefficients = wavelet.forward(image, shift)
    assert coefficients.dtype == dtype
    kept = coefficients.clone()
    assert relative(wavelet.adjoint(coefficients, shift), image) < 1e-6
    assert torch.equal(coefficients, kept)
    left = torch.vdot(coefficients.flatten(), other.flatten())
    right = torch.vdot(image.flatten(), wavelet.adjoint(other, shift).flatten())
    assert abs(left - right) < 1e-5 * image.norm() * other.norm()
    rolled = wavelet.forward(torch.roll(image, shift, (-2, -1)))
    assert relative(coefficients, rolled) < 1e-5


@settings(max_examples=20, deadline=None)
@given(shape=st.sampled_from([(16, 16), (32, 24), (20, 64), (7, 16)]))
def test_both_kinds_of_wavelets_share_their_coarsest_scale(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    pyramid, product = (Wavelet(shape, isotropic=kind) for kind in (True, False))
    assert torch.equal(pyramid.details, product.details)
    one, other = (w.forward(image)[~w.details] for w in (pyramid, product))
    torch.testing.assert_close(one, other)


def test_isotropic_wavelets_are_nowhere_long_and_thin() -> None:
    wavelet = Wavelet((64, 64), "haar", 3, isotropic=True)
    for place in ((3, 60), (60, 3), (20, 3), (9, 12), (12, 40)):
        alone = torch.zeros(64, 64)
        alone[place] = 1
        there = wavelet.adjoint(alone).abs() > 1e-6
        assert there.any(0).sum() == there.any(1).sum()


def test_as_many_levels_as_the_size_divides() -> None:
    assert Wavelet((160, 150)).levels == (4, 1)
    assert Wavelet((7, 8)).levels == (0, 3)
    assert int((~Wavelet((32, 40), levels=2).details).sum()) == 8 * 10


def test_smooth_images_have_small_details() -> None:
    """A cubic has four vanishing moments' worth of nothing in it, away from the seam."""
    line = torch.linspace(-1, 1, 64, dtype=torch.float64) ** 3
    details = torch.from_numpy(analysis_matrix(64, "db4", 1))[32:] @ line
    assert details[4:-4].abs().max() < 1e-10
    assert details.abs().max() > 1e-2
