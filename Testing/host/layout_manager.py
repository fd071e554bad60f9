"""The layout manager: nested Qt widgets for the layout description of the real layout node."""

from __future__ import annotations

from xml.etree import ElementTree

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .mrml_widgets import Observations
from .plot_widget import qMRMLPlotWidget
from .pythonqt import plain
from .slice_widget import qMRMLSliceWidget
from .table_widget import qMRMLTableWidget
from .threed_widget import qMRMLThreeDWidget


def _make_plot_widget(node):
    widget = qMRMLPlotWidget()
    widget.setMRMLScene(node.GetScene())
    widget.setMRMLPlotViewNode(node)
    return widget


def _make_table_widget(node):
    widget = qMRMLTableWidget()
    widget.setMRMLScene(node.GetScene())
    widget.setMRMLTableViewNode(node)
    return widget


_MAKERS = {
    "vtkMRMLSliceNode": qMRMLSliceWidget,
    "vtkMRMLViewNode": qMRMLThreeDWidget,
    "vtkMRMLPlotViewNode": _make_plot_widget,
    "vtkMRMLTableViewNode": _make_table_widget,
}


@plain
class qSlicerLayoutManager(QtCore.QObject):
    """Shows the views of the current layout in a viewport and keeps one widget for each view."""

    layoutChanged = QtCore.Signal(int)

    def __init__(self, viewport, parent=None) -> None:
        super().__init__(parent)
        self._viewport = viewport
        box = QtWidgets.QVBoxLayout(viewport)
        box.setContentsMargins(0, 0, 0, 0)
        self._scene = None
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._widgets: dict[str, QtWidgets.QWidget] = {}
        self._frame: QtWidgets.QWidget | None = None
        self._shown: tuple[int, str] | None = None
        self._following = False
        self._events = Observations(self)

    # The scene and its layout node

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._events.clear()
        self._scene = scene
        self._logic.SetMRMLScene(scene)
        events = slicer.vtkMRMLScene
        self._events.add(
            scene,
            (events.NodeAddedEvent, events.NodeRemovedEvent, events.EndBatchProcessEvent),
            self._follow_scene,
        )
        self._events.add(
            self._logic.GetLayoutNode(), vtk.vtkCommand.ModifiedEvent, self._follow_node
        )
        self._follow_scene()
        self._follow_node()

    def layoutLogic(self):
        return self._logic

    def viewport(self):
        return self._viewport

    def setLayout(self, layout):
        self._logic.GetLayoutNode().SetViewArrangement(layout)

    layout = QtCore.Property(
        int, lambda self: self._logic.GetLayoutNode().GetViewArrangement(), setLayout
    )

    def _follow_node(self) -> None:
        node = self._logic.GetLayoutNode()
        now = (node.GetViewArrangement(), node.GetCurrentLayoutDescription() or "")
        if now == self._shown or not now[1]:
            return
        self._shown = now
        self._follow_scene()
        self._build(now[1])
        self.layoutChanged.emit(now[0])

    def _follow_scene(self) -> None:
        """Have a widget for each view node in the scene, and for no other."""
        if self._scene.IsBatchProcessing() or self._following:
            return  # a new view adds nodes of its own
        self._following = True
        try:
            self._match_widgets_to_nodes()
        finally:
            self._following = False

    def _match_widgets_to_nodes(self) -> None:
        views = slicer.util.getNodesByClass("vtkMRMLAbstractViewNode")
        nodes = {node.GetID(): node for node in views}
        for node_id in [known for known in self._widgets if known not in nodes]:
            widget = self._widgets.pop(node_id)
            if isinstance(widget, qMRMLSliceWidget | qMRMLThreeDWidget):
                widget._release()
            widget.setParent(None)
            widget.deleteLater()
        for node_id, node in nodes.items():
            maker = _MAKERS.get(node.GetClassName())
            if node_id in self._widgets or maker is None or node.GetParentLayoutNode():
                continue
            widget = maker(node)
            widget.setObjectName(f"{type(widget).__name__}{node.GetLayoutName()}")
            widget.setParent(self._viewport)
            widget.hide()
            self._widgets[node_id] = widget

    # Widgets

    def _build(self, description: str) -> None:
        old, self._frame = self._frame, QtWidgets.QWidget(self._viewport)
        for widget in self._widgets.values():
            widget.hide()
            widget.setParent(self._viewport)
        shown: list[str] = []
        root = ElementTree.fromstring(description)
        if root.tag == "viewports":
            root = next((each for each in root if not each.get("name")), root[0])
        box = QtWidgets.QVBoxLayout(self._frame)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._element(root, shown))
        self._viewport.layout().addWidget(self._frame)
        if old is not None:
            old.setParent(None)
            old.deleteLater()
        for node_id in self._widgets:
            self._scene.GetNodeByID(node_id).SetMappedInLayout(int(node_id in shown))
        self._frame.show()

    def _element(self, element, shown: list[str]) -> QtWidgets.QWidget:
        """The widget for a <layout> or <view> element; fills in the views that it shows."""
        if element.tag == "view":
            return self._view(element, shown)
        kind = element.get("type", "horizontal")
        if kind == "tab":
            return self._tabs(element, shown)
        frame = QtWidgets.QWidget()
        if kind == "grid":
            grid = QtWidgets.QGridLayout(frame)
            for item in element:
                place = [int(item.get(key, default)) for key, default in _GRID]
                grid.addWidget(self._element(item[0], shown), *place)
            box = grid
        else:
            box = (QtWidgets.QVBoxLayout if kind == "vertical" else QtWidgets.QHBoxLayout)(frame)
            for item in element:
                stretch = int(float(item.get("splitSize", 0))) or 1
                box.addWidget(self._element(item[0], shown), stretch)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(1)
        return frame

    def _tabs(self, element, shown):
        tabs = QtWidgets.QTabWidget()
        for item in element:
            tabs.addTab(self._element(item[0], shown), item.get("name", ""))
        return tabs

    def _view(self, element, shown):
        tag, kind = element.get("singletontag"), element.get("class")
        node = self._scene.GetSingletonNode(tag, kind) if tag else None
        if node is None:
            every = slicer.util.getNodesByClass(kind)
            node = every[0] if every else None
        widget = self._widgets.get(node.GetID()) if node is not None else None
        if widget is None:
            return QtWidgets.QLabel(f"no view for {kind} {tag}")
        widget.setSizePolicy(*[QtWidgets.QSizePolicy.Policy.Ignored] * 2)
        widget.show()
        shown.append(node.GetID())
        return widget

    # Looking views up

    def _of(self, class_name: str) -> list[QtWidgets.QWidget]:
        found = [(n, w) for n, w in self._widgets.items() if self._scene.GetNodeByID(n) is not None]
        return [w for n, w in found if self._scene.GetNodeByID(n).GetClassName() == class_name]

    def sliceViewNames(self):
        return [widget.mrmlSliceNode().GetName() for widget in self._of("vtkMRMLSliceNode")]

    def sliceWidget(self, name):
        return next(
            (w for w in self._of("vtkMRMLSliceNode") if w.mrmlSliceNode().GetName() == name), None
        )

    def plotWidget(self, index):
        return _nth(self._of("vtkMRMLPlotViewNode"), index)

    def tableWidget(self, index):
        return _nth(self._of("vtkMRMLTableViewNode"), index)

    def threeDWidget(self, index):
        return _nth(self._of("vtkMRMLViewNode"), index)

    def viewWidget(self, node):
        return self._widgets.get(node.GetID()) if node is not None else None

    plotViewCount = QtCore.Property(int, lambda self: len(self._of("vtkMRMLPlotViewNode")))
    tableViewCount = QtCore.Property(int, lambda self: len(self._of("vtkMRMLTableViewNode")))
    threeDViewCount = QtCore.Property(int, lambda self: len(self._of("vtkMRMLViewNode")))

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()

    def mrmlViewLogics(self):
        return slicer.app.applicationLogic().GetViewLogics()

    def resetSliceViews(self):
        for widget in self._of("vtkMRMLSliceNode"):
            widget.sliceLogic().FitSliceToBackground()

    def resetThreeDViews(self):
        for widget in self._of("vtkMRMLViewNode"):
            widget.threeDView().resetFocalPoint()

    def pauseRender(self):
        self.setRenderPaused(True)

    def resumeRender(self):
        self.setRenderPaused(False)

    def setRenderPaused(self, pause):
        for widget in self._widgets.values():
            widget.setRenderPaused(pause)


_GRID = (("row", 0), ("column", 0), ("rowspan", 1), ("colspan", 1))


def _nth(widgets: list, index: int):
    return widgets[index] if 0 <= index < len(widgets) else None
