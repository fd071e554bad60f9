"""Stand-in for `slicer.ScriptedLoadableModule`: the four base classes of a scripted module."""

import importlib
import logging
import unittest
from pathlib import Path

import ctk
import qt
import slicer
from slicer.i18n import tr as _

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]

_PARAMETER_NODE_CLASS = "vtkMRMLScriptedModuleNode"


class ScriptedLoadableModule:
    """What the module says about itself, written into `parent`."""

    def __init__(self, parent):
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""
        for suffix in (".svg", ".png"):
            icon = Path(self.resourcePath("Icons/" + self.moduleName + suffix))
            if icon.is_file():
                parent.icon = qt.QIcon(str(icon))
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename):
        """Return the path of a file in the module's `Resources` folder."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage=None):
        """Return a paragraph of HTML that points to the module's documentation."""
        if docPage:
            url = slicer.app.documentationBaseUrl + docPage
        else:
            url = slicer.app.moduleDocumentationUrl(self.moduleName)
        link = _("For more information, see the {url_start}online documentation{url_end}.")
        return "<p>" + link.format(url_start=f'<a href="{url}">', url_end="</a>") + "</p>"

    def runTest(self, msec=100, **kwargs):
        """Run the class `<Module>Test` of the module's file."""
        name = self.moduleName + "Test"
        test_class = getattr(importlib.import_module(self.__module__), name, None)
        if test_class is None:
            raise AssertionError(f"{self.__module__} has no class {name}")
        test = test_class()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The panel; without `parent` it makes a window of its own."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue(
            "Developer/DeveloperMode", False, converter=slicer.util.toBool
        )
        if parent is not None:
            self.parent = parent
            self.layout = parent.layout()
        else:
            self.parent = slicer.qMRMLWidget()
            self.layout = qt.QVBoxLayout()
            self.parent.setLayout(self.layout)
            self.parent.setMRMLScene(slicer.mrmlScene)
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect(
            "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
        )

    def resourcePath(self, filename):
        """Return the path of a file in the module's `Resources` folder."""
        folder = Path(slicer.util.modulePath(self.moduleName)).parent
        return str(folder / "Resources" / filename)

    def setup(self):
        """Build the panel; a module adds its own widgets after calling this."""
        self.setupDeveloperSection()

    def cleanup(self):
        """Called before the module goes, and before a reload."""

    def _onModuleAboutToBeUnloaded(self, moduleName):
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect(
                "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
            )

    def setupDeveloperSection(self):
        """Add the buttons for developers, in developer mode only."""
        if not self.developerMode:
            return
        self.reloadCollapsibleButton = ctk.ctkCollapsibleButton()
        self.reloadCollapsibleButton.text = "Reload && Test"
        self.layout.addWidget(self.reloadCollapsibleButton)
        row = qt.QFormLayout(self.reloadCollapsibleButton)
        for name, text, slot in (
            ("reloadButton", "Reload", self.onReload),
            ("editSourceButton", "Edit", self.onEditSource),
            ("restartButton", "Restart Slicer", slicer.app.restart),
        ):
            button = qt.QPushButton(text)
            button.connect("clicked()", slot)
            row.addRow(button)
            setattr(self, name, button)

    def onReload(self):
        """Execute the module's file again and build a new panel."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def onTest(self, **kwargs):
        """Run the module's own tests."""
        with slicer.util.tryWithErrorDisplay("Test failed."):
            slicer.selfTests[self.moduleName](**kwargs)

    def onReloadAndTest(self, **kwargs):
        """Reload, then run the module's own tests."""
        with slicer.util.tryWithErrorDisplay("Reload and Test failed."):
            self.onReload()
            slicer.selfTests[self.moduleName](**kwargs)

    def onEditSource(self):
        """Open the module's file in the system's editor."""
        path = slicer.util.modulePath(self.moduleName)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path))


class ScriptedLoadableModuleLogic:
    """The work; it finds or makes the module's parameter nodes."""

    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        # False: several parameter nodes, so several sets of choices, may live in one scene.
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        """Return the module's (first) parameter node; it is made where there is none."""
        scene = slicer.mrmlScene
        if self.isSingletonParameterNode:
            node = scene.GetSingletonNode(self.moduleName, _PARAMETER_NODE_CLASS)
            # Closing a scene resets a singleton: it stays, but loses this attribute.
            if node is not None and node.GetAttribute("ModuleName") != self.moduleName:
                node.SetAttribute("ModuleName", self.moduleName)
        else:
            node = next(iter(self.getAllParameterNodes()), None)
        return scene.AddNode(self.createParameterNode()) if node is None else node

    def getAllParameterNodes(self):
        """Return every parameter node of this module."""
        nodes = slicer.util.getNodesByClass(_PARAMETER_NODE_CLASS)
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self):
        """Return a new parameter node that is not in the scene yet."""
        if slicer.mrmlScene is None:
            return None
        node = slicer.mrmlScene.CreateNodeByClass(_PARAMETER_NODE_CLASS)
        node.UnRegister(None)  # CreateNodeByClass hands its reference over to the caller
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's tests inside the application."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.enableScreenshots = False
        self.screenshotScaleFactor = 1.0
        self.moduleTestNames = [
            name for name in dir(self) if "test" in name and callable(getattr(self, name))
        ]

    def setUp(self):
        """Nothing is prepared; a module's test clears the scene here."""

    def tearDown(self):
        """Nothing is left to do."""

    def runTest(self):
        """Run every method whose name has `test` in it."""
        if not self.moduleTestNames:
            logging.warning("%s has no test", type(self).__name__)
            return
        self.setUpClass()
        for name in self.moduleTestNames:
            self.setUp()
            getattr(self, name)()
            self.tearDown()
        self.tearDownClass()

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        """Show a message for a moment."""
        wanted = getattr(self, "messageDelay", None) or msec or requestedDelay
        slicer.util.delayDisplay(message, 100 if wanted is None else wanted)

    def takeScreenshot(self, name, description, type=-1):
        """Show the description; pictures are taken by `host.grab`."""
        self.delayDisplay(description)
