"""No invented names: neither in the stand-in for Slicer nor in the code that runs inside Slicer."""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT / "Testing") not in sys.path:
    sys.path.insert(0, str(ROOT / "Testing"))

from host import api_names, name_check, ui_check  # noqa: E402
from PySide6 import QtCore  # noqa: E402

HOST = ROOT / "Testing" / "host"
PREFIXES = ("ctk", "qMRML", "qSlicer")


@pytest.fixture(scope="module")
def names() -> api_names.ApiNames:
    found = api_names.load()
    if found is None:
        pytest.skip("the list of Slicer's names is not here (MRIFORGE_SLICER_API)")
    return found


# The stand-in has no name that Slicer lacks


def host_classes() -> list[type]:
    """The classes of the stand-in that stand for C++ classes."""
    found = []
    for file in sorted(HOST.glob("*.py")):
        if file.stem != "__init__":
            module = importlib.import_module(f"host.{file.stem}")
            found += [
                value
                for name, value in vars(module).items()
                if isinstance(value, type)
                and name.startswith(PREFIXES)
                and value.__module__ == module.__name__
            ]
    return found


def invented_names(cls: type, names: api_names.ApiNames) -> list[str]:
    """What a class of the stand-in has and the class of Slicer lacks, or has as another kind."""
    if not names.knows_class(cls.__name__):
        return [f"there is no class {cls.__name__}"]
    problems = []
    base = names.qt_base(cls.__name__)
    for name, value in vars(cls).items():
        kind = type(value) if not isinstance(value, type) else value
        if name.startswith("_") or name == "staticMetaObject" or issubclass(kind, enum.Enum):
            continue
        if hasattr(base, name) and not isinstance(value, QtCore.Property | QtCore.Signal):
            continue  # an event handler or another virtual function of Qt
        if not names.has_attribute(cls.__name__, name):
            problems.append(f"{cls.__name__} has no {name}")
        elif isinstance(value, QtCore.Property | property) != names.has_property(
            cls.__name__, name
        ):
            problems.append(f"{cls.__name__}.{name}: one has a property, the other a function")
    return problems + invented_signals(cls, names)


def invented_signals(cls: type, names: api_names.ApiNames) -> list[str]:
    if not issubclass(cls, QtCore.QObject):
        return []
    known = {
        simple(signature)
        for _, entry in names._chain(cls.__name__)
        for signature in entry["signals"]
    }
    meta, problems = cls.staticMetaObject, []
    for index in range(meta.methodOffset(), meta.methodCount()):
        method = meta.method(index)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
            signature = bytes(method.methodSignature().data()).decode()
            if simple(signature) not in known:
                problems.append(f"{cls.__name__} has no signal {signature}")
    return problems


def simple(signature: str) -> str:
    """A normalized signature in which every pointer or unknown type is a Python object."""
    head, _, inside = api_names.normal_signature(signature).partition("(")
    plain = ("bool", "int", "double", "QString", "QStringList")
    kinds = [k if k in plain else "PyObject" for k in inside.rstrip(")").split(",") if k]
    return f"{head}({','.join(kinds)})"


def test_the_classes_of_the_stand_in_have_no_invented_names(app, names):
    classes = host_classes()
    assert {"ctkCollapsibleButton", "ctkSliderWidget"} <= {cls.__name__ for cls in classes}
    assert [problem for cls in classes for problem in invented_names(cls, names)] == []


def test_an_invented_name_in_the_stand_in_is_found(names):
    class ctkPathLineEdit(QtCore.QObject):
        currentPathChanged = QtCore.Signal(int)
        comboBox = QtCore.Property(int, lambda self: 1)

        def clearHistory(self):
            pass

    class ctkPathLineEditor:
        pass

    assert invented_names(ctkPathLineEdit, names) == [
        "ctkPathLineEdit.comboBox: one has a property, the other a function",
        "ctkPathLineEdit has no clearHistory",
        "ctkPathLineEdit has no signal currentPathChanged(int)",
    ]
    assert invented_names(ctkPathLineEditor, names) == ["there is no class ctkPathLineEditor"]


def stand_in_modules(names: api_names.ApiNames) -> dict[str, object]:
    """{name: module} of Slicer's Python modules for which a stand-in is in use."""
    return {
        name: sys.modules[name]
        for name in names.module_names()
        if str(getattr(sys.modules.get(name), "__file__", None) or "").startswith(str(HOST))
    }


def parameters(signature: str) -> set[str]:
    """The names of the parameters in a signature such as ``"(a, b=None)"``."""
    arguments = ast.parse(f"def f{signature}: pass").body[0].args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [each for each in (arguments.vararg, arguments.kwarg) if each]
    return {each.arg for each in every}


def test_stand_ins_for_python_modules_have_no_invented_functions_or_parameters(app, names):
    problems = []
    for name, module in stand_in_modules(names).items():
        for key, value in vars(module).items():
            if key.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if not inspect.isfunction(value) and not inspect.isclass(value):
                continue
            if not any(
                names.module_has(each, key)
                for each in names.module_names()
                if each.startswith(name)
            ):
                problems.append(f"{name} has no {key}")
                continue
            entry = names._python[name].get(key)
            if inspect.isfunction(value) and isinstance(entry, str):
                extra = set(inspect.signature(value).parameters) - parameters(entry)
                problems += [f"{name}.{key} has no parameter {each}" for each in sorted(extra)]
    assert problems == []


# The code that runs inside Slicer uses no name that Slicer lacks


def product_folders() -> list[Path]:
    """The folders with code for Slicer: those with a CMakeLists.txt, except the tests'."""
    return [
        folder
        for folder in sorted(ROOT.iterdir())
        if folder.name != "Testing"
        and ((folder / "CMakeLists.txt").is_file() or folder.name.endswith("Lib"))
        and any(folder.rglob("*.py"))
    ]


@pytest.mark.parametrize("folder", product_folders(), ids=lambda folder: folder.name)
def test_python_code_uses_only_names_that_slicer_has(folder, names):
    widgets: dict[str, str] | None = None
    for file in (folder / "Resources").rglob("*.ui"):
        widgets = (widgets or {}) | ui_check.widget_classes(file.read_text(encoding="utf-8"))
    problems = [
        f"{file.relative_to(ROOT)}:{problem}"
        for file in sorted(folder.rglob("*.py"))
        for problem in name_check.check_source(file.read_text(encoding="utf-8"), names, widgets)
    ]
    assert problems == []


@pytest.mark.parametrize(
    "file",
    [file for folder in product_folders() for file in sorted(folder.rglob("*.ui"))],
    ids=lambda file: file.name,
)
def test_ui_files_use_only_names_that_slicer_has(file, names):
    module = file.relative_to(ROOT).parts[0]
    fields: set[str] = set()
    for source in (ROOT / module).rglob("*.py"):
        fields |= name_check.parameter_names(source.read_text(encoding="utf-8"))
    assert ui_check.check_ui(file.read_text(encoding="utf-8"), names, fields or None) == []


# The check itself

WIDGETS = {"applyButton": "QPushButton", "scale": "ctkSliderWidget", "input": "qMRMLNodeComboBox"}
HEAD = "import qt\nimport ctk\nimport slicer\nimport slicer.util\n"


def problems_of(source: str, names) -> list[str]:
    return [p.partition(": ")[2] for p in name_check.check_source(HEAD + source, names, WIDGETS)]


def in_method(*lines: str) -> str:
    body = "".join(f"        {line}\n" for line in lines)
    return f"class W:\n    def f(self, other):\n{body}"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("slicer.util.arrayFromVolum(1)", "slicer.util has no arrayFromVolum"),
        ("slicer.utils", "slicer has no utils"),
        ("slicer.app.layoutManagr()", "qSlicerApplication has no layoutManagr"),
        ("slicer.app.layoutManager().sliceWidgit('Red')", "has no sliceWidgit"),
        ("slicer.vtkMRMLScalarVolumNode()", "slicer has no vtkMRMLScalarVolumNode"),
        ("slicer.vtkMRMLScalarVolumeNode().GetImageDat()", "has no GetImageDat"),
        ("slicer.mrmlScene.AddNod(1)", "vtkMRMLScene has no AddNod"),
        ("slicer.mrmlScene.AddNewNodeByClass('vtkMRMLFooNode')", "no class vtkMRMLFooNode"),
        ("slicer.qMRMLNodeCombobox()", "slicer has no qMRMLNodeCombobox"),
        ("from slicer.util import loadVolum", "slicer.util has no loadVolum"),
        ("from slicer.utl import loadVolume", "no module slicer.utl"),
        ("from slicer.parameterNodeWrapper import WithinRang", "has no WithinRang"),
        ("import slicer.packagin", "no module slicer.packagin"),
        ("slicer.util.LazyImport('x')", "slicer.util has no LazyImport"),
        ("qt.QTextCodec", "qt has no QTextCodec"),
        ("qt.Signal()", "qt has no Signal"),
        ("qt.Qt.AlignLft", "Qt has no AlignLft"),
        ("qt.QProcess.Runing", "QProcess has no Runing"),
        ("b = qt.QVBoxLayout()\nb.setMargin(0)", "QVBoxLayout has no setMargin"),
        ("def f():\n    pass\nb = qt.QLabel()\nb.txt", "QLabel has no txt"),
        ("ctk.ctkCollapsableButton()", "ctk has no ctkCollapsableButton"),
        (in_method("self.ui.aplyButton.text = 'x'"), "called aplyButton"),
        (in_method("self.ui.applyButton.txt = 'x'"), "QPushButton has no txt"),
        (in_method("self.ui.applyButton.text()"), "text is a property, not a function"),
        (in_method("self.ui.applyButton.menu = other"), "can not be assigned"),
        (in_method("self.ui.applyButton.connect('clickd(bool)', other)"), "no signal clickd(bool)"),
        (in_method("self.ui.scale.setMaximum(3)"), "ctkSliderWidget has no setMaximum"),
        (in_method("ui = self.ui", "ui.input.currentnode()"), "has no currentnode"),
        (in_method("self._timer = qt.QTimer()", "self._timer.intervall = 3"), "has no intervall"),
        (
            in_method("self.ui.input.connect('currentNodeChanged(vtkMRMLVolumeNode*)', other)"),
            "no signal currentNodeChanged(vtkMRMLVolumeNode*)",
        ),
        (in_method("def g():", "    qt.QLabel('x').txt"), "QLabel has no txt"),
    ],
)
def test_a_wrong_name_is_found(source, message, names):
    problems = problems_of(source, names)
    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize(
    "source",
    [
        "slicer.util.arrayFromVolume(1)\nslicer.app.processEvents()\nslicer.app.testingEnabled()",
        "from slicer.i18n import tr as _\nfrom slicer.ScriptedLoadableModule import *",
        "from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper",
        "from slicer import vtkMRMLScalarVolumeNode\nvtkMRMLScalarVolumeNode().GetImageData()",
        "manager = slicer.app.layoutManager()\nmanager.sliceWidget('Red').sliceLogic()",
        "n = slicer.mrmlScene.AddNewNodeByClass('vtkMRMLTableNode')\nn.GetTable()",
        "slicer.modules.anything.widgetRepresentation().self()",
        "qt.QTimer.singleShot(0, print)\nqt.QMessageBox.Ok | qt.QMessageBox.Cancel",
        "p = qt.QProcess()\np.start('a', [])\np.state() == qt.QProcess.NotRunning",
        "d = qt.QDialog()\nd.exec_()\nd.windowTitle = 'x'\nd.connect('finished(int)', print)",
        in_method("self.ui.applyButton.toolTip = 'x'", "self.ui.applyButton.setToolTip('y')"),
        in_method("self.ui.applyButton.clicked.connect(other)"),
        in_method("self.ui.input.connect('currentNodeChanged(vtkMRMLNode*)', other)"),
        in_method("self.ui.scale.value = 3", "self.ui.scale.blockSignals(True)"),
        # not known, so not reported
        in_method("other.nothing()", "x = qt.QLabel()", "x = other", "x.nothing()"),
        in_method("for x in other:", "    x.nothing()"),
        in_method("with other as x:", "    x.nothing()"),
        in_method("self._p = None", "self._p = qt.QProcess()", "self._p.kill()"),
        in_method("self._p = other", "self._p = qt.QProcess()", "self._p.anything()"),
    ],
)
def test_a_right_name_is_not_reported(source, names):
    assert problems_of(source, names) == []


GOOD_UI = """<ui version="4.0"><class>W</class><widget class="qMRMLWidget" name="W">
<layout class="QVBoxLayout" name="rows"><item><widget class="ctkSliderWidget" name="scale">
<property name="maximum"><double>8.0</double></property>
<property name="SlicerParameterName" stdset="0"><string>factor</string></property></widget></item>
<item><widget class="qMRMLNodeComboBox" name="input"/></item>
<item><widget class="Line" name="line"><property name="orientation">
<enum>Qt::Horizontal</enum></property></widget></item></layout></widget>
<connections><connection><sender>W</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>input</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


def test_a_right_ui_file_has_no_problems(names):
    assert ui_check.check_ui(GOOD_UI, names, {"factor"}) == []
    assert ui_check.check_ui(GOOD_UI, names) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ctkSliderWidget", "ctkSliderWidgit", "no widget class ctkSliderWidgit"),
        ('name="maximum"', 'name="maximun"', "ctkSliderWidget has no property maximun"),
        ("<string>factor", "<string>factr", "the parameter node has no factr"),
        ("ctkSliderWidget", "ctkDoubleSlider", "ctkDoubleSlider can not be connected"),
        (' stdset="0"', "", "has to be a dynamic property"),
        ('name="input"', 'name="scale"', "two widgets are called scale"),
        ("<sender>W", "<sender>V", "names V, which is not there"),
        ("mrmlSceneChanged", "mrmlSceneChange", "has no signal mrmlSceneChange("),
        ("setMRMLScene", "setMrmlScene", "has no slot setMrmlScene("),
        ("Qt::Horizontal", "Qt::Orientation::Horizontal", "is fully scoped"),
    ],
)
def test_a_mistake_in_a_ui_file_is_found(old, new, message, names):
    problems = ui_check.check_ui(GOOD_UI.replace(old, new), names, {"factor"})
    assert any(message in problem for problem in problems)


def test_parameters_are_read_from_the_wrapper_class():
    source = "@parameterNodeWrapper\nclass P:\n    a: int = 1\n    b: str\nclass Q:\n    c: int\n"
    assert name_check.parameter_names(source) == {"a", "b"}


def test_signatures_are_normalized_as_qt_does():
    for given, wanted in {
        "currentPathChanged(const QString& path)": "currentPathChanged(QString)",
        "g(const QString &)": "g(QString)",
        "f(const Foo* x, bool)": "f(const Foo*,bool)",
        "h(unsigned int x)": "h(unsigned int)",
        "none()": "none()",
    }.items():
        assert api_names.normal_signature(given) == wanted


def test_attributes_are_found_through_base_classes_into_qt(names):
    assert names.has_attribute("ctkCollapsibleButton", "collapsed")
    assert names.has_attribute("ctkCollapsibleButton", "text")
    assert names.has_attribute("qSlicerApplication", "testingEnabled")
    assert names.has_attribute("qSlicerApplication", "settings")
    assert not names.has_attribute("ctkCollapsibleButton", "setCollapsed")
    assert not names.has_attribute("ctkCollapsibleButton", "nothing")
    assert "slicer.util" in names.module_names()
