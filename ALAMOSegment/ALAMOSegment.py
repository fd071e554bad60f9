"""ALAMOSegment: outlines of ten abdominal organs in MR volumes and series, in 3D Slicer.

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

from MRIForgeLib import dependencies
from MRIForgeLib.devices import Device
from MRIForgeLib.live_charts import TuningChart
from MRIForgeLib.provenance import keep_in_files_after_loading
from MRIForgeLib.segment import advice, dicom_seg, summary
from MRIForgeLib.segment.charts import volumes_chart
from MRIForgeLib.segment.overlay import link
from MRIForgeLib.segment.session import Session, TuneSession
from MRIForgeLib.segment.tuning import DEFAULT_MINUTES, TuneWishes, tune_wishes_of, why_not_tune
from MRIForgeLib.segment.wishes import Fusion, Wishes, wishes_of
from MRIForgeLib.view import Single
from MRIForgeLib.widgets.cases_section import CasesSection
from MRIForgeLib.widgets.dicom_section import DicomSection
from MRIForgeLib.widgets.doubt_section import DoubtSection
from MRIForgeLib.widgets.models_section import ModelsSection
from MRIForgeLib.widgets.organs_section import OrgansSection
from MRIForgeLib.widgets.outlining_section import OutliningSection
from MRIForgeLib.widgets.panel import Panel
from MRIForgeLib.widgets.run_section import RunSection

#
# ALAMOSegment
#


class ALAMOSegment(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Abdominal Organ Segmentation")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["MRIForge contributors"]
        self.parent.helpText = _("""
Outlines ten abdominal organs in an MR volume or time series by three views of one neural network,
and shows where the views disagree. The network can be adapted to your own labelled cases.
For research use: the supplied model was trained on simulated images and has not been validated on
patients. See the
<a href="https://github.com/mriforge/SlicerMRIForge#alamosegment">documentation</a>.
""")
        self.parent.acknowledgementText = _("""
The method follows ALAMO: Chen, dissertation, University of California, Los Angeles (2021),
chapter 7.
""")
        slicer.app.connect("startupCompleted()", keep_in_files_after_loading)


#
# ALAMOSegmentParameterNode
#


@parameterNodeWrapper
class ALAMOSegmentParameterNode:
    """
    The choices of the panel; see MRIForgeLib.segment.wishes.Wishes for what they mean.

    memory - Bound of the working memory in GiB; 0 for what is free.
    segmentationNode - Whose organs are listed.
    minutes, modelName - Of a fine-tuning.
    """

    inputNode: vtkMRMLScalarVolumeNode | vtkMRMLSequenceNode | None = None
    allFrames: bool = True
    model: str = Wishes.model
    axial: bool = True
    coronal: bool = True
    sagittal: bool = True
    fusion: Fusion = Wishes.fusion
    largest: bool = Wishes.largest
    holes: bool = Wishes.holes
    device: Device = Device.AUTO
    memory: Annotated[float, WithinRange(0, 1024)] = 0.0
    segmentationNode: vtkMRMLSegmentationNode
    minutes: Annotated[float, WithinRange(0.1, 1440)] = DEFAULT_MINUTES
    modelName: str = ""


#
# ALAMOSegmentWidget
#


class ALAMOSegmentWidget(Panel):
    """The panel."""

    def __init__(self, parent=None) -> None:
        Panel.__init__(self, parent)
        self.outliningSection = None
        self.organsSection = None
        self.doubtSection = None
        self.dicomSection = None
        self.casesSection = None
        self.modelsSection = None

    def setup(self) -> None:
        Panel.setup(self)
        ui = self.loadPanel(ALAMOSegmentLogic())

        def owner():
            return self.logic.getParameterNode().parameterNode

        locked = (ui.inputsSection, ui.methodSection, ui.advancedSection, ui.tuningSection)
        self.runSection = RunSection(ui, locked, owner, views=(21, 22))
        self.outliningSection = OutliningSection(ui)
        self.doubtSection = DoubtSection(ui)
        self.dicomSection = DicomSection(ui, self.onExport)
        self.organsSection = OrgansSection(ui, self.onSegmentationChanged)
        self.casesSection = CasesSection(ui, self.onChanged)
        self.modelsSection = ModelsSection(ui, advice.TASK, self.showModels)
        self.showModels()
        ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        ui.tuneButton.connect("clicked(bool)", self.onTuneButton)
        self.initializeParameterNode()

    def close(self) -> None:
        if self.modelsSection is not None:  # otherwise setup() has failed
            self.organsSection.close()
            self.doubtSection.close()

    def forget(self) -> None:
        self.organsSection.forget()
        self.doubtSection.forget()
        self.casesSection.forget()

    def initializeParameterNode(self) -> None:
        """Ensure parameter node exists and observed."""
        node = self.logic.getParameterNode()
        self.outliningSection.use(node)
        self.setParameterNode(node)
        if not node.inputNode:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            images = [v for v in volumes if v.GetClassName() == "vtkMRMLScalarVolumeNode"]
            if images:
                node.inputNode = images[0]

    def onChanged(self, caller=None, event=None) -> None:
        """A choice has changed: show what belongs to it, and whether the job can start."""
        node = self._parameterNode
        if not node:
            return
        wishes = self.outliningSection.show(node)
        self.organsSection.select(node.segmentationNode)
        free = self.session is None
        self.dicomSection.allow(free)
        if not free:
            return
        self.runSection.allow(advice.why_not(wishes), advice.ready(wishes))
        self.casesSection.allow(True)
        reason = why_not_tune(self.tuneWishes())
        self.ui.tuneButton.enabled = not reason
        self.ui.tuneButton.toolTip = reason or _("Learn from the labelled cases.")
        self.ui.tuningReasonLabel.text = reason
        self.ui.tuningReasonLabel.setVisible(bool(reason))

    def onSegmentationChanged(self) -> None:
        """Another segmentation is shown, or it was edited."""
        if self.organsSection is not None:  # it calls while it is being made
            self.doubtSection.select(self.organsSection.node)
            self.dicomSection.judge(self.organsSection.node)

    def showModels(self) -> None:
        """Fill the list and the table of models anew, keeping the choice."""
        self.modelsSection.refresh()
        self.outliningSection.fill_models(self._parameterNode)
        if self._parameterNode:
            self.onChanged()

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
            if self.runSection.install_packages("ALAMOSegment"):
                self.runSection.drop_charts()
                self.startSession(Session(wishes, self))

    def onTuneButton(self, checked=False) -> None:
        """Fine-tune the chosen model on the labelled cases."""
        wishes = self.tuneWishes()
        with slicer.util.tryWithErrorDisplay(_("The job could not be started.")):
            if self.runSection.install_packages("ALAMOSegment"):
                self.runSection.follow(TuningChart(wishes.name))
                self.startSession(TuneSession(wishes, self))

    def tuneWishes(self):
        """What a fine-tuning would be told."""
        cases = self.casesSection
        return tune_wishes_of(self._parameterNode, cases.pairs, cases.folder)

    def onExport(self, segmentation, path) -> None:
        """Write a DICOM segmentation object."""
        with slicer.util.tryWithErrorDisplay(_("The segmentation could not be exported.")):
            if self.runSection.install_packages("ALAMOSegment", (dicom_seg.NEEDED,)):
                self.startSession(Single(dicom_seg.ExportTask(segmentation, path), self))

    def result(self, nodes, figures) -> None:
        session = self.session
        if isinstance(session, TuneSession):
            self.tuned(session.model, figures)
            return
        if isinstance(session, Single):
            text = _("{count} segments were written to {path}.").format(
                count=figures["segments"], path=figures["output"]
            )
            self.ui.exportLabel.text = text
            self.ui.exportLabel.setVisible(True)
            return
        # The user may be in another module by now, where this panel has no parameter node.
        parameters = self._parameterNode or self.logic.getParameterNode()
        link(nodes["segmentation"], nodes.get("disagreement"))
        parameters.segmentationNode = nodes["segmentation"]
        self.organsSection.select(nodes["segmentation"])
        self.organsSection.show_in_views()
        self.ui.summaryLabel.text = "\n".join(summary.sentences(figures, session.measures))
        chart = volumes_chart(nodes, session.wishes.input_node.GetName())
        if chart is not None:
            self.runSection.show_charts(chart)

    def tuned(self, model, figures) -> None:
        """There is a new model: the next run uses it."""
        self.ui.summaryLabel.text = "\n".join(summary.tuned(figures, model))
        parameters = self._parameterNode or self.logic.getParameterNode()
        parameters.model, parameters.modelName = model, ""
        self.showModels()


#
# ALAMOSegmentLogic
#


class ALAMOSegmentLogic(ScriptedLoadableModuleLogic):
    """Outlines from Python; needs no widget and no main window, and opens no dialog."""

    def getParameterNode(self):
        return ALAMOSegmentParameterNode(super().getParameterNode())

    def process(self, inputNode, *, view=None, waitForCompletion=True, **wishes):
        """
        Outline organs in a volume or a time series. The input is not changed.

        :param inputNode: scalar volume, sequence, or the proxy volume of a sequence.
        :param view: told of progress, see MRIForgeLib.view.View.
        :param waitForCompletion: return when the result is in the scene; otherwise at once.
        :param wishes: fields of MRIForgeLib.segment.wishes.Wishes: model, views ("axial", ...),
            fusion, largest, holes, disagreement, surfaces, all_frames, device, memory_gib.
        :return: dictionary of nodes ("segmentation", "table"; where views can disagree
            "disagreement"; of a series "sequence"); without waiting the running Session, whose
            cancel() stops it.
        :raises mriforge.errors.MRIForgeError: with a message that says what to do.
        """
        wanted = Wishes(input_node=inputNode, **wishes)
        if reason := advice.why_not(wanted):
            raise ValueError(reason)
        dependencies.ensure("ALAMOSegment", interactive=False)
        return self._run(Session(wanted, view), waitForCompletion)

    def fineTune(self, name, pairs=(), folder="", *, view=None, waitForCompletion=True, **wishes):
        """
        Adapt a model to labelled cases. The new model is added to the user's own.

        :param name: of the new model.
        :param pairs: (volume, segmentation or label map), ...
        :param folder: of labelled files, instead.
        :param view, waitForCompletion: as for process().
        :param wishes: fields of MRIForgeLib.segment.tuning.TuneWishes: model, minutes, device.
        :return: name of the new model; without waiting the running TuneSession.
        """
        wanted = TuneWishes(name=name, pairs=tuple(pairs), folder=str(folder), **wishes)
        if reason := why_not_tune(wanted):
            raise ValueError(reason)
        dependencies.ensure("ALAMOSegment", interactive=False)
        session = self._run(TuneSession(wanted, view), waitForCompletion, nodes=False)
        return session.model if waitForCompletion else session

    def exportDicom(self, segmentationNode, path, *, view=None, waitForCompletion=True):
        """
        Write a DICOM segmentation object that refers to the images below a segmentation.

        :param segmentationNode: drawn on a volume that was loaded from DICOM.
        :param path: of the file to write (.dcm).
        :return: the path; without waiting the running Session.
        :raises ValueError: a precondition is not met; says which.
        """
        if reason := dicom_seg.why_not(segmentationNode):
            raise ValueError(reason)
        dependencies.ensure("ALAMOSegment", interactive=False, more=(dicom_seg.NEEDED,))
        session = Single(dicom_seg.ExportTask(segmentationNode, path), view)
        self._run(session, waitForCompletion)
        return session.figures["output"] if waitForCompletion else session

    def _run(self, session, waitForCompletion, nodes=True):
        if not waitForCompletion:
            session.start()
            return session
        found = session.execute()
        return found if nodes else session


#
# ALAMOSegmentTest
#


class ALAMOSegmentTest(ScriptedLoadableModuleTest):
    """Short tests inside Slicer; the long ones are in the folder Testing of the repository."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_organsAreSegments()
        self.setUp()
        self.test_senselessWishes()

    def _volume(self):
        import numpy as np

        z, y, x = np.indices((12, 40, 48))
        body = ((y - 20) / 16.0) ** 2 + ((x - 24) / 20.0) ** 2 < 1
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "abdomen")
        slicer.util.updateVolumeFromArray(node, (100.0 * body + z).astype("float32"))
        node.SetSpacing(8.0, 8.0, 10.0)
        return node, body

    def test_organsAreSegments(self):
        """Labels become segments with names, colors and meaning; their surfaces can be made."""
        import numpy as np

        from mriforge.anatomy import ORGANS
        from mriforge.volume import Volume
        from MRIForgeLib.nodes import volume_from_node
        from MRIForgeLib.places import Place
        from MRIForgeLib.segmentations import add_segmentation
        from MRIForgeLib.segments import segment_rows
        from MRIForgeLib.surfaces import has_surfaces, surface_steps
        from MRIForgeLib.tasks import run_to_end

        node, body = self._volume()
        volume = volume_from_node(node)
        labels = np.zeros(body.shape, "uint8")
        labels[3:9, 14:26, 8:20], labels[3:9, 14:22, 30:40] = 1, 2
        found = add_segmentation(Volume(labels, volume.grid), Place.of(node), "organs", {})
        rows = segment_rows(found)
        self.assertEqual([row.name for row in rows], [organ.title for organ in ORGANS[:2]])
        self.assertAlmostEqual(rows[0].ml, 6 * 12 * 12 * 0.64, places=3)
        run_to_end(surface_steps(found))
        self.assertTrue(has_surfaces(found))
        self.assertIn("DICOM", dicom_seg.why_not(found))

    def test_senselessWishes(self):
        """What cannot be done is refused before anything runs, with a sentence."""
        with self.assertRaises(ValueError):  # noqa: PT027
            ALAMOSegmentLogic().process(None)
        node, _body = self._volume()
        for wishes in (Wishes(node, views=()), Wishes(node, model="nowhere")):
            self.assertTrue(advice.why_not(wishes))
        self.assertTrue(why_not_tune(TuneWishes(name="new")))
        with self.assertRaises(ValueError):  # noqa: PT027
            ALAMOSegmentLogic().exportDicom(None, "nowhere.dcm")
        self.delayDisplay("Test passed")
