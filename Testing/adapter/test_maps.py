"""Judging nodes: what the job gets, and the maps that come back."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer

sys.path.insert(0, str(Path(__file__).parent))

from scene_helpers import (
    OBLIQUE,
    add_image,
    add_linear,
    add_sequence,
    contents,
    finish,
    index_to_world,
)

from mriforge.errors import BadInput
from mriforge.events import Events
from mriforge.jobs import evaluate as job

MOVED = [[0, -1, 0, 5], [1, 0, 0, -3], [0, 0, 1, 12], [0, 0, 0, 1]]
SHAPE = (9, 10, 11)


@pytest.fixture
def maps(app, scene):
    from MRIForgeLib import maps

    return maps


def noisy(seed, level=5.0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    smooth = 50 + 40 * np.sin(np.arange(np.prod(shape)).reshape(shape) / 7.0)
    return (smooth + level * rng.standard_normal(shape)).astype(np.float32)


def judged(task, folder) -> tuple[dict, dict]:
    """Export, the job itself, and collecting: nodes and the job's result."""
    options, _pauses = finish(task.export(folder))
    result = job.run(job.Options(**options), Events())
    nodes, _pauses = finish(task.collect(folder, result))
    return nodes, result


def test_maps_of_two_volumes_lie_on_the_reference(maps, scene, tmp_path):
    image, truth = noisy(1), noisy(1, level=0.0)
    node, reference = (add_image(scene, a, name=n) for a, n in ((image, "scan"), (truth, "truth")))
    nodes, result = judged(maps.EvaluateTask(node, reference), tmp_path)
    assert set(nodes) == {"ssim", "difference"}
    np.testing.assert_allclose(
        slicer.util.arrayFromVolume(nodes["difference"]), image - truth, atol=1e-4
    )
    similarity = slicer.util.arrayFromVolume(nodes["ssim"])
    assert similarity.mean() == pytest.approx(result["ssim"], abs=0.05)
    for role, found in nodes.items():
        np.testing.assert_allclose(index_to_world(found), OBLIQUE, atol=1e-9)
        assert found.GetAttribute(maps.MAP_ROLE) == role
        assert found.GetAttribute("MRIForge.job") == "evaluate"
    assert nodes["ssim"].GetName() == "scan SSIM map"


def test_maps_come_with_their_colors(maps, scene, tmp_path):
    node, reference = add_image(scene, noisy(1)), add_image(scene, noisy(2))
    nodes, _result = judged(maps.EvaluateTask(node, reference), tmp_path)
    shown = {role: found.GetDisplayNode() for role, found in nodes.items()}
    assert shown["ssim"].GetColorNode().GetName() == "Viridis"
    assert shown["ssim"].GetWindowLevelMin() == pytest.approx(0)
    assert shown["ssim"].GetWindowLevelMax() == pytest.approx(1)
    assert shown["difference"].GetWindowLevelMin() == -shown["difference"].GetWindowLevelMax()


def test_maps_lie_where_moved_images_lie(maps, scene, tmp_path):
    node, reference = add_image(scene, noisy(1)), add_image(scene, noisy(2))
    moved = add_linear(scene, MOVED)
    for each in (node, reference):
        each.SetAndObserveTransformNodeID(moved.GetID())
    nodes, _result = judged(maps.EvaluateTask(node, reference), tmp_path)
    for found in nodes.values():
        np.testing.assert_allclose(index_to_world(found), index_to_world(reference), atol=1e-6)


def test_another_grid_is_brought_to_the_references(maps, scene, tmp_path):
    rows = np.array(OBLIQUE) @ np.diag([2.0, 2.0, 1.0, 1.0])
    coarse = add_image(scene, noisy(1)[:, ::2, ::2], rows, "coarse")
    reference = add_image(scene, noisy(1, 0.0), name="truth")
    nodes, _result = judged(maps.EvaluateTask(coarse, reference), tmp_path)
    assert slicer.util.arrayFromVolume(nodes["ssim"]).shape == SHAPE
    np.testing.assert_allclose(index_to_world(nodes["ssim"]), OBLIQUE, atol=1e-6)


def test_other_images_and_a_mask_are_judged_too(maps, scene, tmp_path):
    node, reference = add_image(scene, noisy(1)), add_image(scene, noisy(1, 0.0))
    worse = add_image(scene, noisy(3, 20.0), name="input")
    inside = np.zeros(SHAPE, np.uint8)
    inside[2:7, 2:8, 2:8] = 1
    mask = add_image(scene, inside, name="brain", kind="vtkMRMLLabelMapVolumeNode")
    task = maps.EvaluateTask(node, reference, {"low": worse}, mask)
    _nodes, result = judged(task, tmp_path)
    assert result["masked"]
    assert result["compare"]["low"]["psnr"] < result["psnr"]


def test_series_are_judged_frame_by_frame_on_the_same_browser(maps, scene, tmp_path):
    values = ["0", "35.5", "70"]
    arrays = [noisy(n, 5.0 + 5 * n) for n in range(3)]
    truth = [noisy(n, 0.0) for n in range(3)]
    _sequence, browser, node = add_sequence(scene, arrays, values, name="cine")
    _sequence, _other, reference = add_sequence(scene, truth, values, name="truth")
    nodes, result = judged(maps.EvaluateTask(node, reference), tmp_path)
    assert len(result["frames"]) == 3
    assert set(nodes) == {"ssim", "ssim_sequence", "difference", "difference_sequence"}
    sequence = nodes["difference_sequence"]
    assert [sequence.GetNthIndexValue(n) for n in range(3)] == values
    for number in range(3):
        browser.SetSelectedItemNumber(number)
        found = slicer.util.arrayFromVolume(nodes["difference"])
        np.testing.assert_allclose(found, arrays[number] - truth[number], atol=1e-4)


def test_a_series_and_a_volume_are_compared_at_the_frame_that_is_shown(maps, scene, tmp_path):
    arrays = [noisy(1), noisy(2), noisy(3)]
    _sequence, browser, node = add_sequence(scene, arrays, ["0", "1", "2"])
    browser.SetSelectedItemNumber(2)
    reference = add_image(scene, noisy(1, 0.0))
    nodes, result = judged(maps.EvaluateTask(node, reference), tmp_path)
    assert len(result["frames"]) == 1
    np.testing.assert_allclose(
        slicer.util.arrayFromVolume(nodes["difference"]), arrays[2] - noisy(1, 0.0), atol=1e-4
    )


def test_discarding_leaves_the_scene_as_it_was(maps, scene, tmp_path):
    arrays = [noisy(1), noisy(2)]
    _sequence, _browser, node = add_sequence(scene, arrays, ["0", "1"])
    _sequence, _browser, reference = add_sequence(scene, arrays[::-1], ["0", "1"], name="truth")
    task = maps.EvaluateTask(node, reference)
    before = contents(scene)
    nodes, _result = judged(task, tmp_path)
    assert contents(scene) != before
    task.discard(nodes)
    assert contents(scene) == before


def test_nodes_made_so_far_are_handed_out_while_collecting(maps, scene, tmp_path):
    task = maps.EvaluateTask(add_image(scene, noisy(1)), add_image(scene, noisy(2)))
    options, _pauses = finish(task.export(tmp_path))
    result = job.run(job.Options(**options), Events())
    steps = task.collect(tmp_path, result)
    handed = [made for made in steps if made]
    assert [set(made) for made in handed] == [{"ssim"}, {"ssim", "difference"}]


def test_a_job_without_maps_gives_no_nodes(maps, scene):
    from MRIForgeLib.placing import Place

    place = Place.of(add_image(scene, noisy(1)))
    nodes, _pauses = finish(maps.add_maps_steps({"psnr": 30.0}, place, "scan"))
    assert nodes == {}


def test_a_deleted_image_is_refused(maps, scene, tmp_path):
    node, reference = add_image(scene, noisy(1)), add_image(scene, noisy(2))
    task = maps.EvaluateTask(node, reference)
    scene.RemoveNode(reference)
    with pytest.raises(BadInput, match="no longer in the scene"):
        finish(task.export(tmp_path))
