"""The card of a trained model: what it is, what it saw, what it expects, how well it did."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mriforge.errors import MissingModel
from mriforge.untrusted.texts import from_json

FORMAT = 1
_KINDS = {"str": str, "int": int, "dict": dict, "list": list}


@dataclass(frozen=True)
class ModelCard:
    """Contents of ``card.json``.

    Attributes:
        network, network_options: arguments of ``mriforge.networks.registry.build``.
        recipe: name of the training recipe.
        sha256: of ``model.safetensors``.
        trained_on: one entry per image: file, subject, licence, contrast, matrix (i, j, k) and
            spacing in mm.
        input: what the network expects: ``upsample`` (interpolation to the target grid),
            ``scale`` and ``percentile`` (intensity that becomes 1), ``slice_axis`` (always the
            depth axis of the network tensor).
        settings: the whole recipe as values, so that a model from a user's own recipe can be
            fine-tuned where that file is not; empty: the shipped recipe of that name.
        ranges: what the images were like that it learned from, ``{name: [least, most]}``: those of
            :func:`mriforge.metrics.noise.appearance`, ``spacing_mm`` in plane, ``slice_mm``, and
            ``slices``, how many; empty: unknown.
        figures: validation figures of the weights, on held-out subjects.
        training: steps, seconds, how it ended, software; ``start``: the model that it began
            from (see :meth:`origin`), if there was one. ``trained_on`` then has what that saw too.
    """

    name: str
    network: str
    recipe: str
    kind: str = "model"
    title: str = ""
    task: str = "superresolution"
    network_options: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    parameters: int = 0
    licence: str = "Apache-2.0"
    trained_on: list[dict[str, Any]] = field(default_factory=list)
    input: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    ranges: dict[str, list[float]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    limits: str = ""
    format: int = FORMAT

    def to_json(self) -> str:
        """Text of ``card.json``."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def origin(self) -> dict[str, Any]:
        """What the card of a model that begins from this one says of it.

        ``name``, ``sha256``, ``steps`` of its own training where they are known, and ``start``:
        the same of the model that it began from itself, if there was one.
        """
        found = {"name": self.name, "sha256": self.sha256}
        return {**found, **{k: self.training[k] for k in ("steps", "start") if k in self.training}}

    def _check(self) -> None:
        """Refuses entries of another type than they should have (TypeError)."""
        for item in dataclasses.fields(self):
            kind = _KINDS[str(item.type).partition("[")[0]]
            value = getattr(self, item.name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"'{item.name}' is {type(value).__name__}")

    @classmethod
    def read(cls, path: Path) -> ModelCard:
        """The card in a file.

        Raises:
            MissingModel: unreadable, not a card, or of a newer version of this program.
        """
        try:
            tree = from_json(path.read_bytes(), once=True)
            known = {f.name for f in dataclasses.fields(cls)}
            card = cls(**{key: value for key, value in tree.items() if key in known})
            card._check()
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise MissingModel(
                f"The model card {path} cannot be read.", "Copy the model's folder again."
            ) from error
        if card.format > FORMAT:
            raise MissingModel(
                f"The model {path.parent} was made by a newer version.", "Update MRIForge."
            )
        return card
