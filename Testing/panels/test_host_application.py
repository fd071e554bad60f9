"""The stand-in for the Slicer application behaves as Slicer does where our code relies on it."""

from __future__ import annotations

import gc
import importlib
import weakref

import host
import numpy as np
import pytest
import slicer
import vtk
from host import api_names, application
from PySide6 import QtGui, QtWidgets

LAYOUT_ID = 5731
LAYOUT = """<layout type="horizontal">{items}</layout>"""
ITEM = """<item><view class="vtkMRMLSliceNode" singletontag="{tag}">
<property name="orientation" action="default">Axial</property>
<property name="viewlabel" action="default">{label}</property>
<property name="viewcolor" action="default">{color}</property>
<property name="viewgroup" action="default">{group}</property></view></item>"""


def make_volume(name="Volume", shape=(20, 24, 30), spacing=(2.0, 2.0, 3.0)):
    """A volume whose brightest voxels lie at low i, low j, low k."""
    z, y, x = np.mgrid[: shape[0], : shape[1], : shape[2]]
    array = ((x < 6) & (y < 6)) * 100.0 + z
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = [-spacing[i] * (shape[2 - i] - 1) / 2 for i in range(3)]
    return slicer.util.addVolumeFromArray(array.astype(np.float32), ijkToRAS=matrix, name=name)


def three_views(app, groups=(0, 0, 1)):
    items = "".join(
        ITEM.format(tag=f"Try{i}", label=f"T{i}", color=f"#{'4080c0'}", group=group)
        for i, group in enumerate(groups)
    )
    node = app.layoutManager().layoutLogic().GetLayoutNode()
    if node.IsLayoutDescription(LAYOUT_ID):
        node.SetLayoutDescription(LAYOUT_ID, LAYOUT.format(items=items))
    else:
        node.AddLayoutDescription(LAYOUT_ID, LAYOUT.format(items=items))
    app.layoutManager().setLayout(LAYOUT_ID)
    app.processEvents()
    return [app.layoutManager().sliceWidget(f"Try{i}") for i in range(len(groups))]


HOMES = (
    "application_class",
    "files",
    "layout_manager",
    "modules",
    "mrml_widgets",
    "node_combo_box",
    "plot_widget",
    "slice_widget",
    "table_widget",
)


def stand_in_classes():
    """The classes of these files that stand for classes of Slicer."""
    for home in HOMES:
        module = importlib.import_module(f"host.{home}")
        for name, cls in vars(module).items():
            if name.startswith(("qMRML", "qSlicer")) and cls.__module__ == module.__name__:
                yield cls


def pixels(view):
    """What a view shows, as an array (height, width, 3), row 0 on top."""
    host.process_events(0.05)
    image = view.grab().toImage().convertToFormat(QtGui.QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


class TestApplication:
    def test_is_one_object_for_everybody(self, app):
        assert slicer.app is app
        assert host.start() is app
        assert slicer.mrmlScene is app.mrmlScene()
        assert (app.majorVersion, app.minorVersion) == (5, 12)

    def test_text_is_drawn_with_a_real_font(self, app):
        label = QtWidgets.QLabel("il")
        narrow = label.sizeHint.width()
        label.setText("MW")
        assert narrow < label.sizeHint.width()
        assert QtGui.QFontInfo(app.font()).family() in QtGui.QFontDatabase.families()

    def test_settings_are_not_those_of_the_user(self, app, tmp_path_factory):
        assert "slicer-host-" in app.userSettings().fileName()
        assert "slicer-host-" in app.slicerUserSettingsFilePath

    def test_without_main_window(self, app):
        with host.without_main_window():
            assert app.layoutManager() is None
            assert slicer.util.mainWindow() is None
        assert slicer.util.mainWindow().className() == "qSlicerMainWindow"
        assert app.layoutManager() is not None

    def test_modules_have_their_real_logics(self, app):
        assert slicer.modules.volumes.logic().IsA("vtkSlicerVolumesLogic")
        assert slicer.modules.sequences.logic().IsA("vtkSlicerSequencesLogic")
        assert slicer.util.getModule("Volumes") is slicer.modules.volumes
        assert app.moduleLogic("Sequences") is slicer.modules.sequences.logic()

    def test_testing_mode_can_be_left(self, scene, app):
        assert app.testingEnabled()
        app.commandOptions().testingEnabled = False
        assert not app.testingEnabled()

    def test_unknown_names_are_refused(self, app):
        with pytest.raises(AttributeError):
            app.noSuchName  # noqa: B018
        with pytest.raises(AttributeError):
            app.layoutManager().layoot = 3

    @pytest.mark.parametrize("name", ["Viridis", "DivergingBlueRed", "Inferno"])
    def test_color_tables_survive_closing_the_scene(self, scene, name):
        slicer.mrmlScene.Clear(False)
        node = scene.GetNodeByID(f"vtkMRMLColorTableNodeFile{name}.txt")
        first, last = [0.0] * 4, [0.0] * 4
        node.GetColor(0, first)
        node.GetColor(255, last)
        assert node.GetNumberOfColors() == 256
        assert first != last

    def test_closing_the_scene_is_announced(self, scene):
        seen = []
        tags = [
            scene.AddObserver(event, lambda *_, name=name: seen.append(name))
            for name, event in (("start", scene.StartCloseEvent), ("end", scene.EndCloseEvent))
        ]
        make_volume()
        host.close_scene()
        for tag in tags:
            scene.RemoveObserver(tag)
        assert seen == ["start", "end"]
        assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0

    @pytest.mark.parametrize("ending", [".nrrd", ".nii.gz"])
    def test_volumes_are_saved_and_loaded(self, scene, tmp_path, ending):
        node = make_volume()
        assert slicer.util.saveNode(node, str(tmp_path / f"v{ending}"))
        again = slicer.util.loadVolume(str(tmp_path / f"v{ending}"))
        assert again.GetName() == "v"
        np.testing.assert_array_equal(
            slicer.util.arrayFromVolume(again), slicer.util.arrayFromVolume(node)
        )
        with pytest.raises(RuntimeError, match="no such file"):
            slicer.util.loadVolume(str(tmp_path / "missing.nrrd"))

    def test_wait_until_gives_up(self, app):
        with pytest.raises(TimeoutError):
            host.wait_until(lambda: False, timeout_s=0.05)

    def test_offers_only_names_that_slicer_has(self, app):
        names = api_names.load()
        if names is None:
            pytest.skip("the list of Slicer's names is not here")
        extra = []
        for cls in stand_in_classes():
            for base in [b for b in cls.__mro__ if b.__module__.split(".")[-1] in HOMES]:
                public = [n for n in vars(base) if not n.startswith("_")]
                extra += [
                    f"{cls.__name__}.{name}"
                    for name in public
                    if name != "staticMetaObject"
                    and not name.endswith("Event")
                    and not names.has_attribute(cls.__name__, name)
                ]
        assert extra == []

    def test_every_class_exists_in_slicer(self, app):
        names = api_names.load()
        if names is None:
            pytest.skip("the list of Slicer's names is not here")
        assert [c.__name__ for c in stand_in_classes() if not names.knows_class(c.__name__)] == []


class TestLayout:
    def test_views_of_a_layout_appear_and_disappear(self, scene, app):
        manager = app.layoutManager()
        before = manager.layout
        views = three_views(app)
        assert manager.layout == LAYOUT_ID
        assert all(view.isVisible() for view in views)
        assert not manager.sliceWidget("Red").isVisible()
        assert views[0].mrmlSliceNode().GetLayoutLabel() == "T0"
        assert [view.mrmlSliceNode().GetViewGroup() for view in views] == [0, 0, 1]
        assert len({view.width for view in views}) <= 2
        manager.setLayout(before)
        assert manager.sliceWidget("Red").isVisible()
        assert not views[0].isVisible()

    def test_a_removed_view_node_takes_its_widget_along(self, scene, app):
        view = three_views(app)[0]
        count = app.layoutManager().mrmlSliceLogics().GetNumberOfItems()
        app.layoutManager().setLayout(3)
        scene.RemoveNode(view.mrmlSliceNode())
        assert "Try0" not in app.layoutManager().sliceViewNames()
        assert app.layoutManager().mrmlSliceLogics().GetNumberOfItems() == count - 1

    def test_a_removed_view_leaves_nothing_behind(self, scene, app):
        # Displayable managers that live on would follow the scene, slower with every view.
        gone = weakref.ref(three_views(app)[0]._pipeline)
        application.reset()
        gc.collect()
        assert gone() is None

    def test_plot_and_table_views_are_there_in_their_layouts(self, scene, app):
        manager = app.layoutManager()
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotTableView)
        app.processEvents()
        assert manager.plotWidget(0).isVisible()
        assert manager.tableWidget(0).isVisible()
        assert manager.plotWidget(5) is None


class TestSliceViews:
    def test_shows_the_volume_the_right_way_up(self, scene, app):
        # Low i is the patient's left (x rises to the right), drawn on the right of the screen as
        # radiologists have it; low j is posterior, drawn at the bottom.
        slicer.util.setSliceViewerLayers(background=make_volume(), fit=True)
        image = pixels(app.layoutManager().sliceWidget("Red").sliceView())[..., 0].astype(float)
        rows, columns = np.nonzero(image > 0.8 * image.max())
        assert image.max() > 200
        assert rows.mean() > 0.6 * image.shape[0]
        assert columns.mean() > 0.6 * image.shape[1]

    def test_moving_the_slider_moves_linked_views_of_the_group(self, scene, app):
        volume = make_volume()
        views = three_views(app)
        for view in views:
            view.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
            view.mrmlSliceCompositeNode().SetLinkedControl(True)
            view.mrmlSliceCompositeNode().SetHotLinkedControl(True)
            view.sliceLogic().FitSliceToBackground()
        app.processEvents()
        before = views[2].sliceLogic().GetSliceOffset()
        views[0].sliceController().sliceOffsetSlider().value = 12.0
        offsets = [view.sliceLogic().GetSliceOffset() for view in views]
        assert offsets == pytest.approx([12.0, 12.0, before])
        assert views[1].sliceController().sliceOffsetSlider().value == pytest.approx(12.0)

    def test_views_that_are_not_linked_stay(self, scene, app):
        volume = make_volume()
        views = three_views(app)
        for view in views:
            view.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
            view.sliceLogic().FitSliceToBackground()
        before = views[1].sliceLogic().GetSliceOffset()
        views[0].sliceController().setSliceOffsetValue(12.0)
        assert views[0].sliceLogic().GetSliceOffset() == pytest.approx(12.0)
        assert views[1].sliceLogic().GetSliceOffset() == pytest.approx(before)

    def test_interpolation_is_what_the_display_node_says(self, scene, app):
        volume = make_volume(shape=(4, 6, 6), spacing=(10.0, 10.0, 10.0))
        array = np.zeros((4, 6, 6), np.float32)
        array[:, 2:4, 2:4] = 100.0
        slicer.util.updateVolumeFromArray(volume, array)
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        view = app.layoutManager().sliceWidget("Red").sliceView()
        display = volume.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0, 100)
        levels = {}
        for on in (0, 1):
            display.SetInterpolate(on)
            levels[on] = len(np.unique(pixels(view)[..., 0]))
        assert levels[0] <= 4
        assert levels[1] > 20

    def test_window_and_color_table_reach_the_picture(self, scene, app):
        volume = make_volume()
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        view = app.layoutManager().sliceWidget("Red").sliceView()
        gray = pixels(view)
        assert np.ptp(gray.astype(int), axis=-1).max() == 0
        volume.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeFileViridis.txt")
        assert np.ptp(pixels(view).astype(int), axis=-1).max() > 80

    def test_the_color_legend_is_shown(self, scene, app):
        volume = make_volume()
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        view = app.layoutManager().sliceWidget("Red").sliceView()
        without = pixels(view)
        legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(volume)
        legend.SetTitleText("SSIM")
        changed = (pixels(view) != without).any(axis=-1)
        assert changed[:, -changed.shape[1] // 4 :].mean() > 0.02

    def test_a_sequence_browser_moves_the_proxy_and_the_picture(self, scene, app):
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
        frame = make_volume("frame")
        for index, level in enumerate((0.0, 100.0)):
            array = np.full((20, 24, 30), level, np.float32)
            slicer.util.updateVolumeFromArray(frame, array)
            sequence.SetDataNodeAtValue(frame, str(index))
        scene.RemoveNode(frame)
        browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        proxy = browser.GetProxyNode(sequence)
        proxy.CreateDefaultDisplayNodes()
        proxy.GetDisplayNode().SetAutoWindowLevel(False)
        proxy.GetDisplayNode().SetWindowLevelMinMax(0, 100)
        slicer.util.setSliceViewerLayers(background=proxy, fit=True)
        view = app.layoutManager().sliceWidget("Red").sliceView()
        assert pixels(view).max() == 0
        browser.SetSelectedItemNumber(1)
        assert slicer.util.arrayFromVolume(proxy).max() == 100.0
        assert pixels(view).max() > 200

    def test_everything_can_be_rendered_at_once(self, scene, app):
        app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotTableView)
        app.processEvents()
        slicer.util.forceRenderAllViews()

    def test_a_change_of_the_voxels_is_shown(self, scene, app):
        volume = make_volume()
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        view = app.layoutManager().sliceWidget("Red").sliceView()
        before = pixels(view)
        slicer.util.updateVolumeFromArray(volume, np.zeros((20, 24, 30), np.float32))
        volume.GetDisplayNode().SetAutoWindowLevel(False)
        volume.GetDisplayNode().SetWindowLevelMinMax(0, 100)
        assert before.max() > 200
        assert pixels(view).max() < 50


class TestPlots:
    def make_chart(self, scene):
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Loss")
        for name, values in (("step", np.arange(1, 50.0)), ("loss", 1 / np.arange(1, 50.0))):
            column = vtk.vtkFloatArray()
            column.SetName(name)
            for value in values:
                column.InsertNextValue(value)
            table.AddColumn(column)
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "training")
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName("step")
        series.SetYColumnName("loss")
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleNone)
        series.SetColor(1.0, 0.0, 0.0)
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Fine-tuning")
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
        chart.SetTitle("Fine-tuning")
        chart.SetXAxisTitle("step")
        chart.SetYAxisTitle("loss")
        return chart, series, table

    def test_a_chart_is_drawn_and_follows_its_nodes(self, scene):
        chart, series, table = self.make_chart(scene)
        view_node = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
        widget = slicer.qMRMLPlotWidget()
        widget.setMRMLScene(scene)
        widget.setMRMLPlotViewNode(view_node)
        widget.resize(400, 300)
        widget.show()
        view_node.SetPlotChartNodeID(chart.GetID())
        first = pixels(widget.plotView()).astype(int)
        red = (first[..., 0] > 180) & (first[..., 1] < 90)
        assert red.sum() > 50
        assert (first.min(axis=-1) > 250).mean() > 0.5
        series.SetColor(0.0, 0.0, 1.0)
        second = pixels(widget.plotView()).astype(int)
        assert ((second[..., 2] > 180) & (second[..., 0] < 90)).sum() > 50
        table.GetTable().GetColumnByName("loss").SetValue(40, 3.0)
        table.Modified()
        assert (pixels(widget.plotView()) != second).any()
        chart.SetYAxisLogScale(True)
        pixels(widget.plotView())
        assert widget.plotView().chart().GetAxis(vtk.vtkAxis.LEFT).GetLogScale()
        assert widget.plotView().chart().GetTitle() == "Fine-tuning"
        widget.deleteLater()

    def test_a_deleted_widget_no_longer_listens(self, scene):
        chart, _, _ = self.make_chart(scene)
        view_node = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
        widget = slicer.qMRMLPlotWidget()
        widget.setMRMLPlotViewNode(view_node)
        widget.deleteLater()
        host.process_events()
        view_node.SetPlotChartNodeID(chart.GetID())
        chart.SetTitle("still fine")


class TestTables:
    def test_a_table_is_shown_and_edited(self, scene):
        node = scene.AddNewNodeByClass("vtkMRMLTableNode")
        names, values = vtk.vtkStringArray(), vtk.vtkDoubleArray()
        names.SetName("image")
        values.SetName("SSIM")
        names.InsertNextValue("result")
        values.InsertNextValue(0.912345678)
        node.AddColumn(names)
        node.AddColumn(values)
        view = slicer.qMRMLTableView()
        view.setMRMLScene(scene)
        view.setMRMLTableNode(node)
        model = view.tableModel()
        assert (model.rowCount(), model.columnCount()) == (1, 2)
        assert model.item(0, 0).text() == "result"
        assert model.item(0, 1).text() == "0.912346"
        model.item(0, 0).setText("reference")
        assert node.GetCellText(0, 0) == "reference"
        values.InsertNextValue(1.0)
        names.InsertNextValue("other")
        node.Modified()
        assert model.rowCount() == 2
