"""Training procedures as text: one TOML file each, every value with its source.

``load_recipe("unet3d")`` reads a shipped recipe, ``load_recipe("mine.toml")`` a file. Keys that a
recipe may have are the fields of the dataclasses in :mod:`mriforge.recipes.schema`; anything else
is refused, so that a misspelt value cannot silently fall back to a default.

A recipe may have variants, for instance ablations of a paper: tables ``[variants.NAME]`` of the
values that differ. ``load_recipe("mdcn:no_dilation")`` is one; its name becomes
``mdcn_no_dilation``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mriforge.errors import BadInput
from mriforge.recipes.build import build
from mriforge.recipes.schema import FinetuneSpec, Recipe
from mriforge.untrusted.texts import from_toml

FOLDER = Path(__file__).resolve().parent

__all__ = [
    "FinetuneSpec",
    "Recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_from",
    "recipe_names",
    "variant_names",
]


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str | Path) -> Recipe:
    """The recipe called ``name``, or in the file ``name`` (ending in ``.toml``).

    ``NAME:VARIANT`` and ``FILE.toml:VARIANT`` are variants of it.

    Raises:
        BadInput: no such recipe, variant or file, not TOML, unknown or wrongly typed keys.
    """
    name, variant = _split(str(name))
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
    return parse_recipe(text, str(path), variant)


def variant_names(name: str | Path) -> list[str]:
    """Variants of a shipped recipe."""
    return sorted(_tree((FOLDER / f"{name}.toml").read_text(encoding="utf-8"), str(name))[1])


def _split(name: str) -> tuple[str, str]:
    """Name and variant; the colon of a Windows drive does not count."""
    head, colon, variant = name.rpartition(":")
    plain = colon and not name.endswith(".toml") and not set("/\\") & set(variant)
    return (head, variant) if plain else (name, "")


def recipe_from(values: dict[str, Any], where: str) -> Recipe:
    """The inverse of ``Recipe.as_dict``, after a round trip through JSON."""
    return build(Recipe, json.loads(json.dumps(values)), where)


def parse_recipe(text: str, where: str = "recipe", variant: str = "") -> Recipe:
    """A recipe, or a variant of it, from TOML text; ``where`` names the file in messages."""
    tree, variants = _tree(text, where)
    # Every variant is checked, so that a mistake is found before it is asked for.
    built = {
        name: build(Recipe, _merged(tree, name, part), where) for name, part in variants.items()
    }
    if not variant:
        return build(Recipe, tree, where)
    if variant not in built:
        raise BadInput(
            f"The recipe {where} has no variant '{variant}'.",
            f"Its variants are {', '.join(built) or 'none'}.",
        )
    return built[variant]


def _tree(text: str, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The recipe's own values, and what its variants change."""
    try:
        tree = from_toml(text)
    except ValueError as error:
        raise BadInput(f"The recipe {where} is not valid TOML: {error}.") from error
    variants = tree.pop("variants", {})
    if not isinstance(variants, dict) or not all(isinstance(v, dict) for v in variants.values()):
        raise BadInput(f"'variants' in the recipe {where} should hold tables.")
    return tree, variants


def _merged(tree: dict[str, Any], name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """``tree`` with the values of a variant, under the variant's name."""

    def merge(base: Any, new: Any) -> Any:
        if not (isinstance(base, dict) and isinstance(new, dict)):
            return new
        return {**base, **{key: merge(base.get(key), value) for key, value in new.items()}}

    merged = merge(tree, changes)
    return {**merged, "name": f"{tree.get('name', '')}_{name}"}
