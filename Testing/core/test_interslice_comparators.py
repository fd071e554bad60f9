"""TSCNet, learning from synthesis, and SMORE's networks: both stages, budgets, cancel, resume."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.interslice import rowwise, tscnet, xuan
from mriforge.interslice.cycle import CycleStage
from mriforge.interslice.gate import held_out_gain
from mriforge.interslice.learned import Limits
from mriforge.interslice.neighbours import NeighbourSampler
from mriforge.interslice.rows import Rows, along_first
from mriforge.interslice.scan import Scan
from mriforge.interslice.stages import checkpoint_of, first_budget, second_budget
from mriforge.networks.rdn import SliceDiscriminator, TscNet
from mriforge.networks.vae2d import Vae2d
from mriforge.physics.profiles import FWHM_PER_SIGMA, gaussian
from mriforge.recipes import Recipe, load_recipe

TINY = {
    "tscnet": {"width": 8, "growth": 8, "blocks": 1, "layers": 2},
    "smore": {"width": 8, "blocks": 2},
    "smore_rcan": {"width": 8, "groups": 1, "blocks": 1, "reduction": 4},
}


class CancelAfter(Control):
    """Asks to stop when it has been looked at so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    @property
    def cancelled(self) -> str | None:
        self.looks -= 1
        if self.looks < 0:
            self.cancel()
        return super().cancelled


def scan(ratio: float = 3.0, low: int = 12, size: int = 40, frames: int = 1, seed: int = 0) -> Scan:
    """Soft blobs, seen by thick slices."""
    rng = np.random.default_rng(seed)
    high = round(low * ratio)
    z, y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in (high, size, size)), indexing="ij")
    image = np.zeros((high, size, size))
    for _ in range(120):
        centre = [rng.uniform(0, n) for n in (high, size, size)]
        radius = rng.uniform(0.8, 2.5)
        far = sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True))
        image += rng.uniform(0.2, 1.0) * np.exp(-far / (2 * radius**2))
    image = torch.from_numpy((image / image.max()).astype(np.float32))
    first = (high - 1) / 2 - (low - 1) * ratio / 2
    rows = Rows(first + np.arange(low) * ratio, high, gaussian(ratio / FWHM_PER_SIGMA))
    thick = along_first(rows.acquire(), image)
    return Scan(thick[None].repeat(frames, 1, 1, 1), rows, 1.0, (0, 1, 2))


def recipe(name: str, **training: object) -> Recipe:
    """The shipped recipe with small networks and patches."""
    given = load_recipe(name)
    options = {**given.network.options, **TINY[given.network.name]}
    depth = given.patches.size[0]
    return dataclasses.replace(
        given,
        network=dataclasses.replace(given.network, options=options),
        patches=dataclasses.replace(given.patches, size=(depth, 16, 16), batch=4),
        optimiser=dataclasses.replace(given.optimiser, lr=3e-3),
        slices=dataclasses.replace(given.slices, slices=4, columns=16),
        training=dataclasses.replace(given.training, max_minutes=0.0, **training),
    )


def middle_error(learned_on: Scan, model: torch.nn.Module) -> float:
    """Error of the slice in the middle, along the in-plane axes of the held-out slices."""
    block = learned_on.frames[0, learned_on.held()]
    errors = []
    for images in (block.movedim(1, 0), block.movedim(2, 0)):
        pairs = torch.stack([images[:-2], images[2:]], dim=1)
        with torch.no_grad():
            errors.append(model(pairs)[:, 0] - images[1:-1])
    return float(torch.cat([e.flatten() for e in errors]).square().mean())


def test_published_values_of_the_comparators() -> None:
    published = load_recipe("tscnet")
    assert published.stages.adversarial == 0.1 and published.loss.l2 == 1.0
    assert (published.optimiser.lr, published.patches.batch) == (1e-4, 6)
    code = load_recipe("smore_rcan")
    assert (code.optimiser.lr, code.patches.batch, code.training.steps) == (2e-4, 32, 20000)
    assert (code.slices.slices, code.slices.columns, code.loss.l1) == (32, 32, 1.0)
    assert load_recipe("smore").slices.merge == "fba"
    assert load_recipe("tscnet_small").network.options["width"] == 16


def test_budget_is_shared_by_the_stages() -> None:
    given = recipe("tscnet", steps=10)
    assert first_budget(given, Limits()).steps == 5
    assert second_budget(given, Limits(), 1.0).steps == 5
    assert first_budget(given, Limits(steps=3)).steps == 2
    assert second_budget(given, Limits(steps=3), 1.0).steps == 1
    assert second_budget(given, Limits(steps=1), 1.0) is None
    in_time = Limits(max_minutes=2.0)
    assert first_budget(given, in_time).max_minutes == 1.0
    assert second_budget(given, in_time, 30.0).max_minutes == 1.5
    assert 0 < second_budget(given, in_time, 500.0).max_minutes < 0.001
    assert checkpoint_of(Limits(checkpoint=Path("a/run.safetensors")), 2) == Path(
        "a/run-stage2.safetensors"
    )


def test_neighbours_are_neighbours_and_stay_out_of_the_held_out_slices() -> None:
    given = scan(size=20, frames=2)
    number = torch.arange(given.frames[0].numel(), dtype=torch.float32)
    frames = number.reshape(given.frames.shape[1:])[None].repeat(2, 1, 1, 1)
    given = dataclasses.replace(given, frames=frames)
    held = set(range(*given.held().indices(given.frames.shape[1])))
    for axis, step in ((0, 400), (1, 20), (2, 1)):
        sampler = NeighbourSampler(given, (axis,), 3, (8, 8), batch=5, seed=1)
        for number in range(8):
            patches = sampler.neighbours(number)
            assert torch.equal(patches, sampler.neighbours(number))
            assert torch.all(patches[:, 1:] - patches[:, :-1] == step)
            assert not held & set((patches // 400).int().unique().tolist())
    shape = NeighbourSampler(given, (1, 2), 3, (64, 8), batch=2, seed=0).neighbours(0).shape
    assert shape[:2] == (2, 3) and shape[2] <= given.rows.low and shape[3] == 8
    assert not NeighbourSampler(given, (0,), 99, (8, 8), batch=2, seed=0).views


@pytest.mark.parametrize("ratio", [2.0, 3.0, 2.6, 4.0])
def test_untrained_tscnet_interpolates_linearly(ratio: float) -> None:
    given = scan(ratio)
    refine = tscnet.SliceHalving(TscNet(4, 4, 1, 1, residual=True), torch.device("cpu"), Events())
    refined = refine(given.frames[0], given.rows)
    assert refined.shape == (given.rows.high, 40, 40)
    linear = along_first(given.rows.linear(), given.frames[0])
    # Cubic look-up between slices that lie on a line; it rounds where two lines meet.
    assert (refined - linear).abs().max() < 0.12 * float(linear.max())
    inside = slice(math.ceil(given.rows.centres[0]), int(given.rows.centres[-1]))
    even = torch.ones(given.rows.low, 5, 5)
    assert torch.allclose(refine(even, given.rows)[inside], torch.ones(1), atol=1e-4)


def test_slices_that_are_made_lie_where_they_are_wanted() -> None:
    """At a ratio of two with slices on fine samples nothing has to be looked up between."""
    rows = Rows(np.arange(0, 9, 2.0), 9, gaussian(0.8))
    stack = torch.rand(5, 6, 7)
    net = TscNet(4, 4, 1, 1)
    refined = tscnet.SliceHalving(net, torch.device("cpu"), Events())(stack, rows)
    assert torch.allclose(refined[::2], stack, atol=1e-5)
    with torch.no_grad():
        for number in range(4):
            made = net(stack[None, number : number + 2])[0, 0]
            assert torch.allclose(refined[2 * number + 1], made, atol=1e-5)


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    net = TscNet(4, 4, 1, 1)
    rows = Rows(np.array([0.0, 2.0]), 3, gaussian(0.8))
    stack = torch.rand(2, 60, 8)
    refine = tscnet.SliceHalving(net, torch.device("cpu"), Events())
    whole = refine(stack, rows)
    monkeypatch.setattr(tscnet, "_STRIP_PIXELS", 70)
    assert torch.allclose(refine(stack, rows), whole, atol=1e-5)


def test_tscnet_learns_the_slice_in_the_middle() -> None:
    given, small = scan(), recipe("tscnet_small")
    small = dataclasses.replace(small, stages=dataclasses.replace(small.stages, first=1.0))
    learned = tscnet.learn(given, small, Limits(steps=120), Events())
    start = middle_error(given, TscNet(**small.network.options))
    assert middle_error(given, learned.network) < 0.95 * start
    assert learned.figures["steps"] == 120 and len(learned.figures["stages"]) == 1
    refined = learned.refiner(given.frames[0], given.rows)
    assert refined.shape == (given.rows.high, 40, 40) and torch.isfinite(refined).all()


def cycle_stage(given: Scan, small: Recipe, steps: int, adversarial: float) -> CycleStage:
    torch.manual_seed(0)
    small = dataclasses.replace(
        small, stages=dataclasses.replace(small.stages, adversarial=adversarial)
    )
    sampler = NeighbourSampler(given, (0,), 3, (16, 16), batch=4, seed=0)
    training = dataclasses.replace(small.training, steps=steps)
    judge = SliceDiscriminator((16, 16), 4)
    network = TscNet(**small.network.options)
    return CycleStage(network, judge, sampler, small, training, Limits(), Events())


def test_the_cycle_closes_better_after_the_second_stage() -> None:
    given, small = scan(low=16), recipe("tscnet_small")

    def error(network: TscNet) -> float:
        triplets = NeighbourSampler(given, (0,), 3, (40, 40), batch=8, seed=9).neighbours(0)
        with torch.no_grad():
            outer = torch.cat([network(triplets[:, :2]), network(triplets[:, 1:])], dim=1)
            return float((network(outer) - triplets[:, 1:2]).square().mean())

    stage = cycle_stage(given, small, 60, adversarial=0.0)
    before = error(stage.network)
    result = stage.run()
    assert result.steps == 60 and result.stopped == "steps"
    assert error(stage.network) < 0.9 * before


def test_network_and_discriminator_learn_against_each_other() -> None:
    stage = cycle_stage(scan(), recipe("tscnet_small"), 4, adversarial=0.1)
    before = [
        {n: t.clone() for n, t in model.named_parameters()}
        for model in (stage.network, stage.discriminator)
    ]
    figures = stage.run().best
    assert figures["loss"] == pytest.approx(figures["cycle"] + 0.1 * figures["adversarial"])
    assert figures["discriminator"] > 0
    for model, old in zip((stage.network, stage.discriminator), before, strict=True):
        assert all(not torch.equal(t, old[n]) for n, t in model.named_parameters())


def test_a_second_stage_that_diverges_leaves_the_first() -> None:
    stage = cycle_stage(scan(), recipe("tscnet_small"), 4, adversarial=math.inf)
    before = {n: t.clone() for n, t in stage.network.state_dict().items()}
    result = stage.run()
    assert result.stopped == "diverged" and result.steps == 0
    assert all(torch.equal(t, before[n]) for n, t in result.state.items())


@pytest.mark.parametrize("looks", [3, 9])
def test_tscnet_is_cancelled_and_resumed_exactly(tmp_path: Path, looks: int) -> None:
    given, small = scan(), recipe("tscnet_small")
    whole = tscnet.learn(given, small, Limits(steps=12), Events())
    limits = Limits(steps=12, checkpoint=tmp_path / "run.safetensors")
    with pytest.raises(Cancelled):
        tscnet.learn(given, small, limits, Events(CancelAfter(looks)))
    again = tscnet.learn(given, small, dataclasses.replace(limits, resume=True), Events())
    for name, tensor in again.network.state_dict().items():
        assert torch.allclose(tensor, whole.network.state_dict()[name], atol=1e-5), name
    other = dataclasses.replace(small, seed=5)
    with pytest.raises(BadInput, match="another"):
        tscnet.learn(given, other, dataclasses.replace(limits, resume=True), Events())


@pytest.mark.parametrize(("module", "name"), [(tscnet, "tscnet_small"), (xuan, "xuan")])
def test_time_budget_covers_both_stages(module, name: str) -> None:
    given = scan()
    learned = module.learn(given, recipe(name, steps=0), Limits(max_minutes=0.05), Events())
    assert learned.figures["stopped"] == "time"
    assert [stage["stopped"] for stage in learned.figures["stages"]] == ["time", "time"]
    assert all(stage["steps"] > 0 for stage in learned.figures["stages"])


def test_too_few_slices_for_the_cycle_and_for_anything() -> None:
    given, small = scan(low=5), recipe("tscnet_small")
    learned = tscnet.learn(given, small, Limits(steps=4), Events())
    assert len(learned.figures["stages"]) == 1
    one = dataclasses.replace(given, frames=given.frames[:, :1, :2, :2])
    with pytest.raises(BadInput, match="too small in plane"):
        tscnet.learn(one, small, Limits(steps=4), Events())


@pytest.mark.parametrize("ratio", [3.0, 2.6])
def test_synthesised_stacks_are_thin_and_degraded_like_the_scan(ratio: float) -> None:
    given = scan(ratio, frames=2)
    torch.manual_seed(0)
    encoder = Vae2d(width=4, levels=1, latent=2)
    stacks = xuan.synthesised(encoder, given, torch.device("cpu"), Events())
    blocks = [block for block in given.learning() if block.stop - block.start > 2]
    assert len(stacks) == 2 * len(blocks)
    for block, (thin, cubic) in zip(blocks, stacks, strict=False):
        assert thin.shape == cubic.shape
        assert thin.shape[0] == int((block.stop - block.start - 1) * ratio + 1e-6) + 1
        with torch.no_grad():
            first = encoder.between(*given.frames[0, block][:2, None, None], 0.0)[0, 0]
        assert torch.allclose(thin[0], first, atol=1e-5)
        rows = given.rows.made_thick(len(thin))
        again = along_first(rows.cubic(), along_first(rows.acquire(), thin))
        assert torch.allclose(cubic, again, atol=1e-4)


def test_long_series_are_synthesised_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    given = scan(frames=6)
    monkeypatch.setattr(xuan, "_SYNTHESISED_VOXELS", 100_000)
    encoder = Vae2d(width=4, levels=1, latent=2)
    stacks = xuan.synthesised(encoder, given, torch.device("cpu"), Events())
    assert 1 <= len(stacks) < 6
    few = scan(low=4)
    with pytest.raises(BadInput, match="Too few slices"):
        xuan.synthesised(
            encoder,
            dataclasses.replace(few, frames=few.frames[:, :1]),
            torch.device("cpu"),
            Events(),
        )


def test_learning_from_synthesis_improves_on_cubic() -> None:
    given, small = scan(size=48), recipe("xuan", validate_every=50)
    learned = xuan.learn(given, small, Limits(steps=400), Events())
    first, second = learned.figures["stages"]
    assert (first["steps"], second["steps"]) == (120, 280)
    gain = held_out_gain(given, learned.refiner)
    assert second["gain_db"] == pytest.approx(gain, abs=0.05)
    assert gain > 0.2
    assert learned.refiner(given.frames[0], given.rows).shape == (given.rows.high, 48, 48)


def test_learning_from_synthesis_is_cancelled_and_resumed(tmp_path: Path) -> None:
    given, small = scan(), recipe("xuan")
    limits = Limits(steps=8, checkpoint=tmp_path / "run.safetensors")
    whole = CancelAfter(10**6)
    xuan.learn(given, small, Limits(steps=8), Events(whole))
    for looks in (1, 10**6 - whole.looks - 4):
        with pytest.raises(Cancelled):
            xuan.learn(given, small, limits, Events(CancelAfter(looks)))
    again = xuan.learn(given, small, dataclasses.replace(limits, resume=True), Events())
    assert again.figures["steps"] == 8


@pytest.mark.parametrize("name", ["smore", "smore_rcan"])
@pytest.mark.parametrize("ratio", [3.0, 2.6])
def test_networks_of_smore_learn_line_by_line(name: str, ratio: float) -> None:
    given, small = scan(ratio, size=48), recipe(name)
    learned = rowwise.learn(given, small, Limits(steps=1), Events())
    cubic = along_first(given.rows.cubic(), given.frames[0])
    refined = learned.refiner(given.frames[0], given.rows)
    assert refined.shape == cubic.shape
    start = rowwise.make_network(small, ratio)
    assert start.pieces == (0 if name == "smore" else 3)
    watched = rowwise.RowRefiner(start, dataclasses.replace(small.slices, merge="mean"))
    assert torch.allclose(watched(given.frames[0], given.rows), cubic, atol=1e-5)
