"""The part of a panel that browses a reconstruction: three sliders, playback, export of a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from mriforge.factors import AXES
from MRIForgeLib.display import show_volume
from MRIForgeLib.recon.frames import FACTORS, MAGNITUDE, PHASE, Frames, Position, frames_of
from MRIForgeLib.recon.lines import LineTask, axis_titles


class FramesSection:
    """Connects the sliders, the check box of the phase, the playback and the export.

    A move of a slider is remembered and carried out when the event loop is free: however fast the
    user drags, there is never more than one image waiting.

    Args:
        ui: the panel's widgets by name.
        start: starts a task.
    """

    def __init__(self, ui: Any, start: Callable[[LineTask], None]) -> None:
        self.ui, self.start = ui, start
        self.frames: Frames | None = None
        self.sliders = {axis: getattr(ui, f"{axis}Slider") for axis in AXES}
        self.free = True
        self._filling = False
        self._mover, self._player = qt.QTimer(), qt.QTimer()
        self._mover.setSingleShot(True)
        self._mover.setInterval(0)
        self._mover.connect("timeout()", self._move)
        self._player.connect("timeout()", self._advance)
        ui.framesSelector.addAttribute("vtkMRMLScalarVolumeNode", FACTORS)
        for axis, title in axis_titles().items():
            ui.axisComboBox.addItem(title[:1].upper() + title[1:], axis)
        for slider in self.sliders.values():
            slider.connect("valueChanged(double)", self._wish)
        ui.phaseCheckBox.connect("toggled(bool)", self._wish)
        ui.playButton.connect("toggled(bool)", self._play)
        ui.rateSpinBox.connect("valueChanged(int)", self._set_rate)
        ui.showFramesButton.connect("clicked(bool)", self._show_in_views)
        ui.exportButton.connect("clicked(bool)", self._export)
        self._set_rate(ui.rateSpinBox.value)
        self.select(None)

    @property
    def axis(self) -> str:
        """The axis that is played or exported."""
        return self.ui.axisComboBox.currentData

    def select(self, node: Any) -> None:
        """Browses another volume; nothing happens if it is the same."""
        known = self.frames.node if self.frames is not None and self.frames.alive else None
        if node is not None and node is known:
            return
        self.forget()
        if node is None:
            self.ui.framesInfoLabel.text = _("Reconstruct something, or open an earlier result.")
            return
        try:
            self.frames = frames_of(node)
        except BadInput as error:
            self.ui.framesInfoLabel.text = error.one_line()
            return
        self._fill()
        self._allow()

    def forget(self) -> None:
        """Nothing to browse any more."""
        self.ui.playButton.checked = False
        self._mover.stop()
        self.frames = None
        self._allow()

    def allow(self, free: bool) -> None:
        """Enables the export when nothing runs."""
        self.free = free
        self._allow()

    def close(self) -> None:
        """The panel goes."""
        self._mover.stop()
        self._player.stop()

    def _allow(self) -> None:
        ui, there = self.ui, self.frames is not None
        for widget in (
            *self.sliders.values(),
            ui.phaseCheckBox,
            ui.playButton,
            ui.showFramesButton,
        ):
            widget.enabled = there
        ui.exportButton.enabled = there and self.free
        if not there:
            ui.inversionTimeLabel.text = ""

    def _fill(self) -> None:
        """The ranges and positions of the sliders."""
        frames = self.frames
        self._filling = True
        for (axis, slider), count in zip(self.sliders.items(), frames.factors.bins, strict=True):
            slider.minimum, slider.maximum = 1, count
            slider.value = frames.position[axis] + 1
        self.ui.phaseCheckBox.checked = frames.part == PHASE
        self._filling = False
        factors = frames.factors
        self.ui.framesInfoLabel.text = _("{frames} images from {rank} components").format(
            frames=f"{factors.frames:,}", rank=factors.rank
        )
        self._say_time()

    def _say_time(self) -> None:
        time = 1000.0 * self.frames.factors.inversion_times_s[self.frames.position.inversion]
        self.ui.inversionTimeLabel.text = _("{time} ms after the inversion").format(
            time=f"{time:.0f}"
        )

    def _wish(self, value: Any = None) -> None:
        """A slider or the check box was changed."""
        if not self._filling and not self._mover.active:
            self._mover.start()

    def _move(self) -> None:
        """Shows what the widgets say."""
        if self.frames is None:
            return
        if not self.frames.alive:
            self.forget()
            return
        numbers = {axis: round(slider.value) - 1 for axis, slider in self.sliders.items()}
        part = PHASE if self.ui.phaseCheckBox.checked else MAGNITUDE
        self.frames.show(Position(**numbers), part)
        self._say_time()

    def _play(self, checked: bool) -> None:
        self.ui.playButton.text = _("Stop") if checked else _("Play")
        if not checked:
            self._player.stop()
            return
        slider = self.sliders[self.axis]
        if slider.value >= slider.maximum:
            slider.value = slider.minimum
        self._player.start()

    def _set_rate(self, frames_per_second: int) -> None:
        self._player.setInterval(max(1, round(1000 / frames_per_second)))

    def _advance(self) -> None:
        """One image further; the timer skips beats when images take longer."""
        slider = self.sliders[self.axis]
        if slider.value < slider.maximum:
            slider.value = slider.value + 1
        elif self.ui.loopCheckBox.checked:
            slider.value = slider.minimum
        else:
            self.ui.playButton.checked = False

    def _show_in_views(self, checked: bool = False) -> None:
        if self.frames is not None and self.frames.alive:
            show_volume(self.frames.node, fit=True)

    def _export(self, checked: bool = False) -> None:
        if self.frames is not None and self.frames.alive:
            self._move()
            step = self.ui.exportStepSpinBox.value
            self.start(LineTask(self.frames, self.axis, self.frames.position, step))
