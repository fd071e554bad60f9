"""The pictures of the tutorials: the real panel and views, a real head, at 1366 x 768.

    python Testing/panels/screenshots.py DATA OUT [--seconds S] [--only slices,fusion]

DATA is the folder of real volumes (it holds ``brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz``, a
defaced head under PDDL). The prior is that head of "another day", simulated as in the benchmark
``prior_guided.py --case brain``. The stacks of thick slices are made of it too, by the command
``degrade``; those that are fused have headers that are wrong by a rigid motion. The labels are two
thresholds of it. Writes OUT/superres-*.png.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent), str(HERE), str(HERE.parent / "benchmarks")]

SLICES = slice(14, 26)
KEEP_PERCENT = 10.0
BRAIN = (slice(190, 350), slice(70, 310), slice(47, 227))
"""The part of the head (z, y, x) whose slices are made thick."""
THICK_MM = 4.0
GRAYS = 112
STACKS = ("Axial stack", "Coronal stack", "Sagittal stack")


def main() -> None:
    """Plays the tutorial and takes a picture of each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="of learning in the picture")
    parser.add_argument("--only", default="inplane,slices,fusion,labels", help="some of these")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        launcher = Path(folder) / "PythonSlicer"
        launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\n')
        launcher.chmod(0o755)
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        os.environ["XDG_DATA_HOME"] = folder
        tutorial = Tutorial(arguments.out)
        for part in arguments.only.split(","):
            getattr(tutorial, part)(arguments.data, arguments.seconds)


class Tutorial:
    """The steps, in the order of the page."""

    def __init__(self, out: Path) -> None:
        import host

        self.host, self.out = host, out
        host.start()
        host.load_module(ROOT / "SuperResMRI" / "SuperResMRI.py")
        self.panel = host.open_module("SuperResMRI").self()
        self.ui = self.panel.ui

    def picture(self, name: str, widget=None) -> None:
        self.host.process_events(0.4)
        print(f"superres-{name}.png", flush=True)
        path = self.out / f"superres-{name}.png"
        self.host.grab(widget, str(path))
        with_palette(Image.open(path).convert("RGB")).save(path, optimize=True)

    def finish(self) -> None:
        self.host.wait_until(lambda: self.panel.session is None, 900)

    def inplane(self, data: Path, seconds: float) -> None:
        """Coarse pixels, a prior."""
        import slicer

        ui = self.ui
        slicer.mrmlScene.Clear()
        ui.orientationComboBox.setCurrentIndex(0)
        self.picture("open")
        truth, prior = add_head(data)
        ui.inputSelector.setCurrentNode(truth)
        slicer.util.setSliceViewerLayers(background=truth, fit=True, rotateToVolumePlane=True)
        ui.coarseSpinBox.value = KEEP_PERCENT
        self.only("coarseSection", "inputsSection")
        self.picture("try")
        ui.coarseButton.click()
        self.finish()
        ui.priorSelector.setCurrentNode(prior)
        ui.finetuneCheckBox.checked = True
        ui.keepModelLineEdit.text = "volunteer 2"
        self.only("inputsSection", "methodSection", "tuningSection", "resultSection")
        self.picture("chosen")
        self.panel._parameterNode.tuningStop = 0
        ui.applyButton.click()
        self.only("resultSection")
        tuned = self.panel.session
        self.host.wait_until(lambda: ui.progressBar.value > 0, 120)
        self.host.process_events(seconds)
        self.picture("panel")
        self.finish()
        if tuned.error is not None:
            raise tuned.error
        self.picture("result")
        ui.compareButton.click()
        self.picture("comparison")
        ui.compareButton.click()
        self.only("modelsSection", "logSection")
        ui.modelsTable.selectRow(0)
        self.picture("models")
        self.only("inputsSection", "methodSection")
        ui.targetComboBox.setCurrentIndex(1)
        ui.factorKSpinBox.value = 4.0
        self.picture("warning")

    def slices(self, data: Path, seconds: float) -> None:
        """Thick slices."""
        import slicer

        ui, panel = self.ui, self.panel
        slicer.mrmlScene.Clear()
        truth = add_node(brain(data), "Head")
        ui.inputSelector.setCurrentNode(truth)
        ui.thickSpinBox.value = THICK_MM
        panel.onThickButton()
        self.finish()
        slicer.util.setSliceViewerLayers(
            background=ui.inputSelector.currentNode(), fit=True, rotateToVolumePlane=True
        )
        self.only("inputsSection", "methodSection", "tuningSection")
        panel._parameterNode.tuningStop = 0
        self.picture("slices-chosen")
        ui.applyButton.click()
        self.only("resultSection")
        self.host.wait_until(lambda: ui.progressBar.value > 100, 300)
        self.host.process_events(seconds)
        self.picture("slices-running")
        self.finish()
        if panel.lastSession.error is not None:
            raise panel.lastSession.error
        print(ui.summaryLabel.text, flush=True)
        self.picture("slices-result")
        ui.orientationComboBox.setCurrentIndex(3)
        ui.compareButton.click()
        self.picture("slices-comparison")
        ui.compareButton.click()

    def fusion(self, data: Path, seconds: float) -> None:
        """One volume from three stacks."""
        import slicer

        ui, panel = self.ui, self.panel
        slicer.mrmlScene.Clear()
        head = brain(data)
        nodes = [add_node(stack, name) for name, stack in zip(STACKS, stacks_of(head), strict=True)]
        ui.inputSelector.setCurrentNode(nodes[0])
        ui.methodComboBox.setCurrentIndex(ui.methodComboBox.findData("fuse"))
        for selector, node in zip((ui.stack2Selector, ui.stack3Selector), nodes[1:], strict=True):
            selector.setCurrentNode(node)
        ui.referenceSelector.setCurrentNode(None)
        slicer.util.setSliceViewerLayers(background=nodes[0], fit=True, rotateToVolumePlane=True)
        self.only("inputsSection", "methodSection", "resultSection")
        self.picture("fusion-chosen")
        ui.applyButton.click()
        self.finish()
        if panel.lastSession.error is not None:
            raise panel.lastSession.error
        self.only("inputsSection", "resultSection")
        print(ui.summaryLabel.text, flush=True)
        self.picture("fusion-result")
        ui.orientationComboBox.setCurrentIndex(3)
        ui.compareButton.click()
        self.picture("fusion-comparison")
        ui.compareButton.click()

    def labels(self, data: Path, seconds: float) -> None:
        """A label map, and the button for it."""
        import numpy as np
        import slicer

        from mriforge.degrade import DegradeOptions, degrade
        from MRIForgeLib.nodes import grid_matrix

        slicer.mrmlScene.Clear()
        thick = degrade(brain(data), DegradeOptions(slice_thickness=THICK_MM, axis=2))
        level = np.percentile(thick.array, 99.5)
        found = (thick.array > 0.3 * level).astype(np.uint8) + (thick.array > 0.6 * level)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Tissue labels")
        slicer.util.updateVolumeFromArray(node, found)
        node.SetIJKToRASMatrix(grid_matrix(thick.grid))
        node.CreateDefaultDisplayNodes()
        self.ui.inputSelector.setCurrentNode(node)
        self.only("inputsSection", "methodSection", "resultSection")
        self.ui.labelsButton.click()
        self.finish()
        made = slicer.util.getNode("Tissue labels resampled")
        slicer.util.setSliceViewerLayers(label=made, fit=True, rotateToVolumePlane=True)
        self.picture("labels")

    def only(self, *names: str) -> None:
        """Open these sections and no others."""
        for name in vars(self.ui):
            if name.endswith("Section"):
                getattr(self.ui, name).collapsed = name not in names


def add_head(data: Path):
    """Twelve slices of the head, and its prior, as volume nodes."""
    import slicer
    from prior_guided import case

    from MRIForgeLib.nodes import grid_matrix

    nodes = []
    for name, volume in zip(("Head", "Planning scan"), case("brain", data), strict=True):
        first = SLICES.start if name == "Head" else SLICES.start - 1
        count = 12 if name == "Head" else 14
        shape = (*volume.grid.stored_shape[:2], count)
        grid = volume.grid.resampled(shape, volume.grid.spacing, (0, 0, first))
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, volume.array[first : first + count])
        node.SetIJKToRASMatrix(grid_matrix(grid))
        node.CreateDefaultDisplayNodes()
        nodes.append(node)
    return nodes


def with_palette(image: Image.Image) -> Image.Image:
    """The picture in 256 colors, a third of the size: grays for the images, the rest for maps."""
    import numpy as np

    array = np.asarray(image)
    span = array.max(axis=2) - array.min(axis=2)
    colored = array[span > 8]
    palette = np.linspace(0, 255, GRAYS).round().astype(np.uint8)[:, None].repeat(3, axis=1)
    if len(colored):
        # Each color counts once: a narrow color scale has as much right as a wide bar.
        few = Image.fromarray(np.unique(colored, axis=0)[None]).quantize(256 - GRAYS)
        found = np.array(few.getpalette(), np.uint8).reshape(-1, 3)[: 256 - GRAYS]
        palette = np.concatenate([palette, found])
    holder = Image.new("P", (1, 1))
    holder.putpalette(palette.ravel().tolist())
    return image.quantize(palette=holder, dither=Image.Dither.NONE)


def brain(data: Path):
    """A part of the head as a volume of the core."""
    import numpy as np

    from mriforge.io import read
    from mriforge.volume import Volume

    head = read(data / "brain3d" / "studyforrest02_T1w_0.67mm_defaced.nii.gz")
    array = np.ascontiguousarray(head.array[BRAIN], dtype=np.float32)
    first = tuple(float(part.start) for part in reversed(BRAIN))
    return Volume(array, head.grid.resampled(array.shape[::-1], head.grid.spacing, first))


def stacks_of(head) -> list:
    """Axial, coronal and sagittal stack; the headers of the last two are off by a motion."""
    import numpy as np

    from mriforge.degrade import DegradeOptions, degrade
    from mriforge.fusion.geometry import centre_of, moved_grid, rigid
    from mriforge.volume import Volume

    found = []
    for number, axis in enumerate((2, 1, 0)):
        options = DegradeOptions(slice_thickness=THICK_MM, axis=axis, noise=0.01, seed=number)
        stack = degrade(head, options)
        turn = np.radians((0.0, 1.5, -2.0)[number]) * np.array([0.6, 0.0, 0.8])
        shift = (0.0, 1.0, -1.5)[number] * np.array([1.0, 1.0, 0.0])
        motion = rigid(turn, shift, centre_of(stack.grid))
        found.append(Volume(stack.array, moved_grid(stack.grid, motion)))
    return found


def add_node(volume, name: str):
    """A volume of the core as a node."""
    import slicer

    from MRIForgeLib.nodes import grid_matrix

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, volume.array)
    node.SetIJKToRASMatrix(grid_matrix(volume.grid))
    node.CreateDefaultDisplayNodes()
    return node


if __name__ == "__main__":
    main()
