"""The downsampling GAN's networks: published sizes, one linear filter, what a judge sees."""

from __future__ import annotations

import pytest
import torch

from mriforge.errors import BadInput
from mriforge.networks.downsampling import Downsampler, PatchJudge, SeparableDownsampler, sobel
from mriforge.networks.registry import NETWORKS, build, count_parameters


def test_published_sizes() -> None:
    net = build("downsampler")
    assert net(torch.zeros(1, 1, 64, 64)).shape == (1, 1, 26, 26)
    assert net.taps == 13 and net.kernel().shape == (13, 13)
    assert count_parameters(net) == 150_656
    assert count_parameters(build("patch_judge")) == 30_977
    assert count_parameters(build("downsampler_1d")) == 41_472
    assert NETWORKS["downsampler_separable"].parameters == 150_656 + 41_472


@pytest.mark.parametrize(("dimensions", "shape"), [(1, (31,)), (2, (17, 20)), (3, (14, 13, 15))])
def test_one_filter_is_all_layers(dimensions: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = Downsampler(width=5, dimensions=dimensions).double()
    image = torch.randn(2, 1, *shape, dtype=torch.double)
    once, layered = net(image), net.layered(image)
    assert once.shape == layered.shape
    assert torch.allclose(once, layered, atol=1e-12)
    targets = torch.randn_like(once)
    slopes = [
        torch.autograd.grad((found * targets).sum(), list(net.parameters()))
        for found in (once, layered)
    ]
    for one, other in zip(*slopes, strict=True):
        assert torch.allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_kernel_is_the_response_to_an_impulse(dimensions: int) -> None:
    torch.manual_seed(1)
    net = Downsampler(width=3, dimensions=dimensions, ratio=1).double()
    impulse = torch.zeros(1, 1, *[25] * dimensions, dtype=torch.double)
    impulse[(0, 0, *[12] * dimensions)] = 1
    assert torch.allclose(net.layered(impulse)[0, 0], net.kernel(), atol=1e-12)


def test_separable_kernel_is_the_response_to_an_impulse() -> None:
    torch.manual_seed(1)
    net = SeparableDownsampler(width=3, ratio=1).double()
    impulse = torch.zeros(1, 1, 25, 25, 25, dtype=torch.double)
    impulse[0, 0, 12, 12, 12] = 1
    found = net(impulse)[0, 0]
    assert torch.allclose(found, net.kernel(), atol=1e-12)
    assert torch.linalg.matrix_rank(net.kernel().flatten(1)) == 1


def test_separable_generator_steps_along_each_axis() -> None:
    net = SeparableDownsampler(width=2, ratio=(1, 2, 2))
    assert net(torch.zeros(1, 1, 15, 20, 17)).shape == (1, 1, 3, 4, 3)


def test_receptive_field_of_the_generator() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 1, 64, 64, requires_grad=True)
    build("downsampler").layered(image)[0, 0, 4, 7].backward()
    seen = image.grad[0, 0].nonzero()
    assert seen.min(0).values.tolist() == [8, 14]
    assert seen.max(0).values.tolist() == [8 + 12, 14 + 12]


def test_receptive_field_of_the_judge() -> None:
    """7 x 7 places of the three channels; the edges look one pixel farther."""
    torch.manual_seed(0)
    net = build("patch_judge").eval()
    channels = torch.rand(1, 3, 24, 24, requires_grad=True)
    answer = net.layers(channels)
    assert answer.shape == (1, 1, 18, 18)
    answer[0, 0, 5, 6].backward()
    seen = channels.grad[0].abs().sum(0).nonzero()
    assert seen.min(0).values.tolist() == [5, 6]
    assert seen.max(0).values.tolist() == [11, 12]
    answers = net(torch.rand(2, 1, 26, 26)).detach()
    assert answers.shape == (2, 1, 18, 18)
    assert float(answers.min()) > 0 and float(answers.max()) < 1


def test_sobel_is_that_of_the_paper() -> None:
    across, down = sobel(2)[:, 0]
    assert across.tolist() == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    assert torch.equal(down, across.T)
    assert sobel(3).shape == (3, 1, 3, 3, 3)
    ramp = torch.arange(8.0).expand(1, 1, 6, 8)
    net = PatchJudge(width=2, inner=1, reach=1)
    image, x, y = net.channels(ramp)[0]
    assert torch.equal(image, ramp[0, 0, 1:-1, 1:-1])
    assert torch.equal(x, torch.full((4, 6), 8.0)) and not y.any()


def test_judge_in_three_dimensions() -> None:
    net = PatchJudge(width=4, inner=2, reach=3, dimensions=3)
    assert net(torch.rand(1, 1, 9, 10, 11)).shape == (1, 1, 5, 6, 7)


def test_every_layer_of_the_judge_is_normalised() -> None:
    net = PatchJudge(width=4)
    layers = [part for part in net.layers if isinstance(part, torch.nn.Conv2d)]
    assert len(layers) == 7
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original.mul_(50)
    net.train()
    for _ in range(30):
        net(torch.rand(1, 1, 12, 12))
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert float(norm) == pytest.approx(1.0, abs=0.05)


def test_gradients() -> None:
    torch.manual_seed(0)
    net = Downsampler(width=2, sizes=(3, 1, 1)).double()
    image = torch.rand(1, 1, 6, 7, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(net, image)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sizes": (4, 3)}, "no middle"),
        ({"sizes": (3,)}, "no middle"),
        ({"ratio": (2, 2, 2)}, "2 ratios"),
        ({"dimensions": 4}, "4 dimensions"),
    ],
)
def test_what_cannot_be_built(options: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        build("downsampler", **options)
