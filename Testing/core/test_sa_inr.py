"""SA-INR: layers of the paper, exact coordinates, any scale, fine-tuning on a scan."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from mriforge.errors import BadInput, Cancelled
from mriforge.events import Events
from mriforge.interslice import sa_inr as module_of_learning
from mriforge.interslice.learned import Limits
from mriforge.interslice.sa_inr import PseudoSampler, StackRefiner, learn, prepare_tuning
from mriforge.interslice.scan import Scan
from mriforge.interslice.wish import plan_slices
from mriforge.models.card import ModelCard
from mriforge.models.store import save_model
from mriforge.networks import sa_inr as module
from mriforge.networks.lora import add_lora, merge_lora
from mriforge.networks.registry import build, count_parameters
from mriforge.networks.sa_inr import SAINR
from mriforge.networks.window_attention import attended, cells, padded, scores
from mriforge.physics.interpolation import cubic_matrix, linear_matrix
from mriforge.physics.profiles import box
from mriforge.recipes import load_recipe
from mriforge.volume import Grid, Volume, as_series

POSITIONS = torch.tensor([-0.4, 0.0, 0.3, 1.0, 1.9, 2.999999, 3.0, 3.6])


def tiny(**options: object) -> SAINR:
    torch.manual_seed(0)
    options = {"width": 4, "blocks": 1, "hidden": (8,), **options}
    return build("sa_inr", **options).eval()


@pytest.fixture
def scan() -> Scan:
    grid = Grid((12, 30, 28), (1.0, 1.0, 2.3))
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    array = (0.6 + 0.4 * np.sin(0.9 * y + 0.4 * z) * np.cos(0.8 * x)).astype(np.float32)
    series = as_series(Volume(array, grid))
    return Scan.of(series, plan_slices(grid), box(2.3), 1.0)


def test_published_number_of_parameters() -> None:
    assert count_parameters(build("sa_inr")) == 2_109_697


def test_windows_are_those_of_the_paper() -> None:
    offsets = cells((2, 7, 7), 2)
    assert len(offsets) == 98
    features = torch.arange(2.0)[None, None, :, None, None] + torch.zeros(1, 1, 2, 3, 3)
    assert padded(features, (2, 7, 7), 2).shape == (1, 1, 3, 15, 15)
    # The base cell and the one above it; beyond the last slice it is repeated.
    assert padded(features, (2, 7, 7), 2)[0, 0, :, 0, 0].tolist() == [0, 1, 1]


def reference_attention(net: SAINR, stack: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Point by point, cell by cell, with features gathered by clamped indices."""
    layer, features = net.attention, net.encode(stack)
    _, _, depth, height, width = features.shape
    result = torch.zeros(len(positions), height, width)
    for n, y, x in itertools.product(range(len(positions)), range(height), range(width)):
        place = float(positions[n].clamp(0, depth - 1))
        base = math.floor(place)
        upper, share = min(base + 1, depth - 1), place - base
        point = (1 - share) * features[0, :, base, y, x] + share * features[0, :, upper, y, x]
        keys, where = [], []
        for dz, dy, dx in itertools.product(range(2), range(-3, 4), range(-3, 4)):
            cell = (
                min(base + dz, depth - 1),
                min(max(y + layer.dilation * dy, 0), height - 1),
                min(max(x + layer.dilation * dx, 0), width - 1),
            )
            keys.append(features[0, :, cell[0], cell[1], cell[2]])
            ends = (2 / (height - 1), 2 / (width - 1), 2 / (depth - 1))
            apart = (cell[1] - y, cell[2] - x, cell[0] - place)
            where.append(torch.tensor([a * e for a, e in zip(apart, ends, strict=True)]))
        window = torch.stack(keys)
        if hasattr(layer, "place"):
            logits = layer.place(torch.stack(where))[:, 0]
        else:
            logits = layer.key(window) @ layer.query(point)
        mixed = point + logits.softmax(0) @ layer.value(window)
        value = (1 - share) * stack[0, 0, base, y, x] + share * stack[0, 0, upper, y, x]
        result[n, y, x] = net.decoder(mixed)[0] + value
    return result


@pytest.mark.parametrize("kind", ["features", "position"])
@pytest.mark.parametrize("dilation", [1, 2])
@torch.no_grad()
def test_against_a_slow_reference(kind: str, dilation: int) -> None:
    net = tiny(attention=kind, dilation=dilation)
    stack, positions = torch.rand(1, 1, 4, 5, 6), torch.tensor([0.0, 0.3, 1.9, 3.0])
    expected = reference_attention(net, stack, positions)
    torch.testing.assert_close(net(stack, positions)[0, 0], expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_attention() -> None:
    torch.manual_seed(0)
    offsets, bases = cells((2, 3, 3), 2), (0, 0, 1, 2)
    features = torch.rand(2, 3, 3, 4, 3, dtype=torch.float64)
    keys = padded(features, (2, 3, 3), 2).requires_grad_()
    queries = torch.rand(2, 4, 3, 4, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 4, 18, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, k: scores(q, k, bases, offsets), (queries, keys))
    assert torch.autograd.gradcheck(lambda w, v: attended(w, v, bases, offsets), (weights, keys))


@pytest.mark.parametrize("kind", ["features", "position"])
@torch.no_grad()
def test_coordinates_are_exact(kind: str) -> None:
    """With a silent decoder the network is linear interpolation at the true positions."""
    net = tiny(attention=kind, zero_start=True)
    stack = torch.rand(2, 1, 4, 6, 5)
    matrix = linear_matrix(POSITIONS.double().numpy(), 4).float()
    expected = torch.einsum("nd,bdhw->bnhw", matrix, stack[:, 0])
    torch.testing.assert_close(net(stack, POSITIONS)[:, 0], expected, atol=3e-6, rtol=0)


@torch.no_grad()
def test_small_network_begins_as_cubic_interpolation() -> None:
    stack, inside = torch.rand(1, 1, 5, 6, 4), torch.tensor([0.0, 0.3, 1.9, 3.0, 4.0])
    expected = cubic_matrix(inside.double().numpy(), 5).float() @ stack[0, 0].flatten(1)
    found = build("sa_inr_small").eval()(stack, inside)[0, 0].flatten(1)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("ratio", [1.5, 2.3, 4.0, 6.7])
@torch.no_grad()
def test_any_scale(ratio: float) -> None:
    positions = torch.arange(0, 3 + 1e-9, 1 / ratio)
    assert tiny()(torch.rand(1, 1, 4, 7, 5), positions).shape == (1, 1, len(positions), 7, 5)


@torch.no_grad()
def test_in_pieces_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net, stack = tiny(), torch.rand(2, 1, 4, 9, 8)
    whole = net(stack, POSITIONS)
    monkeypatch.setattr(module, "POINTS", 100)
    torch.testing.assert_close(net(stack, POSITIONS), whole)
    torch.testing.assert_close(net((stack, POSITIONS)), whole)


@torch.no_grad()
def test_halo_covers_what_a_point_depends_on() -> None:
    net = tiny()
    stack = torch.rand(1, 1, 3, 30, 4)
    other = stack.clone()
    other[..., : 15 - net.halo, :] += 1
    same = (net(stack, POSITIONS) - net(other, POSITIONS)).abs()[..., 15:, :]
    assert float(same.max()) == 0


def test_options_train_too() -> None:
    net = tiny(gate=True, sparse_attention=True).train()
    result = net(torch.rand(1, 1, 4, 9, 8), POSITIONS)
    result.square().mean().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert set(net.chosen.unique().tolist()) <= {0.0, 1.0}
    net.eval()
    with torch.no_grad():
        stack = torch.rand(1, 1, 4, 9, 8)
        torch.testing.assert_close(net(stack, POSITIONS), net(stack, POSITIONS))


def test_unknown_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="attention"):
        tiny(attention="all")


def test_low_rank_adaptation_begins_as_the_network_and_merges() -> None:
    net = tiny()
    stack = torch.rand(1, 1, 4, 6, 5)
    adapted = copy.deepcopy(net)
    trained = add_lora(adapted, rank=2)
    assert trained < count_parameters(net)
    torch.testing.assert_close(adapted(stack, POSITIONS), net(stack, POSITIONS))
    for name, parameter in adapted.named_parameters():
        assert parameter.requires_grad == (".parametrizations.weight.0." in name)
        if name.endswith(".up"):
            torch.nn.init.normal_(parameter, std=0.1)
    before = adapted(stack, POSITIONS).detach()
    assert float((before - net(stack, POSITIONS).detach()).abs().max()) > 1e-4
    merge_lora(adapted)
    assert adapted.state_dict().keys() == net.state_dict().keys()
    torch.testing.assert_close(adapted(stack, POSITIONS), before)


def test_what_is_tuned() -> None:
    net = tiny()
    everything = count_parameters(net)
    assert prepare_tuning(net, "all", 4) == everything
    assert prepare_tuning(net, "partial", 4) < everything
    assert not any(p.requires_grad for p in net.encoder.parameters())


# Fine-tuning on a scan


def test_patches_are_what_the_slices_would_see(scan: Scan) -> None:
    block = load_recipe("sa_inr_small").finetune["default"]
    sampler = PseudoSampler(
        scan, dataclasses.replace(block, size=(5, 16, 16), augment=False), seed=0
    )
    stack, positions = sampler.batch(3).input
    fine = sampler.batch(3).target
    assert stack.shape[:3] == (2, 1, 5) and stack.shape[3] == 16
    assert fine.shape[2] == len(positions) and fine.shape[3:] == stack.shape[3:]
    # Linear interpolation of the thick slices is close to the pixels, and shifted ones are not.
    aligned, shifted = (
        linear_matrix((positions + shift).numpy(), 5).float() @ stack[0, 0].flatten(1)
        for shift in (0.0, 0.5)
    )
    truth = fine[0, 0].flatten(1)
    assert (aligned - truth).square().mean() < 0.7 * (shifted - truth).square().mean()
    assert torch.equal(sampler.batch(3).target, fine)
    some = PseudoSampler(scan, sampler.block, seed=0, planes=3).batch(3)
    place = int((positions == some.input.positions[1]).nonzero())
    assert torch.equal(some.target[:, :, 1], fine[:, :, place]) and some.target.shape[2] == 3


def test_published_number_of_patches(scan: Scan) -> None:
    block = load_recipe("sa_inr").finetune["published"]
    sampler = PseudoSampler(scan, block, seed=0)
    assert sampler.epoch_steps == 100 and block.epochs == 5
    assert torch.equal(sampler.batch(7).target, sampler.batch(107).target)


def test_published_tuning_can_be_asked_for() -> None:
    recipe = load_recipe("sa_inr_small")
    assert module_of_learning._block(recipe, Limits(published=True)).epochs == 5
    timed = module_of_learning._block(recipe, Limits(max_minutes=2.0))
    assert (timed.epochs, timed.max_minutes) == (0, 2.0)


def test_pixels_that_are_too_few_are_refused() -> None:
    grid = Grid((8, 6, 6), (1.0, 1.0, 7.0))
    series = as_series(Volume(np.ones(grid.shape, np.float32), grid))
    thick = Scan.of(series, plan_slices(grid), box(7.0), 1.0)
    with pytest.raises(BadInput, match="too small"):
        learn(thick, load_recipe("sa_inr_small"), Limits(steps=1), Events())


def test_learning_from_a_scan_helps_it(scan: Scan, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MRIFORGE_MODELS", str(tmp_path))
    recipe = load_recipe("sa_inr_small")
    learned = learn(scan, recipe, Limits(steps=40), Events())
    assert learned.figures["steps"] == 40 and learned.figures["start"] == ""
    fine = learned.refiner(scan.frames[0], scan.rows)
    assert fine.shape == (scan.rows.high, 30, 28) and bool(torch.isfinite(fine).all())
    errors = {}
    for pseudo in scan.held_out():
        found = learned.refiner(pseudo.stack, pseudo.rows, pseudo.fine)
        cubic = torch.einsum("hl,lbc->hbc", pseudo.rows.cubic().float(), pseudo.stack)
        for name, image in (("found", found), ("cubic", cubic)):
            error = (image - pseudo.truth).square().mean()
            errors[name] = errors.get(name, 0.0) + float(error)
    assert errors["found"] < 0.95 * errors["cubic"]


@pytest.mark.parametrize("tune", ["partial", "lora"])
def test_learning_begins_with_a_model(scan: Scan, tmp_path, tune: str) -> None:
    recipe = load_recipe("sa_inr_small")
    small = dataclasses.replace(recipe.finetune["default"], tune=tune, size=(4, 12, 12))
    recipe = dataclasses.replace(recipe, finetune={"default": small})
    torch.manual_seed(1)
    net = build("sa_inr_small")
    card = ModelCard("m", "sa_inr_small", "sa_inr_small", task="interslice")
    saved = save_model(tmp_path / "m", net.state_dict(), card)
    learned = learn(scan, recipe, Limits(steps=2, start=saved.path), Events())
    assert learned.figures["start"] == saved.card.sha256
    assert learned.figures["tuned"] == tune
    assert learned.network.state_dict().keys() == net.state_dict().keys()
    same = torch.equal(learned.network.encoder.last.weight, net.encoder.last.weight)
    assert same == (tune == "partial")


def test_another_network_is_refused(scan: Scan, tmp_path) -> None:
    net = build("unet3d_small")
    card = ModelCard("m", "unet3d_small", "unet3d_small")
    saved = save_model(tmp_path / "m", net.state_dict(), card)
    with pytest.raises(BadInput, match="not an SA-INR"):
        learn(scan, load_recipe("sa_inr"), Limits(steps=1, start=saved.path), Events())


def test_tiles_join_without_a_seam_and_can_be_cancelled() -> None:
    grid = Grid((5, 60, 40), (1.0, 1.0, 2.0))
    array = np.random.default_rng(0).random(grid.shape, np.float32)
    scan = Scan.of(as_series(Volume(array, grid)), plan_slices(grid), box(2.0), 1.0)
    whole = StackRefiner(tiny())(scan.frames[0], scan.rows)
    pieces = StackRefiner(tiny(), memory=1)
    assert len(pieces._tiles((5, 60, 40), 1)) > 1
    torch.testing.assert_close(pieces(scan.frames[0], scan.rows), whole, atol=1e-5, rtol=0)
    pieces.events.control.cancel()
    with pytest.raises(Cancelled):
        pieces(scan.frames[0], scan.rows)
