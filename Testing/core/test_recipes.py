"""Recipes: the shipped ones are whole, sourced and strict."""

from __future__ import annotations

import json
import re

import pytest

from mriforge.errors import BadInput
from mriforge.networks.registry import NETWORKS
from mriforge.recipes import FOLDER, load_recipe, parse_recipe, recipe_names

SMALL = """
name = "x"
[network]
name = "unet3d_small"
[optimiser]
lr = 1e-3
"""


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_is_valid(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.network.name in NETWORKS
    assert recipe.source
    json.dumps(recipe.as_dict())


@pytest.mark.parametrize("name", recipe_names())
def test_every_hyper_parameter_gives_its_source(name: str) -> None:
    untold = ("name", "title", "source", "task")
    for line in (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines():
        match = re.match(r"(\w+)\s*=", line)
        if match and match[1] not in untold:
            assert re.search(r"#.*\[[SRCM?D]\]", line), f"{name}: '{line}' has no source"


def test_published_values_of_paper_000() -> None:
    recipe = load_recipe("unet3d")
    assert recipe.optimiser.name == "adam" and recipe.optimiser.lr == 1e-4
    assert recipe.training.epochs == 200
    assert recipe.patches.size == (24, 24, 24) and recipe.patches.stride == (6, 12, 12)
    assert recipe.degradation.keep == (0.25, 0.1, 0.0625)
    assert recipe.input.upsample == "linear_halfpixel"
    assert (recipe.loss.perceptual, recipe.loss.l1, recipe.loss.l2) == (1.0, 0.0, 0.0)
    tuning = recipe.finetune["published"]
    assert (tuning.epochs, tuning.lr, tuning.stride) == (1, 1e-6, (1, 1, 1))
    assert NETWORKS[recipe.network.name].parameters == 5_418_177


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("lr = 1e-3", "learning_rate = 1e-3", ["optimiser.learning_rate", "r.toml", "lr"]),
        ("lr = 1e-3", 'lr = "fast"', ["optimiser.lr", "float"]),
        ("lr = 1e-3", "lr = -1.0", ["optimiser.lr", "negative"]),
        ("lr = 1e-3", "lr = nan", ["optimiser.lr", "finite"]),
        ("lr = 1e-3", 'name = "sgd"', ["optimiser.name", "adam"]),
        ("lr = 1e-3", "betas = [0.9]", ["optimiser.betas", "2"]),
        ("lr = 1e-3", "betas = 0.9", ["optimiser.betas", "list"]),
        ('name = "x"', "", ["'name'", "missing"]),
        ('name = "x"', 'name = "x"\nsede = 3', ["'sede'"]),
        ('name = "x"', 'name = "x"\nseed = 1.5', ["'seed'", "int"]),
        ('name = "x"', 'name = "x"\nloss = 3', ["'loss'", "table"]),
        ("[network]", "[network", ["TOML"]),
    ],
)
def test_mistakes_are_named(old: str, new: str, words: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        parse_recipe(SMALL.replace(old, new, 1), "r.toml")
    for word in words:
        assert word in caught.value.one_line()


def test_unknown_names_and_unreadable_files(tmp_path) -> None:
    with pytest.raises(BadInput) as caught:
        load_recipe("nothing")
    assert "unet3d_small" in caught.value.hint
    with pytest.raises(BadInput, match="cannot be read"):
        load_recipe(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="cannot be read"):
        load_recipe(tmp_path / "binary.toml")
