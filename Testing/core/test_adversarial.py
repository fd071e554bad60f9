"""The game of generators and judges: losses, turns, gradients, exact resumption."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mriforge.errors import BadInput, Cancelled
from mriforge.losses import build_loss
from mriforge.losses.adversarial import (
    KINDS,
    gradient_penalty,
    joint_sparsifying,
    judge_loss,
    maker_loss,
    total_variation,
)
from mriforge.recipes.adversarial import AdversarialSpec
from mriforge.recipes.schema import InputSpec, LossSpec, OptimiserSpec
from mriforge.training.adversarial import PairedUpdate
from mriforge.training.checkpoint import load_checkpoint
from mriforge.training.cycle import CycleUpdate
from mriforge.training.distributed import Processes
from mriforge.training.domains import DomainSampler, domains_of
from mriforge.training.loop import Trainer
from mriforge.training.patches import Batch, SlabSampler
from mriforge.training.turns import steps_for, whose_turn

sys.path.insert(0, str(Path(__file__).parent))
from test_training_loop import DEGRADATION, PATCHES, CancelAt, same, trainer
from training_helpers import Tiny, training_volume


class Judge(nn.Module):
    """Few weights, smooth, with a branch for domains."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, channels, 3, stride=2, padding=1)
        self.last = nn.Conv3d(channels, 1, 1)
        self.branch = nn.Conv3d(channels, 1, 1)

    def features(self, image: Tensor) -> Tensor:
        return nn.functional.softplus(self.first(image))

    def judge(self, maps: Tensor) -> Tensor:
        return self.last(maps).mean(dim=(2, 3, 4))

    def domain(self, maps: Tensor) -> Tensor:
        return self.branch(maps).mean(dim=(2, 3, 4))

    def forward(self, image: Tensor) -> Tensor:
        return self.judge(self.features(image))

    def domain_parameters(self):
        return self.branch.parameters()

    def image_parameters(self):
        yield from self.first.parameters()
        yield from self.last.parameters()


GAME = AdversarialSpec(kind="wgan_gp", weight=0.05, first=3, critic=2, every=2, extra=3, lr=1e-2)
DRAGAN = dataclasses.replace(GAME, kind="vanilla", domain=1.0, ramp=8, domain_lr=1e-2)


def options(spec: AdversarialSpec = GAME, **changes: object) -> dict:
    given = {
        "spec": spec,
        "optimiser": OptimiserSpec(lr=3e-3),
        "mixed": False,
        "device": torch.device("cpu"),
        "group": Processes(),
    }
    return given | changes


def paired(spec: AdversarialSpec = GAME, seed: int = 4) -> PairedUpdate:
    torch.manual_seed(seed)
    return PairedUpdate(Tiny(), Judge(), build_loss(LossSpec(l1=1.0)), **options(spec))


def around(spec: AdversarialSpec = GAME) -> CycleUpdate:
    torch.manual_seed(4)
    spec = dataclasses.replace(spec, cycle=2.0, identity=1.0, sparsify=0.1)
    return CycleUpdate(Tiny(), Tiny(), [Judge(), Judge()], None, **options(spec))


@pytest.mark.parametrize("kind", KINDS)
def test_judges_and_makers_want_the_opposite(kind: str) -> None:
    high, low = torch.full((4, 1), 3.0), torch.full((4, 1), -3.0)
    assert judge_loss(kind, high, low) < judge_loss(kind, low, high)
    assert maker_loss(kind, high) < maker_loss(kind, low)
    assert maker_loss("vanilla", high, saturating=True) < maker_loss(
        "vanilla", low, saturating=True
    )


def test_cross_entropies_are_those_of_the_logarithms() -> None:
    real, fake = torch.randn(2, 50, 1, dtype=torch.float64)
    wanted = -(real.sigmoid().log() + (1 - fake.sigmoid()).log()).mean()
    torch.testing.assert_close(judge_loss("vanilla", real, fake), wanted)
    torch.testing.assert_close(maker_loss("vanilla", fake), -fake.sigmoid().log().mean())
    wanted = (1 - fake.sigmoid()).log().mean()
    torch.testing.assert_close(maker_loss("vanilla", fake, saturating=True), wanted)


def test_penalty_of_a_linear_judge_is_known() -> None:
    weight = torch.randn(2, 3, 4, dtype=torch.float64)
    image = torch.randn(5, 1, 2, 3, 4, dtype=torch.float64)
    share = torch.rand(5, 1, 1, 1, 1, dtype=torch.float64)
    found = gradient_penalty(
        lambda x: (x * weight).sum((1, 2, 3, 4))[:, None], image, 0 * image, share
    )
    torch.testing.assert_close(found, (weight.norm() - 1) ** 2)


def test_penalty_and_its_gradient_agree_with_finite_differences() -> None:
    torch.manual_seed(0)
    judge = Judge(2).double()
    real, fake = torch.rand(2, 2, 1, 4, 4, 4, dtype=torch.float64)
    share = torch.rand(2, 1, 1, 1, 1, dtype=torch.float64)
    parameters = [p.detach().clone() for p in judge.image_parameters()]

    def penalty(first_w: Tensor, first_b: Tensor, last_w: Tensor, last_b: Tensor) -> Tensor:
        given = {"first.weight": first_w, "first.bias": first_b}
        given |= {"last.weight": last_w, "last.bias": last_b}
        return gradient_penalty(
            lambda x: torch.func.functional_call(judge, given, (x,)), real, fake, share
        )

    assert torch.autograd.gradcheck(
        penalty, [p.requires_grad_(True) for p in parameters], eps=1e-6, atol=1e-6
    )


def checked(update: PairedUpdate | CycleUpdate, side: str, loss, parameters) -> None:
    """Gradients that a side descends along, against central differences of its loss."""
    slopes = torch.autograd.grad(loss(), parameters)
    for parameter, slope in zip(parameters, slopes, strict=True):
        count = parameter.numel()
        for number in range(0, count, max(1, count // 3)):
            place = np.unravel_index(number, parameter.shape)
            kept, step = float(parameter.data[place]), 1e-7
            parameter.data[place] = kept + step
            above = float(loss().detach())
            parameter.data[place] = kept - step
            below = float(loss().detach())
            parameter.data[place] = kept
            found = float(slope[place])
            assert found == pytest.approx((above - below) / (2 * step), abs=1e-5), side


def double_batch() -> Batch:
    torch.manual_seed(3)
    low, sharp = torch.rand(2, 2, 1, 4, 6, 6, dtype=torch.float64)
    return Batch(low, sharp, torch.tensor([0.0, 1.0], dtype=torch.float64))


def in_double(update: PairedUpdate | CycleUpdate) -> PairedUpdate | CycleUpdate:
    """Networks of an update in double precision, no zero start and nothing rounded on the way."""
    for network in (update.model, *update.others.values()):
        network.double()
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return update


def test_gradients_of_the_cycle_agree_with_finite_differences(monkeypatch) -> None:
    monkeypatch.setattr(Tensor, "float", lambda self: self)
    update, batch = in_double(around()), double_batch()
    parameters = [*update.model.parameters(), *update.inverse.parameters()]
    checked(update, "generator", lambda: update.generator_step(batch)[0], parameters)


def test_gradients_of_the_domain_game_agree_with_finite_differences(monkeypatch) -> None:
    monkeypatch.setattr(Tensor, "float", lambda self: self)
    update, batch = in_double(paired(DRAGAN)), double_batch()
    for side, parameters in (
        ("judge", list(update.judge.image_parameters())),
        ("domain", list(update.judge.domain_parameters())),
    ):
        checked(update, side, lambda side=side: update.judge_step(batch, 100)[side][0], parameters)
    # The branch learns to tell, the maps below it learn not to: opposite directions.
    maps = update.judge.features(batch.target).detach().requires_grad_(True)
    from mriforge.losses.adversarial import domain_loss

    told = domain_loss(update.judge.domain(maps), batch.domain)
    confused = domain_loss(update.judge.domain(maps), 1 - batch.domain)
    one, other = (torch.autograd.grad(x, maps)[0].flatten(1) for x in (told, confused))
    assert bool((nn.functional.cosine_similarity(one, other) < -0.999).all())


def test_total_variation() -> None:
    image = torch.zeros(1, 1, 1, 4, 4)
    image[..., 2:] = 1.0  # one of three steps across is 1, along the rows none
    assert float(total_variation(image)) == pytest.approx(1 / 3)
    assert float(joint_sparsifying(image, image, 0.25)) == pytest.approx(0.25 / 3)
    assert float(joint_sparsifying(0 * image, image, 0.25)) == pytest.approx(0.75 / 3)


@given(
    first=st.integers(0, 5),
    critic=st.integers(0, 4),
    every=st.integers(0, 3),
    extra=st.integers(0, 4),
    wanted=st.integers(1, 12),
)
def test_turns(first: int, critic: int, every: int, extra: int, wanted: int) -> None:
    spec = AdversarialSpec(first=first, critic=critic, every=every, extra=extra)
    sides = [whose_turn(step, spec) for step in range(steps_for(wanted, spec))]
    assert sides.count("generator") == wanted and sides[-1] == "generator"
    assert all(side == "judge" for side in sides[:first])
    gaps = "".join("g" if side == "generator" else "j" for side in sides[first:]).split("g")
    for number, gap in enumerate(gaps[:-1]):
        pause = extra if every and number and number % every == 0 else 0
        assert len(gap) == critic + pause


def run(make, checkpoint: Path | None = None, *, stop_at: int | None = None, resume: bool = False):
    """A game of 24 steps."""
    volumes = [
        dataclasses.replace(training_volume(seed=s), domain=("spine", "brain")[s % 2])
        for s in range(3)
    ]
    update = make()

    def sampler(chosen, patches):
        return SlabSampler(chosen, patches, DEGRADATION, InputSpec(), seed=3)

    base = trainer(validate=None)
    game = DomainSampler(volumes, PATCHES, sampler, seed=3)
    return Trainer(
        update.model,
        game,
        None,
        optimiser=OptimiserSpec(),
        schedule=base.schedule,
        training=dataclasses.replace(base.training, steps=24),
        validate=trainer().validate,
        score="",
        checkpoint=checkpoint,
        resume=resume,
        events=CancelAt(game, stop_at) if stop_at is not None else None,
        prefetch=False,
        update=update,
    )


@pytest.mark.parametrize("make", [paired, lambda: paired(DRAGAN), around])
def test_a_killed_game_goes_on_as_if_it_had_not_been(tmp_path: Path, make) -> None:
    whole = run(make, tmp_path / "whole.safetensors").run()
    path = tmp_path / "parts.safetensors"
    for stop in (2, 11, 17):
        with pytest.raises(Cancelled):
            run(make, path, stop_at=stop, resume=True).run()
        torch.rand(5)
    assert same(whole, run(make, path, resume=True).run())
    tensors, others = (load_checkpoint(p)[0] for p in (tmp_path / "whole.safetensors", path))
    assert tensors.keys() == others.keys() and any(n.startswith("other.") for n in tensors)
    for name, tensor in tensors.items():
        if not name.startswith("random."):
            assert torch.equal(tensor, others[name]), name


def test_the_last_state_is_kept_and_everything_is_reported() -> None:
    game = run(lambda: paired(DRAGAN))
    result = game.run()
    assert result.best["step"] == result.history[-1]["step"] == 24
    assert {"judged_real", "judged_made", "domain_accuracy", "loss", "adversarial"} <= set(
        result.history[-2]
    )
    assert {"lr", "lr_judge", "lr_domain"} == set(game.update.rates())


def test_only_the_side_whose_turn_it_is_moves() -> None:
    update, batch = paired(DRAGAN), double_batch()
    batch = Batch(*(part.float() for part in (batch.input, batch.target, batch.domain)))
    for number in range(12):
        before = [
            {n: t.clone() for n, t in network.state_dict().items()}
            for network in (update.model, update.judge)
        ]
        update.step(batch, number, 1.0, 0.0)
        moved = [
            any(not torch.equal(t, old[n]) for n, t in network.state_dict().items())
            for network, old in zip((update.model, update.judge), before, strict=True)
        ]
        assert moved == [update.moved, not update.moved]


def test_domains() -> None:
    volumes = [dataclasses.replace(training_volume(seed=s), domain=d) for s, d in enumerate("abb")]
    assert domains_of(volumes) == ["a", "b"]
    with pytest.raises(BadInput, match="two domains"):
        domains_of(volumes[1:])

    def sampler(chosen, patches):
        return SlabSampler(chosen, patches, DEGRADATION, InputSpec(), seed=3)

    batch = DomainSampler(volumes, PATCHES, sampler).batch(0)
    assert batch.domain.tolist() == [0, 0, 1, 1] and len(batch.input) == 4
    one = dataclasses.replace(PATCHES, batch=1)
    alone = DomainSampler(volumes, one, sampler)
    drawn = [float(alone.batch(step).domain) for step in range(40)]
    assert 8 < sum(drawn) < 32
    update = paired(DRAGAN)
    with pytest.raises(BadInput, match="two domains"):
        update.step(Batch(batch.input, batch.target), 0, 1.0, 0.0)
