"""Training procedures as text: one TOML file each, every value with its source.

``load_recipe("unet3d")`` reads a shipped recipe, ``load_recipe("mine.toml")`` a file. Keys that a
recipe may have are the fields of the dataclasses in :mod:`mriforge.recipes.schema`; anything else
is refused, so that a misspelt value cannot silently fall back to a default.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput
from mriforge.recipes.schema import FinetuneSpec, Recipe, build

FOLDER = Path(__file__).resolve().parent

__all__ = ["FinetuneSpec", "Recipe", "load_recipe", "parse_recipe", "recipe_from", "recipe_names"]


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str | Path) -> Recipe:
    """The recipe called ``name``, or in the file ``name`` (ending in ``.toml``).

    Raises:
        BadInput: no such recipe or file, not TOML, unknown or wrongly typed keys.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
        if not path.is_file():
            raise BadInput(
                f"There is no recipe called '{name}'.",
                f"Recipes: {', '.join(recipe_names())}; or give the path of a .toml file.",
            )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"The recipe {path} cannot be read.", "Check the path and that it is a text file."
        ) from error
    return parse_recipe(text, str(path))


def recipe_from(values: dict[str, Any], where: str) -> Recipe:
    """The inverse of ``Recipe.as_dict``, after a round trip through JSON."""
    return build(Recipe, json.loads(json.dumps(values)), where)


def parse_recipe(text: str, where: str = "recipe") -> Recipe:
    """A recipe from TOML text; ``where`` names the file in messages."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"The recipe {where} is not valid TOML: {error}.") from error
    return build(Recipe, tree, where)
