"""The pictures of MTMRIRecon's tutorial: the real panel on a simulated subject, at 1366 x 768.

    python Testing/panels/screenshots_recon.py OUT [--matrix 160] [--inversions 24] [--rank 32]
        [--folder /data/Multitasking]

Writes OUT/mtmrirecon-*.png. With the defaults the reconstruction takes some minutes.
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
sys.path[:0] = [str(ROOT), str(HERE.parent), str(HERE)]

from screenshots import with_palette  # noqa: E402


def main() -> None:
    """Plays the tutorial and takes a picture of each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--matrix", type=int, default=160)
    parser.add_argument("--inversions", type=int, default=24)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--folder", type=Path, help="of the results, as the pictures show it")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        launcher = Path(folder) / "PythonSlicer"
        launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\n')
        launcher.chmod(0o755)
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        os.environ["XDG_DATA_HOME"] = folder
        play(arguments, arguments.folder or Path(folder) / "Multitasking")


def play(arguments: argparse.Namespace, folder: Path) -> None:
    """From a subject to its T1."""
    import host
    import slicer

    host.start()
    host.load_module(ROOT / "MTMRIRecon" / "MTMRIRecon.py")
    panel = host.open_module("MTMRIRecon").self()
    ui = panel.ui

    def picture(name: str) -> None:
        host.process_events(0.4)
        path = arguments.out / f"mtmrirecon-{name}.png"
        host.grab(None, str(path))
        with_palette(Image.open(path).convert("RGB")).save(path, optimize=True)
        print(path.name, flush=True)

    def only(*names: str) -> None:
        for name in vars(ui):
            if name.endswith("Section"):
                getattr(ui, name).collapsed = name not in names

    picture("open")
    only("dataSection", "methodSection")
    ui.sourceComboBox.setCurrentIndex(1)
    ui.folderPathLineEdit.currentPath = str(folder)
    ui.rankSpinBox.value = arguments.rank
    picture("chosen")
    raw = simulated(panel, arguments, folder)
    ui.sourceComboBox.setCurrentIndex(0)
    ui.rawPathLineEdit.currentPath = str(raw)
    only("resultSection")
    ui.applyButton.click()
    host.wait_until(lambda: "iteration 5" in ui.statusLabel.text, 1800)
    picture("running")
    host.wait_until(lambda: panel.session is None, 1800)
    if panel.lastSession.error is not None:
        raise panel.lastSession.error
    picture("result")
    only("framesSection")
    ui.cardiacSlider.value, ui.inversionSlider.value = 9, ui.inversionSlider.maximum // 8
    ui.showFramesButton.click()
    picture("images")
    only("t1Section")
    ui.otherSelector.setCurrentNode(slicer.util.getNode("* true T1"))
    ui.regionsSelector.setCurrentNode(slicer.util.getNode("* tissues"))
    ui.showT1Button.click()
    ui.regionsButton.click()
    ui.agreementButton.click()
    picture("t1")


def simulated(panel, arguments: argparse.Namespace, folder: Path) -> Path:
    """The raw data of a subject, whose truth is in the scene."""
    from MRIForgeLib.recon.tasks import SimulateTask
    from MRIForgeLib.recon.wishes import ReconWishes, Source
    from MRIForgeLib.run import Run

    settings = {"matrix": arguments.matrix, "inversions": arguments.inversions}
    wishes = ReconWishes(Source.SIMULATED, seed=1, folder=str(folder), simulation=settings)
    task = SimulateTask(wishes)
    Run(task).wait()
    return task.raw


if __name__ == "__main__":
    main()
