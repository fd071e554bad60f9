"""A scripted module lives in the host as it lives in Slicer.

The same tests pass with our stand-ins and, with the environment variable SLICER_SOURCE set to a
Slicer source tree, with Slicer's own Python files.
"""

from __future__ import annotations

import sys
import typing
from pathlib import Path

import host
import pytest

host.start()

import qt  # noqa: E402
import slicer  # noqa: E402
from host import api_names, scripted_module  # noqa: E402

MODULE = """
import logging
import os
from typing import Annotated

import vtk

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from slicer.parameterNodeWrapper import parameterNodeWrapper, WithinRange
from slicer import vtkMRMLScalarVolumeNode

GREETING = "first"


class HostSample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Host sample")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Examples")]
        self.parent.contributors = ["A. Tester (Nowhere)"]
        self.parent.helpText = _("Lives in a test.")


@parameterNodeWrapper
class HostSampleParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    imageThreshold: Annotated[float, WithinRange(-100, 500)] = 100
    invertThreshold: bool = False


class HostSampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self.history = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/HostSample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = HostSampleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onClosed)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.history.append("setup")
        self.initializeParameterNode()

    def cleanup(self):
        self.history.append("cleanup")
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        self.history.append("enter")
        self.initializeParameterNode()

    def exit(self):
        self.history.append("exit")
        self.setParameterNode(None)

    def onClose(self, caller, event):
        self.setParameterNode(None)

    def onClosed(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, node):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._check)
        self._parameterNode = node
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._check)
            self._check()

    def _check(self, caller=None, event=None):
        ready = bool(self._parameterNode and self._parameterNode.inputVolume)
        self.ui.applyButton.enabled = ready
        self.ui.applyButton.toolTip = _("Run") if ready else _("Select an input volume")

    def onApplyButton(self):
        self.history.append("apply")


class HostSampleLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return HostSampleParameterNode(super().getParameterNode())


class HostSampleTest(ScriptedLoadableModuleTest):
    ran = []

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.ran.append(self.messageDelay)
"""

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>HostSample</class>
 <widget class="qMRMLWidget" name="HostSample">
  <layout class="QFormLayout" name="formLayout">
   <item row="0" column="1">
    <widget class="qMRMLNodeComboBox" name="inputSelector">
     <property name="noneEnabled"><bool>true</bool></property>
     <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist>
     </property>
     <property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property>
    </widget>
   </item>
   <item row="1" column="1">
    <widget class="ctkSliderWidget" name="thresholdSlider">
     <property name="SlicerParameterName" stdset="0"><string>imageThreshold</string></property>
    </widget>
   </item>
   <item row="2" column="1">
    <widget class="QCheckBox" name="invertCheckBox">
     <property name="SlicerParameterName" stdset="0"><string>invertThreshold</string></property>
    </widget>
   </item>
   <item row="3" column="1">
    <widget class="QPushButton" name="applyButton">
     <property name="text"><string>Apply</string></property>
    </widget>
   </item>
  </layout>
 </widget>
 <customwidgets>
  <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><header>q.h</header>
  </customwidget>
  <customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends><header>q.h</header>
  </customwidget>
  <customwidget><class>ctkSliderWidget</class><extends>QWidget</extends><header>c.h</header>
  </customwidget>
 </customwidgets>
 <connections>
  <connection>
   <sender>HostSample</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>inputSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
  </connection>
 </connections>
</ui>
"""


@pytest.fixture
def sample_file(tmp_path: Path) -> typing.Iterator[Path]:
    """A module in the style of Slicer's template, not loaded yet; unloaded afterwards."""
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "Resources" / "UI" / "HostSample.ui").write_text(UI)
    file = tmp_path / "HostSample.py"
    file.write_text(MODULE)
    yield file
    if hasattr(slicer.modules, "hostsample"):
        scripted_module.unload_module("HostSample")
    host.close_scene()
    host.process_events()


@pytest.fixture
def sample(sample_file: Path):
    """The module's own widget object, with its panel open."""
    host.load_module(sample_file)
    return host.open_module("HostSample").self()


def new_volume(name: str = "MR"):
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


# A module's life


def test_loading_registers_the_module(sample_file: Path) -> None:
    module = host.load_module(sample_file)
    assert module is slicer.modules.hostsample
    assert slicer.moduleNames.HostSample == "HostSample"
    assert (module.name, module.title) == ("HostSample", "Host sample")
    assert module.categories == ["Examples"] and module.helpText == "Lives in a test."
    assert slicer.util.modulePath("HostSample") == sample_file.as_posix()
    assert slicer.modules.HostSampleInstance.resourcePath("a.txt") == str(
        sample_file.parent / "Resources" / "a.txt"
    )
    assert not hasattr(slicer.modules, "HostSampleWidget")
    assert sys.path[-1] == str(sample_file.parent)
    assert "HostSample" in slicer.util.moduleNames()
    assert host.load_module(sample_file) is module


def test_a_module_with_mistakes_is_not_registered(tmp_path: Path) -> None:
    broken = tmp_path / "HostBroken.py"
    broken.write_text("import no_such_package_here\n")
    with pytest.raises(ModuleNotFoundError):
        host.load_module(broken)
    assert "HostBroken" not in sys.modules and not hasattr(slicer.modules, "hostbroken")
    with pytest.raises(FileNotFoundError):
        host.load_module(tmp_path / "Nothing.py")
    with pytest.raises(RuntimeError):
        host.open_module("HostBroken")


def test_the_module_object_takes_only_what_slicers_takes(sample_file: Path) -> None:
    module = host.load_module(sample_file)
    with pytest.raises(AttributeError):
        module.title = 3
    with pytest.raises(AttributeError):
        module.categories = "Examples"
    with pytest.raises(AttributeError):
        module.path = "elsewhere"
    with pytest.raises(AttributeError):
        module.descripton = "a typing mistake"


@pytest.mark.parametrize("name", ["", "Widget"])
def test_the_classes_have_no_names_of_their_own(name: str) -> None:
    known = api_names.load()
    if known is None:
        pytest.skip("the list of Slicer's names is not here")
    cls = getattr(slicer, f"qSlicerScriptedLoadableModule{name}")
    public = {key for key in vars(cls) if not key.startswith("_")} - {"staticMetaObject"}
    # These two are not in the list, because Slicer gives them to Python in another way.
    public -= {"widgetRepresentation", "createNewWidgetRepresentation"}
    assert public
    assert not {key for key in public if not known.has_attribute(cls.__name__, key)}


def test_opening_builds_the_panel_once(sample_file: Path) -> None:
    module = host.load_module(sample_file)
    widget = host.open_module("HostSample")
    assert isinstance(widget, slicer.qSlicerScriptedLoadableModuleWidget)
    assert widget is module.widgetRepresentation()
    assert widget.self() is slicer.modules.HostSampleWidget
    assert widget.self().history == ["setup", "enter"] and widget.isEntered
    assert slicer.util.getModuleWidget("HostSample") is widget.self()
    assert slicer.util.getModuleLogic("HostSample") is widget.self().logic
    assert slicer.util.mainWindow().isAncestorOf(widget)
    host.close_module()
    assert not widget.isEntered and not slicer.util.mainWindow().isAncestorOf(widget)
    host.open_module("HostSample")
    assert widget.self().history == ["setup", "enter", "exit", "enter"]


def test_select_module_opens_it(sample_file: Path) -> None:
    host.load_module(sample_file)
    slicer.util.selectModule("HostSample")
    assert slicer.modules.HostSampleWidget.parent.isEntered
    assert slicer.util.selectedModule() == "HostSample"


def test_it_works_without_main_window(sample_file: Path) -> None:
    host.load_module(sample_file)
    with host.without_main_window():
        assert slicer.util.mainWindow() is None
        widget = host.open_module("HostSample")
        assert widget.self().history == ["setup", "enter"]
        host.close_module("HostSample")
        assert not widget.isEntered


def test_parameters_and_panel_follow_each_other(sample) -> None:
    node = sample._parameterNode
    assert sample.ui.thresholdSlider.value == 100
    assert (sample.ui.thresholdSlider.minimum, sample.ui.thresholdSlider.maximum) == (-100, 500)
    assert not sample.ui.applyButton.enabled
    volume = new_volume()
    node.inputVolume = volume
    assert sample.ui.inputSelector.currentNode() is volume
    assert sample.ui.applyButton.enabled and sample.ui.applyButton.toolTip == "Run"
    sample.ui.thresholdSlider.value = 250
    sample.ui.invertCheckBox.checked = True
    assert node.imageThreshold == 250 and node.invertThreshold is True
    sample.ui.inputSelector.setCurrentNode(None)
    assert node.inputVolume is None and not sample.ui.applyButton.enabled
    sample.ui.applyButton.enabled = True
    sample.ui.applyButton.click()
    assert sample.history[-1] == "apply"


def test_a_closed_panel_does_not_follow(sample) -> None:
    node = sample._parameterNode
    host.close_module("HostSample")
    node.imageThreshold = 7
    assert sample.ui.thresholdSlider.value == 100
    host.open_module("HostSample")
    assert sample.ui.thresholdSlider.value == 7


def test_closing_the_scene_resets_the_parameters(sample) -> None:
    sample._parameterNode.imageThreshold = 300
    sample._parameterNode.inputVolume = new_volume()
    host.close_scene()
    assert sample._parameterNode.imageThreshold == 100
    assert sample._parameterNode.inputVolume is None
    assert sample.ui.thresholdSlider.value == 100
    assert sample._parameterNode.parameterNode.GetAttribute("ModuleName") == "HostSample"
    assert len(sample.logic.getAllParameterNodes()) == 1


def test_parameters_outlive_saving_and_loading(sample, tmp_path: Path) -> None:
    sample._parameterNode.imageThreshold = 12.5
    sample._parameterNode.inputVolume = new_volume("kept")
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Commit()
    host.close_scene()
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Connect()
    sample.initializeParameterNode()
    assert sample._parameterNode.imageThreshold == 12.5
    assert sample._parameterNode.inputVolume.GetName() == "kept"
    assert sample.ui.thresholdSlider.value == 12.5


def test_reload_runs_the_changed_file(sample, sample_file: Path) -> None:
    sample._parameterNode.imageThreshold = 33
    sample_file.write_text(MODULE.replace('"first"', '"second"'))
    sample.onReload()
    host.process_events()
    renewed = slicer.modules.HostSampleWidget
    assert renewed is not sample and sample.history[-1] == "cleanup"
    assert sys.modules["HostSample"].GREETING == "second"
    assert slicer.modules.hostsample.widgetRepresentation().self() is renewed
    assert renewed.history == ["setup"]
    assert renewed._parameterNode.imageThreshold == 33
    renewed.ui.thresholdSlider.value = 44
    assert renewed._parameterNode.imageThreshold == 44


def test_unloading_cleans_up(sample) -> None:
    scripted_module.unload_module("HostSample")
    assert sample.history[-2:] == ["exit", "cleanup"]
    assert not hasattr(slicer.modules, "hostsample")
    assert not hasattr(slicer.modules, "HostSampleWidget")
    assert "HostSample" not in sys.modules


def test_the_developer_section_is_for_developers(sample_file: Path) -> None:
    host.load_module(sample_file)
    assert not hasattr(host.open_module("HostSample").self(), "reloadButton")
    scripted_module.unload_module("HostSample")
    qt.QSettings().setValue("Developer/DeveloperMode", True)
    try:
        host.load_module(sample_file)
        old = host.open_module("HostSample").self()
        old.reloadButton.click()
        assert slicer.modules.HostSampleWidget is not old
    finally:
        qt.QSettings().remove("Developer/DeveloperMode")


def test_the_modules_own_test_is_found(sample) -> None:
    slicer.selfTests["HostSample"](msec=1)
    assert sys.modules["HostSample"].HostSampleTest.ran == [1]


def test_two_parameter_nodes(sample) -> None:
    sample.logic.isSingletonParameterNode = False
    wrapper = type(sample._parameterNode)
    second = wrapper(slicer.mrmlScene.AddNode(sample.logic.createParameterNode()))
    second.imageThreshold = 1
    assert sample._parameterNode.imageThreshold == 100
    assert len(sample.logic.getAllParameterNodes()) == 2
    sample.setParameterNode(second)
    assert sample.ui.thresholdSlider.value == 1
    sample.ui.thresholdSlider.value = 2
    assert (second.imageThreshold, sample.logic.getParameterNode().imageThreshold) == (2, 100)
