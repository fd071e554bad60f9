"""Densely connected networks plane by plane: one whole pass, within the memory that is said."""

from __future__ import annotations

import json
import subprocess
import sys
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mriforge.errors import Cancelled, OutOfMemory
from mriforge.networks.dcsrn import Dcsrn
from mriforge.networks.mdcsrn import Mdcsrn
from mriforge.networks.registry import build
from mriforge.networks.srdensenet3d import SrDensenet3d
from mriforge.networks.two_stage import TwoStageMdcsrn
from mriforge.superres import dense_layers
from mriforge.superres.inference import Predictor, predict
from mriforge.superres.planes import Ring
from mriforge.superres.streaming_dense import DenseStreaming, StreamedDense
from mriforge.superres.streams import streaming_of

RELATIVE = 1e-5
GIB = 2**30


def unlike_new(net: nn.Module, seed: int = 2) -> nn.Module:
    """As after training: no layer at zero, normalisation with statistics, factors and summands."""
    draw = torch.Generator().manual_seed(seed)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=draw)

    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv3d):
                fan = module.weight[0].numel()
                module.weight.copy_(normal(module.weight) * (1.5 / fan) ** 0.5)
                module.bias.copy_(0.3 * normal(module.bias))
            elif isinstance(module, nn.BatchNorm3d):
                module.running_mean.copy_(0.3 * normal(module.running_mean))
                module.running_var.copy_(0.5 + normal(module.running_var).square())
                module.weight.copy_(1.0 + 0.3 * normal(module.weight))
                module.bias.copy_(0.5 * normal(module.bias))
    return net.eval()


def whole(net: nn.Module, image: Tensor) -> Tensor:
    """One pass as it is written down, ``(d, h, w)``."""
    with torch.enable_grad():  # the plain way; without gradients a leaner one is taken
        return net(image[None, None])[0, 0].detach()


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    error = float((found - expected).abs().max() / expected.abs().max())
    assert error <= RELATIVE, error


kinds = st.sampled_from(["none", "batch"])
lengths = st.tuples(st.integers(1, 30), st.integers(1, 7), st.integers(1, 7))
orders = st.permutations([0, 1, 2])


def check(net: nn.Module, size: tuple[int, ...], planes: int, order: list[int]) -> None:
    unlike_new(net)
    image = torch.rand(size, generator=torch.Generator().manual_seed(5))
    with mock.patch.object(dense_layers, "CHUNK", 500):  # several parts
        check_once(net, image, planes, order)
    check_once(net, image, planes, order)


def check_once(net: nn.Module, image: Tensor, planes: int, order: list[int]) -> None:
    back = [order.index(axis) for axis in range(3)]
    run = StreamedDense(net, *image.shape[1:], planes, tuple(order))
    first, again = run(image), run(image)
    assert torch.equal(first, again), "what one image leaves in the buffers changes the next"
    assert_same(first, whole(net, image.permute(back).contiguous()).permute(order))


@settings(max_examples=60, deadline=None)
@given(
    size=lengths,
    planes=st.integers(1, 9),
    order=orders,
    growth=st.integers(1, 3),
    blocks=st.integers(1, 3),
    units=st.integers(1, 5),
    kind=kinds,
    flags=st.tuples(*[st.booleans()] * 4),
)
def test_mdcsrn_in_slabs_is_one_whole_pass(
    size: tuple[int, ...],
    planes: int,
    order: list[int],
    growth: int,
    blocks: int,
    units: int,
    kind: str,
    flags: tuple[bool, ...],
) -> None:
    compressor, reconstruction, bottleneck, residual = flags
    net = Mdcsrn(growth, blocks, units, compressor, reconstruction, bottleneck, kind, residual)
    check(net, size, planes, order)


@settings(max_examples=20, deadline=None)
@given(
    size=lengths,
    planes=st.integers(1, 7),
    order=orders,
    units=st.integers(1, 4),
    head=st.sampled_from([1, 3]),
    kind=kinds,
    residual=st.booleans(),
)
def test_dcsrn_in_slabs_is_one_whole_pass(
    size: tuple, planes: int, order: list, units: int, head: int, kind: str, residual: bool
) -> None:
    check(Dcsrn(2, units, head, kind, residual), size, planes, order)


@settings(max_examples=20, deadline=None)
@given(
    size=lengths,
    planes=st.integers(1, 7),
    order=orders,
    blocks=st.integers(1, 3),
    units=st.integers(1, 4),
    kind=kinds,
    residual=st.booleans(),
)
def test_srdensenet_in_slabs_is_one_whole_pass(
    size: tuple, planes: int, order: list, blocks: int, units: int, kind: str, residual: bool
) -> None:
    check(SrDensenet3d(2, blocks, units, kind, residual), size, planes, order)


@settings(max_examples=20, deadline=None)
@given(size=lengths, planes=st.integers(1, 7), order=orders, kind=kinds, residual=st.booleans())
def test_two_stages_in_slabs_are_one_whole_pass(
    size: tuple, planes: int, order: list, kind: str, residual: bool
) -> None:
    check(TwoStageMdcsrn(2, 2, 3, kind, residual), size, planes, order)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mdcsrn_b4u4", "none"),
        ("mdcsrn_b4u4", "batch"),
        ("dcsrn", "batch"),
        ("srdensenet3d", "batch"),
    ],
)
def test_published_networks(name: str, kind: str) -> None:
    net = unlike_new(build(name, normalisation=kind))
    image = torch.rand(7, 12, 9)
    predictor = Predictor(net, device="cpu")
    assert predictor.plan(image.shape).planes
    assert_same(predictor(image[None, None])[0, 0], whole(net, image))


def test_only_what_does_not_see_the_whole_image_is_streamed() -> None:
    for kind in ("batch_train", "instance", "layer"):
        net = build("mdcsrn_b4u4", normalisation=kind)
        assert streaming_of(net) is None
        assert not Predictor(net, device="cpu").plan((16, 16, 16)).planes
    assert isinstance(streaming_of(build("dcsrn")), DenseStreaming)
    assert streaming_of(build("unet3d", width=4)) is not None
    assert streaming_of(build("unet3d", width=4, up_mode="upsample")) is None
    assert streaming_of(nn.Conv3d(1, 1, 3, padding=1)) is None


def small(**options: object) -> nn.Module:
    return unlike_new(Mdcsrn(3, 2, 3, normalisation="batch", **options))


def test_single_slices_and_series() -> None:
    net = small()
    frames = torch.rand(3, 1, 1, 20, 31)
    predictor = Predictor(net, device="cpu")
    for frame, sharp in zip(frames, predictor(frames), strict=True):
        assert_same(sharp[0], whole(net, frame[0]))
    assert len(predictor._streamed) == 1, "buffers are kept between the frames"


def test_the_longest_axis_is_streamed_at_once() -> None:
    net = build("mdcsrn_b4u4", normalisation="none")
    shape = (320, 256, 320)
    for gib in (2, 3, 6):
        plan = Predictor(net, device="cpu", memory_limit_gib=gib).plan(shape)
        assert plan.memory_bytes <= gib * GIB
        assert plan.redundancy == 1.0
        assert plan.shape == (320, 256, 320)
    plan = Predictor(net, device="cpu", memory_limit_gib=1).plan(shape)
    assert plan.planes and len(plan.tiles) > 1
    assert plan.memory_bytes <= GIB
    assert plan.redundancy < 1.5


def test_large_cross_sections_are_cut_within_memory() -> None:
    net = small()
    image = torch.rand(90, 88, 80)
    whole_section = Predictor(net, device="cpu").plan(image.shape)
    limit = 0.7 * whole_section.memory_bytes
    predictor = Predictor(net, device="cpu", memory_limit_gib=limit / GIB)
    plan = predictor.plan(image.shape)
    least = Predictor(net, device="cpu", memory_limit_gib=limit / GIB, tile=(90, 50, 80))
    assert plan.memory_bytes <= limit
    for one in (predictor, least):
        assert one.plan(image.shape).planes
        assert_same(one(image[None, None])[0, 0], whole(net, image))
    assert len(least.plan(image.shape).tiles) > 1
    with pytest.raises(OutOfMemory):
        Predictor(net, device="cpu", memory_limit_gib=0.01).plan(image.shape)


@settings(max_examples=30, deadline=None)
@given(capacity=st.integers(1, 7), first=st.integers(0, 20), count=st.integers(0, 7))
def test_rings_give_back_what_they_were_given(capacity: int, first: int, count: int) -> None:
    ring = Ring(2, capacity, 1, 3)
    count = min(count, capacity)
    for plane in range(first + count):
        for _, part in ring.pieces(plane, plane + 1):
            part.fill_(plane)
    found = []
    for where, part in ring.pieces(first, first + count):
        assert len(range(where.start, where.stop)) == part.shape[2]
        assert where.start == len(found)
        found += part[0, 1, :, 0, 2].tolist()
    assert found == list(range(first, first + count))


def test_progress_and_cancel_between_slabs() -> None:
    heard: list[float] = []
    image = torch.rand(1, 1, 40, 6, 5)
    predictor = Predictor(small(), device="cpu", tile=(40, 6, 5))
    predictor(image, progress=heard.append)
    assert heard == sorted(heard) and heard[-1] == 1.0
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) == 2

    long = torch.rand(1, 1, 2000, 30, 30)
    with pytest.raises(Cancelled):
        predict(small(), long, device="cpu", cancel=cancel)
    assert len(asked) == 2
    # A cancelled image leaves nothing behind for the next one.
    with pytest.raises(Cancelled):
        predictor(image, cancel=lambda: True)
    net = small()
    assert_same(predictor(image)[0, 0], whole(net, image[0, 0]))


def test_bfloat16_is_near() -> None:
    net, image = small(), torch.rand(1, 1, 20, 14, 12)
    near = predict(net, image, device="cpu", dtype=torch.bfloat16)
    exact = predict(net, image, device="cpu")
    assert near.dtype == torch.float32
    assert 0 < (near - exact).norm() < 0.03 * exact.norm()


MEASURE = """
import json, sys, torch
from mriforge.networks.registry import build
from mriforge.superres import dense_layers
from mriforge.superres.inference import Predictor
torch.set_num_threads(1)
name, kind, shape = json.loads(sys.argv[1])
net = build(name, normalisation=kind)
predictor = Predictor(net, device="cpu", memory_limit_gib=4)
image = torch.rand(1, 1, *shape)
warm = Predictor(net, device="cpu")(torch.rand(1, 1, 4, 8, 8))
plan = predictor.plan(shape)
assert plan.planes
def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))
open("/proc/self/clear_refs", "w").write("5")  # forget the peak of the imports
before = status("VmRSS")
predictor(image)
print(json.dumps([plan.memory_bytes, status("VmHWM") - before]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [("mdcsrn_b4u4", "batch", (24, 64, 64)), ("srdensenet3d", "none", (24, 48, 48))],
)
def test_estimated_memory_is_no_less_than_what_is_taken(
    name: str, kind: str, shape: tuple[int, ...]
) -> None:
    command = [sys.executable, "-c", MEASURE, json.dumps([name, kind, shape])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    estimate, measured = json.loads(done.stdout)
    assert measured <= estimate, (measured / 2**20, estimate / 2**20)
    assert measured >= 0.4 * estimate, (measured / 2**20, estimate / 2**20)
