"""MTMRIRecon: MR Multitasking in 3D Slicer, from raw data to moving images and T1 maps.

Wiring only: what the module knows and decides is in the package MRIForgeLib, what it computes is
in the package mriforge, which runs in a process of its own.
"""

import os
import sys
from typing import Annotated

import slicer
from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
)
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
from MRIForgeLib.display import show_volume
from MRIForgeLib.live_charts import ResidualChart
from MRIForgeLib.provenance import keep_in_files_after_loading
from MRIForgeLib.recon import advice, summary
from MRIForgeLib.recon.agreement import AgreementChart, agreement_of
from MRIForgeLib.recon.frames import MAGNITUDE, Position, frames_of
from MRIForgeLib.recon.lines import LineTask
from MRIForgeLib.recon.session import ReconSession
from MRIForgeLib.recon.t1 import fill_regions_table, region_figures
from MRIForgeLib.recon.wishes import (
    Basis,
    CoilMaps,
    Method,
    ReconWishes,
    Source,
    Sparsity,
    recon_wishes_of,
)
from MRIForgeLib.view import Single
from MRIForgeLib.widgets.frames_section import FramesSection
from MRIForgeLib.widgets.models_section import ModelsSection
from MRIForgeLib.widgets.panel import Panel
from MRIForgeLib.widgets.recon_section import ReconSection
from MRIForgeLib.widgets.run_section import RunSection
from MRIForgeLib.widgets.t1_section import T1Section

#
# MTMRIRecon
#


class MTMRIRecon(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MR Multitasking Reconstruction")
        self.parent.categories = [
            translate("qSlicerAbstractCoreModule", "Tomographic Reconstruction")
        ]
        self.parent.dependencies = []
        self.parent.contributors = ["MRIForge contributors"]
        self.parent.helpText = _("""
Reconstructs free-breathing MR Multitasking raw data, by iterations or by a network, to images that
are resolved by heart beat, breathing and inversion time: browse tens of thousands of them by three
sliders, play them, export any of their series, and map T1.
For research use. See the
<a href="https://github.com/mriforge/SlicerMRIForge#mtmrirecon">documentation</a>.
""")
        self.parent.acknowledgementText = _("""
The method is that of Christodoulou et al., Nature Biomedical Engineering 2:215 (2018); the network
follows Chen, dissertation, University of California, Los Angeles (2021).
""")
        slicer.app.connect("startupCompleted()", keep_in_files_after_loading)


#
# MTMRIReconParameterNode
#


@parameterNodeWrapper
class MTMRIReconParameterNode:
    """
    The choices of the panel; see MRIForgeLib.recon.wishes.ReconWishes for what they mean.

    inversion, coils - 0 for all there are.
    memory - Bound of the working memory in GiB; 0 for what is free.
    framesNode - Reconstruction to browse.
    t1Node, otherNode - Maps to measure and to compare.
    regionsNode - Where.
    """

    source: Source = Source.RAW
    rawFile: str = ""
    seed: Annotated[int, WithinRange(0, 999_999)] = 1
    factorsFile: str = ""
    folder: str = ""
    method: Method = ReconWishes.method
    model: str = ReconWishes.model
    rank: Annotated[int, WithinRange(1, 256)] = ReconWishes.rank
    cardiac: Annotated[int, WithinRange(1, 100)] = ReconWishes.cardiac
    respiratory: Annotated[int, WithinRange(1, 50)] = ReconWishes.respiratory
    inversion: Annotated[int, WithinRange(0, 2000)] = 0
    basis: Basis = ReconWishes.basis
    sparsity: Sparsity = ReconWishes.sparsity
    regularisation: Annotated[float, WithinRange(0, 1)] = ReconWishes.regularisation
    outer: Annotated[int, WithinRange(1, 500)] = ReconWishes.outer
    inner: Annotated[int, WithinRange(1, 100)] = ReconWishes.inner
    consistency: Annotated[int, WithinRange(0, 50)] = 0
    coilMaps: CoilMaps = ReconWishes.coil_maps
    coils: Annotated[int, WithinRange(0, 256)] = 0
    delays: bool = False
    t1: bool = True
    memory: Annotated[float, WithinRange(0, 1024)] = 0.0
    device: Device = Device.AUTO
    framesNode: vtkMRMLScalarVolumeNode
    t1Node: vtkMRMLScalarVolumeNode
    otherNode: vtkMRMLScalarVolumeNode
    regionsNode: vtkMRMLSegmentationNode | vtkMRMLLabelMapVolumeNode | None = None


#
# MTMRIReconWidget
#


class MTMRIReconWidget(Panel):
    """The panel."""

    def __init__(self, parent=None) -> None:
        Panel.__init__(self, parent)
        self.reconSection = None
        self.framesSection = None
        self.t1Section = None
        self.modelsSection = None

    def setup(self) -> None:
        Panel.setup(self)
        ui = self.loadPanel(MTMRIReconLogic())

        def owner():
            return self.logic.getParameterNode().parameterNode

        locked = (ui.dataSection, ui.methodSection, ui.advancedSection)
        self.runSection = RunSection(ui, locked, owner, views=(11,))
        self.reconSection = ReconSection(ui)
        self.framesSection = FramesSection(ui, self.onExport)
        self.t1Section = T1Section(ui, owner, views=(12,))
        self.modelsSection = ModelsSection(ui, advice.TASK, self.showModels)
        self.showModels()
        ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        ui.reportButton.connect("clicked(bool)", self.onReportButton)
        self.initializeParameterNode()

    def close(self) -> None:
        if self.framesSection is not None:  # otherwise setup() has failed
            self.framesSection.close()

    def forget(self) -> None:
        self.framesSection.forget()
        self.t1Section.forget()
        self.ui.reportButton.enabled = False

    def initializeParameterNode(self) -> None:
        """Ensure parameter node exists and observed."""
        node = self.logic.getParameterNode()
        self.reconSection.use(node)
        self.setParameterNode(node)

    def onChanged(self, caller=None, event=None) -> None:
        """A choice has changed: show what belongs to it, and whether the job can start."""
        node = self._parameterNode
        if not node:
            return
        wishes = self.reconSection.show(node)
        self.framesSection.select(node.framesNode)
        self.framesSection.allow(self.session is None)
        self.t1Section.allow(node.t1Node, node.regionsNode, node.otherNode)
        if self.session is None:
            self.runSection.allow(advice.why_not(wishes), advice.ready(wishes))

    def showModels(self) -> None:
        """Fill the list and the table of models anew, keeping the choice."""
        self.modelsSection.refresh()
        self.reconSection.fill_models(self._parameterNode)
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
        wishes = recon_wishes_of(self._parameterNode)
        with slicer.util.tryWithErrorDisplay(_("The job could not be started.")):
            if wishes.source is not Source.FACTORS and not self.runSection.install_packages(
                "MTMRIRecon", packagesFor(wishes)
            ):
                return
            self.runSection.drop_charts()
            if wishes.source is not Source.FACTORS and wishes.method.iterates:
                self.runSection.follow(ResidualChart(wishes.subject))
            self.reconSection.remember_paths()
            self.startSession(ReconSession(wishes, self))

    def onExport(self, task) -> None:
        """Make a sequence of a line of images."""
        with slicer.util.tryWithErrorDisplay(_("The sequence could not be made.")):
            self.startSession(Single(task, self))

    def onReportButton(self, checked=False) -> None:
        """Show the report of the last reconstruction."""
        self.reconSection.open_report()

    def result(self, nodes, figures) -> None:
        if isinstance(self.session, Single):
            show_volume(nodes["result"])
            return
        # The user may be in another module by now, where this panel has no parameter node.
        parameters = self._parameterNode or self.logic.getParameterNode()
        parameters.framesNode = nodes["frames"]
        if "t1" in nodes:
            parameters.otherNode = nodes.get("true_t1") or parameters.t1Node
            parameters.t1Node = nodes["t1"]
        if "tissues" in nodes:
            parameters.regionsNode = nodes["tissues"]
        self.reconSection.report = self.session.files.get("report")
        self.ui.reportButton.enabled = self.reconSection.report is not None
        self.ui.summaryLabel.text = "\n".join(summary.sentences(figures, self.session.files))
        show_volume(nodes["frames"], fit=True)


#
# MTMRIReconLogic
#


def packagesFor(wishes) -> tuple[str, ...]:
    """What a reconstruction needs beside the packages of every job."""
    return (dependencies.RAW_DATA,) if wishes.needs_raw_reader else ()


class MTMRIReconLogic(ScriptedLoadableModuleLogic):
    """Reconstruction from Python; needs no widget and no main window, and opens no dialog."""

    def getParameterNode(self):
        return MTMRIReconParameterNode(super().getParameterNode())

    def reconstruct(self, rawFile=None, *, seed=None, view=None, waitForCompletion=True, **wishes):
        """
        Reconstruct a raw file, or the simulated scan of a subject. Files are kept in a new folder.

        :param rawFile: ISMRMRD (.h5) or BART (.cfl).
        :param seed: instead, number of a simulated subject.
        :param view: told of progress, see MRIForgeLib.view.View.
        :param waitForCompletion: return when the result is in the scene; otherwise at once.
        :param wishes: fields of MRIForgeLib.recon.wishes.ReconWishes: method, model, rank, cardiac,
            respiratory, inversion, sparsity, outer, folder, device, ...
        :return: dictionary of nodes ("frames", with a T1 map "t1" and "t1_quality"); without
            waiting the running Session, whose cancel() stops it.
        :raises mriforge.errors.MRIForgeError: with a message that says what to do.
        """
        if seed is not None:
            wanted = ReconWishes(source=Source.SIMULATED, seed=seed, **wishes)
        else:
            wanted = ReconWishes(raw_file=str(rawFile or ""), **wishes)
        if reason := advice.why_not(wanted):
            raise ValueError(reason)
        dependencies.ensure("MTMRIRecon", interactive=False, more=packagesFor(wanted))
        return self._run(ReconSession(wanted, view), waitForCompletion)

    def open(self, factorsFile, *, view=None, waitForCompletion=True):
        """
        Open the file factors.npz of an earlier reconstruction, and the maps beside it.

        :param factorsFile: path of the file; it is read again whenever images are computed.
        :param view, waitForCompletion: as for reconstruct().
        :return: as reconstruct().
        """
        wanted = ReconWishes(source=Source.FACTORS, factors_file=str(factorsFile))
        if reason := advice.why_not(wanted):
            raise ValueError(reason)
        return self._run(ReconSession(wanted, view), waitForCompletion)

    def showFrame(self, framesNode, cardiac=0, respiratory=0, inversion=0, part=MAGNITUDE):
        """
        Compute one image and put it into the node, in place.

        :param framesNode: volume that reconstruct() or open() has made.
        :param cardiac, respiratory, inversion: counted from 0; nearest if there is none.
        :param part: "magnitude" or "phase".
        """
        frames_of(framesNode).show(Position(cardiac, respiratory, inversion), part)

    def exportLine(
        self,
        framesNode,
        axis,
        cardiac=0,
        respiratory=0,
        inversion=0,
        step=1,
        *,
        view=None,
        waitForCompletion=True,
    ):
        """
        Make a sequence of all images along one axis.

        :param framesNode: as for showFrame().
        :param axis: "cardiac", "respiratory" or "inversion"; its number below is ignored.
        :param cardiac, respiratory, inversion: where on the other axes, counted from 0.
        :param step: every how manyth image.
        :return: dictionary of the nodes "result" (proxy volume) and "sequence", or the Session.
        """
        position = Position(cardiac, respiratory, inversion)
        task = LineTask(frames_of(framesNode), axis, position, step)
        return self._run(Single(task, view), waitForCompletion)

    def measureRegions(self, t1Node, regionsNode):
        """
        Mean, standard deviation and median of a T1 map in each region.

        :param regionsNode: segmentation or label map, on any grid.
        :return: table node.
        """
        figures = region_figures(t1Node, regionsNode)
        name = _("{name} regions").format(name=t1Node.GetName())
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
        fill_regions_table(table, figures)
        return table

    def compareMaps(self, firstNode, secondNode, regionsNode=None):
        """
        Bland-Altman comparison of two maps on the same grid.

        :param regionsNode: where; default: wherever both maps have a value.
        :return: MRIForgeLib.recon.agreement.AgreementChart: its "figures", and chart nodes.
        """
        return AgreementChart(agreement_of(firstNode, secondNode, regionsNode))

    def _run(self, session, waitForCompletion):
        if waitForCompletion:
            return session.execute()
        session.start()
        return session


#
# MTMRIReconTest
#


class MTMRIReconTest(ScriptedLoadableModuleTest):
    """Short tests inside Slicer; the long ones are in the folder Testing of the repository."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_browseAReconstruction()
        self.setUp()
        self.test_senselessWishes()

    def _factors(self, folder):
        import numpy as np

        from mriforge.factors import Factors
        from mriforge.volume import Grid

        rng = np.random.default_rng(0)
        spatial = rng.normal(size=(3, 1, 16, 20)) + 1j * rng.normal(size=(3, 1, 16, 20))
        temporal = rng.normal(size=(3, 4, 2, 5)).astype("float32")
        times = np.arange(5) * 0.5
        factors = Factors(spatial.astype("complex64"), temporal, Grid((1, 16, 20)), times)
        path = os.path.join(folder, "factors.npz")
        factors.save(path)
        return factors, path

    def test_browseAReconstruction(self):
        """Images are computed from the factors, in place; a line of them becomes a sequence."""
        import tempfile

        import numpy as np

        logic = MTMRIReconLogic()
        with tempfile.TemporaryDirectory() as folder:
            factors, path = self._factors(folder)
            node = logic.open(path)["frames"]
            logic.showFrame(node, 3, 1, 2)
            expected = np.abs(factors.frame(3, 1, 2))
            found = slicer.util.arrayFromVolume(node)
            self.assertTrue(np.allclose(found, expected, rtol=1e-5))
            sequence = logic.exportLine(node, "inversion", cardiac=3, respiratory=1)["sequence"]
        self.assertEqual(sequence.GetNumberOfDataNodes(), 5)
        self.assertEqual(sequence.GetNthIndexValue(2), "1000")

    def test_senselessWishes(self):
        """What cannot be done is refused before anything runs, with a sentence."""
        for wishes in (ReconWishes(), ReconWishes(raw_file="nowhere.h5")):
            self.assertTrue(advice.why_not(wishes))
        with self.assertRaises(ValueError):  # noqa: PT027
            MTMRIReconLogic().open("nowhere.npz")
        self.delayDisplay("Test passed")
