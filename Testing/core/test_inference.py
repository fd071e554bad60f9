"""Inference: tiles and streaming give the whole volume, within memory, whatever happens."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mriforge.errors import BadInput, Cancelled, OutOfMemory
from mriforge.networks.registry import build
from mriforge.superres.cost import Cost
from mriforge.superres.inference import Predictor, arithmetic, predict, predict_strided
from mriforge.superres.plan import Planner
from mriforge.superres.streaming import StreamedUNet
from mriforge.superres.strided import patch_count
from mriforge.superres.tiling import coverage, pad, padded_shape, tiles

RELATIVE = 1e-5


def unet(width: int = 4, **options: object) -> nn.Module:
    torch.manual_seed(1)
    net = build("unet3d", width=width, **options).eval()
    nn.init.normal_(net.head.weight)
    return net


def whole(net: nn.Module, image: Tensor) -> Tensor:
    """One pass over the whole volume, its sizes padded to the pooling grid by repetition."""
    d, h, w = image.shape[2:]
    padded = pad(image[0, 0], padded_shape((d, h, w), net.multiple))
    with torch.inference_mode():
        return net(padded[None, None])[:, :, :d, :h, :w]


def same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= RELATIVE * b.abs().max())


class Identity(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image * 1.0


class Blur(nn.Module):
    """Sees one voxel; says so. Runs out of memory above a number of voxels."""

    multiple, halo = 1, 1

    def __init__(self, most: int = 10**9) -> None:
        super().__init__()
        self.most, self.calls = most, []
        self.conv = nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        if image.device.type != "meta" and image.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.conv(image)


sizes = st.integers(1, 45)


@settings(max_examples=25, deadline=None)
@given(d=sizes, h=sizes, w=sizes, tile=st.sampled_from([None, 52, 56, 64]), stream=st.booleans())
def test_tiles_equal_the_whole(d: int, h: int, w: int, tile: int | None, stream: bool) -> None:
    net = unet()
    image = torch.rand(1, 1, d, h, w)
    result = Predictor(net, device="cpu", tile=tile, stream=stream)(image)
    assert result.shape == image.shape
    assert same(result, whole(net, image))


@pytest.mark.parametrize("up_mode", ["transposed", "upsample"])
@pytest.mark.parametrize("shape", [(6, 9, 150), (70, 3, 90)])
def test_many_tiles_equal_the_whole(shape: tuple[int, int, int], up_mode: str) -> None:
    net = unet(up_mode=up_mode, residual=True)
    image = torch.rand(1, 1, *shape)
    predictor = Predictor(net, device="cpu", tile=64, stream=False)
    assert len(predictor.plan(shape).tiles) > 1
    assert same(predictor(image), whole(net, image))


@settings(max_examples=20, deadline=None)
@given(
    units=st.tuples(*[st.integers(1, 9)] * 3),
    planes=st.integers(1, 8),
    depth=st.integers(2, 4),
    order=st.permutations([0, 1, 2]),
)
def test_streaming_is_one_whole_pass(
    units: tuple[int, ...], planes: int, depth: int, order: list[int]
) -> None:
    net = unet(width=2, depth=depth)
    m = net.multiple
    image = torch.rand([m * (n if depth < 4 else min(n, 3)) for n in units])
    turned = image.permute(order).contiguous()
    run = StreamedUNet(net, *turned.shape[1:], planes * m, tuple(order))
    first, again = run(turned), run(turned)
    assert torch.equal(first, again)
    back = first.permute([order.index(axis) for axis in range(3)])
    assert same(back, net(image[None, None]).detach()[0, 0])


def test_single_slices_and_series() -> None:
    net = unet()
    frames = torch.rand(3, 1, 1, 30, 41)
    predictor = Predictor(net, device="cpu")
    result = predictor(frames)
    assert result.shape == frames.shape
    for frame, sharp in zip(frames, result, strict=True):
        assert same(sharp[None], whole(net, frame[None]))
    assert len(predictor._streamed) == 1, "buffers are kept between the frames"


def test_networks_that_do_not_say_how_far_they_see_are_blended() -> None:
    image = torch.rand(1, 1, 20, 33, 50)
    result = predict(Identity(), image, device="cpu", tile=16)
    assert torch.allclose(result, image, atol=1e-6)
    smooth = predict(unet(), image, device="cpu", tile=32, overlap=0.5)
    assert (smooth - whole(unet(), image)).abs().mean() < 0.1 * image.std()


def dense(**options: object) -> nn.Module:
    torch.manual_seed(3)
    return build("mdcsrn_b4u4", normalisation="none", growth=2, **options).eval()


def test_exact_tiles_of_dense_networks_equal_the_whole() -> None:
    net, image = dense(), torch.rand(1, 1, 50, 44, 40)
    predictor = Predictor(net, device="cpu", tile=42)
    assert len(predictor.plan(image.shape[2:]).tiles) > 1
    with torch.inference_mode():
        assert same(predictor(image), net(image))


def test_published_tiles_equal_the_whole_away_from_their_seams() -> None:
    """Tiles of 70 with a margin of 3, not averaged (Chen 2021, 4.4.1): the network sees 17 far."""
    net, image = dense(), torch.rand(1, 1, 70, 20, 20)
    far, margin, tile = net.halo, 3, 50
    predictor = Predictor(net, device="cpu", tile=tile, margin=margin)
    plan = predictor.plan(image.shape[2:])
    seams = [part.write[0].start for part in plan.tiles if part.write[0].start]
    with torch.inference_mode():
        error = (predictor(image) - net(image)).abs().amax(dim=(0, 1, 3, 4))
    assert seams and far == 17
    near = torch.zeros(70, dtype=torch.bool)
    for seam in seams:
        near[max(0, seam - (far - margin)) : seam + far - margin] = True
    assert float(error[~near].max()) < 1e-5 < float(error[near].max())


def test_model_and_input_are_left_alone() -> None:
    net = unet().train()
    image = torch.rand(1, 1, 8, 8, 8)
    before = image.clone()
    predict(net, image, device="cpu")
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert torch.equal(image, before)


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    core=st.tuples(*[st.integers(1, 20)] * 3),
    halo=st.integers(0, 6),
)
def test_cores_partition_the_image(shape: tuple, core: tuple, halo: int) -> None:
    seen = torch.zeros(shape)
    for tile in tiles(shape, core, halo):
        block = torch.zeros(tile.shape)
        seen[tile.write] += 1 + block[tile.keep]
    assert bool((seen == 1).all())


# --- arithmetic and memory ---------------------------------------------------------------------


@pytest.mark.parametrize("gib", [0.2, 0.25, 0.5, 1, 2, 4, 8])
def test_published_network_on_a_large_volume_costs_few_passes(gib: float) -> None:
    net = build("unet3d")
    shape = (40, 192, 256)
    plan = Predictor(net, device="cpu", memory_limit_gib=gib).plan(shape)
    assert plan.memory_bytes <= gib * 2**30
    assert arithmetic(net, shape, plan).ratio <= 3
    if gib >= 1:
        tiled = Predictor(net, device="cpu", memory_limit_gib=gib, stream=False).plan(shape)
        assert tiled.memory_bytes <= gib * 2**30
        assert arithmetic(net, shape, tiled).ratio <= 3


def test_arithmetic_is_counted_as_by_hand() -> None:
    # Multiply-adds per voxel of the published network, level by level.
    fine = 27 * (64 + 64 * 64) + 27 * (128 * 64 + 64 * 64) + 128 * 64 + 64
    middle = 27 * (64 * 128 + 128 * 128) + 27 * (256 * 128 + 128 * 128) + 256 * 128
    deep = 27 * (128 * 256 + 256 * 256)
    whole_pass = arithmetic(build("unet3d"), (8, 8, 8)).whole
    assert whole_pass == 512 * fine + 64 * middle + 8 * deep


def test_too_little_memory_is_said_with_what_is_needed() -> None:
    with pytest.raises(OutOfMemory) as caught:
        predict(build("unet3d"), torch.rand(1, 1, 64, 64, 64), device="cpu", memory_limit_gib=0.02)
    need = float(caught.value.hint.split()[3])
    Predictor(build("unet3d"), device="cpu", memory_limit_gib=need + 0.01).plan((64, 64, 64))


def test_tiles_within_their_margins_are_refused() -> None:
    with pytest.raises(BadInput, match="margins"):
        predict(unet(), torch.rand(1, 1, 90, 90, 90), device="cpu", tile=24)


def test_peak_of_live_tensors_is_followed() -> None:
    class Steps(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            twice = torch.cat([image, image], 1)
            return twice.sum(1, keepdim=True)

    # The image, twice the image and the sum are alive together.
    assert Cost(Steps()).peak_bytes((4, 4, 4)) == 4 * 64 * 4


MEASURE = """
import json, sys, torch
from mriforge.networks.registry import build
from mriforge.superres.inference import Predictor
torch.set_num_threads(1)
stream, width, shape = json.loads(sys.argv[1])
net = build("unet3d", width=width)
predictor = Predictor(net, device="cpu", memory_limit_gib=4, stream=stream)
image = torch.rand(1, 1, *shape)
warm = Predictor(net, device="cpu", stream=stream)(torch.rand(1, 1, 8, 8, 8))
plan = predictor.plan(shape)
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
    ("stream", "width", "shape"), [(True, 32, (64, 64, 96)), (False, 16, (48, 64, 96))]
)
def test_estimated_memory_is_what_is_taken(stream: bool, width: int, shape: tuple) -> None:
    command = [sys.executable, "-c", MEASURE, json.dumps([stream, width, shape])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    estimate, measured = json.loads(done.stdout)
    assert measured <= 1.15 * estimate + 16 * 2**20, (measured / 2**20, estimate / 2**20)
    assert measured >= 0.4 * estimate, (measured / 2**20, estimate / 2**20)


# --- progress, cancel, out of memory -----------------------------------------------------------


@pytest.mark.parametrize("tile", [None, 52])
def test_progress_rises_to_one(tile: int | None) -> None:
    heard: list[float] = []
    image = torch.rand(2, 1, 8, 12, 60)
    Predictor(unet(), device="cpu", tile=tile)(image, progress=heard.append)
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(heard))
    assert heard[-1] == 1.0
    assert len(heard) > 4


def test_cancel_stops_between_blocks() -> None:
    asked = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(Cancelled):
        predict(unet(), torch.rand(1, 1, 60, 60, 60), device="cpu", cancel=cancel)
    assert len(asked) == 3
    with pytest.raises(Cancelled):
        predict_strided(
            unet(), torch.rand(1, 1, 30, 30, 30), stride=6, device="cpu", cancel=lambda: True
        )


def test_out_of_memory_takes_smaller_tiles_and_says_so() -> None:
    said: list[str] = []
    net = Blur(most=9000)
    image = torch.rand(1, 1, 40, 40, 40)
    result = predict(net, image, device="cpu", log=said.append)
    assert torch.allclose(result, net.conv(image).detach(), atol=1e-6)
    assert said
    assert all("smaller tiles" in text for text in said)


def test_out_of_memory_for_good_is_an_error() -> None:
    with pytest.raises(OutOfMemory):
        predict(Blur(most=0), torch.rand(1, 1, 12, 12, 12), device="cpu")


def test_other_errors_are_not_swallowed() -> None:
    class Broken(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            if image.device.type != "meta":
                raise RuntimeError("size mismatch")
            return image

    with pytest.raises(RuntimeError, match="size mismatch"):
        predict(Broken(), torch.rand(1, 1, 8, 8, 8), device="cpu")


def test_a_device_that_runs_out_is_left_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    predictor = Predictor(Blur(), device="cpu", log=said.append)
    predictor.device = torch.device("cuda")  # pretended; its blocks always fail
    block = Predictor._block

    def failing(self: Predictor, *arguments: object) -> Tensor:
        if self.device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return block(self, *arguments)

    monkeypatch.setattr(Predictor, "_block", failing)
    monkeypatch.setattr("mriforge.superres.inference.release", lambda device: None)
    image = torch.rand(1, 1, 20, 20, 20)
    result = predictor(image)
    assert predictor.device.type == "cpu"
    assert "using the CPU" in said[-1]
    assert torch.allclose(result, predictor._model.conv(image), atol=1e-6)


def test_bfloat16_is_near() -> None:
    net = unet(width=8)
    image = torch.rand(1, 1, 16, 16, 16)
    near = predict(net, image, device="cpu", dtype=torch.bfloat16)
    exact = predict(net, image, device="cpu")
    assert near.dtype == torch.float32
    assert (near - exact).norm() < 0.03 * exact.norm()


def test_planner_asks_for_no_more_on_smaller_blocks() -> None:
    planner = Planner(unet(), torch.device("cpu"), stream=False)
    assert planner.block_bytes((8, 8, 8)) < planner.block_bytes((16, 8, 8))


# --- patch averaging ---------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 3, 6, 12, (6, 12, 12), 24])
def test_averaged_identity_is_identity(stride: int | tuple) -> None:
    shape = (25, 26, 27) if stride == 1 else (30, 41, 25)
    image = torch.rand(1, 1, *shape)
    result = predict_strided(Identity(), image, stride=stride, batch=7, device="cpu")
    assert torch.allclose(result, image, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 30, 30), (5, 6, 7), (24, 24, 24)])
def test_averaging_takes_images_smaller_than_a_patch(shape: tuple[int, ...]) -> None:
    image = torch.rand(2, 1, *shape)
    result = predict_strided(Identity(), image, stride=12, device="cpu")
    assert torch.allclose(result, image, atol=1e-6)


def test_averaging_is_the_mean_of_patches() -> None:
    net = unet()
    image = torch.rand(1, 1, 8, 8, 12)
    with torch.inference_mode():
        left, right = net(image[..., :8]), net(image[..., 4:])
    expected = torch.cat(
        [left[..., :4], (left[..., 4:] + right[..., :4]) / 2, right[..., 4:]], dim=-1
    )
    result = predict_strided(net, image, patch=8, stride=4, device="cpu")
    assert torch.allclose(result, expected, atol=1e-6)


def test_every_voxel_is_covered_and_counted() -> None:
    assert patch_count((40, 192, 256)) == 17 * 169 * 233 == 669_409
    for size, stride in ((24, 1), (25, 12), (100, 24), (31, 7)):
        assert coverage(size, 24, stride).min() >= 1


def test_strides_that_leave_gaps_are_refused() -> None:
    for stride in (0, 25):
        with pytest.raises(BadInput):
            predict_strided(Identity(), torch.rand(1, 1, 30, 30, 30), stride=stride, device="cpu")


def test_averaging_survives_out_of_memory() -> None:
    said: list[str] = []
    net = Blur(most=3 * 8**3)
    image = torch.rand(1, 1, 16, 16, 16)
    result = predict_strided(net, image, patch=8, stride=8, batch=8, device="cpu", log=said.append)
    assert result.shape == image.shape
    assert len(said) == 2
    with pytest.raises(OutOfMemory):
        predict_strided(Blur(most=0), image, patch=8, stride=8, device="cpu")
