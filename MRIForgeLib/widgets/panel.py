"""What the panels of all modules have in common: life cycle, parameter node, one running session.

camelCase, because module files are written in Slicer's manner.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

import MRIForgeLib
from mriforge.errors import MRIForgeError
from MRIForgeLib.run import stop_all
from MRIForgeLib.view import Session, View
from MRIForgeLib.widgets.run_section import RunSection


class Panel(ScriptedLoadableModuleWidget, VTKObservationMixin, View):
    """The widget of a module, and the view of the session that it runs.

    A module's ``setup`` calls :meth:`loadPanel`, makes its sections, among them ``runSection``, and
    ends with ``initializeParameterNode()``. It defines ``initializeParameterNode`` and
    ``onChanged``, and where it has more to do :meth:`forget`, :meth:`close` and the methods of
    :class:`MRIForgeLib.view.View`.

    Attributes:
        ui: widgets of the .ui file by name.
        logic: of the module.
        session: what runs; None: nothing.
        lastSession: that ran before.
    """

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.ui: Any = None
        self.logic: Any = None
        self.session: Session | None = None
        self.lastSession: Session | None = None
        self.runSection: RunSection | None = None
        self._parameterNode: Any = None
        self._parameterNodeGuiTag: Any = None

    def loadPanel(self, logic: Any) -> Any:
        """Puts the widgets of the .ui file in place; returns them by name."""
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = logic
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        return self.ui

    def forget(self) -> None:
        """The scene is being closed: its nodes are not to be used any more."""

    def close(self) -> None:
        """The panel is being destroyed; also called when its setup has failed."""

    def initializeParameterNode(self) -> None:
        """Ensure parameter node exists and observed."""
        self.setParameterNode(self.logic.getParameterNode())

    def onChanged(self, caller: Any = None, event: Any = None) -> None:
        """A choice has changed."""

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        ScriptedLoadableModuleWidget.setup(self)

    def cleanup(self) -> None:
        """Called when the application closes and the module widget is destroyed."""
        session, self.session = self.session, None
        if session is not None:
            session.view = View()
            session.cancel()
        self.close()
        stop_all()
        self.setParameterNode(None)
        self.removeObservers()

    def onReload(self) -> None:
        """Reload the library with the module: Slicer executes only the module's own file again."""
        MRIForgeLib.forget_modules()
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens a different module."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """Called just before the scene is closed."""
        self.forget()
        self.runSection.drop_charts(scene_closed=True)
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """Called just after the scene is closed."""
        self.ui.summaryLabel.text = _("Nothing has been computed yet.")
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        """Called after a scene was loaded; the parameter node's wrapper remembers old nodes."""
        if self._parameterNode:
            self.initializeParameterNode()

    def setParameterNode(self, parameterNode: Any) -> None:
        """Set and observe the parameter node, or forget it (None)."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onChanged)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onChanged)
            self.onChanged()

    #
    # The session
    #

    def startSession(self, session: Session) -> None:
        """Start it; the event loop does the rest.

        Raises:
            MRIForgeError: it cannot start.
        """
        self.session, before = session, self.ui.summaryLabel.text
        self.ui.summaryLabel.text = _("Computing; the result will be described here.")
        try:
            session.start()
        except MRIForgeError:
            self.session = None
            self.ui.summaryLabel.text = before
            raise

    def endSession(self, error: MRIForgeError | None) -> None:
        """What every session leaves in the panel when it ends."""
        self.lastSession, self.session = self.session, None
        if error is None:
            self.runSection.flush_chart()
        else:
            self.runSection.drop_charts()
        if self._parameterNode:
            self.onChanged()
        if error is not None:
            self.ui.summaryLabel.text = error.one_line()
            self.runSection.show_error(error)

    def busy(self, running: bool, cancelling: bool) -> None:
        self.runSection.show_busy(running, cancelling)

    def progress(self, fraction: float, text: str) -> None:
        self.runSection.show_progress(fraction, text)

    def metric(self, values: Any) -> None:
        self.runSection.add_to_chart(values)

    def log(self, text: str) -> None:
        self.runSection.add_log(text)

    def ended(self, error: MRIForgeError | None) -> None:
        self.endSession(error)
