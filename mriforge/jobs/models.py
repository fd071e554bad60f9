"""List, show, verify, export, add or remove models; note in a card what its images were like."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.jobs.options import option

if TYPE_CHECKING:
    from mriforge.models.store import ModelFolder

ACTIONS = ("list", "show", "verify", "export", "add", "remove", "ranges")

_PARTICIPLES = {
    "show": "shown",
    "export": "exported",
    "add": "added",
    "remove": "removed",
    "ranges": "measured",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``models``."""

    action: str = option("text", "what to do", default="list", positional="ACTION", choices=ACTIONS)
    name: str | None = option(
        "text", "model name or folder (add: its folder)", default=None, positional="NAME"
    )
    out: str | None = option("output", "export: folder for the copy", default=None, metavar="DIR")
    data: str | None = option(
        "input", "ranges: manifest of the images that the model learned from", default=None
    )
    json: bool = option("flag", "print JSON", default=False)


def check(options: Options) -> None:
    """All but ``list`` and ``verify`` need to know which model."""
    if options.name is None and options.action not in ("list", "verify"):
        raise BadInput(f"Which model should be {_PARTICIPLES[options.action]}?")
    if options.action == "export" and options.out is None:
        raise BadInput("Where should the copy go?", "Give --out DIR.")
    if (options.data is not None) != (options.action == "ranges"):
        raise BadInput("'models ranges' and --data MANIFEST belong together.", "Give both.")
    if options.out is not None and options.action != "export":
        raise BadInput("--out belongs to 'models export'.", "Leave it out.")


def run(options: Options, events: Events) -> dict[str, Any]:
    """Returns ``models``: the entries that the action is about; ``export`` adds ``output``."""
    actions = {"list": _list, "show": _show, "verify": _verify, "export": _export}
    actions |= {"add": _add, "remove": _remove, "ranges": _ranges}
    return actions[options.action](options, events)


def _list(options: Options, events: Events) -> dict[str, Any]:
    from mriforge.models.store import list_entries

    entries = list_entries()
    if options.name is not None:
        entries = [entry for entry in entries if entry["name"] == options.name]
    return {"models": entries}


def _show(options: Options, events: Events) -> dict[str, Any]:
    from mriforge.models.store import find_model

    return {"models": [_entry(find_model(options.name))]}


def _verify(options: Options, events: Events) -> dict[str, Any]:
    """Every model, or the one that is named; the first that is not whole is the error."""
    from mriforge.models.store import find_model, installed_models, verify_model

    models = [find_model(options.name)] if options.name else installed_models(damaged_too=True)
    for number, model in enumerate(models):
        events.check_cancelled()
        events.progress(number / len(models), f"verifying {model.path.name}")
        verify_model(model)
    return {"models": [_entry(model) for model in models]}


def _export(options: Options, events: Events) -> dict[str, Any]:
    from mriforge.models.store import export_model

    model = export_model(options.name, options.out)
    return {"models": [_entry(model)], "output": str(model.path)}


def _add(options: Options, events: Events) -> dict[str, Any]:
    from mriforge.models.store import add_model

    model = add_model(options.name)
    return {"models": [_entry(model)], "output": str(model.path)}


def _remove(options: Options, events: Events) -> dict[str, Any]:
    from mriforge.models.store import remove_model

    return {"models": [_entry(remove_model(options.name))]}


def _ranges(options: Options, events: Events) -> dict[str, Any]:
    """Measures the training images of a model and writes their ranges into its card."""
    import tempfile
    from pathlib import Path

    from mriforge.models.store import find_model, write_card
    from mriforge.recipes import load_recipe, recipe_from
    from mriforge.training.data import load_dataset
    from mriforge.training.ranges import ranges_of

    model = find_model(options.name)
    card = model.card
    if card.task != "superresolution":
        raise BadInput(f"The model '{card.name}' is for {card.task}: its card has no ranges.")
    recipe = recipe_from(card.settings, card.name) if card.settings else load_recipe(card.recipe)
    with tempfile.TemporaryDirectory() as cache:
        data = load_dataset(options.data, Path(cache), events=events)
        ranges = ranges_of(recipe, data.train)
    changed = write_card(model, dataclasses.replace(card, ranges=ranges))
    return {"models": [_entry(changed)], "output": str(changed.path)}


def _entry(model: ModelFolder) -> dict[str, Any]:
    entry = dataclasses.asdict(model.card)
    return {**entry, "name": model.path.name, "path": str(model.path)}
