"""What can be chosen, what is outside a model's experience, and models added and removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mriforge.errors import BadInput, MissingModel
from mriforge.interslice.methods import DEFAULT_METHOD, METHODS
from mriforge.models.store import add_model, find_model, is_users, remove_model, user_folder
from mriforge.physics.baselines import TITLES
from mriforge.physics.interpolation import BASELINES
from mriforge.superres.choices import (
    DEFAULT_MODEL,
    FUSION,
    INPLANE,
    SLICES,
    choice_named,
    choices,
)
from mriforge.superres.method import load_method
from mriforge.superres.scope import doubtful_range, outside_scope
from mriforge.superres.wish import plan_target
from mriforge.volume import Grid

ROOT = Path(__file__).resolve().parents[2]
CARD = find_model(DEFAULT_MODEL).card


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """A user's folder that is empty."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "share"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MRIFORGE_MODELS", raising=False)


def test_the_default_comes_first_and_every_ready_choice_loads() -> None:
    found = choices()
    assert found[0].name == DEFAULT_MODEL
    assert len({choice.name for choice in found}) == len(found)
    for choice in found:
        assert choice.title
        assert choice.sentence.endswith(".")
        if choice.kind != INPLANE:
            assert choice.ready
        elif choice.ready:
            assert (load_method(choice.name).model is not None) == choice.learned
        else:
            with pytest.raises(MissingModel):
                load_method(choice.name)
    assert not choice_named("unet3d").ready
    assert choice_named("nonsense") is None


def test_methods_for_thick_slices_and_fusion_are_listed_by_kind() -> None:
    found = choices()
    assert found[1].name == DEFAULT_METHOD and found[1].kind == SLICES
    assert {c.name for c in found if c.kind == SLICES} == set(METHODS)
    assert [c.name for c in found if c.kind == FUSION] == ["fuse", "fuse_implicit"]
    assert choice_named("smore").learned and not choice_named("cubic").learned
    main = [choice.main for choice in found]
    assert main == sorted(main, reverse=True), "those to compare with come last"


def test_every_interpolation_has_a_title() -> None:
    assert list(TITLES) and set(TITLES) == set(BASELINES)


def test_a_panel_can_list_and_judge_without_torch() -> None:
    code = (
        "import sys, mriforge.superres.choices as c, mriforge.superres.scope as s\n"
        "import mriforge.superres.wish\n"
        "assert c.choices()\n"
        "assert not {'torch', 'SimpleITK', 'scipy', 'nibabel'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


def test_nothing_to_say_within_the_scope() -> None:
    low = Grid((20, 64, 64), (2.0, 2.0, 5.0))
    assert outside_scope(CARD, low, plan_target(low, scale=2)) == []


@pytest.mark.parametrize(
    ("shape", "spacing", "wish", "word"),
    [
        ((20, 64, 64), (2.0, 2.0, 5.0), {"scale": 5.5}, "coarser"),
        ((20, 64, 64), (2.0, 2.0, 5.0), {"scale": 1.2}, "finer"),
        ((20, 64, 64), (2.0, 2.0, 5.0), {"spacing": (1.0, 1.0, 2.5)}, "slices"),
        ((20, 64, 64), (0.2, 0.2, 5.0), {"scale": 2}, "0.1 x 0.1 mm"),
        ((20, 64, 64), (30.0, 30.0, 5.0), {"scale": 2}, "15 x 15 mm"),
        ((20, 16, 64), (2.0, 2.0, 5.0), {"scale": 2}, "64 x 16"),
    ],
)
def test_each_way_of_leaving_the_scope_is_said(shape, spacing, wish, word) -> None:
    low = Grid(shape, spacing)
    found = outside_scope(CARD, low, plan_target(low, **wish))
    assert len(found) == 1, found
    assert word in found[0]


def test_voxels_that_are_no_magnitude_image() -> None:
    assert doubtful_range(0.0, 1.0, "MR") == []
    assert "CT" in doubtful_range(0.0, 1.0, "CT")[0]
    assert "negative" in doubtful_range(-1.0, 1.0)[0]
    assert "same value" in doubtful_range(2.0, 2.0)[0]


def test_a_model_is_added_used_and_removed(tmp_path) -> None:
    source = find_model(DEFAULT_MODEL).path
    added = add_model(source / "card.json", "mine")
    assert added.path == user_folder() / "mine" and is_users(added)
    assert choice_named("mine").ready
    with pytest.raises(BadInput, match="already"):
        add_model(source, "mine")
    with pytest.raises(BadInput, match="already"):
        add_model(source)
    remove_model("mine")
    assert choice_named("mine") is None
    assert find_model(DEFAULT_MODEL)


def test_what_is_no_model_or_not_ours_is_refused(tmp_path) -> None:
    with pytest.raises(MissingModel, match="not a model"):
        add_model(tmp_path)
    with pytest.raises(BadInput, match="name"):
        add_model(find_model(DEFAULT_MODEL).path, "a/b")
    with pytest.raises(BadInput, match="not in the user's folder"):
        remove_model(DEFAULT_MODEL)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in find_model(DEFAULT_MODEL).path.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    with open(damaged / "model.safetensors", "r+b") as handle:
        handle.seek(5000)
        handle.write(b"\xff")
    with pytest.raises(MissingModel, match="checksum"):
        add_model(damaged)
    assert not (user_folder() / "damaged").exists()
