"""Slicer's Python packages in the host: a module lives in it as it lives in Slicer.

The same tests pass with our stand-ins and, with the environment variable SLICER_SOURCE set to a
Slicer source tree, with Slicer's own Python files.
"""

from __future__ import annotations

import enum
import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import host
import pytest

host.start()

import ctk  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
import vtk  # noqa: E402
from host import api_names, packages  # noqa: E402
from slicer.parameterNodeWrapper import (  # noqa: E402
    Choice,
    Decimals,
    Default,
    FloatRange,
    Maximum,
    Minimum,
    NotNone,
    RangeBounds,
    WithinRange,
    isParameterNodeWrapper,
    parameterNodeWrapper,
    parameterPack,
)

OUR_OWN = packages.source_in_use() is None


@pytest.fixture
def node():
    """An empty parameter node in the scene."""
    yield slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters")
    host.close_scene()


def new_volume(name: str = "MR"):
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


# Parameter nodes


class Mode(enum.Enum):
    SHARP = "s"
    SMOOTH = "m"

    def label(self):
        return self.name.title()


@parameterPack
class Box:
    low: Annotated[int, Minimum(0)] = 1
    name: str = "box"


@parameterNodeWrapper
class Everything:
    count: int
    factor: float = 0.5
    text: str = "abc"
    flag: bool
    mode: Mode
    chosen: Annotated[str, Choice(["a", "b"])] = "b"
    folder: Path
    volume: slicer.vtkMRMLScalarVolumeNode
    either: slicer.vtkMRMLScalarVolumeNode | slicer.vtkMRMLTransformNode | None
    optional: int | None
    numbers: list[int]
    volumes: list[slicer.vtkMRMLScalarVolumeNode]
    pair: tuple[int, str] = (7, "x")
    table: dict[str, list[int]]
    small: Annotated[int, Maximum(5), Default(3)]
    window: Annotated[FloatRange, RangeBounds(0, 10), Default(FloatRange(2, 3))]
    box: Box


CHANGES = {
    "count": (0, 4),
    "factor": (0.5, -1e-7),
    "text": ("abc", "größer & <kleiner>"),
    "flag": (False, True),
    "mode": (Mode.SHARP, Mode.SMOOTH),
    "chosen": ("b", "a"),
    "folder": (Path(), Path("/data/scans")),
    "optional": (None, 5),
    "numbers": ([], [3, 1, 2]),
    "pair": ((7, "x"), (8, "y")),
    "table": ({}, {"b": [1], "a": []}),
    "small": (3, -2),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_parameter_starts_with_its_default_and_is_kept(node, name: str) -> None:
    default, other = CHANGES[name]
    wrapper = Everything(node)
    assert getattr(wrapper, name) == default
    setattr(wrapper, name, other)
    assert wrapper.getValue(name) == other
    assert Everything(node).getValue(name) == other


def test_stored_text_is_slicers(node) -> None:
    wrapper = Everything(node)
    wrapper.optional, wrapper.numbers, wrapper.table = 5, [3, 1], {"k": [9]}
    stored = {name: node.GetParameter(name) for name in node.GetParameterNames()}
    expected = {"flag": "False", "mode": "SHARP", "pair.0": "7", "optional.0": "5"}
    expected |= {"numbers.len": "2", "numbers.1": "1", "table.0.0": "k", "table.0.1.0": "9"}
    expected |= {"volume": "", "window._minimum": "2", "box.low": "1"}
    for name, text in expected.items():
        assert stored[name] == text, name


def test_nodes_are_references(node) -> None:
    wrapper = Everything(node)
    one, two = new_volume("one"), new_volume("two")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    assert wrapper.volume is None and wrapper.either is None
    wrapper.volume, wrapper.either, wrapper.volumes = one, transform, [two, one]
    assert (wrapper.volume, wrapper.either) == (one, transform)
    assert list(wrapper.volumes) == [two, one]
    assert node.GetNodeReference("volume") is one
    wrapper.either = None
    assert wrapper.either is None
    with pytest.raises(TypeError):
        wrapper.volume = transform


REFUSED = [
    ("count", None, ValueError),
    ("count", 1.5, TypeError),
    ("factor", "much", TypeError),
    ("text", None, ValueError),
    ("flag", 1, TypeError),
    ("mode", "SHARP", TypeError),
    ("chosen", "c", ValueError),
    ("optional", "five", TypeError),
    ("numbers", [1, "two"], TypeError),
    ("small", 6, ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), REFUSED)
def test_a_refused_value_changes_nothing(node, name: str, value, error) -> None:
    wrapper = Everything(node)
    before = wrapper.getValue(name)
    with pytest.raises(error):
        setattr(wrapper, name, value)
    assert wrapper.getValue(name) == before == Everything(node).getValue(name)


def test_containers_write_themselves_back(node) -> None:
    wrapper = Everything(node)
    wrapper.numbers.append(4)
    wrapper.numbers += [5]
    wrapper.numbers[0] = 6
    wrapper.table["k"] = [1]
    assert Everything(node).numbers == [6, 5]
    assert Everything(node).table == {"k": [1]}
    with pytest.raises(TypeError):
        wrapper.numbers.append("text")
    assert Everything(node).numbers == [6, 5]


def test_packs_write_themselves_back(node) -> None:
    wrapper = Everything(node)
    wrapper.box.low = 4
    wrapper.setValue("box.name", "other")
    assert Everything(node).box == Box(low=4, name="other")
    with pytest.raises(ValueError):
        wrapper.box.low = -1
    wrapper.window = FloatRange(1, 9)
    assert (Everything(node).window.minimum, Everything(node).window.maximum) == (1, 9)
    with pytest.raises(ValueError):
        FloatRange(2, 1)


def test_the_wrapper_is_observed_like_the_node(node) -> None:
    wrapper, seen = Everything(node), []
    tag = wrapper.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append(wrapper.count))
    wrapper.count = 2
    assert seen == [2]
    with slicer.util.NodeModify(wrapper):
        wrapper.count = 3
        wrapper.text = "together"
    assert seen == [2, 3]
    node.SetParameter("count", "9")
    assert seen[-1] == 9 == wrapper.count
    wrapper.RemoveObserver(tag)
    wrapper.count = 1
    assert seen[-1] == 9


def test_a_forgotten_wrapper_leaves_no_observer(node) -> None:
    before = node.HasObserver(vtk.vtkCommand.ModifiedEvent)
    wrapper = Everything(node)
    assert node.HasObserver(vtk.vtkCommand.ModifiedEvent)
    del wrapper
    assert bool(node.HasObserver(vtk.vtkCommand.ModifiedEvent)) == bool(before)


def test_asking_a_wrapper_about_itself(node) -> None:
    wrapper = Everything(node)
    assert isParameterNodeWrapper(wrapper) and not isParameterNodeWrapper(node)
    assert wrapper.dataType("factor") is float
    assert wrapper.default("small").value == 3
    assert wrapper.isCached("count")
    for call in (wrapper.dataType, wrapper.getValue, wrapper.default):
        with pytest.raises(ValueError):
            call("conut")


def test_mistakes_in_the_class_show_when_it_is_used(node) -> None:
    with pytest.raises(ValueError):

        @parameterNodeWrapper
        class Reserved:
            default: int

    with pytest.raises(Exception, match=r"type|serializer"):

        @parameterNodeWrapper
        class Unknown:
            thing: complex

    @parameterNodeWrapper
    class OutOfRange:
        far: Annotated[float, WithinRange(0, 1)] = 2.0

    with pytest.raises(ValueError):
        OutOfRange(node)

    @parameterNodeWrapper
    class Needed:
        volume: Annotated[slicer.vtkMRMLScalarVolumeNode, NotNone()]

    with pytest.raises(ValueError):
        Needed(node)


# Parameters and widgets


def typed(name: str, kind, value):
    """A wrapper class with one parameter."""
    body = {"__annotations__": {name: kind}, name: value}
    return parameterNodeWrapper(type("OneParameter", (), body))


def shown(widget, name: str = "value"):
    """What a user interface with one widget looks like to connectGui."""
    widget.setProperty("SlicerParameterName", name)
    return SimpleNamespace(widget=widget, other=qt.QLabel("not connected"))


def combo(index: int):
    return lambda widget: setattr(widget, "currentIndex", index)


def attribute(name: str, value):
    return lambda widget: setattr(widget, name, value)


# class of the widget, type, first value, what a user does, value after it
WIDGETS = {
    "check box": (lambda: qt.QCheckBox(), bool, False, attribute("checked", True), True),
    "button": (lambda: qt.QPushButton(), bool, True, lambda w: w.click(), False),
    "slider": (
        lambda: qt.QSlider(),
        Annotated[int, WithinRange(0, 200)],
        20,
        attribute("value", 150),
        150,
    ),
    "spin box": (lambda: qt.QSpinBox(), int, -70000, attribute("value", 150), 150),
    "double spin box": (
        lambda: qt.QDoubleSpinBox(),
        Annotated[float, Decimals(3)],
        1234567.125,
        attribute("value", 0.005),
        0.005,
    ),
    "ctk slider": (
        lambda: ctk.ctkSliderWidget(),
        Annotated[float, Minimum(-1), Maximum(1)],
        0.5,
        attribute("value", -0.25),
        -0.25,
    ),
    "whole ctk slider": (
        lambda: ctk.ctkSliderWidget(),
        Annotated[int, WithinRange(1, 9)],
        3,
        attribute("value", 4),
        4,
    ),
    "choice": (lambda: qt.QComboBox(), Annotated[str, Choice(["a", "b"])], "b", combo(0), "a"),
    "number choice": (
        lambda: qt.QComboBox(),
        Annotated[float, Choice([1.0, 2.5])],
        2.5,
        combo(0),
        1.0,
    ),
    "enumeration": (lambda: qt.QComboBox(), Mode, Mode.SMOOTH, combo(0), Mode.SHARP),
    "line": (lambda: qt.QLineEdit(), str, "abc", attribute("text", "xyz"), "xyz"),
    "text": (lambda: qt.QTextEdit(), str, "abc", lambda w: w.setPlainText("xyz"), "xyz"),
    "path": (
        lambda: ctk.ctkPathLineEdit(),
        Path,
        Path("/data/a"),
        attribute("currentPath", "/data/b"),
        Path("/data/b"),
    ),
    "directory": (
        lambda: ctk.ctkDirectoryButton(),
        Path,
        Path("/data"),
        attribute("directory", "/"),
        Path("/"),
    ),
}


@pytest.mark.parametrize("case", WIDGETS)
def test_a_widget_and_its_parameter_follow_each_other(node, case: str) -> None:
    make, kind, first, act, after = WIDGETS[case]
    widget = make()
    wrapper = typed("value", kind, first)(node)
    tag = wrapper.connectGui(shown(widget))
    assert wrapper.value == first
    act(widget)
    assert wrapper.value == after and type(wrapper.value) is type(after)
    again = make()
    second = wrapper.connectGui(shown(again))
    wrapper.value = first
    act(again)
    assert wrapper.value == after
    wrapper.disconnectGui(tag)
    wrapper.disconnectGui(second)
    wrapper.value = first
    act(again)
    assert wrapper.value == first


def test_a_combo_box_lists_the_labels_of_an_enumeration(node) -> None:
    widget = qt.QComboBox()
    typed("value", Mode, Mode.SMOOTH)(node).connectGui(shown(widget))
    assert [widget.itemText(index) for index in range(widget.count)] == ["Sharp", "Smooth"]
    assert widget.currentText == "Smooth"


def test_a_label_shows_text(node) -> None:
    widget = qt.QLabel()
    wrapper = typed("value", str, "first")(node)
    wrapper.connectGui(shown(widget))
    wrapper.value = "second"
    assert widget.text == "second"


def test_a_node_selector_lists_the_types_of_its_parameter(node) -> None:
    selector = slicer.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    volume = new_volume()
    kinds = slicer.vtkMRMLScalarVolumeNode | slicer.vtkMRMLTransformNode | None
    wrapper = typed("value", kinds, None)(node)
    wrapper.connectGui(shown(selector))
    assert list(selector.nodeTypes) == ["vtkMRMLScalarVolumeNode", "vtkMRMLTransformNode"]
    selector.setCurrentNode(volume)
    assert wrapper.value is volume
    wrapper.value = None
    assert selector.currentNode() is None


def test_a_range_has_a_widget(node) -> None:
    widget = ctk.ctkRangeWidget()
    wrapper = Everything(node)
    wrapper.connectParametersToGui({"window": widget})
    assert (widget.minimum, widget.maximum) == (0, 10)
    assert (widget.minimumValue, widget.maximumValue) == (2, 3)
    widget.setValues(1, 8)
    assert (wrapper.window.minimum, wrapper.window.maximum) == (1, 8)
    wrapper.window = FloatRange(4, 5)
    assert (widget.minimumValue, widget.maximumValue) == (4, 5)


NOT_CONNECTED = {
    "a radio button": (lambda: qt.QRadioButton(), bool, False),
    "plain text": (lambda: qt.QPlainTextEdit(), str, ""),
    "a slider without limits": (lambda: qt.QSlider(), Annotated[int, Minimum(0)], 0),
    "a ctk slider without limits": (lambda: ctk.ctkSliderWidget(), float, 0.0),
    "a combo box without choices": (lambda: qt.QComboBox(), str, ""),
    "text in a check box": (lambda: qt.QCheckBox(), str, ""),
}


@pytest.mark.parametrize("case", NOT_CONNECTED)
def test_what_slicer_cannot_connect(node, case: str) -> None:
    make, kind, value = NOT_CONNECTED[case]
    wrapper = typed("value", kind, value)(node)
    with pytest.raises((RuntimeError, TypeError)):
        wrapper.connectGui(shown(make()))


def test_a_subclass_of_a_widget_is_not_connected(node) -> None:
    class Special(qt.QCheckBox):
        pass

    with pytest.raises((RuntimeError, TypeError)):
        typed("value", bool, False)(node).connectGui(shown(Special()))


def test_a_widget_with_an_unknown_parameter_is_an_error(node) -> None:
    with pytest.raises(ValueError, match="misspelt"):
        typed("value", bool, False)(node).connectGui(shown(qt.QCheckBox(), "misspelt"))


def test_a_member_of_a_pack_has_a_widget(node) -> None:
    widget = qt.QSpinBox()
    wrapper = Everything(node)
    wrapper.connectParametersToGui({"box.low": widget})
    widget.value = 9
    assert wrapper.box.low == 9


# The other packages


def test_placeholders_survive_a_translation(monkeypatch, caplog) -> None:
    from slicer.i18n import getContext, tr, translate

    assert tr("{done} of {all}") == "{done} of {all}"
    said = []
    translator = SimpleNamespace(translate=lambda c, t: said.append(c) or "fertig: {fertig}")
    monkeypatch.setattr(slicer, "app", translator)
    assert translate("Any", "done: {done}") == "fertig: {fertig}"
    assert tr("done: {done}") == "done: {done}" and "placeholders" in caplog.text
    assert said[-1] == "test_host_packages" == getContext(__file__)


def test_requirements_are_read_and_checked(tmp_path: Path) -> None:
    import slicer.packaging

    file = tmp_path / "requirements.txt"
    file.write_text("# needed\nnumpy>=1.20\n\n--index-url x\nno-such-thing>=2\n")
    needed = slicer.packaging.load_requirements(file)
    assert [one.name for one in needed] == ["numpy", "no-such-thing"]
    assert slicer.packaging.pip_check(needed[0]) and slicer.packaging.pip_check("numpy pytest")
    assert not slicer.packaging.pip_check(needed)
    assert not slicer.packaging.pip_check("numpy<1")
    assert slicer.packaging.pip_check("no-such-thing; sys_platform == 'vax'")


def test_nothing_is_installed_in_testing_mode(monkeypatch) -> None:
    import slicer.packaging

    calls = []
    monkeypatch.setattr(slicer.packaging, "pip_install", lambda *a, **k: calls.append(a[0]))
    assert slicer.packaging.pip_ensure("numpy no-such-thing") is None and not calls
    slicer.packaging.pip_ensure("no-such-thing", prompt_install=False, skip_in_testing=False)
    assert calls == [["no-such-thing"]]


def test_declining_an_installation_is_an_error(monkeypatch) -> None:
    import slicer.packaging

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *a, **k: False)
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("no-such-thing", skip_in_testing=False)


@pytest.mark.skipif(not OUR_OWN, reason="Slicer's own pip_install would really install")
def test_an_installation_never_goes_to_the_network(tmp_path: Path) -> None:
    import slicer.packaging

    with pytest.raises(subprocess.CalledProcessError):
        slicer.packaging.pip_install("no-such-thing")
    with pytest.raises(subprocess.CalledProcessError):
        slicer.packaging.pip_install(f"--no-index --find-links {tmp_path} no-such-thing")
    with pytest.raises(ValueError):
        slicer.packaging.pip_install("a", skip_packages=["b"], blocking=False)


def test_python_runs_in_the_background(monkeypatch) -> None:
    lines, ends = [], []
    process = slicer.util.launchConsoleProcess(
        [sys.executable, "-c", "print('one'); print('two'); raise SystemExit(3)"],
        useStartupEnvironment=False,
        blocking=False,
        logCallback=lines.append,
        completedCallback=ends.append,
    )
    host.wait_until(lambda: ends)
    assert (lines, ends, process.returncode) == (["one", "two"], [3], 3)


def test_a_failing_process_is_an_error() -> None:
    process = slicer.util.launchConsoleProcess(
        [sys.executable, "-c", "print('so'); raise SystemExit(2)"], useStartupEnvironment=False
    )
    lines = []
    with pytest.raises(subprocess.CalledProcessError):
        slicer.util.logProcessOutput(process, lines.append)
    assert lines == ["so"]


def test_sample_data_is_registered_once(tmp_path: Path) -> None:
    import SampleData

    logic = SampleData.SampleDataLogic
    logic.registerCustomSampleDataCategory("HostSamples", title="Samples of the host")
    for _ in range(2):
        logic.registerCustomSampleDataSource(
            category="HostSamples",
            sampleName="HostOne",
            uris="https://example.org/one.nrrd",
            fileNames="one.nrrd",
            nodeNames="One",
            checksums="SHA256:0",
        )
    (source,) = logic.sampleDataSourcesByCategory("HostSamples")
    assert source.nodeNames == ["One"] and source.uris == ["https://example.org/one.nrrd"]
    assert logic.categoryTitle("HostSamples") == "Samples of the host"
    with pytest.raises(ValueError):
        SampleData.SampleDataSource(uris=["a", "b"], fileNames=["a"])
    slicer.modules.sampleDataSources.pop("HostSamples")


def test_the_states_of_the_pytorch_extension() -> None:
    packages.set_torch("no extension")
    with pytest.raises(ModuleNotFoundError):
        import PyTorchUtils
    packages.set_torch("not installed")
    import PyTorchUtils

    logic = PyTorchUtils.PyTorchUtilsLogic()
    assert not logic.torchInstalled()
    assert logic.installTorch(True, torchVersionRequirement=">=2.4").__name__ == "torch"
    assert logic.torchInstalled()
    assert PyTorchUtils.CALLS[0]["torchVersionRequirement"] == ">=2.4"
    packages.set_torch("cancel")
    assert logic.installTorch() is None and not logic.torchInstalled()
    packages.set_torch("half installed")
    with pytest.raises(TypeError):
        logic.torchInstalled()
    packages.set_torch("fails")
    with pytest.raises(subprocess.CalledProcessError):
        logic.installTorch()
    with pytest.raises(ValueError):
        packages.set_torch("somehow")
    packages.set_torch("installed")


def test_util_is_not_the_whole_of_slicer() -> None:
    assert callable(slicer.util.loadVolume) and callable(slicer.util.executePythonModule)
    for name in ("loadVolume", "getNode", "EXIT_SUCCESS", "errorDisplay"):
        assert not hasattr(slicer, name), name


@pytest.mark.skipif(not OUR_OWN, reason="Slicer's own files have Slicer's own names")
@pytest.mark.parametrize(
    "name",
    ["i18n", "ScriptedLoadableModule", "parameterNodeWrapper", "packaging", "util"],
)
def test_stand_ins_have_no_names_of_their_own(name: str) -> None:
    known = api_names.load()
    if known is None:
        pytest.skip("the list of Slicer's names is not here")
    full = f"slicer.{name}"
    homes = [one for one in known.module_names() if one == full or one.startswith(full + ".")]
    stand_in = importlib.import_module(full)
    public = getattr(stand_in, "__all__", None) or [
        key
        for key, value in vars(stand_in).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == full
    ]
    strange = [key for key in public if not any(known.module_has(one, key) for one in homes)]
    assert public and not strange
