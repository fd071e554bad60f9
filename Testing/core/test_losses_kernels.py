"""Terms that a learned kernel is held to, by hand; their weights as a game that can be replayed."""

from __future__ import annotations

import pytest
import torch

from mriforge.losses.kernels import (
    KernelWeights,
    bicubic_kernel,
    boundaries,
    boundary_mask,
    centre_of_mass,
    downscale_loss,
    kernel_terms,
    off_centre,
    sparsity,
    sum_to_one,
    weights_after,
)
from mriforge.recipes.kernel import KernelSpec

SPEC = KernelSpec()


def test_bicubic_is_keys_cubic_by_hand() -> None:
    """c(0) = 1, c(1/2) = 9/16, c(1) = 0, c(3/2) = -1/16; halved, as two of them fit in a pixel."""
    line = torch.tensor([0, 0, 0, -1 / 32, 0, 9 / 32, 1 / 2, 9 / 32, 0, -1 / 32, 0, 0, 0])
    assert torch.allclose(bicubic_kernel(13, 2, 1), line, atol=1e-7)
    assert torch.allclose(bicubic_kernel(13, 2), line[:, None] * line, atol=1e-7)
    assert float(bicubic_kernel(13, 3, 3).sum()) == pytest.approx(1.0)


def test_downscale_loss_by_hand() -> None:
    made, wanted = torch.tensor([1.0, -1.0, 3.0]), torch.tensor([0.0, 1.0, 3.0])
    assert float(downscale_loss(made, wanted)) == pytest.approx(1.0)
    assert float(downscale_loss(made, wanted, "square")) == pytest.approx(5 / 3)


def test_terms_by_hand() -> None:
    kernel = torch.zeros(5, 5)
    kernel[2, 3], kernel[4, 1] = 0.6, 0.2
    assert float(sum_to_one(kernel)) == pytest.approx(0.2)
    assert centre_of_mass(kernel).tolist() == pytest.approx([2.5, 2.5])
    assert float(off_centre(kernel)) == pytest.approx(0.5**0.5)
    mean = (0.6**0.2 + 0.2**0.2) / 25
    # Zeros count as a millionth.
    assert float(sparsity(kernel)) == pytest.approx(mean + 23 / 25 * 1e-6**0.2, rel=1e-4)
    mask = torch.zeros(5, 5)
    mask[4, 1], mask[0, 0] = 3.0, 7.0
    assert float(boundaries(-kernel, mask)) == pytest.approx(0.6 / 25)


def test_mask_is_zero_in_the_middle_and_grows_outwards() -> None:
    mask = boundary_mask(13)
    assert not mask[2:11, 2:11].any()
    assert torch.equal(mask, mask.T) and torch.equal(mask, mask.flip(0))
    assert float(mask[0, 0]) == pytest.approx(30 * (1 - 2.718281828 ** (-72 / 338)))
    assert float(mask[0, 6]) == pytest.approx(30 * (1 - 2.718281828 ** (-36 / 338)))
    assert float(mask.min()) >= 0
    assert boundary_mask(13, 3).shape == (13, 13, 13)


@pytest.mark.parametrize("name", ["one", "rim", "aside", "many"])
def test_gradients(name: str) -> None:
    torch.manual_seed(0)
    mask = boundary_mask(5).double()
    terms = {
        "one": sum_to_one,
        "rim": lambda k: boundaries(k, mask),
        "aside": off_centre,
        "many": sparsity,
    }
    kernel = (0.1 + torch.rand(5, 5, dtype=torch.double)).requires_grad_()
    assert torch.autograd.gradcheck(terms[name], kernel)


def test_sparsity_prefers_few_taps_and_has_a_slope_at_zero() -> None:
    spread, single = torch.full((5, 5), 0.04), torch.zeros(5, 5)
    single[2, 2] = 1.0
    assert sparsity(single) < sparsity(spread)
    kernel = torch.zeros(5, 5, requires_grad=True)
    sparsity(kernel).backward()
    assert torch.isfinite(kernel.grad).all()


def test_weights_by_hand() -> None:
    """Two steps near, one far, three near: decay from there on at every 200th step."""
    first = KernelWeights.first(SPEC)
    assert (first.bicubic, first.sum_to_one, first.boundaries) == (5.0, 0.5, 0.5)
    assert (first.centre, first.sparse) == (0.0, 0.0)
    losses = [0.3, 0.3, 0.5, 0.3, 0.3]
    assert not weights_after(losses, SPEC).decaying
    losses.append(0.39)
    assert weights_after(losses, SPEC).decaying
    losses += [0.6] * (199 - len(losses))
    assert weights_after(losses, SPEC).bicubic == 5.0
    losses.append(0.6)
    found = weights_after(losses, SPEC)
    assert found.bicubic == pytest.approx(0.05) and found.centre == found.sparse == 0.0
    found = weights_after(losses + [0.6] * 200, SPEC)
    assert found.bicubic == pytest.approx(5e-4)
    assert (found.centre, found.sparse) == (1.0, 5.0)
    assert weights_after(losses + [0.6] * 400, SPEC).bicubic == pytest.approx(5e-6)
    assert weights_after(losses + [0.6] * 2600, SPEC).bicubic == pytest.approx(5e-6)


def test_weights_stay_while_bicubic_is_far() -> None:
    assert weights_after([0.4] * 1000, SPEC) == KernelWeights.first(SPEC)


def test_total_is_the_weighted_sum() -> None:
    kernel = torch.rand(13, 13)
    mask, distance = boundary_mask(13), torch.tensor(0.25)
    early = kernel_terms(kernel, distance, KernelWeights.first(SPEC), mask)
    wanted = 5 * 0.25 + 0.5 * early.sum_to_one + 0.5 * early.boundaries
    assert float(early.total) == pytest.approx(float(wanted))
    late = kernel_terms(kernel, distance, weights_after([0.1] * 400, SPEC), mask)
    wanted = (
        5e-4 * 0.25 + 0.5 * late.sum_to_one + 0.5 * late.boundaries + late.centre + 5 * late.sparse
    )
    assert float(late.total) == pytest.approx(float(wanted), rel=1e-5)
