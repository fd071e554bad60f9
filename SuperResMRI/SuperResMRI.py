"""SuperResMRI: sharper MR volumes and time series in 3D Slicer.

Wiring only: what the module knows and decides is in the package MRIForgeLib, what it computes is
in the package mriforge, which runs in a process of its own.
"""

import os
import sys
from typing import Annotated

import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLSequenceNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *

# A source checkout: the packages lie beside the module folders, which Slicer does not search. They
# come before those of an installed extension. (In that, they lie beside this file.)
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isdir(os.path.join(_ROOT, "MRIForgeLib")) and _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

from mriforge.superres.choices import DEFAULT_FUSION, DEFAULT_MODEL, TASK
from MRIForgeLib import dependencies, layout, sample_data
from MRIForgeLib.charts import quality_chart
from MRIForgeLib.comparison import Comparison
from MRIForgeLib.display import show_volume
from MRIForgeLib.live_charts import TuningChart
from MRIForgeLib.nodes import sequence_of
from MRIForgeLib.provenance import keep_in_files_after_loading
from MRIForgeLib.superres import advice, labels, selfcheck, summary
from MRIForgeLib.superres.coarse import CoarseTask
from MRIForgeLib.superres.session import SuperresSession, compared
from MRIForgeLib.superres.wishes import (
    EPOCHS_STOP,
    Device,
    Merge,
    Profile,
    SliceAxis,
    TargetKind,
    TargetStack,
    Wishes,
    wishes_of,
)
from MRIForgeLib.view import Single
from MRIForgeLib.widgets.compare_section import CompareSection
from MRIForgeLib.widgets.method_section import MethodSection
from MRIForgeLib.widgets.models_section import ModelsSection
from MRIForgeLib.widgets.panel import Panel
from MRIForgeLib.widgets.run_section import RunSection
from MRIForgeLib.widgets.trust_section import TrustSection

#
# SuperResMRI
#


class SuperResMRI(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MRI Super-Resolution")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        self.parent.dependencies = []
        self.parent.contributors = ["MRIForge contributors"]
        self.parent.helpText = _("""
Makes a low-resolution MR volume or time series sharper with a neural network, which can first be
adapted to a sharp prior scan of the same subject; makes thick slices finer, learned from the scan
itself; fuses stacks of different orientation. What the scanner measured is kept.
For research use. See the
<a href="https://github.com/mriforge/SlicerMRIForge#superresmri">documentation</a>.
""")
        self.parent.acknowledgementText = _("""
The main method is that of Sarasaen et al., Artificial Intelligence in Medicine 121:102196 (2021).
""")
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", prepareScene)


#
# Register sample data sets in Sample Data module
#


def registerSampleData():
    """Add data sets to Sample Data module."""
    sample_data.register(os.path.join(os.path.dirname(__file__), "Resources", "Icons"))


def prepareScene():
    """For scenes that are loaded, whether this module is opened or not."""
    keep_in_files_after_loading()
    if slicer.app.layoutManager() is not None:
        # Without its description, a layout that was saved shows an empty viewer.
        layout.register(slicer.app.layoutManager().layoutLogic().GetLayoutNode())


#
# SuperResMRIParameterNode
#


@parameterNodeWrapper
class SuperResMRIParameterNode:
    """
    The choices of the panel; see MRIForgeLib.superres.wishes.Wishes for what they mean.

    inputNode - Volume or sequence to sharpen, or labels to resample.
    methodNode - Input that the method was chosen for, by the user or by its voxel size.
    tuningStop - Position of the time slider: 2, 5, 10, 30 minutes, or epochs.
    memory - Bound of the working memory in GiB; 0 for what is free.
    """

    inputNode: vtkMRMLScalarVolumeNode | vtkMRMLSequenceNode | vtkMRMLSegmentationNode | None = None
    methodNode: vtkMRMLScalarVolumeNode | vtkMRMLSequenceNode | vtkMRMLSegmentationNode | None = (
        None
    )
    stack2: vtkMRMLScalarVolumeNode
    stack3: vtkMRMLScalarVolumeNode
    allFrames: bool = True
    priorVolume: vtkMRMLScalarVolumeNode
    referenceNode: vtkMRMLScalarVolumeNode | vtkMRMLSequenceNode | None = None
    method: str = DEFAULT_MODEL
    target: TargetKind = TargetKind.AUTOMATIC
    factorI: Annotated[float, WithinRange(1, 16)] = 2.0
    factorJ: Annotated[float, WithinRange(1, 16)] = 2.0
    factorK: Annotated[float, WithinRange(1, 16)] = 1.0
    spacingI: Annotated[float, WithinRange(0.05, 50)] = 1.0
    spacingJ: Annotated[float, WithinRange(0.05, 50)] = 1.0
    spacingK: Annotated[float, WithinRange(0.05, 50)] = 1.0
    likeVolume: vtkMRMLScalarVolumeNode
    finetune: bool = False
    tuningStop: Annotated[int, WithinRange(0, EPOCHS_STOP)] = 1
    epochs: Annotated[int, WithinRange(1, 100)] = 1
    register: bool = False
    keepModelAs: str = ""
    outputVolume: vtkMRMLScalarVolumeNode
    device: Device = Device.AUTO
    memory: Annotated[float, WithinRange(0, 1024)] = 0.0
    consistency: bool = True
    gate: bool = True
    profile: Profile = Profile.AUTO
    thickness: Annotated[float, WithinRange(0, 50)] = 0.0
    merge: Merge = Merge.AUTO
    sliceAxis: SliceAxis = SliceAxis.AUTO
    targetStack: TargetStack = TargetStack.ALL
    align: bool = True
    sliceMotion: bool = False
    uncertainty: bool = False


#
# SuperResMRIWidget
#


class SuperResMRIWidget(Panel):
    """The panel."""

    def __init__(self, parent=None) -> None:
        Panel.__init__(self, parent)
        self.compareSection = None
        self.methodSection = None
        self.modelsSection = None
        self.trustSection = None

    def setup(self) -> None:
        Panel.setup(self)
        ui = self.loadPanel(SuperResMRILogic())
        self.runSection = RunSection(
            ui,
            (ui.inputsSection, ui.methodSection, ui.tuningSection, ui.advancedSection),
            lambda: self.logic.getParameterNode().parameterNode,
        )
        self.methodSection = MethodSection(ui)
        self.modelsSection = ModelsSection(ui, TASK, self.showMethods)
        self.compareSection = CompareSection(ui)
        self.trustSection = TrustSection(ui)
        self.showMethods()
        ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        ui.labelsButton.connect("clicked(bool)", self.onLabelsButton)
        ui.coarseButton.connect("clicked(bool)", self.onCoarseButton)
        ui.thickButton.connect("clicked(bool)", self.onThickButton)
        ui.selfCheckButton.connect("clicked(bool)", self.onSelfCheckButton)
        ui.methodComboBox.connect("currentIndexChanged(int)", self.onMethodChanged)
        self.initializeParameterNode()

    def close(self) -> None:
        if self.trustSection is not None:  # otherwise setup() has failed
            self.trustSection.close()
            self.compareSection.close()

    def forget(self) -> None:
        self.compareSection.forget()
        self.trustSection.forget()
        self.methodSection.forget()

    def initializeParameterNode(self) -> None:
        """Ensure parameter node exists and observed."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputNode:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            scalar = [v for v in volumes if v.GetClassName() == "vtkMRMLScalarVolumeNode"]
            images = [v for v in scalar if not labels.holds_labels(v)]
            if images:
                self._parameterNode.inputNode = images[0]

    #
    # What the choices mean
    #

    def onChanged(self, caller=None, event=None) -> None:
        """A choice has changed: show what belongs to it, and whether the job can start."""
        node, ui = self._parameterNode, self.ui
        if not node or self.methodSection.prepare(node):
            return  # what was changed has called this again
        wishes = self.methodSection.show(node)
        ui.previewLabel.text = advice.preview(wishes)
        ui.previewLabel.setVisible(bool(ui.previewLabel.text))
        self.methodSection.show_doubts(wishes)
        self.methodSection.allow_others(wishes, self.session is None)
        if self.session is None:
            self.runSection.allow(advice.why_not(wishes), advice.ready(wishes))

    def showMethods(self) -> None:
        """Fill the list of methods and the table of models anew, keeping the choice."""
        self.methodSection.fill(self._parameterNode.method if self._parameterNode else None)
        self.modelsSection.refresh()
        if self._parameterNode:
            self.onChanged()

    def onMethodChanged(self, index) -> None:
        """The user chose a method."""
        name = self.ui.methodComboBox.itemData(index)
        if self._parameterNode and name:
            self.methodSection.chosen(self._parameterNode, name)

    #
    # A run
    #

    def onApplyButton(self, checked=False) -> None:
        """Start, or cancel what runs."""
        if self.session is not None:
            self.session.cancel()
            return
        wishes = wishes_of(self._parameterNode)
        with slicer.util.tryWithErrorDisplay(_("The job could not be started.")):
            if not self.runSection.install_packages("SuperResMRI"):
                return
            self.runSection.drop_charts()
            if wishes.learns:
                self.runSection.follow(TuningChart(wishes.input_node.GetName()))
            self.startSession(SuperresSession(wishes, self))

    def onCoarseButton(self, checked=False) -> None:
        """Make a coarse copy of the image; the image becomes the reference."""
        node = self._parameterNode
        keep = self.ui.coarseSpinBox.value / 100.0
        self._startOne(lambda: CoarseTask(node.inputNode, keep, node.allFrames))

    def onThickButton(self, checked=False) -> None:
        """Make a copy of the image with thick slices; the image becomes the reference."""
        node, thickness = self._parameterNode, self.ui.thickSpinBox.value
        self._startOne(lambda: CoarseTask(node.inputNode, 1.0, node.allFrames, thickness))

    def onLabelsButton(self, checked=False) -> None:
        """Put the labels on the finer grid."""
        self._startOne(lambda: labels.LabelTask(wishes_of(self._parameterNode)))

    def onSelfCheckButton(self, checked=False) -> None:
        """Check the chosen method on the image itself, made coarser once more."""
        self._startOne(lambda: selfcheck.SelfCheckTask(wishes_of(self._parameterNode)))

    def _startOne(self, make) -> None:
        """Start the task that ``make`` makes; packages may have to be installed first."""
        with slicer.util.tryWithErrorDisplay(_("The job could not be started.")):
            if self.runSection.install_packages("SuperResMRI"):
                self.startSession(Single(make(), self))

    def busy(self, running, cancelling) -> None:
        Panel.busy(self, running, cancelling)
        if self._parameterNode:
            self.methodSection.allow_others(wishes_of(self._parameterNode), not running)

    def result(self, nodes, figures) -> None:
        task = self.session.task if isinstance(self.session, Single) else None
        if isinstance(task, selfcheck.SelfCheckTask):
            self.ui.summaryLabel.text = selfcheck.sentence(figures)
            return
        if isinstance(task, labels.LabelTask):
            self.compareSection.forget()
            self.ui.summaryLabel.text = labels.sentence(figures)
            return
        if task is not None:
            # The user may be in another module by now, where this panel has no parameter node.
            parameters = self._parameterNode or self.logic.getParameterNode()
            parameters.referenceNode = parameters.inputNode
            parameters.inputNode = nodes["result"]
            show_volume(nodes["result"])
            return
        self.compareSection.offer(self.logic.comparedNodes(self.session))
        self.ui.summaryLabel.text = "\n".join(summary.sentences(figures))
        self.trustSection.offer(nodes["result"])
        show_volume(nodes["result"])
        self.showMethods()

    def measured(self, nodes, figures) -> None:
        self.ui.summaryLabel.text += "\n" + summary.measured(figures)
        self.compareSection.offer(self.logic.comparedNodes(self.session), figures)
        source = sequence_of(nodes["result"])
        if source is not None:
            sequence = source.sequence
            index = sequence.GetIndexName(), sequence.GetIndexUnit()
            chart = quality_chart(figures["frames"], *index, name=nodes["result"].GetName())
            self.runSection.show_charts(chart)

    def ended(self, error) -> None:
        before = self.lastSession
        self.endSession(error)
        if not isinstance(self.lastSession, SuperresSession):
            self.lastSession = before


#
# SuperResMRILogic
#


class SuperResMRILogic(ScriptedLoadableModuleLogic):
    """Super-resolution from Python; needs no widget and no main window, and opens no dialog."""

    def getParameterNode(self):
        return SuperResMRIParameterNode(super().getParameterNode())

    def process(self, inputNode, priorVolume=None, *, view=None, waitForCompletion=True, **wishes):
        """
        Sharpen a volume or a time series. The input is not changed.

        :param inputNode: scalar volume, sequence, or the proxy volume of a sequence.
        :param priorVolume: sharp scan of the same subject, on any grid.
        :param view: told of progress, see MRIForgeLib.view.View.
        :param waitForCompletion: return when the result is in the scene; otherwise at once.
        :param wishes: fields of MRIForgeLib.superres.wishes.Wishes: method ("smore_small" for
            thick slices), finetune, minutes, factors, spacing, like_node, profile, device, ...
        :return: dictionary of nodes ("result", of a series "sequence", with a reference "ssim" and
            "difference"); without waiting the running Session, whose cancel() stops it.
        :raises mriforge.errors.MRIForgeError: with a message that says what to do.
        """
        wanted = Wishes(input_node=inputNode, prior_node=priorVolume, **wishes)
        reason = advice.why_not(wanted)
        if reason:
            raise ValueError(reason)
        dependencies.ensure("SuperResMRI", interactive=False)
        return self._run(SuperresSession(wanted, view), waitForCompletion)

    def fuse(self, nodes, *, view=None, waitForCompletion=True, **wishes):
        """
        Fuse two or three stacks of thick slices of one subject into one volume.

        :param nodes: scalar volumes, in different orientations.
        :param wishes: as for process(): method ("fuse" or "fuse_implicit"), target_stack, align,
            slice_motion, target and spacing or like_node, reference_node, device, ...
        :return: as process(), with the maps "residual1", "residual2", ... of the stacks.
        """
        first, *others = nodes
        wishes = {"method": DEFAULT_FUSION, "stack_nodes": tuple(others), **wishes}
        return self.process(first, view=view, waitForCompletion=waitForCompletion, **wishes)

    def resampleLabels(self, node, *, view=None, waitForCompletion=True, **wishes):
        """
        Put a label map or segmentation on another grid; labels are neither mixed nor invented.

        :param node: label map, segmentation, or scalar volume of labels.
        :param wishes: target, factors, spacing, like_node as for process(); default: cubes.
        :return: dictionary with the node "result", or the running Session.
        """
        wanted = Wishes(input_node=node, **wishes)
        if reason := labels.why_not(wanted):
            raise ValueError(reason)
        dependencies.ensure("SuperResMRI", interactive=False)
        return self._run(Single(labels.LabelTask(wanted), view), waitForCompletion)

    def selfCheck(self, inputNode, *, view=None, waitForCompletion=True, **wishes):
        """
        Check a method on the image itself, made coarser once more.

        :param inputNode: scalar volume, sequence, or the proxy volume of a sequence.
        :param wishes: as for process(): method, target, factors, minutes, device.
        :return: the figures of the job "selfcheck" ("sentence", "against", "report", ...), or the
            running Session.
        """
        wanted = Wishes(input_node=inputNode, **wishes)
        if reason := selfcheck.why_not(wanted):
            raise ValueError(reason)
        dependencies.ensure("SuperResMRI", interactive=False)
        session = Single(selfcheck.SelfCheckTask(wanted), view)
        made = self._run(session, waitForCompletion)
        return session.figures if waitForCompletion else made

    def makeCoarse(
        self, inputNode, keep=0.25, *, thickness=None, view=None, waitForCompletion=True
    ):
        """
        Make the image that a shorter scan would have given, to try the method on.

        :param inputNode: scalar volume, sequence, or the proxy volume of a sequence.
        :param keep: fraction of in-plane k-space that is kept.
        :param thickness: instead, of thick slices along the third axis, in mm.
        :param view, waitForCompletion: as for process().
        :return: dictionary of nodes ("result", of a series "sequence"), or the running Session.
        """
        dependencies.ensure("SuperResMRI", interactive=False)
        task = CoarseTask(inputNode, 1.0 if thickness else keep, thickness=thickness)
        return self._run(Single(task, view), waitForCompletion)

    def _run(self, session, waitForCompletion):
        if waitForCompletion:
            return session.execute()
        session.start()
        return session

    def compare(self, nodes, orientation=None):
        """
        Show volumes side by side in linked views.

        :param nodes: dictionary of volumes by role, see MRIForgeLib.layout: "low", "result",
            "reference", "ssim", "difference", ...; all but "result" may be missing.
        :param orientation: "Axial", "Sagittal", "Coronal", or None: as the first was acquired.
        :return: MRIForgeLib.comparison.Comparison, whose close() restores the layout, or None
            without a main window.
        """
        comparison = Comparison(nodes)
        return comparison if comparison.show(orientation) else None

    def comparedNodes(self, session):
        """
        The volumes of a session by their role in compare().

        :param session: MRIForgeLib.superres.session.SuperresSession.
        """
        return compared(session.wishes, session.nodes)


#
# SuperResMRITest
#


class SuperResMRITest(ScriptedLoadableModuleTest):
    """Short tests inside Slicer; the long ones are in the folder Testing of the repository."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_targetOfAVolume()
        self.setUp()
        self.test_sharpenAVolume()

    def _volume(self):
        import numpy as np

        z, y, x = np.mgrid[0:4, 0:48, 0:48].astype(float)
        array = 100 + 50 * np.sin(x / 4) * np.cos(y / 5) + z
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Waves")
        slicer.util.updateVolumeFromArray(volume, array.astype("float32"))
        volume.SetSpacing(2, 2, 5)
        return volume

    def test_targetOfAVolume(self):
        """What will come out is known before anything runs; senseless wishes are refused."""
        volume = self._volume()
        self.assertIn("96 x 96 x 4", advice.preview(Wishes(volume)))
        self.assertIn("48 x 48 x 10", advice.preview(Wishes(volume, method="smore_small")))
        self.assertTrue(advice.why_not(Wishes(volume, finetune=True)))
        self.assertTrue(advice.why_not(Wishes(None)))

    def test_sharpenAVolume(self):
        """The whole way through the worker, where its packages are installed."""
        missing = dependencies.missing()
        if missing:
            self.delayDisplay("Skipped: not installed: " + ", ".join(missing))
            return
        volume = self._volume()
        nodes = SuperResMRILogic().process(volume, device=Device.CPU)
        self.assertEqual(nodes["result"].GetImageData().GetDimensions(), (96, 96, 4))
        self.delayDisplay("Test passed")
