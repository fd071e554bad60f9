"""3-D views: the picture of Slicer's real 3-D pipeline under a bar with its name."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from trame_slicer.views import ThreeDView
from trame_slicer.views.abstract_view import AbstractView
from trame_slicer.views.render_scheduler import NoScheduleRendering

from .canvas import Canvas, window_image
from .modules import silent
from .mrml_widgets import qMRMLWidget
from .pythonqt import plain
from .slice_pipeline import LaidOut, OnCanvas

_PITCH_DEGREES = 0.5


class Pipeline3D(LaidOut, ThreeDView):
    """The 3-D pipeline for a view node that the layout made."""

    def __init__(self, *arguments) -> None:
        with silent():
            super().__init__(*arguments, scheduled_render_strategy=NoScheduleRendering())
        # As Slicer's own settings have it; peeling is slow without a graphics card.
        self.renderer().SetUseDepthPeeling(False)
        self.renderer().SetUseDepthPeelingForVolumes(False)
        self.render_window().SetMultiSamples(4)

    def set_scene(self, scene) -> None:
        node = scene.GetSingletonNode(self.name, "vtkMRMLViewNode")
        AbstractView.set_scene(self, scene)
        self._logic.SetMRMLScene(scene)
        self.set_view_node(node)

    def show_at(self, width: int, height: int) -> None:
        """Render at a size in pixels."""
        if self.render_window().GetSize() != (width, height):
            self.render_window().SetSize(width, height)
            self.interactor().UpdateSize(width, height)
        self.renderer().ResetCameraClippingRange()
        self.render()

    def release(self) -> None:
        """Take the pipeline out of the application."""
        self._let_go(slicer.app.applicationLogic().GetViewLogics())


@plain
class qMRMLThreeDView(Canvas):
    """The picture of a 3-D view; dragging turns it."""

    def __init__(self, pipeline: Pipeline3D, parent=None) -> None:
        super().__init__(parent)
        self._pipeline = pipeline
        self._last: QtCore.QPointF | None = None
        self.setMinimumSize(20, 20)
        pipeline.set_scheduled_render(OnCanvas(self))

    def _draw(self, width, height):
        self._pipeline.show_at(width, height)
        return window_image(self._pipeline.render_window())

    def mrmlViewNode(self):
        return self._pipeline.get_view_node()

    def cameraNode(self):
        return self._pipeline.get_camera_node()

    def renderWindow(self):
        return self._pipeline.render_window()

    def interactor(self):
        return self._pipeline.interactor()

    def displayableManagerByClassName(self, name):
        return self._pipeline.get_displayable_manager_by_class(name)

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

    def resetCamera(self, resetRotation=True, resetTranslation=True, resetDistance=True):
        node = self.cameraNode()
        if node is not None:
            node.Reset(resetRotation, resetTranslation, resetDistance, self._pipeline.renderer())
        self._request()

    def resetFocalPoint(self):
        self._pipeline.reset_focal_point()
        self._request()

    def mousePressEvent(self, event):
        self._last = event.position()

    def mouseMoveEvent(self, event):
        if self._last is None:
            return
        step, self._last = event.position() - self._last, event.position()
        camera = self._pipeline.renderer().GetActiveCamera()
        camera.Azimuth(-_PITCH_DEGREES * step.x())
        camera.Elevation(_PITCH_DEGREES * step.y())
        camera.OrthogonalizeViewUp()
        self._request()

    def mouseReleaseEvent(self, event):
        self._last = None


@plain
class qMRMLThreeDViewControllerWidget(qMRMLWidget):
    """The bar over a 3-D view: its name, and the button that centers it."""

    def __init__(self, view: qMRMLThreeDView, parent=None) -> None:
        super().__init__(parent)
        node = view.mrmlViewNode()
        self._view = view
        self._label = QtWidgets.QLabel(node.GetLayoutLabel() or "1", self)
        self._label.setStyleSheet("font-weight: bold; color: black")
        self._center = QtWidgets.QToolButton(self)
        self._center.setObjectName("CenterButton")
        self._center.setText("+")
        self._center.setAutoRaise(True)
        self._center.setToolTip("Center the 3D view on the scene")
        self._center.clicked.connect(self.resetFocalPoint)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(4, 0, 2, 0)
        layout.setSpacing(4)
        layout.addWidget(self._label)
        layout.addWidget(self._center)
        layout.addStretch(1)
        self.setFixedHeight(24)
        self.setAutoFillBackground(True)
        palette = self.palette
        palette.setColor(QtGui.QPalette.ColorRole.Window, QtGui.QColor("#b1b1e5"))
        self.setPalette(palette)

    def mrmlThreeDViewNode(self):
        return self._view.mrmlViewNode()

    def resetFocalPoint(self):
        self._view.resetFocalPoint()


@plain
class qMRMLThreeDWidget(qMRMLWidget):
    """A 3-D view with its bar, for one view node of the scene."""

    def __init__(self, node, parent=None) -> None:
        super().__init__(parent)
        self._pipeline = Pipeline3D(
            node.GetScene(), slicer.app.applicationLogic(), node.GetLayoutName()
        )
        _background(self._pipeline.renderer(), node)
        self._view = qMRMLThreeDView(self._pipeline, self)
        self._controller = qMRMLThreeDViewControllerWidget(self._view, self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._controller)
        layout.addWidget(self._view, 1)
        self.setMRMLScene(node.GetScene())

    def threeDView(self):
        return self._view

    def viewWidget(self):
        return self._view

    def threeDController(self):
        return self._controller

    def controllerWidget(self):
        return self._controller

    def viewLogic(self):
        return self._pipeline._logic

    def logic(self):
        return self._pipeline._logic

    def mrmlViewNode(self):
        return self._view.mrmlViewNode()

    def mrmlAbstractViewNode(self):
        return self._view.mrmlViewNode()

    def setRenderPaused(self, pause):
        self._view.setRenderPaused(pause)

    def _release(self) -> None:
        """Leave the application before the node leaves the scene."""
        self._pipeline.release()


def _background(renderer: vtk.vtkRenderer, node) -> None:
    """The colors of the view node, from bottom to top."""
    renderer.GradientBackgroundOn()
    renderer.SetBackground(*node.GetBackgroundColor())
    renderer.SetBackground2(*node.GetBackgroundColor2())
