"""T1 maps: their colors, and what they say about regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from mriforge.errors import BadInput
from MRIForgeLib.display import add_legend, style_map
from MRIForgeLib.figures import number_column, set_columns, text_column
from MRIForgeLib.nodes import grid_of, volume_from_node
from MRIForgeLib.placing import LABELS

COLORS = "MRIForgeT1"
"""Singleton tag of the color table of T1 maps."""
SHOWN_MS = (0.0, 2500.0)
"""The same for all maps, so that they can be compared: blood at 3 T is just below its end."""
QUALITY_COLORS = "vtkMRMLColorTableNodeFileViridis.txt"
SEGMENTATION = "vtkMRMLSegmentationNode"

_COUNT = 256
# Dark blue over violet and orange to pale yellow, ever lighter. (position, red, green, blue)
_STOPS = (
    (0.00, 0.02, 0.06, 0.18),
    (0.20, 0.15, 0.18, 0.45),
    (0.40, 0.44, 0.26, 0.52),
    (0.60, 0.76, 0.38, 0.42),
    (0.80, 0.92, 0.62, 0.38),
    (1.00, 0.99, 0.95, 0.78),
)


def t1_colors() -> np.ndarray:
    """``(256, 3)`` red, green, blue from 0 to 1; the first is black: nothing was measured."""
    stops = np.array(_STOPS)
    at = np.linspace(0.0, 1.0, _COUNT)
    colors = np.stack([np.interp(at, stops[:, 0], stops[:, band]) for band in (1, 2, 3)], axis=1)
    colors[0] = 0.0
    return colors


def color_node(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """The color table of T1 maps in a scene, made when first needed.

    Closing a scene keeps singletons but empties them, so that they are filled again.
    """
    node = scene.GetSingletonNode(COLORS, "vtkMRMLColorTableNode")
    if node is None:
        node = slicer.vtkMRMLColorTableNode()
        node.SetSingletonTag(COLORS)
        _fill(node)
        return scene.AddNode(node)
    color = [0.0] * 4
    node.GetColor(_COUNT - 1, color)
    if node.GetNumberOfColors() != _COUNT or not np.allclose(color[:3], _STOPS[-1][1:], atol=0.01):
        _fill(node)
    return node


def _fill(node: slicer.vtkMRMLColorTableNode) -> None:
    node.SetTypeToUser()
    node.SetName(_("T1"))
    node.SetNumberOfColors(_COUNT)
    node.GetLookupTable().SetTableRange(0, _COUNT - 1)
    for number, color in enumerate(t1_colors()):
        node.SetColor(number, str(number), *(float(band) for band in color))
    node.SetAttribute("Category", "MRIForge")


def style_t1(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Colors and legend of a T1 map in ms."""
    style_map(node, color_node(node.GetScene()).GetID(), SHOWN_MS)
    add_legend(node, "t1")


def style_quality(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Colors of a map of fit quality: 1 is a perfect fit. The legend is left to the T1 map."""
    style_map(node, QUALITY_COLORS, (0.0, 1.0))


@dataclass(frozen=True)
class Region:
    """Figures of a T1 map in one region; of the voxels that have a T1.

    Attributes:
        name: of the segment or label.
        voxels: with a T1.
        without: voxels that have none.
        mean, sd, median: in the map's unit; None without voxels, ``sd`` of one voxel too.
    """

    name: str
    voxels: int
    without: int
    mean: float | None
    sd: float | None
    median: float | None

    @classmethod
    def of(cls, name: str, values: np.ndarray) -> Region:
        """Those of ``values``; what is not finite or not positive is no T1."""
        found = values[np.isfinite(values) & (values > 0)].astype(float)
        count = found.size
        return cls(
            name,
            count,
            values.size - count,
            float(found.mean()) if count else None,
            float(found.std(ddof=1)) if count > 1 else None,
            float(np.median(found)) if count else None,
        )


def masks_on(node: Any, regions: Any) -> dict[str, np.ndarray]:
    """Where the segments or labels of ``regions`` are, on the grid of the volume ``node``.

    Transforms above both are followed. A voxel belongs to what its centre lies in.

    Returns:
        ``{name: mask (z, y, x)}``

    Raises:
        BadInput: no segment, no label, or of no known kind.
    """
    if regions is None or regions.GetScene() is None:
        raise BadInput(_("No regions are chosen."), _("Choose a segmentation or a label map."))
    if regions.IsA(SEGMENTATION):
        found = _segments_on(node, regions)
    elif regions.IsA(LABELS):
        found = _labels_on(node, regions)
    else:
        raise BadInput(
            _("'{name}' is neither a segmentation nor a label map.").format(name=regions.GetName()),
            _("Draw the regions in the Segment Editor."),
        )
    if not found:
        raise BadInput(
            _("'{name}' has no regions.").format(name=regions.GetName()),
            _("Draw some in the Segment Editor."),
        )
    return found


def region_figures(node: Any, regions: Any) -> list[Region]:
    """The figures of a T1 map in each region; arguments and errors as :func:`masks_on`."""
    values = volume_from_node(node).array
    return [Region.of(name, values[mask]) for name, mask in masks_on(node, regions).items()]


def fill_regions_table(table: slicer.vtkMRMLTableNode, regions: list[Region]) -> None:
    """One row for each region; T1 in ms."""

    def rounded(name: str) -> list[float | None]:
        values = (getattr(region, name) for region in regions)
        return [None if value is None else round(value, 1) for value in values]

    columns = [
        text_column(_("Region"), (region.name for region in regions)),
        number_column(_("Mean (ms)"), rounded("mean")),
        number_column(_("SD (ms)"), rounded("sd")),
        number_column(_("Median (ms)"), rounded("median")),
        number_column(_("Voxels"), (region.voxels for region in regions)),
        number_column(_("Without T1"), (region.without for region in regions)),
    ]
    set_columns(table, columns)
    table.SetLocked(True)


def _segments_on(node: Any, regions: Any) -> dict[str, np.ndarray]:
    segmentation = regions.GetSegmentation()
    found: dict[str, np.ndarray] = {}
    for number in range(segmentation.GetNumberOfSegments()):
        identity = segmentation.GetNthSegmentID(number)
        name = segmentation.GetSegment(identity).GetName() or identity
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(regions, identity, node) > 0
        found[_unused(name, found)] = mask
    return found


def _labels_on(node: Any, regions: Any) -> dict[str, np.ndarray]:
    labels = volume_from_node(regions, labels=True).array
    there, place = grid_of(node), grid_of(regions, relative_to=node)
    index = np.indices(there.shape).reshape(3, -1)[::-1].T
    voxel = np.rint(place.world_to_index(there.index_to_world(index))).astype(int)[:, ::-1]
    inside = ((voxel >= 0) & (voxel < labels.shape)).all(axis=1)
    on_grid = np.zeros(len(index), labels.dtype)
    on_grid[inside] = labels[tuple(voxel[inside].T)]
    on_grid = on_grid.reshape(there.shape)
    colors = regions.GetDisplayNode().GetColorNode() if regions.GetDisplayNode() else None
    found: dict[str, np.ndarray] = {}
    for value in np.unique(labels[labels != 0]):
        name = colors.GetColorName(int(value)) if colors is not None else ""
        known = name and name != "(none)"
        called = name if known else _("Label {number}").format(number=value)
        found[_unused(called, found)] = on_grid == value
    return found


def _unused(name: str, taken: dict[str, np.ndarray]) -> str:
    """``name``, with a number when it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free
