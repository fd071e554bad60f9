"""Volumes over time: lines of the right organs, in ml and relative, also without numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scene_helpers import add_sequence, contents
from segment_helpers import LABELS, organ_image, organ_labels

from mriforge.anatomy import ORGANS
from mriforge.volume import Grid


@pytest.fixture
def lib(app, scene):
    from MRIForgeLib.segment import charts

    return charts


def made(scene, values=("0", "12.5", "40")):
    """The table of a series whose organs grow from frame to frame."""
    from MRIForgeLib.placing import Place
    from MRIForgeLib.segment.measures import measure
    from MRIForgeLib.segment.tables import add_volume_table
    from MRIForgeLib.sequences import IndexAxis

    arrays = [organ_image(t, t) for t in range(len(values))]
    axis = IndexAxis("time", "ms", tuple(values), values[0].isdigit())
    _sequence, _browser, proxy = add_sequence(scene, arrays, list("012")[: len(values)])
    labels = [organ_labels() for _ in values]
    for number, array in enumerate(labels):
        array[8, : 5 * number] = 1
    grid = Grid(labels[0].shape, (1.0, 2.0, 5.0))
    frames = [measure(array.astype(np.uint8), grid) for array in labels]
    place = Place.of(proxy)
    return frames, add_volume_table(frames, place, {}, axis)


def lines(chart) -> dict:
    found = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    return {series.GetName(): series for series in found}


def test_each_organ_that_is_there_has_a_line(lib, scene) -> None:
    frames, table = made(scene)
    charts = lib.volumes_chart({"table": table, "sequence": object()}, "cine")
    there = [organ.title for organ in ORGANS if organ.label in LABELS]
    assert list(lines(charts.volumes_node)) == there == list(lines(charts.changes_node))
    assert charts.volumes_node.GetXAxisTitle() == "time (ms)"
    assert charts.volumes_node.GetLegendVisibility()
    colors = {tuple(series.GetColor()) for series in lines(charts.volumes_node).values()}
    assert len(colors) == len(there)
    liver = lines(charts.volumes_node)["Liver"]
    values = liver.GetTableNode().GetTable().GetColumnByName(liver.GetYColumnName())
    assert [values.GetValue(n) for n in range(3)] == [
        pytest.approx(frame[0].ml, abs=0.006) for frame in frames
    ]


def test_changes_are_relative_to_the_mean(lib, scene) -> None:
    frames, table = made(scene)
    charts = lib.VolumesChart(table, "cine")
    for name, series in lines(charts.changes_node).items():
        column = series.GetTableNode().GetTable().GetColumnByName(series.GetYColumnName())
        values = np.array([column.GetValue(n) for n in range(3)])
        assert values.mean() == pytest.approx(100)
        assert (np.ptp(values) > 1) == (name == "Liver")
    assert frames[2][0].ml > frames[0][0].ml


def test_frames_without_numbers_are_counted(lib, scene) -> None:
    _frames, table = made(scene, ("rest", "stress", "late"))
    assert table.GetTable().GetColumnName(0) == "Frame number"
    assert table.GetTable().GetValue(1, 1).ToString() == "stress"
    charts = lib.VolumesChart(table, "cine")
    assert lines(charts.volumes_node)["Liver"].GetXColumnName() == "Frame number"


def test_charts_go_but_the_table_stays(lib, scene) -> None:
    _frames, table = made(scene)
    before = contents(scene)
    charts = lib.VolumesChart(table, "cine")
    assert contents(scene) > before
    charts.remove()
    assert contents(scene) == before and table.GetScene() is scene


def test_one_volume_has_no_course(lib, scene) -> None:
    _frames, table = made(scene)
    assert lib.volumes_chart({"table": table}, "x") is None
    _frames, table = made(scene, ("0",))
    assert lib.volumes_chart({"table": table, "sequence": object()}, "x") is None
