"""Slabs in three views, the loss of organ segmentation, held-out Dice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from mriforge.anatomy import CLASSES, VIEWS
from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.losses.organs import (
    OrganLoss,
    OrganTarget,
    class_weights,
    downsampled,
    known_shares,
    present_dice,
)
from mriforge.recipes import load_recipe
from mriforge.recipes.schema import LossSpec, OrganSpec
from mriforge.training.organs import (
    HeldOutOrgans,
    Labelled,
    OrganSampler,
    load_organ_cases,
)
from mriforge.training.slabs import draw_slab, project, random_projection

ALL = tuple(range(1, CLASSES))
PLAIN = OrganSpec(slices=4, crop=(8, 8), flip=0.0, projective=0.0)


def box_case(seed: int = 0, shape: tuple[int, int, int] = (12, 14, 16)) -> Labelled:
    """An image that is its labels, blocks of all ten organs, with a little noise."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, CLASSES, [-(-n // 4) for n in shape]).astype(np.uint8)
    labels = np.kron(blocks, np.ones((4, 4, 4), np.uint8))[: shape[0], : shape[1], : shape[2]]
    image = labels + 0.01 * rng.standard_normal(shape)
    return Labelled(image.astype(np.float32), labels, f"box {seed}", ALL)


class Reader(nn.Module):
    """A network that reads the label off the image of :func:`box_case`."""

    def __init__(self, scale: float = 50.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, slabs: torch.Tensor) -> torch.Tensor:
        classes = torch.arange(CLASSES).view(1, -1, 1, 1, 1)
        return (-self.scale * (slabs[:, None] - classes).square()).flatten(1, 2)


@pytest.mark.parametrize("view", list(VIEWS))
def test_a_slab_is_cut_from_the_volume_in_its_view(view: str) -> None:
    z, y, x = np.mgrid[:12, :14, :16]
    place = (z * 10000 + y * 100 + x).astype(np.float32)
    shares = tuple(float(name == view) for name in VIEWS)
    spec = dataclasses.replace(PLAIN, views=shares)
    slab, labels = draw_slab(place, (z % 11).astype(np.uint8), spec, np.random.default_rng(1))
    assert slab.shape == labels.shape == (4, 8, 8)
    axis = VIEWS[view]
    steps = [10000, 100, 1]
    along = slab[1:] - slab[:-1]
    assert (along == steps[axis]).all(), "slices follow one another along the view's axis"
    rest = [step for number, step in enumerate(steps) if number != axis]
    assert (slab[:, 1:] - slab[:, :-1] == rest[0]).all()
    assert (slab[:, :, 1:] - slab[:, :, :-1] == rest[1]).all()
    assert torch.equal(labels, ((slab // 10000) % 11).to(torch.uint8)), "labels moved alike"


def test_thin_volumes_repeat_their_outermost_slices() -> None:
    case = box_case(shape=(2, 9, 9))
    spec = dataclasses.replace(PLAIN, views=(1.0, 0.0, 0.0))
    slab, _ = draw_slab(case.image, case.labels, spec, np.random.default_rng(0))
    assert slab.shape[0] == 4
    assert len(np.unique(slab.numpy(), axis=0)) == 2


@pytest.mark.parametrize("seed", range(3))
def test_flips_and_projections_move_image_and_labels_alike(seed: int) -> None:
    _, y, x = np.mgrid[:8, :40, :40]
    labels = ((np.hypot(y - 18, x - 22) < 9) * 3).astype(np.uint8)
    image = labels.astype(np.float32)
    spec = OrganSpec(
        slices=4, crop=(40, 40), views=(1, 0, 0), flip=0.5, projective=1.0, perspective=0.003
    )
    slab, truth = draw_slab(image, labels, spec, np.random.default_rng(seed))
    found = (slab > 1.5) * 3
    assert (found == truth).float().mean() > 0.99
    assert truth.any(), "the organ is still there"


def test_projections_are_what_the_recipe_says() -> None:
    rng = np.random.default_rng(0)
    spec = OrganSpec()
    matrices = np.stack([random_projection(spec, rng) for _ in range(300)])
    assert np.abs(matrices[:, 2, :2]).max() < 1.4 * spec.perspective
    assert np.abs(matrices[:, 2, 0]).max() > 0.8 * spec.perspective
    assert np.allclose(np.linalg.det(matrices[:, :2, :2]), 1, atol=1e-9), "areas are kept"
    none = dataclasses.replace(spec, rotation=0.0, shear=0.0, perspective=0.0)
    assert np.allclose(random_projection(none, rng), np.eye(3))


def test_the_identity_projection_changes_nothing() -> None:
    case = box_case()
    image, labels = torch.from_numpy(case.image), torch.from_numpy(case.labels)
    moved, truth = project(image, labels, np.eye(3))
    assert torch.allclose(moved, image, atol=1e-4)
    assert torch.equal(truth, labels)


def test_batches_are_functions_of_their_number() -> None:
    recipe = dataclasses.replace(load_recipe("mdcn_small"), organs=PLAIN, seed=4)
    cases = [box_case(seed) for seed in range(3)]
    first, again = (OrganSampler(cases, recipe) for _ in range(2))
    kept = [first.batch(step) for step in range(6)]
    for step in (5, 2, 0):
        batch = again.batch(step)
        assert torch.equal(batch.input, kept[step].input)
        assert torch.equal(batch.target.labels, kept[step].target.labels)
    assert len({batch.input.sum().item() for batch in kept}) == 6


def test_slabs_of_one_batch_get_one_size() -> None:
    spec = dataclasses.replace(PLAIN, batch=6, crop=(64, 64), views=(1, 1, 1))
    recipe = dataclasses.replace(load_recipe("mdcn_small"), organs=spec)
    batch = OrganSampler([box_case()], recipe).batch(0)
    assert batch.input.shape == (6, 4, 14, 16)
    assert batch.target.labels.shape == (6, 4, 14, 16)


def scores_of(labels: torch.Tensor, sharpness: float = 30.0) -> torch.Tensor:
    one_hot = functional.one_hot(labels.long(), CLASSES).movedim(-1, 1)
    return (one_hot * sharpness).flatten(1, 2).float()


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_does() -> None:
    labels = torch.from_numpy(box_case().labels[None, :4, :8, :8])
    loss = OrganLoss(LossSpec(cross_entropy=1.0, dice=1.0), deep=1.0)
    target = OrganTarget(labels, ALL)
    assert loss(scores_of(labels), target) < 1e-4
    assert loss(scores_of((labels + 1) % CLASSES), target) > 20


def test_the_terms_are_cross_entropy_and_dice() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, CLASSES, (2, 3, 6, 5), dtype=torch.uint8)
    scores = torch.randn(2, CLASSES * 3, 6, 5)
    whole = scores.reshape(2, CLASSES, 3, 6, 5)
    target = OrganTarget(labels, ALL)
    entropy = OrganLoss(LossSpec(cross_entropy=1.0), 0.0)(scores, target)
    assert torch.allclose(entropy, functional.cross_entropy(whole, labels.long()), atol=1e-5)
    share = whole.softmax(1)
    dice = []
    for label in range(CLASSES):
        truth = labels == label
        overlap = share[:, label][truth].sum()
        dice.append(2 * overlap / (share[:, label].sum() + truth.sum()))
    found = present_dice(whole.log_softmax(1), labels.long())
    assert torch.allclose(found, 1 - torch.stack(dice).mean(), atol=1e-5)


def test_rare_classes_weigh_more() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    assert torch.allclose(class_weights(labels, 0.0), torch.ones(CLASSES, dtype=torch.double))
    weight = class_weights(labels, 0.5)
    assert weight[1] / weight[0] == pytest.approx(10**0.5)
    assert weight[2] / weight[1] == pytest.approx(3)
    counted = class_weights(labels, 1.0)
    assert counted[2] / counted[0] == pytest.approx(90)


@given(hidden=st.sets(st.integers(1, 10), max_size=9), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_hidden_organs_count_as_background(hidden: set[int], seed: int) -> None:
    torch.manual_seed(seed)
    shares = torch.randn(1, CLASSES, 2, 3, 3, dtype=torch.double).log_softmax(1)
    known = [label for label in ALL if label not in hidden]
    merged = known_shares(shares, known).exp()
    assert torch.allclose(merged.sum(1), torch.ones(1, 2, 3, 3, dtype=torch.double))
    expected = shares.exp()[:, [0, *hidden]].sum(1)
    assert torch.allclose(merged[:, 0], expected)
    assert not merged[:, sorted(hidden)].any()


def test_an_organ_that_is_not_outlined_is_neither_taught_nor_punished() -> None:
    labels = torch.zeros(1, 2, 4, 4, dtype=torch.uint8)
    spleen = scores_of(torch.full_like(labels, 2))
    loss = OrganLoss(LossSpec(cross_entropy=1.0, dice=1.0), 0.0)
    assert loss(spleen, OrganTarget(labels, (1, 3))) < 1e-4
    assert loss(spleen, OrganTarget(labels, ALL)) > 10


def test_coarser_heads_are_judged_by_coarser_labels() -> None:
    labels = torch.from_numpy(box_case(shape=(4, 32, 32)).labels[None])
    levels = [scores_of(downsampled(labels, (32 // s, 32 // s))) for s in (1, 2, 4)]
    target = OrganTarget(labels, ALL)
    spec = LossSpec(cross_entropy=1.0, dice=1.0)
    assert OrganLoss(spec, deep=1.0)(levels, target) < 1e-4
    levels[2] = -levels[2]
    assert OrganLoss(spec, deep=1.0)(levels, target) > 5
    assert OrganLoss(spec, deep=0.0)(levels, target) < 1e-4


@given(h=st.integers(3, 40), w=st.integers(3, 40), level=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_labels_get_the_size_of_a_head_whatever_it_is(h: int, w: int, level: int) -> None:
    step = 2**level
    size = (-(-h // step), -(-w // step))
    labels = torch.ones(1, 2, h, w, dtype=torch.uint8)
    assert downsampled(labels, size).shape == (1, 2, *size)


def test_gradients_of_the_loss_agree_with_differences() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, CLASSES, (1, 2, 4, 4), dtype=torch.uint8)
    scores = torch.randn(1, CLASSES * 2, 4, 4, dtype=torch.double, requires_grad=True)
    loss = OrganLoss(LossSpec(cross_entropy=1.0, dice=1.0), 0.0)
    target = OrganTarget(labels, (1, 2, 5, 9))
    assert torch.autograd.gradcheck(lambda s: loss(s, target), scores)


def test_held_out_dice_of_a_perfect_and_of_a_blind_network() -> None:
    recipe = dataclasses.replace(load_recipe("mdcn_small"), organs=PLAIN)
    judge = HeldOutOrgans([box_case(seed, (13, 14, 15)) for seed in range(2)], recipe, "cpu")
    figures = judge(Reader())
    assert figures["dice"] == pytest.approx(1.0)
    assert set(figures) == {"dice", "dice_axial", "dice_coronal", "dice_sagittal"}
    assert judge(Reader(scale=-50.0))["dice"] < 0.1


def test_slabs_that_the_network_does_not_take_are_refused() -> None:
    recipe = load_recipe("denseunet_small")
    wrong = dataclasses.replace(recipe, organs=dataclasses.replace(recipe.organs, slices=5))
    with pytest.raises(BadInput, match="slabs of 5 slices for a network that takes 8"):
        load_organ_cases(wrong, "nowhere", Events())
