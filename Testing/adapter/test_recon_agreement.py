"""Agreement of two maps: figures by hand, where, and the chart."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scene_helpers import OBLIQUE, add_image, add_linear, contents
from vtk.util.numpy_support import vtk_to_numpy

from mriforge.errors import BadInput

LABELS = "vtkMRMLLabelMapVolumeNode"


@pytest.fixture
def lib(app, scene):
    from MRIForgeLib.recon import agreement

    return agreement


def pair(scene, bias=40.0, sd=25.0, shape=(2, 60, 70)):
    """Two T1 maps, the first with a bias and noise; the border has no T1 in the second."""
    from MRIForgeLib.recon.t1 import style_t1

    rng = np.random.default_rng(3)
    truth = rng.uniform(300, 2000, shape).astype(np.float32)
    first = truth + rng.normal(bias, sd, shape).astype(np.float32)
    truth[:, :5] = 0
    first[:, :, :4] = np.nan
    nodes = add_image(scene, first, name="network"), add_image(scene, truth, name="truth")
    for node in nodes:
        style_t1(node)
    return nodes


def test_bias_and_limits_are_those_that_were_put_in(lib, scene):
    found = lib.agreement_of(*pair(scene))
    assert found.difference.size == 2 * 55 * 66
    assert found.bias == pytest.approx(40, abs=1)
    assert found.limits == pytest.approx((40 - 49, 40 + 49), abs=2)
    assert np.mean(np.abs(found.difference - found.bias) < 1.96 * found.sd) == pytest.approx(
        0.95, abs=0.01
    )
    assert found.correlation > 0.99 and found.unit == "ms"
    assert "bias +4" in found.sentence() and "7,260 voxels" in found.sentence()


def test_the_order_changes_the_sign_only(lib, scene):
    first, second = pair(scene)
    there, back = lib.agreement_of(first, second), lib.agreement_of(second, first)
    assert there.bias == -back.bias
    assert there.limits == pytest.approx(tuple(-limit for limit in reversed(back.limits)))


def test_only_inside_the_regions(lib, scene):
    first, second = pair(scene)
    labels = np.zeros((2, 60, 70), np.uint8)
    labels[0, 20:30, 30:50], labels[1, 40:50, 10:20] = 1, 2
    regions = add_image(scene, labels, name="regions", kind=LABELS)
    assert lib.agreement_of(first, second, regions).difference.size == 300
    nowhere = np.zeros_like(labels)
    nowhere[:, :4] = 1
    where = add_image(scene, nowhere, name="border", kind=LABELS)
    with pytest.raises(BadInput, match="no place"):
        lib.agreement_of(first, second, where)


def test_other_grids_are_refused(lib, scene):
    first, second = pair(scene)
    second.SetAndObserveTransformNodeID(
        add_linear(
            scene, np.array([[1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        ).GetID()
    )
    with pytest.raises(BadInput, match="same grid"):
        lib.agreement_of(first, second)
    first.SetAndObserveTransformNodeID(second.GetTransformNodeID())
    assert lib.agreement_of(first, second).bias > 0
    smaller = add_image(scene, np.ones((2, 30, 35), np.float32), OBLIQUE, "small")
    with pytest.raises(BadInput, match="small"):
        lib.agreement_of(first, smaller)


def test_maps_of_something_else_have_no_unit(lib, scene):
    first, second = (add_image(scene, np.full((2, 9, 9), v, np.float32)) for v in (3.0, 5.0))
    found = lib.agreement_of(first, second)
    assert (found.unit, found.bias, found.sd, found.correlation) == ("", -2.0, 0.0, None)
    assert found.sentence().endswith("162 voxels.")


def test_the_chart(lib, scene):
    first, second = pair(scene)
    before = contents(scene)
    chart = lib.AgreementChart(lib.agreement_of(first, second))
    node = chart.node
    assert node.GetNumberOfPlotSeriesNodes() == 4
    dots, bias, low, high = (node.GetNthPlotSeriesNode(number) for number in range(4))
    assert dots.GetLineStyle() == dots.LineStyleNone
    assert dots.GetMarkerStyle() != dots.MarkerStyleNone
    assert dots.GetTableNode().GetNumberOfRows() <= 3000
    for series, value in (
        (bias, chart.figures.bias),
        (low, chart.figures.limits[0]),
        (high, chart.figures.limits[1]),
    ):
        table = series.GetTableNode().GetTable()
        column = vtk_to_numpy(table.GetColumnByName(series.GetYColumnName()))
        np.testing.assert_allclose(column, value)
        assert series.GetMarkerStyle() == series.MarkerStyleNone
    assert node.GetXAxisTitle() == "Mean (ms)"
    assert chart.shown == [node]
    chart.remove()
    assert contents(scene) == before
