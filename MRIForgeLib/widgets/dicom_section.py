"""The button of a panel that exports a segmentation as a DICOM object, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MRIForgeLib.display import is_in_scene
from MRIForgeLib.segment.dicom_seg import why_not

_ENDING = ".dcm"


class DicomSection:
    """Connects ``exportButton`` and ``exportLabel``.

    Args:
        ui: the panel's widgets by name.
        start: gets the segmentation and the file to write.
    """

    def __init__(self, ui: Any, start: Callable[[Any, Path], None]) -> None:
        self.ui, self.start = ui, start
        self._segmentation: Any = None
        self._reason, self._free = "", True
        ui.exportButton.connect("clicked(bool)", self._ask)
        self.judge(None)

    def judge(self, segmentation: Any) -> None:
        """Finds out whether ``segmentation``, as it is now, can be exported."""
        self._segmentation = segmentation
        self._reason = why_not(segmentation) if is_in_scene(segmentation) else ""
        self.ui.exportLabel.text = self._reason
        self.ui.exportLabel.setVisible(bool(self._reason))
        self.allow(self._free)

    def allow(self, free: bool) -> None:
        """Enables the button when nothing runs and nothing is in the way."""
        self._free = free
        there = is_in_scene(self._segmentation)
        self.ui.exportButton.enabled = free and there and not self._reason

    def _ask(self, checked: bool = False) -> None:
        """Where to, then the export."""
        name = self._segmentation.GetName() + _ENDING
        file = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(),
            _("Export as DICOM SEG"),
            str(Path(slicer.app.defaultScenePath or "") / name),
            _("DICOM segmentation (*.dcm)"),
        )
        if file:
            path = Path(file)
            self.start(self._segmentation, path if path.suffix else path.with_suffix(_ENDING))
