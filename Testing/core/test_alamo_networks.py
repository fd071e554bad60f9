"""ALAMO's networks: parameters of table 7-1, shapes, heads, normalisation, a start that trains."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mriforge.errors import BadInput
from mriforge.networks.alamo import DenseUnet
from mriforge.networks.registry import NETWORKS, build, count_parameters
from mriforge.networks.unet2d import NORMALISATIONS

PUBLISHED = {  # table 7-1
    "denseunet_k24": 1.55e6,
    "denseunet_k32": 2.74e6,
    "denseunet_k48": 6.12e6,
    "denseunet_k64": 10.83e6,
    "plainunet_f64": 229e6,
    "plainunet_f80": 358e6,
    "plainunet_f96": 515e6,
}


def tiny(**options):
    """A DenseUnet of two growing maps and four slices."""
    return build(
        "denseunet_small", **{"growth": 2, "slices": 4, "normalisation": "none", **options}
    )


@pytest.mark.parametrize("normalisation", ["none", "batch"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_table_7_1(name: str, normalisation: str) -> None:
    with torch.device("meta"):  # the largest would take two gigabytes
        count = count_parameters(build(name, normalisation=normalisation))
    assert count == pytest.approx(PUBLISHED[name], rel=0.01)
    if normalisation == "none":
        assert count == NETWORKS[name].parameters


@pytest.mark.parametrize("name", ["denseunet_small", "plainunet_f64"])
@pytest.mark.parametrize("size", [(64, 96), (33, 130), (20, 7), (1, 1)])
def test_any_size_comes_back(name: str, size: tuple[int, int]) -> None:
    width = {"growth": 2} if name.startswith("dense") else {"width": 2}
    net = build(name, slices=3, deep_supervision=True, **width)
    slab = torch.randn(2, 3, *size)
    found = net.train()(slab)
    assert [part.shape for part in found] == [
        (2, 33, *(-(-n // 2**level) for n in size)) for level in range(5)
    ]
    assert net.eval()(slab).shape == (2, 33, *size)


def test_without_deep_supervision_training_gives_one_answer() -> None:
    net = tiny()
    assert [part.shape for part in net.train()(torch.randn(1, 4, 64, 64))] == [(1, 44, 64, 64)]


def test_the_answer_is_that_of_the_finest_head_and_the_others_come_off() -> None:
    torch.manual_seed(0)
    net = tiny(deep_supervision=True).eval()
    called: list[int] = []
    for number, head in enumerate(net.heads):
        head.register_forward_hook(lambda *_, number=number: called.append(number))
    slab = torch.randn(1, 4, 70, 64)
    found = net(slab)
    assert called == [0]  # the others cost nothing at inference
    bare = net.without_auxiliary()
    assert torch.equal(bare(slab), found)
    assert count_parameters(bare) == count_parameters(tiny())
    assert torch.equal(net.train()(slab)[0], found)


def test_filling_up_does_not_move_anything() -> None:
    """Repeating the edges outside is the same as doing so inside."""
    torch.manual_seed(0)
    net = tiny().eval()
    slab = torch.randn(1, 4, 90, 70)
    whole = functional.pad(slab, (0, 26, 0, 6), mode="replicate")
    assert torch.equal(net(whole)[..., :90, :70], net(slab))


def test_classes_come_before_slices() -> None:
    """The score of class c in slice s is channel ``c * slices + s``."""
    net = tiny(classes=3).eval()
    with torch.no_grad():
        net.heads[0].weight.zero_()
        net.heads[0].bias.copy_(torch.arange(12.0))
        found = net(torch.randn(1, 4, 64, 64)).view(1, 3, 4, 64, 64)
    assert found[0, 2, 1].unique().tolist() == [9.0]


@pytest.mark.parametrize("name", ["denseunet_small", "plainunet_f64"])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_a_fresh_network_keeps_the_scale(name: str, normalisation: str) -> None:
    torch.manual_seed(0)
    width = {} if name.startswith("dense") else {"width": 8}
    net = build(name, normalisation=normalisation, slices=20, deep_supervision=True, **width)
    with torch.no_grad():
        found = net(torch.randn(1, 20, 64, 96))
    assert all(0.1 < float(part.std()) < 3 for part in found)


@pytest.mark.parametrize(
    ("normalisation", "remembers"), [("batch", True), ("batch_train", False), ("none", False)]
)
def test_statistics_at_inference(normalisation: str, remembers: bool) -> None:
    """Of the training, or of what is being looked at: twice the contrast changes nothing then."""
    torch.manual_seed(0)
    net = tiny(normalisation=normalisation)
    slab = torch.randn(1, 4, 64, 64)
    with torch.no_grad():
        net.first.bias.zero_()
        trained = net.train()(slab)[0]
        once, twice = net.eval()(slab), net(2 * slab)
    assert any("running" in name for name, _ in net.named_buffers()) is remembers
    if normalisation == "batch_train":
        assert torch.allclose(once, trained, atol=1e-5)
        assert torch.allclose(once, twice, atol=1e-2)
    elif normalisation == "batch":
        assert not torch.allclose(once, trained, atol=1e-2)


def test_levels_may_grow_differently() -> None:
    torch.manual_seed(0)
    model = DenseUnet(2, 3, (2, 3, 5), levels=3, layers=2, deep_supervision=True)
    found = model.train()(torch.rand(1, 2, 16, 24))
    assert [tuple(part.shape[1:]) for part in found] == [(6, 16, 24), (6, 8, 12)]
    assert [head.in_channels for head in model.heads] == [4, 6]
    one, each = DenseUnet(2, 3, 4, levels=3), DenseUnet(2, 3, (4, 4, 4), levels=3)
    assert [p.shape for p in one.parameters()] == [p.shape for p in each.parameters()]
    with pytest.raises(BadInput, match="3 levels"):
        DenseUnet(2, 3, (2, 3), levels=3)


def test_unknown_normalisation_is_refused() -> None:
    with pytest.raises(BadInput, match="no normalisation called 'bach'"):
        tiny(normalisation="bach")


@pytest.mark.parametrize("normalisation", ["none", "instance"])
def test_it_learns(normalisation: str) -> None:
    """One slab with bright and dark tissue, thirty steps."""
    torch.manual_seed(0)
    net = tiny(growth=6, normalisation=normalisation, deep_supervision=True)
    slab = functional.avg_pool2d(torch.randn(1, 4, 64, 64), 5, 1, 2) * 5
    labels = (slab > 0.3).long() + 2 * (slab < -0.5).long()
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        total = torch.zeros(())
        for level, scores in enumerate(net(slab)):
            scores = scores.view(1, 11, 4, *scores.shape[2:])
            total = total + functional.cross_entropy(scores, labels[..., :: 2**level, :: 2**level])
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(float(total.detach()) / 5)
    assert losses[0] < 4
    assert losses[-1] < 0.4 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.heads.parameters())
