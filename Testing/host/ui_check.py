"""Finds classes, properties, signals and parameters in a .ui file that do not exist in Slicer."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from . import qt_module
from .api_names import ApiNames

# The widget classes that slicer.parameterNodeWrapper can connect to a parameter. It goes by the
# exact class: a subclass is not connected.
CONNECTABLE = {
    "QCheckBox",
    "QComboBox",
    "QDoubleSpinBox",
    "QLabel",
    "QLineEdit",
    "QPushButton",
    "QSlider",
    "QSpinBox",
    "QTextEdit",
    "ctkCheckBox",
    "ctkDirectoryButton",
    "ctkDoubleSpinBox",
    "ctkPathLineEdit",
    "ctkRangeWidget",
    "ctkSliderWidget",
    "qMRMLNodeComboBox",
    "qMRMLSliderWidget",
    "qMRMLSpinBox",
}


def widget_classes(content: str) -> dict[str, str]:
    """{object name: class} of the widgets and actions of a .ui file."""
    tree = ET.fromstring(content)
    found = {e.get("name"): e.get("class") for e in tree.iter("widget")}
    return found | {e.get("name"): "QAction" for e in tree.iter("action")}


def check_ui(content: str, names: ApiNames, parameters: set[str] | None = None) -> list[str]:
    """The wrong names in a .ui file.

    Args:
        content: The file's text.
        names: The list of Slicer's names.
        parameters: The fields of the module's parameter node; None leaves them unchecked.
    """
    tree = ET.fromstring(content)
    problems: list[str] = []
    seen: set[str] = set()
    for element in tree.iter("widget"):
        name, cls = element.get("name"), element.get("class")
        if name in seen:
            problems.append(f"two widgets are called {name}")
        seen.add(name)
        if cls == "Line":
            continue
        if not names.knows_class(cls) and qt_module.find_class(cls) is None:
            problems.append(f"{name}: there is no widget class {cls}")
            continue
        problems += _check_widget(element, names, parameters)
    for element in [*tree.iter("enum"), *tree.iter("set")]:
        if any(part.count("::") > 1 for part in (element.text or "").split("|")):
            problems.append(f"{element.text} is fully scoped, which Qt 5 does not read")
    classes = widget_classes(content)
    for connection in tree.iter("connection"):
        problems += _check_connection(connection, classes, names)
    return problems


def _check_widget(element: ET.Element, names: ApiNames, parameters: set[str] | None) -> list[str]:
    name, cls = element.get("name"), element.get("class")
    problems = []
    for prop in element.findall("property"):
        key = prop.get("name")
        if key == "SlicerParameterName":
            value = (prop[0].text or "").strip()
            if parameters is not None and value.partition(".")[0] not in parameters:
                problems.append(f"{name}: the parameter node has no {value}")
            if cls not in CONNECTABLE:
                problems.append(f"{name}: {cls} can not be connected to a parameter")
            if prop.get("stdset") != "0":
                problems.append(f"{name}: SlicerParameterName has to be a dynamic property")
        elif prop.get("stdset") != "0" and not names.has_property(cls, key):
            problems.append(f"{name}: {cls} has no property {key}")
    return problems


def _check_connection(
    connection: ET.Element, classes: dict[str, str], names: ApiNames
) -> list[str]:
    parts = {part.tag: (part.text or "").strip() for part in connection}
    problems = []
    for role, member, has in (
        ("sender", "signal", names.has_signal),
        ("receiver", "slot", names.has_slot),
    ):
        cls = classes.get(parts[role])
        if cls is None:
            problems.append(f"a connection names {parts[role]}, which is not there")
        elif not has(cls, parts[member]):
            problems.append(f"{parts[role]}: {cls} has no {member} {parts[member]}")
    return problems
