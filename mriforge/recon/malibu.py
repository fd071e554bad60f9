"""MALIBU: a network in the place of the iterations (Chen 2021, chapter 6).

Gridded factors in, reconstructed factors out, slice by slice; nothing of the scan but its gridded
factors is looked at, so that one trained network serves any basis of its rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.models.card import ModelCard
from mriforge.models.store import load_model
from mriforge.networks.feature_maps import Scaling, to_factors, to_maps
from mriforge.recipes.schema import FactorSpec
from mriforge.training.factors import denormalised
from mriforge.training.precision import bfloat16_on_cpu

TASK = "factors"


@dataclass(frozen=True)
class Malibu:
    """A trained network, ready to be applied.

    Attributes:
        network: in evaluation mode, on its device.
        card: what it is.
        half: compute in bfloat16.
    """

    network: nn.Module
    card: ModelCard
    half: bool = False

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.network.parameters()).device

    @property
    def spec(self) -> FactorSpec:
        """How it wants its input, and what the scale of its output is."""
        known = ("normalise", "label_scale")
        return FactorSpec(**{key: self.card.input[key] for key in known if key in self.card.input})

    def card_summary(self) -> dict[str, Any]:
        """Name, network and held-out figures, for a report."""
        return {
            "name": self.card.name,
            "network": self.card.network,
            "parameters": self.card.parameters,
            "recipe": self.card.recipe,
            "sha256": self.card.sha256,
            "figures": dict(self.card.figures),
            "precision": "bfloat16" if self.half else "float32",
        }


def load_malibu(
    name: str | Path,
    rank: int | None = None,
    device: torch.device | str = "cpu",
    half: bool | None = None,
) -> Malibu:
    """A trained network by name or folder.

    Args:
        name: of an installed model, or its folder.
        rank: components of the reconstruction.
        device: where to compute.
        half: bfloat16; None: where it is faster, which are processors and graphics cards that
            multiply it themselves.

    Raises:
        MissingModel: no such model, or damaged.
        BadInput: it is for something else, or of another rank.
    """
    network, card = load_model(name)
    if card.task != TASK:
        raise BadInput(
            f"The model '{name}' is for {card.task}, not for the factors of a sequence.",
            "Choose a model of MALIBU, for instance mdcn_small.",
        )
    own = int(getattr(network, "rank", 0))
    if rank is not None and own != rank:
        raise BadInput(
            f"The model '{name}' was trained for {own} components, not {rank}.",
            f"Reconstruct with --rank {own}, or choose another model.",
        )
    device = torch.device(device)
    network = network.to(device).eval().requires_grad_(False)
    if device.type == "cpu":
        network = network.to(memory_format=torch.channels_last)
    return Malibu(network, card, _fast_half(device) if half is None else half)


def _fast_half(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bfloat16_on_cpu()


@torch.inference_mode()
def apply_malibu(model: Malibu, gridded: Tensor, events: Events | None = None) -> Tensor:
    """Reconstructed factors of gridded ones.

    Args:
        model: of :func:`load_malibu`.
        gridded: ``U0`` ``(L, z, y, x)`` complex, on any device.
        events: progress, and the switch that cancels.

    Returns:
        ``(L, z, y, x)`` complex64, on the device of ``gridded``, in its units.

    Raises:
        BadInput: another number of components.
        Cancelled: between two slices.
    """
    events = events or Events()
    own = int(getattr(model.network, "rank", gridded.shape[0]))
    if gridded.shape[0] != own:
        raise BadInput(
            f"The model '{model.card.name}' takes {own} components, not {gridded.shape[0]}.",
            f"Reconstruct with --rank {own}, or choose another model.",
        )
    result = torch.empty(gridded.shape, dtype=torch.complex64, device=gridded.device)
    count = gridded.shape[1]
    for number in range(count):
        events.check_cancelled()
        events.progress(number / count, f"network, slice {number + 1} of {count}")
        result[:, number] = _one(model, gridded[:, number].to(model.device)).to(result.device)
    events.progress(1.0, "network")
    return result


def _one(model: Malibu, factors: Tensor) -> Tensor:
    """One slice ``(L, y, x)``."""
    maps, spec = to_maps(factors[None]).float(), model.spec
    given = Scaling.of(maps, spec.normalise).normalise(maps)
    if model.device.type == "cpu":
        given = given.to(memory_format=torch.channels_last)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=model.half):
        output = model.network(given)
    return to_factors(denormalised(output.float().contiguous(), maps, spec))[0]
