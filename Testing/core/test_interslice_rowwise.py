"""Learning row by row from the scan itself: batches, network, gate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Control, Events
from mriforge.interslice.gate import held_out_gate, sentence
from mriforge.interslice.learned import Limits
from mriforge.interslice.lines import LineMatrices, LineSampler
from mriforge.interslice.rows import along_first
from mriforge.interslice.rowwise import RowRefiner, learn, make_network
from mriforge.interslice.scan import Scan
from mriforge.interslice.wish import plan_slices
from mriforge.networks.smore_small import SmoreSmall
from mriforge.physics.slices import SliceProfile
from mriforge.recipes import load_recipe
from mriforge.recipes.schema import SliceSpec
from mriforge.volume import Grid, Series

SPEC = SliceSpec(slices=8, columns=16)


def tissue(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Blobs with sharp edges, the same in every direction."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    fine = ndimage.gaussian_filter(rng.standard_normal(shape), 1)
    return ((field > 0) * 0.6 + (np.abs(field) < 0.02) * 0.4 + 0.5 * fine).clip(0).astype("f4")


def scan_of(ratio: float, shape: tuple[int, int, int] = (48, 44, 40), frames: int = 1) -> Scan:
    high = Grid(shape)
    operator = SliceProfile(high, ratio)
    stack = np.stack(
        [operator.A(torch.from_numpy(tissue(shape, f))).numpy() for f in range(frames)]
    )
    series = Series(stack, operator.low, np.arange(frames))
    return Scan.of(series, plan_slices(operator.low, like=high), operator.profile, 1.0)


@pytest.mark.parametrize("ratio", [2.0, 2.3, 4.0, 5.5])
def test_batches_are_pairs_of_what_they_say(ratio: float) -> None:
    """The input of every patch is its target made thick, with the real slices' offsets."""
    scan = scan_of(ratio)
    pieces = math.ceil(ratio)
    sampler = LineSampler(scan, SPEC, batch=5, pieces=pieces, seed=3)
    for step in range(6):
        batch = sampler.batch(step)
        low, cubic, to_fine = batch.input.low, batch.input.cubic, batch.input.to_fine
        assert low.shape[:2] == cubic.shape[:2] == (5, 1)
        assert batch.target.shape == cubic.shape
        if to_fine is None:
            assert cubic.shape[2] == low.shape[2] * pieces
        else:
            assert to_fine.shape == (cubic.shape[2], low.shape[2] * pieces)
        # Interpolating the thick rows where the fine rows are said to be gives about the target.
        error = (cubic - batch.target).square().mean()
        flipped = (cubic.flip(2) - batch.target).square().mean()
        assert error < 0.35 * flipped


def test_a_batch_is_a_function_of_its_number() -> None:
    scan = scan_of(2.3)
    one, two = (LineSampler(scan, SPEC, batch=3, pieces=3, seed=1) for _ in range(2))
    two.batch(0)
    assert torch.equal(one.batch(7).target, two.batch(7).target)
    assert not torch.equal(one.batch(7).target, one.batch(8).target)


def test_learning_never_sees_the_held_out_slices() -> None:
    scan = scan_of(4.0)
    scan.frames[:, scan.held()] = float("nan")
    sampler = LineSampler(scan, SPEC, batch=8, pieces=4, seed=0)
    assert all(torch.isfinite(sampler.batch(step).target).all() for step in range(20))


def test_narrow_images_are_refused() -> None:
    scan = scan_of(4.0, (48, 12, 12))
    with pytest.raises(BadInput, match="too small in plane"):
        LineSampler(scan, SPEC, batch=2, pieces=4, seed=0)


def test_the_network_has_the_size_it_says_and_starts_at_cubic() -> None:
    network = SmoreSmall()
    # head 320, six blocks of 2 * 9,248, tail 9 * 32 * 4 + 4
    assert sum(p.numel() for p in network.parameters()) == 320 + 6 * 18_496 + 1_156
    low, cubic = torch.rand(2, 1, 6, 9), torch.rand(2, 1, 24, 9)
    assert torch.equal(network(low, cubic), cubic)
    wide = SmoreSmall(pieces=0)
    assert torch.equal(wide(low, cubic), cubic)


@pytest.mark.parametrize("ratio", [2.3, 4.0])
def test_both_orientations_are_merged(ratio: float) -> None:
    """A network that adds a constant adds it once; the axes come back where they were."""
    scan = scan_of(ratio)
    network = make_network(load_recipe("smore_small"), scan.rows.ratio)
    cubic = along_first(scan.rows.cubic(), scan.frames[0])
    refiner = RowRefiner(network, SliceSpec())
    assert torch.allclose(refiner(scan.frames[0], scan.rows), cubic, atol=1e-5)
    torch.nn.init.constant_(network.tail.bias, 0.25)
    assert torch.allclose(refiner(scan.frames[0], scan.rows), cubic + 0.25, atol=1e-4)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    one = refiner(scan.frames[0], scan.rows, (True, False))
    other = refiner(scan.frames[0], scan.rows, (False, True))
    both = refiner(scan.frames[0], scan.rows)
    assert not torch.allclose(one, other, atol=1e-3)
    assert torch.allclose(both, (one + other) / 2, atol=1e-5)


def test_images_are_independent_of_how_many_fit_into_memory(monkeypatch) -> None:
    scan = scan_of(2.3)
    torch.manual_seed(0)
    network = make_network(load_recipe("smore_small"), scan.rows.ratio)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    whole = RowRefiner(network, SliceSpec())(scan.frames[0], scan.rows)
    monkeypatch.setattr("mriforge.interslice.rowwise._PIXELS_AT_ONCE", 1)
    pieces = RowRefiner(network, SliceSpec())(scan.frames[0], scan.rows)
    assert torch.allclose(whole, pieces, atol=1e-5)


@pytest.mark.parametrize("ratio", [2.3, 4.0])
def test_learning_gains_on_what_it_has_not_seen(ratio: float) -> None:
    scan = scan_of(ratio, (48, 64, 64))
    learned = learn(scan, load_recipe("smore_small"), Limits(steps=120), Events())
    assert learned.figures["steps"] == 120
    gate = held_out_gate(scan, learned.refiner)
    assert gate.gain_db > 0.3
    assert 0 < gate.step <= 1
    assert f"{gate.full_gain_db:+.2f} dB" in sentence(gate)


def test_a_method_that_harms_is_not_followed() -> None:
    scan = scan_of(4.0)

    def noise(stack, rows, fine=(True, True)):
        generator = torch.Generator().manual_seed(0)
        cubic = along_first(rows.cubic(), stack)
        return cubic + torch.randn(cubic.shape, generator=generator)

    gate = held_out_gate(scan, noise)
    assert gate.step == 0.0
    assert "no better than cubic" in sentence(gate)
    assert gate.full_gain_db < -3


def test_equal_steps_give_equal_networks() -> None:
    scan = scan_of(4.0)
    states = [
        learn(scan, load_recipe("smore_small"), Limits(steps=5), Events()).network.state_dict()
        for _ in range(2)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_learning_can_be_stopped_and_resumed(tmp_path) -> None:
    scan, recipe = scan_of(4.0), load_recipe("smore_small")
    straight = learn(scan, recipe, Limits(steps=8), Events())
    checkpoint = tmp_path / "state.safetensors"
    control = Control()

    class Stopping(Events):
        seen = 0

        def metric(self, **values):
            self.seen += "loss" in values
            if self.seen == 1:
                control.cancel()

    with pytest.raises(Cancelled):
        learn(scan, recipe, Limits(steps=8, checkpoint=checkpoint), Stopping(control))
    assert checkpoint.is_file()
    again = learn(scan, recipe, Limits(steps=8, checkpoint=checkpoint, resume=True), Events())
    for name, weight in straight.network.state_dict().items():
        assert torch.allclose(weight, again.network.state_dict()[name], atol=1e-6), name


def test_matrices_of_a_line_are_single_precision() -> None:
    matrices = LineMatrices.of(scan_of(4.0).rows, 4)
    assert matrices.to_fine is None
    assert matrices.cubic.dtype == torch.float32
    assert LineMatrices.of(scan_of(2.3).rows, 3).to_fine is not None
