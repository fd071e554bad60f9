"""The node selector of Slicer's panels."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .mrml_widgets import Observations
from .pythonqt import plain


def _property(name: str, kind) -> QtCore.Property:
    """A Qt property of qMRMLNodeComboBox that is kept in its dictionary of values."""

    def put(self, value):
        self._set_value(name, list(value) if isinstance(value, (list, tuple)) else value)

    return QtCore.Property(kind, lambda self: self._values[name], put)


@plain
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Lists the nodes of some classes, follows the scene, and can create, rename and delete."""

    currentNodeChanged = QtCore.Signal((object,), (bool,))
    currentNodeIDChanged = QtCore.Signal(str)
    currentNodeRenamed = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAddedByUserAction = QtCore.Signal(object)
    nodeAboutToBeEdited = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)

    _DEFAULTS = {  # noqa: RUF012
        "nodeTypes": [],
        "hideChildNodeTypes": [],
        "noneEnabled": False,
        "noneDisplay": "None",
        "addEnabled": True,
        "removeEnabled": True,
        "editEnabled": False,
        "renameEnabled": False,
        "selectNodeUponCreation": True,
        "showChildNodeTypes": True,
        "showHidden": False,
        "baseName": "",
        "interactionNodeSingletonTag": "",
    }

    def __init__(self, parent=None):
        super().__init__(parent)
        self._values = {
            name: list(v) if isinstance(v, list) else v for name, v in self._DEFAULTS.items()
        }
        self._scene = None
        self._current_id = ""
        self._attributes: list[tuple[str, str, str | None]] = []
        self._labels: dict[str, str] = {}
        self._nodes: list[vtk.vtkObject] = []
        self._scene_events = Observations(self)
        self._node_events = Observations(self)
        self._box = QtWidgets.QComboBox(self)
        self._box.setObjectName("comboBox")
        self._box.activated.connect(self._on_activated)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self.setSizePolicy(
            QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Fixed
        )
        self._box.setSizeAdjustPolicy(
            QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._refresh()

    # Scene

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        self._scene_events.clear()
        self._scene = scene
        events = slicer.vtkMRMLScene
        self._scene_events.add(
            scene,
            (
                events.NodeAddedEvent,
                events.NodeRemovedEvent,
                events.EndBatchProcessEvent,
                events.EndCloseEvent,
                events.EndImportEvent,
                events.EndRestoreEvent,
            ),
            self._on_scene_changed,
        )
        self.setEnabled(scene is not None)
        self._refresh()

    def _on_scene_changed(self):
        if not self._scene.IsBatchProcessing():
            self._refresh()

    # Nodes

    def _wanted(self, node) -> bool:
        if node.GetHideFromEditors() and not self._values["showHidden"]:
            return False
        if not any(self._matches(node, kind) for kind in self._values["nodeTypes"]):
            return False
        if any(node.IsA(kind) for kind in self._values["hideChildNodeTypes"]):
            return False
        for kind, name, value in self._attributes:
            found = node.GetAttribute(name)
            if node.IsA(kind) and (found is None or (value is not None and found != value)):
                return False
        return True

    def _matches(self, node, kind: str) -> bool:
        if self._values["showChildNodeTypes"]:
            return bool(node.IsA(kind))
        return node.GetClassName() == kind

    def _refresh(self) -> None:
        scene = self._scene
        count = scene.GetNumberOfNodes() if scene is not None else 0
        every = [scene.GetNthNode(index) for index in range(count)]
        nodes = [node for node in every if self._wanted(node)]
        if nodes != self._nodes or not nodes:
            self._node_events.clear()
            for node in nodes:
                self._node_events.add(node, vtk.vtkCommand.ModifiedEvent, self._on_node_modified)
        known, self._nodes = self._nodes, nodes
        current = self._find(self._current_id)
        if current is None and not self._values["noneEnabled"] and nodes:
            current = nodes[0]
        self._fill_box(current)
        for node in nodes:
            if node not in known:
                self.nodeAdded.emit(node)
        self._make_current(current)

    def _fill_box(self, current) -> None:
        box = self._box
        box.blockSignals(True)
        box.clear()
        if self._values["noneEnabled"]:
            box.addItem(self._values["noneDisplay"], "")
        for node in self._nodes:
            box.addItem(node.GetName() or "", node.GetID())
        self._add_actions(current)
        box.setCurrentIndex(box.findData(current.GetID() if current is not None else ""))
        box.setPlaceholderText(f"Select a {self._type_label()}" if self._type_label() else "")
        box.blockSignals(False)

    def _add_actions(self, current) -> None:
        actions = []
        label = self._type_label()
        if current is not None:
            for key, text in (("edit", "Edit current"), ("rename", "Rename current")):
                if self._values[f"{key}Enabled"]:
                    actions.append((f"{text} {label}", key))
            if self._values["removeEnabled"]:
                actions.append((f"Delete current {label}", "remove"))
        if self._values["addEnabled"] and self._values["nodeTypes"]:
            for kind in self._values["nodeTypes"]:
                actions.append((f"Create new {self.nodeTypeLabel(kind)}", f"add {kind}"))
        if actions and self._box.count > 0:
            self._box.insertSeparator(self._box.count)
        for text, key in actions:
            self._box.addItem(text, f"!{key}")

    def _type_label(self) -> str:
        kinds = self._values["nodeTypes"]
        return self.nodeTypeLabel(kinds[0]) if len(kinds) == 1 else "node"

    def nodeTypeLabel(self, node_type):
        if node_type in self._labels:
            return self._labels[node_type]
        cls = getattr(slicer, node_type, None)
        return cls().GetNodeTagName() if isinstance(cls, type) else node_type

    def setNodeTypeLabel(self, label, node_type):
        self._labels[node_type] = label
        self._refresh()

    def addAttribute(self, node_type, name, value=None):
        self._attributes.append((node_type, name, None if value is None else str(value)))
        self._refresh()

    def removeAttribute(self, node_type, name):
        self._attributes = [a for a in self._attributes if a[:2] != (node_type, name)]
        self._refresh()

    def nodeCount(self):
        return len(self._nodes)

    def nodeFromIndex(self, index):
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def _find(self, node_id: str):
        return next((node for node in self._nodes if node.GetID() == node_id), None)

    def _on_node_modified(self):
        shown = [self._box.itemText(self._box.findData(node.GetID())) for node in self._nodes]
        if shown != [node.GetName() or "" for node in self._nodes]:
            before = self._box.currentText
            self._fill_box(self.currentNode())
            if self._box.currentText != before:
                self.currentNodeRenamed.emit(self._box.currentText)
        elif any(not self._wanted(node) for node in self._nodes):
            self._refresh()

    # The current node

    def currentNode(self):
        return self._find(self._current_id)

    def setCurrentNode(self, node):
        node_id = node.GetID() if hasattr(node, "GetID") else (node or "")
        found = self._find(node_id)
        self._box.setCurrentIndex(self._box.findData(found.GetID() if found is not None else ""))
        self._make_current(found)

    def setCurrentNodeID(self, node_id):
        self.setCurrentNode(node_id)

    def setCurrentNodeIndex(self, index):
        self.setCurrentNode(self.nodeFromIndex(index))

    def _make_current(self, node) -> None:
        node_id = node.GetID() if node is not None else ""
        if node_id == self._current_id:
            return
        self._current_id = node_id
        self._fill_box(node)
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(node_id)

    def _on_activated(self, index: int) -> None:
        data = self._box.itemData(index) or ""
        if not data.startswith("!"):
            node = self._find(data)
            self._make_current(node)
            self.nodeActivated.emit(node)
            return
        self._fill_box(self.currentNode())
        key, _, kind = data[1:].partition(" ")
        if key == "add":
            self.addNode(kind)
        elif key == "remove":
            self.removeCurrentNode()
        elif key == "rename":
            self.renameCurrentNode()
        else:
            self.editCurrentNode()

    # What the menu does

    def addNode(self, node_type=None):
        kind = node_type or self._values["nodeTypes"][0]
        base = self._values["baseName"] or getattr(slicer, kind)().GetNodeTagName()
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(base))
        for wanted_kind, name, value in self._attributes:
            if node.IsA(wanted_kind):
                node.SetAttribute(name, value or "")
        self._scene.AddNode(node)
        if self._values["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        self.nodeAddedByUserAction.emit(node)
        return node

    def removeCurrentNode(self):
        node = self.currentNode()
        if node is not None:
            self.nodeAboutToBeRemoved.emit(node)
            self._scene.RemoveNode(node)

    def editCurrentNode(self):
        self.nodeAboutToBeEdited.emit(self.currentNode())

    def renameCurrentNode(self):
        node = self.currentNode()
        if node is None:
            return
        name = QtWidgets.QInputDialog.getText(self, "Rename", "New name:")
        if name:
            node.SetName(name)

    def _set_id(self, node_id):
        self.setCurrentNode(node_id)

    currentNodeID = QtCore.Property(str, lambda self: self._current_id, _set_id)
    currentNodeId = QtCore.Property(str, lambda self: self._current_id, _set_id)
    nodeTypes = _property("nodeTypes", "QStringList")
    hideChildNodeTypes = _property("hideChildNodeTypes", "QStringList")
    noneEnabled = _property("noneEnabled", bool)
    noneDisplay = _property("noneDisplay", str)
    addEnabled = _property("addEnabled", bool)
    removeEnabled = _property("removeEnabled", bool)
    editEnabled = _property("editEnabled", bool)
    renameEnabled = _property("renameEnabled", bool)
    selectNodeUponCreation = _property("selectNodeUponCreation", bool)
    showChildNodeTypes = _property("showChildNodeTypes", bool)
    showHidden = _property("showHidden", bool)
    baseName = _property("baseName", str)
    interactionNodeSingletonTag = _property("interactionNodeSingletonTag", str)

    def _set_value(self, name: str, value) -> None:
        if self._values[name] != value:
            self._values[name] = value
            self._refresh()
