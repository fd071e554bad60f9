"""Super-resolution networks of Chen 2021 and Lyu 2018: sizes, reach, both ways of computing."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mriforge.errors import BadInput
from mriforge.networks.by_slice import to_slices, to_volume
from mriforge.networks.dense3d import DenseUnit3d
from mriforge.networks.dense_inference import Workspace
from mriforge.networks.gan_circle import filters
from mriforge.networks.mdcsrn import Mdcsrn
from mriforge.networks.normalisation import NORMALISATIONS
from mriforge.networks.registry import NETWORKS, build, count_parameters
from mriforge.superres.cost import Cost
from mriforge.superres.inference import predict

TINY = {
    "dcsrn": {"growth": 4},
    "mdcsrn_b4u4": {"growth": 4, "blocks": 2, "units": 3, "normalisation": "batch"},
    "fsrcnn2d": {"features": 6, "shrunk": 3},
    "fsrcnn3d": {"features": 6, "shrunk": 3},
    "srresnet3d": {"width": 4, "blocks": 2},
    "srdensenet3d": {"growth": 3, "blocks": 2},
    "gan_cpce": {"width": 4},
    "gan_circle": {"width": 8, "narrowest": 4, "blocks": 4},
    "gan_circle_published": {"width": 8, "narrowest": 4, "blocks": 4},
}
OF_SLICES = ["fsrcnn2d", "gan_cpce", "gan_circle", "gan_circle_published"]
RESIDUAL = [name for name in TINY if not name.startswith("gan")]


def tiny(name: str, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name, **{**TINY[name], **options})


def shaken(net: torch.nn.Module) -> torch.nn.Module:
    """With scales, shifts and running statistics that are not those of a fresh network."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for name, buffer in net.named_buffers():
            if "running" in name:
                buffer += 0.2 * torch.rand_like(buffer)
    return net


def test_published_counts() -> None:
    counts = {name: entry.parameters for name, entry in NETWORKS.items()}
    assert counts["fsrcnn2d"] == 12_809 and counts["fsrcnn3d"] == 65_065
    assert round(counts["fsrcnn3d"] / counts["fsrcnn2d"]) == 5  # "5x", section 4.1
    assert counts["dcsrn"] == 223_729
    assert counts["mdcsrn_b4u4"] == 228_961
    assert counts["mdcsrn_b6u4"] == 353_761
    assert counts["mdcsrn_b8u4"] == 485_473
    assert counts["mdcsrn_b4u4_k16"] == 405_633
    assert counts["mdcsrn_b8u4_k16"] == 860_545
    assert counts["srresnet3d"] == 3_971_777
    assert counts["srdensenet3d"] == 346_369
    assert counts["gan_cpce"] == 62_016
    assert counts["gan_circle"] == 180_032
    assert counts["gan_circle_published"] == 611_418


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"reconstruction": True}, 261_481),
        ({"blocks": 1, "units": 12, "compressor": False, "reconstruction": True}, 244_897),
        ({"blocks": 1, "units": 16, "compressor": False, "reconstruction": True}, 349_537),
        ({"blocks": 4, "units": 4, "compressor": False, "reconstruction": True}, 349_537),
    ],
)
def test_ablations_of_mdcsrn(options: dict, count: int) -> None:
    assert count_parameters(build("mdcsrn_b4u4", **options)) == count


def test_text_of_table_4_1_holds() -> None:
    """Same units: fewer parameters than the original design; same size as 12 units of it."""
    ours = count_parameters(build("mdcsrn_b4u4", reconstruction=True))
    plain = {"blocks": 1, "compressor": False, "reconstruction": True}
    assert ours < 0.8 * count_parameters(build("mdcsrn_b4u4", units=16, **plain))
    assert abs(ours / count_parameters(build("mdcsrn_b4u4", units=12, **plain)) - 1) < 0.1
    direct = count_parameters(build("mdcsrn_b4u4"))
    assert 0.10 < 1 - direct / ours < 0.15  # "15 %"


def test_bottleneck_when_needed() -> None:
    assert [DenseUnit3d(n, 12, "none", True).squeezes for n in (24, 36, 48, 60)] == [
        False,
        False,
        False,
        True,
    ]
    assert not DenseUnit3d(60, 12, "none", False).squeezes


def test_small_head_of_dcsrn() -> None:
    assert count_parameters(build("dcsrn", head=1)) == 219_985
    with pytest.raises(ValueError, match="head"):
        build("dcsrn", head=2)


def test_filters_of_gan_circle() -> None:
    assert filters(64, 16, 12) == [64, 54, 48, 43, 39, 35, 31, 28, 25, 22, 18, 16]


@pytest.mark.parametrize("name", sorted(TINY))
@pytest.mark.parametrize("shape", [(9, 12, 10), (1, 11, 13)])
def test_the_size_stays(name: str, shape: tuple[int, ...]) -> None:
    net = tiny(name).eval()
    with torch.no_grad():
        assert net(torch.rand(2, 1, *shape)).shape == (2, 1, *shape)


@pytest.mark.parametrize("name", RESIDUAL)
def test_residual_networks_begin_as_their_input(name: str) -> None:
    image = torch.rand(1, 1, 3, 10, 12)
    assert torch.equal(tiny(name, residual=True)(image), image)


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_parameter_learns(name: str) -> None:
    net = tiny(name).train()
    torch.manual_seed(2)
    net(torch.rand(2, 1, 4, 12, 14)).square().mean().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", OF_SLICES)
def test_2d_networks_see_each_slice_alone(name: str) -> None:
    net = tiny(name).eval()
    volume = torch.rand(2, 1, 3, 12, 14)
    with torch.no_grad():
        whole = net(volume)
        for index in range(3):
            alone = net(volume[:, :, index : index + 1])
            assert torch.allclose(whole[:, :, index : index + 1], alone, atol=1e-6)


def test_slices_come_back_where_they_were() -> None:
    volume = torch.rand(2, 3, 4, 5, 6)
    assert torch.equal(to_slices(volume)[5], volume[1, :, 1])
    assert torch.equal(to_volume(to_slices(volume), 4), volume)


@pytest.mark.parametrize("name", sorted(TINY))
def test_halo_covers_what_a_voxel_sees_and_little_more(name: str) -> None:
    net = tiny(name).eval().double()
    for key, parameter in net.named_parameters():  # nothing cancels and no unit closes
        low = 0.1 if parameter.ndim > 1 or "bias" in key else 0.9
        torch.nn.init.uniform_(parameter, low, low + 0.1)
    halo, multiple = net.halo, getattr(net, "multiple", 1)
    start = -(-(halo + 3) // multiple) * multiple
    size = start + multiple + halo + 4
    image = torch.rand(1, 1, 1, 9 + size % 2, size + size % 2, dtype=torch.double)
    image = image.requires_grad_()
    net(image)[..., start : start + multiple].sum().backward()
    seen = image.grad.abs().sum((0, 1, 2, 3)).nonzero().flatten()
    left, right = start - int(seen.min()), int(seen.max()) - (start + multiple - 1)
    assert max(left, right) <= halo <= max(left, right) + 2 * (multiple - 1)


@pytest.mark.parametrize("kind", ["batch_train", "instance", "layer"])
@pytest.mark.parametrize("name", ["dcsrn", "mdcsrn_b4u4", "srresnet3d", "srdensenet3d"])
def test_no_tile_is_exact_where_statistics_are_of_the_tile(name: str, kind: str) -> None:
    assert tiny(name, normalisation=kind).halo is None


@pytest.mark.parametrize("kind", NORMALISATIONS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reconstruction": True},
        {"compressor": False},
        {"bottleneck": False, "residual": True, "blocks": 1},
    ],
    ids=str,
)
def test_both_ways_of_mdcsrn_agree(kind: str, options: dict) -> None:
    net = Mdcsrn(**{"growth": 4, "blocks": 3, "normalisation": kind, **options})
    net = shaken(net).eval()
    image = torch.randn(2, 1, 5, 6, 7)
    plain = net(image).detach()
    with torch.inference_mode():
        lean = net(image)
    assert torch.allclose(lean, plain, atol=1e-5 * float(plain.std()) + 1e-6, rtol=1e-5)
    assert lean.is_contiguous()


@pytest.mark.parametrize("kind", NORMALISATIONS)
@pytest.mark.parametrize("head", [1, 3])
def test_both_ways_of_dcsrn_agree(kind: str, head: int) -> None:
    net = shaken(tiny("dcsrn", normalisation=kind, head=head)).eval()
    image = torch.randn(2, 1, 5, 6, 7)
    plain = net(image).detach()
    with torch.no_grad():
        assert torch.allclose(net(image), plain, atol=1e-5 * float(plain.std()) + 1e-6, rtol=1e-5)


def test_lean_way_is_exact_in_double_precision() -> None:
    net = shaken(Mdcsrn(growth=3, normalisation="layer")).eval().double()
    image = torch.randn(1, 1, 6, 6, 6, dtype=torch.double)
    plain = net(image).detach()
    with torch.no_grad():
        assert torch.allclose(net(image), plain, atol=1e-12)


def test_lean_way_map_by_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout of graphics cards, on the CPU."""
    made = Workspace.__init__

    def as_on_a_card(self: Workspace, image: torch.Tensor, widest: int) -> None:
        made(self, image, widest)
        self.last, self.gain = False, 1.0

    monkeypatch.setattr(Workspace, "__init__", as_on_a_card)
    for kind in NORMALISATIONS:
        net = shaken(Mdcsrn(growth=4, blocks=3, normalisation=kind)).eval()
        image = torch.randn(2, 1, 5, 6, 7)
        plain = net(image).detach()
        with torch.no_grad():
            assert torch.allclose(net(image), plain, atol=1e-5 * float(plain.std()) + 1e-6)


def test_activation_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mriforge.networks.dense_inference._CHUNK", 50)
    image = torch.empty(2, 1, 3, 4, 5)
    work = Workspace(image, 7)
    maps = work.maps(9).copy_(4 * torch.randn(2, 9, 3, 4, 5))[:, :7]
    scale, shift = torch.randn(2, 7), torch.randn(2, 7)
    ends = (..., None, None, None)
    wanted = functional.elu(maps * scale[ends] + shift[ends])
    found = work.activated(maps, scale, shift, None) / work.gain
    assert torch.allclose(found, wanted, atol=1e-6)
    mean, variance = work.moments("batch_train", maps)
    assert torch.allclose(mean[0], maps.mean((0, 2, 3, 4)), atol=1e-6)
    assert torch.allclose(variance[0], maps.var((0, 2, 3, 4), correction=0), rtol=1e-5)


def test_very_large_activations_stay_finite() -> None:
    work = Workspace(torch.empty(1, 1, 1, 1, 4), 1)
    maps = work.maps(1).copy_(torch.tensor([-1e30, -200.0, 200.0, 1e30]).view(1, 1, 1, 1, 4))
    found = work.activated(maps, torch.ones(1, 1), torch.zeros(1, 1), None) / work.gain
    assert found.flatten().tolist() == pytest.approx([-1.0, -1.0, 200.0, 1e30])


def test_lean_way_takes_less_memory_and_no_more_arithmetic() -> None:
    net = build("mdcsrn_b8u4", normalisation="batch")
    shape = (16, 16, 16)
    lean, usual = Cost(net), Cost(net)
    usual._model._combined_without_gradient = usual._model._combined
    assert lean.peak_bytes(shape) < 0.5 * usual.peak_bytes(shape)
    assert lean.macs(shape) < 1.03 * usual.macs(shape)


def test_gradients_pass_in_evaluation_mode() -> None:
    net = tiny("mdcsrn_b4u4").eval()
    image = torch.rand(1, 1, 5, 5, 5, requires_grad=True)
    net(image).sum().backward()
    assert image.grad.abs().sum() > 0


def test_training_statistics_move_without_gradient() -> None:
    """Training mode is training mode, also where nobody wants gradients."""
    net = tiny("mdcsrn_b4u4").train()
    before = net.blocks[0].units[0].norm.running_mean.clone()
    with torch.no_grad():
        net(torch.rand(1, 1, 5, 5, 5))
    assert not torch.equal(before, net.blocks[0].units[0].norm.running_mean)


def test_batch_statistics_at_inference_are_those_of_the_image() -> None:
    net = shaken(tiny("mdcsrn_b4u4", normalisation="batch_train"))
    image = torch.randn(1, 1, 6, 7, 8)
    trained = net.train()(image).detach()
    with torch.no_grad():
        assert torch.allclose(net.eval()(image), trained, atol=1e-5)


@pytest.mark.parametrize("name", ["mdcsrn_b4u4", "dcsrn"])
def test_tiles_agree_with_the_whole_volume(name: str) -> None:
    net = shaken(tiny(name)).eval()
    image = torch.randn(1, 1, 24, 25, 26)
    whole = predict(net, image, tile=64, device="cpu")
    tiled = predict(net, image, tile=20, device="cpu")
    assert torch.allclose(whole, tiled, atol=1e-5)


def test_refused() -> None:
    with pytest.raises(BadInput, match="no normalisation called 'bach'"):
        build("mdcsrn_b4u4", normalisation="bach")
    with pytest.raises(BadInput, match="too small for GAN-CPCE"):
        tiny("gan_cpce")(torch.rand(1, 1, 2, 8, 20))
    with pytest.raises(ValueError, match="dimensions"):
        build("fsrcnn2d", dimensions=4)
    with pytest.raises(ValueError, match="stride"):
        build("gan_circle", stride=3)


def test_published_end_of_gan_cpce_is_not_negative() -> None:
    image = torch.randn(1, 1, 1, 16, 16)
    with torch.no_grad():
        assert float(tiny("gan_cpce")(image).min()) >= 0.0
        assert float(tiny("gan_cpce", positive=False)(image).min()) < 0.0


def test_shortcut_of_gan_cpce() -> None:
    image = torch.rand(1, 1, 2, 16, 16)
    with torch.no_grad():
        found = tiny("gan_cpce", positive=False)(image)
        assert torch.equal(tiny("gan_cpce", residual=True)(image), torch.relu(image + found))
