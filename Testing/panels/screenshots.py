"""The pictures of the tutorial: the real panel and views, a real head, at 1366 x 768.

    python Testing/panels/screenshots.py DATA OUT [--seconds S]

DATA is the folder of real volumes (it holds ``brain3d/studyforrest02_T1w_0.67mm_defaced.nii.gz``, a
defaced head under PDDL). The prior is that head of "another day", simulated as in the benchmark
``prior_guided.py --case brain``. Writes OUT/superres-*.png.
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


def main() -> None:
    """Plays the tutorial and takes a picture of each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="of fine-tuning in the picture")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        launcher = Path(folder) / "PythonSlicer"
        launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\n')
        launcher.chmod(0o755)
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        os.environ["XDG_DATA_HOME"] = folder
        Tutorial(arguments.out).play(arguments.data, arguments.seconds)


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
        if name == "comparison":  # its color scales need more than a palette
            return
        # A palette is enough for grey images and a panel, and a third of the size.
        Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path)

    def finish(self) -> None:
        self.host.wait_until(lambda: self.panel.session is None, 900)

    def play(self, data: Path, seconds: float) -> None:
        import slicer

        ui = self.ui
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


if __name__ == "__main__":
    main()
