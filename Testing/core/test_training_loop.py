"""The loop: learns, stops in time, survives interruption exactly, alone and in a group."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Events
from mriforge.losses import build_loss
from mriforge.models.store import load_model
from mriforge.recipes import Recipe, load_recipe
from mriforge.recipes.schema import (
    DegradationSpec,
    InputSpec,
    LossSpec,
    OptimiserSpec,
    PatchSpec,
    ScheduleSpec,
    TrainingSpec,
    ValidationSpec,
)
from mriforge.training.checkpoint import load_checkpoint
from mriforge.training.job import CHECKPOINT, train
from mriforge.training.loop import Trainer, TrainResult
from mriforge.training.patches import SlabSampler
from mriforge.training.schedule import rate
from mriforge.training.validation import HeldOut

sys.path.insert(0, str(Path(__file__).parent))
from training_helpers import Tiny, phantom, training_volume

DEGRADATION = DegradationSpec(keep=(0.25, 0.1))
PATCHES = PatchSpec(size=(4, 16, 16), batch=4, per_slab=2)


class CancelAt(Events):
    """Asks to stop when a step is reported at or after ``step``."""

    def __init__(self, sampler: SlabSampler, step: int) -> None:
        super().__init__()
        make = sampler.batch

        def batch(number: int):
            if number >= step:
                self.control.cancel()
            return make(number)

        sampler.batch = batch


def trainer(checkpoint: Path | None = None, *, stop_at: int | None = None, **changes) -> Trainer:
    """A run of 20 steps on two phantoms."""
    torch.manual_seed(1)
    volumes = [training_volume(seed=s) for s in range(2)]
    sampler = SlabSampler(volumes, PATCHES, DEGRADATION, InputSpec(), seed=3)
    training = TrainingSpec(steps=20, validate_every=6, ema=0.9, checkpoint_seconds=1e9)
    held = HeldOut([training_volume(seed=9)], DEGRADATION, InputSpec(), count=2, depth=4)
    options = {
        "optimiser": OptimiserSpec(lr=3e-3, clip_norm=1.0),
        "schedule": ScheduleSpec("cosine", warmup=0.1, final=0.05),
        "training": dataclasses.replace(training, **changes.pop("training", {})),
        "validate": held,
        "checkpoint": checkpoint,
        "events": CancelAt(sampler, stop_at) if stop_at is not None else Events(),
        "prefetch": False,
    }
    return Trainer(Tiny(), sampler, build_loss(LossSpec(l1=1.0)), **{**options, **changes})


def same(one: TrainResult, two: TrainResult) -> bool:
    figures = [
        [{k: v for k, v in entry.items() if k != "seconds"} for entry in result.history]
        for result in (one, two)
    ]
    weights = all(torch.equal(t, two.state[name]) for name, t in one.state.items())
    return weights and figures[0] == figures[1]


def test_it_learns() -> None:
    volumes = [training_volume(seed=s) for s in range(2)]
    seen = HeldOut(volumes, DEGRADATION, InputSpec(), count=8, depth=4)
    run = trainer(validate=seen, training={"steps": 150, "validate_every": 50})
    result = run.run()
    assert result.stopped == "steps" and result.steps == 150
    assert result.best["gain_db"] > 0.015
    assert [entry["step"] for entry in result.history] == [0, 50, 100, 150]


@pytest.mark.parametrize("stops", [[7], [1, 6, 13], [19]])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, stops: list[int]) -> None:
    whole_run = trainer(tmp_path / "whole.safetensors")
    whole = whole_run.run()
    path = tmp_path / "parts.safetensors"
    for stop in stops:
        with pytest.raises(Cancelled):
            trainer(path, resume=True, stop_at=stop).run()
        torch.rand(3), np.random.rand(3)
    parts_run = trainer(path, resume=True)
    parts = parts_run.run()
    assert same(whole, parts)
    tensors, _ = load_checkpoint(tmp_path / "whole.safetensors")
    others, _ = load_checkpoint(path)
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        if not name.startswith("random."):
            assert torch.equal(tensor, others[name]), name


def test_prefetching_changes_nothing() -> None:
    assert same(trainer(prefetch=True).run(), trainer(prefetch=False).run())


def test_random_state_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(Cancelled):
        trainer(path, stop_at=3).run()
    expected = torch.rand(4), np.random.rand(4)
    run = trainer(path, resume=True)
    run._restore()
    assert torch.equal(torch.rand(4), expected[0])
    assert np.array_equal(np.random.rand(4), expected[1])


def test_a_finished_run_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    first = trainer(path).run()
    again = trainer(path, resume=True).run()
    assert again.steps == 20 and same(first, again)


def test_time_ends_a_run_at_the_final_rate() -> None:
    run = trainer(training={"steps": 10**6, "max_minutes": 1.5 / 60})
    result = run.run()
    assert result.stopped == "time" and result.steps > 0
    assert 1.4 < result.seconds < 10
    assert run.update.optimiser.param_groups[0]["lr"] < 0.6 * 3e-3


def test_divergence_keeps_the_best_state() -> None:
    run = trainer()
    honest = run.update.loss
    run.update.loss = lambda out, target, given: (
        honest(out, target) * (float("nan") if run.step == 13 else 1.0)
    )
    result = run.run()
    assert result.stopped == "diverged" and result.steps == 13
    assert all(torch.isfinite(t).all() for t in result.state.values())
    assert result.best["step"] in (0, 6, 12)


def test_divergence_without_validation_keeps_the_start() -> None:
    run = trainer(validate=None)
    start = {n: t.clone() for n, t in run.model.state_dict().items()}
    run.update.loss = lambda out, target, given: (out - target).mean() * float("nan")
    result = run.run()
    assert result.stopped == "diverged"
    assert all(torch.equal(t, start[n]) for n, t in result.state.items())


def test_a_training_without_end_is_refused() -> None:
    with pytest.raises(BadInput, match="no end"):
        trainer(training={"steps": 0})


def test_foreign_and_damaged_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    trainer(path, identity={"recipe": "a"}).run()
    with pytest.raises(BadInput, match="another recipe"):
        trainer(path, identity={"recipe": "b"}, resume=True).run()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match="cannot be read"):
        trainer(path, resume=True).run()


@pytest.mark.parametrize("name", ["constant", "cosine", "onecycle", "plateau_linear"])
def test_schedules(name: str) -> None:
    spec = ScheduleSpec(name, warmup=0.1, final=0.05)
    values = [rate(p / 100, spec) for p in range(101)]
    assert all(0 < v <= 1.0 + 1e-9 for v in values) and max(values) == pytest.approx(1.0)
    assert values[-1] == pytest.approx(1.0 if name == "constant" else 0.05)
    assert rate(5.0, spec) == values[-1]


def test_a_staircase_goes_by_steps_and_not_by_time() -> None:
    spec = ScheduleSpec("staircase", every=50_000, factor=0.9)
    steps = (0, 49_999, 50_000, 99_999, 100_000)
    for progress in (0.0, 1.0):
        found = [rate(progress, spec, step) for step in steps]
        assert found == pytest.approx([1, 1, 0.9, 0.9, 0.81])


def test_the_loop_takes_its_staircase_at_the_step_it_is_at() -> None:
    stairs = ScheduleSpec("staircase", every=4, factor=0.5)
    run = trainer(schedule=stairs, training={"steps": 10})
    run.run()
    # The last of ten steps is number 9, after two stairs.
    assert run.update.optimiser.param_groups[0]["lr"] == pytest.approx(run.update.spec.lr / 4)


def tiny_recipe(**changes) -> Recipe:
    """The small recipe, shrunk to seconds."""
    recipe = dataclasses.replace(
        load_recipe("unet3d_small"),
        patches=PatchSpec(size=(4, 16, 16), batch=2, per_slab=2),
        training=TrainingSpec(steps=6, validate_every=3, checkpoint_seconds=1e9),
        validation=ValidationSpec(patches=1, size=(4, 24, 24)),
    )
    network = dataclasses.replace(recipe.network, options={"width": 2, "residual": True})
    return dataclasses.replace(recipe, network=network, **changes)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three subjects, one of them held out."""
    entries = []
    for seed, split in enumerate(["train", "train", "validation"]):
        image = (phantom((8, 32, 36), seed).transpose(2, 1, 0) * 900).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), tmp_path / f"{seed}.nii.gz")
        entry = {"path": f"{seed}.nii.gz", "subject": f"s{seed}", "split": split, "licence": "CC0"}
        entries.append(entry)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(entries))
    return path


def test_train_writes_a_model(tmp_path: Path, manifest: Path) -> None:
    out = tmp_path / "out"
    outcome = train(tiny_recipe(), manifest, out, device="cpu")
    network, card = load_model(out / "model")
    assert outcome.result.steps == card.training["steps"] == 6
    assert card.network_options == {"width": 2, "residual": True}
    assert [entry["subject"] for entry in card.trained_on] == ["s0", "s1"]
    assert card.figures["held_out_subjects"] == ["s2"]
    assert card.input["upsample"] == "sinc" and card.input["percentile"] == 99.5
    assert network(torch.rand(1, 1, 4, 8, 8)).shape == (1, 1, 4, 8, 8)
    assert str(tmp_path) not in card.to_json()
    with pytest.raises(BadInput, match="already a training"):
        train(tiny_recipe(), manifest, out, device="cpu")
    more = tiny_recipe(training=dataclasses.replace(tiny_recipe().training, steps=8))
    assert train(more, manifest, out, device="cpu", resume=True).result.steps == 8


def test_a_training_can_start_from_a_model(tmp_path: Path, manifest: Path) -> None:
    first = train(tiny_recipe(), manifest, tmp_path / "one", device="cpu")
    short = dataclasses.replace(tiny_recipe().training, steps=1)
    recipe = tiny_recipe(training=short, optimiser=OptimiserSpec(lr=1e-12))
    second = train(recipe, manifest, tmp_path / "two", device="cpu", start=first.model.path)
    for name, tensor in first.result.state.items():
        assert torch.allclose(tensor, second.result.state[name], atol=1e-6)
    card = second.model.card
    expected = {"name": first.model.card.name, "sha256": first.model.card.sha256, "steps": 6}
    assert card.training["start"] == expected and "start" not in first.model.card.training
    assert card.trained_on == first.model.card.trained_on, "the same images are named once"
    # Resumed without --start the card still says so, and the next in line names both.
    more = dataclasses.replace(recipe, training=dataclasses.replace(short, steps=2))
    resumed = train(more, manifest, tmp_path / "two", device="cpu", resume=True)
    assert resumed.model.card.training["start"] == expected
    third = train(recipe, manifest, tmp_path / "next", device="cpu", start=resumed.model.path)
    before = third.model.card.training["start"]
    assert before["steps"] == 2 and before["start"] == expected
    network = dataclasses.replace(recipe.network, options={"width": 3, "residual": True})
    other = dataclasses.replace(recipe, network=network)
    with pytest.raises(BadInput, match="another network"):
        train(other, manifest, tmp_path / "three", device="cpu", start=first.model.path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mixed_precision_on_cuda(tmp_path: Path, manifest: Path) -> None:
    outcome = train(tiny_recipe(), manifest, tmp_path / "out", device="cuda")
    assert outcome.result.stopped == "steps"
    assert outcome.model.card.training["device"] == "cuda"


def test_train_a_perceptual_network(tmp_path: Path, manifest: Path) -> None:
    recipe = load_recipe("pln_small")
    network = dataclasses.replace(recipe.network, options={"width": 2, "classes": 5})
    recipe = tiny_recipe(
        name="p", task="segmentation", loss=recipe.loss, labels=recipe.labels, source="test"
    )
    recipe = dataclasses.replace(recipe, network=dataclasses.replace(network, name="pln_small"))
    outcome = train(recipe, manifest, tmp_path / "out", device="cpu")
    assert 0 <= outcome.result.best["dice"] <= 1
    model, card = load_model(tmp_path / "out" / "model")
    assert card.network_options == {"width": 2} and card.task == "segmentation"
    assert len(model.features(torch.rand(1, 1, 8, 8, 8))) == 3
    loss = build_loss(LossSpec(perceptual=1.0, perceptual_network=str(tmp_path / "out" / "model")))
    assert float(loss(torch.zeros(1, 1, 8, 8, 8), torch.ones(1, 1, 8, 8, 8))) > 0


SCRIPT = """
import sys
sys.path[:0] = {paths!r}
from test_training_loop import tiny_recipe
from mriforge.training.job import train
outcome = train(tiny_recipe(), {manifest!r}, {out!r}, device="cpu", resume={resume!r})
print("steps", outcome.result.steps)
"""


@pytest.mark.timeout(120)
def test_two_processes_train_together(tmp_path: Path, manifest: Path) -> None:
    here = Path(__file__).resolve()
    paths = [str(here.parent), str(here.parents[2])]
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(
        SCRIPT.format(paths=paths, manifest=str(manifest), out=str(out), resume=False)
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(
        [*command, "--nproc-per-node", "2", str(script)],
        env=environment, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("steps 6") == 2
    assert load_model(out / "model")[1].training["steps"] == 6
    assert (out / CHECKPOINT).is_file()
