"""The pictures of ALAMOSegment's page: the real panel on a simulated torso, at 1366 x 768.

    python Testing/panels/screenshots_segment.py OUT [--model NAME] [--spacing 3] [--image FILE]

Writes OUT/alamosegment-*.png. The torso is one that no shipped model was trained on (its seed), or
the image in FILE.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent), str(HERE), str(HERE.parent / "adapter")]

SEED = 990_001
BREATH_S = 4.0
DEEPEST = 0.8


def main() -> None:
    """Plays the page and takes a picture of each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="", help="name or folder; default: the panel's")
    parser.add_argument("--spacing", type=float, default=3.0)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--image", type=Path, help="outline this instead of a simulated torso")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        launcher = Path(folder) / "PythonSlicer"
        launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\n')
        launcher.chmod(0o755)
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        os.environ["XDG_DATA_HOME"] = folder
        if arguments.model and Path(arguments.model).is_dir():
            os.environ["MRIFORGE_MODELS"] = str(Path(arguments.model).resolve().parent)
        Page(arguments).play()


class Page:
    """The steps, in the order of the page."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        import host

        self.host, self.arguments = host, arguments
        host.start()
        host.load_module(ROOT / "ALAMOSegment" / "ALAMOSegment.py")
        self.panel = host.open_module("ALAMOSegment").self()
        self.ui = self.panel.ui

    def picture(self, name: str) -> None:
        """One picture of the whole window."""
        self.host.process_events(0.5)
        path = self.arguments.out / f"alamosegment-{name}.png"
        self.host.grab(None, str(path))
        # All colors: organs and shaded surfaces have more than a palette holds.
        Image.open(path).convert("RGB").save(path, optimize=True)
        print(path.name, flush=True)

    def only(self, *names: str) -> None:
        """Open these sections and no others."""
        for name in vars(self.ui):
            if name.endswith("Section"):
                getattr(self.ui, name).collapsed = name not in names

    def apply(self) -> None:
        """Press Apply and wait for the end."""
        self.ui.applyButton.click()
        self.host.wait_until(lambda: self.panel.session is None, 3600)
        if self.panel.lastSession.error is not None:
            raise self.panel.lastSession.error
        print(self.ui.summaryLabel.text, flush=True)

    def play(self) -> None:
        """All pictures."""
        import slicer

        ui = self.ui
        if self.arguments.model:
            self.panel._parameterNode.model = Path(self.arguments.model).name
        image = self.image()
        ui.inputSelector.setCurrentNode(image)
        slicer.util.setSliceViewerLayers(background=image, fit=True)
        self.only("inputsSection", "methodSection", "advancedSection")
        self.picture("chosen")
        self.only("inputsSection", "methodSection", "resultSection")
        self.apply()
        self.only("resultSection")
        self.picture("result")
        ui.disagreementCheckBox.click()
        self.picture("disagreement")
        ui.disagreementCheckBox.click()
        self.cases(image)
        self.series()

    def image(self):
        """The volume to outline, as a node."""
        if self.arguments.image:
            import slicer

            return slicer.util.loadVolume(str(self.arguments.image))
        return add_node(torso(SEED, self.arguments.spacing, 0.2), "Abdomen")

    def cases(self, image) -> None:
        """Fine-tuning, before it begins."""
        ui = self.ui
        self.only("tuningSection")
        ui.caseImageSelector.setCurrentNode(image)
        ui.caseLabelsSelector.setCurrentNode(ui.segmentationSelector.currentNode())
        ui.addCaseButton.click()
        ui.modelNameLineEdit.text = "our scanner"
        self.picture("tuning")

    def series(self) -> None:
        """Organ volumes while a torso breathes."""
        import slicer

        slicer.mrmlScene.Clear()
        count = self.arguments.frames
        breath = DEEPEST * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(count) / count))
        frames = [torso(SEED, self.arguments.spacing, value) for value in breath]
        times = BREATH_S * np.arange(count) / count
        node = add_series(frames, times, "Breathing")
        self.ui.inputSelector.setCurrentNode(node)
        self.only("inputsSection", "methodSection", "resultSection")
        self.apply()
        self.only("resultSection")
        self.ui.show3DButton.click()
        self.host.process_events(2.0)
        bar = self.scroll_bar()
        bar.setValue(bar.maximum)
        self.picture("series")

    def scroll_bar(self):
        """Of the module panel."""
        import slicer

        area = slicer.util.findChild(slicer.util.mainWindow(), "ModulePanelScrollArea")
        return area.verticalScrollBar()


def torso(seed: int, spacing: float, breath: float):
    """A simulated image of a simulated torso; the same contrast for every breath."""
    from mriforge.phantoms.abdomen import draw
    from mriforge.synthesis import render

    return render(draw(seed, spacing=spacing, breath=breath), np.random.default_rng(seed))


def add_node(volume, name: str):
    """A volume of the core as a node."""
    import slicer

    from MRIForgeLib.nodes import grid_matrix

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, volume.array)
    node.SetIJKToRASMatrix(grid_matrix(volume.grid))
    node.CreateDefaultDisplayNodes()
    return node


def add_series(volumes, times, name: str):
    """Volumes of the core as a sequence; its proxy."""
    import slicer

    scene = slicer.mrmlScene
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for volume, value in zip(volumes, times, strict=True):
        node = add_node(volume, name)
        sequence.SetDataNodeAtValue(node, f"{value:.3g}")
        scene.RemoveNode(node)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser.GetProxyNode(sequence)


if __name__ == "__main__":
    main()
