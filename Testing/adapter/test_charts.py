"""Charts of a training and of a series: what is in the nodes, and that adding is cheap."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import slicer
from vtk.util.numpy_support import vtk_to_numpy


@pytest.fixture
def charts(app, scene):
    from MRIForgeLib import charts

    return charts


@pytest.fixture
def live(app, scene):
    from MRIForgeLib import live_charts

    return live_charts


def column(table, number) -> np.ndarray:
    return np.array(vtk_to_numpy(table.GetTable().GetColumn(number)))


def training(step: int, loss: float = 0.1) -> dict:
    """As the training loop reports every half second."""
    return {"step": step, "loss": loss, "lr": 1e-4}


def validation(step: int, gain: float, **more) -> dict:
    return {"step": step, "seconds": 0.5 * step, "gain_db": gain, **more}


def series_of(chart):
    """The line of a chart; it is put into the chart when it has two points."""
    lines = slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")
    return next(line for line in lines if line.GetYColumnName() == chart.GetYAxisTitle())


def test_loss_and_quality_are_drawn_from_the_metrics(live):
    chart = live.TuningChart("Adapting to T1")
    chart.add(validation(0, 0.0))
    chart.add(training(10, 0.5))
    chart.add(validation(25, 1.2, loss=0.3))
    chart.flush()
    loss, quality = (series_of(n).GetTableNode() for n in (chart.node, chart.quality_node))
    assert column(loss, 0).tolist() == [10, 25]
    assert column(loss, 1).tolist() == [0.5, 0.3]
    assert column(quality, 0).tolist() == [0, 25]
    assert column(quality, 1).tolist() == [0, 1.2]


def test_the_charts_are_labelled(live):
    chart = live.TuningChart("Adapting to T1")
    assert chart.node.GetTitle() == "Adapting to T1: training loss"
    assert chart.node.GetXAxisTitle() == "Step"
    assert chart.node.GetYAxisTitle() == "Training loss"
    assert "dB" in chart.quality_node.GetYAxisTitle()
    for node in (chart.node, chart.quality_node):
        series = series_of(node)
        table = series.GetTableNode()
        names = [table.GetColumnName(number) for number in range(table.GetNumberOfColumns())]
        assert [series.GetXColumnName(), series.GetYColumnName()] == names


def test_a_loss_over_decades_is_logarithmic_unless_it_reaches_zero(live):
    chart = live.TuningChart("T")
    logarithmic = []
    for step, loss in enumerate((0.2, 0.15, 0.005, -0.1)):
        chart.add(training(step, loss))
        chart.flush()
        logarithmic.append(bool(chart.node.GetYAxisLogScale()))
    assert logarithmic == [False, False, True, False]
    assert not chart.quality_node.GetYAxisLogScale()


def test_the_first_quality_figure_that_comes_is_drawn(live):
    chart = live.TuningChart("T")
    chart.add({"step": 5, "dice": 0.8, "accuracy": 0.9})
    chart.add({"step": 6, "dice": 0.85, "accuracy": 0.95})
    chart.flush()
    series = series_of(chart.quality_node)
    assert column(series.GetTableNode(), 1).tolist() == [0.8, 0.85]
    assert "Dice" in chart.quality_node.GetYAxisTitle()
    assert series.GetYColumnName() == series.GetTableNode().GetColumnName(1)
    assert series.GetYColumnName() == chart.quality_node.GetYAxisTitle()


@pytest.mark.parametrize(
    "metric",
    [{}, {"loss": 1.0}, {"step": None, "loss": 1.0}, {"step": 3, "loss": math.nan},
     {"step": 3, "loss": math.inf}, {"step": 3, "loss": "high"}, {"step": 3, "loss": None}],
)  # fmt: skip
def test_metrics_that_cannot_be_drawn_are_left_out(live, metric):
    chart = live.TuningChart("T")
    chart.add(training(1))
    chart.add(metric)
    chart.flush()
    assert column(series_of(chart.node).GetTableNode(), 0).tolist() == [1]


def test_many_points_are_thinned_out_by_averaging(live):
    chart = live.TuningChart("T")
    count = 50_000
    for step in range(count):
        chart.add(training(step, 1.0 + step % 2))
    chart.flush()
    table = series_of(chart.node).GetTableNode()
    steps, losses = column(table, 0), column(table, 1)
    assert 900 <= len(steps) <= 2000
    assert np.all(np.diff(steps) > 0)
    assert steps[-1] > 0.99 * count
    np.testing.assert_allclose(losses[:-1], 1.5)


def test_the_last_point_is_there_before_its_neighbors_come(live):
    chart = live.TuningChart("T")
    for step in range(2001):
        chart.add(training(step))
    chart.flush()
    assert column(series_of(chart.node).GetTableNode(), 0)[-1] == 2000


def test_adding_is_cheap_and_changes_the_nodes_rarely(live):
    chart = live.TuningChart("T")
    table = series_of(chart.node).GetTableNode()
    changes = []
    table.AddObserver("ModifiedEvent", lambda *_: changes.append(1))
    started = time.monotonic()
    durations = []
    for step in range(3000):
        before = time.thread_time()
        chart.add(training(step))
        durations.append(time.thread_time() - before)
    elapsed = time.monotonic() - started
    # Processor time of a point that only waits; rewriting the table each time would take more.
    assert np.median(durations) < 0.002
    updates = elapsed / 0.2 + 1
    assert 1 <= len(changes) <= 3 * updates


def test_the_plot_hears_of_new_points(live):
    chart = live.TuningChart("T")
    assert chart.node.GetNumberOfPlotSeriesNodes() == 0
    for step in (1, 2):
        chart.add(training(step))
    chart.flush()
    assert chart.node.GetNumberOfPlotSeriesNodes() == 1
    heard = []
    chart.node.AddObserver(
        slicer.vtkMRMLPlotChartNode.PlotModifiedEvent, lambda *_: heard.append(1)
    )
    chart.add(training(3))
    chart.flush()
    assert heard


def test_nodes_lie_in_one_folder_that_goes_with_them(live, scene):
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    first, second = live.TuningChart("A"), live.TuningChart("B")
    folder = tree.GetItemChildWithName(tree.GetSceneItemID(), "MRIForge charts")
    assert folder
    for node in first.nodes + second.nodes:
        assert tree.GetItemParent(tree.GetItemByDataNode(node)) == folder
        assert not node.GetHideFromEditors()
    first.remove()
    assert first.nodes == []
    assert tree.GetItemChildWithName(tree.GetSceneItemID(), "MRIForge charts") == folder
    second.remove()
    assert not tree.GetItemChildWithName(tree.GetSceneItemID(), "MRIForge charts")
    for kind in ("Table", "PlotSeries", "PlotChart"):
        assert scene.GetNumberOfNodesByClass(f"vtkMRML{kind}Node") == 0


def test_nodes_deleted_meanwhile_do_no_harm(live, scene):
    chart = live.TuningChart("T")
    chart.add(training(1))
    for node in chart.nodes:
        scene.RemoveNode(node)
        chart.add(training(2))
        chart.add(validation(2, 0.1))
        chart.add({"step": 3, "dice": 0.5})
        chart.flush()
    assert chart.nodes == []
    chart.remove()


def test_a_closed_scene_does_no_harm(live, scene):
    chart = live.TuningChart("T")
    scene.Clear(False)
    chart.add(training(2))
    chart.add(validation(3, 0.2))
    chart.flush()
    chart.remove()
    assert chart.nodes == []


def test_plot_views_show_the_charts(charts, live, scene):
    chart = live.TuningChart("T")
    owner = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    first, second = (charts.plot_view_node(number, owner) for number in (1, 2))
    assert first is charts.plot_view_node(1, owner) and first is not second
    # The layout manager makes no widgets for them, and other modules' charts stay out.
    manager = slicer.app.layoutManager()
    shown = [manager.plotWidget(i).mrmlPlotViewNode() for i in range(manager.plotViewCount)]
    assert first not in shown and second not in shown
    assert not first.GetDoPropagatePlotChartSelection()
    widget = slicer.qMRMLPlotView()
    widget.setMRMLPlotViewNode(first)
    chart.show_in(first)
    chart.show_in(second, quality=True)
    assert first.GetPlotChartNodeID() == chart.node.GetID()
    assert second.GetPlotChartNodeID() == chart.quality_node.GetID()
    chart.remove()
    chart.show_in(first)
    assert first.GetPlotChartNode() is None


FRAMES = [
    {"index": 0, "time": 10.0, "psnr": 30.0, "ssim": 0.9},
    {"index": 1, "time": 35.5, "psnr": None, "ssim": 1.0},
    {"index": 2, "time": 61.0, "psnr": 28.5, "ssim": 0.85},
]


def test_quality_of_a_series_over_its_index_values(charts):
    chart = charts.quality_chart(FRAMES, "trigger time", "ms", "scan sharpened")
    assert column(chart.table, 0).tolist() == [10.0, 35.5, 61.0]
    for node, values in ((chart.psnr_node, [30.0, math.nan, 28.5]),
                         (chart.ssim_node, [0.9, 1.0, 0.85])):  # fmt: skip
        assert node.GetXAxisTitle() == "trigger time (ms)"
        assert node.GetTitle().startswith("scan sharpened")
        series = series_of(node)
        number = chart.table.GetColumnIndex(series.GetYColumnName())
        np.testing.assert_array_equal(column(chart.table, number), values)
    assert chart.psnr_node.GetYAxisTitle() == "PSNR (dB)"
    assert chart.ssim_node.GetYAxisTitle() == "SSIM"
    chart.remove()
    assert chart.nodes == []


def test_quality_without_an_index_is_over_frames(charts):
    assert charts.quality_chart(FRAMES).psnr_node.GetXAxisTitle() == "Frame"


def test_charts_work_without_a_main_window(live):
    import host

    with host.without_main_window():
        chart = live.TuningChart("T")
        chart.add(training(1))
        chart.flush()
        assert len(chart.nodes) == 6
        chart.remove()
