"""Networks: parameter counts of the papers, shapes, what a voxel sees."""

from __future__ import annotations

import pytest
import torch

from mriforge.errors import BadInput
from mriforge.networks.perceptual import PerceptualNet
from mriforge.networks.registry import NETWORKS, build, count_parameters, describe
from mriforge.networks.unet3d import UNet3d


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_parameter_counts_are_those_of_the_table(name: str) -> None:
    with torch.device("meta"):  # some would take gigabytes
        assert count_parameters(build(name)) == NETWORKS[name].parameters


def test_published_counts() -> None:
    assert NETWORKS["unet3d"].parameters == 5_418_177
    assert NETWORKS["unet3d_small"].parameters == 339_249
    assert NETWORKS["pln"].parameters == 3_432_768


def test_description_is_plain_data() -> None:
    entries = {entry["name"]: entry for entry in describe()}
    assert entries["unet3d"]["parameters"] == 5_418_177
    assert "Sarasaen" in entries["unet3d"]["source"]


def test_unknown_network_and_option_are_refused() -> None:
    with pytest.raises(BadInput, match="no network"):
        build("unet9d")
    with pytest.raises(BadInput, match="no option 'wdth'"):
        build("unet3d", wdth=3)


@pytest.mark.parametrize("up_mode", ["transposed", "upsample"])
@pytest.mark.parametrize("shape", [(8, 12, 16), (5, 7, 9), (4, 4, 4)])
def test_unet_keeps_the_size(up_mode: str, shape: tuple[int, ...]) -> None:
    net = build("unet3d", width=4, up_mode=up_mode)
    assert net(torch.rand(2, 1, *shape)).shape == (2, 1, *shape)


def test_residual_unet_starts_as_identity() -> None:
    image = torch.rand(1, 1, 8, 8, 8)
    assert torch.equal(build("unet3d_small", residual=True)(image), image)


@pytest.mark.parametrize("up_mode", ["transposed", "upsample"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_halo_covers_what_a_voxel_sees_and_little_more(up_mode: str, depth: int) -> None:
    torch.manual_seed(0)
    net = UNet3d(width=2, depth=depth, up_mode=up_mode)
    for parameter in net.parameters():  # nothing cancels and no ReLU closes
        torch.nn.init.uniform_(parameter, 0.1, 0.2)
    m, halo = net.multiple, net.halo
    start = halo + m
    image = torch.rand(1, 1, 4 * m, 4 * m, start + m + halo + m, requires_grad=True)
    net(image)[..., start : start + m].sum().backward()
    seen = image.grad[0, 0].abs().sum((0, 1)).nonzero().flatten()
    left, right = start - int(seen.min()), int(seen.max()) - (start + m - 1)
    assert max(left, right) <= halo < max(left, right) + m


@pytest.mark.parametrize("shape", [(8, 12, 16), (1, 9, 10), (24, 24, 24)])
def test_perceptual_features(shape: tuple[int, ...]) -> None:
    net = build("pln", width=4)
    found = net.features(torch.rand(1, 1, *shape))
    assert [f.shape[1] for f in found] == [4, 8, 16]
    assert found[0].shape[2:] == shape


def test_perceptual_head_trains_every_level_and_comes_off() -> None:
    torch.manual_seed(0)
    net = PerceptualNet(width=4, classes=3)
    image = torch.rand(2, 1, 8, 9, 12)
    logits = net(image)
    assert logits.shape == (2, 3, 8, 9, 12)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.down[2][0].parameters())
    net.eval()
    bare = net.without_head()
    assert not bare.heads
    assert not bare.training
    for a, b in zip(net.features(image), bare.features(image), strict=True):
        assert torch.equal(a, b)
