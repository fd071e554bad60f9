"""Recipes of the adversarial and dense networks: what they state, and that they train."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from mriforge.errors import BadInput, MissingDependency, MissingModel
from mriforge.losses.perceptual import PerceptualLoss
from mriforge.losses.vgg import VggLoss
from mriforge.models.store import load_model
from mriforge.networks.registry import build, count_parameters
from mriforge.recipes import Recipe, load_recipe, variant_names
from mriforge.recipes.schema import TrainingSpec, ValidationSpec
from mriforge.superres.cost import Cost
from mriforge.training.data import read_manifest
from mriforge.training.job import train
from mriforge.training.layouts import entries_of_folder, test_subjects
from mriforge.training.turns import steps_for

sys.path.insert(0, str(Path(__file__).parent))
from training_helpers import phantom

test_subjects.__test__ = False
RECIPES = ("dcsrn", "mdcsrn", "mdcsrn_gan", "dragan", "gan_cpce", "gan_circle")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four subjects of two domains; one of each is held out."""
    entries = []
    for seed in range(4):
        image = (phantom((10, 32, 36), seed).transpose(2, 1, 0) * 900).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), tmp_path / f"{seed}.nii.gz")
        entries.append(
            {
                "path": f"{seed}.nii.gz",
                "subject": f"s{seed}",
                "split": "train" if seed < 2 else "validation",
                "licence": "CC0",
                "domain": ("brain", "spine")[seed % 2],
            }
        )
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize("name", RECIPES)
def test_every_variant_builds_its_networks(name: str) -> None:
    for recipe in [load_recipe(name), *(load_recipe(f"{name}:{v}") for v in variant_names(name))]:
        model = build(recipe.network.name, **recipe.network.options)
        assert count_parameters(model) > 0
        if recipe.adversarial.kind != "none" and recipe.name.endswith("small"):
            judge = build(recipe.adversarial.discriminator, **recipe.adversarial.options)
            assert judge(torch.rand(1, 1, *recipe.patches.size)).shape == (1, 1)


def test_what_the_works_state() -> None:
    gan = load_recipe("mdcsrn_gan")
    assert gan.training.steps == steps_for(200_000, gan.adversarial)
    assert (gan.adversarial.weight, gan.adversarial.first, gan.adversarial.critic) == (
        1e-3,
        10000,
        5,
    )
    dragan = load_recipe("dragan")
    assert dragan.training.steps == steps_for(300_000, dragan.adversarial)
    rates = (dragan.optimiser.lr, dragan.adversarial.lr, dragan.adversarial.domain_lr)
    assert rates == (1e-4, 1e-5, 1e-4) and dragan.patches.size == (64, 80, 80)
    plain = load_recipe("dcsrn")
    assert (plain.loss.l2, plain.optimiser.lr, plain.patches.batch) == (1.0, 1e-5, 2)
    circle = load_recipe("gan_circle").adversarial
    assert circle.cycle / circle.identity == 2 and circle.cycle / circle.sparsify == pytest.approx(
        20
    )
    assert load_recipe("gan_cpce").loss.perceptual_network == "vgg19"


def tiny(name: str, **options: object) -> Recipe:
    """A recipe's game with small patches, networks and few steps."""
    recipe = load_recipe(name)
    size = tuple(min(n, 8) if i == 0 else 16 for i, n in enumerate(recipe.patches.size))
    judge = dict(recipe.adversarial.options)
    if recipe.adversarial.kind != "none":
        judge |= {"patch": list(size[-len(judge["patch"]) :]), "width": 2, "dense": 4}
    network = recipe.network.options | options
    return dataclasses.replace(
        recipe,
        network=dataclasses.replace(recipe.network, options=network),
        patches=dataclasses.replace(recipe.patches, size=size, batch=2, per_slab=1),
        adversarial=dataclasses.replace(recipe.adversarial, options=judge, first=1, critic=1),
        training=TrainingSpec(steps=5, validate_every=3, checkpoint_seconds=1e9),
        validation=ValidationSpec(patches=1, size=(2, 0, 0)),
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mdcsrn_gan:small", {"blocks": 2, "growth": 2}),
        ("dragan:gan", {"blocks": 2, "growth": 2}),
        ("dragan:small", {"blocks": 2, "growth": 2}),
        ("gan_cpce:small", {}),
        ("gan_circle:small", {}),
    ],
)
def test_games_train_and_leave_a_model(
    tmp_path: Path, manifest: Path, name: str, options: dict
) -> None:
    outcome = train(tiny(name, **options), manifest, tmp_path / "out", device="cpu")
    model, card = load_model(tmp_path / "out" / "model")
    assert outcome.result.steps == 5 and card.figures["loss" if "circle" not in name else "cycle"]
    assert card.parameters == count_parameters(model)
    assert model(torch.rand(1, 1, 4, 12, 12)).shape == (1, 1, 4, 12, 12)
    assert card.settings["adversarial"]["kind"] in ("wgan_gp", "vanilla")


def test_two_stages_begin_with_one(tmp_path: Path, manifest: Path) -> None:
    options = {"blocks": 2, "growth": 2}
    one = train(tiny("dragan:small_joint", **options), manifest, tmp_path / "one", device="cpu")
    two = tiny("dragan:small", **options)
    train(two, manifest, tmp_path / "two", device="cpu", start=one.model.path)
    state = load_model(tmp_path / "two" / "model")[0].state_dict()
    before = load_model(one.model.path)[0].state_dict()
    assert all(torch.equal(state[f"first.{name}"], tensor) for name, tensor in before.items())
    assert any(not torch.equal(state[f"second.{name}"], t) for name, t in before.items())
    other = tiny("dragan:small", **(options | {"growth": 3}))
    with pytest.raises(BadInput, match="another network"):
        train(other, manifest, tmp_path / "three", device="cpu", start=one.model.path)


def test_judges_must_fit_their_recipe(tmp_path: Path, manifest: Path) -> None:
    good = tiny("mdcsrn_gan:small", blocks=2, growth=2)
    wrong = dataclasses.replace(good, patches=dataclasses.replace(good.patches, size=(8, 20, 16)))
    with pytest.raises(BadInput, match="judges patches of 8x16x16"):
        train(wrong, manifest, tmp_path / "a", device="cpu")
    branch = dataclasses.replace(good.adversarial, domain=1.0)
    with pytest.raises(BadInput, match="no branch"):
        train(dataclasses.replace(good, adversarial=branch), manifest, tmp_path / "b", device="cpu")
    silent = dataclasses.replace(good, loss=dataclasses.replace(good.loss, l1=0.0))
    with pytest.raises(BadInput, match="with nothing"):
        train(silent, manifest, tmp_path / "c", device="cpu")


def test_vgg_needs_what_a_machine_may_not_have(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises((MissingDependency, MissingModel), match="torchvision"):
        VggLoss()
    layers = torch.nn.Conv2d(3, 4, 3, padding=1)
    loss = VggLoss(layers)
    image = torch.rand(1, 1, 2, 8, 8)
    assert float(loss(image, image)) == 0
    moved = image.clone().requires_grad_(True)
    loss(moved, 0 * image).backward()
    assert moved.grad.abs().sum() > 0 and layers.weight.grad is None


def test_perceptual_networks_take_single_slices() -> None:
    network = build("pln_small")
    loss = PerceptualLoss(network)
    image = torch.rand(1, 1, 1, 16, 16)
    assert float(loss(image, image)) == 0 and float(loss(image, 0.5 * image)) > 0


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_the_layout_of_ixi(tmp_path: Path) -> None:
    for number in range(20):
        touch(tmp_path / "IXI-T2" / f"IXI{number:03d}-Guys-{number}-T2.nii.gz")
    touch(tmp_path / "IXI-T2" / "readme.txt")
    entries = read_manifest(tmp_path)
    subjects = [entry.subject for entry in entries]
    assert len(subjects) == len(set(subjects)) == 16
    assert [e.split for e in entries].count("validation") == 2
    left = test_subjects([f"IXI{n:03d}" for n in range(20)])
    assert len(left) == 4 and not left & set(subjects)
    assert {entry.domain for entry in entries} == {"T2"}
    assert read_manifest(tmp_path) == entries


def test_the_layout_of_hcp(tmp_path: Path) -> None:
    for number in range(10):
        touch(tmp_path / f"{100 + number}" / "T1w" / "T1w_acpc_dc_restore.nii.gz")
    entries = entries_of_folder(tmp_path)
    assert len(entries) == 8 and entries[0].contrast == "T1w"
    assert entries[0].licence.startswith("WU-Minn")


def test_folders_in_no_layout(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither"):
        read_manifest(tmp_path)
    touch(tmp_path / "IXI001-Guys-1-T2.nii.gz")
    with pytest.raises(BadInput, match="too few"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", [*RECIPES, "unet3d", "unet3d_small"])
def test_the_arithmetic_that_recipes_state(name: str) -> None:
    for recipe in [load_recipe(name), *(load_recipe(f"{name}:{v}") for v in variant_names(name))]:
        cost = Cost(build(recipe.network.name, **recipe.network.options))
        size = (4, 256, 256)
        assert recipe.about and recipe.arithmetic > 0
        assert recipe.arithmetic == pytest.approx(cost.macs(size) / np.prod(size), rel=0.05)
