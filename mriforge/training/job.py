"""A recipe's training: recipe and manifest in, model folder out."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mriforge import __version__
from mriforge.device import choose_device
from mriforge.errors import BadInput, Failed
from mriforge.events import Events
from mriforge.io.atomic import check_writable
from mriforge.losses import build_loss, has_terms
from mriforge.models.card import ModelCard
from mriforge.models.store import ModelFolder, load_model, save_model
from mriforge.recipes import Recipe, load_recipe
from mriforge.recipes.schema import PatchSpec
from mriforge.training.data import Dataset, TrainingVolume, load_dataset
from mriforge.training.distributed import Processes, processes
from mriforge.training.factor_pairs import PairSet
from mriforge.training.folds import refolded
from mriforge.training.loop import Trainer, TrainResult
from mriforge.training.origin import remembered, seen_by_both
from mriforge.training.patches import make_sampler
from mriforge.training.ranges import ranges_of
from mriforge.training.validation import HeldOut

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class TrainOutcome:
    """A finished training: the model's folder and how the run went."""

    model: ModelFolder
    result: TrainResult


def train(
    recipe: str | Path | Recipe,
    manifest: str | Path,
    out_dir: str | Path,
    *,
    max_minutes: float | None = None,
    resume: bool = False,
    device: str | torch.device | None = None,
    half: bool = False,
    start: str | Path | None = None,
    events: Events | None = None,
) -> TrainOutcome:
    """Trains ``recipe`` on ``manifest``; writes ``out_dir/model``, a model folder.

    ``out_dir`` also keeps the checkpoint and the cache of normalised volumes.

    Args:
        max_minutes: time budget of the whole training, resumptions included; it replaces the
            recipe's. 0: no limit.
        resume: continue from ``out_dir``'s checkpoint, if there is one.
        device: as of :func:`mriforge.device.choose_device`.
        half: store the weights in half precision.
        start: a trained model (name or folder) of the same network to begin from; the new model's
            card names it and what it saw.

    Raises:
        BadInput: recipe, manifest or output folder unusable, or a checkpoint in the way.
        Cancelled: after a checkpoint was written.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    out_dir, events = Path(out_dir), events or Events()
    if max_minutes is not None:
        if not (max_minutes >= 0 and np.isfinite(max_minutes)):
            raise BadInput(f"The time budget is {max_minutes} minutes.", "Give a positive number.")
        limits = dataclasses.replace(recipe.training, max_minutes=max_minutes)
        recipe = dataclasses.replace(recipe, training=limits)
    check_writable(out_dir / "model")
    if (out_dir / CHECKPOINT).is_file() and not resume:
        raise BadInput(
            f"There is already a training in {out_dir}.",
            "Continue it with --resume, or choose another folder.",
        )
    chosen = choose_device(device or "auto")
    with processes(chosen) as group:
        if chosen.type == "cuda" and group.world > 1:
            chosen = torch.device("cuda", group.local_rank)
            torch.cuda.set_device(chosen)
        data = _data(recipe, manifest, out_dir, group, events.part(0.0, 0.02))
        model, before = _start(recipe, start)
        resumed = resume and (out_dir / CHECKPOINT).is_file()
        before = remembered(out_dir, before, resumed, writes=group.first)
        trainer = make_trainer(
            recipe,
            data,
            model=model,
            checkpoint=out_dir / CHECKPOINT,
            resume=resume,
            device=chosen,
            group=group,
            events=events.part(0.02, 1.0),
        )
        result = trainer.run()
        state, card = deliver(recipe, data, result, chosen, before)
        if not group.first:
            return TrainOutcome(ModelFolder(out_dir / "model", card), result)
        return TrainOutcome(save_model(out_dir / "model", state, card, half=half), result)


def _start(
    recipe: Recipe, name: str | Path | None
) -> tuple[nn.Module, ModelCard] | tuple[None, None]:
    """The network to begin from with its card, or None for a fresh one."""
    if name is None:
        return None, None
    model, card = load_model(name)
    if (card.network, card.network_options) != (recipe.network.name, recipe.network.options):
        model = _doubled(recipe, model)
    if model is None:
        raise BadInput(
            f"The model {name} is another network than the recipe '{recipe.name}' trains.",
            "Start from a model of the same network and options.",
        )
    return model, card


def _doubled(recipe: Recipe, model: nn.Module) -> nn.Module | None:
    """A network of two stages from one that is trained; None where they do not fit."""
    from mriforge.networks.registry import build

    network = build(recipe.network.name, **recipe.network.options)
    begin = getattr(network, "begin_with", None)
    try:
        if begin is None:
            return None
        begin(model.state_dict())
    except RuntimeError:  # other layers, or other sizes of them
        return None
    return network


def _data(
    recipe: Recipe, manifest: str | Path, out_dir: Path, group: Processes, events: Events
) -> Dataset | PairSet:
    """The first process fills the cache, the others wait for it."""
    load = _loader(recipe, manifest, out_dir, events)
    data = load() if group.first else None
    meeting = torch.device("cuda", group.local_rank) if _on_nccl() else torch.device("cpu")
    group.agree(False, meeting)
    return data or load()


def _loader(
    recipe: Recipe, manifest: str | Path, out_dir: Path, events: Events
) -> Callable[[], Dataset | PairSet]:
    if recipe.task == "factors":
        from mriforge.training.factors import load_factors

        return lambda: load_factors(recipe, manifest)
    if recipe.task == "organs":
        from mriforge.training.organs import load_organ_cases

        return lambda: load_organ_cases(recipe, manifest, events)
    percentile = recipe.input.percentile if recipe.input.scale == "percentile" else 99.9

    def load() -> Dataset:
        data = load_dataset(manifest, out_dir / "cache", percentile=percentile, events=events)
        return refolded(data, recipe.validation, recipe.seed)

    return load


def _on_nccl() -> bool:
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return ready and torch.distributed.get_backend() == "nccl"


def make_trainer(
    recipe: Recipe,
    data: Dataset | PairSet,
    *,
    model: nn.Module | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    group: Processes | None = None,
    events: Events | None = None,
) -> Trainer:
    """The trainer of a recipe on its data; a fresh network unless given."""
    from mriforge.networks.registry import build

    group, events = group or Processes(), events or Events()
    torch.manual_seed(recipe.seed)
    model = model or build(recipe.network.name, **recipe.network.options)
    model = model.to(device)
    sampler, validate, score = _data_of_task(recipe, data, model, group, device)
    if validate is None:
        events.log("No validation images: the last state is kept instead of the best one.")
    loss = _loss(recipe, model)
    loss = loss.to(device) if loss is not None else None
    update = None
    if recipe.adversarial.kind != "none":
        from mriforge.training.games import make_update

        update = make_update(recipe, model, loss, device=torch.device(device), group=group)
        # Every judge knows less error and less sharpness: there is no best state of a game.
        score = ""
    if getattr(model, "gate", None) is not None:
        from mriforge.training.interslice import GateLoss

        loss = GateLoss(loss, model)
    return Trainer(
        model,
        sampler,
        loss,
        optimiser=recipe.optimiser,
        schedule=recipe.schedule,
        training=recipe.training,
        validate=validate,
        score=score,
        checkpoint=checkpoint,
        resume=resume,
        identity=identity(recipe),
        device=device,
        group=group,
        events=events,
        update=update,
    )


def _loss(recipe: Recipe, model: nn.Module) -> nn.Module | None:
    """What the network minimises; None where only judges and cycles teach it."""
    if recipe.adversarial.kind != "none" and not has_terms(recipe.loss):
        return None
    if recipe.task == "organs":
        from mriforge.losses.organs import OrganLoss

        return OrganLoss(recipe.loss, recipe.organs.deep_supervision)
    loss: nn.Module = build_loss(recipe.loss)
    if recipe.task == "factors":
        from mriforge.training.factors import FactorLoss

        loss = FactorLoss(loss)
    if recipe.loss.weight_l1 > 0 or recipe.loss.weight_l2 > 0:
        from mriforge.losses.weights import WeightPenalty

        loss = WeightPenalty(loss, model, recipe.loss)
    return loss


def _factor_data(
    recipe: Recipe, data: PairSet, group: Processes, device: torch.device | str
) -> tuple[Any, Any, str]:
    from mriforge.training.factors import FactorLoss, FactorSampler, HeldOutFactors

    sampler = FactorSampler(data.train, recipe, rank=group.rank, world=group.world, device=device)
    held_out = None
    if data.validation and recipe.validation.patches:
        loss = FactorLoss(build_loss(recipe.loss))
        held_out = HeldOutFactors(data.validation, recipe, loss, device)
    return sampler, held_out, "agreement_db"


def _data_of_task(
    recipe: Recipe, data: Any, model: nn.Module, group: Processes, device: torch.device | str
) -> tuple[Any, Any, str]:
    """Where batches come from, how the network is scored on held-out subjects, and by what."""
    if recipe.task == "factors":
        return _factor_data(recipe, data, group, device)
    if recipe.task == "organs":
        from mriforge.training.organs import HeldOutOrgans, OrganSampler

        sampler: Any = OrganSampler(data.train, recipe, rank=group.rank, device=device)
        held_out = HeldOutOrgans(data.validation, recipe, device) if data.validation else None
        return sampler, held_out, "dice"
    if recipe.task == "segmentation":
        from mriforge.training.labels import LabelSampler, held_out_labels

        sampler = LabelSampler(data.train, recipe, rank=group.rank, device=device)
        return sampler, held_out_labels(data.validation, recipe, device), "dice"
    if recipe.task == "interslice":
        from mriforge.training.interslice import HeldOutStacks, StackSampler, check_recipe

        check_recipe(recipe, model)
        sampler = StackSampler(
            data.train, recipe, rank=group.rank, world=group.world, device=device
        )
        return sampler, HeldOutStacks.of_recipe(recipe, data.validation, device), "gain_db"
    if recipe.input.upsample == "none":
        from mriforge.training.enlarge import data_of

        return data_of(recipe, data, group.rank, device)

    def sample(volumes: list[TrainingVolume], patches: PatchSpec) -> Any:
        return make_sampler(
            volumes,
            patches,
            recipe.degradation,
            recipe.input,
            recipe.augmentation,
            seed=recipe.seed,
            rank=group.rank,
            world=group.world,
            device=device,
        )

    if recipe.adversarial.domain > 0 or recipe.adversarial.domain_watch:
        from mriforge.training.domains import DomainSampler

        sampler = DomainSampler(
            data.train, recipe.patches, sample, seed=recipe.seed, rank=group.rank
        )
    else:
        sampler = sample(data.train, recipe.patches)
    return sampler, HeldOut.of_recipe(recipe, data.validation, device), "gain_db"


def identity(recipe: Recipe) -> dict[str, Any]:
    """The recipe without what may change between resumptions: limits of time and of steps."""
    tree = recipe.as_dict()
    for key in ("max_minutes", "steps", "epochs", "checkpoint_seconds"):
        tree["training"].pop(key)
    tree.pop("finetune")
    return tree


def _expected_input(recipe: Recipe) -> dict[str, Any]:
    """What the network expects, for the card."""
    if recipe.task == "factors":
        keys = ("normalise", "label_scale")
        return {key: getattr(recipe.factors, key) for key in keys}
    if recipe.task == "organs":
        from mriforge.training.organs import expected_input

        return expected_input(recipe.organs)
    return {**dataclasses.asdict(recipe.input), "slice_axis": "depth"}


def deliver(
    recipe: Recipe,
    data: Dataset | PairSet,
    result: TrainResult,
    device: torch.device | str = "cpu",
    before: dict[str, Any] | None = None,
) -> tuple[dict[str, Tensor], ModelCard]:
    """The weights to keep of a run, and their card.

    Of a perceptual network only the contracting path is kept: the head was there to train it.

    Args:
        before: what the run began from, see :func:`mriforge.training.origin.remembered`.

    Raises:
        Failed: the training never reached a usable state.
    """
    from mriforge.networks.registry import build, count_parameters

    if not all(bool(torch.isfinite(t).all()) for t in result.state.values()):
        raise Failed(
            "The training broke down before it learned anything.",
            "Lower the learning rate in the recipe.",
        )
    options = dict(recipe.network.options)
    model = build(recipe.network.name, **options)
    model.load_state_dict(result.state)
    if recipe.task == "segmentation" and hasattr(model, "without_head"):
        model = model.without_head()
        options.pop("classes", None)
    before = before or {}
    figures = {k: round(v, 4) for k, v in result.best.items() if k not in ("step", "seconds")}
    card = ModelCard(
        name=recipe.name,
        title=recipe.title,
        task=recipe.task,
        network=recipe.network.name,
        network_options=options,
        recipe=recipe.name,
        parameters=count_parameters(model),
        settings=recipe.as_dict(),
        trained_on=seen_by_both(before.get("trained_on", []), data.provenance()),
        input=_expected_input(recipe),
        ranges=ranges_of(recipe, data.train) if recipe.task == "superresolution" else {},
        figures={**figures, "held_out_subjects": sorted({v.subject for v in data.validation})},
        training={
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            "stopped": result.stopped,
            "device": torch.device(device).type,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "mriforge": __version__,
            **({"start": before["start"]} if before else {}),
        },
    )
    return model.state_dict(), card
