"""Comparisons in the views of the application, rendered by MRML itself."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer

sys.path.insert(0, str(Path(__file__).parent))

from scene_helpers import add_image, add_linear, add_sequence, add_warp

ROLES = ("low", "result", "reference", "ssim", "difference")
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FIGURES = {
    "psnr": 31.239, "ssim": 0.91237, "nrmse": 0.05, "mae": 0.01, "diff_sd": 0.0125, "masked": False,
    "frames": [{"index": 0, "time": 0.0, "psnr": 31.239, "ssim": 0.91237}],
    "compare": {
        "low": {"psnr": 25.0, "ssim": 0.8, "nrmse": 0.1, "mae": 0.02, "diff_sd": 0.03,
                "ssim_test": {"wilcoxon_p": None}, "psnr_test": {"wilcoxon_p": None}},
        "bicubic": {"psnr": 26.0, "ssim": 0.82, "nrmse": 0.09, "mae": 0.018, "diff_sd": 0.02,
                    "ssim_test": {"wilcoxon_p": 0.00123}, "psnr_test": {"wilcoxon_p": None}},
    },
}  # fmt: skip


@pytest.fixture
def module(app, scene):
    from MRIForgeLib import comparison

    app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield comparison
    if comparison.Comparison._open is not None:
        comparison.Comparison._open.close()


@pytest.fixture
def manager(app):
    return app.layoutManager()


def grid(spacing, turn=0.0, origin=(0.0, 0.0, 0.0)):
    """Rows of an IJK to RAS matrix, turned about the first axis."""
    rows = RAS.copy()
    c, s = math.cos(turn), math.sin(turn)
    rows[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ RAS[:3, :3] @ np.diag(spacing)
    rows[:3, 3] = origin
    return rows


def blob(shape, spacing, center, rng_seed=0, scale=100.0):
    """A bright ball at ``center`` (mm from voxel 0) on a faint noise, ``(z, y, x)``."""
    axes = [np.arange(n) * s for n, s in zip(shape[::-1], spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    far = (x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2
    noise = np.random.default_rng(rng_seed).random(shape).astype(np.float32)
    return (scale * ((far < 64).T + 0.05 * noise)).astype(np.float32)


@pytest.fixture
def images(scene):
    """A coarse input and a fine result and reference of one object, and maps."""
    turn, center = 0.2, (24.0, 26.0, 20.0)
    fine, coarse = (1.0, 1.0, 2.0), (2.0, 2.0, 4.0)
    sharp = blob((20, 48, 48), fine, center)
    nodes = {
        "low": add_image(scene, blob((10, 24, 24), coarse, center), grid(coarse, turn), "low"),
        "result": add_image(scene, 0.98 * sharp, grid(fine, turn), "result"),
        "reference": add_image(scene, sharp, grid(fine, turn), "reference"),
    }
    difference = np.random.default_rng(1).normal(0, 3, sharp.shape).astype(np.float32)
    similarity = np.clip(1 - np.abs(difference) / 10, 0, 1)
    nodes["ssim"] = add_image(scene, similarity, grid(fine, turn), "ssim")
    nodes["difference"] = add_image(scene, difference, grid(fine, turn), "difference")
    return nodes


def some(images, *roles):
    """Each view takes a quarter of a second to set up, so most tests do with a few."""
    return {role: images[role] for role in ("result", *roles)}


def tags(module):
    return module.layout.TAGS


def widgets(module, manager, nodes):
    return {role: manager.sliceWidget(tags(module)[role]) for role in nodes}


def planes(module, manager, nodes):
    found = widgets(module, manager, nodes).values()
    return [slicer.util.arrayFromVTKMatrix(w.mrmlSliceNode().GetSliceToRAS()) for w in found]


def window(node):
    display = node.GetDisplayNode()
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def state(node):
    display = node.GetDisplayNode()
    return (
        display.GetAutoWindowLevel(), *window(node), display.GetInterpolate(),
        display.GetColorNodeID(), node.GetNumberOfDisplayNodes(),
    )  # fmt: skip


def picture(widget, folder) -> np.ndarray:
    """Brightness of what a slice view shows, without its bar."""
    import host
    from PIL import Image

    path = host.grab(widget, folder / "view.png")
    return np.asarray(Image.open(path).convert("L"), float)[30:]


# ---- what is shown where ------------------------------------------------------------------------


def test_each_image_is_in_its_own_linked_view(module, manager, images):
    comparison = module.Comparison(images)
    assert comparison.show()
    assert comparison.is_open
    assert module.layout.is_ours(manager.layout)
    for role, widget in widgets(module, manager, images).items():
        composite = widget.mrmlSliceCompositeNode()
        assert composite.GetBackgroundVolumeID() == images[role].GetID()
        assert composite.GetLinkedControl()
        assert composite.GetHotLinkedControl()
        assert widget.mrmlSliceNode().GetViewGroup() == module.layout.VIEW_GROUP


def test_the_object_is_at_one_place_in_all_views(module, manager, images, tmp_path):
    images = some(images, "low", "reference")
    module.Comparison(images).show()
    places = []
    for role in images:
        shown = picture(widgets(module, manager, images)[role], tmp_path)
        bright = np.argwhere(shown > 128)
        assert len(bright) > 200
        places.append(bright.mean(axis=0))
    np.testing.assert_allclose(places, np.broadcast_to(places[0], (3, 2)), atol=3.0)


def test_all_views_have_one_plane_center_and_width(module, manager, images):
    module.Comparison(images).show()
    found = planes(module, manager, images)
    for plane in found:
        np.testing.assert_allclose(plane, found[0], atol=1e-6)
    nodes = [w.mrmlSliceNode() for w in widgets(module, manager, images).values()]
    assert len({round(node.GetFieldOfView()[0], 6) for node in nodes}) == 1
    for node in nodes:
        wide, high = node.GetFieldOfView()[:2]
        columns, rows = node.GetDimensions()[:2]
        assert wide / columns == pytest.approx(high / rows)
        # 48 mm of object, and its grid is turned: the plane follows the grid.
        assert min(wide, high) >= 48
    normal, result = found[0][:3, 2], grid((1, 1, 2), 0.2)[:3, 2] / 2
    assert abs(normal @ result) == pytest.approx(1.0, abs=1e-6)


def test_the_plane_goes_through_a_voxels_centre_of_the_result(module, manager, images):
    images = some(images)
    module.Comparison(images).show()
    point = planes(module, manager, images)[0][:, 3]
    index = np.linalg.inv(grid((1, 1, 2), 0.2)) @ point
    assert index[2] == pytest.approx(10.0, abs=1e-6)


def test_scrolling_one_view_moves_the_others_and_no_view_of_slicer(module, manager, images):
    images = some(images, "low")
    module.Comparison(images).show()
    red = manager.sliceWidget("Red").mrmlSliceNode()
    before = slicer.util.arrayFromVTKMatrix(red.GetSliceToRAS()).copy()
    logic = manager.sliceWidget(tags(module)["low"]).sliceLogic()
    wanted = logic.GetSliceOffset() + 4.0
    logic.StartSliceOffsetInteraction()
    logic.SetSliceOffset(wanted)
    logic.EndSliceOffsetInteraction()
    for widget in widgets(module, manager, images).values():
        assert widget.sliceLogic().GetSliceOffset() == pytest.approx(wanted)
    np.testing.assert_array_equal(slicer.util.arrayFromVTKMatrix(red.GetSliceToRAS()), before)


THICK = [((1, 1, 5), "Axial"), ((1, 5, 1), "Coronal"), ((5, 1, 1), "Sagittal"),
         ((4, 4, 2), "Axial"), ((1, 1, 1), "Axial"), ((1, 1.05, 1), "Axial")]  # fmt: skip


@pytest.mark.parametrize(("spacing", "plane"), THICK)
def test_the_acquisition_plane_lies_across_the_thickest_axis(module, scene, spacing, plane):
    low = add_image(scene, np.ones((4, 4, 4)), grid(spacing))
    result = add_image(scene, np.ones((8, 8, 8)), grid((1, 1, 1)))
    assert module.Comparison({"low": low, "result": result})._acquisition_plane() == plane


def test_the_acquisition_plane_follows_the_transform_of_the_input(module, manager, scene):
    low = add_image(scene, np.ones((4, 4, 4)), grid((1, 1, 5)))
    turn = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], float)
    low.SetAndObserveTransformNodeID(add_linear(scene, turn).GetID())
    comparison = module.Comparison({"result": low})
    comparison.show()
    assert manager.sliceWidget(tags(module)["result"]).mrmlSliceNode().GetOrientation() == "Coronal"


@pytest.mark.parametrize("plane", ["Axial", "Sagittal", "Coronal"])
def test_the_plane_can_be_chosen_and_changed(module, manager, images, plane):
    images = some(images)
    comparison = module.Comparison(images)
    comparison.show()
    before = manager.layout
    assert comparison.show(plane)
    assert manager.layout == before
    normal = planes(module, manager, images)[0][:3, 2]
    assert np.argmax(np.abs(normal)) == ("Sagittal", "Coronal", "Axial").index(plane)
    comparison.close()
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_an_unknown_plane_is_refused(module, images):
    with pytest.raises(ValueError, match="orientation is one of"):
        module.Comparison(images).show("Transverse")


def test_a_result_under_a_warp_is_shown_in_the_plain_plane(module, manager, images, scene):
    images = some(images)
    images["result"].SetAndObserveTransformNodeID(add_warp(scene).GetID())
    assert module.Comparison(images).show("Axial")
    for plane in planes(module, manager, images):
        np.testing.assert_allclose(np.abs(plane[:3, :3]), np.eye(3), atol=1e-6)


@pytest.mark.parametrize("nodes", [{}, {"low": None}, {"result": None}])
def test_a_comparison_needs_a_result(module, nodes):
    with pytest.raises(ValueError, match="needs a result"):
        module.Comparison(nodes)


def test_unknown_roles_are_refused(module, images):
    with pytest.raises(ValueError, match="prior"):
        module.Comparison({**images, "prior": images["low"]})


# ---- how it is shown, and that it is put back ---------------------------------------------------


def test_images_share_the_window_of_the_reference_and_get_their_own_back(module, images):
    images = some(images, "low", "reference")
    before = {role: state(node) for role, node in images.items()}
    comparison = module.Comparison(images)
    comparison.show()
    low, high = window(images["reference"])
    assert low < 10
    assert high == pytest.approx(105, rel=0.1)
    assert window(images["low"]) == window(images["result"]) == (low, high)
    assert not images["low"].GetDisplayNode().GetInterpolate()
    assert images["result"].GetDisplayNode().GetInterpolate()
    comparison.close()
    assert {role: state(images[role]) for role in before} == before


def test_a_window_set_by_hand_comes_back(module, images):
    display = images["result"].GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(7, 42)
    images = some(images)
    comparison = module.Comparison(images)
    comparison.show()
    comparison.show("Coronal")
    comparison.close()
    assert window(images["result"]) == pytest.approx((7, 42))
    assert not display.GetAutoWindowLevel()


def test_an_image_in_other_units_gets_its_own_window(module, images, scene):
    images = some(images, "low", "reference")
    array = slicer.util.arrayFromVolume(images["low"])
    slicer.util.updateVolumeFromArray(images["low"], array * 1000)
    module.Comparison(images).show()
    assert window(images["low"])[1] > 50_000
    assert window(images["result"]) == window(images["reference"])


def test_maps_have_fixed_colors_and_legends(module, images):
    images = some(images, "ssim", "difference")
    before = {role: state(node) for role, node in images.items()}
    comparison = module.Comparison(images)
    comparison.show()
    assert window(images["ssim"]) == pytest.approx((0, 1))
    low, high = window(images["difference"])
    voxels = np.abs(slicer.util.arrayFromVolume(images["difference"]))
    assert -low == pytest.approx(high)
    assert np.mean(voxels < high) == pytest.approx(0.995, abs=0.002)
    colors = {role: images[role].GetDisplayNode().GetColorNode().GetName() for role in ROLES[3:]}
    assert colors == {"ssim": "Viridis", "difference": "DivergingBlueRed"}
    legends = slicer.modules.colors.logic()
    titles = [legends.GetColorLegendDisplayNode(images[role]).GetTitleText() for role in ROLES[3:]]
    assert titles == ["SSIM", "Difference"]
    comparison.show("Coronal")
    assert images["ssim"].GetNumberOfDisplayNodes() == 2
    comparison.close()
    assert {role: state(node) for role, node in images.items()} == before
    assert legends.GetColorLegendDisplayNode(images["difference"]) is None


def test_a_legend_of_the_users_own_stays(module, images):
    legends = slicer.modules.colors.logic()
    own = legends.AddDefaultColorLegendDisplayNode(images["ssim"])
    comparison = module.Comparison(some(images, "ssim"))
    comparison.show()
    comparison.close()
    assert legends.GetColorLegendDisplayNode(images["ssim"]) is own


def test_the_range_of_the_difference_can_be_given(module, images):
    module.Comparison(some(images, "difference")).show(difference_limit=25)
    assert window(images["difference"]) == pytest.approx((-25, 25))


def test_flat_and_empty_images_do_no_harm(module, scene):
    flat = add_image(scene, np.full((4, 5, 6), 3.0), grid((1, 1, 1)), "flat")
    zero = add_image(scene, np.zeros((4, 5, 6)), grid((1, 1, 1)), "no difference")
    bad = add_image(scene, np.full((4, 5, 6), np.nan), grid((1, 1, 1)), "nan")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    comparison = module.Comparison(
        {"low": bad, "result": flat, "reference": empty, "difference": zero}
    )
    assert comparison.show()
    assert window(zero) == pytest.approx((-1, 1))
    comparison.close()


def test_the_crosshair_is_shown_on_request_and_put_back(module, images, scene):
    crosshair = scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    crosshair.SetCrosshairMode(crosshair.NoCrosshair)
    images = some(images)
    comparison = module.Comparison(images)
    comparison.show()
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair
    comparison.show(crosshair=True)
    assert crosshair.GetCrosshairMode() == crosshair.ShowSmallBasic
    comparison.close()
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair


# ---- what happens meanwhile ---------------------------------------------------------------------


def test_closing_puts_the_layout_back_and_empties_the_views(module, manager, images):
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    images = some(images, "low")
    comparison = module.Comparison(images)
    comparison.show()
    comparison.close()
    comparison.close()
    assert not comparison.is_open
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    for widget in widgets(module, manager, images).values():
        assert widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() is None


def test_a_layout_that_the_user_chose_stays(module, manager, images):
    images = some(images, "low")
    comparison = module.Comparison(images)
    comparison.show()
    conventional = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    manager.setLayout(conventional)
    comparison.close()
    assert manager.layout == conventional
    assert images["low"].GetDisplayNode().GetInterpolate()


def test_showing_again_goes_back_to_the_layout_before(module, manager, images):
    images = some(images)
    comparison = module.Comparison(images)
    comparison.show()
    conventional = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    manager.setLayout(conventional)
    comparison.show()
    comparison.close()
    assert manager.layout == conventional


def test_another_comparison_closes_the_first(module, manager, images):
    first = module.Comparison(some(images, "low"))
    second = module.Comparison({"low": images["low"], "result": images["reference"]})
    first.show()
    second.show()
    assert second.is_open
    assert not first.is_open
    first.close()
    assert module.layout.is_ours(manager.layout)
    second.close()
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_a_scene_saved_while_comparing_leads_back_to_an_ordinary_layout(module, manager, images):
    node = manager.layoutLogic().GetLayoutNode()
    manager.setLayout(module.layout.describe(node, ["low", "result"], None))
    images = some(images)
    comparison = module.Comparison(images)
    comparison.show()
    comparison.close()
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


@pytest.mark.parametrize("role", ROLES)
def test_an_image_may_be_deleted_while_it_is_compared(module, manager, images, scene, role):
    images = some(images, role if role != "result" else "low")
    comparison = module.Comparison(images)
    comparison.show()
    scene.RemoveNode(images[role])
    assert role not in comparison.nodes
    assert comparison.show("Coronal") is (role != "result")
    comparison.metrics_table(FIGURES)
    comparison.close()
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_the_scene_may_be_closed_meanwhile(module, manager, images):
    import host

    images = some(images, "ssim")
    comparison = module.Comparison(images)
    comparison.show()
    comparison.metrics_table(FIGURES)
    host.close_scene()
    assert comparison.nodes == {}
    assert not comparison.show()
    comparison.close()
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_without_a_main_window_nothing_is_shown_but_the_table_is_made(module, images):
    import host

    with host.without_main_window():
        comparison = module.Comparison(images)
        assert not comparison.show()
        assert comparison.metrics_table(FIGURES).GetNumberOfRows() == 3
        comparison.close()


# ---- the figures --------------------------------------------------------------------------------


def cells(table) -> list[dict[str, str]]:
    names = [table.GetColumnName(number) for number in range(table.GetNumberOfColumns())]
    rows = range(table.GetNumberOfRows())
    return [{n: table.GetCellText(row, i) for i, n in enumerate(names)} for row in rows]


def test_the_table_has_a_row_for_each_image_with_units_and_what_it_is_compared_with(module, images):
    table = module.Comparison(images).metrics_table(FIGURES)
    rows = cells(table)
    assert [row["Image"] for row in rows] == ["result", "low", "bicubic"]
    assert {row["Compared with"] for row in rows} == {"reference"}
    assert {row["Where"] for row in rows} == {"whole image"}
    assert rows[0]["PSNR (dB)"] == "31.24"
    assert rows[0]["SSIM"] == "0.9124"
    assert rows[1]["MAE (of maximum)"] == "0.02"
    assert [row["SSIM, p against result"] for row in rows] == ["", "", "0.0012"]
    assert "PSNR, p against result" not in rows[0]
    assert table.GetLocked()


def test_a_single_image_without_reference_node(module, images):
    figures = {**FIGURES, "compare": {}, "masked": True, "frames": [{}] * 4}
    (row,) = cells(module.Comparison({"result": images["result"]}).metrics_table(figures))
    assert row["Where"] == "inside the mask"
    assert row["Frames (mean of)"] == "4"
    assert row["Compared with"] == "reference"


def test_equal_images_have_an_infinite_psnr(module, images):
    figures = {"psnr": None, "ssim": 1.0, "nrmse": 0.0, "mae": 0.0, "diff_sd": 0.0, "frames": []}
    (row,) = cells(module.Comparison(images).metrics_table(figures))
    assert row["PSNR (dB)"] == "inf"


def test_the_table_lies_beside_the_result(module, images, scene):
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = tree.CreateStudyItem(tree.GetSceneItemID(), "visit 1")
    tree.CreateItem(study, images["result"])
    table = module.Comparison(images).metrics_table(FIGURES)
    assert tree.GetItemParent(tree.GetItemByDataNode(table)) == study


@pytest.mark.parametrize("roles", [ROLES, ROLES[:2]])
def test_the_table_appears_in_the_open_comparison(module, manager, images, scene, roles):
    comparison = module.Comparison({role: images[role] for role in roles})
    comparison.show("Coronal")
    logic = manager.sliceWidget(tags(module)["result"]).sliceLogic()
    logic.SetSliceOffset(logic.GetSliceOffset() + 3)
    offset = logic.GetSliceOffset()
    table = comparison.metrics_table(FIGURES)
    view = scene.GetSingletonNode(module.layout.TABLE_TAG, "vtkMRMLTableViewNode")
    assert view.GetTableNodeID() == table.GetID()
    assert manager.layout == module.layout.layout_id(roles, "table")
    # The user's slice stays.
    assert logic.GetSliceOffset() == pytest.approx(offset)
    assert comparison.metrics_table({**FIGURES, "psnr": 40.0}) is table
    assert cells(table)[0]["PSNR (dB)"] == "40"
    comparison.close()
    module.Comparison({role: images[role] for role in roles}).show()
    assert view.GetTableNodeID() is None


# ---- series -------------------------------------------------------------------------------------


def frames(count, factor=1.0, shape=(6, 8, 8)):
    return [np.full(shape, factor * (n + 1), np.float32) for n in range(count)]


def on_browser(scene, browser, arrays, values, name):
    """Another sequence on a browser; returns its proxy."""
    sequence, _none, _none = add_sequence(scene, arrays, values, name=name, browser=False)
    proxy = add_image(scene, arrays[0], name=f"{name} proxy")
    browser.AddProxyNode(proxy, sequence, False)
    return proxy


def value(node) -> float:
    return float(slicer.util.arrayFromVolume(node)[0, 0, 0])


def test_series_on_one_browser_are_shown_frame_by_frame(module, manager, scene):
    values = ["0", "40", "80"]
    low, browser, low_proxy = add_sequence(scene, frames(3), values, name="low")
    result = on_browser(scene, browser, frames(3, 2.0), values, "result")
    ssim = on_browser(scene, browser, frames(3, 0.3), values, "ssim")
    comparison = module.Comparison({"low": low, "result": result, "ssim": ssim})
    assert comparison.nodes["low"] is low_proxy
    comparison.show()
    toolbar = slicer.modules.sequences.toolBar()
    assert toolbar.activeBrowserNode() is browser
    gray = window(result)
    for number in range(3):
        browser.SetSelectedItemNumber(number)
        assert [value(low_proxy), value(result)] == [number + 1, 2 * number + 2]
        assert value(ssim) == pytest.approx(0.3 * (number + 1))
        assert window(ssim) == pytest.approx((0, 1))
        assert window(result) == gray
        shown = manager.sliceWidget(tags(module)["result"]).mrmlSliceCompositeNode()
        assert shown.GetBackgroundVolumeID() == result.GetID()
    comparison.close()
    assert low_proxy.GetDisplayNode().GetInterpolate()


def test_the_window_of_a_series_holds_all_frames(module, scene):
    _sequence, _browser, proxy = add_sequence(scene, frames(3), ["0", "1", "2"])
    module.Comparison({"result": proxy}).show()
    assert window(proxy)[1] > 2.9


def test_a_series_on_another_browser_follows(module, scene):
    values = ["0", "40", "80"]
    _low, browser, low = add_sequence(scene, frames(3), values, name="low")
    _ref, other, reference = add_sequence(scene, frames(3, 5.0), values, name="reference")
    comparison = module.Comparison({"result": low, "reference": reference})
    comparison.show()
    browser.SetSelectedItemNumber(2)
    assert other.GetSelectedItemNumber() == 2
    assert value(reference) == 15
    comparison.close()
    browser.SetSelectedItemNumber(1)
    assert other.GetSelectedItemNumber() == 2


def test_a_series_of_another_length_is_left_alone(module, scene):
    _low, browser, low = add_sequence(scene, frames(3), ["0", "1", "2"], name="low")
    _ref, other, reference = add_sequence(scene, frames(2), ["0", "1"], name="reference")
    module.Comparison({"result": low, "reference": reference}).show()
    browser.SetSelectedItemNumber(1)
    assert other.GetSelectedItemNumber() == 0


def test_a_browser_may_be_deleted_while_series_are_compared(module, scene):
    values = ["0", "1"]
    _low, browser, low = add_sequence(scene, frames(2), values, name="low")
    _ref, other, reference = add_sequence(scene, frames(2), values, name="reference")
    comparison = module.Comparison({"result": low, "reference": reference})
    comparison.show()
    scene.RemoveNode(other)
    browser.SetSelectedItemNumber(1)
    scene.RemoveNode(browser)
    comparison.show("Sagittal")
    comparison.close()


def test_a_sequence_without_browser_cannot_be_shown(module, scene):
    sequence, _none, _none = add_sequence(scene, frames(2), ["0", "1"], browser=False)
    with pytest.raises(ValueError, match="no sequence browser"):
        module.Comparison({"result": sequence})
