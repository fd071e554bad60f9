"""Where models live, and how they are found, verified, loaded and saved.

Search order: a folder given as such, the folders of the environment variable
``MRIFORGE_MODELS``, the user's folder, the models that come with the program.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mriforge.errors import BadInput, Cancelled, MissingModel, OutOfMemory
from mriforge.io.atomic import atomic_directory, atomic_path
from mriforge.models.card import ModelCard

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "model.safetensors"
CARD = "card.json"
_LARGEST_OPTION = 10_000


@dataclass(frozen=True)
class ModelFolder:
    """A model on the disk; its weights are not read yet."""

    path: Path
    card: ModelCard

    @property
    def weights(self) -> Path:
        """The file with the weights."""
        return self.path / WEIGHTS


def user_folder() -> Path:
    """Where ``finetune`` and ``train`` may keep models for later use."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "mriforge" / "models"


def search_folders() -> list[Path]:
    """Folders that may hold model folders, first to last; those that exist."""
    package = Path(__file__).resolve().parents[1]
    places = [Path(p) for p in os.environ.get("MRIFORGE_MODELS", "").split(os.pathsep) if p]
    places += [
        user_folder(),
        package.parent / "Resources" / "Models",  # source checkout and installed extension
        package / "resources" / "models",  # wheel
    ]
    return [place for place in places if place.is_dir()]


def installed_models(*, damaged_too: bool = False) -> list[ModelFolder]:
    """Every model in the search folders; the first of a name wins.

    Args:
        damaged_too: refuse a card that cannot be read instead of leaving its model out.

    Raises:
        MissingModel: a damaged card, with ``damaged_too``.
    """
    found: dict[str, ModelFolder] = {}
    for place in search_folders():
        for card in sorted(place.glob(f"*/{CARD}")):
            try:
                found.setdefault(card.parent.name, ModelFolder(card.parent, ModelCard.read(card)))
            except MissingModel:
                if damaged_too:
                    raise
    return list(found.values())


def find_model(name: str | Path) -> ModelFolder:
    """The model called ``name``, or in the folder ``name``.

    Raises:
        MissingModel: nothing of that name, or a folder without a card.
    """
    path = Path(name)
    if (path / CARD).is_file():
        return ModelFolder(path, ModelCard.read(path / CARD))
    if path.is_dir() and len(path.parts) > 1:
        raise MissingModel(f"{path} is not a model: it has no {CARD}.", "Give a model's folder.")
    plain = len(path.parts) == 1 and path.name not in ("", ".", "..")
    for place in search_folders() if plain else []:
        card = place / path / CARD
        if card.is_file():
            return ModelFolder(card.parent, ModelCard.read(card))
    names = ", ".join(sorted(m.path.name for m in installed_models())) or "none"
    raise MissingModel(
        f"There is no model called '{name}'.",
        f"Installed: {names}. Give one of these names or the folder of a model.",
    )


def verify_model(model: ModelFolder) -> None:
    """Refuses weights that are missing or are not those of the card.

    Raises:
        MissingModel
    """
    if not model.weights.is_file():
        raise MissingModel(f"The weights {model.weights} are missing.", "Copy the model again.")
    if file_sha256(model.weights) != model.card.sha256:
        raise MissingModel(
            f"The weights {model.weights} are damaged or not those of the card (checksum).",
            "Copy the model's folder again, or train it anew.",
        )


def load_model(name: str | Path | ModelFolder) -> tuple[nn.Module, ModelCard]:
    """A trained network in evaluation mode on the CPU, with its card; the checksum is verified.

    Raises:
        MissingModel: not found, damaged, or its weights do not fit its network.
    """
    import torch
    from safetensors.torch import load_file

    from mriforge.networks.registry import build

    model = name if isinstance(name, ModelFolder) else find_model(name)
    verify_model(model)
    card = model.card
    try:
        _refuse_strange(card.network_options)
        # Before any memory is asked for: how large the network would be, and are the weights.
        with torch.device("meta"):
            planned = build(card.network, **card.network_options).state_dict()
        _compare(model.weights, {name: tuple(tensor.shape) for name, tensor in planned.items()})
        network = build(card.network, **card.network_options)
        weights = {
            n: t.float() if t.is_floating_point() else t
            for n, t in load_file(model.weights).items()
        }
        if not all(bool(t.isfinite().all()) for t in weights.values() if t.is_floating_point()):
            raise ValueError("weights that are not numbers")
        network.load_state_dict(weights)
    except (Cancelled, OutOfMemory, MemoryError):
        raise
    except Exception as error:
        # Networks take their options as they come, and fail in as many ways.
        raise MissingModel(
            f"The weights {model.weights} do not fit the network '{card.network}'.",
            "Copy the model's folder again, or update MRIForge.",
        ) from error
    return network.eval(), card


def _refuse_strange(value: Any) -> None:
    """Refuses options that would build a network without end."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        _refuse_strange(item)
    if isinstance(value, int | float) and not abs(value) <= _LARGEST_OPTION:
        raise ValueError(f"the option {value}")


def _compare(weights: Path, planned: dict[str, tuple[int, ...]]) -> None:
    """Refuses weights of other names or shapes, by their header alone (ValueError)."""
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as handle:
        held = {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118
    if held != planned:
        name = next(n for n in [*planned, *held] if planned.get(n) != held.get(n))
        raise ValueError(f"'{name}' is {held.get(name)}, not {planned.get(name)}")


def save_model(
    folder: str | Path, state: dict[str, Tensor], card: ModelCard, *, half: bool = False
) -> ModelFolder:
    """Writes a model folder as a whole; an existing model there is replaced.

    Args:
        state: the network's ``state_dict``.
        card: its checksum and name are filled in here (name only if empty).
        half: store floating-point weights in half precision (for shipping).

    Raises:
        BadInput: the folder exists and is not a model.
    """
    import torch

    from mriforge.io.weights import save_weights

    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CARD).is_file():
        raise BadInput(f"The folder {folder} is not empty.", "Give the name of a new folder.")
    tensors = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous().clone()
        tensors[name] = tensor.half() if half and tensor.dtype == torch.float32 else tensor
    with atomic_directory(folder, replace=True) as partial:
        save_weights(tensors, partial / WEIGHTS, {"format": "pt"})
        # safetensors writes 0600; models in a shared folder are for everyone who may read it.
        (partial / WEIGHTS).chmod(0o644)
        card = dataclasses.replace(
            card, name=card.name or folder.name, sha256=file_sha256(partial / WEIGHTS)
        )
        (partial / WEIGHTS).chmod(0o644)  # safetensors makes it private
        (partial / CARD).write_text(card.to_json(), encoding="utf-8")
    return ModelFolder(folder, card)


def write_card(model: ModelFolder, card: ModelCard) -> ModelFolder:
    """Replaces the card of a model; its weights stay as they are.

    Raises:
        BadInput: the folder cannot be written, or the card is of other weights.
    """
    if card.sha256 != model.card.sha256:
        raise BadInput(f"The card is not of the weights in {model.path}.")
    with atomic_path(model.path / CARD) as partial:
        partial.write_text(card.to_json(), encoding="utf-8")
    return ModelFolder(model.path, card)


def add_model(source: str | Path, name: str | None = None) -> ModelFolder:
    """Copies a model from elsewhere into the user's folder, verified; nothing else is run.

    Args:
        source: a model's folder, its ``card.json`` or its ``model.safetensors``.
        name: under which it will be found; default: the name of its folder.

    Raises:
        MissingModel: not a model, or damaged.
        BadInput: a model of that name is there, or the name is not one.
    """
    source = Path(source)
    folder = source.parent if source.name in (CARD, WEIGHTS) else source
    if not (folder / CARD).is_file():
        raise MissingModel(
            f"{source} is not a model.", f"Choose a folder that holds {CARD} and {WEIGHTS}."
        )
    model = ModelFolder(folder, ModelCard.read(folder / CARD))
    verify_model(model)
    name = name or folder.resolve().name
    if name != Path(name).name or name in ("", ".", ".."):
        raise BadInput(f"'{name}' cannot be the name of a model.", "Give a plain name.")
    if any(name == other.path.name for other in installed_models()):
        raise BadInput(f"There is a model called '{name}' already.", "Give it another name.")
    destination = user_folder() / name
    destination.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(destination) as partial:
        for file in (WEIGHTS, CARD):
            shutil.copyfile(folder / file, partial / file)
    return ModelFolder(destination, model.card)


def is_users(model: ModelFolder) -> bool:
    """Whether the model is in the user's folder, and so may be removed."""
    return model.path.resolve().parent == user_folder().resolve()


def remove_model(name: str) -> ModelFolder:
    """Deletes a model from the user's folder.

    Raises:
        MissingModel: no model of that name.
        BadInput: it came with the program, or is in a folder that is not the user's.
    """
    model = find_model(name)
    if not is_users(model):
        raise BadInput(
            f"The model '{name}' is not in the user's folder {user_folder()}.",
            "Only models that were added can be removed.",
        )
    shutil.rmtree(model.path)
    return model


def export_model(name: str | Path, destination: str | Path) -> ModelFolder:
    """Copies a verified model folder to ``destination`` (a new folder)."""
    model = find_model(name)
    verify_model(model)
    destination = Path(destination)
    with atomic_directory(destination) as partial:
        for file in (WEIGHTS, CARD):
            shutil.copyfile(model.path / file, partial / file)
    return ModelFolder(destination, model.card)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def list_entries() -> list[dict[str, Any]]:
    """What ``models list --json`` prints: every network, then every trained model."""
    from mriforge.networks.registry import describe

    networks = [{"kind": "network", **entry} for entry in describe()]
    models = []
    for model in installed_models():
        entry = dataclasses.asdict(model.card)
        entry["path"] = str(model.path)
        entry["name"] = model.path.name
        models.append(entry)
    return networks + models
