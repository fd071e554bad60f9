"""Model folders: found by name or path, verified, whole or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mriforge.errors import BadInput, MissingModel
from mriforge.models.card import ModelCard
from mriforge.models.store import (
    CARD,
    WEIGHTS,
    export_model,
    find_model,
    installed_models,
    list_entries,
    load_model,
    save_model,
    verify_model,
)
from mriforge.networks.registry import NETWORKS, build


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty place for models, with one of them in it."""
    folder = tmp_path / "models"
    monkeypatch.setenv("MRIFORGE_MODELS", str(folder))
    torch.manual_seed(3)
    network = build("unet3d_small", width=2)
    card = ModelCard(
        name="",
        network="unet3d_small",
        network_options={"width": 2},
        recipe="unet3d_small",
        parameters=sum(p.numel() for p in network.parameters()),
        trained_on=[{"file": "a.nii.gz", "subject": "a", "licence": "CC0", "contrast": "T1w"}],
    )
    save_model(folder / "mine", network.state_dict(), card)
    return folder


def test_round_trip(store: Path) -> None:
    torch.manual_seed(3)
    original = build("unet3d_small", width=2)
    network, card = load_model("mine")
    assert not network.training
    assert card.name == "mine" and len(card.sha256) == 64
    for name, tensor in original.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])
    assert load_model(store / "mine")[1] == card
    assert find_model("mine").path == store / "mine"


def test_half_precision_is_smaller_and_loads_as_single(store: Path) -> None:
    network, card = load_model("mine")
    saved = save_model(store / "half", network.state_dict(), card, half=True)
    again, _ = load_model(saved)
    assert all(t.dtype == torch.float32 for t in again.state_dict().values())
    assert saved.weights.stat().st_size < (store / "mine" / WEIGHTS).stat().st_size
    assert torch.allclose(again.head.weight, network.head.weight, rtol=1e-3)


def test_damage_is_noticed(store: Path) -> None:
    weights = store / "mine" / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    with pytest.raises(MissingModel, match="damaged"):
        load_model("mine")
    weights.unlink()
    with pytest.raises(MissingModel, match="missing"):
        verify_model(find_model("mine"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1', '{"name": "a", "format": 99}'])
def test_broken_cards_are_refused(store: Path, text: str) -> None:
    (store / "mine" / CARD).write_text(text)
    with pytest.raises(MissingModel):
        find_model("mine")
    assert all(model.path.name != "mine" for model in installed_models())


def test_weights_of_another_network(store: Path) -> None:
    card = store / "mine" / CARD
    tree = json.loads(card.read_text())
    tree["network_options"] = {"width": 4}
    card.write_text(json.dumps(tree))
    with pytest.raises(MissingModel, match="do not fit"):
        load_model("mine")


@pytest.mark.parametrize("name", ["absent", "..", "", "some/folder"])
def test_unknown_names(store: Path, name: str) -> None:
    with pytest.raises(MissingModel):
        find_model(name)


def test_a_folder_without_card(store: Path) -> None:
    with pytest.raises(MissingModel, match="not a model"):
        find_model(store)


def test_foreign_folders_are_not_replaced(store: Path, tmp_path: Path) -> None:
    network, card = load_model("mine")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("ten years of work")
    with pytest.raises(BadInput, match="not empty"):
        save_model(tmp_path / "thesis", network.state_dict(), card)
    assert (tmp_path / "thesis" / "chapter1.txt").exists()
    save_model(store / "mine", network.state_dict(), card)
    verify_model(find_model("mine"))


def test_export(store: Path, tmp_path: Path) -> None:
    copy = export_model("mine", tmp_path / "copy")
    verify_model(copy)
    assert load_model(tmp_path / "copy")[1].sha256 == find_model("mine").card.sha256


def test_list(store: Path) -> None:
    entries = list_entries()
    networks = {entry["name"]: entry for entry in entries if entry["kind"] == "network"}
    models = {entry["name"]: entry for entry in entries if entry["kind"] == "model"}
    assert networks["unet3d"]["parameters"] == 5_418_177 and networks["unet3d"]["source"]
    assert set(networks) == set(NETWORKS)
    for key in ("network", "recipe", "sha256", "trained_on", "parameters"):
        assert models["mine"][key]
    json.dumps(entries)


def test_shipped_models_are_whole() -> None:
    shipped = Path(__file__).resolve().parents[2] / "Resources" / "Models"
    for card in shipped.glob(f"*/{CARD}"):
        network, facts = load_model(card.parent)
        assert facts.parameters == sum(p.numel() for p in network.parameters())
        assert facts.trained_on and all(entry["licence"] for entry in facts.trained_on)
        # Simulated subjects have no file.
        assert "/" not in "".join(entry.get("file", "") for entry in facts.trained_on)
