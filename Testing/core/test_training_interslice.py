"""Training between slices and frames: what is given, what is wanted, from a manifest to a model."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge.errors import BadInput, MissingDependency
from mriforge.io import write
from mriforge.io.video import is_video, read_video
from mriforge.losses import build_loss
from mriforge.models.store import load_model
from mriforge.networks.registry import build
from mriforge.recipes import Recipe, load_recipe
from mriforge.recipes.schema import ScheduleSpec, StackSpec
from mriforge.training.data import load_dataset, volume_from_image
from mriforge.training.interslice import GateLoss, HeldOutStacks, StackSampler, steepest
from mriforge.training.job import train
from mriforge.training.schedule import rate
from mriforge.volume import Grid, Series, Volume

sys.path.insert(0, str(Path(__file__).parent))
from training_helpers import phantom, training_volume

TINY = {"width": 4, "blocks": 1, "hidden": [8]}


def recipe(name: str, size: tuple[int, int, int], **stack: object) -> Recipe:
    whole = load_recipe(name)
    network = dataclasses.replace(whole.network, options=TINY)
    return dataclasses.replace(
        whole,
        network=network,
        patches=dataclasses.replace(whole.patches, size=size),
        validation=dataclasses.replace(whole.validation, size=size, patches=2),
        stack=dataclasses.replace(whole.stack, **stack),
        training=dataclasses.replace(whole.training, steps=3, epochs=0, validate_every=2),
    )


def ramp(shape: tuple[int, int, int]) -> np.ndarray:
    """Intensity is the number of the slice."""
    return np.broadcast_to(np.arange(1, shape[0] + 1, dtype=np.float32)[:, None, None], shape)


@pytest.mark.parametrize("ratio", [2.0, 3.4, 4.0])
def test_slices_lie_where_the_positions_say(ratio: float) -> None:
    """On a ramp blurring changes nothing inside, so that position and intensity agree."""
    volume = volume_from_image(Volume(ramp((60, 20, 20)), Grid((60, 20, 20))), scale=1.0)
    wanted = recipe("sa_inr", (5, 16, 16), ratio=(ratio, ratio), whole=False)
    sampler = StackSampler([volume], wanted)
    for step in range(4):
        batch = sampler.batch(step)
        stack, positions = batch.input
        given, found = stack[0, 0, :, 0, 0].double(), batch.target[0, 0, :, 0, 0].double()
        # The outer slices may reach beyond the volume; the middle one never does.
        expected = given[2] + (positions.double() - 2) * ratio
        torch.testing.assert_close(found, expected, atol=2e-2, rtol=0)
        assert float(positions.min()) >= 0 and float(positions.max()) <= 4 + 1e-9


def test_frames_between_those_that_are_given() -> None:
    series = np.stack([np.full((2, 20, 20), t + 1.0, np.float32) for t in range(12)])
    volume = volume_from_image(Series(series, Grid((2, 20, 20)), tuple(range(12))), scale=1.0)
    sampler = StackSampler([volume], recipe("sa_inr_video", (2, 16, 16)))
    batch = sampler.batch(0)
    stack, positions = batch.input
    assert positions.tolist() == [0.25, 0.5, 0.75]
    first, last = stack[0, 0, :, 0, 0].tolist()
    assert last - first == 4
    assert batch.target[0, 0, :, 0, 0].tolist() == [first + 1, first + 2, first + 3]


def test_a_batch_is_a_function_of_its_number_and_epochs_see_every_volume() -> None:
    volumes = [training_volume((40, 40, 48), seed=k) for k in range(3)]
    sampler = StackSampler(volumes, recipe("sa_inr", (4, 16, 16)))
    assert sampler.epoch_steps == 3
    assert torch.equal(sampler.batch(5).target, sampler.batch(5).target)
    seen = {id(sampler._chosen(step)[0]) for step in range(3, 6)}
    assert len(seen) == 3


def test_small_images_and_short_stacks() -> None:
    batch = StackSampler([training_volume((9, 10, 12))], recipe("sa_inr", (10, 16, 16))).batch(0)
    assert batch.input.stack.shape[3:] == (16, 16) and batch.input.stack.shape[2] >= 2
    with pytest.raises(BadInput, match="5 slices"):
        StackSampler([training_volume((5, 10, 12))], recipe("sa_inr", (10, 16, 16)))


def test_impossible_recipes_are_refused() -> None:
    volume = training_volume((40, 40, 48))
    with pytest.raises(BadInput, match="not a range above 1"):
        StackSampler([volume], recipe("sa_inr", (4, 16, 16), ratio=(5.0, 2.0)))


def test_the_rate_is_halved_in_five_parts() -> None:
    spec = ScheduleSpec("halving")
    assert [rate(p, spec) for p in (0, 0.19, 0.2, 0.5, 0.99, 1)] == [
        1,
        1,
        1 / 2,
        1 / 4,
        1 / 16,
        1 / 16,
    ]


def test_gain_of_held_out_stacks_is_over_cubic() -> None:
    wanted = recipe("sa_inr", (4, 16, 16))
    held = HeldOutStacks.of_recipe(wanted, [training_volume((40, 40, 48))], "cpu")
    figures = held(build("sa_inr", **TINY, zero_start=True).eval())  # linear interpolation
    assert abs(figures["gain_db"]) < 3 and figures["psnr"] > 10


def test_the_gate_is_drawn_to_edges() -> None:
    image = (torch.arange(8.0) ** 3 + torch.rand(5, 8, 8) * 1e-3)[None, None]
    edges = steepest(image)
    assert edges[..., 7].all() and not edges[..., :6].any()
    assert float(edges.mean()) == pytest.approx(0.2, abs=0.01)
    model = build("sa_inr", **TINY, gate=True).train()
    loss = GateLoss(build_loss(load_recipe("sa_inr").loss), model)
    output = model(torch.rand(1, 1, 3, 8, 8), torch.linspace(0, 2, 5))
    loss(output, image).backward()
    assert model.gate.weight.grad.abs().sum() > 0


def test_published_values_of_paper_001() -> None:
    video, main = load_recipe("sa_inr_video"), load_recipe("sa_inr")
    for stage in (video, main):
        assert stage.training.epochs == 1000 and stage.schedule == ScheduleSpec("halving", pieces=5)
        assert stage.loss.l1 == 1 and stage.optimiser.lr == 1e-4 and stage.patches.batch == 1
    assert video.stack.take == "frames" and video.patches.size == (2, 64, 64)
    assert main.stack == StackSpec("slices", (4.0, 4.0), True, 0.75, True)
    assert (main.finetune["published"].count, main.finetune["published"].epochs) == (100, 5)


def test_stages_follow_each_other_from_manifests(tmp_path) -> None:
    entries = []
    for number, split in enumerate(("train", "train", "validation")):
        image = Volume(phantom((24, 28, 30), number) * 500, Grid((24, 28, 30)))
        write(image, tmp_path / f"{number}.nii")
        entry = {"path": f"{number}.nii", "subject": f"s{number}", "split": split}
        entries.append({**entry, "licence": "CC0"})
    manifest = tmp_path / "data.json"
    manifest.write_text(json.dumps(entries), encoding="utf-8")
    first = train(recipe("sa_inr_video", (2, 16, 16)), manifest, tmp_path / "one", device="cpu")
    second = train(
        recipe("sa_inr", (4, 16, 16)),
        manifest,
        tmp_path / "two",
        device="cpu",
        start=first.model.path,
    )
    model, card = load_model(second.model.path)
    assert card.task == "interslice" and card.network == "sa_inr" and card.trained_on
    assert "gain_db" in second.result.best and second.result.steps == 3
    assert model(torch.rand(1, 1, 3, 8, 8), torch.tensor([0.5])).shape == (1, 1, 1, 8, 8)


# Videos


@pytest.fixture
def clip(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for number in range(12):
            image = np.full((192, 320, 3), 20 * number, np.uint8)
            image[:, 160:] = 128
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def test_a_video_is_grey_frames(clip) -> None:
    assert is_video(clip)
    video = read_video(clip)
    assert video.array.shape == (12, 90, 160) and video.array.dtype == np.uint8
    left = video.array[:, 10:-10, 10:70].mean((1, 2))
    assert np.allclose(left, 20 * np.arange(12), atol=6)
    assert read_video(clip, size=(45, 80), most=5).array.shape == (5, 45, 80)


def test_a_folder_of_frames_is_a_video(tmp_path) -> None:
    av = pytest.importorskip("av")
    folder = tmp_path / "000"
    folder.mkdir()
    for number in range(6):
        frame = av.VideoFrame.from_ndarray(np.full((72, 128, 3), 40 * number, np.uint8), "rgb24")
        _save_png(av, frame, folder / f"{number:08d}.png")
    assert is_video(folder)
    assert np.allclose(read_video(folder).array.mean((1, 2)), 40 * np.arange(6), atol=3)


def _save_png(av, frame, path) -> None:
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "rgb24"
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)


def test_a_video_of_a_manifest_is_trained_on(clip, tmp_path) -> None:
    manifest = tmp_path / "videos.json"
    entry = {"path": clip.name, "subject": "clip", "split": "train", "licence": "CC0"}
    manifest.write_text(json.dumps([entry]), encoding="utf-8")
    data = load_dataset(manifest, tmp_path / "cache")
    batch = StackSampler(data.train, recipe("sa_inr_video", (2, 64, 64))).batch(0)
    assert batch.input.stack.shape == (1, 1, 2, 64, 64) and batch.target.shape[2] == 3


def test_what_is_no_video_is_refused(tmp_path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(BadInput, match=r"broken\.mp4 cannot be read as a video"):
        read_video(path)
    assert not is_video(tmp_path / "image.nii.gz")


def test_without_the_library_it_is_asked_for(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependency, match="PyAV"):
        read_video(tmp_path / "clip.mp4")
