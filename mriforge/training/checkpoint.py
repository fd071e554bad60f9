"""Checkpoints: one safetensors file, tensors as tensors, everything else as JSON in its header."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mriforge.errors import BadInput
from mriforge.io.atomic import atomic_path
from mriforge.io.weights import save_weights
from mriforge.untrusted.texts import from_json

_FORMAT = "mriforge-checkpoint-1"


def save_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Writes ``tensors`` and the JSON-serialisable ``state`` as one file, atomically."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    header = {"format": _FORMAT, "state": json.dumps(state)}
    with atomic_path(path) as partial:
        save_weights(plain, partial, header)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`save_checkpoint` wrote.

    Raises:
        BadInput: not a checkpoint, or damaged.
    """
    try:
        with safe_open(str(path), framework="pt") as handle:
            header = handle.metadata() or {}
            if header.get("format") != _FORMAT:
                raise BadInput(f"{path} is not a checkpoint of this program.")
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
            state = from_json(header["state"])
            if not isinstance(state, dict):
                raise ValueError("no state")
            return tensors, state
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise BadInput(
            f"The checkpoint {path} cannot be read.", "Delete it and start the training anew."
        ) from error


def pack_optimiser(
    optimiser: torch.optim.Optimizer, prefix: str = "optimiser"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state split into tensors and JSON."""
    tree = optimiser.state_dict()
    tensors, values = {}, {}
    for index, slots in tree["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}.{index}.{name}"] = value
            else:
                values[f"{index}.{name}"] = value
    return tensors, {"values": values, "groups": tree["param_groups"]}


def unpack_optimiser(
    optimiser: torch.optim.Optimizer,
    tensors: dict[str, Tensor],
    state: dict[str, Any],
    prefix: str = "optimiser",
) -> None:
    """The inverse of :func:`pack_optimiser`, into ``optimiser``."""
    slots: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{prefix}."):
            index, name = key.removeprefix(f"{prefix}.").split(".", 1)
            slots.setdefault(int(index), {})[name] = value
    for key, value in state["values"].items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    groups = []
    for group in state["groups"]:
        group = dict(group)
        if "betas" in group:
            group["betas"] = tuple(group["betas"])
        groups.append(group)
    optimiser.load_state_dict({"state": slots, "param_groups": groups})


def pack_random() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State of the generators of torch, NumPy and Python."""
    tensors = {"random.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    return tensors, {
        "numpy": [kind, keys.tolist(), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(internal), gauss_next],
    }


def unpack_random(tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """The inverse of :func:`pack_random`."""
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


class WeightAverage:
    """Exponential moving average of a network's weights (buffers are copied).

    The decay grows from 0 so that the first average is not dominated by the start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: t.detach().clone() for name, t in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Moves the average towards ``model`` after optimiser step number ``step`` (from 1)."""
        keep = min(self.decay, step / (step + 10.0))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1.0 - keep)
            else:
                self.state[name].copy_(value)
