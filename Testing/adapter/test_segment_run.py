"""A segmentation and a fine-tuning from start to end, by real workers and a tiny network."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import slicer
from launcher_helpers import install, wait_for_no_process
from scene_helpers import add_image, add_linear, add_sequence, contents
from segment_helpers import add_organ_model, voxels_of

from mriforge.anatomy import ORGANS
from mriforge.volume import Volume

ROWS = ((6.0, 0, 0, -150), (0, -6.0, 0, 120), (0, 0, 8.0, -60), (0, 0, 0, 1))
SHAPE = (16, 40, 50)


class Seen:
    """What a view was told."""

    def __init__(self) -> None:
        self.fractions, self.lines, self.metrics, self.error = [], [], [], None
        self.cancel_at, self.session = None, None

    def busy(self, running, cancelling): ...

    def result(self, nodes, figures): ...

    def metric(self, values):
        self.metrics.append(values)

    def log(self, text):
        self.lines.append(text)

    def progress(self, fraction, text):
        self.fractions.append(fraction)
        if self.cancel_at is not None and fraction >= self.cancel_at:
            self.session.cancel()

    def ended(self, error):
        self.error = error


@pytest.fixture
def lib(app, scene, tmp_path, monkeypatch):
    from MRIForgeLib.devices import Device
    from MRIForgeLib.segment import session, tuning, wishes

    install(tmp_path, monkeypatch)
    monkeypatch.setenv("MRIFORGE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    add_organ_model(tmp_path / "models" / "tiny")

    class Lib:
        Session, TuneSession = session.Session, session.TuneSession
        TuneWishes = tuning.TuneWishes

        @staticmethod
        def wishes(node, **more):
            chosen = {"model": "tiny", "device": Device.CPU, "surfaces": False}
            return wishes.Wishes(node, **{**chosen, **more})

    return Lib


def image(seed: int = 0) -> np.ndarray:
    """Smooth blobs with noise, float32."""
    rng = np.random.default_rng(seed)
    coarse = rng.random([-(-n // 8) for n in SHAPE])
    fine = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2)[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return (100 * fine + rng.normal(0, 3, SHAPE)).astype(np.float32)


def by_the_command(node, folder: Path) -> np.ndarray:
    """Labels of the command ``segment``, run in this process on the same voxels."""
    from mriforge import io
    from mriforge.events import Events
    from mriforge.jobs.segment import Options, run
    from MRIForgeLib.nodes import volume_from_node

    folder.mkdir()
    io.write(volume_from_node(node), folder / "in.npy")
    options = Options(
        input=str(folder / "in.npy"), output=str(folder / "out.npy"), model="tiny", device="cpu"
    )
    run(options, Events())
    return io.read(folder / "out.npy").array


def test_what_the_command_answers_is_in_the_scene(lib, scene, tmp_path) -> None:
    node = add_image(scene, image(), ROWS, "belly")
    moved = add_linear(scene, ((0, -1, 0, 30), (1, 0, 0, -9), (0, 0, 1, 4), (0, 0, 0, 1)))
    node.SetAndObserveTransformNodeID(moved.GetID())
    seen = Seen()
    session = lib.Session(lib.wishes(node), seen)
    nodes = session.execute()
    made = nodes["segmentation"]
    labels = by_the_command(node, tmp_path / "direct")
    there = [organ for organ in ORGANS if (labels == organ.label).any()]
    assert there, "a network without training calls something an organ"
    assert list(made.GetSegmentation().GetSegmentIDs()) == [organ.key for organ in there]
    for organ in there:
        assert np.array_equal(voxels_of(made, organ.key), labels == organ.label)
    assert made.GetParentTransformNode() is moved
    assert made.GetAttribute("MRIForge.model") == "tiny"
    assert len(made.GetAttribute("MRIForge.modelSha256")) == 64
    unsure = slicer.util.arrayFromVolume(nodes["disagreement"])
    assert unsure.shape == SHAPE and 0 <= unsure.min() <= unsure.max() <= 1
    assert seen.fractions == sorted(seen.fractions)
    assert any("of 10 organs were found" in line for line in seen.lines)
    volumes = {m.organ.key: m.ml for m in session.measures[0]}
    assert session.figures["volumes_ml"] == pytest.approx(volumes, abs=0.001)
    assert session.measures[0][there[0].label - 1].voxels == (labels == there[0].label).sum()
    assert wait_for_no_process(tmp_path) == []


def test_a_series_frame_by_frame(lib, scene, tmp_path) -> None:
    arrays = [image(seed) for seed in range(2)]
    _sequence, browser, proxy = add_sequence(scene, arrays, ("0", "3"), ROWS)
    session = lib.Session(lib.wishes(proxy, views=("axial", "coronal")))
    nodes = session.execute()
    assert session.index == ["0", "3"] and len(session.measures) == 2
    assert browser.GetProxyNode(nodes["sequence"]) is nodes["segmentation"]
    assert nodes["table"].GetTable().GetNumberOfRows() == 2


def test_a_cancelled_run_leaves_the_scene_as_it_was(lib, scene, tmp_path) -> None:
    node = add_image(scene, image(), ROWS)
    before = contents(scene)
    seen = Seen()
    seen.cancel_at = 0.01
    seen.session = lib.Session(lib.wishes(node), seen)
    with pytest.raises(Exception, match="cancelled"):
        seen.session.execute()
    assert contents(scene) == before
    assert wait_for_no_process(tmp_path) == []


RECIPE = """
name = "tiny"
title = "Tiny"
task = "organs"
[network]
name = "denseunet_small"
options = {growth = 4, levels = 3, layers = 2, slices = 20}
[organs]
spacing = 8.0
batch = 1
crop = [32, 40]
synthetic = 0.0
deep_supervision = 0.0
[loss]
cross_entropy = 1.0
dice = 1.0
[training]
steps = 4
validate_every = 2
mixed_precision = false
[validation]
patches = 1
"""


def test_a_model_is_fine_tuned_on_cases_of_the_scene_and_used(lib, scene, tmp_path, monkeypatch):
    from mriforge.models.store import find_model
    from MRIForgeLib.nodes import grid_of
    from MRIForgeLib.placing import Place
    from MRIForgeLib.segment import tuning
    from MRIForgeLib.segmentations import add_segmentation

    (tmp_path / "tiny.toml").write_text(RECIPE)
    monkeypatch.setattr(tuning, "recipe_of", lambda model: str(tmp_path / "tiny.toml"))
    pairs = []
    for number in range(2):
        node = add_image(scene, image(number), ROWS, f"belly {number}")
        labels = np.digitize(image(number), [30, 60, 90]).astype(np.uint8)
        labels[labels == 3] = 5
        outlines = Volume(labels, grid_of(node))
        pairs.append((node, add_segmentation(outlines, Place.of(node), "drawn", {})))
    before = contents(scene)
    seen = Seen()
    from MRIForgeLib.devices import Device

    wishes = lib.TuneWishes("tiny", "mine", pairs, minutes=5.0, device=Device.CPU)
    session = lib.TuneSession(wishes, seen)
    session.execute()
    assert session.model == "mine" and contents(scene) == before
    card = find_model("mine").card
    assert card.task == "organs" and card.training["steps"] == 4
    # What the model has seen: what it began with, and the cases.
    assert [entry["kind"] for entry in card.trained_on] == ["tissue map", "labelled volume"]
    assert card.trained_on[1]["organs"] == [1, 2, 5]
    assert card.training["start"] == find_model("tiny").card.origin()
    assert "Tiny, fine-tuned" in card.title and "Fine-tuned from 'tiny'" in card.limits
    assert "belly" not in card.to_json(), "nobody's name leaves the scene"
    assert any("'mine' was added to your models: 4 steps" in line for line in seen.lines)
    assert seen.metrics, "the chart has something to show"
    nodes = lib.Session(lib.wishes(pairs[0][0], model="mine")).execute()
    assert nodes["segmentation"].GetAttribute("MRIForge.model") == "mine"
