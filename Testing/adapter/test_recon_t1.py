"""T1 maps: colors that tell more from less, and figures of regions on any grid."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import slicer
from scene_helpers import OBLIQUE, add_image, add_linear

from mriforge.errors import BadInput

LABELS = "vtkMRMLLabelMapVolumeNode"


@pytest.fixture
def lib(app, scene):
    from MRIForgeLib.recon import t1

    return t1


def blocks(shape=(3, 20, 24)) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[:, 2:9, 3:10] = 1
    labels[:, 11:18, 12:20] = 2
    return labels


def map_of(labels, seed=0) -> np.ndarray:
    values = np.array([0.0, 900.0, 1400.0])[labels]
    noise = np.random.default_rng(seed).normal(0, 30, labels.shape)
    return np.where(labels > 0, values + noise, 0).astype(np.float32)


def segmentation_of(scene, node, labels, names=("wall", "blood")):
    made = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "regions")
    made.CreateDefaultDisplayNodes()
    made.SetReferenceImageGeometryParameterFromVolumeNode(node)
    for number, name in enumerate(names, start=1):
        identity = made.GetSegmentation().AddEmptySegment(name, name)
        mask = (labels == number).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, made, identity, node)
    return made


def test_more_is_lighter_and_nothing_is_black(lib):
    colors = lib.t1_colors()
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    assert (np.diff(lightness) > 0).all()
    assert not colors[0].any() and lightness[-1] > 90
    assert ((colors >= 0) & (colors <= 1)).all()


def test_maps_have_one_scale_and_a_legend(lib, scene):
    first = add_image(scene, map_of(blocks()), name="first")
    second = add_image(scene, 2 * map_of(blocks()), name="second")
    for node in (first, second):
        lib.style_t1(node)
    displays = [node.GetDisplayNode() for node in (first, second)]
    assert len({display.GetColorNodeID() for display in displays}) == 1
    assert {(d.GetWindowLevelMin(), d.GetWindowLevelMax()) for d in displays} == {(0.0, 2500.0)}
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(first)
    assert legend.GetTitleText() == "T1 (ms)"


def test_the_colors_survive_saving(lib, scene, tmp_path):
    node = add_image(scene, map_of(blocks()), name="map")
    lib.style_t1(node)
    wanted = lib.t1_colors()[200]
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    colors = slicer.util.getNode("map").GetDisplayNode().GetColorNode()
    found = [0.0, 0.0, 0.0, 0.0]
    colors.GetColor(200, found)
    np.testing.assert_allclose(found[:3], wanted, atol=1 / 255)
    other = add_image(scene, map_of(blocks()), name="later")
    lib.style_t1(other)
    assert other.GetDisplayNode().GetColorNode() is colors


@pytest.mark.parametrize("kind", ["labels", "segments"])
def test_figures_of_regions(lib, scene, kind):
    labels = blocks()
    values = map_of(labels)
    values[0, 3, 4], values[1, 3, 4] = 0.0, np.nan  # no T1 there
    node = add_image(scene, values)
    if kind == "labels":
        regions = add_image(scene, labels, name="labels", kind=LABELS)
    else:
        regions = segmentation_of(scene, node, labels)
    first, second = lib.region_figures(node, regions)
    inside = values[labels == 1]
    inside = inside[np.isfinite(inside) & (inside > 0)].astype(float)
    assert (first.voxels, first.without) == (3 * 49 - 2, 2)
    assert first.mean == pytest.approx(inside.mean())
    assert first.sd == pytest.approx(inside.std(ddof=1))
    assert first.median == pytest.approx(np.median(inside))
    assert second.mean == pytest.approx(1400, abs=10) and second.without == 0


def test_labels_on_another_grid_under_transforms(lib, scene):
    """Twice as fine, one voxel to the side, both moved: as if drawn on the map."""
    labels = blocks()
    node = add_image(scene, map_of(labels))
    moved = add_linear(scene, np.array([[0, -1, 0, 5], [1, 0, 0, 2], [0, 0, 1, -8], [0, 0, 0, 1]]))
    node.SetAndObserveTransformNodeID(moved.GetID())
    fine = np.repeat(np.repeat(labels, 2, axis=1), 2, axis=2)
    shift = np.eye(4)
    shift[:2, 3] = -0.25
    rows = np.array(OBLIQUE) @ shift @ np.diag([0.5, 0.5, 1, 1])
    rows[:, 3] = np.array(OBLIQUE) @ (-0.25, -0.25, 0, 1)
    regions = add_image(scene, fine, rows, "fine", LABELS)
    assert lib.region_figures(node, regions)[0].voxels != 3 * 49  # not moved with the map
    regions.SetAndObserveTransformNodeID(moved.GetID())
    masks = lib.masks_on(node, regions)
    assert np.array_equal(sum(masks.values()) > 0, labels > 0)


def test_regions_of_the_same_name_are_told_apart(lib, scene):
    labels = blocks()
    node = add_image(scene, map_of(labels))
    regions = segmentation_of(scene, node, labels)
    for number in range(2):
        regions.GetSegmentation().GetNthSegment(number).SetName("wall")
    assert [region.name for region in lib.region_figures(node, regions)] == ["wall", "wall 2"]


def test_a_region_without_t1_has_no_figures(lib, scene):
    node = add_image(scene, np.zeros((3, 20, 24), np.float32))
    regions = add_image(scene, blocks(), name="labels", kind=LABELS)
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    figures = lib.region_figures(node, regions)
    assert [(r.voxels, r.mean, r.sd, r.median) for r in figures] == [(0, None, None, None)] * 2
    lib.fill_regions_table(table, figures)
    assert table.GetNumberOfRows() == 2
    assert table.GetCellText(0, 1) == "nan"


def test_the_table(lib, scene):
    labels = blocks()
    node = add_image(scene, map_of(labels))
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    figures = lib.region_figures(node, segmentation_of(scene, node, labels))
    lib.fill_regions_table(table, figures)
    assert [table.GetCellText(row, 0) for row in range(2)] == ["wall", "blood"]
    assert float(table.GetCellText(0, 1)) == pytest.approx(figures[0].mean, abs=0.1)
    assert "(ms)" in table.GetColumnName(1)


def test_what_is_no_region_is_refused(lib, scene):
    node = add_image(scene, map_of(blocks()))
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    nothing = add_image(scene, np.zeros((3, 20, 24), np.uint8), name="zeros", kind=LABELS)
    for regions, words in ((None, "No regions"), (node, "neither"), (empty, "no regions")):
        with pytest.raises(BadInput, match=words):
            lib.region_figures(node, regions)
    with pytest.raises(BadInput, match="zeros"):
        lib.region_figures(node, nothing)


def test_the_colors_come_back_after_a_scene_was_closed(scene):
    from MRIForgeLib.recon.t1 import color_node, t1_colors

    color_node(scene)
    scene.Clear(0)
    node = color_node(scene)
    assert node.GetNumberOfColors() == len(t1_colors())
    for number in (0, 100, 255):
        color = [0.0] * 4
        node.GetColor(number, color)
        assert np.allclose(color[:3], t1_colors()[number], atol=0.01)
