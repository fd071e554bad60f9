"""Recipes: the shipped ones are whole, sourced and strict."""

from __future__ import annotations

import json
import re

import pytest
import torch

from mriforge.anatomy import CLASSES
from mriforge.errors import BadInput
from mriforge.networks.registry import NETWORKS, build, count_parameters
from mriforge.recipes import FOLDER, load_recipe, parse_recipe, recipe_names, variant_names
from mriforge.recipes.schema import ScheduleSpec

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
    untold = ("name", "title", "source", "task", "about", "arithmetic")
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


def test_published_values_of_alamo() -> None:
    recipe = load_recipe("denseunet_k48")
    organs = recipe.organs
    assert (organs.spacing, organs.slices, organs.crop, organs.batch) == (1.2, 20, (160, 256), 1)
    assert organs.views == (4.0, 1.0, 1.0) and organs.flip == organs.projective == 0.5
    assert (organs.rotation, organs.shear, organs.perspective) == (0.05, 0.3, 0.003)
    assert recipe.optimiser.name == "adam" and recipe.optimiser.lr == 1e-4
    assert recipe.schedule == ScheduleSpec("staircase", every=50_000, factor=0.9)
    assert recipe.training.steps == 1_000_000
    assert recipe.network.options["normalisation"] == "none"


def techniques(name: str) -> tuple[bool, bool, bool]:
    """Projective deformation, deep supervision, training in three views."""
    organs = load_recipe(name).organs
    return organs.projective > 0, organs.deep_supervision > 0, min(organs.views) > 0


@pytest.mark.parametrize("base", ["denseunet_k48", "denseunet_small"])
def test_techniques_of_table_7_3_come_one_by_one(base: str) -> None:
    rows = ("baseline", "pd", "pd_ds", "pd_ds_mtt")
    found = [techniques(f"{base}:{row}") for row in rows]
    assert found == [(n > 0, n > 1, n > 2) for n in range(4)]
    assert techniques(base) == (True, True, True)


@pytest.mark.parametrize(
    ("variant", "network", "normalisation", "slices"),
    [
        *((k, f"denseunet_{k}", "batch_train", 20) for k in ("k24", "k32", "k64")),
        *((f, f"plainunet_{f}", "batch_train", 20) for f in ("f64", "f80", "f96")),
        ("no_norm", "denseunet_k48", "none", 20),
        ("bn_train", "denseunet_k48", "batch_train", 20),
        ("bn_test", "denseunet_k48", "batch", 20),
        ("instance", "denseunet_k48", "instance", 20),
        ("layer", "denseunet_k48", "layer", 20),
        ("single_slice", "denseunet_k48", "none", 1),
        ("forty_slices", "denseunet_k48", "none", 40),
    ],
)
def test_rows_of_alamos_tables(variant: str, network: str, normalisation: str, slices: int) -> None:
    recipe = load_recipe(f"denseunet_k48:{variant}")
    assert recipe.network.name == network
    assert recipe.network.options["normalisation"] == normalisation
    assert recipe.organs.slices == slices
    assert set(techniques(f"denseunet_k48:{variant}")) == {"slice" in variant}


@pytest.mark.parametrize(
    "name",
    [
        name
        for base in recipe_names()
        if load_recipe(base).task == "organs"
        for name in (base, *(f"{base}:{variant}" for variant in variant_names(base)))
    ],
)
def test_networks_of_organ_recipes_fit_their_slabs(name: str) -> None:
    recipe = load_recipe(name)
    with torch.device("meta"):
        net = build(recipe.network.name, **recipe.network.options)
        found = net.train()(torch.empty(1, recipe.organs.slices, 64, 96))
    assert [part.shape[1] for part in found] == [CLASSES * recipe.organs.slices] * len(found)
    assert (len(found) > 1) is (recipe.organs.deep_supervision > 0)
    count = NETWORKS[recipe.network.name].parameters
    assert count_parameters(net) == pytest.approx(count, rel=0.1)


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
