"""The game that a recipe asks for."""

from __future__ import annotations

import torch
from torch import nn

from mriforge.errors import BadInput
from mriforge.networks.registry import build
from mriforge.recipes.schema import Recipe
from mriforge.training.adversarial import AdversarialUpdate, PairedUpdate
from mriforge.training.cycle import CycleUpdate
from mriforge.training.distributed import Processes
from mriforge.training.updates import Loss


def make_update(
    recipe: Recipe,
    model: nn.Module,
    loss: Loss | None,
    *,
    device: torch.device,
    group: Processes,
) -> AdversarialUpdate:
    """The game of a recipe, with fresh judges.

    Raises:
        BadInput: a judge for patches of another size, or without the branch that is asked for.
    """
    spec = recipe.adversarial
    options = {
        "spec": spec,
        "optimiser": recipe.optimiser,
        "mixed": recipe.training.mixed_precision,
        "volumes": recipe.training.mixed_volumes,
        "device": device,
        "group": group,
    }
    judges = [build(spec.discriminator, **spec.options) for _ in range(2)]
    _check(recipe, judges[0])
    if spec.cycle > 0 or spec.identity > 0:
        inverse = build(recipe.network.name, **recipe.network.options)
        return CycleUpdate(model, inverse, judges, loss, **options)
    if loss is None:
        raise BadInput(
            f"The recipe '{recipe.name}' compares its images with nothing.",
            "Set a term of loss, or adversarial.cycle.",
        )
    return PairedUpdate(model, judges[0], loss, **options)


def _check(recipe: Recipe, judge: nn.Module) -> None:
    spec, size = recipe.adversarial, tuple(recipe.patches.size)
    wanted = tuple(getattr(judge, "patch", size))
    if wanted[-len(size) :] != size[-len(wanted) :]:
        raise BadInput(
            f"The recipe '{recipe.name}' cuts patches of {_by(size)}, its discriminator judges "
            f"patches of {_by(wanted)}.",
            "Give patches.size and adversarial.options.patch the same numbers.",
        )
    if (spec.domain > 0 or spec.domain_watch) and not hasattr(judge, "domain"):
        raise BadInput(
            f"The discriminator '{spec.discriminator}' has no branch for domains.",
            "Use dragan_d3d, or set adversarial.domain to 0.",
        )


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers))
