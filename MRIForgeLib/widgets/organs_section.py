"""The part of a panel that shows a segmentation: its organs as a list, in slices and in 3-D."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MRIForgeLib.display import is_in_scene, show_volume
from MRIForgeLib.segments import SegmentRow, go_to_segment, keep_looks, segment_rows, show_segment
from MRIForgeLib.surfaces import has_surfaces, surface_steps
from MRIForgeLib.tasks import Steps

_ORGAN, _VOLUME = range(2)
_SWATCH = 12
_ROW_HEIGHT = 22
_WAIT_MS = 40


class OrgansSection:
    """Connects ``organsTable``, ``showButton`` and ``show3DButton`` of a panel.

    The list follows the segmentation: what is edited, renamed or hidden elsewhere is seen here.
    What comes quickly one after the other, as when a sequence plays, is shown once.

    Args:
        ui: the panel's widgets by name.
        changed: called when another segmentation, or another state of it, is shown.
    """

    def __init__(self, ui: Any, changed: Callable[[], None] = lambda: None) -> None:
        self.ui, self.changed = ui, changed
        self.node: Any = None
        self._rows: list[SegmentRow] = []
        self._filling = self._wanted = self._to_center = False
        self._observers: list[tuple[Any, int]] = []
        self._steps: Steps[None] | None = None
        self._refresher, self._maker = qt.QTimer(), qt.QTimer()
        self._refresher.setSingleShot(True)
        self._refresher.setInterval(_WAIT_MS)
        self._refresher.connect("timeout()", self.refresh)
        self._maker.setInterval(0)
        self._maker.connect("timeout()", self._make_one)
        table = ui.organsTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Organ"), _("Volume (ml)")])
        table.horizontalHeader().setSectionResizeMode(_ORGAN, qt.QHeaderView.Stretch)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT)
        table.connect("cellChanged(int,int)", self._check)
        table.connect("cellClicked(int,int)", self._go)
        ui.showButton.connect("clicked(bool)", lambda checked: self.show_in_views())
        ui.show3DButton.connect("toggled(bool)", self.show_in_3d)
        self.refresh()

    @property
    def image(self) -> Any:
        """The volume that the segmentation belongs to; None: there is none any more."""
        if not is_in_scene(self.node):
            return None
        return self.node.GetNodeReference(self.node.GetReferenceImageGeometryReferenceRole())

    def select(self, node: Any) -> None:
        """Shows another segmentation, or none."""
        if node is self.node:
            return
        self._stop_making()
        self._wanted = False
        for sender, tag in self._observers:
            sender.RemoveObserver(tag)
        self._observers.clear()
        self.node = node
        if node is not None:
            self._observe(node)
        self.refresh()

    def forget(self) -> None:
        """Nothing to show any more."""
        self.select(None)

    def close(self) -> None:
        """The panel goes."""
        self.forget()
        self._refresher.stop()

    def refresh(self) -> None:
        """The list as the segmentation is now."""
        self._refresher.stop()
        rows = segment_rows(self.node)
        if rows != self._rows:
            self._rows = rows
            self._fill()
        there = bool(rows)
        self.ui.organsTable.setVisible(there)
        self.ui.showButton.enabled = there
        self.ui.show3DButton.enabled = there
        if self._wanted and there and self._steps is None and not has_surfaces(self.node):
            self._begin_making()  # another frame of a sequence, or an edit
        elif self._steps is None:
            self._wanted = there and self._is_in_3d()
            self._set_checked(self._wanted)
        self.changed()

    def show_in_views(self) -> None:
        """The image, and the segmentation over it; in 3-D too if its surfaces are there."""
        if not is_in_scene(self.node):
            return
        self._display().SetVisibility(True)
        if self.image is not None:
            show_volume(self.image, fit=True)
        if has_surfaces(self.node):
            self.show_in_3d()

    def show_in_3d(self, shown: bool = True) -> None:
        """Shows or hides the surfaces, which are made first where they are missing."""
        self._stop_making()
        self._wanted = shown and is_in_scene(self.node)
        if not is_in_scene(self.node):
            return
        self._to_center = shown
        if not shown:
            self._display().SetVisibility3D(False)
        elif has_surfaces(self.node):
            self._appear()
        else:
            self._begin_making()
        self._set_checked(shown)

    # Surfaces

    def _begin_making(self) -> None:
        self.ui.show3DButton.text = _("Making surfaces...")
        self._steps = surface_steps(self.node)
        self._maker.start()

    def _make_one(self) -> None:
        """One surface more."""
        try:
            next(self._steps)
        except StopIteration:
            self._stop_making()
            self._wanted = is_in_scene(self.node) and has_surfaces(self.node)
            if self._wanted:
                self._appear()

    def _appear(self) -> None:
        display = self._display()
        display.SetVisibility(True)
        display.SetVisibility3D(True)
        manager = slicer.app.layoutManager() if self._to_center else None
        self._to_center = False
        for number in range(manager.threeDViewCount if manager is not None else 0):
            _center(manager.threeDWidget(number).threeDView())

    def _stop_making(self) -> None:
        self._maker.stop()
        self._steps = None
        self.ui.show3DButton.text = _("Show in 3-D")

    def _is_in_3d(self) -> bool:
        display = self.node.GetDisplayNode()
        return (
            display is not None
            and bool(display.GetVisibility() and display.GetVisibility3D())
            and has_surfaces(self.node)
        )

    def _set_checked(self, checked: bool) -> None:
        button = self.ui.show3DButton
        blocked = button.blockSignals(True)
        button.checked = checked
        button.blockSignals(blocked)

    # The list

    def _fill(self) -> None:
        table = self.ui.organsTable
        self._filling = True
        table.setRowCount(len(self._rows))
        for line, row in enumerate(self._rows):
            organ = qt.QTableWidgetItem(row.name)
            organ.setIcon(_swatch(row.color))
            organ.setCheckState(qt.Qt.Checked if row.shown else qt.Qt.Unchecked)
            volume = qt.QTableWidgetItem(f"{row.ml:.1f}" if row.ml > 0 else _("not found"))
            volume.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            table.setItem(line, _ORGAN, organ)
            table.setItem(line, _VOLUME, volume)
        self._filling = False

    def _check(self, line: int, column: int) -> None:
        """The check box of a line was clicked."""
        if self._filling or column != _ORGAN or not is_in_scene(self.node):
            return
        shown = self.ui.organsTable.item(line, column).checkState() == qt.Qt.Checked
        show_segment(self.node, self._rows[line].identity, shown)

    def _go(self, line: int, column: int) -> None:
        if is_in_scene(self.node) and line < len(self._rows):
            go_to_segment(self.node, self._rows[line].identity)

    # The segmentation

    def _display(self) -> Any:
        if self.node.GetDisplayNode() is None:
            self.node.CreateDefaultDisplayNodes()
        return self.node.GetDisplayNode()

    def _observe(self, node: Any) -> None:
        self._observers += keep_looks(node)  # a sequence from a file, which nobody watches yet
        kinds = slicer.vtkSegmentation
        for event in (
            "ModifiedEvent",
            kinds.SegmentAdded,
            kinds.SegmentRemoved,
            kinds.SegmentModified,
            kinds.SourceRepresentationModified,
            slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent,
        ):
            self._observers.append((node, node.AddObserver(event, self._wake)))

    def _wake(self, caller: Any, event: Any) -> None:
        if not self._refresher.active:
            self._refresher.start()


def _swatch(color: tuple[float, float, float]) -> Any:
    """A small square in a color."""
    pixmap = qt.QPixmap(_SWATCH, _SWATCH)
    pixmap.fill(qt.QColor(*(round(255 * band) for band in color)))
    return qt.QIcon(pixmap)


def _center(view: Any) -> None:
    """The whole of what a 3-D view shows, from where it is looked at; without the box around it."""
    view.resetFocalPoint()
    node = view.mrmlViewNode()
    box, labels = node.GetBoxVisible(), node.GetAxisLabelsVisible()
    node.SetBoxVisible(False)
    node.SetAxisLabelsVisible(False)
    view.resetCamera(False, True, True)
    node.SetBoxVisible(box)
    node.SetAxisLabelsVisible(labels)
