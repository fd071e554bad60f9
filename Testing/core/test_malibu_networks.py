"""MALIBU: networks by their published sizes, scales of feature maps, recipes and their variants."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mriforge.errors import BadInput
from mriforge.losses.weights import WeightPenalty
from mriforge.networks.feature_maps import Scaling, to_factors, to_maps
from mriforge.networks.mdcn import Mdcn
from mriforge.networks.registry import NETWORKS, build
from mriforge.recipes import load_recipe, parse_recipe, variant_names
from mriforge.recipes.schema import LossSpec

RECIPES = ("mdcn", "mdcn_small", "recon_denseunet", "recon_denseunet_small")


def random_factors(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


def test_sizes_of_the_dissertation() -> None:
    """About 23 million for mDCN, and DenseUnet is the larger one."""
    assert NETWORKS["mdcn"].parameters == 23_042_112
    assert NETWORKS["recon_denseunet"].parameters == 26_825_280


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("shape", [(16, 16), (13, 22)])
@pytest.mark.parametrize("rank", [3, 8])
def test_any_rank_and_size(name: str, shape: tuple[int, int], rank: int) -> None:
    network = build(name, rank=rank, growth=4)
    assert network(torch.rand(2, 2 * rank, *shape)).shape == (2, 2 * rank, *shape)


@pytest.mark.parametrize("name", ["mdcn_small", "recon_denseunet_small"])
def test_a_residual_network_starts_as_its_input_and_learns_everywhere(name: str) -> None:
    network = build(name, rank=4, growth=4, residual=True)
    maps = torch.rand(1, 8, 16, 16)
    assert torch.equal(network(maps), maps)
    nn.init.normal_(network.head.weight)
    network(maps).square().mean().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in network.parameters())


@pytest.mark.parametrize("dilations", [(1, 1, 1, 1), (1, 2, 4, 1), (1, 4, 8, 1)])
def test_dilation_sets_how_far_a_pixel_sees(dilations: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = Mdcn(rank=1, growth=2, blocks=2, dilations=dilations)
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.1, 0.2)
    reach = 1 + 2 * sum(dilations)
    maps = torch.rand(1, 2, 1, 2 * reach + 9, requires_grad=True)
    middle = reach + 4
    network(maps)[..., middle].sum().backward()
    seen = maps.grad[0, :, 0].abs().sum(0).nonzero().flatten()
    assert (int(seen.min()), int(seen.max())) == (middle - reach, middle + reach)


def test_real_maps_and_back() -> None:
    factors = random_factors(2, 3, 5, 4)
    maps = to_maps(factors)
    assert maps.shape == (2, 6, 5, 4)
    assert torch.equal(maps[:, :3], factors.real) and torch.equal(to_factors(maps), factors)


@pytest.mark.parametrize("kind", ["instance", "component"])
def test_scaling_normalises_and_is_undone(kind: str) -> None:
    sizes = torch.tensor([100.0, 3.0, 0.01])[:, None, None]
    maps = to_maps(random_factors(2, 3, 32, 32) * sizes + 2 * sizes)
    scaling = Scaling.of(maps, kind)
    normalised = scaling.normalise(maps)
    assert torch.allclose(scaling.restore(normalised), maps, rtol=1e-4, atol=1e-4)
    if kind == "instance":
        assert float(normalised.mean()) == pytest.approx(0, abs=1e-5)
        assert float(normalised[0].std(correction=0)) == pytest.approx(1, rel=1e-5)
    else:
        power = to_factors(normalised).abs().square().mean((2, 3)) / 2
        assert torch.allclose(power, torch.ones_like(power), rtol=1e-4)


@pytest.mark.parametrize("kind", ["instance", "component"])
def test_a_lost_scale_is_found_from_noisy_maps(kind: str) -> None:
    truth = to_maps(random_factors(1, 3, 64, 64))
    own = Scaling.of(5 * truth + (0.5 if kind == "instance" else 0), kind)
    maps = own.restore(truth)
    noise = 0.5 * float(own.scale.mean()) * to_maps(random_factors(1, 3, 64, 64, seed=1))
    found = Scaling.fitted(truth, maps + noise, kind).restore(truth)
    assert float((found - maps).norm() / maps.norm()) < 0.02


def test_a_penalty_counts_weights_not_biases() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1))
    for parameter in model.parameters():
        nn.init.constant_(parameter, 3.0)
    spec = LossSpec(l1=1.0, weight_l1=0.1, weight_l2=0.01, weight_sum="all")
    penalty = WeightPenalty(lambda output, target, given: output.sum(), model, spec)
    by_hand = 4 * (0.1 * 3 + 0.01 * 9 / 2)
    assert penalty.penalty().item() == pytest.approx(by_hand)
    assert penalty(torch.ones(2), None).item() == pytest.approx(2 + by_hand)
    layers = WeightPenalty(lambda *_: 0.0, model, LossSpec(weight_l1=0.1, weight_l2=0.01))
    assert layers.penalty().item() == pytest.approx(by_hand / 2)
    assert not list(penalty.parameters())
    penalty.penalty().backward()
    assert model[0].bias.grad is None
    assert torch.allclose(model[0].weight.grad, torch.full_like(model[0].weight, 0.1 + 0.03))


def test_published_values() -> None:
    for name in ("mdcn", "recon_denseunet"):
        recipe = load_recipe(name)
        assert recipe.task == "factors" and recipe.training.steps == 300_000
        assert (recipe.optimiser.name, recipe.optimiser.lr) == ("adam", 1e-4)
        assert (recipe.loss.l1, recipe.loss.weight_l1, recipe.loss.weight_l2) == (1, 0.01, 0.01)
        assert (recipe.factors.labels, recipe.factors.normalise) == ("iterative", "instance")
        assert recipe.factors.label_scale == "own"
    assert load_recipe("mdcn").network.options["dilations"] == [1, 4, 8, 1]


@pytest.mark.parametrize("name", RECIPES)
def test_variants_are_the_ablations_of_the_tables(name: str) -> None:
    plain, known = load_recipe(name), variant_names(name)
    assert known
    scales = {plain.loss.weight_l1}
    dilations = {tuple(plain.network.options.get("dilations", ()))}
    for variant in known:
        recipe = load_recipe(f"{name}:{variant}")
        assert recipe.name == f"{name}_{variant}"
        same = {**recipe.as_dict(), "name": 0, "loss": 0, "network": 0}
        assert same == {**plain.as_dict(), "name": 0, "loss": 0, "network": 0}
        assert recipe.loss.weight_l1 == recipe.loss.weight_l2
        scales.add(recipe.loss.weight_l1)
        dilations.add(tuple(recipe.network.options.get("dilations", ())))
    assert scales == {0.0, 0.001, 0.01}
    if name.startswith("mdcn"):
        assert dilations == {(1, 1, 1, 1), (1, 2, 4, 1), (1, 4, 8, 1)}


TEXT = """
name = "x"
[network]
name = "mdcn_small"
[network.options]
rank = 8
growth = 4
[variants.wide.network.options]
growth = 8
"""


def test_a_variant_changes_only_what_it_names(tmp_path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TEXT, encoding="utf-8")
    assert load_recipe(f"{file}:wide").network.options == {"rank": 8, "growth": 8}
    assert load_recipe(file).network.options == {"rank": 8, "growth": 4}
    with pytest.raises(BadInput, match="no variant 'tall'") as caught:
        load_recipe(f"{file}:tall")
    assert "wide" in caught.value.hint


def test_a_mistake_in_a_variant_is_found_even_when_another_is_asked_for() -> None:
    with pytest.raises(BadInput, match=r"loss\.l9"):
        parse_recipe(TEXT + "\n[variants.bad.loss]\nl9 = 1.0\n")
    with pytest.raises(BadInput, match="variants"):
        parse_recipe('name = "x"\nvariants = 3\n[network]\nname = "mdcn"\n')


def test_the_published_schedule_has_no_end_but_its_steps() -> None:
    assert math.isclose(load_recipe("mdcn").training.max_minutes, 0.0)
