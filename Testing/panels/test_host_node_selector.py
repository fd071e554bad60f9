"""The node selector of the stand-in follows the scene as Slicer's does."""

from __future__ import annotations

import pytest
import slicer
from PySide6 import QtWidgets


@pytest.fixture
def selector(scene):
    widget = slicer.qMRMLNodeComboBox()
    widget.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    widget.noneEnabled = True
    widget.setMRMLScene(scene)
    yield widget
    widget.deleteLater()


def add(scene, name, kind="vtkMRMLScalarVolumeNode"):
    return scene.AddNewNodeByClass(kind, name)


def box_of(selector):
    return selector.findChild(QtWidgets.QComboBox)


def test_lists_nodes_of_its_types_only(scene, selector):
    first = add(scene, "first")
    add(scene, "table", "vtkMRMLTableNode")
    hidden = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    hidden.UnRegister(None)
    hidden.SetHideFromEditors(True)
    scene.AddNode(hidden)
    labels = add(scene, "labels", "vtkMRMLLabelMapVolumeNode")
    assert selector.nodeCount() == 2
    assert {selector.nodeFromIndex(i).GetID() for i in range(2)} == {first.GetID(), labels.GetID()}
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 1
    selector.showHidden = True
    assert selector.nodeCount() == 2


def test_none_stays_current_until_something_is_chosen(scene, selector):
    add(scene, "first")
    assert selector.currentNode() is None
    assert selector.currentNodeID == ""
    assert box_of(selector).currentText == "None"


def test_without_none_the_first_node_is_taken(scene, selector):
    selector.noneEnabled = False
    first = add(scene, "first")
    assert selector.currentNode() is first


def test_tells_of_a_change_in_each_spelling(scene, selector):
    node = add(scene, "first")
    nodes, valid, ids = [], [], []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", nodes.append)
    selector.connect("currentNodeChanged(bool)", valid.append)
    selector.connect("currentNodeIDChanged(QString)", ids.append)
    selector.setCurrentNode(node)
    selector.setCurrentNode(node)
    selector.currentNodeID = ""
    assert nodes == [node, None]
    assert valid == [True, False]
    assert ids == [node.GetID(), ""]


def test_follows_removal_renaming_and_closing(scene, selector):
    first, second = add(scene, "first"), add(scene, "second")
    selector.setCurrentNode(second)
    second.SetName("renamed")
    assert box_of(selector).currentText == "renamed"
    scene.RemoveNode(second)
    assert selector.currentNode() is None
    selector.setCurrentNode(first)
    scene.Clear(False)
    assert selector.currentNode() is None
    assert selector.nodeCount() == 0


def test_creates_and_deletes_from_its_menu(scene, selector):
    selector.baseName = "Result"
    box = box_of(selector)
    entry = box.findText("Create new Volume")
    box.setCurrentIndex(entry)
    box.activated.emit(entry)
    assert selector.currentNode().GetName() == "Result"
    assert box.currentText == "Result"
    box.activated.emit(box.findText("Delete current Volume"))
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    selector.addEnabled = False
    assert box.findText("Create new Volume") < 0


def test_filters_by_attribute(scene, selector):
    node = add(scene, "first")
    add(scene, "second")
    node.SetAttribute("MRIForge.job", "superres")
    selector.addAttribute("vtkMRMLScalarVolumeNode", "MRIForge.job", "superres")
    assert selector.nodeCount() == 1


def test_unknown_property_is_refused(selector):
    with pytest.raises(AttributeError):
        selector.noneEnable = True


def test_a_deleted_selector_no_longer_listens(scene, selector):
    other = slicer.qMRMLNodeComboBox()
    other.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    other.setMRMLScene(scene)
    other.setParent(None)
    del other
    assert add(scene, "after") is not None
