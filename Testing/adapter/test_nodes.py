"""Volumes and sequences of the scene as images of the core."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from scene_helpers import (
    OBLIQUE,
    add_image,
    add_linear,
    add_sequence,
    add_warp,
    finish,
    index_to_world,
    vtk_matrix,
)

from mriforge.errors import BadInput
from mriforge.volume import Grid, Series, Volume


@pytest.fixture
def nodes(app):
    from MRIForgeLib import nodes

    return nodes


def ramp(shape=(3, 4, 5), dtype=np.float32):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def ras_of(grid: Grid) -> np.ndarray:
    return grid.affine("RAS")


# ---- geometry -----------------------------------------------------------------------------------

angles = st.floats(-np.pi, np.pi)
sizes = st.floats(0.2, 12.0)
places = st.floats(-400.0, 400.0)


def rotation(a: float, b: float, c: float) -> np.ndarray:
    x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(x) @ np.array(y) @ np.array(z)


@st.composite
def placements(draw) -> np.ndarray:
    """Rotated, anisotropic, possibly mirrored."""
    rows = np.eye(4)
    rows[:3, :3] = rotation(draw(angles), draw(angles), draw(angles))
    rows[:3, :3] *= np.array([draw(sizes) for _ in range(3)])
    rows[:3, draw(st.integers(0, 2))] *= draw(st.sampled_from([-1.0, 1.0]))
    rows[:3, 3] = [draw(places) for _ in range(3)]
    return rows


@st.composite
def motions(draw) -> np.ndarray:
    """Rotated, moved, scaled the same in all directions."""
    rows = np.eye(4)
    rows[:3, :3] = rotation(draw(angles), draw(angles), draw(angles)) * draw(st.floats(0.5, 2.0))
    rows[:3, 3] = [draw(places) for _ in range(3)]
    return rows


hypothesis_in_one_scene = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@hypothesis_in_one_scene
@given(rows=placements(), shape=st.tuples(*[st.integers(1, 5)] * 3))
def test_the_grid_is_where_slicer_puts_the_voxels_and_back(scene, nodes, rows, shape):
    scene.Clear(0)
    node = add_image(scene, ramp(shape), rows)
    volume = nodes.volume_from_node(node)
    assert volume.grid.shape == shape
    np.testing.assert_allclose(ras_of(volume.grid), rows, atol=1e-9)
    back = slicer.util.arrayFromVTKMatrix(nodes.grid_matrix(volume.grid))
    np.testing.assert_allclose(back, rows, atol=1e-9)


@hypothesis_in_one_scene
@given(own=placements(), first=motions(), second=motions(), other=motions())
def test_relative_to_another_node_both_stay_where_they_are_in_the_world(
    scene, nodes, own, first, second, other
):
    scene.Clear(0)
    prior = add_image(scene, ramp(), own, "prior")
    low = add_image(scene, ramp(), OBLIQUE, "low")
    outer = add_linear(scene, first)
    prior.SetAndObserveTransformNodeID(add_linear(scene, second, outer).GetID())
    low.SetAndObserveTransformNodeID(add_linear(scene, other).GetID())
    grid = nodes.volume_from_node(prior, relative_to=low).grid
    # A result on that grid, put under the transform of `low`, lies where the prior lies.
    result = add_image(scene, ramp(), ras_of(grid), "result")
    result.SetAndObserveTransformNodeID(low.GetTransformNodeID())
    np.testing.assert_allclose(index_to_world(result), index_to_world(prior), atol=1e-6)


def test_left_handed_axes_are_kept_and_not_reordered(scene, nodes):
    volume = nodes.volume_from_node(add_image(scene, ramp()))
    assert np.linalg.det(volume.grid.direction_matrix) < 0
    np.testing.assert_array_equal(volume.array, ramp())


def test_the_own_transform_of_a_node_does_not_count_for_itself(scene, nodes):
    node = add_image(scene, ramp())
    node.SetAndObserveTransformNodeID(add_linear(scene, np.diag([3, 1, 2, 1.0])).GetID())
    np.testing.assert_allclose(ras_of(nodes.volume_from_node(node).grid), OBLIQUE, atol=1e-12)
    np.testing.assert_allclose(ras_of(nodes.grid_of(node)), OBLIQUE, atol=1e-12)


@pytest.mark.parametrize("kind", ["grid", "bspline"])
def test_a_non_linear_transform_above_both_does_not_matter(scene, nodes, kind):
    warp = add_warp(scene, kind)
    low, prior = add_image(scene, ramp(), name="low"), add_image(scene, ramp(), name="prior")
    low.SetAndObserveTransformNodeID(warp.GetID())
    shift = np.eye(4)
    shift[:3, 3] = (10, 20, 30)
    prior.SetAndObserveTransformNodeID(add_linear(scene, shift, warp).GetID())
    grid = nodes.volume_from_node(prior, relative_to=low).grid
    np.testing.assert_allclose(ras_of(grid), shift @ np.array(OBLIQUE), atol=1e-9)
    np.testing.assert_allclose(ras_of(nodes.volume_from_node(low).grid), OBLIQUE, atol=1e-12)


@pytest.mark.parametrize("kind", ["grid", "bspline"])
@pytest.mark.parametrize("moved", ["prior", "low"])
def test_a_non_linear_difference_is_refused_and_names_the_node(scene, nodes, kind, moved):
    both = {name: add_image(scene, ramp(), name=name) for name in ("low", "prior")}
    both[moved].SetAndObserveTransformNodeID(add_warp(scene, kind).GetID())
    with pytest.raises(BadInput, match=f"'{moved}'.*not linear") as refused:
        nodes.volume_from_node(both["prior"], relative_to=both["low"])
    assert "Harden" in refused.value.hint


def test_a_sheared_place_is_refused(scene, nodes):
    low, prior = add_image(scene, ramp(), name="low"), add_image(scene, ramp(), name="prior")
    prior.SetAndObserveTransformNodeID(add_linear(scene, np.diag([1, 3, 1, 1.0])).GetID())
    with pytest.raises(BadInput, match=r"'prior'.*perpendicular"):
        nodes.volume_from_node(prior, relative_to=low)
    sheared = np.eye(4)
    sheared[0, 1] = 0.5
    with pytest.raises(BadInput, match=r"'bent'.*perpendicular"):
        nodes.volume_from_node(add_image(scene, ramp(), sheared, "bent"))


def test_a_scaling_along_the_axes_changes_the_voxel_size(scene, nodes):
    low, prior = add_image(scene, ramp(), name="low"), add_image(scene, ramp(), np.eye(4), "prior")
    prior.SetAndObserveTransformNodeID(add_linear(scene, np.diag([2, 3, 4, 1.0])).GetID())
    assert nodes.volume_from_node(prior, relative_to=low).grid.spacing == pytest.approx((2, 3, 4))


def test_voxels_that_are_counted_from_another_number_lie_right(scene, nodes):
    node = add_image(scene, ramp())
    node.GetImageData().SetExtent(2, 6, 3, 6, 1, 3)
    grid = nodes.volume_from_node(node).grid
    expected = np.array(OBLIQUE) @ [2, 3, 1, 1]
    np.testing.assert_allclose(ras_of(grid)[:3, 3], expected[:3])


# ---- voxels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_voxels_are_a_copy_in_their_own_dtype(scene, nodes, dtype):
    array = (ramp() % 100).astype(dtype)
    node = add_image(scene, array)
    volume = nodes.volume_from_node(node)
    assert volume.array.dtype == np.dtype(dtype)
    slicer.util.arrayFromVolume(node)[:] = 0
    np.testing.assert_array_equal(volume.array, array)
    assert volume.metadata["source"] == "scan"


def test_a_single_slice_is_a_volume(scene, nodes):
    assert nodes.image_from_node(add_image(scene, ramp((1, 4, 5)))).array.shape == (1, 4, 5)


# ---- what is refused ----------------------------------------------------------------------------


def test_a_label_map_is_an_image_only_on_request(scene, nodes):
    node = add_image(scene, ramp(dtype="i2"), name="organs", kind="vtkMRMLLabelMapVolumeNode")
    with pytest.raises(BadInput, match="'organs' is a label map") as refused:
        nodes.image_from_node(node)
    assert refused.value.hint
    assert nodes.volume_from_node(node, labels=True).array.dtype == np.int16
    assert nodes.grid_of(node).shape == (3, 4, 5)


@pytest.mark.parametrize(
    "kind",
    [
        "vtkMRMLVectorVolumeNode",
        "vtkMRMLDiffusionWeightedVolumeNode",
        "vtkMRMLDiffusionTensorVolumeNode",
    ],
)
def test_voxels_of_several_numbers_are_refused(scene, nodes, kind):
    node = scene.AddNewNodeByClass(kind, "vectors")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 3, 2)
    image.AllocateScalars(vtk.VTK_FLOAT, 3)
    node.SetAndObserveImageData(image)
    with pytest.raises(BadInput, match="'vectors' has several numbers") as refused:
        nodes.image_from_node(node)
    assert "scalar volume" in refused.value.hint


def test_a_scalar_node_with_colors_inside_is_refused(scene, nodes):
    node = add_image(scene, ramp())
    node.GetImageData().AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    with pytest.raises(BadInput, match="3 numbers in each voxel"):
        nodes.volume_from_node(node)


def test_empty_deleted_and_foreign_nodes_are_refused_by_name(scene, nodes):
    cases = {
        "empty": (scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"), "no voxels"),
        "model": (scene.AddNewNodeByClass("vtkMRMLModelNode", "model"), "not a volume"),
        "organs": (scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs"), "segmentation"),
    }
    for name, (node, reason) in cases.items():
        with pytest.raises(BadInput, match=f"'{name}'.*{reason}") as refused:
            nodes.image_from_node(node)
        assert refused.value.hint
    gone = add_image(scene, ramp(), name="gone")
    kept = add_image(scene, ramp(), name="kept")
    scene.RemoveNode(gone)
    with pytest.raises(BadInput, match="'gone' is no longer"):
        nodes.volume_from_node(gone)
    with pytest.raises(BadInput, match="'gone' is no longer"):
        nodes.volume_from_node(kept, relative_to=gone)
    with pytest.raises(BadInput, match="No volume"):
        nodes.image_from_node(None)


# ---- sequences ----------------------------------------------------------------------------------


def test_a_series_has_the_frames_times_and_units_of_its_sequence(scene, nodes):
    arrays = [ramp(dtype="i2") + 100 * number for number in range(3)]
    sequence, browser, proxy = add_sequence(scene, arrays, ["0", "12.50", "1e2"])
    browser.SetSelectedItemNumber(1)
    for node in (sequence, proxy):
        series, pauses = finish(nodes.snapshot_steps(node))
        assert pauses == 3
        assert isinstance(series, Series)
        np.testing.assert_array_equal(series.array, np.stack(arrays))
        assert series.array.dtype == np.int16
        np.testing.assert_array_equal(series.times, [0, 12.5, 100])
        assert (series.time_name, series.time_unit) == ("time", "ms")
        assert series.metadata["index_values"] == ["0", "12.50", "1e2"]
        np.testing.assert_allclose(ras_of(series.grid), OBLIQUE, atol=1e-12)
    assert browser.GetSelectedItemNumber() == 1


def test_the_browser_and_the_proxy_are_found_from_both_ends(scene, nodes):
    sequence, browser, proxy = add_sequence(scene, [ramp()] * 2, ["0", "1"])
    for node in (sequence, proxy):
        source = nodes.sequence_of(node)
        assert (source.sequence, source.browser, source.proxy) == (sequence, browser, proxy)
    alone, _, _ = add_sequence(scene, [ramp()] * 2, ["0", "1"], browser=False, name="alone")
    source = nodes.sequence_of(alone)
    assert (source.sequence, source.browser, source.proxy) == (alone, None, None)
    assert nodes.sequence_of(add_image(scene, ramp())) is None
    assert nodes.sequence_of(None) is None


def test_one_frame_is_the_one_that_is_shown(scene, nodes):
    arrays = [ramp() + 100 * number for number in range(3)]
    sequence, browser, proxy = add_sequence(scene, arrays, ["0", "1", "2"])
    browser.SetSelectedItemNumber(2)
    for node in (sequence, proxy):
        frame = nodes.image_from_node(node, all_frames=False)
        assert isinstance(frame, Volume)
        np.testing.assert_array_equal(frame.array, arrays[2])
    alone, _, _ = add_sequence(scene, arrays, ["0", "1", "2"], browser=False, name="alone")
    np.testing.assert_array_equal(nodes.image_from_node(alone, all_frames=False).array, arrays[0])


def test_index_values_that_are_not_numbers_are_kept_as_text(scene, nodes):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "phases")
    sequence.SetIndexName("phase")
    sequence.SetIndexUnit("%")
    sequence.SetIndexType(sequence.TextIndex)
    for value in ("systole", "diastole"):
        frame = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(frame, ramp())
        sequence.SetDataNodeAtValue(frame, value)
    series = nodes.image_from_node(sequence)
    np.testing.assert_array_equal(series.times, [0, 1])
    assert series.metadata["index_values"] == ["systole", "diastole"]
    assert (series.time_name, series.time_unit) == ("phase", "")


def test_a_series_is_placed_by_the_transform_of_its_proxy(scene, nodes):
    sequence, _, proxy = add_sequence(scene, [ramp()] * 2, ["0", "1"])
    prior = add_image(scene, ramp(), name="prior")
    shift = np.eye(4)
    shift[:3, 3] = (5, 0, 0)
    proxy.SetAndObserveTransformNodeID(add_linear(scene, shift).GetID())
    np.testing.assert_allclose(ras_of(nodes.image_from_node(sequence).grid), OBLIQUE)
    moved = shift @ np.array(OBLIQUE)
    for node in (sequence, proxy):
        grid = nodes.image_from_node(node, relative_to=prior).grid
        np.testing.assert_allclose(ras_of(grid), moved, atol=1e-9)
        back = nodes.image_from_node(prior, relative_to=node).grid
        np.testing.assert_allclose(ras_of(back), np.linalg.inv(shift) @ OBLIQUE, atol=1e-9)
        np.testing.assert_allclose(ras_of(nodes.grid_of(node, relative_to=prior)), moved, atol=1e-9)


def test_frames_of_another_size_or_place_are_refused_by_number(scene, nodes):
    sequence, _, _ = add_sequence(scene, [ramp()] * 3, ["0", "1", "2"], browser=False)
    slicer.util.updateVolumeFromArray(sequence.GetNthDataNode(2), ramp((3, 4, 6)))
    with pytest.raises(BadInput, match=r"Frame 3 of 'cine' \(2\) is on another grid"):
        nodes.image_from_node(sequence)
    other, _, _ = add_sequence(scene, [ramp()] * 3, ["0", "1", "2"], browser=False, name="other")
    other.GetNthDataNode(1).SetIJKToRASMatrix(vtk_matrix(np.eye(4)))
    with pytest.raises(BadInput, match=r"Frame 2 of 'other' \(1\) is on another grid"):
        nodes.image_from_node(other)


def test_sequences_of_other_things_and_without_frames_are_refused(scene, nodes):
    moving = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "moving")
    with pytest.raises(BadInput, match="'moving' has no frames"):
        nodes.image_from_node(moving)
    moving.SetDataNodeAtValue(slicer.vtkMRMLLinearTransformNode(), "0")
    with pytest.raises(BadInput, match=r"Frame 1 of 'moving'.*not a volume"):
        nodes.image_from_node(moving)
    partly, _, _ = add_sequence(scene, [ramp()] * 2, ["0", "1"], browser=False, name="partly")
    partly.GetNthDataNode(1).SetAndObserveImageData(None)
    with pytest.raises(BadInput, match=r"Frame 2 of 'partly'.*no voxels"):
        nodes.image_from_node(partly)


def test_frames_of_unlike_dtype_are_widened_not_cut(scene, nodes):
    arrays = [ramp(dtype="i2"), ramp(dtype="f4") + 0.5]
    sequence, _, _ = add_sequence(scene, arrays, ["0", "1"])
    series = nodes.image_from_node(sequence)
    assert series.array.dtype == np.float32
    np.testing.assert_array_equal(series.array[1], arrays[1])


def test_the_scene_may_change_while_a_series_is_copied(scene, nodes):
    arrays = [ramp() + number for number in range(3)]
    sequence, browser, proxy = add_sequence(scene, arrays, ["0", "1", "2"])
    steps = nodes.snapshot_steps(proxy)
    next(steps)
    for node in (proxy, browser, sequence):
        scene.RemoveNode(node)
    series, _ = finish(steps)
    np.testing.assert_array_equal(series.array, np.stack(arrays))

    sequence, _, _ = add_sequence(scene, arrays, ["0", "1", "2"])
    steps = nodes.snapshot_steps(sequence)
    next(steps)
    slicer.util.updateVolumeFromArray(sequence.GetNthDataNode(2), ramp((2, 2, 2)))
    with pytest.raises(BadInput, match="changed while it was read"):
        finish(steps)
