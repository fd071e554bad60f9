"""What the tests of the panels share: small images, and a user at the widgets."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "SuperResMRI" / "SuperResMRI.py"
DATA = Path(os.environ.get("MRIFORGE_SHARED_DATA", ROOT.parent / "shared" / "data"))


def head(shape=(6, 64, 64), phase=0.0, seed=1):
    """A smooth blob with edges and texture, ``(z, y, x)``."""
    _z, y, x = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) / 2
    radius = np.hypot(x / shape[2], y / shape[1])
    image = 100.0 * (radius < 0.45) + 60 * np.sin(x / 2.5 + phase) * np.cos(y / 3) * (radius < 0.4)
    return (image + 200 + np.random.default_rng(seed).normal(0, 2, shape)).astype(np.float32)


def add_volume(array, name, spacing=(2.0, 2.0, 4.0), oblique=False):
    """A scalar volume node, no stack of thick slices by itself; ``oblique`` turns it."""
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    matrix = vtk.vtkMatrix4x4()
    if oblique:
        transform = vtk.vtkTransform()
        transform.RotateX(20)
        transform.RotateZ(-35)
        matrix.DeepCopy(transform.GetMatrix())
    for axis, size in enumerate(spacing):
        for row in range(3):
            matrix.SetElement(row, axis, matrix.GetElement(row, axis) * size)
    for row, value in enumerate((11.0, -23.0, 37.0)):
        matrix.SetElement(row, 3, value)
    node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()
    return node


def add_series(arrays, name, times, unit="s", **geometry):
    """A sequence with its browser and the proxy volume; returns (sequence, browser, proxy)."""
    import slicer

    scene = slicer.mrmlScene
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName("time")
    sequence.SetIndexUnit(unit)
    for array, time_value in zip(arrays, times, strict=True):
        node = add_volume(array, f"{name} frame", **geometry)
        sequence.SetDataNodeAtValue(node, str(time_value))
        scene.RemoveNode(node)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return sequence, browser, browser.GetProxyNode(sequence)


def worker_processes():
    """Processes below this one that run the worker."""
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "mriforge.worker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def use_this_python(tmp_path, monkeypatch):
    """A PythonSlicer that is this Python, behind a launcher as Slicer's is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    launcher = folder / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return launcher


FELT_S = 0.3
"""Processor time in one go that a panel may take: three times what a user feels on a machine of
today, for machines that are slower. All the work of the runs that are tested is several times
more."""


class Blocking:
    """The most that this thread computed between two rounds of the event loop, in seconds.

    What other programs and the worker keep from the processor does not count.
    """

    clock = staticmethod(time.thread_time)

    def __init__(self):
        import qt

        self.worst, self.ticks, self._last = 0.0, 0, None
        self._timer = qt.QTimer()
        self._timer.interval = 5
        self._timer.connect("timeout()", self._tick)

    def __enter__(self):
        self._last = self.clock()
        self._timer.start()
        return self

    def __exit__(self, *error):
        self._timer.stop()

    def _tick(self):
        now = self.clock()
        self.worst = max(self.worst, now - self._last)
        self.ticks += 1
        self._last = now


def finish(panel, timeout_s=90):
    import host

    host.wait_until(lambda: panel.session is None, timeout_s)


def ids(scene):
    return sorted(
        scene.GetNthNode(i).GetID()
        for i in range(scene.GetNumberOfNodes())
        if not scene.GetNthNode(i).GetSingletonTag()
    )


def with_prior(panel):
    """An oblique image and a sharp prior of it, chosen by the widgets."""
    low = add_volume(head((6, 32, 32)), "scan", (4.0, 4.0, 5.0), oblique=True)
    prior = add_volume(head((6, 64, 64)), "prior", (2.0, 2.0, 5.0), oblique=True)
    panel.ui.inputSelector.setCurrentNode(low)
    panel.ui.priorSelector.setCurrentNode(prior)
    panel.ui.finetuneCheckBox.checked = True
    return low, prior
