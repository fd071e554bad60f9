"""Images of a reconstruction in one volume node: in place, everywhere, found again."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import slicer
from recon_helpers import moving_heart, write_result

from mriforge.errors import BadInput
from mriforge.factors import Factors
from mriforge.volume import Grid


@pytest.fixture
def lib(app, scene):
    from MRIForgeLib.recon import frames

    usual = scene.GetRootDirectory()
    yield frames
    scene.SetRootDirectory(usual or "")


@pytest.fixture
def opened(lib, scene, tmp_path):
    """The images, and what shows them."""
    from MRIForgeLib.placing import Place

    factors, images = write_result(tmp_path / "study", with_t1=False)
    path = tmp_path / "study" / "factors.npz"
    node = lib.add_frames(factors, path, Place.in_scene(scene, "study"), "study", {})
    return lib.Frames(node, factors), images


def voxels(node) -> np.ndarray:
    return np.array(slicer.util.arrayFromVolume(node))


def test_every_image_can_be_shown_and_no_voxel_moves_in_memory(lib, opened):
    frames, images = opened
    scalars = frames.node.GetImageData().GetPointData().GetScalars()
    address = slicer.util.arrayFromVolume(frames.node).ctypes.data
    rng = np.random.default_rng(1)
    for numbers in rng.integers(0, images.shape[:3], (20, 3)):
        frames.show(lib.Position(*(int(n) for n in numbers)))
        np.testing.assert_allclose(voxels(frames.node), np.abs(images[tuple(numbers)]), atol=2e-4)
    assert frames.node.GetImageData().GetPointData().GetScalars() is scalars
    assert slicer.util.arrayFromVolume(frames.node).ctypes.data == address


def test_views_are_told_once_for_each_image(lib, opened):
    frames, _images = opened
    told = []
    frames.node.AddObserver("ModifiedEvent", lambda *_: told.append("node"))
    before = frames.node.GetImageData().GetPointData().GetScalars().GetMTime()
    frames.show(lib.Position(2, 1, 5))
    assert told == ["node"]
    assert frames.node.GetImageData().GetPointData().GetScalars().GetMTime() > before


def test_phase_and_magnitude_have_their_own_window(lib, opened):
    frames, images = opened
    display = frames.node.GetDisplayNode()
    magnitude = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    frames.show(lib.Position(1, 2, 3), lib.PHASE)
    bright = np.abs(images[1, 2, 3]) > 0.05
    np.testing.assert_allclose(
        voxels(frames.node)[bright], np.angle(images[1, 2, 3])[bright], atol=1e-2
    )
    assert display.GetWindowLevelMax() == pytest.approx(np.pi)
    frames.show(lib.Position(1, 2, 3), lib.MAGNITUDE)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == magnitude


def test_a_window_that_the_user_chose_stays_while_browsing(lib, opened):
    frames, _images = opened
    frames.node.GetDisplayNode().SetWindowLevelMinMax(0.1, 0.7)
    frames.show(lib.Position(3, 1, 2))
    assert frames.node.GetDisplayNode().GetWindowLevelMax() == pytest.approx(0.7)


def test_positions_outside_are_the_nearest_ones(lib, opened):
    frames, images = opened
    frames.show(lib.Position(-4, 99, 4))
    assert frames.position == lib.Position(0, images.shape[1] - 1, 4)


def test_voxels_that_somebody_replaced_are_made_anew(lib, opened):
    frames, images = opened
    slicer.util.updateVolumeFromArray(frames.node, np.zeros((3, 5, 7), np.int16))
    frames.show(lib.Position(1, 1, 1))
    np.testing.assert_allclose(voxels(frames.node), np.abs(images[1, 1, 1]), atol=2e-4)


def test_a_saved_scene_finds_the_file_and_the_image_again(lib, opened, scene, tmp_path):
    frames, images = opened
    frames.show(lib.Position(4, 2, 7), lib.PHASE)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    found = lib.frames_of(slicer.util.getNode("study"))
    assert (found.position, found.part) == (lib.Position(4, 2, 7), "phase")
    found.show(lib.Position(0, 1, 2), lib.MAGNITUDE)
    np.testing.assert_allclose(voxels(found.node), np.abs(images[0, 1, 2]), atol=2e-4)


@pytest.mark.parametrize("inside", ["study", "."])
def test_a_scene_that_went_elsewhere_with_its_files_finds_them(
    lib, opened, scene, tmp_path, inside
):
    frames, _images = opened
    scene.SetRootDirectory(str(tmp_path / "elsewhere"))
    there = tmp_path / "elsewhere" / inside / "factors.npz"
    there.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(tmp_path / "study" / "factors.npz", there)
    assert lib.frames_of(frames.node).factors.rank == frames.factors.rank
    assert frames.node.GetAttribute(lib.FACTORS) == str(there)


def test_factors_that_are_gone_are_named(lib, opened, tmp_path):
    frames, _images = opened
    (tmp_path / "study" / "factors.npz").unlink()
    with pytest.raises(BadInput, match=r"factors\.npz"):
        lib.frames_of(frames.node)


def test_a_volume_of_something_else_is_refused(lib, scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
    assert not lib.holds_frames(node)
    with pytest.raises(BadInput, match="head"):
        lib.frames_of(node)


def test_other_factors_in_the_same_file_are_noticed(lib, opened, tmp_path):
    frames, _images = opened
    other, _ = moving_heart(size=24)
    other.save(tmp_path / "study" / "factors.npz")
    with pytest.raises(BadInput, match="another size"):
        lib.frames_of(frames.node)


def test_files_are_read_again_when_they_change_and_few_are_kept(lib, tmp_path):
    factors, _ = moving_heart(size=16, bins=(2, 2, 3), rank=4)
    paths = [tmp_path / f"{number}.npz" for number in range(5)]
    for path in paths:
        factors.save(path)
    first = lib.load_factors(paths[0])
    assert lib.load_factors(paths[0]) is first
    time.sleep(0.02)
    changed = Factors(2 * factors.spatial, factors.temporal, factors.grid, np.zeros(3))
    changed.save(paths[0])
    assert np.array_equal(lib.load_factors(paths[0]).spatial, changed.spatial)
    for path in paths:
        lib.load_factors(path)
    assert len(lib._open) <= 3
    with pytest.raises(BadInput):
        lib.load_factors(tmp_path / "nothing.npz")


def test_a_move_of_a_slider_forms_one_image_only(lib, scene, tmp_path):
    """The size that is asked for: 160 x 160 pixels, 32 components, 41,280 images."""
    from MRIForgeLib.placing import Place

    rng = np.random.default_rng(0)
    spatial = rng.normal(size=(32, 1, 160, 160)).astype(np.complex64)
    temporal = rng.normal(size=(32, 20, 6, 344)).astype(np.float32)
    factors = Factors(spatial, temporal, Grid((1, 160, 160)), 0.0072 * np.arange(344))
    assert factors.frames == 41_280
    place = Place.in_scene(scene, "large")
    node = lib.add_frames(factors, tmp_path / "factors.npz", place, "large", {})
    frames, seconds = lib.Frames(node, factors), []
    for numbers in rng.integers(0, factors.bins, (30, 3)):
        started = time.thread_time()
        frames.show(lib.Position(*(int(n) for n in numbers)))
        seconds.append(time.thread_time() - started)
    assert np.median(seconds) < 0.15  # processor time; a computer of today takes 10 ms
