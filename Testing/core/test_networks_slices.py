"""Networks for thick slices: counts by hand, shapes, where they start, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mriforge.networks.edsr import Edsr, SmoreEdsr
from mriforge.networks.rcan import SmoreRcan
from mriforge.networks.rdn import Rdn, SliceDiscriminator, TscNet
from mriforge.networks.registry import NETWORKS, build, count_parameters
from mriforge.networks.vae2d import Vae2d


def conv(before: int, after: int, size: int = 9, bias: bool = True) -> int:
    return before * after * size + (after if bias else 0)


def rdn_count(channels_in: int, channels_out: int, w: int, g: int, blocks: int, layers: int) -> int:
    block = sum(conv(w + g * i, g) for i in range(layers)) + conv(w + g * layers, w, 1)
    ends = conv(channels_in, w) + conv(w, w) + conv(w, channels_out)
    return ends + blocks * block + conv(w * blocks, w, 1) + conv(w, w)


def all_get_gradients(model: nn.Module, output: torch.Tensor) -> bool:
    model.zero_grad()
    output.square().sum().backward()
    return all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_published_counts() -> None:
    assert NETWORKS["edsr"].parameters == 1_367_553  # one channel, factor 2
    assert NETWORKS["smore"].parameters == 1_367_553 - conv(64, 256)
    assert NETWORKS["smore_rcan"].parameters == 1_302_465 + 4 * conv(64, 64)
    assert NETWORKS["tscnet"].parameters == 2 * 1_857_536 + 1_894_337
    assert NETWORKS["vae2d"].parameters == 16_632 + 17_521


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_edsr_counts_and_shapes(factor: int) -> None:
    net = Edsr(width=8, blocks=2, factor=factor)
    up = {1: 0, 2: conv(8, 32), 3: conv(8, 72), 4: 2 * conv(8, 32)}[factor]
    assert count_parameters(net) == conv(1, 8) + 5 * conv(8, 8) + up + conv(8, 1)
    image = torch.rand(2, 1, 7, 10)
    output = net(image)
    assert output.shape == (2, 1, 7 * factor, 10 * factor)
    assert all_get_gradients(net, output)


def test_edsr_scales_what_its_blocks_find() -> None:
    net, image = Edsr(width=4, blocks=3, factor=1, res_scale=0.0), torch.rand(1, 1, 6, 6)
    features = net.head(image)
    assert torch.equal(net.body[:3](features), features)
    with pytest.raises(ValueError, match="power of two"):
        Edsr(factor=5)


@pytest.mark.parametrize("residual", [False, True])
def test_smore_works_on_interpolated_rows(residual: bool) -> None:
    net = SmoreEdsr(width=8, blocks=2, residual=residual)
    assert net.pieces == 0
    cubic = torch.rand(2, 1, 13, 9)
    output = net(torch.rand(2, 1, 4, 9), cubic, None)
    assert output.shape == cubic.shape
    assert torch.equal(output, cubic) == residual
    if residual:
        nn.init.normal_(net.tail.weight)
    assert all_get_gradients(net, net(None, cubic))


@pytest.mark.parametrize("pieces", [1, 4, 7])
def test_rcan_counts_and_shapes(pieces: int) -> None:
    net = SmoreRcan(width=16, groups=2, blocks=3, reduction=8, pieces=pieces)
    attention = conv(16, 2, 1) + conv(2, 16, 1)
    group = 3 * (2 * conv(16, 16) + attention) + conv(16, 16)
    ends = conv(1, 16) + conv(16, 16) + conv(16, 16 * pieces) + conv(16, 1, 1)
    assert count_parameters(net) == 2 * group + ends
    low = torch.rand(2, 1, 5, 9)
    assert net(low).shape == (2, 1, 5 * pieces, 9)
    to_fine = torch.rand(11, 5 * pieces)
    output = net(low, None, to_fine)
    assert output.shape == (2, 1, 11, 9)
    assert torch.allclose(output, to_fine @ net(low), atol=1e-5)


def test_rcan_at_the_published_size_with_other_pieces() -> None:
    assert count_parameters(build("smore_rcan", pieces=6)) == 1_302_465 + 6 * conv(64, 64)
    with pytest.raises(ValueError, match="pieces"):
        SmoreRcan(pieces=0)


def test_rcan_shuffles_along_the_slice_axis_only() -> None:
    net = SmoreRcan(width=4, groups=1, blocks=1, reduction=2, pieces=3)
    features = torch.rand(2, 12, 5, 7)
    fine = net._shuffled(features)
    assert fine.shape == (2, 4, 15, 7)
    for channel in range(4):
        for piece in range(3):
            assert torch.equal(fine[:, channel, piece::3], features[:, 3 * channel + piece])


def test_rcan_with_a_residual_path_starts_at_the_interpolation() -> None:
    net = SmoreRcan(width=8, groups=2, blocks=2, reduction=4, pieces=3, residual=True)
    low, cubic = torch.rand(2, 1, 4, 6), torch.rand(2, 1, 12, 6)
    assert torch.equal(net(low, cubic), cubic)
    nn.init.normal_(net.tail.weight)
    # An attention of few channels may start with all of them closed.
    nn.init.ones_(net.body[0].blocks[0].attention.squeeze.bias)
    net(low, cubic).square().sum().backward()
    assert net.head.weight.grad.abs().sum() > 0


def test_rdn_and_tscnet_counts() -> None:
    sizes = (6, 5, 2, 3)
    assert count_parameters(Rdn(1, 4, *sizes)) == rdn_count(1, 4, *sizes)
    encoder, last = rdn_count(1, 6, *sizes), rdn_count(12, 1, *sizes)
    assert count_parameters(TscNet(*sizes)) == 2 * encoder + last
    assert rdn_count(1, 64, 64, 64, 3, 5) == 1_857_536
    assert rdn_count(128, 1, 64, 64, 3, 5) == 1_894_337


@pytest.mark.parametrize("residual", [False, True])
def test_tscnet_makes_one_slice_of_two(residual: bool) -> None:
    net = TscNet(8, 8, 2, 2, residual=residual)
    pair = torch.rand(3, 2, 9, 14)
    output = net(pair)
    assert output.shape == (3, 1, 9, 14)
    assert torch.equal(output, pair.mean(1, keepdim=True)) == residual
    if residual:
        nn.init.normal_(net.between.last.weight)
    assert all_get_gradients(net, net(pair))


def test_tscnet_encoders_do_not_share_weights() -> None:
    net = TscNet(4, 4, 1, 1)
    pair = torch.rand(1, 2, 6, 6)
    assert not torch.allclose(net(pair), net(pair.flip(1)))


@pytest.mark.parametrize("size", [(32, 32), (37, 50), (16, 5)])
def test_discriminator(size: tuple[int, int]) -> None:
    net = SliceDiscriminator(size, width=4)
    output = net(torch.rand(3, 1, *size))
    assert output.shape == (3, 1)
    assert all_get_gradients(net, output)


def test_discriminator_counts_at_the_published_width() -> None:
    net = SliceDiscriminator((64, 64))
    assert count_parameters(net.features) == 4_686_080
    assert count_parameters(net.judge) == 512 * 4 * 4 * 1024 + 1024 + 1024 + 1
    # 256x256 slices leave 16x16 samples.
    assert 512 * 16 * 16 * 1024 + 1024 + 1024 + 1 == 134_219_777


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("size", [(16, 24), (13, 10)])
def test_auto_encoder_keeps_the_size(levels: int, size: tuple[int, int]) -> None:
    net = Vae2d(width=4, levels=levels, latent=3)
    slices = torch.rand(2, 1, *size)
    again, divergence = net(slices)
    assert again.shape == slices.shape and divergence.shape == () and divergence > 0
    assert net.encode(slices)[0].shape == (2, 3, *(-(-n // 2**levels) for n in size))
    net.zero_grad()
    ((again - slices).square().mean() + divergence).backward()
    # A ReLU may be closed for good in a network this narrow, a whole convolution may not.
    assert all(p.grad is not None for p in net.parameters())
    assert net.down[0][0].weight.grad.abs().sum() > 0


def test_between_two_slices() -> None:
    net = Vae2d(width=4, levels=1, latent=3)
    first, second = torch.rand(2, 1, 8, 9), torch.rand(2, 1, 8, 9)
    middle = net.between(first, second, 0.5)
    assert torch.allclose(middle, net.between(second, first, 0.5), atol=1e-6)
    ends = net.between(first, second, torch.tensor([0.0, 1.0]))
    assert torch.allclose(ends[:1], net.decode(net.encode(first)[0], (8, 9))[:1], atol=1e-6)
    assert torch.allclose(ends[1:], net.decode(net.encode(second)[0], (8, 9))[1:], atol=1e-6)


def test_divergence_is_that_of_the_definition() -> None:
    net = Vae2d(width=4, levels=1, latent=2)
    slices = torch.rand(2, 1, 6, 6)
    mean, log_variance = net.encode(slices)
    latents = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    standard = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(latents, standard).sum() / slices.numel()
    assert torch.allclose(net(slices)[1], expected, rtol=1e-4)
