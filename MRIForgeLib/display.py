"""How the images of a comparison are shown: one gray window for all, maps in color, legends.

Everything that is changed on somebody else's display node is remembered first; see
:class:`DisplayMemory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import slicer
from slicer.i18n import tr as _

from MRIForgeLib.sequences import sequence_of

SSIM_COLORS = "vtkMRMLColorTableNodeFileViridis.txt"
DIFFERENCE_COLORS = "vtkMRMLColorTableNodeFileDivergingBlueRed.txt"
RESIDUAL_COLORS = "vtkMRMLColorTableNodeFileInferno.txt"

_SAMPLES = 400_000
"""Voxels of one frame that are looked at to find a window: enough for a tenth of a percent."""
_FRAMES = 8
_LOWEST, _HIGHEST = 0.5, 99.7
_LARGEST_DIFFERENCE = 99.5
_OTHER_UNITS = 4.0


def is_in_scene(node: slicer.vtkMRMLNode | None) -> bool:
    """Whether a node still belongs to a scene; deleted nodes stay as Python objects."""
    return node is not None and node.GetScene() is not None


def scalar_display(node: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLNode | None:
    """The display node with the window of a volume, made if there is none; None for labels."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    return display if display and display.IsA("vtkMRMLScalarVolumeDisplayNode") else None


def sampled(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Finite voxels of a volume, or of some frames of its sequence; one axis, any order."""
    source = sequence_of(node)
    volumes = [node]
    if source is not None and source.sequence.GetNumberOfDataNodes() > 1:
        count = source.sequence.GetNumberOfDataNodes()
        numbers = np.unique(np.linspace(0, count - 1, _FRAMES).round().astype(int))
        volumes = [source.sequence.GetNthDataNode(int(number)) for number in numbers]
    parts = []
    for volume in volumes:
        if volume is None or volume.GetImageData() is None:
            continue
        voxels = slicer.util.arrayFromVolume(volume)
        step = max(1, round((voxels.size / _SAMPLES) ** (1 / 3)))
        part = voxels[::step, ::step, ::step].ravel()
        parts.append(part[np.isfinite(part)])
    return np.concatenate(parts) if parts else np.zeros(0)


def gray_window(node: slicer.vtkMRMLVolumeNode) -> tuple[float, float] | None:
    """Darkest and brightest value worth showing, in the image's units; None for a flat image."""
    voxels = sampled(node)
    if voxels.size == 0:
        return None
    low, high = (float(v) for v in np.percentile(voxels, (_LOWEST, _HIGHEST)))
    if not high > low:
        low, high = float(voxels.min()), float(voxels.max())
    return (low, high) if high > low else None


def difference_limit(node: slicer.vtkMRMLVolumeNode) -> float:
    """What a difference map is shown up to, either side of zero, in the map's units.

    The 99.5th percentile of the absolute difference, so that single voxels do not hide the rest.
    """
    voxels = np.abs(sampled(node))
    if voxels.size == 0:
        return 1.0
    limit = float(np.percentile(voxels, _LARGEST_DIFFERENCE)) or float(voxels.max())
    return limit if limit > 0 else 1.0


@dataclass
class DisplayMemory:
    """What display nodes were like before a comparison, to put it back."""

    _kept: dict[str, tuple] = field(default_factory=dict)
    _legends: list[slicer.vtkMRMLNode] = field(default_factory=list)

    def keep(self, display: slicer.vtkMRMLNode) -> None:
        """Remembers a display node as it is now; the first time counts."""
        if display.GetID() in self._kept:
            return
        color = display.GetColorNodeID()
        state = (
            bool(display.GetAutoWindowLevel()),
            display.GetWindow(),
            display.GetLevel(),
            display.GetInterpolate(),
            color,
        )
        self._kept[display.GetID()] = (display, state)

    def keep_legend(self, legend: slicer.vtkMRMLNode) -> None:
        """Remembers that a color legend was added, to take it away again."""
        self._legends.append(legend)

    def restore(self) -> None:
        """Puts everything back that still exists."""
        for display, (automatic, window, level, interpolate, color) in self._kept.values():
            if not is_in_scene(display):
                continue
            blocked = display.StartModify()
            display.SetWindowLevel(window, level)
            display.SetAutoWindowLevel(automatic)
            display.SetInterpolate(interpolate)
            if color != display.GetColorNodeID():
                display.SetAndObserveColorNodeID(color)
            display.EndModify(blocked)
        for legend in self._legends:
            if is_in_scene(legend):
                legend.GetScene().RemoveNode(legend)
        self._kept.clear()
        self._legends.clear()


def same_window(nodes: Sequence[slicer.vtkMRMLVolumeNode], memory: DisplayMemory) -> None:
    """Gives all images the window of the first that has one.

    An image in quite other units (its own window ends at less than a quarter or at more than four
    times of the common one) would be black or white; it gets its own window.
    """
    common = None
    for node in nodes:
        own, display = gray_window(node), scalar_display(node)
        if own is None or display is None:
            continue
        common = common or own
        ratio = own[1] / common[1] if common[1] else 1.0
        chosen = common if 1 / _OTHER_UNITS <= ratio <= _OTHER_UNITS else own
        memory.keep(display)
        set_window(display, *chosen)


def show_voxels(node: slicer.vtkMRMLVolumeNode, memory: DisplayMemory) -> None:
    """Shows true voxels: a smoothed low-resolution image looks better than what was measured."""
    display = scalar_display(node)
    if display is not None:
        memory.keep(display)
        display.InterpolateOff()


def style_ssim(node: slicer.vtkMRMLVolumeNode, memory: DisplayMemory | None = None) -> None:
    """Colors of an SSIM map, always from 0 to 1: maps of different runs can be compared."""
    style_map(node, SSIM_COLORS, (0.0, 1.0), memory)


def style_difference(
    node: slicer.vtkMRMLVolumeNode,
    limit: float | None = None,
    memory: DisplayMemory | None = None,
) -> None:
    """Colors of a difference map: white is no difference, red is more than the reference.

    Args:
        limit: largest difference to tell apart, in the map's units; default
            :func:`difference_limit`.
        memory: remembers how the map was shown before.
    """
    limit = difference_limit(node) if limit is None else abs(limit)
    style_map(node, DIFFERENCE_COLORS, (-limit, limit), memory)


def style_residuals(
    nodes: Sequence[slicer.vtkMRMLVolumeNode], memory: DisplayMemory | None = None
) -> None:
    """Colors of maps of what is not explained: black is nothing; one scale for all of them.

    Args:
        memory: remembers how the maps were shown before.
    """
    limit = max((difference_limit(node) for node in nodes), default=1.0)
    for node in nodes:
        style_map(node, RESIDUAL_COLORS, (0.0, limit), memory)


def add_legend(
    node: slicer.vtkMRMLVolumeNode, role: str, memory: DisplayMemory | None = None
) -> slicer.vtkMRMLNode | None:
    """Adds the color legend of a map, if it has none; returns it.

    Args:
        role: "ssim", "difference", "residual", "disagreement", "uncertainty", "t1" or "t1_quality".
        memory: remembers that the legend was added, to take it away again.
    """
    if scalar_display(node) is None:
        return None
    logic = slicer.modules.colors.logic()
    legend = logic.GetColorLegendDisplayNode(node)
    if legend is not None:
        return legend  # the user may have styled it
    legend = logic.AddDefaultColorLegendDisplayNode(node)
    if memory is not None:
        memory.keep_legend(legend)
    title, form, count = {
        "ssim": (_("SSIM"), "%.1f", 6),
        "difference": (_("Difference"), "%.3g", 5),
        "residual": (_("Residual"), "%.3g", 5),
        "disagreement": (_("Disagreement"), "%.1f", 6),
        "uncertainty": (_("Uncertainty (±)"), "%.3g", 5),
        "t1": (_("T1 (ms)"), "%.0f", 6),
        "t1_quality": (_("Fit quality"), "%.2f", 5),
    }[role]
    blocked = legend.StartModify()
    legend.SetTitleText(title)
    legend.SetLabelFormat(form)
    legend.SetNumberOfLabels(count)
    # Small enough for a view of 300 pixels, and not over the middle of the image.
    legend.SetSize(0.14, 0.45)
    legend.SetPosition(0.97, 0.5)
    legend.SetVisibility3D(False)
    # Maps are bright, and where there is little room the legend lies over them.
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetBackgroundColor(0.0, 0.0, 0.0)
        text.SetBackgroundOpacity(0.6)
    legend.EndModify(blocked)
    return legend


def style_map(
    node: slicer.vtkMRMLVolumeNode,
    colors: str,
    values: tuple[float, float],
    memory: DisplayMemory | None = None,
) -> None:
    """Shows a map in the color table of ID ``colors``, from the first to the second value."""
    display = scalar_display(node)
    if display is None:
        return
    if memory is not None:
        memory.keep(display)
    blocked = display.StartModify()
    if node.GetScene() and node.GetScene().GetNodeByID(colors):
        display.SetAndObserveColorNodeID(colors)
    set_window(display, *values)
    display.EndModify(blocked)


def set_window(display: slicer.vtkMRMLNode, low: float, high: float) -> None:
    """Black at ``low`` and white at ``high``, whatever the voxels are."""
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, high)


def show_volume(node: slicer.vtkMRMLVolumeNode, fit: bool = False) -> None:
    """Shows a volume in the slice views that take what is selected; comparisons stay.

    Args:
        fit: also center the views on it.
    """
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetActiveVolumeID(node.GetID())
    logic.PropagateVolumeSelection(int(fit))
    # Legends look at what their view shows only when they change themselves.
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        legend.Modified()
