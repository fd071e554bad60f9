"""Slicer's real slice pipeline: slice logic, displayable managers and render window of one view."""

from __future__ import annotations

import shiboken6
import slicer
from trame_slicer.views import SliceView
from trame_slicer.views.abstract_view import AbstractView
from trame_slicer.views.render_scheduler import NoScheduleRendering, ScheduledRenderStrategy

from .canvas import Canvas
from .modules import silent


class OnCanvas(ScheduledRenderStrategy):
    """Turns render requests of Slicer's displayable managers into those of the canvas."""

    def __init__(self, canvas: Canvas) -> None:
        super().__init__()
        self._canvas = canvas

    def schedule_render(self) -> None:
        if shiboken6.isValid(self._canvas):
            self._canvas._request()


class LaidOut:
    """What pipelines of nodes that the layout made have in common, slice and 3-D views alike."""

    def _reset_node_view_properties(self) -> None:
        pass

    def _on_object_event(self, sender, event_id, call_data) -> None:
        super()._on_object_event(sender, event_id, call_data)
        self.schedule_render()

    def _let_go(self, logics, *observed) -> None:
        """Take the pipeline out of the application.

        Everything that observes it or that it observes is let go: otherwise it would live on in
        cycles through VTK, and its displayable managers would follow the scene for ever.

        Args:
            logics: the application's collection of logics of such views.
            observed: what it observes beside the scene and the view's node.
        """
        logics.RemoveItem(self._logic)
        self.set_scheduled_render(NoScheduleRendering())
        group = self._displayable_manager_group
        self._interactor_observer.SetInteractor(None)
        group.RemoveAllObservers()
        group.SetMRMLDisplayableNode(None)
        group.SetRenderer(None)
        self.interactor().RemoveAllObservers()
        observer = self._event_observer
        for source in (self._scene, self._view_node, *observed):
            observer.UpdateObservation(source, None)
        observer.SetPythonCallback(None)
        self._view_node = None
        self._logic.SetMRMLScene(None)
        self.finalize()


class Pipeline(LaidOut, SliceView):
    """The slice pipeline for a slice node that the layout made.

    The class it derives from makes a node of its own and sets its orientation; here both come from
    the layout description.
    """

    def __init__(self, *arguments) -> None:
        with silent():  # it observes an event that VTK announces the end of
            super().__init__(*arguments, scheduled_render_strategy=NoScheduleRendering())

    def set_scene(self, scene) -> None:
        node = scene.GetSingletonNode(self.name, "vtkMRMLSliceNode")
        AbstractView.set_scene(self, scene)
        self._logic.SetSliceNode(node)
        self._logic.SetMRMLScene(scene)
        self.set_view_node(node)

    def show_at(self, width: int, height: int) -> None:
        """Render at a size in pixels."""
        if self.render_window().GetSize() != (width, height):
            self.render_window().SetSize(width, height)
            self.interactor().UpdateSize(width, height)
            self._logic.ResizeSliceNode(width, height)
        self.render()

    def release(self) -> None:
        """Take the pipeline out of the application."""
        style = self._interactor_observer
        style.SetDisplayableManagers(None)
        style.SetSliceLogic(None)
        self._logic.SetDisplayableManagerGroup(None)
        self._let_go(slicer.app.applicationLogic().GetSliceLogics(), self._logic)
