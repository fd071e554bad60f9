"""The stand-in's Qt behaves as PythonQt does inside Slicer."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

_TESTING = str(Path(__file__).resolve().parents[1])
if _TESTING not in sys.path:
    sys.path.insert(0, _TESTING)

from host import ctk_module, qt_module, qt_names, ui_loader  # noqa: E402

qt = qt_module.install()
ctk = ctk_module.install()

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
def process(app):
    return qt.QApplication.processEvents


def show(widget, process):
    widget.show()
    process()
    return widget


# Properties


def test_properties_are_attributes_and_no_functions():
    button = qt.QPushButton("Apply")
    assert button.text == "Apply"
    button.text = "Cancel"
    button.enabled = False
    assert button.text == "Cancel"
    assert not button.isEnabled()
    with pytest.raises(TypeError):
        button.text()


def test_setters_and_plain_methods_stay():
    button = qt.QPushButton()
    button.setText("a")
    button.setToolTip("b")
    layout = qt.QVBoxLayout(button)
    assert (button.text, button.toolTip) == ("a", "b")
    assert button.layout() is layout
    assert button.isVisible() is False


def test_a_property_that_overrides_a_c_method_is_one_in_subclasses_too():
    # QPushButton reimplements sizeHint(), which must not hide QWidget's property.
    assert qt.QPushButton("x").sizeHint.height() > 5


def test_objects_made_by_qt_have_the_same_manners():
    box = qt.QMessageBox()
    box.setStandardButtons(qt.QMessageBox.Ok)
    assert isinstance(box.button(qt.QMessageBox.Ok).text, str)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enabeld", True),
        ("text", None),
        ("text", 5),
        ("setText", "x"),
        ("sizeHint", 3),
        ("_own", 1),
    ],
)
def test_what_pythonqt_refuses_to_set_is_refused(name, value):
    with pytest.raises(AttributeError):
        setattr(qt.QPushButton(), name, value)


def test_python_subclasses_may_have_attributes():
    class Panel(qt.QWidget):
        pass

    panel = Panel()
    panel.logic = 3
    assert panel.logic == 3
    del panel.logic
    assert not hasattr(panel, "logic")
    panel.enabled = False
    assert not panel.isEnabled()


def test_dynamic_properties_children_and_the_short_name_are_attributes():
    parent = qt.QWidget()
    parent.setProperty("SlicerParameterName", "factor")
    assert parent.SlicerParameterName == "factor"
    parent.SlicerParameterName = "other"
    assert parent.property("SlicerParameterName") == "other"
    child = qt.QLabel(parent)
    child.name = "note"
    assert child.objectName == "note"
    assert parent.note is child
    with pytest.raises(AttributeError):
        _ = parent.nothing


def test_a_timer_shoots_once_through_the_static_function_only(process):
    fired = []
    qt.QTimer.singleShot(0, lambda: fired.append(1))
    timer = qt.QTimer()
    with pytest.raises(AttributeError):
        timer.singleShot = True
    timer.setSingleShot(True)
    timer.interval = 0
    timer.connect("timeout()", lambda: fired.append(2))
    timer.start()
    for _ in range(3):
        process()
    assert sorted(fired) == [1, 2]
    assert timer.isSingleShot()
    assert not timer.active


def test_enumerations_are_unscoped_and_equal_to_integers():
    process = qt.QProcess()
    assert process.state() == qt.QProcess.NotRunning == 0
    assert process.NormalExit == 0
    assert qt.QMessageBox.Ok == 1024
    assert {qt.QMessageBox.Ok: "ok"}[1024] == "ok"
    assert int(qt.Qt.AlignRight) == 2
    label = qt.QLabel()
    label.alignment = 4
    assert label.alignment == qt.Qt.AlignHCenter
    assert qt.QSizePolicy.Expanding != qt.QSizePolicy.Fixed


def test_the_output_of_a_process_is_bytes():
    process, ended = qt.QProcess(), []
    process.connect("finished(int,QProcess::ExitStatus)", lambda *end: ended.append(end))
    process.start(sys.executable, ["-c", "print('out')"])
    assert process.waitForFinished(20000)
    assert ended == [(0, qt.QProcess.NormalExit)]
    assert bytes(process.readAllStandardOutput().data()).decode().strip() == "out"
    assert process.exitCode() == 0
    assert process.exitStatus() == qt.QProcess.NormalExit


def test_dialogs_run_with_exec_underscore():
    dialog = qt.QDialog()
    qt.QTimer.singleShot(0, dialog.accept)
    assert dialog.exec_() == qt.QDialog.Accepted


def test_class_name_inherits_and_delete(process):
    button = qt.QPushButton()
    assert button.className() == "QPushButton"
    assert button.inherits("QAbstractButton")
    gone = []
    button.connect("destroyed()", lambda: gone.append(1))
    button.delete()
    qt.QApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)
    process()
    assert gone == [1]


# Signals


def test_signals_connect_by_signature_and_pass_as_many_arguments_as_fit():
    button = qt.QPushButton()
    button.checkable = True
    got = []
    button.connect("clicked(bool)", lambda checked: got.append(checked))
    button.connect("clicked( bool )", lambda: got.append("none"))
    button.connect("clicked()", lambda *values: got.append(values))
    button.connect("toggled(bool)", got.append)
    button.click()
    assert sorted(got, key=str) == [(), True, True, "none"]


def test_a_bound_method_keeps_its_object_alive_as_in_pythonqt():
    got = []

    class Handler:
        def on_click(self):
            got.append(1)

    button = qt.QPushButton()
    button.connect("clicked(bool)", Handler().on_click)
    gc.collect()
    button.click()
    assert got == [1]


def test_overloads_are_told_apart_by_their_arguments():
    group = qt.QButtonGroup()
    button = qt.QRadioButton()
    group.addButton(button, 7)
    got = []
    group.connect("idClicked(int)", got.append)
    group.connect("buttonClicked(QAbstractButton*)", got.append)
    button.click()
    assert got == [7, button] or got == [button, 7]


@pytest.mark.parametrize(
    ("make", "signal"),
    [
        ("QPushButton", "clickd(bool)"),
        ("QPushButton", "clicked(int)"),
        ("QPushButton", "clicked"),
        ("QComboBox", "currentIndexChanged(QString)"),
        ("QButtonGroup", "buttonClicked(int)"),
        ("QPushButton", ""),
    ],
)
def test_a_signal_that_does_not_exist_is_an_error(make, signal):
    with pytest.raises(ValueError):
        getattr(qt, make)().connect(signal, print)


def test_disconnect_removes_one_connection_or_all():
    button, got = qt.QPushButton(), []

    def handler():
        got.append(1)

    button.connect("clicked(bool)", handler)
    button.connect("clicked(bool)", handler)
    assert button.disconnect("clicked(bool)", handler)
    button.click()
    assert got == [1]
    button.connect("clicked(bool)", lambda: got.append(2))
    assert button.disconnect("clicked(bool)")
    assert not button.disconnect("clicked(bool)", handler)
    button.click()
    assert got == [1]
    with pytest.raises(ValueError):
        button.disconnect("nothing()", handler)


def test_a_receiver_and_its_slot_connect_by_name():
    box, line = qt.QCheckBox(), qt.QLineEdit()
    box.connect("toggled(bool)", line, "setDisabled(bool)")
    box.checked = True
    assert not line.enabled


# The module qt


@pytest.mark.parametrize(
    "name",
    ["Signal", "Slot", "Property", "QtCore", "QRegExp", "QTextCodec", "QDesktopWidget", "QEnum"]
    + ["QSomething", "QPermission", "ClassInfo", "SIGNAL"],
)
def test_names_that_slicers_qt_lacks_are_not_there(name):
    with pytest.raises(AttributeError):
        getattr(qt, name)


@pytest.mark.parametrize(
    "name",
    ["QProcess", "QTimer", "QSettings", "QColor", "QAction", "QSvgRenderer", "QUrl", "QUiLoader"]
    + ["QRegularExpression", "QElapsedTimer", "QDesktopServices", "QNetworkRequest", "Qt"],
)
def test_names_that_slicers_qt_has_are_there(name):
    assert isinstance(getattr(qt, name), type)
    assert name in dir(qt)


@pytest.mark.parametrize(
    ("cls", "name", "there"),
    [
        ("QVBoxLayout", "setMargin", False),
        ("QVBoxLayout", "setContentsMargins", True),
        ("QFontMetrics", "width", False),
        ("QFontMetrics", "horizontalAdvance", True),
        ("Qt", "MidButton", False),
        ("Qt", "AlignLeft", True),
        ("QPalette", "Background", False),
        ("QPushButton", "enabled", True),
        ("QPushButton", "clicked", True),
        ("QPushButton", "setText", True),
        ("QPushButton", "setTex", False),
        ("QProcess", "NotRunning", True),
        ("QProcess", "startCommand", False),  # new in Qt 6
        ("QProcess", "waitForReadyRead", True),
        ("QDialog", "exec_", True),
        ("QLabel", "exec_", False),
        ("QTimer", "singleShot", True),
        ("QTableWidget", "setRowCount", True),
    ],
)
def test_what_a_class_has_in_pythonqt_is_known(cls, name, there):
    assert qt_names.class_has(getattr(qt, cls), name) is there


def test_settings_are_read_back():
    qt.QSettings().setValue("MRIForge/Test", "value")
    assert qt.QSettings().value("MRIForge/Test") == "value"
    qt.QSettings().remove("MRIForge/Test")


# ctk


def panel_with(button):
    layout = qt.QVBoxLayout(button)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    for label in (shown, hidden):
        layout.addWidget(label)
    hidden.setVisible(False)
    return shown, hidden


@pytest.mark.parametrize("cls", ["ctkCollapsibleButton", "ctkCollapsibleGroupBox"])
def test_a_collapsed_widget_hides_its_contents_and_shows_them_again(cls, process):
    top = qt.QWidget()
    rows = qt.QVBoxLayout(top)
    button = getattr(ctk, cls)()
    rows.addWidget(button)
    shown, hidden = panel_with(button)
    show(top, process)
    tall = button.height
    assert shown.isVisible()
    button.collapsed = True
    process()
    assert not shown.isVisible()
    assert button.maximumHeight < tall
    assert not button.checked
    late = qt.QLabel("late")
    button.layout().addWidget(late)
    shown.setVisible(True)
    process()
    assert not late.isVisible()
    assert not shown.isVisible()
    button.checked = True
    process()
    assert not button.collapsed
    assert shown.isVisible() and late.isVisible()
    assert not hidden.isVisible()


def test_a_click_on_the_header_collapses_and_one_on_the_contents_does_not(process):
    button = ctk.ctkCollapsibleButton()
    panel_with(button)
    button.text = "Inputs"
    show(button, process)
    got = []
    button.connect("contentsCollapsed(bool)", got.append)
    assert button.hitButton(qt.QPoint(30, 5))
    assert not button.hitButton(qt.QPoint(30, button.height - 3))
    button.click()
    assert got == [True]


def test_a_widget_of_the_stand_in_refuses_unknown_attributes():
    with pytest.raises(AttributeError):
        ctk.ctkSliderWidget().maximun = 3
    with pytest.raises(AttributeError):
        ctk.ctkDoubleSpinBox().cleanText = "3"


def test_a_slider_widget_keeps_slider_and_spin_box_together(process):
    slider = ctk.ctkSliderWidget()
    slider.minimum, slider.maximum = 1, 8
    slider.singleStep = 0.5
    slider.decimals = 1
    got = []
    slider.connect("valueChanged(double)", got.append)
    slider.value = 4.5
    slider.setValue(4.5)
    slider.value = 100
    assert got == [4.5, 8.0]
    inner = next(c for c in slider.findChildren(qt.QSlider))
    inner.value = 2
    assert slider.value == 2.0
    box = next(c for c in slider.findChildren(qt.QDoubleSpinBox))
    assert box.value == 2.0
    box.value = 3.0
    assert (slider.value, inner.value) == (3.0, 4)
    slider.minimum = 5
    assert slider.value == 5.0


def test_a_double_spin_box_has_both_overloads():
    box, got = ctk.ctkDoubleSpinBox(), []
    box.connect("valueChanged(double)", got.append)
    box.connect("valueChanged(QString)", got.append)
    box.value = 2.5
    assert got == [2.5, "2.50"]
    assert box.suffix == ""


def test_a_range_widget_keeps_its_ends_in_order():
    widget, got = ctk.ctkRangeWidget(), []
    widget.connect("valuesChanged(double,double)", lambda low, high: got.append((low, high)))
    widget.setRange(0, 1000)
    widget.setValues(100, 700)
    widget.minimumValue = 800
    assert got[-2:] == [(100.0, 700.0), (800.0, 800.0)]
    widget.maximum = 500
    assert (widget.minimumValue, widget.maximumValue) == (500.0, 500.0)


def test_a_path_line_edit_tells_valid_input(tmp_path):
    edit, changed, valid = ctk.ctkPathLineEdit(), [], []
    edit.connect("currentPathChanged(QString)", changed.append)
    edit.connect("validInputChanged(bool)", valid.append)
    edit.filters = ctk.ctkPathLineEdit.Dirs
    edit.currentPath = str(tmp_path)
    edit.currentPath = str(tmp_path / "missing")
    assert changed == [str(tmp_path), str(tmp_path / "missing")]
    assert valid == [True, False]


def test_a_path_line_edit_remembers_its_history(tmp_path):
    for name in ("a", "b", "a"):
        edit = ctk.ctkPathLineEdit()
        edit.settingKey = "MRIForge/TestHistory"
        edit.currentPath = str(tmp_path / name)
        edit.addCurrentPathToHistory()
    combo = edit.comboBox()
    entries = [Path(combo.itemText(i)).name for i in range(combo.count)]
    qt.QSettings().remove("MRIForge/TestHistory")
    assert entries == ["a", "b"]
    assert edit.currentPath == str(tmp_path / "a")


def test_a_message_box_can_be_silenced():
    def ask():
        box = ctk.ctkMessageBox()
        box.setStandardButtons(qt.QMessageBox.Ok)
        box.dontShowAgainVisible = True
        box.dontShowAgainSettingsKey = "MRIForge/TestDontShow"
        return box

    box = ask()

    def answer():
        box.dontShowAgain = True
        box.button(qt.QMessageBox.Ok).click()

    qt.QTimer.singleShot(0, answer)
    assert box.exec_() == qt.QMessageBox.Ok
    again = ask()
    assert again.dontShowAgain
    assert again.exec_() == qt.QMessageBox.Ok  # at once: there is nobody to click
    qt.QSettings().remove("MRIForge/TestDontShow")


# .ui files

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Demo</class><widget class="QWidget" name="Demo">
<layout class="QVBoxLayout" name="rows">
<item><widget class="ctkCollapsibleButton" name="button">
 <property name="text"><string>Advanced</string></property>
 <property name="collapsed"><bool>true</bool></property>
 <layout class="QVBoxLayout" name="inner">
  <item><widget class="QCheckBox" name="box"/></item>
  <item><widget class="ctkSliderWidget" name="slider">
   <property name="SlicerParameterName" stdset="0"><string>factor</string></property>
   <property name="maximum"><double>8.0</double></property>
   <property name="value"><double>3.0</double></property>{extra}</widget></item>
  <item><widget class="ctkPathLineEdit" name="path">
   <property name="filters"><set>ctkPathLineEdit::Files|ctkPathLineEdit::Readable</set></property>
  </widget></item>
 </layout></widget></item>
</layout></widget>
<connections><connection><sender>{sender}</sender><signal>{signal}</signal>
<receiver>slider</receiver><slot>{slot}</slot></connection></connections></ui>"""


def ui_file(folder, **changes):
    text = {"extra": "", "sender": "box", "signal": "toggled(bool)", "slot": "setDisabled(bool)"}
    path = folder / "Demo.ui"
    path.write_text(UI.format(**(text | changes)), encoding="utf-8")
    return path


def test_a_ui_file_makes_our_widgets_and_keeps_them_alive(tmp_path, process):
    top = ui_loader.load_ui(ui_file(tmp_path))
    gc.collect()
    show(top, process)
    found = {child.name: child for child in top.findChildren(qt.QWidget)}
    slider, path, box = found["slider"], found["path"], found["box"]
    assert type(slider) is ctk.ctkSliderWidget
    assert slider.value == 3.0
    assert slider.SlicerParameterName == "factor"
    assert path.filters == ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Readable
    assert not slider.isVisible()
    found["button"].collapsed = False
    process()
    assert slider.isVisible()
    box.checked = True
    assert not slider.enabled


def test_slicers_own_way_of_loading_works_with_our_loader(tmp_path):
    file = qt.QFile(str(ui_file(tmp_path)))
    assert file.exists()  # a static function of the same name must not hide it
    file.open(qt.QFile.ReadOnly)
    widget = qt.QUiLoader().load(file)
    assert widget.findChild(qt.QCheckBox, "box") is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": '<property name="valeu"><double>1</double></property>'}, "valeu"),
        ({"extra": '<property name="prefix"><number>1</number></property>'}, "prefix"),
        ({"sender": "bux"}, "bux"),
        ({"signal": "togled(bool)"}, "togled"),
        ({"slot": "setDisabeld(bool)"}, "setDisabeld"),
    ],
)
def test_a_mistake_in_a_ui_file_is_an_error(tmp_path, changes, message):
    with pytest.raises(ui_loader.UiError, match=message):
        ui_loader.load_ui(ui_file(tmp_path, **changes))


def test_an_unknown_widget_class_is_an_error(tmp_path):
    path = ui_file(tmp_path)
    path.write_text(path.read_text().replace("ctkSliderWidget", "ctkSliderWidgit"))
    with pytest.raises(ui_loader.UiError, match="ctkSliderWidgit"):
        ui_loader.load_ui(path)
    with pytest.raises(FileNotFoundError):
        ui_loader.load_ui(tmp_path / "missing.ui")
