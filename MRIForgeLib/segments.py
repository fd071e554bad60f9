"""The segments of a segmentation node as rows of a list: name, color, volume, shown or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

_AT_ONCE = 1 << 18
_LOOKS = ("Visibility", "Visibility3D", "Visibility2DFill", "Visibility2DOutline",
          "Opacity3D", "Opacity2DFill", "Opacity2DOutline", "Pickable")  # fmt: skip
"""What a display node keeps for each segment."""


@dataclass(frozen=True)
class SegmentRow:
    """One segment.

    Attributes:
        identity: its ID in the segmentation.
        name, color: as shown; color red, green, blue from 0 to 1.
        ml: volume, as its voxels say now; 0: empty.
        shown: whether views show it.
    """

    identity: str
    name: str
    color: tuple[float, float, float]
    ml: float
    shown: bool


def segment_rows(node: Any) -> list[SegmentRow]:
    """The segments of ``node`` in their order; none when it has left its scene."""
    if node is None or node.GetScene() is None:
        return []
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    voxels: dict[Any, np.ndarray] = {}
    rows = []
    for identity in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(identity)
        rows.append(
            SegmentRow(
                identity,
                segment.GetName() or identity,
                tuple(segment.GetColor()),
                _millilitres(segment, voxels),
                display is None or bool(display.GetSegmentVisibility(identity)),
            )
        )
    return rows


def show_segment(node: Any, identity: str, shown: bool) -> None:
    """Shows or hides one segment in all views."""
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSegmentVisibility(identity, shown)


def keep_looks(node: Any) -> list[tuple[Any, int]]:
    """From now on segments that are replaced look as those before them with the same ID.

    The browser of a sequence replaces all segments when the frame changes, and Slicer shows new
    ones whole: what was hidden would appear again.

    Returns:
        the observers, as node and tag; they end with the node.
    """
    looks = _Looks()
    looks.remember(node)
    changed = slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent
    replaced = (
        slicer.vtkSegmentation.SourceRepresentationModified,
        slicer.vtkSegmentation.SegmentAdded,
    )
    found = [(node, node.AddObserver(changed, looks.remember))]
    return found + [(node, node.AddObserver(event, looks.restore)) for event in replaced]


class _Looks:
    """How segments look, by their ID; holds no node, since the node holds it."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Any]] = {}

    def remember(self, node: Any, event: Any = None) -> None:
        """As the display node has them now."""
        display = node.GetDisplayNode()
        if display is not None:
            for identity in node.GetSegmentation().GetSegmentIDs():
                self._of[identity] = _look(display, identity)

    def restore(self, node: Any, event: Any = None) -> None:
        """Those that look otherwise as before."""
        display = node.GetDisplayNode()
        if display is None:
            return
        blocked = display.StartModify()
        for identity in node.GetSegmentation().GetSegmentIDs():
            now = _look(display, identity)
            for name, value in self._of.get(identity, now).items():
                if value != now[name]:
                    getattr(display, f"SetSegment{name}")(identity, value)
        display.EndModify(blocked)


def _look(display: Any, identity: str) -> dict[str, Any]:
    return {name: getattr(display, f"GetSegment{name}")(identity) for name in _LOOKS}


def go_to_segment(node: Any, identity: str) -> bool:
    """Brings all slice views to the middle of a segment; false when it is empty."""
    segment = node.GetSegmentation().GetSegment(identity)
    if segment is None or _millilitres(segment, {}) == 0:
        return False
    place = node.GetSegmentCenterRAS(identity)
    jump = slicer.vtkMRMLSliceNode.CenteredJumpSlice
    slicer.vtkMRMLSliceNode.JumpAllSlices(node.GetScene(), *place, jump)
    return True


def _millilitres(segment: Any, counts: dict[Any, np.ndarray]) -> float:
    """Volume of a segment; ``counts`` keeps those of images that several segments share."""
    name = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    image = segment.GetRepresentation(name)
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return 0.0
    if scalars not in counts:
        counts[scalars] = _counted(vtk_to_numpy(scalars).ravel())
    label = segment.GetLabelValue()
    count = int(counts[scalars][label]) if 0 <= label < len(counts[scalars]) else 0
    return count * float(np.prod(image.GetSpacing())) / 1000.0


def _counted(voxels: np.ndarray) -> np.ndarray:
    """How often each label is in ``voxels``; labels are few, and whole numbers of any type."""
    count = int(voxels.max()) + 1
    found = np.zeros(count, np.int64)
    for start in range(0, voxels.size, _AT_ONCE):  # bincount widens what it counts
        found += np.bincount(voxels[start : start + _AT_ONCE], minlength=count)
    return found
