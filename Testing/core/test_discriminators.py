"""Discriminators: sizes, scores, parameter sets, and second derivatives for gradient penalties."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradgradcheck

from mriforge.errors import BadInput
from mriforge.networks.normalisation import NORMALISATIONS
from mriforge.networks.registry import NETWORKS, build

SMALL = {
    "srgan_d3d": {"patch": (8, 16, 18), "width": 2, "dense": 5},
    "dragan_d3d": {"patch": (8, 16, 18), "width": 2, "dense": 5},
    "cpce_d": {"patch": 20, "width": 2, "dense": 5},
    "circle_d": {"patch": (18, 20), "width": 2, "dense": 5},
}
SHAPES = {
    "srgan_d3d": (8, 16, 18),
    "dragan_d3d": (8, 16, 18),
    "cpce_d": (1, 20, 20),
    "circle_d": (1, 18, 20),
}


def small(name: str, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name, **{**SMALL[name], **options})


def penalty(critic: torch.nn.Module, image: Tensor) -> Tensor:
    """What WGAN-GP adds: how far the slope of each score is from one."""
    image = image.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(image).sum(), image, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def test_counts_of_the_papers() -> None:
    """28.2 million at 40^3 and 17.92 million at 64^2."""
    assert NETWORKS["srgan_d3d"].parameters == 28_210_369
    assert NETWORKS["cpce_d"].parameters == 17_923_521
    assert NETWORKS["circle_d"].parameters == 36_312_769
    assert NETWORKS["dragan_d3d"].parameters == 132_189_890


@pytest.mark.parametrize("name", sorted(SMALL))
def test_one_score_for_each_patch(name: str) -> None:
    net = small(name)
    images = torch.randn(3, 1, *SHAPES[name])
    scores = net(images)
    assert scores.shape == (3, 1)
    for index in range(3):  # of that patch alone
        assert torch.allclose(net(images[index : index + 1]), scores[index : index + 1], atol=1e-5)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_published_patches(name: str) -> None:
    with torch.device("meta"):
        net = build(name)
        image = torch.empty(2, 1, *((1,) if len(net.patch) == 2 else ()), *net.patch)
        assert net(image).shape == (2, 1)


@pytest.mark.parametrize("name", ["cpce_d", "circle_d"])
def test_slices_are_judged_one_by_one(name: str) -> None:
    net = small(name)
    volume = torch.randn(2, 1, 3, *SHAPES[name][1:])
    scores = net(volume)
    assert scores.shape == (6, 1)
    assert torch.allclose(scores[4:5], net(volume[1:, :, 1:2]), atol=1e-5)
    assert small(name, patch=SHAPES[name]).patch == SHAPES[name][1:]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_scores_have_no_limits(name: str) -> None:
    """No sigmoid at the end: the last layer is linear."""
    net = small(name)
    image = torch.randn(2, 1, *SHAPES[name])
    last = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    last = last[1]  # of the image discriminator
    with torch.no_grad():
        last.bias.fill_(0.0)
        once = net(image)
        last.weight.mul_(1000.0)
        assert torch.allclose(net(image), 1000.0 * once, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("kind", ["none", "layer", "instance"])
def test_gradient_penalty_reaches_the_weights(name: str, kind: str) -> None:
    patch = (32, 32, 32) if name.endswith("3d") else 32  # instances of more than one voxel
    net = small(name, normalisation=kind, patch=patch).double()
    shape = (32, 32, 32) if name.endswith("3d") else (1, 32, 32)
    image = torch.randn(1, 1, *shape, dtype=torch.double)
    weight = next(iter(net.parameters()))
    penalty(net, image).backward()
    step = 1e-8 * torch.sign(weight.grad)  # so short that no leaky ReLU turns
    slope = float((weight.grad * step).sum())
    with torch.no_grad():
        weight += step
    up = float(penalty(net, image).detach())
    with torch.no_grad():
        weight -= 2 * step
    down = float(penalty(net, image).detach())
    assert slope > 0
    assert (up - down) / 2 == pytest.approx(slope, rel=1e-2)


@pytest.mark.parametrize("kind", ["none", "layer", "instance"])
def test_second_derivatives(kind: str) -> None:
    """Of one stage, convolution to leaky ReLU, in double precision."""
    torch.manual_seed(3)
    net = build("srgan_d3d", patch=8, width=1, dense=2, normalisation=kind).double()
    stage = net.body[2:5]  # a convolution with stride 2, normalised
    image = torch.randn(1, 1, 4, 4, 4, dtype=torch.double, requires_grad=True)
    weights = [p.detach().clone().requires_grad_() for p in stage.parameters()]
    names = [name for name, _ in stage.named_parameters()]

    def applied(image: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(stage, dict(zip(names, weights, strict=True)), (image,))

    assert gradgradcheck(applied, (image, *weights))


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_normalisations(kind: str) -> None:
    net = build("srgan_d3d", patch=(32, 32, 34), width=2, dense=4, normalisation=kind)
    first = next(iter(net.body))
    assert isinstance(first, torch.nn.Conv3d)
    assert isinstance(net.body[1], torch.nn.LeakyReLU)  # the first is not normalised
    assert net(torch.randn(2, 1, 32, 32, 34)).isfinite().all()


def test_layer_normalisation_keeps_patches_apart() -> None:
    net = small("srgan_d3d")
    image = torch.randn(2, 1, *SHAPES["srgan_d3d"], requires_grad=True)
    net(image)[0].sum().backward()
    assert image.grad[0].abs().sum() > 0
    assert image.grad[1].abs().sum() == 0


def test_parameters_of_both_discriminators_are_apart_and_all() -> None:
    net = small("dragan_d3d")
    of_image, of_domain = list(net.image_parameters()), list(net.domain_parameters())
    images, domains = {id(p) for p in of_image}, {id(p) for p in of_domain}
    assert len(of_image) == len(images) and len(of_domain) == len(domains)
    assert not images & domains
    assert images | domains == {id(p) for p in net.parameters()}


def test_feature_discriminator_has_the_layout_of_the_rest() -> None:
    net = small("dragan_d3d")
    shapes = [[p.shape for p in end.parameters()] for end in (net.image_end, net.domain_end)]
    assert shapes[0] == shapes[1]
    image = torch.randn(2, 1, *SHAPES["dragan_d3d"])
    maps = net.features(image)
    assert maps.shape == (2, 4, 2, 4, 5)  # behind the second stride
    assert net.domain(maps).shape == net.judge(maps).shape == (2, 1)
    assert torch.equal(net(image), net.judge(maps))
    assert not torch.equal(net.domain(maps), net.judge(maps))


def test_who_learns_from_which_score() -> None:
    net = small("dragan_d3d")
    image = torch.randn(1, 1, *SHAPES["dragan_d3d"])
    net(image).sum().backward()
    assert all(p.grad is not None for p in net.image_parameters())
    assert all(p.grad is None for p in net.domain_parameters())
    net.zero_grad()
    net.domain(net.features(image)).sum().backward()
    assert all(p.grad is not None for p in net.trunk.parameters())
    assert all(p.grad is None for p in net.image_end.parameters())


@pytest.mark.parametrize("name", sorted(SMALL))
def test_other_sizes_are_refused(name: str) -> None:
    shape = SHAPES[name]
    with pytest.raises(BadInput, match="judges patches of"):
        small(name)(torch.randn(1, 1, *shape[:-1], shape[-1] + 1))
    with pytest.raises(BadInput, match="cannot judge patches of the size"):
        build(name, patch=4)
