"""Training in two processes that `torchrun` starts (gloo): the same as in one with both batches.

Every loss here is a mean over the batch, so the mean of two processes' gradients is the gradient of
their batches together.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mriforge.errors import Cancelled
from mriforge.events import Events
from mriforge.losses import build_loss
from mriforge.recipes.adversarial import AdversarialSpec
from mriforge.recipes.schema import LossSpec, OptimiserSpec, ScheduleSpec, TrainingSpec
from mriforge.training.adversarial import PairedUpdate
from mriforge.training.cycle import CycleUpdate
from mriforge.training.distributed import Processes, processes
from mriforge.training.loop import Trainer, TrainResult
from mriforge.training.patches import Batch

sys.path.insert(0, str(Path(__file__).parent))
from test_adversarial import DRAGAN, GAME, Judge
from training_helpers import Tiny

STEPS = 12
# No gradient penalty: the mixture that it is taken at is drawn anew for every batch.
VANILLA = dataclasses.replace(GAME, kind="vanilla")
AROUND = dataclasses.replace(GAME, penalty=0.0, cycle=2.0, identity=1.0, sparsify=0.1)
GAMES: dict[str, AdversarialSpec | None] = {
    "alone": None,
    "paired": VANILLA,
    "dragan": DRAGAN,
    "around": AROUND,
}


class Share:
    """Each process's part of batches of four."""

    epoch_steps = None

    def __init__(self, group: Processes) -> None:
        self.group = group

    def batch(self, step: int) -> Batch:
        source = torch.Generator().manual_seed(step)
        low, sharp = torch.rand(2, 4, 1, 4, 8, 8, generator=source)
        domain = torch.tensor([0.0, 1.0, 1.0, 0.0])
        part = slice(self.group.rank, None, self.group.world)
        return Batch(low[part], sharp[part], domain[part])


def training(
    name: str, group: Processes, *, checkpoint: Path | None = None, resume: bool = False,
    events: Events | None = None, spec: AdversarialSpec | None = None,
) -> Trainer:  # fmt: skip
    """A few steps of one of the games, or of a network alone."""
    torch.manual_seed(4)
    spec, loss, model = spec or GAMES[name], build_loss(LossSpec(l1=1.0)), Tiny()
    optimiser = OptimiserSpec(lr=3e-3)
    # Weights that do not begin at zero: what they are at the end then depends on every step.
    torch.nn.init.normal_(model.layers[-1].weight, std=0.1)
    options = {"optimiser": optimiser, "mixed": False, "device": torch.device("cpu")}
    update = None
    if spec is not None and name == "around":
        judges = [Judge(), Judge()]
        update = CycleUpdate(model, Tiny(), judges, None, spec=spec, group=group, **options)
    elif spec is not None:
        update = PairedUpdate(model, Judge(), loss, spec=spec, group=group, **options)
    return Trainer(
        model,
        Share(group),
        loss,
        optimiser=optimiser,
        schedule=ScheduleSpec(),
        training=TrainingSpec(steps=STEPS, checkpoint_seconds=1e9),
        checkpoint=checkpoint,
        resume=resume,
        group=group,
        events=events,
        prefetch=False,
        update=update,
    )


def weights(trainer: Trainer, result: TrainResult) -> dict[str, torch.Tensor]:
    """Of the trained network and of the others of its game."""
    found = {f"model.{n}": t for n, t in result.state.items()}
    for name, network in getattr(trainer.update, "others", {}).items():
        found |= {f"{name}.{n}": t.detach().clone() for n, t in network.state_dict().items()}
    return found


class StopLater(Events):
    """Asks to stop after some questions."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    @property
    def cancelled(self) -> bool:
        self.left -= 1
        if self.left < 0:
            self.control.cancel()
        return super().cancelled


def interrupted(folder: Path, group: Processes) -> dict[str, torch.Tensor]:
    """A game with penalty, stopped on the second process alone, and resumed on both."""
    path = folder / "game.safetensors"
    events = StopLater(5 if group.rank == 1 else 1000)
    with pytest.raises(Cancelled):
        training("paired", group, checkpoint=path, events=events, spec=GAME).run()
    # The checkpoint is the first process's work; the others wait for it here.
    group.agree(False, torch.device("cpu"))
    torch.rand(7)
    again = training("paired", group, checkpoint=path, resume=True, spec=GAME)
    return weights(again, again.run())


def main(folder: Path) -> None:
    """What each of the two processes does; its weights are left in the folder."""
    with processes(torch.device("cpu")) as group:
        assert group.world == 2
        found = {}
        for name in GAMES:
            trainer = training(name, group)
            found[name] = weights(trainer, trainer.run())
        whole = training("paired", group, spec=GAME)
        found["whole"] = weights(whole, whole.run())
        found["resumed"] = interrupted(folder, group)
        torch.save(found, folder / f"rank{group.rank}.pt")


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> list[dict[str, dict[str, torch.Tensor]]]:
    """Weights that the two processes end with."""
    folder = tmp_path_factory.mktemp("torchrun")
    here = Path(__file__).resolve()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*command, "--nproc-per-node", "2", str(here), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(here.parents[2])},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", [*GAMES, "whole", "resumed"])
def test_processes_end_with_the_same_weights(both, name: str) -> None:
    one, other = (rank[name] for rank in both)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("name", GAMES)
def test_two_processes_are_one_with_both_batches(both, name: str) -> None:
    trainer = training(name, Processes())
    before = {n: t.clone() for n, t in trainer.model.state_dict().items()}
    wanted = weights(trainer, trainer.run())
    for part, tensor in wanted.items():
        torch.testing.assert_close(both[0][name][part], tensor, rtol=1e-3, atol=2e-5, msg=part)
    moved = [n for n, t in before.items() if not torch.allclose(t, wanted[f"model.{n}"], atol=1e-3)]
    assert len(moved) == len(before)


def test_a_game_of_two_processes_resumes_exactly(both) -> None:
    whole, resumed = both[0]["whole"], both[0]["resumed"]
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
