"""Losses against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from mriforge.errors import BadInput
from mriforge.losses import build_loss
from mriforge.losses.perceptual import PerceptualLoss
from mriforge.losses.pixel import charbonnier
from mriforge.losses.segmentation import cross_entropy, soft_dice
from mriforge.networks.registry import build
from mriforge.recipes.schema import LossSpec


def test_pixel_terms_add_up() -> None:
    output, target = torch.zeros(1, 1, 2, 2, 2), torch.full((1, 1, 2, 2, 2), 0.5)
    loss = build_loss(LossSpec(l1=2.0, l2=4.0))
    assert float(loss(output, target)) == pytest.approx(2 * 0.5 + 4 * 0.25)
    assert float(charbonnier(output, output)) == pytest.approx(0.0, abs=1e-7)
    assert float(charbonnier(output, target)) == pytest.approx(0.5, abs=2e-3)


def test_balance_weighs_patches_by_the_error_of_their_input() -> None:
    target = torch.zeros(2, 1, 4, 4, 4)
    given = torch.cat([torch.full((1, 1, 4, 4, 4), e) for e in (0.5, 0.05)])
    loss = build_loss(LossSpec(l2=1.0, balance=True))
    assert loss(given, target, given).item() == pytest.approx(1.0, abs=5e-3)
    halves = [loss(given * torch.tensor(f).reshape(2, 1, 1, 1, 1), target, given).item()
              for f in ([0.5, 1.0], [1.0, 0.5])]  # fmt: skip
    assert halves[0] == pytest.approx(halves[1], rel=0.01)
    air = torch.zeros(2, 1, 4, 4, 4)
    assert loss(air + 1e-4, air, air).item() < 0.01


def test_no_term_is_refused() -> None:
    with pytest.raises(BadInput, match="zero"):
        build_loss(LossSpec())


def test_perceptual_is_the_sum_of_three_levels_and_frozen() -> None:
    torch.manual_seed(0)
    network = build("pln_small")
    loss = build_loss(LossSpec(perceptual=1.0), perceptual=network).train()
    output = torch.rand(2, 1, 8, 12, 12, requires_grad=True)
    target = torch.rand(2, 1, 8, 12, 12)
    before = {name: t.clone() for name, t in network.state_dict().items()}
    value = loss(output, target)
    value.backward()
    pairs = zip(network.features(output), network.features(target), strict=True)
    expected = sum((a - b).abs().mean() for a, b in pairs)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert float(output.grad.abs().sum()) > 0
    assert all(p.grad is None for p in network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert float(loss(target, target)) == 0.0


def test_levels_can_be_fewer() -> None:
    network = build("pln_small")
    one, three = PerceptualLoss(network, levels=1), PerceptualLoss(network)
    a, b = torch.rand(1, 1, 8, 8, 8), torch.rand(1, 1, 8, 8, 8)
    assert float(one(a, b)) < float(three(a, b))


def test_segmentation_terms() -> None:
    labels = torch.tensor([0, 1, 1, 2]).reshape(1, 1, 1, 2, 2)
    sure = torch.full((1, 3, 1, 2, 2), -50.0).scatter_(1, labels, 50.0)
    assert float(cross_entropy(sure, labels)) == pytest.approx(0.0, abs=1e-6)
    assert float(soft_dice(sure, labels)) == pytest.approx(0.0, abs=1e-5)
    wrong = torch.full((1, 3, 1, 2, 2), -50.0).scatter_(1, (labels + 1) % 3, 50.0)
    assert float(soft_dice(wrong, labels)) > 0.5
