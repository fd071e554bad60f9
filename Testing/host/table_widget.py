"""Table views: a vtkMRMLTableNode shown in a Qt table."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .mrml_widgets import Observations, qMRMLWidget
from .plot_widget import ViewBar
from .pythonqt import plain


@plain
class qMRMLTableView(QtWidgets.QTableView):
    """Shows a table node and follows its changes; cells of unlocked tables can be edited."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._scene = None
        self._node = None
        self._view_node = None
        self._events = Observations(self)
        self._view_events = Observations(self)
        self._model = QtGui.QStandardItemModel(self)
        self._model.itemChanged.connect(self._write_back)
        self.setModel(self._model)
        self.setAlternatingRowColors(True)
        self.horizontalHeader().setStretchLastSection(True)

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlTableNode(self):
        return self._node

    def setMRMLTableNode(self, node):
        if node is self._node:
            return
        self._events.clear()
        self._node = node
        self._events.add(node, vtk.vtkCommand.ModifiedEvent, self._fill)
        self._fill()

    def mrmlTableViewNode(self):
        return self._view_node

    def setMRMLTableViewNode(self, node):
        self._view_events.clear()
        self._view_node = node
        self._view_events.add(node, vtk.vtkCommand.ModifiedEvent, self._follow_view_node)
        self._follow_view_node()

    def tableModel(self):
        return self._model

    def _follow_view_node(self) -> None:
        node = self._view_node
        self.setMRMLTableNode(node.GetTableNode() if node is not None else None)

    def _fill(self) -> None:
        table = self._node.GetTable() if self._node is not None else None
        self._model.blockSignals(True)
        self._model.clear()
        self._model.blockSignals(False)
        if table is None:
            return
        columns = [table.GetColumn(index) for index in range(table.GetNumberOfColumns())]
        titled = self._node.GetUseColumnTitleAsColumnHeader()
        names = [column.GetName() or "" for column in columns]
        headers = [(self._node.GetColumnTitle(n) or n) if titled else n for n in names]
        rows = []
        for row in range(table.GetNumberOfRows()):
            items = [QtGui.QStandardItem(_text(c.GetVariantValue(row))) for c in columns]
            for item in items:
                item.setEditable(not self._node.GetLocked())
            rows.append(items)
        self._model.blockSignals(True)
        self._model.setColumnCount(len(columns))
        for items in rows:
            self._model.appendRow(items)
        self._model.blockSignals(False)
        self._model.setHorizontalHeaderLabels(headers)
        self._model.layoutChanged.emit()
        self.resizeColumnsToContents()

    def _write_back(self, item) -> None:
        self._node.SetCellText(item.row(), item.column(), item.text())


def _text(value: vtk.vtkVariant) -> str:
    """A cell as Slicer shows it: numbers without needless digits."""
    if value.IsFloat() or value.IsDouble():
        return f"{value.ToDouble():.6g}"
    return value.ToString()


@plain
class qMRMLTableWidget(qMRMLWidget):
    """A table view under a bar with its name."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._view = qMRMLTableView(self)
        self._controller = ViewBar(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._controller)
        layout.addWidget(self._view, 1)

    def tableView(self):
        return self._view

    def viewWidget(self):
        return self._view

    def tableController(self):
        return self._controller

    def controllerWidget(self):
        return self._controller

    def setMRMLScene(self, scene):
        super().setMRMLScene(scene)
        self._view.setMRMLScene(scene)

    def mrmlTableViewNode(self):
        return self._view.mrmlTableViewNode()

    def mrmlAbstractViewNode(self):
        return self._view.mrmlTableViewNode()

    def setMRMLTableViewNode(self, node: slicer.vtkMRMLTableViewNode):
        self._view.setMRMLTableViewNode(node)
        self._controller.show_name_of(node)

    def setMRMLAbstractViewNode(self, node):
        self.setMRMLTableViewNode(node)

    def setRenderPaused(self, pause):
        pass
