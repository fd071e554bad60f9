"""The models section of the panels: what is installed, and what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from mriforge.errors import MissingModel
from mriforge.models.store import (
    ModelFolder,
    add_model,
    installed_models,
    is_users,
    remove_model,
    user_folder,
    verify_model,
)

__all__ = ["Row", "add_model", "models_folder", "remove_model", "rows", "verify"]


@dataclass(frozen=True)
class Row:
    """One model as a line of a table."""

    name: str
    origin: str
    size: str
    details: str
    removable: bool


def rows(task: str) -> list[Row]:
    """The installed models for ``task``; those whose card cannot be read are left out."""
    found = [_row(model) for model in installed_models() if model.card.task == task]
    return sorted(found, key=lambda row: (row.removable, row.name))


def verify(task: str) -> list[str]:
    """One sentence for each model for ``task``: whole, or what is wrong and what to do."""
    found = []
    for model in installed_models():
        if model.card.task != task:
            continue
        try:
            verify_model(model)
        except MissingModel as error:
            found.append(error.one_line())
        else:
            found.append(_("{name}: the checksum is right.").format(name=model.path.name))
    return found


def models_folder() -> Path:
    """The user's folder of models, made if it is missing.

    Raises:
        OSError: it cannot be made.
    """
    folder = user_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _row(model: ModelFolder) -> Row:
    card = model.card
    own = is_users(model)
    size = model.weights.stat().st_size / 1e6 if model.weights.is_file() else 0.0
    seen = "; ".join(
        f"{entry.get('file')} ({entry.get('contrast')}, {entry.get('licence')})"
        for entry in card.trained_on
    )
    details = _("{title}. Trained on: {seen}. {limits} Licence {licence}. SHA-256 {sum}").format(
        title=card.title or card.name,
        seen=seen or "-",
        limits=card.limits,
        licence=card.licence,
        sum=card.sha256[:16] + "...",
    )
    return Row(
        model.path.name,
        _("added") if own else _("supplied"),
        _("{size} MB").format(size=f"{size:.1f}"),
        details,
        own,
    )
