"""Lines through a reconstruction as sequences."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import slicer
from recon_helpers import write_result
from scene_helpers import OBLIQUE, add_linear, contents, index_to_world, vtk_matrix

from mriforge.errors import BadInput
from mriforge.factors import AXES


@pytest.fixture
def lib(app, scene):
    from MRIForgeLib.recon import lines

    return lines


@pytest.fixture
def opened(lib, scene, tmp_path):
    """The images, and what shows them."""
    from MRIForgeLib.placing import Place
    from MRIForgeLib.recon.frames import Frames, add_frames

    factors, images = write_result(tmp_path / "study", with_t1=False, slices=2)
    path = tmp_path / "study" / "factors.npz"
    about = {"MRIForge.job": "recon", "MRIForge.provenance": "{}"}
    node = add_frames(factors, path, Place.in_scene(scene, "study"), "study", about)
    return Frames(node, factors), images


def exported(lib, frames, axis, where=(1, 2, 3), step=1, part=None):
    from MRIForgeLib.recon.frames import Position
    from MRIForgeLib.run import Run

    if part:
        frames.show(frames.position, part)
    return Run(lib.LineTask(frames, axis, Position(*where), step)).wait()


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("step", [1, 2])
def test_a_line_is_the_images_along_an_axis(lib, opened, axis, step):
    frames, images = opened
    index = [1, 2, 3]
    index[AXES.index(axis)] = slice(None, None, step)
    wanted = np.abs(images[tuple(index)])
    nodes = exported(lib, frames, axis, step=step)
    sequence, proxy = nodes["sequence"], nodes["result"]
    count = sequence.GetNumberOfDataNodes()
    found = [slicer.util.arrayFromVolume(sequence.GetNthDataNode(i)) for i in range(count)]
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    values = [float(sequence.GetNthIndexValue(i)) for i in range(count)]
    if axis == "inversion":
        expected = 1000 * frames.factors.inversion_times_s
        assert sequence.GetIndexUnit() == "ms"
    else:
        expected = np.arange(images.shape[AXES.index(axis)]) + 1.0
        assert sequence.GetIndexUnit() == ""
    np.testing.assert_allclose(values, expected[::step], rtol=1e-9)
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(proxy)
    assert browser.GetMasterSequenceNode() is sequence
    browser.SetSelectedItemNumber(count - 1)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(proxy), found[-1])


def test_what_is_shown_is_exported_phase_too(lib, opened):
    frames, images = opened
    nodes = exported(lib, frames, "cardiac", part="phase")
    bright = np.abs(images[3, 2, 3]) > 0.05
    found = slicer.util.arrayFromVolume(nodes["sequence"].GetNthDataNode(3))
    np.testing.assert_allclose(found[bright], np.angle(images[3, 2, 3])[bright], atol=1e-2)


def test_the_origin_goes_with_it_but_it_is_not_browsed_as_a_reconstruction(lib, opened):
    from MRIForgeLib.recon.frames import holds_frames

    nodes = exported(lib, opened[0], "cardiac", step=2)
    for node in nodes.values():
        assert node.GetAttribute("MRIForge.job") == "recon"
        assert node.GetAttribute(lib.LINE).startswith("cardiac, every 2")
        assert not holds_frames(node)
    assert "respiratory phase 3" in nodes["sequence"].GetName()


def test_it_lies_where_the_images_lie(lib, opened, scene):
    frames, _images = opened
    node = frames.node
    node.SetIJKToRASMatrix(vtk_matrix(OBLIQUE))
    node.SetAndObserveTransformNodeID(add_linear(scene, np.diag([1, 1, -1, 1])).GetID())
    nodes = exported(lib, frames, "respiratory")
    np.testing.assert_allclose(index_to_world(nodes["result"]), index_to_world(node), atol=1e-6)


def test_cancelled_half_way_nothing_is_left(lib, opened, scene):
    from MRIForgeLib.recon.frames import Position
    from MRIForgeLib.run import Run

    before = contents(scene)
    run = Run(lib.LineTask(opened[0], "inversion", Position(), 1))
    run.start()
    for _ in range(4):
        run._step()
    run.cancel()
    with pytest.raises(Exception, match="cancelled"):
        run.wait()
    assert contents(scene) == before


def test_an_unknown_axis_is_refused(lib, opened):
    with pytest.raises(BadInput, match="diffusion"):
        exported(lib, opened[0], "diffusion")
