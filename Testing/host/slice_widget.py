"""Slice views: the picture of a slice pipeline, and the bar over it that moves through slices."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .canvas import Canvas, window_image
from .mrml_widgets import Observations, qMRMLSliderWidget, qMRMLWidget
from .pythonqt import plain
from .slice_pipeline import OnCanvas, Pipeline


@plain
class qMRMLSliceView(Canvas):
    """The picture of a slice view; the wheel steps through slices."""

    def __init__(self, pipeline: Pipeline, parent=None) -> None:
        super().__init__(parent)
        self._pipeline = pipeline
        self.setMinimumSize(20, 20)
        pipeline.set_scheduled_render(OnCanvas(self))

    def _draw(self, width, height):
        self._pipeline.show_at(width, height)
        return window_image(self._pipeline.render_window())

    def scheduleRender(self):
        self._request()

    def forceRender(self):
        self._render_now()

    def pauseRender(self):
        self._set_paused(True)

    def resumeRender(self):
        self._set_paused(False)

    def setRenderPaused(self, pause):
        self._set_paused(pause)

    def mrmlSliceNode(self):
        return self._pipeline.get_view_node()

    def renderWindow(self):
        return self._pipeline.render_window()

    def interactor(self):
        return self._pipeline.interactor()

    def displayableManagerByClassName(self, name):
        return self._pipeline.get_displayable_manager_by_class(name)

    def convertXYZToRAS(self, xyz):
        matrix = self.mrmlSliceNode().GetXYToRAS()
        return matrix.MultiplyPoint((*xyz, 1.0))[:3]

    def wheelEvent(self, event):
        controller = self.parent().sliceController()
        slider = controller.sliceOffsetSlider()
        step = slider.singleStep if event.angleDelta().y() > 0 else -slider.singleStep
        controller.setSliceOffsetValue(slider.value + step)


def _fit_icon() -> QtGui.QIcon:
    """Four corners around a square, as on Slicer's button."""
    pixmap = QtGui.QPixmap(16, 16)
    pixmap.fill(QtGui.QColor(0, 0, 0, 0))
    painter = QtGui.QPainter(pixmap)
    painter.setPen(QtGui.QPen(QtGui.QColor("#202020"), 1.5))
    for x, y in ((2, 2), (13, 2), (2, 13), (13, 13)):
        painter.drawLine(x, y, x + (4 if x < 8 else -4), y)
        painter.drawLine(x, y, x, y + (4 if y < 8 else -4))
    painter.drawRect(6, 6, 4, 4)
    painter.end()
    return QtGui.QIcon(pixmap)


@plain
class qMRMLSliceControllerWidget(qMRMLWidget):
    """The colored bar over a slice view: name, fit button, and slider of the slice offset."""

    renderRequested = QtCore.Signal()

    def __init__(self, pipeline: Pipeline, parent=None) -> None:
        super().__init__(parent)
        self._logic = pipeline._logic
        self._label = QtWidgets.QLabel(self)
        self._label.setObjectName("ViewLabel")
        self._fit = QtWidgets.QToolButton(self)
        self._fit.setObjectName("FitToWindowToolButton")
        self._fit.setIcon(_fit_icon())
        self._fit.setAutoRaise(True)
        self._fit.setToolTip("Adjust the slice viewer's field of view to match the extent")
        self._fit.clicked.connect(self.fitSliceToBackground)
        self._slider = qMRMLSliderWidget(self)
        self._slider.setObjectName("SliceOffsetSlider")
        self._slider.valueChanged.connect(self.setSliceOffsetValue)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(4, 0, 2, 0)
        layout.setSpacing(4)
        for widget in (self._label, self._fit):
            layout.addWidget(widget)
        layout.addWidget(self._slider, 1)
        self.setFixedHeight(24)
        self.setAutoFillBackground(True)
        self._events = Observations(self)
        node = pipeline.get_view_node()
        for sender in (self._logic, node):
            self._events.add(sender, vtk.vtkCommand.ModifiedEvent, self._update)
        self.setMRMLScene(node.GetScene())
        self._update()

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def sliceLogic(self):
        return self._logic

    def sliceOffsetSlider(self):
        return self._slider

    def fitToWindowToolButton(self):
        return self._fit

    def _update(self) -> None:
        node = self.mrmlSliceNode()
        if node is None:
            return
        color = QtGui.QColor.fromRgbF(*node.GetLayoutColor())
        palette = self.palette
        palette.setColor(QtGui.QPalette.ColorRole.Window, color)
        self.setPalette(palette)
        bold = "font-weight: bold; color: %s" % ("white" if color.lightnessF() < 0.45 else "black")
        if self._label.styleSheet != bold:
            self._label.setStyleSheet(bold)
        self._label.setText(node.GetLayoutLabel() or "")
        limits, resolution = [-1.0, 1.0], vtk.reference(1.0)
        if self._logic.GetSliceOffsetRangeResolution(limits, resolution):
            self._show_offset(*limits, resolution.get())

    def _show_offset(self, low: float, high: float, step: float) -> None:
        slider = self._slider
        slider.blockSignals(True)
        slider.minimum, slider.maximum = low, high
        slider.singleStep = step
        slider.prefix = {"Axial": "S: ", "Sagittal": "R: ", "Coronal": "A: "}.get(
            self.mrmlSliceNode().GetOrientation(), ""
        )
        slider.suffix = "mm"
        slider.value = self._logic.GetSliceOffset()
        slider.blockSignals(False)

    # What the user does. Each is announced as an interaction, because that is what makes the
    # link logic of the application repeat it in the linked views.

    def setSliceOffsetValue(self, offset):
        self._logic.StartSliceOffsetInteraction()
        self._logic.SetSliceOffset(offset)
        self._logic.EndSliceOffsetInteraction()

    def trackSliceOffsetValue(self, offset):
        self._logic.StartSliceOffsetInteraction()
        self._logic.SetSliceOffset(offset)

    def fitSliceToBackground(self):
        self._logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.ResetFieldOfViewFlag)
        self._logic.FitSliceToBackground()
        self.mrmlSliceNode().UpdateMatrices()
        self._logic.EndSliceNodeInteraction()

    def setSliceOrientation(self, orientation):
        self._logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.OrientationFlag)
        self.mrmlSliceNode().SetOrientation(orientation)
        self._logic.FitSliceToBackground()
        self._logic.EndSliceNodeInteraction()

    def setSliceLink(self, linked):
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            node.SetLinkedControl(linked)

    def setHotLinked(self, linked):
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            node.SetHotLinkedControl(linked)

    sliceOrientation = QtCore.Property(
        str, lambda self: self.mrmlSliceNode().GetOrientation(), setSliceOrientation
    )
    sliceViewLabel = QtCore.Property(str, lambda self: self.mrmlSliceNode().GetLayoutLabel())


@plain
class qMRMLSliceWidget(qMRMLWidget):
    """A slice view with its controller, for one slice node of the scene."""

    def __init__(self, node, parent=None) -> None:
        super().__init__(parent)
        self._pipeline = Pipeline(
            node.GetScene(), slicer.app.applicationLogic(), node.GetLayoutName()
        )
        self._controller = qMRMLSliceControllerWidget(self._pipeline, self)
        self._view = qMRMLSliceView(self._pipeline, self)
        group = self._pipeline._displayable_manager_group
        self._pipeline._logic.SetDisplayableManagerGroup(group)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._controller)
        layout.addWidget(self._view, 1)
        self.setMRMLScene(node.GetScene())

    def sliceController(self):
        return self._controller

    def controllerWidget(self):
        return self._controller

    def sliceView(self):
        return self._view

    def viewWidget(self):
        return self._view

    def sliceLogic(self):
        return self._pipeline._logic

    def logic(self):
        return self._pipeline._logic

    def mrmlSliceNode(self):
        return self._pipeline._logic.GetSliceNode()

    def mrmlAbstractViewNode(self):
        return self.mrmlSliceNode()

    def mrmlSliceCompositeNode(self):
        return self._pipeline._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self):
        self._controller.fitSliceToBackground()

    def setSliceOrientation(self, orientation):
        self._controller.setSliceOrientation(orientation)

    def setRenderPaused(self, pause):
        self._view.setRenderPaused(pause)

    def _release(self) -> None:
        """Leave the application before the node leaves the scene."""
        self._controller._events.clear()
        self._pipeline.release()

    sliceOrientation = QtCore.Property(
        str, lambda self: self.mrmlSliceNode().GetOrientation(), setSliceOrientation
    )
    sliceViewLabel = QtCore.Property(str, lambda self: self.mrmlSliceNode().GetLayoutLabel())
    sliceViewName = QtCore.Property(str, lambda self: self.mrmlSliceNode().GetLayoutName())
