"""What a training began from, for the card of what comes out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput
from mriforge.io.atomic import atomic_path
from mriforge.models.card import ModelCard
from mriforge.untrusted.texts import from_json

ORIGIN = "start.json"
"""Beside a training's checkpoint, so that the card is right however often it is resumed."""


def remembered(out_dir: Path, start: ModelCard | None, resumed: bool, writes: bool) -> dict:
    """What a training in ``out_dir`` began from: ``start`` and ``trained_on`` of its card.

    Args:
        out_dir: of the training.
        start: card of the model that was given to begin from, or None.
        resumed: it goes on from a checkpoint, so what it began from was decided before.
        writes: this process keeps it for later.

    Returns:
        ``start``: see :meth:`mriforge.models.card.ModelCard.origin`, and ``trained_on``: what that
        model saw; empty for a training that began with random weights.

    Raises:
        BadInput: what was kept cannot be read.
    """
    path = out_dir / ORIGIN
    if resumed and path.is_file():
        try:
            kept = from_json(path.read_bytes())
            return {"start": dict(kept["start"]), "trained_on": list(kept["trained_on"])}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"The file {path} does not say what the training began from.",
                "Delete it, and resume with the same --start.",
            ) from error
    found = {} if start is None else {"start": start.origin(), "trained_on": start.trained_on}
    if writes:
        if found:
            with atomic_path(path) as partial:
                partial.write_text(json.dumps(found, indent=1), encoding="utf-8")
        else:
            path.unlink(missing_ok=True)
    return found


def seen_by_both(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a model saw and what it learned from afterwards, each once."""
    return [*before, *(entry for entry in now if entry not in before)]
